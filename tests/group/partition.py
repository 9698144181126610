#!/usr/bin/env python3
"""Three members in network namespaces under load: cycles of partitions, pauses and kill -9. After
each all converge by what they lack, and nothing acknowledged is missing.

A cycle: all members are written to, and go on to be while the net is taken apart, or one of them is
paused or killed, or both. Then the writing ends, all is healed (what was killed is started), and
from there on it is measured how long it takes until

  linked     every member has heard from each peer whom it owes batches (its lag has become less)
  converged  every member has acknowledged durably what every other has written (REPLGROUP LAG: 0
             ops), and a REPLGROUP DIGEST of all that they show agrees

by asking for reports that cost nearly nothing. Only then everything is read at all members and
compared, which does not count. No copy and no resync may have taken place since the members have
met, and what crossed the net is counted beside what was written.

usage: partition.py --server tierra-server [--cycles N] [--seed N] [--within SECONDS]
                    [--maxmemory BYTES]

Exit status 77: network namespaces cannot be made here.
"""

import os
import random
import sys
import time

from grouplib import Group, main_of, wait_until
from netns import PORT, Net, NoNetwork
from partition_load import Load

# Of a full copy or a resync.
ROWS_COUNTERS = ('copies_given', 'copied_rows_out', 'copied_rows_in', 'resyncs')
# Of these rows a copy would have to bring all: what a cycle writes is less.
FILL_KEYS = 10000
FILL_BYTES = 2000
KINDS = ('isolate', 'pair', 'one way', 'flap', 'pause', 'kill', 'kill', 'power cut')


class Outage:
    """What goes wrong in a cycle."""

    def __init__(self, rng, net, members):
        self.rng, self.net, self.members = rng, net, members
        self.kind = rng.choice(KINDS)
        # Else packets are lost without a word.
        self.told = rng.random() < 0.25
        self.away = None  # A member that does not answer.

    def isolate(self, a):
        for i in range(len(self.members)):
            if i != a:
                self.net.block(a, i, self.told)
                self.net.block(i, a, self.told)

    def begin(self):
        a, b = self.rng.sample(range(len(self.members)), 2)
        if self.kind == 'isolate':
            self.isolate(a)
        elif self.kind == 'pair':
            self.net.block(a, b, self.told)
            self.net.block(b, a, self.told)
        elif self.kind == 'one way':
            self.net.block(a, b, self.told)
        elif self.kind == 'pause':
            self.away = self.members[a]
            self.away.pause()
        elif self.kind in ('kill', 'power cut'):
            if self.kind == 'power cut':
                self.isolate(a)  # Nobody hears of its end.
            self.away = self.members[a]
            check_no_rows(self.away)
            self.away.kill()

    def go_on(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.kind == 'flap':
                a, b = self.rng.sample(range(len(self.members)), 2)
                self.net.heal()
                self.net.block(a, b, self.told)
            time.sleep(min(0.2, max(0.0, end - time.monotonic())))

    def end(self):
        self.net.heal()
        if self.kind == 'pause':
            self.away.resume()
        elif self.away is not None:
            self.away.start()
            self.away.rows_before = {}


def rows_counters(member):
    info = member.info()
    return {name: int(info[name]) for name in ROWS_COUNTERS}


def check_no_rows(member):
    """All that it got since its start, or since all were new, came by the logs."""
    now = rows_counters(member)
    assert all(now[n] == member.rows_before.get(n, 0) for n in now), (member.name, now)


def owed(members):
    """Batches that each peer of each member has not acknowledged, with a link or not."""
    return {(m.name, lag['peer'].decode()): lag['lag-ops'] for m in members for lag in m.lags()}


def converge(group, healed):
    """Seconds from `healed` until all are linked, all is acknowledged, the digests agree."""
    members = group.all
    first, moved, linked = None, set(), None
    at_most = {}

    def what():
        return 'converged:\n%s' % '\n'.join(
            '%s: %s %s' % (m.name, m.status(), m.lags()) for m in members)

    def acknowledged():
        nonlocal first, linked
        now = owed(members)
        if first is None:
            first = now
        for pair, count in now.items():
            # Reports are a tenth of a second old: it may still have become more.
            at_most[pair] = max(at_most.get(pair, 0), count)
            if count == 0 or count < at_most[pair]:
                moved.add(pair)
        if linked is None and len(moved) == len(now):
            linked = time.monotonic() - healed
        return len(now) == len(members) * (len(members) - 1) and not any(now.values())

    group.await_active()
    wait_until(what, acknowledged)
    shipped = time.monotonic() - healed
    wait_until(what, lambda: b'agree' in members[0].call('REPLGROUP', 'DIGEST') and
               not any(owed(members).values()))
    return linked, shipped, time.monotonic() - healed


class Cycle:
    def __init__(self, rng, net, group, load, args):
        self.net, self.group, self.load = net, group, load
        self.outage = Outage(rng, net, group.all)
        self.seconds = rng.uniform(args.seconds / 4, args.seconds)

    def run(self):
        self.load.begin(self.group.all)
        self.outage.begin()
        self.outage.go_on(self.seconds)
        self.load.stop()
        self.net_before = self.net.sent_bytes()
        healed = time.monotonic()
        self.outage.end()
        self.load.join()
        self.ready = time.monotonic() - healed
        self.linked, self.shipped, self.agreed = converge(self.group, healed)
        self.sent = self.net.sent_bytes() - self.net_before
        for m in self.group.all:
            check_no_rows(m)
        self.load.check(self.group.await_same())
        self.compared = time.monotonic() - healed - self.agreed

    def text(self):
        o = self.outage
        return ('%s%s for %.1f s: heal %.2f s, linked %.2f, acknowledged %.2f, digests agree %.2f; '
                '%d writes of %d KiB, %d KiB on the net after the heal; compared in %.1f s' % (
                    o.kind, ' (told)' if o.told and o.kind not in ('pause', 'kill') else '',
                    self.seconds, self.ready, self.linked, self.shipped, self.agreed,
                    self.load.cycle_writes, self.load.cycle_bytes >> 10, self.sent >> 10,
                    self.compared))


def fill(group):
    """Rows that all hold before anything goes wrong."""
    for first in range(0, FILL_KEYS, 100):
        m = group.all[first // 100 % len(group.all)]
        m.ok('MSET', *[w for i in range(first, first + 100)
                       for w in (b'fill:%d' % i, os.urandom(FILL_BYTES))])
    wait_until('the fill is everywhere', lambda: not any(owed(group.all).values()))
    for m in group.all:
        m.rows_before = rows_counters(m)


def summary(seed, cycles, load):
    def figures(values):
        values = sorted(values)
        return 'p50 %.2f s, p90 %.2f, max %.2f' % (
            values[len(values) // 2], values[len(values) * 9 // 10], values[-1])

    print('seed %d: %d cycles, %d writes (%d refused, %d without a reply), no copy, no resync' % (
        seed, len(cycles), load.number, load.refused, load.unanswered))
    print('from heal to linked:       ' + figures([c.linked for c in cycles]))
    print('from heal to acknowledged: ' + figures([c.shipped for c in cycles]))
    print('from heal to digests same: ' + figures([c.agreed for c in cycles]))
    print('written in RESP: %.1f MiB; on the net after all heals: %.1f; a copy to one: %.1f' % (
        load.bytes / 2**20, sum(c.sent for c in cycles) / 2**20, FILL_KEYS * FILL_BYTES / 2**20))


def run(args):
    seed = args.seed or random.SystemRandom().randrange(1 << 31)
    group = Group(args.server, args.work,
                  {'maxmemory': args.maxmemory, 'appendfsync': args.appendfsync})
    try:
        net = Net(3, group.work)
    except NoNetwork as err:
        print('skipped: %s' % err)
        group.finish()
        sys.exit(77)
    load = Load(seed, args.rate)
    cycles = []
    try:
        made = group.make(['a', 'b', 'c'], lambda name, port: '%s:%d' % (
            net.address('abc'.index(name)), PORT))
        for i, m in enumerate(made):
            m.program = net.program(i, os.path.abspath(args.server))
            m.start()
        group.await_active()
        fill(group)
        for n in range(args.cycles):
            c = Cycle(random.Random('%d %d' % (seed, n)), net, group, load, args)
            c.run()
            cycles.append(c)
            print('%d %s' % (n, c.text()), flush=True)
        summary(seed, cycles, load)
        late = [n for n, c in enumerate(cycles) if args.within and c.agreed > args.within]
        assert not late, 'too late in the cycles %s' % late
        group.finish()
    except BaseException:
        print('seed %d' % seed)
        group.fail()
        raise
    finally:
        load.stop()
        net.remove()


def add_options(parser):
    parser.add_argument('--cycles', type=int, default=5)
    parser.add_argument('--seconds', type=float, default=3,
                        help='longest outage; the shortest is a quarter of it')
    parser.add_argument('--rate', type=int, default=2000, help='writes a second at each member')
    parser.add_argument('--within', type=float, default=0,
                        help='fail if the digests do not agree so many seconds after a heal')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--appendfsync', default='everysec')
    # With sanitizers a member takes far more than what it holds.
    parser.add_argument('--maxmemory', default='2gb',
                        help='memtables are an eighth: bounds what a start after a kill replays')


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, add_options))
