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
# By each giver, of the rows of a copy: a piece of 1 MiB comes, and the next one does not. All
# givers together, if the joiner waits for them in turn, have not given all then.
MIDDLE_BYTES = 3 << 19
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
    """The copy is under way, and stands, however long: who gives it."""
    assert len(givers) << 20 < KEYS * VALUE_BYTES
    for m in givers:
        ways.hold_after(m, joiner, MIDDLE_BYTES)
    joiner.start()
    wait_until(lambda: 'a copy is under way: %s' % joiner.server.log_text(),
               lambda: any(ways.is_held(m, joiner) for m in givers))
    assert COMPLETE not in joiner.server.log_text(), joiner.server.log_text()
    assert joiner.status()['state'] == b'joining', joiner.status()
    return [m for m in givers if ways.is_held(m, joiner)][0]


def let_go(ways):
    ways.left.clear()
    ways.all(OPEN)


def receiver_dies(group, ways, a, b, c):
    hold_copy(ways, [a, b], c)
    change([a, b], 'receiver')
    c.kill()
    let_go(ways)
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
    let_go(ways)
    others = [m for m in givers if m is not giver]
    wait_until(lambda: 'another one goes on: %s' % d.server.log_text(),
               lambda: COMPLETE in d.server.log_text())
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


def rows_copied(members):
    return sum(int(m.info()['copied_rows_in']) for m in members)


def stands_still(group, ways, stopped, others):
    change([stopped], 'own')
    before, starts = rows_copied(group.up()), stopped.server.log_text().count('linked shard=0')
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
    assert stopped.server.log_text().count('linked shard=0') > starts, stopped.server.log_text()
    assert rows_copied(group.up()) == before, (rows_copied(group.up()), before)
    print('one stood still: what was written meanwhile came by the logs')


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
            m.restart_saved()
        group.await_active()
        receiver_dies(group, ways, a, b, c)
        giver_dies(group, ways, [a, b, c], d)
        stands_still(group, ways, c, [a, b, d])


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
