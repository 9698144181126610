#!/usr/bin/env python3
"""The conflict tables (conflict_tables.def) at three members that cannot hear each other: what each
shows then, and what all show when they can.

usage: tables.py --server tierra-server [--shards N]
"""

import sys

from grouplib import Group, main_of, wait_until
from rows import STRETCH, Clock, read_rows, run_apart
from ways import HELD, OPEN, Ways

MARKS = 64  # Some for each shard.


def start_in_order(members):
    """The first gets the lowest origin number, as rows want it."""
    for m in members:
        m.start()
        wait_until(lambda m=m: '%s is active: %s' % (m.name, m.status()), m.is_active)
    origins = [m.status()['origin'] for m in members]
    assert origins == sorted(origins), origins


def write_marks(members, phase):
    for m in members:
        for i in range(MARKS):
            m.ok('SET', 'mark:%s:%d' % (m.name, i), phase)


def marks_are_here(members, phase):
    """So is all that was written before them: batches of an origin arrive in order."""
    return all(m.ok('GET', 'mark:%s:%d' % (of.name, i)) == b'%d' % phase
               for m in members for of in members for i in range(MARKS))


def sync(group, ways, phase):
    """What was made while held is everywhere, and nothing else passes any more."""
    members = group.all
    write_marks(members, phase)
    ways.all(OPEN)
    wait_until('phase %d arrives' % phase, lambda: marks_are_here(members, phase))
    group.await_same()
    ways.all(HELD)


def run_rows(group, ways, members, rows):
    """Rows whose members cannot hear each other between two "sync". The number of partitions."""
    phase, stretch = 0, STRETCH
    failures = []
    while rows:
        sync(group, ways, phase)
        phase += 1
        clock = Clock(stretch)
        late = []
        while run_apart(rows, members, clock, failures, late):
            sync(group, ways, phase)
            phase += 1
        rows = [row.again() for row in late]
        stretch *= 4
    ways.all(OPEN)
    assert not failures, '\n'.join(failures)
    return phase


def run(args):
    options = {'maxmemory': '2gb'}  # Sanitizers take more than any budget of a test.
    if args.shards > 1:
        options.update({'clustering-policy': 'enterprise', 'shards': args.shards})
    rows = read_rows()
    with Group(args.server, args.work, options) as group:
        ways = Ways(group)
        members = ways.make(['a', 'b', 'c'])
        start_in_order(members)
        phases = run_rows(group, ways, members, rows)
        print('%d rows in %d partitions (%d shards)' % (len(rows), phases, args.shards))


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, lambda p: p.add_argument('--shards', type=int, default=1)))
