#!/usr/bin/env python3
"""Replies of sorted sets, hashes and sets that are larger than what DRAM may hold, compared with
redis-server.

Both servers get the same data; the second is started again with so little memory that none of it
can be loaded whole. Ranges of all kinds, counts, ranks, pages of scans and random elements must be
what redis-server says, in RESP2 and RESP3, while nothing is loaded and the resident memory stays
within the budget.
"""

import argparse
import os
import random
import shutil
import sys
import time

import diff_cmds
from diff_cmds import Conn

MEMORY_MB = 32
# The process itself, and what the allocator keeps, count for more in a small one.
RSS_MB_MAX = MEMORY_MB * 3 // 2
BATCH = 200
PAD = 'x' * 200
MARK = b'the end of the reply'
WAIT_SECONDS_MAX = 60  # For what depends on other threads, which may be slow.


class Plain(Conn):
    """What is refused is refused."""

    def call(self, *args):
        self.send([args])
        return self.read()


def raw(conn, args):
    """The bytes of a reply."""
    conn.send([args, ('ECHO', MARK)])
    end = b'$%d\r\n%s\r\n' % (len(MARK), MARK)
    parts = []
    while True:
        parts.append(conn.file.read1(1 << 20))
        if not parts[-1]:
            raise ConnectionError('closed within the reply to %r' % (args[:8],))
        if b''.join(parts[-2:]).endswith(end):
            return b''.join(parts)[:-len(end)]


class Pair:
    def __init__(self, redis, tierra, pid):
        self.a, self.b, self.pid = redis, tierra, pid
        self.rss = 0

    def resident(self):
        with open('/proc/%d/statm' % self.pid, encoding='ascii') as f:
            return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') >> 20

    def look(self):
        self.rss = max(self.rss, self.resident())

    def same(self, *args):
        """Byte by byte."""
        want, got = (raw(conn, args) for conn in (self.a, self.b))
        self.look()
        if want != got:
            raise AssertionError('%.200r: redis %d bytes %.300r, tierra %d bytes %.300r'
                                 % (args[:8], len(want), want, len(got), got))
        return want

    def change(self, *args):
        """The process itself fills the budget of this test nearly: a write would be refused."""
        rss = self.rss
        assert self.b.call('CONFIG', 'SET', 'maxmemory', '%dmb' % (4 * MEMORY_MB)) == ('+', b'OK')
        self.same(*args)
        assert self.b.call('CONFIG', 'SET', 'maxmemory', '%dmb' % MEMORY_MB) == ('+', b'OK')
        # What it took with that much goes.
        end = time.monotonic() + WAIT_SECONDS_MAX
        while self.resident() > max(rss, MEMORY_MB) and time.monotonic() < end:
            time.sleep(0.01)
        self.rss = rss

    def info(self, name):
        for line in self.b.call('INFO', 'tiering')[1].split(b'\r\n'):
            if line.startswith(name.encode() + b':'):
                return int(line.split(b':')[1])
        raise AssertionError('no field %s' % name)


def member(i):
    return 'member:%07d:%s' % (i * 7919 % 1000003, PAD)


def fill(pair, rng, count):
    scores = ['-inf', 'inf', '-0', '0', '1.5', '-2.25', '1e300', '-1e-300', '7', '7', '7']
    for at in range(0, count, BATCH):
        part = range(at, at + BATCH)
        pair.same('ZADD', 'zset', *(x for i in part for x in (
            rng.choice(scores) if i % 50 == 0 else rng.randrange(-count, count), member(i))))
        pair.same('ZADD', 'lex', *(x for i in part for x in ('0', member(i))))
        pair.same('HSET', 'hash', *(x for i in part for x in (member(i), 'value:%d' % i)))
        pair.same('SADD', 'set', *(member(i) for i in part))
    for key, numbers in (('few', range(0, 2 * count, count // 100)),
                         ('some', range(0, count, 10))):
        pair.same('ZADD', key, *(x for i in numbers for x in (rng.randrange(-9, 9), member(i))))
    pair.same('ZADD', 'few', '-inf', member(1), 'inf', member(2))
    pair.same('SADD', 'sfew', *(member(i) for i in range(0, 2 * count, count // 100)))


def ranges(pair, rng, count):
    middle = count // 2
    for by_rank in ((0, -1), (middle, middle + 10), (-middle, -middle + 20),
                    (count - 3, count + 100), (count, count + 5), (5, 2), (-5, -10)):
        pair.same('ZRANGE', 'zset', *by_rank, 'WITHSCORES')
        pair.same('ZREVRANGE', 'zset', *by_rank)
    pair.same('ZRANGE', 'zset', '100', '-101', 'REV', 'WITHSCORES')
    for low, high in (('(-inf', '(inf'), ('-1000', '(7'), ('(7', '7'),
                      ('0', '0'), ('7', '7'), ('(7', '(7'), ('9', '8'), ('inf', 'inf'),
                      ('(inf', 'inf')):
        pair.same('ZRANGEBYSCORE', 'zset', low, high, 'WITHSCORES')
        pair.same('ZRANGE', 'zset', high, low, 'BYSCORE', 'REV', 'LIMIT', '3', '1000')
        pair.same('ZCOUNT', 'zset', low, high)
    for limit in (('0', '0'), ('1000', '5'), (str(middle), '-3'), ('-1', '5'),
                  (str(count), '5'), ('17', str(middle))):
        pair.same('ZRANGEBYSCORE', 'zset', '-inf', '+inf', 'LIMIT', *limit)
        pair.same('ZREVRANGEBYLEX', 'lex', '+', '-', 'LIMIT', *limit)
    for low, high in (('+', '-'), ('[', '+'), ('(member:09', '+'), ('-', '['), ('-', '('),
                      ('[member:05', '(member:06'), ('(' + member(9), '[' + member(10)),
                      ('[' + member(10), '[' + member(9)), ('[member:09', '[' + 'm' * 66000),
                      ('(member:' + '9' * 70000, '+')):
        pair.same('ZRANGE', 'lex', high, low, 'BYLEX', 'REV')
        pair.same('ZLEXCOUNT', 'lex', low, high)
    pair.same('ZRANGEBYLEX', 'lex', '-', '+')
    # Few enough to be loaded: what the bounds leave out does not count for the limit.
    for low in range(0, 30, 3):
        pair.same('ZRANGEBYLEX', 'lex', '(' + member(low), '+', 'LIMIT', '1', '5')
        pair.same('ZREVRANGEBYLEX', 'lex', '(' + member(low), '-', 'LIMIT', '0', '5')
    pair.same('ZRANGEBYSCORE', 'zset', '(-inf', '+inf', 'LIMIT', '3', '1000')
    pair.same('ZREVRANGEBYSCORE', 'zset', '(7', '-inf', 'LIMIT', '0', '100')
    for i in [rng.randrange(count) for _ in range(6)] + [count + 1]:
        for command in ('ZRANK', 'ZREVRANK'):
            pair.same(command, 'zset', member(i))
            pair.same(command, 'lex', member(i))


def joined(pair):
    """What several have in common, and not, by their scores; of sorted sets and sets."""
    options = ((), ('WEIGHTS', '2', '-0.5', 'WITHSCORES'), ('AGGREGATE', 'MIN', 'WITHSCORES'),
               ('WEIGHTS', '0', 'inf', 'WITHSCORES'),
               ('WEIGHTS', '0', '1', 'AGGREGATE', 'MAX', 'WITHSCORES'))
    for option in options:
        pair.same('ZINTER', '2', 'zset', 'few', *option)
        pair.same('ZINTER', '2', 'sfew', 'zset', *option)
    pair.same('ZINTER', '2', 'few', 'set', 'WITHSCORES')
    pair.same('ZINTER', '3', 'some', 'zset', 'lex', 'WEIGHTS', '1', '0.1', '7', 'WITHSCORES')
    pair.same('ZINTER', '2', 'zset', 'absent')
    pair.same('ZINTER', '2', 'set', 'sfew', 'WITHSCORES')
    pair.same('ZINTER', '4', 'set', 'some', 'zset', 'sfew', 'WITHSCORES')
    pair.same('ZDIFF', '2', 'few', 'zset', 'WITHSCORES')
    pair.same('ZDIFF', '4', 'some', 'absent', 'few', 'set')
    pair.same('ZDIFF', '2', 'sfew', 'zset', 'WITHSCORES')
    pair.same('ZDIFF', '2', 'zset', 'lex')
    # These are kept in parts, and sets and sorted sets have no common order.
    pair.same('ZUNION', '2', 'zset', 'few', 'WITHSCORES')
    pair.same('ZUNION', '4', 'sfew', 'some', 'zset', 'absent', 'WEIGHTS', '3', '2', '-1', '1',
              'AGGREGATE', 'MAX', 'WITHSCORES')
    pair.same('ZUNION', '2', 'set', 'few', 'WITHSCORES')
    for limit in (), ('LIMIT', '77'):
        pair.same('ZINTERCARD', '2', 'zset', 'lex', *limit)
        pair.same('ZINTERCARD', '2', 'few', 'set', *limit)
    for words in (('ZINTERSTORE', 'to', '2', 'zset', 'some', 'AGGREGATE', 'MAX'),
                  ('ZINTERSTORE', 'to', '2', 'to', 'set', 'WEIGHTS', '1', '3'),
                  ('ZDIFFSTORE', 'to', '2', 'few', 'lex')):
        pair.change(*words)
        pair.same('ZRANGE', 'to', '0', '-1', 'WITHSCORES')
    for words in (('ZINTER', '2', 'zset', 'few', 'WEIGHTS', '1'), ('ZUNION', '0', 'zset'),
                  ('ZINTER', '2', 'zset', 'few', 'WEIGHTS', '1', 'x'), ('ZINTER', 'x', 'zset'),
                  ('ZINTER', '2', 'zset', 'few', 'AGGREGATE', 'NO'), ('ZINTER', '9', 'zset'),
                  ('ZINTER', '2', 'zset', 'hash'),
                  ('ZDIFF', '2', 'zset', 'few', 'WEIGHTS', '1', '2'),
                  ('ZINTERCARD', '2', 'zset', 'few', 'LIMIT', '-1')):
        pair.same(*words)
    pair.change('ZDIFFSTORE', 'to', '2', 'zset', 'few', 'WITHSCORES')


def refused(pair):
    """What is wrong with the arguments is told first, and the type next."""
    for words in (('ZRANGE', 'zset', '0', 'x'), ('ZRANGE', 'zset', '0', '-1', 'NO'),
                  ('ZRANGE', 'zset', '0', '-1', 'LIMIT', '1', '2'),
                  ('ZRANGE', 'zset', '-', '+', 'BYLEX', 'WITHSCORES'),
                  ('ZRANGE', 'zset', '0', '1', 'BYSCORE', 'LIMIT', 'a', '2'),
                  ('ZRANGEBYSCORE', 'zset', 'a', '1'), ('ZRANGEBYLEX', 'lex', 'a', '+'),
                  ('ZCOUNT', 'zset', '1', 'nan'), ('ZLEXCOUNT', 'lex', '', '+'),
                  ('ZRANGE', 'hash', '0', '-1'), ('ZCOUNT', 'set', '0', '1'),
                  ('ZRANK', 'set', 'x'), ('ZSCAN', 'hash', '0'), ('ZSCAN', 'zset', 'x'),
                  ('ZSCAN', 'zset', '0', 'COUNT', '0'), ('SRANDMEMBER', 'zset', '3'),
                  ('SRANDMEMBER', 'set', 'x'), ('SRANDMEMBER', 'set', '1', '2'),
                  ('SRANDMEMBER', 'set', '-9223372036854775808'), ('SRANDMEMBER', 'set', '0'),
                  ('HRANDFIELD', 'hash', '2', 'NO'), ('HRANDFIELD', 'set', '2'),
                  ('HRANDFIELD', 'hash', '9223372036854775807', 'WITHVALUES'),
                  ('ZRANDMEMBER', 'zset', '0'), ('ZRANDMEMBER', 'zset', '1', 'x'),
                  ('ZRANDMEMBER', 'hash')):
        pair.same(*words)


def walk(conn, command, key, *options):
    found, cursor, steps = [], b'0', 0
    while True:
        reply = conn.call(command, key, cursor, *options)
        assert reply[0] == '*' and len(reply[1]) == 2, reply
        (_, cursor), (_, some) = reply[1]
        found += [text for _, text in some]
        steps += 1
        if cursor == b'0':
            return found, steps


def pages(pair, rng, count):
    """HSCAN and SSCAN are looked at by tests/torture/faults/streams.py."""
    for options in ((), ('MATCH', 'member:00*')):
        want, _ = walk(pair.a, 'ZSCAN', 'zset', 'COUNT', '100000', *options)
        got, steps = walk(pair.b, 'ZSCAN', 'zset', 'COUNT', '1000', *options)
        assert steps >= count // 1000, steps
        want, got = (list(zip(x[::2], x[1::2])) for x in (want, got))
        assert len(got) == len(set(got)), 'shown twice'
        assert set(want) == set(got), (len(want), len(got))
    # A page costs its rows: the first of a walk, and one that goes on.
    cursor = b'0'
    for _ in range(3):
        (_, cursor), (_, some) = pair.b.call('ZSCAN', 'zset', cursor, 'COUNT', '7')[1]
        assert len(some) == 14, some
    # Cursors that nobody gave begin anew.
    for cursor in (rng.randrange(1 << 48) | 1 << 48, rng.randrange(1, 1 << 48)):
        reply = pair.b.call('ZSCAN', 'zset', cursor, 'COUNT', '5')
        assert reply[0] == '*' and len(reply[1][1][1]) == 10, reply


def cursors_outlast(pair, restart):
    """A place that was forgotten is looked for, and one whose member has gone begins anew."""
    found = []
    cursor = b'0'
    for step in range(4):
        (_, cursor), (_, some) = pair.b.call('ZSCAN', 'lex', cursor, 'COUNT', '500')[1]
        found += [text for _, text in some][::2]
        if step % 2 == 0:
            restart()
    assert len(found) == len(set(found)) == 2000, len(found)
    assert found == sorted(found), 'not on flash'


def shown(pair, *words):
    return [text for _, text in pair.b.call(*words)[1]]


def randoms(pair, count):
    fields = {member(i).encode(): b'value:%d' % i for i in range(count)}
    scores = dict(zip(*[iter(t for _, t in pair.a.call('ZRANGE', 'zset', '0', '-1',
                                                       'WITHSCORES')[1])] * 2))
    for command, key, numbers in (('SRANDMEMBER', 'set', (1, 300, count - 1)),
                                  ('HRANDFIELD', 'hash', (1, 300, count // 3)),
                                  ('ZRANDMEMBER', 'zset', (1, 300, count + 5))):
        assert pair.b.call(command, key)[1] in fields
        for n in numbers:
            got = shown(pair, command, key, n)
            assert len(got) == min(n, count) == len(set(got)), (command, n, len(got))
            assert set(got) <= set(fields), command
        if command != 'ZRANDMEMBER':
            got = shown(pair, command, key, -500)
            assert len(got) == 500 and set(got) <= set(fields)
            assert len(set(got)) > 400, 'hardly random'
    for n in (20, count // 8, -15):
        got = shown(pair, 'HRANDFIELD', 'hash', n, 'WITHVALUES')
        assert all(fields[k] == v for k, v in zip(got[::2], got[1::2]))
        assert len(got) == 2 * abs(n)
    got = shown(pair, 'ZRANDMEMBER', 'zset', 50, 'WITHSCORES')
    assert all(scores[k] == v for k, v in zip(got[::2], got[1::2])) and len(got) == 100
    for kind in ('HRANDFIELD', 'hash', '2', 'WITHVALUES'), ('ZRANDMEMBER', 'zset', '2',
                                                          'WITHSCORES'):
        for conn in (pair.a, pair.b):
            conn.call('HELLO', '3')
        shapes = [[(t, len(v)) for t, v in conn.call(*kind)[1]] for conn in (pair.a, pair.b)]
        assert shapes[0] == shapes[1], shapes
        for conn in (pair.a, pair.b):
            conn.call('HELLO', '2')


def changed_beside(pair, rng, count):
    """What was written a moment ago is in it, in DRAM or not."""
    for _ in range(10):
        i = rng.randrange(count)
        pair.change('ZADD', 'zset', rng.randrange(-count, count), member(i), '-0', member(i + 1))
        pair.change('ZREM', 'zset', member(i + 2))
        pair.change('ZINCRBY', 'zset', '0.5', member(i + 3))
        pair.same('ZRANK', 'zset', member(i + 3))
        pair.same('ZCOUNT', 'zset', '-inf', '+inf')
    pair.same('ZRANGE', 'zset', '0', '-1', 'WITHSCORES')


def start(args, directory=None, memory=None):
    options = ['--maxmemory', '%dmb' % memory] if memory else []
    # As redis-server, which keeps a negative zero in this encoding only.
    return diff_cmds.spawn(
        [args.server, '--loglevel', 'warning', '--save', ''] + diff_cmds.sorted_sets(1) + options,
        'tierra-server', directory)


class Servers:
    def __init__(self, args):
        self.args = args
        self.redis, self.redis_dir, redis_path = diff_cmds.spawn(
            [args.redis, '--save', '', '--appendonly', 'no'] + diff_cmds.sorted_sets(1),
            'redis-server')
        self.tierra, self.dir, path = start(args)
        self.fresh = True
        self.pair = Pair(Conn(redis_path), Conn(path), self.tierra.pid)

    def restart(self):
        """Upon a store that has it all: an end by a signal leaves what takes long to the log."""
        self.pair.b.send([['SHUTDOWN', 'SAVE']])
        assert self.tierra.wait() == 0, self.log()
        self.start_again()

    def start_again(self):
        self.tierra, self.dir, self.path = start(self.args, self.dir, MEMORY_MB)
        self.pair.b = Plain(self.path)
        self.pair.pid = self.tierra.pid
        self.pair.rss = 0 if self.fresh else self.pair.rss  # That one had no limit.
        self.fresh = False

    def log(self):
        with open(os.path.join(self.dir, 'log'), encoding='utf-8', errors='replace') as f:
            return f.read()

    def stop(self):
        diff_cmds.stop(self.redis, self.redis_dir, False)
        diff_cmds.stop(self.tierra, self.dir, False)


def run_on(servers, rng, count):
    pair = servers.pair
    fill(pair, rng, count)
    servers.restart()
    ranges(pair, rng, count)
    for conn in (pair.a, pair.b):
        conn.call('HELLO', '3')
    pair.same('ZRANGE', 'zset', '0', '-1', 'WITHSCORES')
    pair.same('ZRANGEBYSCORE', 'zset', '-inf', '+inf', 'WITHSCORES')
    pair.same('ZRANGE', 'lex', '-', '+', 'BYLEX')
    for conn in (pair.a, pair.b):
        conn.call('HELLO', '2')
    refused(pair)
    pages(pair, rng, count)
    assert pair.info('scans') == 0, 'something was loaded whole'
    joined(pair)
    randoms(pair, count)
    changed_beside(pair, rng, count)
    cursors_outlast(pair, servers.restart)
    assert pair.rss <= RSS_MB_MAX, 'rss %d MB' % pair.rss


def main_of(doc, run, elements):
    """For the command line: `run` at two servers that are alike."""
    p = argparse.ArgumentParser(description=doc.splitlines()[0])
    p.add_argument('--server', required=True)
    p.add_argument('--redis', default=shutil.which('redis-server'))
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--elements', type=int, default=elements)
    args = p.parse_args()
    if args.redis is None:
        return diff_cmds.SKIP
    servers = Servers(args)
    try:
        run(servers, random.Random(args.seed), args.elements)
        print('seed %d: no difference, rss at most %d MB' % (args.seed, servers.pair.rss))
    except BaseException:
        print(servers.log())
        raise
    finally:
        servers.stop()
    return 0


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run_on, 40000))
