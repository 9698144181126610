#!/usr/bin/env python3
"""What OBJECT ENCODING and REFCOUNT say of a string after each command that changes one, or might,
and of a collection after one that makes it smaller: the same as redis-server's. Every command, and
some pairs, on every kind of value.

usage: string_forms.py SERVER
"""

import sys

import diff_cmds
from diff_cmds import Conn

VALUES = ['', 'a', 'x' * 20, 'x' * 44, 'x' * 45, 'x' * 100, '0', '12', '-7', '9999', '10000', '01',
          '1.5', '-0', '9223372036854775807', '9223372036854775808', '-9223372036854775808',
          '12345678901234567890', 'y' * 5000]

# {t}k is the key; commands are separated by semicolons. {t}n, {t}s and {t}l hold a number, a short
# and a long text, {t}h what PFADD makes.
ON_ANY = """
GET {t}k
STRLEN {t}k
GETRANGE {t}k 0 3
LCS {t}k {t}s
SET {t}k 12
SET {t}k ab GET
SET {t}k 12 EX 100
SET {t}k 12 KEEPTTL
SETEX {t}k 100 12
PSETEX {t}k 100000 ab
SETNX {t}k 12
GETSET {t}k 77
GETSET {t}k ab
MSET {t}k 12 {t}j ab
GETDEL {t}k
GETEX {t}k EX 100
GETEX {t}k PERSIST
EXPIRE {t}k 100
EXPIRE {t}k 100;PERSIST {t}k
INCR {t}k
DECR {t}k
INCRBY {t}k 5
INCRBY {t}k -20000
INCRBYFLOAT {t}k 1
INCRBYFLOAT {t}k 0.5
INCRBYFLOAT {t}k 1e40
INCRBYFLOAT {t}k 1e300
APPEND {t}k 1
APPEND {t}k ""
APPEND {t}k yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
SETRANGE {t}k 0 1
SETRANGE {t}k 5 ""
SETRANGE {t}k 3 12
SETRANGE {t}k 5000 x
SETBIT {t}k 0 0
SETBIT {t}k 7 1
SETBIT {t}k 400 0
BITCOUNT {t}k
BITPOS {t}k 1
BITFIELD {t}k GET u8 0
BITFIELD_RO {t}k GET u8 0
BITFIELD {t}k SET u8 0 49
BITFIELD {t}k INCRBY u8 0 0
BITFIELD {t}k OVERFLOW FAIL SET u8 0 300
BITFIELD {t}k OVERFLOW FAIL INCRBY u8 0 300
BITFIELD {t}k SET u8 #9 49
BITOP NOT {t}k {t}k
BITOP AND {t}k {t}k
BITOP OR {t}k {t}k {t}none
BITOP XOR {t}k {t}k {t}n
BITOP OR {t}k {t}n
BITOP OR {t}k {t}s
BITOP OR {t}k {t}l
BITOP OR {t}k {t}none
PFADD {t}k a
PFCOUNT {t}k
PFMERGE {t}k {t}h
RENAME {t}k {t}q;RENAME {t}q {t}k
RENAMENX {t}k {t}q;RENAME {t}q {t}k
COPY {t}k {t}q;RENAME {t}q {t}k
COPY {t}n {t}k REPLACE
APPEND {t}n 3;COPY {t}n {t}k REPLACE
APPEND {t}n 3;RENAME {t}n {t}k
DUMP {t}k;RESTORE {t}k 0 $dump REPLACE
MULTI;APPEND {t}k 1;INCR {t}k;EXEC
MULTI;SET {t}k 12;EXEC
MULTI;SETBIT {t}k 7 1;SET {t}j 1;EXEC
APPEND {t}k 1;GET {t}k;STRLEN {t}k
APPEND {t}k 1;APPEND {t}k 2
APPEND {t}k 1;APPEND {t}k ""
APPEND {t}k 1;INCR {t}k
APPEND {t}k 1;INCRBYFLOAT {t}k 1
APPEND {t}k 1;SET {t}k 12
APPEND {t}k 1;GETSET {t}k 12
APPEND {t}k 1;MSET {t}k 12
APPEND {t}k 1;EXPIRE {t}k 100
APPEND {t}k 1;EXPIRE {t}k 100;PERSIST {t}k
APPEND {t}k 1;GETEX {t}k EX 100
APPEND {t}k 1;DEL {t}k;SET {t}k 12
APPEND {t}k 1;DEL {t}k;APPEND {t}k 12
APPEND {t}k 1;DEL {t}k;INCR {t}k
APPEND {t}k 1;PEXPIRE {t}k -1;INCR {t}k
APPEND {t}k 1;COPY {t}k {t}q;RENAME {t}q {t}k
APPEND {t}k 1;RENAME {t}k {t}q;RENAME {t}q {t}k
APPEND {t}k 1;DUMP {t}k;RESTORE {t}k 0 $dump REPLACE
INCRBYFLOAT {t}k 1;INCR {t}k
INCRBYFLOAT {t}k 1;APPEND {t}k 0
INCRBYFLOAT {t}k 1;EXPIRE {t}k 100
INCRBYFLOAT {t}k 1;COPY {t}k {t}q;RENAME {t}q {t}k
INCRBYFLOAT {t}k 1;SETBIT {t}k 7 1
INCRBYFLOAT {t}k 1;SET {t}k 12
SETBIT {t}k 7 1;INCR {t}k
SETBIT {t}k 7 1;INCRBYFLOAT {t}k 1
SETBIT {t}k 7 1;SETNX {t}k 12
SETBIT {t}k 7 1;SADD {t}k a
APPEND {t}k 1;DEL {t}k;SADD {t}k 1;DEL {t}k;SET {t}k 12
"""

# Where there is nothing before.
ON_NONE = """
APPEND {t}k 12
APPEND {t}k ab
APPEND {t}k ""
APPEND {t}k 1;APPEND {t}k 2
SETRANGE {t}k 0 12
SETRANGE {t}k 2 12
SETRANGE {t}k 0 ""
SETBIT {t}k 2 1;SETBIT {t}k 3 1
SETBIT {t}k 2 0
BITFIELD {t}k SET u8 0 49
BITFIELD {t}k GET u8 0
INCR {t}k
INCRBYFLOAT {t}k 3
INCRBYFLOAT {t}k 3.5
SETNX {t}k 12
MSETNX {t}k 12 {t}j ab
SET {t}k 12 GET
GETSET {t}k 12
PFADD {t}k
PFADD {t}k a
PFADD {t}k a;PFADD {t}k a
PFADD {t}k a;PFCOUNT {t}k
PFMERGE {t}k
PFMERGE {t}k {t}h
COPY {t}h {t}k
DUMP {t}h;RESTORE {t}k 0 $dump;OBJECT ENCODING {t}k;PFADD {t}k a
DUMP {t}h;RESTORE {t}k 0 $dump;OBJECT ENCODING {t}k;PFCOUNT {t}k
DUMP {t}h;RESTORE {t}k 0 $dump;PFDEBUG ENCODING {t}k
DUMP {t}h;RESTORE {t}k 0 $dump;PFCOUNT {t}k {t}s
DUMP {t}h;RESTORE {t}k 0 $dump;PFMERGE {t}k
GEOADD {t}g 1 1 a;SORT {t}g BY nosort GET {t}none STORE {t}k
"""

LONG = 'x' * 70
ON_COLLECTIONS = """
SADD {t}k 1 2 3;SREM {t}k 1
SADD {t}k 1 2 a;SREM {t}k 1
SADD {t}k 1 2 a;SREM {t}k a
SADD {t}k 1 2 a;SREM {t}k a 1
SADD {t}k 1 2 a;SMOVE {t}k {t}j a;OBJECT ENCODING {t}j
SADD {t}k 1 2 a;SMOVE {t}k {t}k a
SADD {t}k 1 2 a;SREM {t}k a;COPY {t}k {t}j;OBJECT ENCODING {t}j
SADD {t}j 1 2 a;SREM {t}j a;RENAME {t}j {t}k
SADD {t}k 1 a;SREM {t}k a;SREM {t}k 1;SADD {t}k 1
SADD {t}k 1 a;SREM {t}k a;DEL {t}k;SADD {t}k 1
SADD {t}k 1 a;SREM {t}k a;SET {t}k 12
SADD {t}k $numbers
SADD {t}k $numbers;SREM {t}k 1
SADD {t}k $numbers 513
SADD {t}k $numbers 513;SREM {t}k 1
SADD {t}k $numbers 513;SREM {t}k 1;SUNIONSTORE {t}k {t}k
HSET {t}k f v;HDEL {t}k f;HSET {t}k f v
HSET {t}k f v $long v;HDEL {t}k $long
HSET {t}k f v g $long;HDEL {t}k g
HSET {t}k f v g $long;HDEL {t}k f
ZADD {t}k 1 a 2 b;ZREM {t}k a
ZADD {t}k 1 a 2 $long;ZREM {t}k $long
ZADD {t}k 1 a 2 $long;ZREM {t}k $long;COPY {t}k {t}j;OBJECT ENCODING {t}j
RPUSH {t}k 1 2;LREM {t}k 0 1
"""


def arguments(line, dump):
    words = []
    for w in line.split():
        if w == '$numbers':
            words += [str(i) for i in range(1, 513)]
        else:
            words.append({'$dump': dump, '""': '', '$long': LONG}.get(w, w))
    return words


def forms(conn, value, line):
    """The replies, what the key is in the end, and its value."""
    conn.call('FLUSHALL')
    conn.call('MSET', '{t}n', '12', '{t}s', 'ab', '{t}l', 'z' * 60)
    conn.call('PFADD', '{t}h', 'a')
    if value is not None:
        conn.call('SET', '{t}k', value)
    replies, dump = [], b''
    for command in line.split(';'):
        reply = conn.call(*arguments(command, dump))
        if command.startswith('DUMP'):
            dump = reply[1]  # Its serialisation is not the same.
        else:
            replies.append(reply)
    # COPY makes an integer of its own in Redis, here all small ones are taken for shared.
    count = None if 'COPY' in line else conn.call('OBJECT', 'REFCOUNT', '{t}k')
    return replies, conn.call('OBJECT', 'ENCODING', '{t}k'), count, conn.call('GET', '{t}k')


def compare(redis, tierra):
    failed = count = 0
    for lines, values in ((ON_ANY, VALUES), (ON_NONE, [None]),
                          (ON_COLLECTIONS, [None])):
        for line in lines.strip().split('\n'):
            for value in values:
                wanted, got = forms(redis, value, line), forms(tierra, value, line)
                count += 1
                if wanted == got:
                    continue
                failed += 1
                print('%s on %.50r\n  redis:  %.200r\n  tierra: %.200r'
                      % (line, value, wanted, got))
    print('%d values, %d differ' % (count, failed))
    return int(failed != 0)


def main():
    redis = diff_cmds.redis_server()
    started, status = [], 2
    try:
        started.append(diff_cmds.spawn([redis, *diff_cmds.REDIS_ARGS], 'redis-server'))
        started.append(diff_cmds.spawn([sys.argv[1]], 'tierra-server'))
        status = compare(Conn(started[0][2]), Conn(started[1][2]))
    finally:
        for process, directory, _ in started:
            diff_cmds.stop(process, directory, keep=status == 2)
    return status


if __name__ == '__main__':
    sys.exit(main())
