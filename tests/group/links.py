#!/usr/bin/env python3
"""When a link comes back: to a peer that was dead, and whose death nobody has told of.

usage: links.py --server tierra-server
"""

import sys
import time

from grouplib import Group, main_of, wait_until
from ways import Ways

# A link of which nothing was heard for so long gives way to a new one (server/group_link.c); it is
# given up by itself after five times as long.
SILENT_S = 1.0


def links(member):
    return {lag['peer'].decode(): lag['link'] for lag in member.lags()}


def times(member, words):
    """When its log has said that."""
    return [line.split()[0] for line in member.server.log_text().splitlines() if words in line]


def power_cut(group, ways, members):
    """Back at once, while the peer still holds the connection of before to be good."""
    a, b = members
    a.ok('SET', 'before', 1)
    group.await_same()
    ways.strand()
    time.sleep(SILENT_S * 3)  # What had come before may be heard late.
    b.kill()
    b.start()
    a.ok('SET', 'after', 1)
    wait_until(lambda: 'they are linked: %s %s' % (links(a), links(b)),
               lambda: links(a) == {'b': b'up'} and links(b) == {'a': b'up'})
    group.await_active()
    assert group.await_same() == {b'before': b'1', b'after': b'1'}
    # On a slow machine `a` may have given it up already.
    refused = times(b, 'not now')
    given_up = times(a, 'nothing was heard')
    assert not refused or (given_up and given_up[0] < refused[0]), b.server.log_text()


def run(args):
    with Group(args.server, args.work) as group:
        ways = Ways(group)
        members = ways.make(['a', 'b'])
        for m in members:
            m.start()
            group.await_active([m])
        group.await_active()
        power_cut(group, ways, members)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
