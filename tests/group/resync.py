#!/usr/bin/env python3
"""A member that was away for longer than the logs are kept comes back by itself: it copies the rows
of a peer and joins them to its own.

usage: resync.py --server tierra-server
"""

import os

from grouplib import Group, fill, main_of, wait_until

LOG_MB = 12
SHORT = {'oplog-segment-bytes': '1mb', 'oplog-retention-bytes': '2mb'}


def fill_more(member, prefix):
    """And what is going to be changed."""
    fill(member, prefix)
    member.ok('SET', prefix + ':gone:long', 'z' * 40000)
    member.ok('SADD', prefix + ':gone:u', *[str(i) for i in range(40)])
    member.ok('HINCRBY', prefix + ':hc', 'f', 7)
    member.ok('INCRBY', 'counter', 10)


def churn(member):
    """Beyond what logs are kept for, in keys that are gone in the end."""
    value = os.urandom(65536)  # Does not become short on its way.
    for i in range(LOG_MB * 16):
        member.ok('SET', 'churn:%d' % (i % 8), value)
    member.ok('DEL', *['churn:%d' % i for i in range(8)])


def change(member):
    """What whoever is away must learn of without a log; removals above all."""
    member.ok('DEL', 'b:gone:long', 'b:gone:u', 'b:s:1', 'a:h')
    for key in ('b:s:2', 'b:s:3'):
        member.ok('DEL', key)
    member.ok('SET', 'b:s:4', 'newer')
    assert member.ok('SREM', 'b:u', '1', '2', '3') == 3
    member.ok('HDEL', 'b:h', '0')
    member.ok('LPOP', 'b:l')
    member.ok('ZINCRBY', 'b:z', 5, '1')
    member.ok('PERSIST', 'b:ttl')
    member.ok('SETRANGE', 'b:long', 3, 'changed')
    member.ok('SETBIT', 'b:long', 80005, 1)
    member.ok('HINCRBY', 'b:hc', 'f', 5)
    member.ok('INCRBY', 'counter', 100)


def own(member):
    """Acknowledged by who goes away, and known to nobody else."""
    member.ok('SET', 'own', 'kept')
    member.ok('SADD', 'b:u', '2', 'late')
    member.ok('INCRBY', 'counter', 1000)
    member.ok('RPUSH', 'b:l', 'late')
    member.ok('DEL', 'a:s:5')
    member.ok('HINCRBY', 'b:hc', 'f', 30)
    member.ok('SETBIT', 'b:long', 80006, 1)


def check(held, both):
    for key in (b'b:gone:long', b'b:gone:u', b'b:s:1', b'b:s:2', b'b:s:3', b'a:h', b'a:s:5'):
        assert key not in held, key
    assert held[b'own'] == b'kept'
    assert held[b'b:s:4'] == b'newer'
    assert held[b'counter'] == b'1120', held[b'counter']
    assert held[b'b:hc'][1][b'f'] == b'42', held[b'b:hc']
    assert held[b'b:long'][:12] == b'yyychangedyy'
    assert held[b'b:long'][10000] == 0x7f, held[b'b:long'][10000]  # y, with the bits of both.
    members = held[b'b:u'][1]
    assert b'1' not in members and b'late' in members and b'3' not in members
    # Concurrent for sure: the addition wins. Else the removal may have seen it.
    assert b'2' in members or not both
    assert held[b'b:l'][1][0] == b'2' or held[b'b:l'][1][0] == b'1', held[b'b:l'][1][:2]
    assert held[b'b:l'][1][-1] == b'late'


def log_begin(member):
    """The number of the first segment that is left of the log."""
    names = os.listdir(os.path.join(member.data, 'shard-000', 'oplog'))
    return min(int(name[:-4], 16) for name in names if name.endswith('.log'))


def resyncs(member):
    return member.server.log_text().count('the rows of the peer are ')


def outgrow(member):
    """Its log loses what it has now."""
    begin = log_begin(member)
    churn(member)
    # What the store has is persistent then, and may go from the log.
    member.restart_saved()
    churn(member)
    wait_until(lambda: 'a peer is behind: %s' % member.server.log_text()[-2000:],
               lambda: 'a peer was away for longer' in member.server.log_text())
    # More than can be on its way to a peer.
    wait_until('the log of %s is trimmed' % member.name,
               lambda: log_begin(member) - begin >= LOG_MB // 2)


def one_is_away(group, a, b, both):
    a.pause()
    if both:
        churn(b)  # More than is on its way at a time.
    own(b)
    if both:
        outgrow(b)
    b.kill()
    a.resume()
    change(a)
    outgrow(a)
    b.start()
    wait_until(lambda: 'rows are joined: %s' % b.server.log_text()[-4000:], lambda: resyncs(b) != 0)
    group.await_active([a, b])
    held = group.await_same()
    check(held, both)
    if both:
        wait_until(lambda: 'rows are joined: %s' % a.server.log_text()[-4000:],
                   lambda: resyncs(a) != 0)
    for m in (a, b):
        m.ok('INCR', 'after')
    # Both may have their own one only, and not know of more.
    wait_until('both know of both changes',
               lambda: (group.same([a, b]) or {}).get(b'after') == b'2')
    print('%s: %d keys alike, %d and %d resyncs' % (
        'both wrote for long' if both else 'one was away', len(held), resyncs(a), resyncs(b)))


def restart(group, members, both):
    for m in members:
        m.kill()
    for m in members:
        m.start()
    group.await_active(members)
    check(group.await_same(), both)


def run(args):
    for both in (False, True):
        with Group(args.server, args.work, dict(SHORT)) as group:
            a, b = group.make(['a', 'b'])
            a.start()
            group.await_active()
            b.start()
            group.await_active()
            fill_more(a, 'a')
            fill_more(b, 'b')
            group.await_same()
            one_is_away(group, a, b, both)
            restart(group, [a, b], both)


if __name__ == '__main__':
    main_of(__doc__, run)
