#!/usr/bin/env python3
"""Collections far larger than the memory of the server, compared with redis-server.

Both servers get the same lists and sorted sets; the second has so little memory that most of each
is on flash. Then commands read, pop and change parts of them, and every reply must be the same. The
second server's resident memory is looked at all the time and must stay within the budget. At last
it is killed and started again, and asked once more.
"""

import argparse
import os
import random
import shutil
import signal
import sys

import diff_cmds
from diff_cmds import Conn

MEMORY_MB = 48
# The process itself, what the allocator keeps, and what is on the way to flash.
RSS_MB_MAX = 2 * MEMORY_MB
BATCH = 100


class Pair:
    def __init__(self, a, b, pid, rss=0):
        self.a, self.b, self.pid = a, b, pid
        self.rss = rss
        self.calls = 0

    def same(self, *args):
        self.calls += 1
        want = self.a.call(*args)
        try:
            got = self.b.call(*args)
        except TimeoutError as e:
            raise AssertionError('no reply to %r' % (args[:6],)) from e
        if want != got:
            raise AssertionError('%r: redis %.300r, tierra %.300r' % (args[:6], want, got))
        if self.calls % 50 == 0:
            self.look()
        return want

    def look(self):
        with open('/proc/%d/statm' % self.pid, encoding='ascii') as f:
            self.rss = max(self.rss, int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') >> 20)


def fill(pair, rng, count):
    for i in range(0, count, BATCH):
        pair.same('RPUSH', 'list', *('element:%08d' % k for k in range(i, i + BATCH)))
        scores = (x for k in range(i, i + BATCH)
                  for x in (rng.randrange(count * 4), 'member:%08d' % k))
        pair.same('ZADD', 'zset', *scores)
        pair.same('HSET', 'hash', *(x for k in range(i, i + BATCH)
                                    for x in ('field:%08d' % k, 'value:%d' % k)))
        pair.same('SADD', 'set', *('member:%08d' % k for k in range(i, i + BATCH)))


def command(rng, count):
    """One command on a large collection; what it needs is a small part of that."""
    n = rng.randrange(1, 150)
    end = rng.choice((0, -1))
    near = rng.randrange(400)
    index = near if end == 0 else -1 - near
    score = rng.randrange(count * 4)
    member = 'member:%08d' % rng.randrange(count + 10)
    return rng.choice((
        lambda: ('LPUSH', 'list', *('pushed:%d' % rng.randrange(count) for _ in range(n % 9 + 1))),
        lambda: ('RPUSH', 'list', *('pushed:%d' % rng.randrange(count) for _ in range(n % 9 + 1))),
        lambda: ('LPOP', 'list', n),
        lambda: ('RPOP', 'list', n),
        lambda: ('RPOPLPUSH', 'list', 'list'),
        lambda: ('LINDEX', 'list', index),
        lambda: ('LSET', 'list', index, 'set:%d' % n),
        lambda: ('LRANGE', 'list', *((near, near + n) if end == 0 else (-near - n, -near - 1))),
        lambda: ('LTRIM', 'list', n % 5, -1 - n % 3),
        lambda: ('LLEN', 'list'),
        lambda: ('ZPOPMIN', 'zset', n % 20),
        lambda: ('ZPOPMAX', 'zset', n % 20),
        lambda: ('ZRANGE', 'zset', *((near, near + n) if end == 0 else (-near - n, -near - 1)),
                 'WITHSCORES'),
        lambda: ('ZREVRANGE', 'zset', near, near + n),
        lambda: ('ZRANGEBYSCORE', 'zset', score, score + 800, 'WITHSCORES'),
        lambda: ('ZRANGEBYSCORE', 'zset', '(%d' % score, '+inf', 'LIMIT', n % 7, n),
        lambda: ('ZREVRANGEBYSCORE', 'zset', score, '-inf', 'LIMIT', n % 7, n),
        lambda: ('ZREVRANGEBYSCORE', 'zset', '(inf', '(%d' % score, 'LIMIT', n % 7, n),
        lambda: ('ZCOUNT', 'zset', score, score + 2000),
        lambda: ('ZRANGEBYSCORE', 'zset', score, score - n),
        lambda: ('ZREMRANGEBYSCORE', 'zset', score, score + n),
        lambda: ('ZADD', 'zset', rng.randrange(count * 4), member, rng.randrange(count * 4),
                 'new:%d' % rng.randrange(count)),
        lambda: ('ZINCRBY', 'zset', rng.randrange(-5000, 5000), member),
        lambda: ('ZREM', 'zset', member),
        lambda: ('ZSCORE', 'zset', member),
        lambda: ('ZCARD', 'zset'),
        lambda: ('HGET', 'hash', 'field:%08d' % rng.randrange(count + 10)),
        lambda: ('HINCRBY', 'hash', 'counter:%d' % n, n),
        lambda: ('HDEL', 'hash', 'field:%08d' % rng.randrange(count)),
        lambda: ('HLEN', 'hash'),
        lambda: ('SISMEMBER', 'set', member),
        lambda: ('SREM', 'set', member),
        lambda: ('SCARD', 'set'),
    ))()


def transaction(pair, rng, count):
    for conn in (pair.a, pair.b):
        conn.call('MULTI')
    for _ in range(rng.randrange(2, 6)):
        cmd = command(rng, count)
        # What moves everything would ask for all of the collection.
        if cmd[0] not in ('LTRIM', 'ZREMRANGEBYSCORE'):
            pair.same(*cmd)
    pair.same('EXEC')


class Starved(Conn):
    def relieve(self):
        """Never more memory: what is refused is tried again until there is room."""


def start(args, directory=None):
    return diff_cmds.spawn(
        [args.server, '--maxmemory', '%dmb' % MEMORY_MB, '--loglevel', 'warning'],
        'tierra-server', directory)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    p.add_argument('--redis', default=shutil.which('redis-server'))
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--elements', type=int, default=300000)
    p.add_argument('--count', type=int, default=3000)
    args = p.parse_args()
    if args.redis is None:
        return diff_cmds.SKIP
    rng = random.Random(args.seed)
    redis, redis_dir, redis_path = diff_cmds.spawn(
        [args.redis, '--save', '', '--appendonly', 'no'], 'redis-server')
    tierra, dir_, path = start(args)
    try:
        pair = Pair(Conn(redis_path), Starved(path), tierra.pid)
        fill(pair, rng, args.elements)
        print('filled, rss %d MB' % pair.rss)
        # More and more of an end that is partly there: behind +inf is no score.
        for n in (3, 30, 300):
            pair.same('ZREVRANGEBYSCORE', 'zset', '+inf', '-inf', 'LIMIT', 0, n)
            pair.same('ZRANGEBYSCORE', 'zset', '-inf', '+inf', 'LIMIT', 0, n)
        for i in range(args.count):
            if i % 20 == 0:
                transaction(pair, rng, args.elements)
            else:
                pair.same(*command(rng, args.elements))
        tierra.send_signal(signal.SIGKILL)
        tierra.wait()
        tierra, dir_, path = start(args, dir_)
        pair = Pair(pair.a, Starved(path), tierra.pid, pair.rss)
        for i in range(args.count // 4):
            pair.same(*command(rng, args.elements))
        print('seed %d: no difference, rss at most %d MB' % (args.seed, pair.rss))
        if pair.rss > RSS_MB_MAX:
            raise AssertionError('rss %d MB' % pair.rss)
    finally:
        diff_cmds.stop(redis, redis_dir, False)
        diff_cmds.stop(tierra, dir_, False)
    return 0


if __name__ == '__main__':
    sys.exit(main())
