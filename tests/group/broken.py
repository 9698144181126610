#!/usr/bin/env python3
"""What ends in the middle: a full copy whose receiver is killed, one whose giver is killed, and a
member that stands still for longer than its peers wait. All go on, and hold the same.

usage: broken.py --server tierra-server
"""

import os
import sys

from grouplib import Group, main_of, wait_until
from ways import OPEN, Ways

KEYS = 400
VALUE_BYTES = 10000
# Of the rows of a copy: some pieces have come, more are to come.
MIDDLE_BYTES = 2 << 20
COMPLETE = 'a copy is complete'


def fill(member):
    member.conn.pipeline([(b'SET', b'big:%d' % i, os.urandom(VALUE_BYTES)) for i in range(KEYS)])
    member.ok('HSET', 'h', *[str(i) for i in range(40)])
    member.ok('SADD', 'u', *[str(i) for i in range(40)])
    member.ok('INCRBY', 'count', 10)


def change(members, what):
    """By each: a key of its own, a counter, one that was copied already, maybe, and goes."""
    for m in members:
        m.ok('SET', '%s:%s' % (what, m.name), os.urandom(100))
        m.ok('INCR', 'count')
        m.ok('DEL', 'big:%d' % len(what), 'big:%d' % (KEYS - len(what)))


def hold_copy(ways, givers, joiner):
    """The copy is under way, and stands: who gives it."""
    for m in givers:
        ways.hold_after(m, joiner, MIDDLE_BYTES)
    joiner.start()
    wait_until(lambda: 'a copy is under way: %s' % joiner.server.log_text(),
               lambda: any(ways.is_held(m, joiner) for m in givers))
    assert COMPLETE not in joiner.server.log_text(), joiner.server.log_text()
    assert joiner.status()['state'] == b'joining', joiner.status()
    (giver,) = [m for m in givers if ways.is_held(m, joiner)]
    ways.left.clear()
    return giver


def receiver_dies(group, ways, a, b, c):
    hold_copy(ways, [a, b], c)
    change([a, b], 'receiver')
    c.kill()
    ways.all(OPEN)
    change([a, b], 'the receiver is away')
    c.start()
    group.await_active()
    c.ok('INCR', 'count')
    held = group.await_same()
    assert held[b'count'] == b'15', held[b'count']
    print('who received a copy was killed: %d keys alike' % len(held))


def giver_dies(group, ways, givers, d):
    giver = hold_copy(ways, givers, d)
    change(givers, 'giver')
    giver.kill()
    ways.all(OPEN)
    others = [m for m in givers if m is not giver]
    wait_until(lambda: 'another one goes on: %s' % d.server.log_text(),
               lambda: COMPLETE in d.server.log_text())
    assert d.status()['state'] == b'joining', d.status()
    change(others, 'the giver is away')
    giver.start()
    group.await_active()
    d.ok('INCR', 'count')
    held = group.await_same()
    assert held[b'count'] == b'21', held[b'count']
    print('who gave a copy was killed: %d keys alike' % len(held))


def link_of(member, peer):
    (lag,) = [lag for lag in member.lags() if lag['peer'] == peer.name.encode()]
    return lag['link']


def stands_still(group, ways, stopped, others):
    change([stopped], 'own')
    before, starts = ways.forwarded, stopped.server.log_text().count('linked shard=0')
    stopped.pause()
    for m in others:
        wait_until(lambda m=m: '%s gives up: %s' % (m.name, m.lags()),
                   lambda m=m: link_of(m, stopped) != b'up')
    change(others, 'without one')
    stopped.resume()
    change([stopped], 'back')
    group.await_active()
    held = group.await_same()
    assert held[b'count'] == b'26', held[b'count']
    text = stopped.server.log_text()
    assert text.count('linked shard=0') > starts and COMPLETE not in text.split('linked')[-1], text
    sent = ways.forwarded - before
    assert sent < KEYS * VALUE_BYTES // 8, sent
    print('one stood still: %d bytes to all, of %d held' % (sent, KEYS * VALUE_BYTES))


def run(args):
    options = {'maxmemory': '2gb', 'store-memtable-bytes': '1mb'}
    with Group(args.server, args.work, options) as group:
        ways = Ways(group)
        a, b, c, d = ways.make(['a', 'b', 'c', 'd'])
        for m in (a, b):
            m.start()
            group.await_active()
        fill(a)
        group.await_same()
        # Their stores have it all then, and it is not for the logs to bring it.
        for m in (a, b):
            m.stop()
            m.start()
        group.await_active()
        receiver_dies(group, ways, a, b, c)
        giver_dies(group, ways, [a, b, c], d)
        stands_still(group, ways, c, [a, b, d])


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
