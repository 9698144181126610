#!/usr/bin/env python3
"""Parts of sorted sets that are larger than what DRAM may hold, stored, and random members of them,
compared with redis-server.

Both servers get the same data; the second is started again with so little memory that none of it
can be loaded whole. What is stored is what redis-server stores, or is refused for its size, and
then nothing has changed. Random members that may repeat come in any order, each as often as any
other.
"""

import sys
import time

import large_streams
from large_streams import BATCH, member

large_streams.MEMORY_MB = 48
RSS_MB_MAX = large_streams.MEMORY_MB * 3 // 2
DRAWS = 5000


def fill(pair, rng, count):
    for at in range(0, count, BATCH):
        part = range(at, at + BATCH)
        pair.same('ZADD', 'zset', *(x for i in part for x in (rng.randrange(-count, count),
                                                              member(i))))
        pair.same('ZADD', 'lex', *(x for i in part for x in ('0', member(i))))
    numbers = range(0, 2 * count, count // 100)
    pair.same('ZADD', 'few', *(x for i in numbers for x in (rng.randrange(-9, 9), member(i))))


def write(conn, *words):
    """The process fills much of the budget of this test: a write may be refused for a while."""
    end = time.monotonic() + large_streams.WAIT_SECONDS_MAX
    while time.monotonic() < end:
        reply = conn.call(*words)
        if reply[0] != '-' or b'DRAM is full' not in reply[1]:
            return reply
        time.sleep(0.1)
    raise AssertionError('refused again and again: %r' % (words,))


def same(pair, *words):
    want, got = (write(conn, *words) for conn in (pair.a, pair.b))
    pair.look()
    assert want == got, (words, want, got)


def too_large(pair, *words):
    write(pair.b, 'ZADD', 'to', '1', 'old')
    before = pair.b.call('ZRANGE', 'to', '0', '-1', 'WITHSCORES')
    kind, text = write(pair.b, *words)
    assert kind == '-' and text.startswith(b'OOM') and b'an eighth of maxmemory' in text, text
    assert pair.b.call('ZRANGE', 'to', '0', '-1', 'WITHSCORES') == before
    pair.b.call('ZREM', 'to', 'old')


def stores(pair, count):
    far = str(count * 9 // 10)
    for words in (('zset', '-inf', '+inf', 'BYSCORE', 'LIMIT', far, '500'),
                  ('lex', '+', '[member:0', 'BYLEX', 'REV', 'LIMIT', far, '-1'),
                  ('zset', '10', '12'), ('zset', '3', '9', 'REV'),
                  ('zset', '(7', '(7', 'BYSCORE'), ('lex', '+', '-', 'BYLEX')):
        same(pair, 'ZRANGESTORE', 'to', *words)
        pair.same('ZRANGE', 'to', '0', '-1', 'WITHSCORES')
    for words in (('ZRANGESTORE', 'to', 'zset', '0', '-1'),
                  ('ZUNIONSTORE', 'to', '2', 'few', 'zset')):
        too_large(pair, *words)
    for words in (('ZINTERSTORE', 'to', '3', 'few', 'zset', 'lex', 'WEIGHTS', '2', '1', '1'),
                  ('ZDIFFSTORE', 'to', '2', 'few', 'lex')):
        same(pair, *words)
        pair.same('ZRANGE', 'to', '0', '-1', 'WITHSCORES')


def repeated(pair, count):
    shown = [text for _, text in pair.a.call('ZRANGE', 'zset', '0', '-1', 'WITHSCORES')[1]]
    scores = dict(zip(shown[::2], shown[1::2]))
    places = {name: i for i, name in enumerate(shown[::2])}
    for n in (1, 3, DRAWS):
        got = [text for _, text in pair.b.call('ZRANDMEMBER', 'zset', -n, 'WITHSCORES')[1]]
        assert len(got) == 2 * n
        assert all(scores[name] == score for name, score in zip(got[::2], got[1::2]))
    # Eight standard deviations; and as many pairs stand one way as the other.
    found = [places[name] for name in got[::2]]
    for low, high in ((0, count // 2), (count // 4, count * 3 // 4)):
        there = sum(low <= place < high for place in found)
        assert abs(there - DRAWS / 2) < 4 * DRAWS ** 0.5, there
    rising = sum(a < b for a, b in zip(found, found[1:]))
    assert abs(rising - DRAWS / 2) < 4 * DRAWS ** 0.5, 'in order'
    names = pair.b.call('ZRANDMEMBER', 'zset', -DRAWS)[1]
    assert len(names) == DRAWS and all(text in scores for _, text in names)
    kind, text = pair.b.call('ZRANDMEMBER', 'zset', -(1 << 20))
    assert kind == '-' and b'use a lower count' in text, text


def run_on(servers, rng, count):
    pair = servers.pair
    fill(pair, rng, count)
    servers.restart()
    repeated(pair, count)
    stores(pair, count)
    # The source itself.
    same(pair, 'ZRANGESTORE', 'lex', 'lex', '-', '+', 'BYLEX', 'LIMIT', str(count - 900), '500')
    pair.same('ZRANGE', 'lex', '0', '-1', 'WITHSCORES')
    assert pair.rss <= RSS_MB_MAX, 'rss %d MB' % pair.rss


if __name__ == '__main__':
    sys.exit(large_streams.main_of(__doc__, run_on, 60000))
