#!/usr/bin/env python3
"""Replies that are larger than what DRAM may hold are sent while they are read from flash.

A hash, a set, a list and a sorted set, each far above what is loaded whole, are read as a whole
while memory is watched. HSCAN and SSCAN show them page by page. A reader that takes its reply
slowly gets the hash as it was at one moment: meanwhile a writer has set one field after the other,
so that what the reader sees must be a beginning of these changes and nothing behind it, with as
many elements as were announced. A reader that goes away in the middle, DEL and FLUSHALL leave a
server that works; FLUSHALL takes the connection of a reader.
"""

import sys

from faultlib import MB, WAIT_S, Fixture, Slow, main_of, rss, run_with, wait_until
from node import Conn, ErrorReply, ServerGone, encode

MAXMEMORY = 48 * MB
ELEMENTS, BATCH = 150000, 100
WRITES = 3000
KEYS = 10001
RSS_MAX = MAXMEMORY * 3 // 2


def field(i):
    return b'field:%08d' % i


def value(i, generation=0):
    return b'%d of %0100d' % (generation, i)


def fill(fix):
    for at in range(0, ELEMENTS, BATCH):
        part = range(at, at + BATCH)
        replies = fix.conn.pipeline([
            [b'HSET', b'hash'] + [x for i in part for x in (field(i), value(i))],
            [b'SADD', b'set'] + [field(i) for i in part],
            [b'RPUSH', b'list'] + [value(i) for i in part],
            [b'ZADD', b'zset'] + [x for i in part for x in (b'%d' % (i // 2), field(i))]])
        assert replies == [BATCH, BATCH, at + BATCH, BATCH], replies


def read_all(fix):
    pairs = fix.conn.call('HGETALL', 'hash')
    assert len(pairs) == 2 * ELEMENTS
    assert dict(zip(pairs[::2], pairs[1::2])) == {field(i): value(i) for i in range(ELEMENTS)}
    assert sorted(fix.conn.call('HKEYS', 'hash')) == [field(i) for i in range(ELEMENTS)]
    assert sorted(fix.conn.call('HVALS', 'hash')) == [value(i) for i in range(ELEMENTS)]
    assert sorted(fix.conn.call('SMEMBERS', 'set')) == [field(i) for i in range(ELEMENTS)]
    assert fix.conn.call('LRANGE', 'list', 0, -1) == [value(i) for i in range(ELEMENTS)]
    assert fix.conn.call('ZRANGE', 'zset', 0, -1) == [field(i) for i in range(ELEMENTS)]
    assert fix.conn.call('ZCOUNT', 'zset', 1, '+inf') == ELEMENTS - 2
    part = fix.conn.call('LRANGE', 'list', 30000, -5001)
    assert part == [value(i) for i in range(30000, ELEMENTS - 5000)]
    # The commands behind it in a pipeline keep their place.
    replies = fix.conn.pipeline([[b'HLEN', b'hash'], [b'HKEYS', b'hash'], [b'PING']])
    assert (replies[0], len(replies[1]), replies[2]) == (ELEMENTS, ELEMENTS, b'PONG')
    assert rss(fix) <= RSS_MAX, rss(fix)
    assert fix.number('scans') == 0, 'it was loaded'


def walk(fix, command, *options, between=lambda step: None):
    """All elements that a walk shows, in its order, and the number of its steps."""
    found, cursor, steps = [], b'0', 0
    while True:
        key = 'hash' if command == 'HSCAN' else 'set'
        cursor, some = fix.conn.call(command, key, cursor, *options)
        found += some
        steps += 1
        if cursor == b'0':
            return found, steps
        between(steps)


def scans(fix):
    """A page at a time, nothing is loaded; elements that stay are shown whatever is changed."""
    for command, per_elem in (('HSCAN', 2), ('SSCAN', 1)):
        found, steps = walk(fix, command, 'COUNT', 1000)
        assert len(found) == per_elem * ELEMENTS and steps == ELEMENTS // 1000, (len(found), steps)
        assert sorted(found[::per_elem]) == [field(i) for i in range(ELEMENTS)]
        if per_elem == 2:
            assert dict(zip(found[::2], found[1::2])) == {field(i): value(i)
                                                          for i in range(ELEMENTS)}
        found, _ = walk(fix, command, 'MATCH', 'field:0001*', 'COUNT', 100000)
        assert sorted(found[::per_elem]) == [field(i) for i in range(10000, 20000)]
    assert len(fix.conn.call('SSCAN', 'set', 0)[1]) == 10

    def change(step):
        i = step * 100
        if i + 100 < ELEMENTS:
            for k in range(i, i + 20):
                fix.conn.call('HSET', 'hash', field(k), value(k, 1))
            fix.conn.call('HDEL', 'hash', field(i + 50))
            fix.conn.call('HSET', 'hash', 'new:%d' % i, 'x')

    found, steps = walk(fix, 'HSCAN', 'COUNT', 2000, between=change)
    gone = {field(step * 100 + 50) for step in range(1, steps)}
    stayed = {field(i) for i in range(ELEMENTS)} - gone
    assert len(found[::2]) == len(set(found[::2])), 'shown twice'
    assert stayed <= set(found[::2]), 'left out'
    for step in range(1, steps):
        i = step * 100
        fix.conn.call('HDEL', 'hash', 'new:%d' % i)
        fix.conn.call('HSET', 'hash', field(i + 50), value(i + 50))
        for k in range(i, i + 20):
            fix.conn.call('HSET', 'hash', field(k), value(k))
    # Cursors of another order, and none at all.
    assert len(fix.conn.call('HSCAN', 'hash', 12345, 'COUNT', 7)[1]) == 14
    for options in (('x',), ('0', 'COUNT', '0'), ('0', 'COUNT', 'x'), ('0', 'MATCH'), ('0', 'NO')):
        assert isinstance(fix.conn.call('SSCAN', 'set', *options), ErrorReply), options
    assert fix.conn.call('SSCAN', 'hash', 0).startswith(b'WRONGTYPE')
    assert rss(fix) <= RSS_MAX, rss(fix)
    assert fix.number('scans') == 0, 'it was loaded'


def read_at_one_moment(fix):
    """Also: what it does not show is in the next reply."""
    for fields_before in (0, WRITES // 2):
        for i in range(fields_before):
            assert fix.conn.call('HSET', 'hash', field(i), value(i, 1)) == 0
        slow = Slow(fix.server.socket_path)
        count = slow.begin(b'HGETALL', b'hash')
        assert count == 2 * ELEMENTS, count
        got = slow.take(1000)
        for i in range(fields_before, WRITES):
            assert fix.conn.call('HSET', 'hash', field(i), value(i, 1)) == 0
        assert fix.conn.call('HDEL', 'hash', field(ELEMENTS - 1)) == 1
        assert fix.conn.call('HSET', 'hash', 'another', 'x') == 1
        got += slow.take(count - 1000)
        found = dict(zip(got[::2], got[1::2]))
        assert len(found) == ELEMENTS and b'another' not in found
        for i in range(ELEMENTS):
            assert found[field(i)] == value(i, int(i < fields_before)), (i, found[field(i)])
        slow.close()
        assert fix.conn.call('HDEL', 'hash', 'another') == 1
        assert fix.conn.call('HSET', 'hash', field(ELEMENTS - 1), value(ELEMENTS - 1)) == 1
        for i in range(WRITES):
            assert fix.conn.call('HSET', 'hash', field(i), value(i)) == 0


def range_at_one_moment(fix):
    """By rank, which the key row tells, and by score, which is counted first; others go on."""
    for command in ([b'ZRANGE', b'zset', b'0', b'-1'],
                    [b'ZREVRANGEBYSCORE', b'zset', b'+inf', b'-inf']):
        slow = Slow(fix.server.socket_path)
        count = slow.begin(*command)
        assert count == ELEMENTS, count
        got = slow.take(100)
        assert fix.conn.call('ZADD', 'zset', -1, field(ELEMENTS - 1), -2, 'first') == 1
        assert fix.conn.call('ZREM', 'zset', field(ELEMENTS // 2)) == 1
        assert fix.conn.call('ZRANGE', 'zset', 0, 1) == [b'first', field(ELEMENTS - 1)]
        assert fix.conn.call('ZRANK', 'zset', 'first') == 0
        got += slow.take(count - 100)
        slow.close()
        assert got == sorted(got, reverse=command[0] != b'ZRANGE')
        assert len(set(got)) == count and b'first' not in got
        # Each of these is in DRAM, and waits to be written.
        assert fix.conn.call('ZREVRANK', 'zset', field(0)) == ELEMENTS - 3
        assert fix.conn.call('ZREM', 'zset', 'first') == 1
        assert fix.conn.call('ZADD', 'zset', (ELEMENTS - 1) // 2, field(ELEMENTS - 1),
                             ELEMENTS // 4, field(ELEMENTS // 2)) == 1


def writers_beside_it(fix):
    """Each change is seen by the readers in its order: a beginning of them, and no more."""
    writer = Conn(fix.server.socket_path)
    for start in range(0, WRITES, WRITES // 5):
        commands = [(b'HSET', b'hash', field(i), value(i, 2))
                    for i in range(start, start + WRITES // 5)]
        writer.send(b''.join(encode(list(c)) for c in commands))
        pairs = fix.conn.call('HGETALL', 'hash')
        assert [writer.reply() for _ in commands] == [0] * len(commands)
        found = dict(zip(pairs[::2], pairs[1::2]))
        assert len(found) == ELEMENTS
        changed = [found[field(i)] == value(i, 2) for i in range(WRITES)]
        assert changed == sorted(changed, reverse=True), 'changes out of order'
    writer.close()


def readers_that_go(fix):
    for _ in range(5):
        slow = Slow(fix.server.socket_path)
        slow.begin(b'SMEMBERS', b'set')
        slow.take(100)
        slow.close()
    slow = Slow(fix.server.socket_path)
    count = slow.begin(b'SMEMBERS', b'set')
    assert fix.conn.call('DEL', 'set') == 1
    assert fix.conn.call('SADD', 'set', 'new') == 1
    assert sorted(slow.take(count)) == [field(i) for i in range(ELEMENTS)]
    assert fix.conn.call('SMEMBERS', 'set') == [b'new']
    slow.close()


def store_that_goes(fix):
    # More keys than are deleted one by one.
    sets = [[b'SET', b'key:%d' % i, b'x'] for i in range(KEYS)]
    assert fix.conn.pipeline(sets) == [b'OK'] * KEYS
    slow = Slow(fix.server.socket_path)
    count = slow.begin(b'LRANGE', b'list', b'0', b'-1')
    assert fix.conn.call('FLUSHALL') == b'OK'
    try:
        slow.take(count)
        raise AssertionError('read to its end from a store that is gone')
    except ServerGone:
        pass
    assert fix.conn.call('DBSIZE') == 0
    assert fix.conn.call('HSET', 'hash', 'a', 'b') == 1
    assert fix.conn.call('HGETALL', 'hash') == [b'a', b'b']
    # The walk of one that was large, and is small and in DRAM now.
    cursor, some = fix.conn.call('HSCAN', 'hash', 1 << 48 | 0xffffffffffff)
    assert (cursor, some) == (b'0', [b'a', b'b'])


def expired(fix):
    """One that has expired is absent, whether it was reclaimed or not."""
    assert fix.conn.call('DEBUG', 'SET-ACTIVE-EXPIRE', 0) == b'OK'
    for key in ('hash', 'zset'):
        assert fix.conn.call('PEXPIRE', key, 1) == 1
        wait_until('expired', WAIT_S, lambda key=key: fix.conn.call('EXISTS', key) == 0)
    for command in (['HGETALL', 'hash'], ['HKEYS', 'hash'], ['HRANDFIELD', 'hash', 5],
                    ['ZRANGE', 'zset', 0, -1], ['ZRANGEBYSCORE', 'zset', '-inf', '+inf'],
                    ['ZRANDMEMBER', 'zset', 5]):
        assert fix.conn.call(*command) == [], command
    for command in ('HSCAN', 'hash'), ('ZSCAN', 'zset'):
        assert fix.conn.call(*command, 0) == [b'0', []], command
    assert fix.conn.call('ZCOUNT', 'zset', 0, 1) == 0
    assert fix.conn.call('ZRANK', 'zset', field(1)) is None
    assert fix.conn.call('DEBUG', 'SET-ACTIVE-EXPIRE', 1) == b'OK'
    wait_until('reclaimed', WAIT_S, lambda: fix.conn.call('DBSIZE') == 2)


def in_transactions(fix):
    """There it cannot wait, and says so."""
    assert fix.conn.call('MULTI') == b'OK'
    assert fix.conn.call('HGETALL', 'hash') == b'QUEUED'
    reply = fix.conn.call('EXEC')
    assert isinstance(reply, ErrorReply), reply[:1]
    assert reply.startswith(b'EXECABORT ') and b'OOM' in reply and b'maxmemory' in reply, reply


def run_on(fix):
    fill(fix)
    wait_until('written', WAIT_S, lambda: fix.number('dirty_rows') == 0)
    read_all(fix)
    scans(fix)
    read_at_one_moment(fix)
    range_at_one_moment(fix)
    writers_beside_it(fix)
    in_transactions(fix)
    readers_that_go(fix)
    expired(fix)
    store_that_goes(fix)


def run(args):
    options = {'maxmemory': MAXMEMORY, 'save': '', 'enable-debug-command': 'yes'}
    fix = Fixture(args, options, 'streams')
    run_with(fix, run_on)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
