#!/usr/bin/env python3
"""What a member writes as a whole it need not have in memory: SET, DEL and others over strings in
chunks and collections that are on flash and larger than may be loaded, a quarter of maxmemory.

Three members that have little memory once the keys are there. One is cut off and writes over some
of the keys, too; then all must hold the same. Counters say that nothing was loaded, and that the
garbage goes. What needs all of a value is refused as before.

usage: cold_overwrites.py --server tierra-server
"""

import os

from grouplib import ErrorReply, Group, main_of, wait_until
from ways import CUT, OPEN, Ways

MB = 1 << 20
LARGE = 17 * MB
OPTIONS = {'maxmemory': '192mb', 'store-memtable-bytes': '4mb'}
LITTLE = '64mb'  # Once the keys are there.
COUNT = 150000  # Of members of a set.
NAME = b'member:%0100d'
PART = 2000
SETS = ['large', 'over']
BOTH = ['both:%d' % i for i in range(2)]
# Of a debug build on a busy machine.
RSS_MAX = 96 * MB


def is_full(reply):
    """For a moment: what a start or a refused load has read is freed, others wait for the store."""
    return isinstance(reply, ErrorReply) and (b'DRAM is full' in reply or b'EXECABORT' in reply)


def call(member, *words):
    def done():
        done.reply = member.call(*words)
        return not is_full(done.reply)
    wait_until(lambda: '%s: %s' % (words[:2], done.reply), done)
    return done.reply


def exec_of_four(member, key):
    def done():
        member.call('MULTI')
        for words in (('SET', key, '1'), ('INCR', 'number'), ('DEL', key), ('RPUSH', 'o', key)):
            member.call(*words)
        done.reply = member.call('EXEC')
        return not is_full(done.reply)
    wait_until('room for EXEC', done)
    return done.reply == [b'OK', 1, 1, 1]


OVERWRITES = (
    ('set', lambda m, k: call(m, 'SET', k, 'short') == b'OK'),
    ('mset', lambda m, k: call(m, 'MSET', 'beside', 1, k, 'short') == b'OK'),
    ('unlink', lambda m, k: call(m, 'UNLINK', k) == 1),
    ('rename', lambda m, k: call(m, 'RENAME', 'source', k) == b'OK'),
    ('copy', lambda m, k: call(m, 'COPY', 'hash', k, 'REPLACE') == 1),
    ('restore', lambda m, k: call(m, 'RESTORE', k, 0, m.ok('DUMP', 'hash'), 'REPLACE') == b'OK'),
    ('store', lambda m, k: call(m, 'SUNIONSTORE', k, 'few') == 2),
    ('multi', exec_of_four),
)


def rss(member):
    return int(member.info('memory')['used_memory_rss'])


def counter(member, name):
    return int(member.info()[name])


def is_cold(member, key):
    return member.call('DEBUG', 'OBJECT', key) == b'tier:flash'


def make_all(group):
    a = group.all[0]
    keys = [name for name, _ in OVERWRITES] + BOTH
    for key in keys:
        a.ok('SET', key, os.urandom(LARGE))
        settled(group)
    for key in SETS:
        make_set(a, key)
        settled(group)

    for m in group.all:
        m.extra['maxmemory'] = LITTLE
        m.restart_saved()
    group.await_active()
    assert all(is_cold(m, k) for m in group.all for k in keys + SETS)
    print('made')


def is_refused(reply):
    return isinstance(reply, ErrorReply) and b'quarter of maxmemory' in reply


def make_set(member, key):
    for first in range(0, COUNT, PART):
        member.ok('SADD', key, *(NAME % i for i in range(first, first + PART)))


def settled(group):
    def done():
        return all(lag['lag-ops'] == 0 for m in group.up() for lag in m.lags())
    wait_until('all have it', done)


def strings(group):
    a = group.all[0]
    call(a, 'HSET', 'hash', 'f', 'v')
    call(a, 'SADD', 'few', 1, 2)
    call(a, 'SET', 'source', 'short')
    for name, write in OVERWRITES:
        assert is_cold(a, name), name
        for words in (('APPEND', name, 'x'), ('SET', name, 'x', 'GET')):
            reply = call(a, *words)
            assert is_refused(reply), (words, reply)
        assert call(a, 'SETNX', name, 'x') == 0
        assert write(a, name), name
    # INFO is some turns behind.
    wait_until(lambda: 'all were written with nothing read but key rows: %s' % a.info(),
               lambda: counter(a, 'raised') == len(OVERWRITES))
    print('strings')


def at_two_members(group, ways):
    """Of what both write over, all show the same."""
    a, b, _ = group.all
    ways.all(CUT)
    for i, name in enumerate(BOTH):
        call(a, 'SET', name, 'at a %d' % i)
        if i % 2 == 0:
            call(b, 'DEL', name)
        else:
            call(b, 'SET', name, 'at b %d' % i)
    call(b, 'HSET', BOTH[0], 'field', 'value')
    ways.all(OPEN)
    settled(group)
    group.await_same()
    print('at two members')


def sets(group):
    """A set that no member could load any more goes, and what it leaves is swept."""
    a = group.all[0]
    assert is_refused(call(a, 'SADD', 'large', 'x'))
    swept = [counter(m, 'rows_swept') for m in group.all]
    assert a.ok('EXISTS', 'large') == 1
    assert call(a, 'DEL', 'large') == 1
    assert a.ok('EXISTS', 'large') == 0
    assert call(a, 'SET', 'over', 'short') == b'OK'
    assert call(a, 'SADD', 'large', 'again') == 1
    settled(group)
    most = [0, 0, 0]

    def gone():
        for i, m in enumerate(group.all):
            call(m, 'SET', 'filler', os.urandom(MB))
            assert m.ok('SMEMBERS', 'large') == [b'again'], m.name
            most[i] = max(most[i], rss(m))
        return all(counter(m, 'rows_swept') - s >= 2 * COUNT for m, s in zip(group.all, swept))
    wait_until(lambda: 'swept: %s' % [counter(m, 'rows_swept') for m in group.all], gone)
    print('sets, at most %s MB' % [m // MB for m in most])
    assert max(most) < RSS_MAX, most


def run(args):
    with Group(args.server, args.work, OPTIONS) as group:
        ways = Ways(group)
        for m in ways.make(['a', 'b', 'c']):
            m.start()
            group.await_active()
        make_all(group)
        strings(group)
        sets(group)
        at_two_members(group, ways)


if __name__ == '__main__':
    main_of(__doc__, run)
