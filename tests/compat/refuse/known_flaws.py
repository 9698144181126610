#!/usr/bin/env python3
"""What has broken Redis and its relatives, class by class of their CVEs, sent to a Tierra.

Each class is a function below and a row of CLASSES: its name, CVEs of it, and what must hold. After
each one the server must answer, with its peak of memory within bounds: sizes and counts that a
client only claims are not to be allocated. README.md of tests/compat tells which other tests there
are of each class, and which classes have nothing to touch here.

usage: known_flaws.py SERVER [--roomy] [--only CLASS]     (--roomy: under a sanitizer)
"""

import argparse
import os
import random
import socket
import stat
import struct
import sys

from acl_calls import check_keys
from payloads import FALSE, VALID, WHOLE, summed
from refuselib import (
    WAIT_SECONDS_MAX, Place, free_ports, raw, read_until, send, wait_until)

from node import ErrorReply, encode  # pylint: disable=wrong-import-order

I64_MIN, I64_MAX = -(1 << 63), (1 << 63) - 1
EDGES = (I64_MIN, I64_MIN + 1, -(1 << 62) - 1, -(1 << 32) - 1, -(1 << 32), -(1 << 31) - 1,
         -(1 << 31), -1, 0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1,
         1 << 62, I64_MAX - 1, I64_MAX, I64_MAX + 1, 1 << 64, (1 << 64) + 1)
# Growth of the server at its peak. What the flaws make a server allocate is gigabytes.
GROWTH_BYTES_MAX = 192 << 20
# What a sanitizer keeps of what was freed.
ROOMY_BYTES = 640 << 20
# A reply to a number that only a client has thought of.
REPLY_BYTES_MAX = 1 << 16


# --- expectations ---


def error(start=b''):
    def good(reply):
        return isinstance(reply, ErrorReply) and reply.startswith(start)
    good.__name__ = 'error %r' % start
    return good


RANGE = error(b'ERR value is out of range')
NOT_INT = error(b'ERR value is not an integer or out of range')
BIT_RANGE = error(b'ERR bit offset is not an integer or out of range')
TOO_LONG = error(b'ERR string exceeds maximum allowed size (proto-max-bulk-len)')
TIMEOUT = error(b'ERR timeout')
EXPIRE = error(b'ERR invalid expire time')
FLOAT = error(b'ERR value is not a valid float')
NAN = error(b'ERR increment would produce NaN or Infinity')
NO_MORE = error(b'ERR increment or decrement would overflow')
DAMAGED = error(b'INVALIDOBJ')
NO_HLL = error(b'WRONGTYPE Key is not a valid HyperLogLog string value.')
NOPERM = error(b'NOPERM')


def anything(_):
    return True


def words_of(line):
    return line.split() if isinstance(line, str) else list(line)


def weight(reply):
    """Bytes of a reply, about."""
    if isinstance(reply, list):
        return sum(weight(r) + 16 for r in reply)
    return 16 if reply is None or isinstance(reply, int) else len(reply)


class Flaws:
    """A server and a connection to it."""

    def __init__(self, place, roomy):
        self.place, self.roomy = place, roomy
        self.server = self.conn = None

    def start(self, **options):
        self.server = self.place.start(**options)
        self.conn = self.place.conn(self.server)

    def stop(self):
        self.conn.close()
        self.place.check('the server ends as it should', self.server.stop() == 0)

    def check(self, what, good, *details):
        self.place.check(what, good, *details)

    def call(self, line):
        return self.conn.call(*words_of(line))

    def expect(self, rows):
        """Of each row the last is what must come: a value, or a function of it; None: nil."""
        for line, wanted in rows:
            got = self.call(line)
            good = wanted(got) if callable(wanted) else \
                got == wanted and not isinstance(got, ErrorReply)
            self.check(line, good, got, getattr(wanted, '__name__', wanted))

    def pipeline(self, commands):
        return self.conn.pipeline([[w if isinstance(w, bytes) else str(w).encode() for w in c]
                                   for c in commands])

    # --- memory ---

    def memory(self, field):
        with open('/proc/%d/status' % self.server.process.pid) as file:
            for line in file:
                if line.startswith(field + ':'):
                    return int(line.split()[1]) << 10
        return 0

    def forget_peak(self):
        try:
            with open('/proc/%d/clear_refs' % self.server.process.pid, 'w') as file:
                file.write('5')
        except OSError:
            pass  # Then what is measured is the peak of all classes so far.

    def run(self, name, function):
        self.forget_peak()
        before = self.memory('VmRSS')
        function(self)
        alive = self.place.conn(self.server)
        self.check('the server answers after: ' + name, alive.call('PING') == b'PONG')
        growth = self.memory('VmHWM') - before
        self.check('memory of: ' + name,
                   growth < GROWTH_BYTES_MAX + (ROOMY_BYTES if self.roomy else 0), growth)
        alive.call('FLUSHALL')
        alive.close()
        print('%-20s peak +%d MiB' % (name, max(growth, 0) >> 20))


# --- sizes and counts ---

# Where a client names a number, N: no reply may be as long as the number says.
SWEEPS = (
    'GETRANGE string N 3', 'GETRANGE string 0 N', 'SUBSTR string N N', 'GETBIT string N',
    'BITCOUNT string N N', 'BITCOUNT string 0 N BIT', 'BITPOS string 1 N N BIT',
    'BITFIELD_RO string GET u8 N', 'BITFIELD_RO string GET i64 #N', 'BITFIELD_RO string GET uN 0',
    'LINDEX list N', 'LRANGE list N N', 'LRANGE list 0 N', 'LREM list N none', 'LSET changed N x',
    'LPOS list b RANK N', 'LPOS list b COUNT N', 'LPOS list b MAXLEN N',
    'LPOS list b RANK N COUNT N MAXLEN N', 'LMPOP N none LEFT', 'LMPOP 1 none LEFT COUNT N',
    'LPOP none N', 'BLMPOP 0.001 N none LEFT', 'BLMPOP 0.001 1 none LEFT COUNT N',
    'SINTERCARD N set', 'SINTERCARD 1 set LIMIT N', 'SPOP none N', 'SRANDMEMBER none N',
    'SSCAN set N', 'SSCAN set 0 COUNT N', 'HSCAN hash 0 COUNT N', 'ZSCAN zset 0 COUNT N',
    'SCAN N', 'SCAN 0 COUNT N', 'HINCRBY h N N', 'HRANDFIELD none N WITHVALUES',
    'ZRANGE zset N N', 'ZRANGE zset 0 N', 'ZRANGE zset N N BYSCORE LIMIT N N',
    'ZRANGE zset - + BYLEX LIMIT N N', 'ZREVRANGE zset N N', 'ZRANGEBYSCORE zset 0 9 LIMIT N N',
    'ZRANGESTORE to zset N N', 'ZREMRANGEBYRANK to N N', 'ZCOUNT zset N N',
    'ZINTERCARD N zset', 'ZINTERCARD 1 zset LIMIT N', 'ZUNION N zset', 'ZINTER N zset',
    'ZDIFF N zset', 'ZUNIONSTORE to N zset', 'ZUNION 1 zset WEIGHTS N', 'ZMPOP N none MIN',
    'ZMPOP 1 none MIN COUNT N', 'BZMPOP 0.001 N none MIN', 'ZPOPMIN none N',
    'ZRANDMEMBER none N WITHSCORES', 'SORT list ALPHA LIMIT N N', 'SORT list ALPHA LIMIT 0 N',
    'SORT list BY nosort LIMIT N N', 'SORT list ALPHA LIMIT N 2 GET # GET w:*',
    'GEOSEARCH geo FROMLONLAT 13 38 BYRADIUS 500 km COUNT N',
    'GEORADIUS geo 13 38 500 km COUNT N ANY', 'LCS string string IDX MINMATCHLEN N',
    'OBJECT FREQ string', 'MEMORY USAGE list SAMPLES N', 'CLIENT UNBLOCK N', 'CLIENT KILL ID N',
    'CLIENT LIST ID N', 'SLOWLOG GET N', 'ACL LOG N', 'ACL GENPASS N', 'HELLO N', 'SELECT N',
    'EXPIRE none N', 'PEXPIREAT none N', 'RESTORE none N x', 'GETEX none PX N', 'COMMAND INFO N',
    'LATENCY HISTORY N', 'MOVE none N', 'COPY none to DB N', 'SWAPDB N 0', 'WAIT 0 N')
MADE = ('SET string abcdefgh', 'RPUSH list a b c d', 'RPUSH changed a b', 'SADD set a b c',
        'HSET hash f v g w', 'ZADD zset 1 a 2 b 3 c', 'GEOADD geo 13.36 38.11 p 15.08 37.50 q')


def sizes(f):
    """Every number at and beyond 31, 32, 62, 63 and 64 bits, in every place that takes one."""
    for line in MADE:
        f.call(line)
    for sweep in SWEEPS:
        commands = [sweep.replace('N', str(n)).split() if '#N' in sweep or 'uN' in sweep else
                    [str(n) if w == 'N' else w for w in sweep.split()] for n in EDGES]
        f.conn.send(b''.join(encode([w.encode() for w in c]) for c in commands))
        for command in commands:
            got = f.conn.reply()
            f.check(command, weight(got) < REPLY_BYTES_MAX, weight(got))
    f.expect((
        ('SETRANGE k 536870912 x', TOO_LONG), ('SETRANGE k 4294967296 x', TOO_LONG),
        ('SETRANGE k 9223372036854775807 x', TOO_LONG),
        ('SETRANGE k -9223372036854775808 x', error(b'ERR offset is out of range')),
        ('SETRANGE k 18446744073709551615 x', NOT_INT), ('EXISTS k', 0),
        ('SETBIT k 4294967296 1', BIT_RANGE), ('SETBIT k 9223372036854775807 1', BIT_RANGE),
        ('SETBIT k -1 1', BIT_RANGE), ('BITFIELD k SET u8 #536870912 1', BIT_RANGE),
        ('BITFIELD k SET u63 #146402730743726600 1', BIT_RANGE),
        ('BITFIELD k SET i64 #288230376151711744 1', BIT_RANGE),
        ('BITFIELD k SET i64 4294967296 1', BIT_RANGE), ('EXISTS k', 0),
        ('BITFIELD k SET i64 0 9223372036854775807 INCRBY i64 0 1 OVERFLOW SAT INCRBY i64 0 '
         '-9223372036854775808 OVERFLOW FAIL INCRBY i64 0 -1',
         [0, I64_MIN, I64_MIN, None]),
        ('SET n 9223372036854775807', b'OK'), ('INCR n', NO_MORE), ('INCRBY n 1', NO_MORE),
        ('DECRBY n -9223372036854775808', error(b'ERR decrement would overflow')),
        ('HSET c f 9223372036854775807', 1), ('HINCRBY c f 1', NO_MORE),
        # Counts of keys that are 1 when cut to 32 bits.
        ('LMPOP 4294967297 list LEFT', error()), ('ZMPOP 4294967297 zset MIN', error()),
        ('SINTERCARD 4294967297 set', error()), ('ZUNIONSTORE to 4294967297 zset', error()),
        ('LLEN list', 4), ('ZCARD zset', 3),
        ('EXPIRE string 9223372036854775807', EXPIRE),
        ('EXPIRE string -9223372036854775808', EXPIRE),
        ('PEXPIRE string 9223372036854775807', EXPIRE),
        ('SET string x EX 9223372036854775807', EXPIRE),
        ('GETEX string EX 9223372036854775', EXPIRE), ('TTL string', -1),
        ('BLPOP none 1e300', TIMEOUT), ('BLPOP none nan', TIMEOUT), ('BLPOP none inf', TIMEOUT),
        ('BLPOP none -1', TIMEOUT), ('BLPOP none 9223372036854775807', TIMEOUT),
        ('SORT list ALPHA LIMIT 1 9223372036854775807', [b'b', b'c', b'd']),
        ('ZRANGE zset 0 9 BYSCORE LIMIT 1 9223372036854775807', [b'b', b'c']),
        ('LPOS list b RANK -9223372036854775808', 1),
        ('LPOS list d MAXLEN 9223372036854775807 RANK -9223372036854775807', None),
        ('LRANGE list -9223372036854775808 9223372036854775807', [b'a', b'b', b'c', b'd']),
        # The square of the lengths does not fit into 32 bits.
        ('SETRANGE l1 65535 x', 65536), ('SETRANGE l2 65535 y', 65536),
        ('LCS l1 l2', error(b'ERR Insufficient memory')),
        ('LCS l1 l2 LEN', error(b'ERR Insufficient memory')),
        # Encodings for which there are no bounds.
        ('CONFIG SET set-max-intset-entries 9223372036854775807 hash-max-listpack-entries '
         '9223372036854775807 hash-max-listpack-value 1024gb', b'OK'),
        ('SADD ints 1 -70000 9223372036854775807', 3), ('COPY ints to REPLACE', 1),
        ('SCARD to', 3), (['HSET', 'wide', b'f' * 60000, b'v' * 70000], 1),
        ('COPY wide to REPLACE', 1), (['HGET', 'to', b'f' * 60000], b'v' * 70000),
        ('CONFIG SET set-max-intset-entries 512 hash-max-listpack-entries 512 '
         'hash-max-listpack-value 64', b'OK')))
    claimed(f)


def claimed(f):
    """Announced lengths beyond 32 bits, when the configuration allows them: nothing to be had."""
    f.expect((('CONFIG SET proto-max-bulk-len 8gb client-query-buffer-limit 16gb', b'OK'),))
    socks = [raw(f.server) for _ in range(8)]
    for sock in socks:
        send(sock, b'*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8589934591\r\nabc')
    f.check('the server answers beside 64 GiB to come', f.call('PING') == b'PONG')
    for sock in socks:
        sock.close()
    f.expect((('CONFIG SET proto-max-bulk-len 512mb client-query-buffer-limit 1gb', b'OK'),
              ('EXISTS k', 1)))


# --- random elements ---


def draws(f):
    """As many random elements as a client asks for, of few, or of long ones."""
    for line in MADE:
        f.call(line)
    for name, with_word, double in (('SRANDMEMBER set', '', 1),
                                    ('HRANDFIELD hash', ' WITHVALUES', 2),
                                    ('ZRANDMEMBER zset', ' WITHSCORES', 2)):
        for n in (I64_MIN, I64_MIN + 1, -(1 << 62) - 1, -(1 << 32), -(1 << 31), -(1 << 20) - 1):
            f.expect((('%s %d' % (name, n), RANGE),))
            if with_word:
                f.expect((('%s %d%s' % (name, n, with_word), RANGE),))
        got = f.call('%s -1000%s' % (name, with_word))
        f.check(name + ' -1000', len(got) == 1000 * double, len(got))
        got = f.call('%s %d' % (name, I64_MAX))
        f.check(name + ' of all', len(got) == len(set(got)) <= 3, got)
    f.call('CONFIG SET maxmemory 256mb')
    f.expect(((['SADD', 'long', b'm' * 60000], 1), (['HSET', 'long2', 'f', b'v' * 4000000], 1),
              (['ZADD', 'long3', '1', b'm' * 60000], 1),
              ('SRANDMEMBER long -1048576', error(b'OOM')),
              ('HRANDFIELD long2 -1048576 WITHVALUES', error(b'OOM')),
              ('ZRANDMEMBER long3 -1048576 WITHSCORES', error(b'OOM')),
              ('CONFIG SET maxmemory 0', b'OK')))


# --- serialised values ---

REFUSED = (b'ERR Bad data format', b'ERR DUMP payload version or checksum are wrong',
           b'ERR key or element name is longer than 65535 bytes')
BYTES = (0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff)


def touch_all(key):
    """Commands that read all of a value, whatever it is."""
    return [['TYPE', key], ['DUMP', key], ['OBJECT', 'ENCODING', key], ['COPY', key, 'copy'],
            ['SORT', key, 'BY', 'nosort'], ['HGETALL', key], ['ZRANGE', key, 0, -1],
            ['DEL', key, 'copy']]


def payloads(f):
    """RESTORE of each encoding: as it is, cut anywhere, with any byte another one, and of what
    claims more than is there. Each with a checksum that fits."""
    for name, body, ask, wanted in VALID:
        f.expect(((['RESTORE', 'k', 0, summed(body)], b'OK'),
                  ([ask, 'k'] + WHOLE[ask], wanted), ('DEL k', 1)))
        cut = [summed(body[:n]) for n in range(len(body))]
        replies = f.pipeline([['RESTORE', 'k', 0, dump] for dump in cut])
        f.check(name + ', cut', all(r == REFUSED[0] for r in replies), replies)
        changed = [summed(body[:at] + bytes([byte]) + body[at + 1:])
                   for at in range(len(body)) for byte in BYTES]
        ways = [[['RESTORE', 'k', 0, dump]] + touch_all('k') for dump in changed]
        replies = f.pipeline([c for way in ways for c in way])
        for dump, first in zip(changed, replies[::len(ways[0])]):
            f.check('%s, damaged: %r' % (name, dump), first == b'OK' or first in REFUSED, first)
    f.call('SET k before')
    for name, body in FALSE:
        f.expect(((['RESTORE', 'k', 0, summed(body), 'REPLACE'], error(REFUSED[0])),))
    f.expect((('GET k', b'before'), ('DBSIZE', 1)))


# --- HyperLogLog ---

HEAD = b'HYLL\x01' + bytes(3) + bytes(7) + b'\x80'
DENSE_HEAD = b'HYLL\x00' + bytes(3) + bytes(7) + b'\x80'
DENSE_BYTES = 12288
EMPTY = HEAD + b'\x7f\xff'
ALL_63 = DENSE_HEAD + b'\xff' * DENSE_BYTES
# Sparse ones whose runs are not 16,384 registers: more or fewer, by much, or cut.
SPARSE_DAMAGED = {
    'no runs': HEAD, 'too few registers': HEAD + b'\x7f\xfe', 'one too many': EMPTY + b'\x00',
    'a cut run': HEAD + b'\x7f', 'values behind the end': EMPTY + b'\xff' * 64,
    'a sum that wraps at 2^32': HEAD + b'\x7f\xff' * 262144 + b'\xff',
    'a sum that wraps at 2^31': HEAD + b'\x7f\xff' * 131073 + b'\xfe' * 10}
# What is no HyperLogLog by its head or length.
NONE = {
    'short': b'HYLL', 'without a body': DENSE_HEAD[:15], 'of encoding 2': b'HYLL\x02' + EMPTY[5:],
    'of encoding 255': b'HYLL\xff' + EMPTY[5:], 'of another name': b'HYLM' + EMPTY[4:],
    'dense, too short': ALL_63[:-1], 'dense, too long': ALL_63 + b'x',
    'dense, and as short as can be': DENSE_HEAD}


def hyperloglog(f):
    """Strings that say of themselves that they are HyperLogLogs."""
    elements = ['e%d' % i for i in range(2000)]
    f.expect((('PFADD good a b c', 1),))
    good = f.call('GET good')
    for name, value in SPARSE_DAMAGED.items():
        f.expect(((['SET', 'k', value], b'OK'), ('PFCOUNT k', DAMAGED), ('PFCOUNT good k', DAMAGED),
                  ('PFMERGE good k', DAMAGED), ('GET good', good), ('PFMERGE to good k', DAMAGED),
                  ('EXISTS to', 0)))
        f.call(['PFADD', 'k'] + elements)
        f.check('HyperLogLog, %s, still damaged' % name, anything(f.call('PFCOUNT k')))
        f.call('DEL k')
    for name, value in NONE.items():
        f.expect(((['SET', 'k', value], b'OK'), ('PFCOUNT k', NO_HLL), ('PFADD k a', NO_HLL),
                  ('PFMERGE good k', NO_HLL), ('PFMERGE k good', NO_HLL), ('GET good', good)))
    # What can be read but no hash can give.
    f.expect(((['SET', 'k', ALL_63], b'OK'), ('PFCOUNT k', lambda n: isinstance(n, int)),
              (['PFADD', 'k'] + elements, 0), ('PFMERGE good k', b'OK'),
              ('PFCOUNT good', lambda n: isinstance(n, int)), ('STRLEN good', 12304)))
    # Every cut and every changed byte of a sparse one.
    f.call(['PFADD', 'sparse'] + elements[:40])
    whole = f.call('GET sparse')
    damaged = [whole[:n] for n in range(len(whole))] + [
        whole[:at] + bytes([byte]) + whole[at + 1:]
        for at in range(16, len(whole)) for byte in (0x00, 0x3f, 0x7f, 0x80, 0xff)]
    replies = f.pipeline([c for value in damaged for c in (
        ['SET', 'k', value], ['PFADD', 'k', 'x', 'y'], ['PFMERGE', 'k2', 'k', 'good'],
        ['PFCOUNT', 'k', 'good'], ['PFADD', 'k'] + elements[:60])])
    for reply in replies:
        f.check('damaged HyperLogLog', not isinstance(reply, ErrorReply) or reply.startswith(
            (b'INVALIDOBJ', b'WRONGTYPE')), reply)


# --- before AUTH ---


def strangers(f):
    """Memory for who has not logged in: what it says is short, and what it does not read, too."""
    f.call('CONFIG SET requirepass secret')
    for line, wanted in ((b'*11\r\n', b'-ERR Protocol error: unauthenticated multibulk length\r\n'),
                         (b'*1048576\r\n',
                          b'-ERR Protocol error: unauthenticated multibulk length\r\n'),
                         (b'*2\r\n$3\r\nGET\r\n$16385\r\n',
                          b'-ERR Protocol error: unauthenticated bulk length\r\n'),
                         (b'*1\r\n$536870912\r\n',
                          b'-ERR Protocol error: unauthenticated bulk length\r\n')):
        sock = raw(f.server)
        send(sock, line)
        got, closed = read_until(sock, b'\0')
        f.check(line, (got, closed) == (wanted, True), got, closed)
        sock.close()
    # Whoever sends and never reads: errors must not pile up.
    for line in (b'GET a\r\n', b'nosuchcommand\r\n', b'AUTH wrong\r\n', b'HELLO 9\r\n',
                 b'*1\r\n$3\r\nGET\r\n'):
        before = output_bytes(f)
        sock = raw(f.server)
        ended = False
        for _ in range(4000):
            try:
                sock.sendall(line * 1000)
            except OSError:
                ended = True
                break
        f.check('%r and no reading, until closed' % line, ended)
        f.check('output for it', output_bytes(f) - before < 1 << 20, output_bytes(f) - before)
        sock.close()
    # Who reads may go on for ever, and log in.
    sock = raw(f.server)
    for _ in range(300):
        send(sock, b'GET a\r\n' * 100)
        got, closed = read_until(sock, b'required.\r\n')
        while got.count(b'\n') < 100 and not closed:
            more, closed = read_until(sock, b'required.\r\n')
            got += more
        f.check('a stranger that reads', got == b'-NOAUTH Authentication required.\r\n' * 100, got)
    send(sock, encode([b'AUTH', b'secret']) + encode([b'ECHO', b'x' * 1000000]))
    got, closed = read_until(sock, b'x\r\n')
    f.check('who has logged in', not closed and len(got) == 5 + 10 + 1000002, len(got), closed)
    # What was asked for before RESET comes whole.
    f.call(['SET', 'long', b'v' * 1000000])
    send(sock, b'GET long\r\n' * 8 + b'RESET\r\nGET long\r\n')
    got, closed = read_until(sock, b'required.\r\n')
    f.check('RESET behind long replies', not closed and got.count(b'$1000000\r\n') == 8 and
            got.endswith(b'+RESET\r\n-NOAUTH Authentication required.\r\n'), len(got), closed)
    sock.close()
    # Errors of protocol, one connection each.
    for _ in range(2000):
        send_once(f, b'*x\r\n')
    f.check('connections are given back', wait_until(
        lambda: b'connected_clients:1\r\n' in f.call('INFO clients')))
    f.call(['CONFIG', 'SET', 'requirepass', ''])


def send_once(f, data):
    while True:
        try:
            sock = raw(f.server)
        except BlockingIOError:  # So many wait to be accepted.
            f.call('PING')
            continue
        send(sock, data)
        sock.close()
        return


def output_bytes(f):
    """Of all clients; until those that were closed are gone."""
    fields = dict(x.split(b':', 1) for x in f.call('INFO memory').split(b'\r\n') if b':' in x)
    return int(fields[b'mem_clients_normal'])


def broken_connects(f):
    """Connections that are gone before they are accepted do not keep others from it."""
    port = int(f.call('CONFIG GET port')[1])
    reset = struct.pack('ii', 1, 0)
    for _ in range(500):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        sock.connect(('127.0.0.1', port))
        sock.close()
    sock = socket.create_connection(('127.0.0.1', port), timeout=WAIT_SECONDS_MAX)
    send(sock, b'PING\r\n')
    f.check('a connection behind 500 broken ones', read_until(sock, b'\n')[0] == b'+PONG\r\n')
    sock.close()


# --- blocked clients ---

WAITS = ('BLPOP a b 0', 'BRPOP b a 0', 'BLMOVE a b LEFT RIGHT 0', 'BRPOPLPUSH b a 0',
         'BLMPOP 0 2 a b LEFT COUNT 3', 'BZPOPMIN z y 0', 'BZPOPMAX y z 0', 'BZMPOP 0 2 y z MAX')
STIRS = ('RPUSH a 1 2 3', 'LPUSH b x', 'ZADD z 1 m 2 n', 'ZADD y 3 o', 'DEL a b y z',
         'RENAME z y', 'COPY a b REPLACE', 'SORT a BY nosort STORE b', 'SET a string', 'DEL a',
         'FLUSHALL', 'MULTI|RPUSH a 1|DEL a|EXEC', 'MULTI|RPUSH a 1|RPUSH b 2|LPOP b|EXEC',
         'CLIENT UNBLOCK %d', 'CLIENT UNBLOCK %d ERROR', 'CLIENT KILL ID %d', 'CLIENT KILL ID %d',
         'ZUNIONSTORE z 1 y', 'PEXPIRE a 1', 'ACL DELUSER waiter')


def blocked(f):
    """Clients that wait are served, thrown out and lose their keys and users in any order."""
    rng = random.Random(1)
    for _ in range(40):
        f.call('ACL SETUSER waiter on nopass +@all ~* &*')
        waiting = []
        for i in range(24):
            conn = f.place.conn(f.server)
            if i % 3 == 0:
                conn.call('AUTH', 'waiter', 'x')
            number = conn.call('CLIENT', 'ID')
            conn.send(encode([w.encode() for w in rng.choice(WAITS).split()]))
            waiting.append((number, conn))
        for _ in range(40):
            stir = rng.choice(STIRS)
            for part in stir.split('|'):
                f.call(part % rng.choice(waiting)[0] if '%' in part else part)
            if rng.randrange(4) == 0:
                waiting[rng.randrange(len(waiting))][1].close()
        for _, conn in waiting:
            conn.close()
        f.check('who has gone does not wait', wait_until(
            lambda: b'blocked_clients:0\r\n' in f.call('INFO clients')))


# --- ACL and positions of keys ---

# Of a user that may not touch "no": nothing of it must come, and it must not change.
BESIDE = (
    'LMPOP 2 ok LEFT COUNT no', 'ZUNIONSTORE ok 4294967297 no', 'ZUNION 18446744073709551617 no',
    'SINTERCARD -1 no', 'ZMPOP 0 no MIN', 'SORT_RO ok BY no GET no', 'SORT_RO ok GET no*',
    'SORT ok BY no* GET #', 'SORT ok BY nosort GET no STORE ok', 'SORT ok STORE ok STORE no',
    'SORT ok GET n*', 'GEORADIUS ok 1 1 1 m STORE ok STORE no',
    'GEORADIUS ok 1 1 1 m STOREDIST no STORE ok', 'COPY no ok', 'MSET ok v no', 'MSET ok v no v x',
    'OBJECT FREQ no', 'MEMORY USAGE no SAMPLES 0', 'KEYS no', 'BITOP NOT ok no no')
RULES = (
    '(', ')', '()', '((', '(~', '(%', '(+get', '+get)', '(~* +get', '(~*) (', '( )', '(%)', '(&)',
    '(+)', '(-)', '(+@)', '(>x)', '(on)', '(reset)', '((+get))', '(+get) )', '%', '%R', '%R~',
    '%RW', '%RR~a', '%X~a', '%~a', '%RWRW~a', '+', '-', '+@', '-@', '+|', '+get|', '+config|',
    '+|get', '+config|nosuch', '+config|get|x', '+get|a|b', '-get|a', '|', '~', '&', '>', '<', '#',
    '!', '#zz', '#' + '0' * 63, '#' + '0' * 65, '!' + '0' * 64, '<none', 'on off x', '\x00', '\xff',
    '~a b', '&a b', '>', '@', '+@nosuch', '-@all +get|x', 'nopass resetpass', 'clearselectors (',
    '~' + 'x' * 70000, '(' + '~a ' * 20000 + ')', '(' * 20000, '+' + '|' * 20000)


def acl(f):
    """Keys that a user may not touch, in each position; malformed rules; calls without sense."""
    check_keys(f)
    f.expect((('ACL SETUSER u on nopass +@all ~ok* %R~ok* resetchannels', b'OK'),))
    user = f.place.conn(f.server)
    user.call('AUTH', 'u', 'x')
    f.expect((('RPUSH no secret', 1), ('RPUSH ok o 1', 2)))
    for call in BESIDE:
        got = user.call(*call.split())
        f.check('%s by a user who may not' % call, b'secret' not in repr(got).encode(), got)
        f.expect((('LRANGE no 0 -1', [b'secret']), ('DEL ok', anything), ('RPUSH ok o 1', 2)))
    for call in ('GET no', 'SORT_RO no', 'SORT ok STORE no', 'MSET ok v no v', 'COPY no ok'):
        f.check(call, NOPERM(user.call(*call.split())))
    f.check('BY of a user who may not read all', error(b'ERR BY option of SORT denied')(
        user.call('SORT_RO', 'ok', 'BY', 'no*')))
    user.close()
    malformed(f)
    nonsense(f)


def malformed(f):
    """Rules that are none change nothing; the others can be written down and read again."""
    described = f.call('ACL LIST')
    for rule in RULES:
        got = f.conn.call('ACL', 'SETUSER', 'u', *rule.encode('latin1').split(b' '))
        now = f.call('ACL LIST')
        if isinstance(got, ErrorReply):
            f.check('ACL SETUSER u %.60r' % rule, now == described, got, now)
        else:
            line = [x for x in now if x.startswith(b'user u ')][0].split(b' ')[2:]
            f.check('ACL SETUSER again: %.60r' % rule,
                    f.conn.call('ACL', 'SETUSER', 'again', 'reset', *line) == b'OK', line)
            again = [x for x in f.call('ACL LIST') if x.startswith(b'user again ')]
            f.check('rules are as they were: %.60r' % rule, again[0].split(b' ')[2:] == line, again)
            f.call('ACL DELUSER again')
        f.call('ACL GETUSER u')
        f.expect((('ACL SETUSER u reset on nopass +@all ~ok* resetchannels', b'OK'),))
        described = f.call('ACL LIST')
    f.expect((('ACL DELUSER u', 1),))


def nonsense(f):
    """Which keys a call has that no command takes: words of it, or an error."""
    names = [entry[0] for entry in f.conn.call('COMMAND')]
    rng = random.Random(2)
    calls = []
    for name in names:
        for length in range(0, 7):
            for _ in range(4):
                calls.append([name] + [rng.choice([b'%d' % rng.choice(EDGES), b'2', b'STORE', b'k',
                                                   b'KEYS', b'', b'STREAMS', b'BY'])
                                       for _ in range(length)])
    for word in (b'GETKEYS', b'GETKEYSANDFLAGS'):
        replies = f.pipeline([[b'COMMAND', word] + call for call in calls])
        for call, got in zip(calls, replies):
            keys = [] if isinstance(got, ErrorReply) else \
                [k[0] if isinstance(k, list) else k for k in got]
            f.check('COMMAND %s %s' % (word, call), all(k in call[1:] for k in keys), got)


# --- patterns ---

EVIL = (b'*a' * 32000 + b'b', b'a*' * 2000 + b'b', b'*' * 60000 + b'b', b'*?' * 2000 + b'b',
        b'[' * 60000, b'*[b' * 20000, b'*[^b' + b'a-' * 20000 + b']' + b'*[^a]', b'\\' * 60001,
        b'*' + b'[a-z]' * 4000 + b'b', b'*\\a' * 2000 + b'\\', (b'*' + b'a' * 30) * 1000 + b'b')


def patterns(f):
    """Patterns that made matching exponential, or recursive without end, wherever one may stand."""
    name = b'a' * 5000
    f.expect(((['SET', name, 'v'], b'OK'), (['SADD', 'a', name], 1), (['HSET', 'aa', name, 1], 1),
              (['ZADD', 'aaa', 1, name], 1)))
    listener = f.place.conn(f.server)
    for pattern in EVIL:
        f.expect(((['KEYS', pattern], []),
                  (['SCAN', 0, 'COUNT', 100, 'MATCH', pattern], [b'0', []]),
                  (['SSCAN', 'a', 0, 'MATCH', pattern], [b'0', []]),
                  (['HSCAN', 'aa', 0, 'MATCH', pattern], [b'0', []]),
                  (['ZSCAN', 'aaa', 0, 'MATCH', pattern], [b'0', []]),
                  (['PUBSUB', 'CHANNELS', pattern], []), (['CONFIG', 'GET', pattern], anything),
                  (['COMMAND', 'LIST', 'FILTERBY', 'PATTERN', pattern], anything)))
        listener.call('PSUBSCRIBE', pattern)
        f.call(['ACL', 'SETUSER', 'p', 'reset', 'on', '+@all', b'~' + pattern, b'&' + pattern])
        for call in (['GET', name], ['PUBLISH', name, 'm']):
            got = f.call(['ACL', 'DRYRUN', 'p'] + call)
            f.check('denied by %.20r' % pattern, isinstance(got, bytes) and b'permissions' in got or
                    error()(got), got)
    f.expect(((['PUBLISH', name, 'm'], 0), ('ACL DELUSER p', anything)))
    listener.close()
    # And those that do match.
    f.expect(((['KEYS', b'*a' * 900 + b'a' * 900], [name]), (['KEYS', b'aaaaa*' * 900], [name])))


# --- numbers that are none ---


def numbers(f):
    """What is stored as a number can be read as one again."""
    for value in ('abc', '', ' 1', '1 ', 'nan', '1' * 400 + 'x', '0x', '1e', '1,5', '\x00', 'inf '):
        f.expect(((['HSET', 'h', 'f', value], anything), (['SET', 's', value], b'OK'),
                  ('HINCRBYFLOAT h f 1', error(b'ERR hash value is not a float')),
                  ('INCRBYFLOAT s 1', FLOAT), (['HGET', 'h', 'f'], value.encode()),
                  ('HINCRBY h f 1', error(b'ERR hash value is not an integer')),
                  ('INCR s', NOT_INT)))
    f.expect((('HSET h f 1', 0), ('SET s 1', b'OK')))
    for by in ('nan', 'abc', '', '1e5000', '-1e5000', '1 ', ' 1'):
        f.expect(((['HINCRBYFLOAT', 'h', 'f', by], error(b'ERR value is not a valid float')),
                  (['INCRBYFLOAT', 's', by], FLOAT), (['ZINCRBY', 'z', by, 'm'], FLOAT),
                  (['ZADD', 'z', by, 'm'], FLOAT)))
    f.expect((('HINCRBYFLOAT h f inf', error()), ('HINCRBYFLOAT h new -inf', error()),
              ('INCRBYFLOAT s inf', NAN), ('HGETALL h', [b'f', b'1']), ('GET s', b'1'),
              ('ZADD z inf m', 1), ('ZINCRBY z -inf m', error(b'ERR resulting score is not a')),
              ('ZADD z INCR -inf m', error(b'ERR resulting score is not a')),
              ('ZSCORE z m', b'inf'), ('ZADD y -inf m', 1),
              ('ZUNION 2 z y WITHSCORES', [b'm', b'0']),
              ('ZUNION 1 z WEIGHTS 0 WITHSCORES', [b'm', b'0']),
              ('ZUNION 1 z WEIGHTS nan', error()), ('HSET h f 1e308', 0),
              ('HINCRBYFLOAT h f 1e308', anything)))
    for by in ('1e308', '-1e308', '1e-300', '0.1', '-0', '1e4000', '3.141592653589793238'):
        f.call(['HINCRBYFLOAT', 'h', 'f', by])
        f.expect((('HINCRBYFLOAT h f 0', lambda r: not isinstance(r, ErrorReply)),
                  ('OBJECT ENCODING h', lambda r: not isinstance(r, ErrorReply))))


# --- positions ---


def positions(f):
    """Geo commands on scores that are no positions, and shapes without bounds."""
    scores = ['1e300', '-1e300', 'inf', '-inf', '-1', '-0', '4503599627370496', '1e19', '0.5',
              '9223372036854775808', '18446744073709551616', '5e-324']
    for i, score in enumerate(scores):
        f.call(['ZADD', 'g', score, 'm%d' % i])
    f.expect((('GEOADD g 13.36 38.11 p 180 85.05112878 q -180 -85.05112878 r', 3),))
    for place in ('nan nan', 'inf 0', '0 -inf', '180.1 0', '0 85.06', '1e400 0', '-180.0001 0',
                  '0x10 x'):
        f.expect((('GEOADD g %s x' % place, error()),
                  ('GEOSEARCH g FROMLONLAT %s BYRADIUS 1 m' % place, error())))
    lengths = ('0', '1e-300', '1', '1e9', '1e300', '1.7e308', 'inf')
    members = ['m%d' % i for i in range(len(scores))] + ['p', 'q', 'r']
    commands = [['GEOPOS', 'g'] + members, ['GEOHASH', 'g'] + members]
    for member in members:
        commands.append(['GEODIST', 'g', member, 'p', 'ft'])
        for length in lengths:
            commands.append(['GEOSEARCH', 'g', 'FROMMEMBER', member, 'BYRADIUS', length, 'mi',
                             'WITHDIST', 'WITHCOORD', 'WITHHASH', 'ASC'])
            commands.append(['GEOSEARCH', 'g', 'FROMMEMBER', member, 'BYBOX', length, length, 'km',
                             'COUNT', I64_MAX, 'ANY'])
            commands.append(['GEORADIUSBYMEMBER', 'g', member, length, 'ft', 'STOREDIST', 'to'])
    for command, got in zip(commands, f.pipeline(commands)):
        f.check(command, weight(got) < REPLY_BYTES_MAX, got)
    for length in ('nan', '-1', '-inf', '1e400', 'x', ''):
        f.expect(((['GEOSEARCH', 'g', 'FROMMEMBER', 'p', 'BYRADIUS', length, 'm'], error()),
                  (['GEOSEARCH', 'g', 'FROMMEMBER', 'p', 'BYBOX', 1, length, 'm'], error())))


# --- buffers ---


def buffers(f):
    """Requests and replies of sizes about those at which buffers grow and shrink, in any cuts."""
    rng = random.Random(3)
    sock = raw(f.server)
    for _ in range(60):
        parts = [bytes([97 + rng.randrange(26)]) * rng.choice(
            [0, 1, 100, 16383, 16384, 32767, 32768, 32769, 65535, 65537, 300000])
            for _ in range(rng.randrange(1, 5))]
        request = b''.join(encode([b'ECHO', part]) for part in parts)
        wanted = b''.join(b'$%d\r\n%s\r\n' % (len(part), part) for part in parts)
        at = 0
        while at < len(request):
            n = rng.choice([1, 7, 4096, 16384, 32768, 65536, 1 << 20])
            send(sock, request[at:at + n])
            at += n
        got = b''
        while len(got) < len(wanted):
            data = sock.recv(1 << 18)
            if not data:
                break
            got += data
        f.check('echoes', got == wanted, len(got), len(wanted))
    sock.close()


# --- other protocols ---


def forged(f):
    """A browser, or a server made to ask: what looks like a command in a body is not run."""
    body = b'SET forged 1\r\nFLUSHALL\r\n'
    f.call('SET kept 1')
    for head in (b'POST / HTTP/1.1\r\n', b'post /x HTTP/1.0\r\n', b'Host: a\r\n', b'HOST: a\r\n',
                 b'GET / HTTP/1.1\r\n', b'PUT /k HTTP/1.1\r\n', b'OPTIONS * HTTP/1.1\r\n'):
        for pieces in ([head + b'\r\n' + body], [head[:3], head[3:], b'\r\n', body]):
            sock = raw(f.server)
            for piece in pieces:
                send(sock, piece)
            got, closed = read_until(sock, b'\0')
            f.check('%r' % head, (got, closed) == (b'', True), got, closed)
            sock.close()
    f.expect((('EXISTS forged', 0), ('EXISTS kept', 1)))


# --- the machine ---


def socket_mode(f):
    """The Unix socket is its owner's from the moment it is there, whatever the umask is."""
    mode = stat.S_IMODE(os.stat(f.server.socket_path).st_mode)
    f.check('mode of the socket', mode & 0o077 == 0, oct(mode))


CLASSES = (
    ('sizes', sizes, 'CVE-2021-32761 CVE-2021-29477 CVE-2021-29478 CVE-2021-32687 CVE-2021-32628 '
     'CVE-2021-32627 CVE-2021-41099 CVE-2022-35977'),
    ('draws', draws, 'CVE-2023-22458 CVE-2023-25155'),
    ('payloads', payloads, 'CVE-2021-32687 CVE-2021-32627 CVE-2026-25243 CVE-2026-66373'),
    ('hyperloglog', hyperloglog, 'CVE-2025-32023'),
    ('strangers', strangers, 'CVE-2021-32675 CVE-2025-21605'),
    ('broken_connects', broken_connects, 'CVE-2025-48367'),
    ('blocked', blocked, 'CVE-2026-23479'),
    ('acl', acl, 'CVE-2023-41053 CVE-2023-36824 CVE-2024-31227 CVE-2024-51741'),
    ('patterns', patterns, 'CVE-2022-36021 CVE-2024-31228'),
    ('numbers', numbers, 'CVE-2023-28856'),
    ('positions', positions, 'none: what the casts of the others would have met here'),
    ('buffers', buffers, 'CVE-2023-41056'),
    ('forged', forged, 'none: requests forged through a browser or another server'),
    ('socket_mode', socket_mode, 'CVE-2023-45145'),
)


def main():
    sys.stdout.reconfigure(line_buffering=True)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('server')
    parser.add_argument('--roomy', action='store_true')
    parser.add_argument('--only', action='append')
    args = parser.parse_args()
    place = Place(os.path.abspath(args.server))
    f = Flaws(place, args.roomy)
    os.umask(0)
    try:
        f.start(port=free_ports(1)[0], bind='127.0.0.1')
        for name, function, _ in CLASSES:
            if not args.only or name in args.only:
                f.run(name, function)
        f.stop()
    finally:
        code = place.finish()
    sys.exit(code)


if __name__ == '__main__':
    main()
