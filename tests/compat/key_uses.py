#!/usr/bin/env python3
"""What commands count, as redis-server does: uses of keys, which eviction goes by (with
lfu-log-factor 0 the counter of OBJECT FREQ grows by one for each), idle times, and the hits and
misses of INFO.

A key that a command names several times, or looks up twice, is used once here (TWICE).

usage: key_uses.py --server SERVER
"""

import argparse
import re
import sys

from diff_cmds import REDIS_ARGS, Conn, redis_server, side_by_side

# Without a limit redis-server shares small numbers between keys, and their uses, too.
POLICY = ['--maxmemory', '1gb', '--maxmemory-policy', 'allkeys-lfu', '--lfu-log-factor', '0',
          '--lfu-decay-time', '0']
IDLE_SECONDS = 1000

ANY = '''
TYPE K;EXISTS K;EXISTS K K;TTL K;PTTL K;EXPIRETIME K;PEXPIRETIME K;OBJECT ENCODING K
OBJECT REFCOUNT K;MEMORY USAGE K;DUMP K;TOUCH K;WATCH K;SCAN 0;KEYS *;RANDOMKEY;DEBUG OBJECT K
DEBUG DIGEST-VALUE K;EXPIRE K 100;EXPIRE K 100 XX;PERSIST K;COPY K D;COPY K D REPLACE;RENAME K K
RENAME K D;RENAMENX D K;RENAMENX K D;SET K v;SET K v NX;SETNX K v;MSETNX K v;SET K v XX;MSET K v
SETEX K 100 v;DEL K;UNLINK K;GET K;SORT K ALPHA;GETDEL K;SET K v GET;GETSET K v
'''
# How to make it, and what else is done to it.
TYPES = {
    'string': ('SET K abc', '''
STRLEN K;GETRANGE K 0 1;APPEND K x;SETRANGE K 1 x;SETBIT K 3 1;GETBIT K 3;BITCOUNT K;BITPOS K 1
BITOP NOT D K;BITFIELD K GET u8 0;BITFIELD K SET u8 0 1;MGET K;GETEX K;GETEX K EX 100'''),
    'number': ('SET K 5', 'INCR K;DECR K;INCRBY K 2;INCRBYFLOAT K 2;DECRBY K 3'),
    'list': ('RPUSH K a b c', '''
LPUSH K a;RPUSHX K a;LPOP K;RPOP K 2;LLEN K;LINDEX K 1;LRANGE K 0 -1;LSET K 0 z
LINSERT K BEFORE b x;LREM K 1 a;LTRIM K 0 1;LPOS K a;LMOVE K D LEFT RIGHT;RPOPLPUSH K D
BLPOP K 1;LMPOP 1 K LEFT;BLMPOP 1 1 K LEFT'''),
    'hash': ('HSET K f 5 g x', '''
HSET K f 6;HSETNX K f 1;HGET K f;HMGET K f g;HGETALL K;HKEYS K;HVALS K;HLEN K;HEXISTS K f
HSTRLEN K f;HINCRBY K f 1;HINCRBYFLOAT K f 1;HDEL K g;HSCAN K 0;HRANDFIELD K'''),
    'set': ('SADD K a b c', '''
SADD K x;SREM K a;SCARD K;SISMEMBER K a;SMISMEMBER K a b;SMEMBERS K;SRANDMEMBER K;SPOP K
SSCAN K 0;SMOVE K D b;SINTERSTORE D K;SUNION K;SUNIONSTORE D K;SDIFF K D;SINTERCARD 1 K'''),
    'zset': ('ZADD K 1 a 2 b', '''
ZADD K 3 c;ZADD K 3 a;ZINCRBY K 1 a;ZREM K b;ZCARD K;ZSCORE K a;ZMSCORE K a b;ZRANK K a
ZREVRANK K a;ZRANGE K 0 -1;ZRANGEBYSCORE K 0 5;ZCOUNT K 0 5;ZLEXCOUNT K - +;ZPOPMIN K
ZRANDMEMBER K;ZSCAN K 0;ZUNIONSTORE D 1 K;ZINTERSTORE D 1 K;ZRANGESTORE D K 0 -1;ZUNION 1 K
ZINTER 1 K;ZDIFF 1 K;ZREMRANGEBYRANK K 0 0;ZREMRANGEBYSCORE K 0 1;ZMPOP 1 K MIN'''),
    'geo': ('GEOADD K 13.36 38.11 a 15 37 b', '''
GEOPOS K a;GEODIST K a b;GEOHASH K a;GEOSEARCH K FROMMEMBER a BYRADIUS 1 m;GEORADIUS K 1 1 1 m
GEOSEARCHSTORE D K FROMMEMBER a BYRADIUS 1 m;GEOADD K 1 1 c'''),
    'hyperloglog': ('PFADD K a b', 'PFADD K a;PFADD K zz;PFCOUNT K'),
    'nothing': ('DEL K', 'MGET K;BITFIELD K GET u8 0;BITOP NOT D K;GETEX K;SUNIONSTORE D K'),
}
TWICE = ('SET K v GET', 'GETSET K v')
ASKS = '''
TYPE K;EXISTS K;TTL K;PTTL K;EXPIRETIME K;OBJECT ENCODING K;OBJECT IDLETIME K;MEMORY USAGE K
SCAN 0;WATCH K;UNWATCH;DEBUG OBJECT K
'''


def calls(text):
    return [c for line in text.strip().splitlines() for c in line.split(';')]


def frequencies(conn):
    return [conn.call('OBJECT', 'FREQ', key)[1] for key in ('K', 'D')]


def found(conn):
    text = conn.call('INFO', 'stats')[1].decode()
    return [int(re.search(name + r':(\d+)', text).group(1))
            for name in ('keyspace_hits', 'keyspace_misses')]


def uses(conn, make, command):
    """Before and after, of a key that was another one before and had many uses."""
    conn.call('UNWATCH')
    for key in ('K', 'D'):
        for _ in range(3):
            conn.call('SET', key, 'x')
    conn.call('DEL', 'K')
    conn.call(*make.split())
    before = frequencies(conn)
    at = found(conn)
    conn.call(*command.split())
    hits = [b - a for a, b in zip(at, found(conn))]
    return [before, frequencies(conn)], hits


def compare_uses(ours, theirs):
    failed = 0
    for name, (make, own) in TYPES.items():
        for command in calls(ANY) + calls(own):
            got, wanted = (uses(conn, make, command) for conn in (ours, theirs))
            if command in TWICE and got[0] != wanted[0] and wanted[0][1][0] is not None:
                wanted[0][1][0] = b'%d' % (int(wanted[0][1][0]) - 1)
            if got != wanted:
                failed += 1
                print('%s, %s: %s, redis-server %s' % (name, command, got, wanted))
    return failed


def compare_idle(ours, theirs):
    failed = 0
    for command in calls(ASKS) + ['GET K', 'STRLEN K']:
        told = []
        for conn in (ours, theirs):
            conn.call('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
            conn.call('SET', 'K', 'v')
            payload = conn.call('DUMP', 'K')[1]
            conn.call('RESTORE', 'K', '0', payload, 'REPLACE', 'IDLETIME', str(IDLE_SECONDS))
            conn.call(*command.split())
            told.append(int(conn.call('OBJECT', 'IDLETIME', 'K')[1]) >= IDLE_SECONDS)
        if told[0] != told[1]:
            failed += 1
            print('%s, idle since: %s' % (command, told))
    return failed


def compare_transaction(ours, theirs):
    """Each command of EXEC is one, for uses and for total_commands_processed."""
    told = []
    for conn in (ours, theirs):
        conn.call('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lfu')
        conn.call('DEL', 'K')
        conn.call('SET', 'K', '1')
        at = re.search(rb'total_commands_processed:(\d+)', conn.call('INFO', 'stats')[1]).group(1)
        for words in ('MULTI', 'INCR K', 'GET K', 'INCR K', 'EXEC'):
            conn.call(*words.split())
        to = re.search(rb'total_commands_processed:(\d+)', conn.call('INFO', 'stats')[1]).group(1)
        told.append((int(to) - int(at), frequencies(conn)[0]))
    if told[0] != told[1]:
        print('EXEC: %s, redis-server %s' % tuple(told))
    return int(told[0] != told[1])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    args = p.parse_args()
    redis = redis_server()
    more = POLICY + ['--enable-debug-command', 'yes']
    with side_by_side([redis] + REDIS_ARGS + more, [args.server] + more) as (theirs_at, ours_at):
        ours, theirs = Conn(ours_at), Conn(theirs_at)
        failed = compare_uses(ours, theirs) + compare_idle(ours, theirs) + \
            compare_transaction(ours, theirs)
    print('%d differences' % failed)
    return int(failed != 0)


if __name__ == '__main__':
    sys.exit(main())
