#!/usr/bin/env python3
"""Commands that change or read a small part of a collection larger than what DRAM may hold,
compared with redis-server: no collection is loaded, the rows that are read are not many more than
those that are named, and the resident memory stays within the budget.

What needs more than it may load is refused, and changes nothing.
"""

import sys

import large_streams
from large_streams import BATCH, PAD, member, raw

# Lists of which a part is read; of a list at least 128 elements are, at either end.
TRIMMED = 40
TRIMMED_LEN = 3000


def fill(pair, count):
    for at in range(0, count, BATCH):
        part = range(at, at + BATCH)
        pair.same('HSET', 'hash', *(x for i in part for x in (member(i), str(i) + PAD)))
        pair.same('SADD', 'set', *(member(i) for i in part))
        pair.same('ZADD', 'zset', *(x for i in part for x in (i, member(i))))
        pair.same('ZADD', 'lex', *(x for i in part for x in ('0', member(i))))
        for key in 'scores', 'ranks':
            pair.same('ZADD', key, *(x for i in part for x in (i, member(i))))
        for key in 'list', 'tail':
            pair.same('RPUSH', key, *(member(i) for i in part))
    for i in range(TRIMMED):
        pair.same('RPUSH', 'trimmed:%d' % i, *('element:%d' % e for e in range(TRIMMED_LEN)))
    pair.same('HSET', 'hash', 'int', '7', 'float', '1.5')
    pair.same('SADD', 'small', 'a', 'b', member(1))


def cheap(pair, *commands):
    """At no more than so many reads of rows or stretches of them for all of the commands: some of
    them twice, where rows have gone to flash between two commands of a slow machine."""
    before, scans = pair.info('row_reads'), pair.info('scans')
    for words in commands:
        pair.change(*words) if words[0] in WRITES else pair.same(*words)
    reads = pair.info('row_reads') - before
    assert pair.info('scans') == scans, (commands[0], 'loads all')
    assert reads <= 16 * sum(len(words) for words in commands), (commands[0], reads)


# Those that may grow what there is: refused where the process itself fills the budget.
WRITES = ('HSET', 'HSETNX', 'HINCRBY', 'HINCRBYFLOAT', 'SADD', 'SMOVE', 'ZADD', 'ZINCRBY', 'LSET',
          'LPUSH', 'RPUSH', 'LINSERT', 'LMOVE', 'GEOADD')


def hashes(pair, count):
    cheap(pair,
          ('HDEL', 'hash', member(5), member(count + 5), member(7)),
          ('HINCRBY', 'hash', 'int', '5'),
          ('HINCRBY', 'hash', 'new', '5'),
          ('HINCRBY', 'hash', member(8), '5'),
          ('HINCRBYFLOAT', 'hash', 'float', '0.25'),
          ('HSETNX', 'hash', member(9), 'x'),
          ('HSET', 'hash', member(10), 'x', member(count + 1), 'y'),
          ('HMGET', 'hash', member(10), member(5), member(11)),
          ('HEXISTS', 'hash', member(12)),
          ('HSTRLEN', 'hash', member(13)),
          ('HLEN', 'hash'))


def sets(pair, count):
    cheap(pair,
          ('SREM', 'set', member(5), member(count + 5), member(7)),
          ('SADD', 'set', member(5), member(6), 'new'),
          ('SISMEMBER', 'set', member(7)),
          ('SISMEMBER', 'set', member(8)),
          ('SMISMEMBER', 'set', member(9), member(7), 'x'),
          ('SMOVE', 'set', 'small', member(20)),
          ('SMOVE', 'set', 'small', member(1)),
          ('SMOVE', 'small', 'set', 'a'),
          ('SMOVE', 'set', 'set', member(21)),
          ('SMOVE', 'set', 'small', 'absent'),
          ('SMOVE', 'set', 'hash', member(22)),
          ('SCARD', 'set'),
          ('SMISMEMBER', 'small', member(20), 'a'))


def sorted_sets(pair, count):
    middle = count // 2
    cheap(pair,
          ('ZREM', 'zset', member(5), member(count + 5), member(middle)),
          ('ZINCRBY', 'zset', '2.5', member(9)),
          ('ZINCRBY', 'zset', '2.5', 'new'),
          ('ZADD', 'zset', 'XX', 'CH', '3', member(10), '4', 'absent'),
          ('ZSCORE', 'zset', member(11)),
          ('ZMSCORE', 'zset', member(12), member(5)),
          ('ZPOPMIN', 'zset'),
          ('ZPOPMAX', 'zset', '3'),
          ('ZMPOP', '1', 'zset', 'MIN', 'COUNT', '2'),
          ('BZPOPMAX', 'zset', '0'),
          ('ZREMRANGEBYSCORE', 'zset', str(middle), str(middle + 20)),
          ('ZREMRANGEBYSCORE', 'zset', '-inf', '30'),
          ('ZREMRANGEBYRANK', 'zset', '0', '9'),
          ('ZREMRANGEBYRANK', 'zset', '-9', '-1'),
          ('ZREMRANGEBYLEX', 'lex', '(' + member(3), '[' + member(3) + 'a'),
          ('ZREMRANGEBYLEX', 'lex', '[member:0005', '(member:00051'),
          ('ZREMRANGEBYLEX', 'lex', '[z', '+'),
          ('ZCARD', 'zset'),
          ('ZCARD', 'lex'))


def lists(pair, count):
    cheap(pair,
          ('LSET', 'list', '10', 'set'),
          ('LSET', 'list', '-100', 'set'),
          ('LSET', 'list', str(count), 'out of range'),
          ('LINDEX', 'list', '100'),
          ('LRANGE', 'list', '-110', '-90'),
          ('LPUSH', 'list', 'a', 'b'),
          ('RPUSH', 'list', 'c'),
          ('LMOVE', 'list', 'list', 'LEFT', 'RIGHT'),
          ('LPOP', 'list', '20'),
          ('RPOP', 'list'),
          ('LMPOP', '1', 'list', 'RIGHT', 'COUNT', '5'),
          ('LTRIM', 'list', '5', '-6'),
          ('LPOS', 'list', member(60), 'MAXLEN', '100'),
          ('LPOS', 'list', member(count - 60), 'RANK', '-1', 'MAXLEN', '100'),
          ('LPOS', 'list', 'nothing', 'MAXLEN', '50', 'COUNT', '0'),
          ('LLEN', 'list'))


def refused(pair, count):
    """What needs all of it, with no change."""
    for words in (('LINSERT', 'list', 'BEFORE', member(100), 'x'), ('LREM', 'list', '1', 'x'),
                  ('LPOS', 'list', 'nothing'), ('ZREMRANGEBYLEX', 'lex', '(', '+'),
                  ('LPOS', 'list', 'nothing', 'RANK', '-1', 'MAXLEN', '0'),
                  ('ZREMRANGEBYRANK', 'zset', '5', '-6'), ('ZPOPMIN', 'zset', count),
                  ('LPOP', 'list', count - 100)):
        reply = pair.b.call(*words)
        assert reply[0] == '-' and reply[1].startswith(b'OOM'), (words, reply)
        pair.look()
    for words in ('LLEN', 'list'), ('ZCARD', 'zset'), ('ZCARD', 'lex'):
        pair.same(*words)


def trimmed(pair):
    """To less than it loses: what stays is read, not what goes."""
    cheap(pair,
          ('PEXPIREAT', 'list', '33333333333333'),
          ('LTRIM', 'list', '50', '149'),
          ('LRANGE', 'list', '0', '-1'),
          ('LLEN', 'list'),
          ('RPUSH', 'list', 'more'),
          ('LINDEX', 'list', '0'),
          ('PEXPIRETIME', 'list'),
          ('LTRIM', 'tail', '-70', '-1'),
          ('LTRIM', 'tail', '-60', '-11'),
          ('LRANGE', 'tail', '0', '-1'),
          ('LTRIM', 'tail', '20', '10'),
          ('EXISTS', 'tail'))


def trimmed_at_random(pair, rng):
    """At any places, with something pushed and popped before and behind that."""
    for i in range(TRIMMED):
        key = 'trimmed:%d' % i
        for words in rng.sample((('LPOP', key), ('RPOP', key, '3'), ('LINDEX', key, '5'),
                                 ('LINDEX', key, '-150')), rng.randrange(3)):
            pair.same(*words)
        if rng.random() < 0.3:
            pair.change('LPUSH', key, 'left')
        for _ in range(rng.randrange(1, 4)):
            size = int(raw(pair.a, ('LLEN', key))[1:])
            first = rng.randrange(size + 1) if rng.random() < 0.7 else rng.randrange(size // 8 + 1)
            last = first + rng.choice((rng.randrange(-2, 200), rng.randrange(size)))
            if rng.random() < 0.5:
                first, last = -last - 1, -first - 1
            pair.same('LTRIM', key, first, last)
            pair.same('LRANGE', key, '0', '5')
            pair.same('LRANGE', key, '-5', '-1')
            pair.same('LLEN', key)
            pair.change(rng.choice(('LPUSH', 'RPUSH')), key, 'pushed')
        pair.same('LRANGE', key, '0', '-1')


def emptied(pair):
    cheap(pair,
          ('ZREMRANGEBYLEX', 'lex', '-', '+'),
          ('ZREMRANGEBYSCORE', 'scores', '-inf', '+inf'),
          ('ZREMRANGEBYRANK', 'ranks', '0', '-1'),
          ('EXISTS', 'lex', 'scores', 'ranks'),
          ('ZADD', 'lex', '1', member(1)),
          ('ZRANGE', 'lex', '0', '-1'))


def run_on(servers, rng, count):
    pair = servers.pair
    fill(pair, count)
    servers.restart()
    hashes(pair, count)
    sets(pair, count)
    sorted_sets(pair, count)
    lists(pair, count)
    refused(pair, count)
    trimmed(pair)
    trimmed_at_random(pair, rng)
    emptied(pair)
    # What is refused is read up to a quarter of the budget each.
    assert pair.rss <= 2 * large_streams.MEMORY_MB, 'rss %d MB' % pair.rss
    servers.restart()
    for words in (('HLEN', 'hash'), ('HGET', 'hash', 'int'), ('SCARD', 'set'), ('ZCARD', 'lex'),
                  ('LRANGE', 'list', '0', '-1')):
        pair.same(*words)
    for command, key in ('SMEMBERS', 'set'), ('HGETALL', 'hash'):
        want, got = (sorted(conn.call(command, key)[1]) for conn in (pair.a, pair.b))
        assert want == got, command
    pair.same('ZRANGE', 'zset', '0', '-1', 'WITHSCORES')
    for i in range(TRIMMED):
        pair.same('LRANGE', 'trimmed:%d' % i, '0', '-1')


if __name__ == '__main__':
    sys.exit(large_streams.main_of(__doc__, run_on, 40000))
