#!/usr/bin/env python3
"""Parts of long strings at three members of which not all hear each other: what two could not show
(conflict_tables.def has that); and what is left of such strings.

usage: parts.py --server tierra-server
"""

import os
import time

from grouplib import Group, main_of, wait_until
from rows import STEP_SECONDS
from ways import HELD, OPEN, Ways

EXPIRED, CHUNKS = 5, 98
FILLERS = 200


def write(member, *words):
    """Later than the one before: the clocks of members go by the ms."""
    time.sleep(STEP_SECONDS)
    return member.ok(*words)


def pass_on(ways, source, target, name):
    """What these two have, nobody else hears."""
    write(source, 'SET', name, source.name)
    for state in (OPEN, HELD):
        ways.between([source], [target], state)
        ways.between([target], [source], state)
        if state == OPEN:
            wait_until('%s has %s' % (target.name, name),
                       lambda: target.call('EXISTS', name) == 1)


def all_show(group, check):
    held = group.await_same()
    assert check(held[b'k']), (len(held[b'k']), held[b'k'][:20])


def end_that_lost(group, ways, longer):
    """
    A part that made the string longer is seen by a part of another SET, which wins there and takes
    its length; a part that has seen neither wins in the end. Bytes behind the length are left, and
    must not show when the string is made longer again.
    """
    a, b, c = group.all
    a.ok('DEL', 'k')
    group.await_same()
    ways.all(HELD)
    write(a, 'SETRANGE', 'k', 20000, 'x')
    pass_on(ways, a, c, 'first')
    write(a, 'SETRANGE', 'k', 40000, 'y' * 3000)
    write(b, 'SETRANGE', 'k', 17000, 'z')
    pass_on(ways, a, b, 'second')
    assert b.ok('STRLEN', 'k') == 17001
    write(b, 'SETBIT', 'k', 7, 1)
    write(c, 'SETBIT', 'k', 6, 1)
    ways.all(OPEN)
    all_show(group, lambda text: len(text) == 20001 and text[0] == 2)
    a.ok('DEL', 'first', 'second')
    for words in longer:
        write(a, *words)
    all_show(group, lambda text: len(text) == 45001 and not any(text[20001:45000]))
    print('behind an end that lost: %s' % longer[0][0])


def rows_swept(member):
    return int(member.info()['rows_swept'])


def expired_goes(group):
    """A long string that has expired everywhere goes from DRAM and flash, with all its chunks."""
    a = group.all[0]
    before = [rows_swept(m) for m in group.all]
    for i in range(EXPIRED):
        a.ok('SETRANGE', 'e%d' % i, CHUNKS * 1024 - 1, 'x')
        a.ok('SETBIT', 'e%d' % i, 5000, 1)
        a.ok('PEXPIRE', 'e%d' % i, 300)

    def gone():
        # What the stores cover persistently must move on: by write-back, which idle members do at
        # once, of more than a memtable.
        for m in group.all:
            for i in range(FILLERS):
                m.ok('SET', 'filler:%d' % i, os.urandom(8000))
        wait_until('all is written back', lambda: all(
            m.info('tiering')['dirty_rows'] == '0' for m in group.all))
        return all(m.ok('DBSIZE') <= FILLERS + 1 and
                   rows_swept(m) - swept >= EXPIRED * CHUNKS
                   for m, swept in zip(group.all, before))
    wait_until(lambda: 'expired strings go: %s' % [
        (m.ok('DBSIZE'), rows_swept(m)) for m in group.all], gone)
    print('expired')


def run(args):
    with Group(args.server, args.work, {'store-memtable-bytes': '1mb'}) as group:
        ways = Ways(group)
        for m in ways.make(['a', 'b', 'c']):
            m.start()
            group.await_active()
        end_that_lost(group, ways, [('SETRANGE', 'k', 45000, 'w')])
        end_that_lost(group, ways, [('SETBIT', 'k', 360007, 1)])
        end_that_lost(group, ways, [('BITFIELD', 'k', 'SET', 'u8', '#40500', '0'),
                                    ('SETRANGE', 'k', 45000, 'w')])
        expired_goes(group)


if __name__ == '__main__':
    main_of(__doc__, run)
