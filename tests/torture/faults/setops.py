#!/usr/bin/env python3
"""SINTER, SUNION, SDIFF and relatives of sets that are larger than what DRAM may hold.

Sets far above what is loaded whole are joined while they are read, and what is shown is held
against Python's sets while memory is watched. A reader that takes its reply slowly gets the result
as it was at one moment, and so does one beside a writer that moves members from one set to the
other within transactions: each of them must be shown once. Results are stored as a whole up to a
limit, and refused beyond it. DEL and FLUSHALL meanwhile leave a server that works.
"""

import sys

from faultlib import MB, WAIT_S, Fixture, Slow, main_of, rss, run_with, wait_until
from node import Conn, ErrorReply, encode

MAXMEMORY = 48 * MB
BATCH = 500
MOVES = 500
SETS = 20
SETS_STEP = 2500
# Results that are stored one after another: under way at a time, and at most beside a writer.
STORES, STORES_MAX = 8, 400
RSS_MAX = MAXMEMORY * 3 // 2


def members(numbers):
    return {b'member:%08d:%040d' % (i, i * i) for i in numbers}


MODEL = {
    b'one': members(range(0, 55000)),
    b'two': members(range(30000, 85000)),
    b'three': members(range(0, 110000, 2)),
    b'apart': members(range(200000, 255000)),
    b'few': members(range(0, 110000, 1000)),
}


def fill(fix, keys):
    for key in keys:
        model = MODEL[key]
        ordered = sorted(model)
        for at in range(0, len(ordered), 20 * BATCH):
            end = min(at + 20 * BATCH, len(ordered))
            replies = fix.conn.pipeline([[b'SADD', key] + ordered[i:i + BATCH]
                                         for i in range(at, end, BATCH)])
            assert not any(isinstance(r, ErrorReply) for r in replies), replies
        assert fix.conn.call('SCARD', key) == len(model)


def shown(fix, *words):
    reply = fix.conn.call(*words)
    assert isinstance(reply, list), reply
    assert len(reply) == len(set(reply)), 'shown twice'
    return set(reply)


def expected(command, keys):
    sets = [MODEL.get(key, set()) for key in keys]
    if command == 'SINTER':
        return set.intersection(*sets)
    return set.union(*sets) if command == 'SUNION' else sets[0].difference(*sets[1:])


def read_all(fix):
    for command, *keys in (
            ('SINTER', b'one', b'two'), ('SINTER', b'one', b'few', b'two'), ('SINTER', b'one'),
            ('SINTER', b'one', b'apart'), ('SINTER', b'one', b'absent'), ('SINTER', b'one', b'one'),
            ('SDIFF', b'one', b'two', b'three'), ('SDIFF', b'few', b'absent', b'one'),
            ('SDIFF', b'absent', b'one'), ('SDIFF', b'one', b'one'),
            ('SUNION', b'one', b'two'), ('SUNION', b'absent', b'few', b'one', b'one')):
        got = shown(fix, command, *keys)
        assert got == expected(command, keys), (command, keys, len(got))
    for keys in ([b'two', b'one'], [b'few', b'one'], [b'apart', b'one']):
        count = len(expected('SINTER', keys))
        assert fix.conn.call('SINTERCARD', 2, *keys) == count, keys
        for limit in (7, count + 1):
            got = fix.conn.call('SINTERCARD', 2, *keys, 'LIMIT', limit)
            assert got == min(limit, count), (keys, limit, got)
    # The commands behind it in a pipeline keep their place.
    replies = fix.conn.pipeline([[b'SCARD', b'one'], [b'SINTER', b'one', b'two'], [b'PING']])
    assert (replies[0], len(replies[1]), replies[2]) == (55000, 25000, b'PONG')
    assert rss(fix) <= RSS_MAX, rss(fix)
    assert fix.number('scans') == 0, 'it was loaded'


def errors(fix):
    assert fix.conn.call('SET', 'string', 'x') == b'OK'
    for words in (('SINTER', 'one', 'string'), ('SUNION', 'string', 'one'),
                  ('SDIFFSTORE', 'to', 'one', 'string'), ('SINTERCARD', 2, 'one', 'string')):
        assert fix.conn.call(*words).startswith(b'WRONGTYPE'), words
    for words in (('SINTERCARD', 2, 'one', 'two', 'LIMIT', 'x'), ('SINTERCARD', 0, 'one'),
                  ('SINTERCARD', 3, 'one', 'two'), ('SINTERCARD', 2, 'one', 'two', 'NO')):
        assert fix.conn.call(*words).startswith(b'ERR'), words
    assert fix.conn.call('DEL', 'string') == 1
    # More sets than cursors: each is small enough to be loaded.
    small = [b'small:%d' % i for i in range(SETS)]
    for key in small:
        MODEL[key] = members(range(SETS_STEP * int(key[6:]), SETS_STEP * int(key[6:]) + 3000))
    fill(fix, small)
    wait_until('written', WAIT_S, lambda: fix.number('dirty_rows') == 0)
    assert shown(fix, 'SUNION', *small) == expected('SUNION', small)
    assert fix.conn.call('DEL', *small) == len(small)


def refused_half_way(fix):
    """A write that may not be done any more when its sources have been read."""
    conn = Conn(fix.server.socket_path)
    fix.conn.call('SADD', 'to', 'old')

    def refused():
        conn.send(encode([b'PING']) + encode([b'SINTERSTORE', b'to', b'one', b'two']))
        assert conn.reply() == b'PONG'
        assert fix.conn.call('CONFIG', 'SET', 'min-replicas-to-write', 1) == b'OK'
        reply = conn.reply()
        assert fix.conn.call('CONFIG', 'SET', 'min-replicas-to-write', 0) == b'OK'
        return isinstance(reply, ErrorReply) and reply.startswith(b'NOREPLICAS')

    wait_until('a refusal', WAIT_S, refused)
    # Nobody waits for it, and the next command is another one.
    assert fix.conn.call('SADD', 'one', 'new') == 1
    assert fix.conn.call('SREM', 'one', 'new') == 1
    conn.send(encode([b'SINTER', b'apart', b'one', b'few', b'two', b'three']))
    assert conn.reply() == []
    conn.send(encode([b'SDIFF', b'few', b'one']))
    assert set(conn.reply()) == expected('SDIFF', [b'few', b'one'])
    conn.close()
    fix.conn.call('DEL', 'to')


def stored(fix):
    for command, keys in (('SINTER', [b'one', b'two']), ('SDIFF', [b'one', b'two']),
                          ('SINTER', [b'one', b'apart']), ('SINTER', [b'one', b'absent'])):
        want = expected(command, keys)
        assert fix.conn.call('SADD', 'to', 'old') == 1
        assert fix.conn.call(command + 'STORE', 'to', *keys) == len(want), (command, keys)
        assert shown(fix, 'SMEMBERS', 'to') == want, (command, keys)
        assert fix.conn.call('EXISTS', 'to') == int(want != set())
        fix.conn.call('DEL', 'to')
    # One of the sources.
    both = MODEL[b'one'] & MODEL[b'two']
    assert fix.conn.call('SINTERSTORE', 'to', 'one', 'two') == len(both)
    assert fix.conn.call('SDIFFSTORE', 'to', 'to', 'three') == len(both - MODEL[b'three'])
    assert shown(fix, 'SMEMBERS', 'to') == both - MODEL[b'three']
    # Nothing happens where the result is too large.
    reply = fix.conn.call('SUNIONSTORE', 'to', 'one', 'two')
    assert isinstance(reply, ErrorReply) and b'as a whole' in reply, reply
    assert shown(fix, 'SMEMBERS', 'to') == both - MODEL[b'three']
    assert fix.conn.call('DEL', 'to') == 1
    assert rss(fix) <= RSS_MAX, rss(fix)


def at_one_moment(fix):
    slow = Slow(fix.server.socket_path)
    count = slow.begin(b'SINTER', b'one', b'two')
    got = slow.take(100)
    gone = sorted(MODEL[b'one'] & MODEL[b'two'])[::1000]
    assert fix.conn.call('SREM', 'one', *gone) == len(gone)
    for key in ('one', 'two'):
        reply = fix.conn.call('SADD', key, 'new')
        assert reply == 1, reply
    got += slow.take(count - 100)
    assert len(got) == count and set(got) == MODEL[b'one'] & MODEL[b'two']
    slow.close()
    both = (MODEL[b'one'] & MODEL[b'two']) - set(gone)
    assert shown(fix, 'SINTER', 'one', 'two') == both | {b'new'}
    assert fix.conn.call('SADD', 'one', *gone) == len(gone)
    assert fix.conn.call('SREM', 'two', 'new') == fix.conn.call('SREM', 'one', 'new') == 1


def movers_beside_it(fix):
    """Members that move from one set to the other are in one of them at any time."""
    moved = sorted(MODEL[b'three'])[:MOVES]
    everything = MODEL[b'three'] | MODEL[b'apart']
    mover = Conn(fix.server.socket_path)
    for command in ('SUNION', 'SDIFF', 'SINTERSTORE'):
        words = []
        for member in moved:
            words += [[b'MULTI'], [b'SREM', b'three', member], [b'SADD', b'apart', member],
                      [b'EXEC']]
        mover.send(b''.join(encode(w) for w in words))
        if command == 'SUNION':
            assert shown(fix, 'SUNION', 'three', 'apart') == everything
        elif command == 'SDIFF':
            found = shown(fix, 'SDIFF', 'three', 'apart')
            left = [member in found for member in moved]
            assert left == sorted(left), 'changes out of order'
            assert found == MODEL[b'three'] - {m for m, l in zip(moved, left) if not l}
        else:
            assert fix.conn.call('SINTERSTORE', 'to', 'three', 'apart') == 0
        for _ in moved:
            assert [mover.reply() for _ in range(3)] == [b'OK', b'QUEUED', b'QUEUED']
            assert mover.reply() == [1, 1]
        assert fix.conn.call('SADD', 'three', *moved) == len(moved)
        assert fix.conn.call('SREM', 'apart', *moved) == len(moved)
    mover.close()


def writers_have_a_turn(fix):
    """A writer waits for what was begun before it, not for all that is stored one after another."""
    command = encode([b'SINTERSTORE', b'to', b'apart', b'few'])
    storer, writer = Conn(fix.server.socket_path), Conn(fix.server.socket_path)
    storer.send(STORES * command)
    assert storer.reply() == 0
    writer.send(b''.join(encode(words) for words in (
        [b'MULTI'], [b'SADD', b'apart', b'new'], [b'SADD', b'few', b'new'], [b'EXEC'])))
    for _ in range(STORES_MAX):
        storer.send(command)
        if storer.reply() == 1:
            break
    else:
        raise AssertionError('a writer starves')
    assert [storer.reply() for _ in range(STORES - 1)] == [1] * (STORES - 1)
    assert [writer.reply() for _ in range(4)] == [b'OK', b'QUEUED', b'QUEUED', [1, 1]]
    for conn in (storer, writer):
        conn.close()
    assert fix.conn.call('SREM', 'apart', 'new') == fix.conn.call('SREM', 'few', 'new') == 1
    assert fix.conn.call('DEL', 'to') == 1


def readers_that_go(fix):
    for _ in range(3):
        slow = Slow(fix.server.socket_path)
        slow.begin(b'SUNION', b'one', b'two')
        slow.take(10)
        slow.close()
        gone = Conn(fix.server.socket_path)
        gone.send(encode([b'SINTER', b'one', b'two', b'three']))
        gone.close()
    slow = Slow(fix.server.socket_path)
    count = slow.begin(b'SUNION', b'one', b'two')
    assert fix.conn.call('DEL', 'two') == 1
    assert fix.conn.call('SADD', 'two', 'new') == 1
    assert set(slow.take(count)) == MODEL[b'one'] | MODEL[b'two']
    slow.close()
    assert shown(fix, 'SUNION', 'one', 'two') == MODEL[b'one'] | {b'new'}
    assert shown(fix, 'SINTER', 'one', 'two') == set()


def flush_that_goes(fix):
    """A FLUSHALL that waits for a reader, and whose client is gone, holds up nothing behind it."""
    slow = Slow(fix.server.socket_path)
    slow.begin(b'SUNION', b'one', b'three')
    gone = Conn(fix.server.socket_path)
    number = gone.call('CLIENT', 'ID')
    gone.send(encode([b'FLUSHALL']))
    wait_until('it waits', WAIT_S, lambda: b'id=%d ' % number in fix.conn.call('CLIENT', 'LIST') and
               b'cmd=flushall' in fix.conn.call('CLIENT', 'LIST'))
    killed = fix.conn.call('CLIENT', 'KILL', 'ID', number)
    assert killed == 1, killed
    slow.close()
    gone.close()
    assert fix.conn.call('SET', 'string', 'x') == b'OK'
    wait_until('written', WAIT_S, lambda: fix.number('dirty_rows') == 0)
    assert fix.conn.call('DEL', 'string') == 1
    if fix.conn.call('EXISTS', 'one') == 0:
        fill(fix, [b'one', b'three'])


def store_that_goes(fix):
    """Nothing is announced yet, or all of it is: an error, or the result. EXEC waits for that."""
    reader = Conn(fix.server.socket_path)
    assert fix.conn.call('MULTI') == b'OK'
    assert fix.conn.call('FLUSHALL') == b'QUEUED'
    reader.send(encode([b'SINTERCARD', b'2', b'one', b'three']))
    reply = fix.conn.call('EXEC')
    assert reply == [b'OK'], reply
    reply = reader.reply()
    count = len(MODEL[b'one'] & MODEL[b'three'])
    assert isinstance(reply, ErrorReply) or reply in (0, count), reply
    reader.close()
    assert fix.conn.call('DBSIZE') == 0
    assert fix.conn.call('SUNION', 'one', 'two') == []


def run_on(fix):
    fill(fix, list(MODEL))
    wait_until('written', WAIT_S, lambda: fix.number('dirty_rows') == 0)
    read_all(fix)
    errors(fix)
    stored(fix)
    refused_half_way(fix)
    at_one_moment(fix)
    movers_beside_it(fix)
    writers_have_a_turn(fix)
    readers_that_go(fix)
    flush_that_goes(fix)
    store_that_goes(fix)


def run(args):
    fix = Fixture(args, {'maxmemory': MAXMEMORY, 'save': ''}, 'setops')
    run_with(fix, run_on)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
