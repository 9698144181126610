#!/usr/bin/env python3
"""Replies of large collections that are in DRAM, which are sent in slices, compared with
redis-server.

Both servers get the same data. Replies must be the same, in RESP2 and RESP3. Then a client asks
and takes nothing of the reply while others change, rename, replace and delete the key, while it
expires, or while FLUSHALL runs: what comes is what the collection was when the command ran, nobody
waits for that client, and what waits to be sent is little until then. Writes have their turn beside
clients that ask again and again. At last readers and writers
meet all the time, and every reply must be one of a moment.
"""

import argparse
import random
import shutil
import sys
import threading
import time

import diff_cmds
from diff_cmds import Conn, EXACT, PAIRS, UNORDERED, normalise

BATCH = 500
PAD = 'x' * 100
KEYS = ('hash', 'set', 'zset', 'list')
READS = {'hash': ('HGETALL', 'hash'), 'set': ('SMEMBERS', 'set'),
         'zset': ('ZRANGE', 'zset', '0', '-1', 'WITHSCORES'), 'list': ('LRANGE', 'list', '0', '-1')}
ORDERS = {'hash': PAIRS, 'set': UNORDERED, 'zset': EXACT, 'list': EXACT}
# What may wait to be sent of a reply of many MB: some slices, and buffers.
WAITING_BYTES_MAX = 700 << 10
SLOW_S_MAX = 240  # For what hangs.


def name(i):
    return 'element:%07d:%s' % (i * 7919 % 1000003, PAD)


def fill(conns, count, keys=KEYS):
    for at in range(0, count, BATCH):
        part = range(at, at + BATCH)
        for conn in conns:
            for cmd in (('HSET', 'hash', *(x for i in part for x in (name(i), i))),
                        ('SADD', 'set', *(name(i) for i in part)),
                        ('ZADD', 'zset', *(x for i in part for x in (i % 1000, name(i)))),
                        ('RPUSH', 'list', *(name(i) for i in part))):
                if cmd[1] in keys:
                    conn.call(*cmd)


def same(redis, tierra, how, *args):
    want, got = (normalise(conn.call(*args), how) for conn in (redis, tierra))
    if want != got:
        raise AssertionError('%r: redis %.200r, tierra %.200r' % (args, want, got))
    return got


def compare(redis, tierra, count):
    for proto in ('2', '3'):
        for conn in (redis, tierra):
            conn.call('HELLO', proto)
        same(redis, tierra, PAIRS if proto == '2' else UNORDERED, 'HGETALL', 'hash')
        same(redis, tierra, UNORDERED, 'HKEYS', 'hash')
        same(redis, tierra, UNORDERED, 'HVALS', 'hash')
        same(redis, tierra, UNORDERED, 'SMEMBERS', 'set')
        for span in (('0', '-1'), ('5', str(count - 7)), ('-5000', '-3'), ('10', '12')):
            same(redis, tierra, EXACT, 'LRANGE', 'list', *span)
            same(redis, tierra, EXACT, 'ZRANGE', 'zset', *span, 'WITHSCORES')
            same(redis, tierra, EXACT, 'ZREVRANGE', 'zset', *span)
        same(redis, tierra, EXACT, 'ZRANGEBYSCORE', 'zset', '(3', '900', 'WITHSCORES')
        same(redis, tierra, EXACT, 'ZREVRANGEBYSCORE', 'zset', '900', '3', 'LIMIT', '17', '9000')
        same(redis, tierra, EXACT, 'ZRANGE', 'zset', '+inf', '(1', 'BYSCORE', 'REV')
        for cmd in (('MULTI',), ('LRANGE', 'list', '0', '-1'), ('LLEN', 'list'), ('EXEC',)):
            same(redis, tierra, EXACT, *cmd)


def waiting_bytes(conn, client):
    """What the server has for the connection of that name."""
    for line in conn.call('CLIENT', 'LIST')[1].decode().splitlines():
        fields = dict(f.split('=', 1) for f in line.split() if '=' in f)
        if fields.get('name') == client:
            return int(fields['omem'])
    raise AssertionError('no client %s' % client)


class Slow:
    """A client that has asked and takes nothing yet."""

    count = 0

    def __init__(self, path, other, key):
        self.key = key
        self.conn = Conn(path)
        self.want = normalise(other.call(*READS[key]), ORDERS[key])
        Slow.count += 1
        me = 'slow%d' % Slow.count
        self.conn.call('CLIENT', 'SETNAME', me)
        self.conn.send([READS[key], ('PING',)])
        until = time.monotonic() + SLOW_S_MAX
        while waiting_bytes(other, me) == 0 and other.call('EXISTS', key)[1] == b'1':
            assert time.monotonic() < until, 'no reply to %r' % (READS[key],)
        self.omem = waiting_bytes(other, me)

    def take(self):
        got = normalise(self.conn.read(), ORDERS[self.key])
        if got != self.want:
            raise AssertionError('%s: %d values instead of %d' % (
                self.key, len(got[1]), len(self.want[1])))
        assert self.conn.read() == ('+', b'PONG')
        self.conn.close()


CHANGES = {
    'hash': (('HSET', 'hash', name(0), 'another'), ('HDEL', 'hash', name(1), name(2)),
             ('HINCRBY', 'hash', 'counter', '1')),
    'set': (('SREM', 'set', name(0), name(3)), ('SADD', 'set', 'another'), ('SPOP', 'set', '10')),
    'zset': (('ZADD', 'zset', '-7', name(5)), ('ZPOPMIN', 'zset', '10'),
             ('ZREMRANGEBYRANK', 'zset', '100', '200'), ('ZINCRBY', 'zset', '2000', name(77))),
    'list': (('LPOP', 'list'), ('LINSERT', 'list', 'BEFORE', name(50), 'another'),
             ('LTRIM', 'list', '3', '-100'), ('RPUSH', 'list', 'more'), ('LSET', 'list', '7', 'x')),
}
DROPS = (('DEL', '%s'), ('UNLINK', '%s'), ('RENAME', '%s', 'other'), ('SET', '%s', 'text'))


def slow_reader(path, tierra, count):
    for key in KEYS:
        for change in CHANGES[key]:
            slow = Slow(path, tierra, key)
            assert slow.omem < WAITING_BYTES_MAX, '%s: %d bytes wait' % (key, slow.omem)
            assert tierra.call(*change)[0] != '-', change
            slow.take()
        for drop in DROPS:
            slow = Slow(path, tierra, key)
            again = Slow(path, tierra, key)
            reply = tierra.call(*(word.replace('%s', key) for word in drop))
            assert reply[0] != '-', (drop, reply)
            again.take()
            slow.take()
            tierra.call('DEL', key, 'other')
            fill((tierra,), count, (key,))


def expires_under_way(path, tierra, key, count):
    """It expires while its reply waits for the client, for which expiry does not wait."""
    for ttl_ms in (500, 5000, 50000):
        tierra.call('PEXPIRE', key, ttl_ms)
        slow = Slow(path, tierra, key)
        in_time = tierra.call('EXISTS', key)[1] == b'1'
        while tierra.call('EXISTS', key)[1] != b'0':
            time.sleep(0.01)
        tierra.call('SADD', key, 'new')
        if in_time:
            assert slow.omem < WAITING_BYTES_MAX, '%d bytes wait' % slow.omem
            slow.take()
            assert tierra.call('SMEMBERS', key)[1] == [('$', b'new')]
        tierra.call('DEL', key)
        fill((tierra,), count, (key,))
        if in_time:
            return
    raise AssertionError('it expires too early')


def emptied(path, tierra, count, strings):
    """FLUSHALL, of few keys or of so many that it takes a new store."""
    for at in range(0, strings, BATCH):
        tierra.call('MSET', *(x for i in range(at, at + BATCH) for x in ('string:%d' % i, i)))
    slow = [Slow(path, tierra, key) for key in KEYS]
    assert tierra.call('FLUSHALL') == ('+', b'OK')
    assert tierra.call('DBSIZE')[1] == b'0'
    for reader in slow:
        reader.take()
    fill((tierra,), count)


def meet(path, tierra, rng, rounds):
    """The same number is in all fields, and in all elements: a reply shows one."""
    n = 6000
    tierra.call('DEL', 'all', 'seq')
    fields = ['field:%05d' % i for i in range(n)]
    tierra.call('HSET', 'all', *(x for f in fields for x in (f, '0')))
    stop = threading.Event()
    failed = []

    def write(seed):
        conn = Conn(path)
        number = 0
        while not stop.is_set():
            number += 1
            part = random.Random(seed * 1000003 + number)
            value = '%d.%d' % (seed, number)
            words = [x for f in fields for x in (f, value)]
            if part.random() < 0.5:
                conn.call('HSET', 'all', *words)
            else:
                conn.send([('MULTI',), ('DEL', 'all'), ('HSET', 'all', *words), ('EXEC',)])
                for _ in range(4):
                    conn.read()
        conn.close()

    def read():
        conn = Conn(path)
        for _ in range(rounds):
            values = {v[1] for v in conn.call('HVALS', 'all')[1]}
            if len(values) != 1:
                failed.append(sorted(values)[:5])
        conn.close()

    writers = [threading.Thread(target=write, args=(rng.randrange(1000),)) for _ in range(2)]
    readers = [threading.Thread(target=read) for _ in range(3)]
    for t in writers + readers:
        t.start()
    for t in readers:
        t.join()
    stop.set()
    for t in writers:
        t.join()
    assert not failed, 'one reply of several moments: %r' % (failed[0],)


def not_starved(path, tierra):
    """Writes do not wait until clients that ask again and again have all of their replies. The one
    who writes may itself not get the CPU: without a turn it is the last whenever it is tried."""
    parts = []
    while not parts or (parts[-1] >= 0.5 and len(parts) < 10):
        parts.append(part_that_was_waited_for(path, tierra))
    assert parts[-1] < 0.5, 'writers waited for these parts of the replies: %s' % parts


def part_that_was_waited_for(path, tierra):
    asked, clients, writes = 100, 3, 10
    keys = [key[1] for key in tierra.call('HKEYS', 'hash')[1]]
    reply = len('*%d\r\n' % len(keys)) + sum(len('$%d\r\n\r\n' % len(k)) + len(k) for k in keys)
    expected = reply * asked
    taken = [0] * clients

    def read(i, conn):
        while taken[i] < expected:
            taken[i] += len(conn.sock.recv(1 << 20))

    conns = [Conn(path) for _ in range(clients)]
    for conn in conns:
        conn.send([('HKEYS', 'hash')] * asked)
    readers = [threading.Thread(target=read, args=item) for item in enumerate(conns)]
    for t in readers:
        t.start()
    for i in range(writes):
        assert tierra.call('HSET', 'hash', name(0), i)[1] == b'0'
    part = sum(taken) / (expected * clients)
    for t in readers:
        t.join()
    for conn in conns:
        conn.close()
    return part


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n\n', maxsplit=1)[0])
    p.add_argument('--server', required=True)
    p.add_argument('--redis', default=shutil.which('redis-server'))
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--elements', type=int, default=12000)
    p.add_argument('--rounds', type=int, default=30)
    args = p.parse_args()
    if args.redis is None:
        return diff_cmds.SKIP
    print('seed %d' % args.seed)
    redis_proc, redis_dir, redis_path = diff_cmds.spawn(
        [args.redis, '--save', '', '--appendonly', 'no'], 'redis-server')
    proc, dir_, path = diff_cmds.spawn(
        [args.server, '--maxmemory', '1gb', '--loglevel', 'warning'], 'tierra-server')
    try:
        redis, tierra = Conn(redis_path), Conn(path)
        fill((redis, tierra), args.elements)
        compare(redis, tierra, args.elements)
        tierra.call('HELLO', '2')
        not_starved(path, tierra)
        slow_reader(path, tierra, args.elements)
        for key in KEYS:
            expires_under_way(path, tierra, key, args.elements)
        emptied(path, tierra, args.elements, 0)
        emptied(path, tierra, args.elements, 12000)
        meet(path, tierra, random.Random(args.seed), args.rounds)
    finally:
        for server in (redis_proc, proc):
            server.kill()
            server.wait()
        for directory in (redis_dir, dir_):
            shutil.rmtree(directory, ignore_errors=True)
    print('ok')
    return 0


if __name__ == '__main__':
    sys.exit(main())
