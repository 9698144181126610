#!/usr/bin/env python3
"""A member whose clock is an hour off, ahead or back, while it runs and when it starts, with two
peers and with one: it says so, does not follow it, and goes on. What it writes counts from now, at
the others too; when the clock is right again nothing has happened.

usage: clock.py --server tierra-server --shim clock_shim.so
"""

import mmap
import os
import struct
import sys
import time

from grouplib import Group, main_of, pairs, wait_until

HOUR_MS = 3600000
# What the clocks that two members go by differ by at most, when both are right.
CLOCKS_MS = 20


class Clock:
    """Of one member; clock_shim.c."""

    def __init__(self, member, shim):
        path = os.path.join(member.work, 'clock')
        with open(path, 'wb') as file:
            file.write(bytes(8))
        with open(path, 'r+b') as file:
            self.map = mmap.mmap(file.fileno(), 8)
        # The server alone: the process stays the same.
        program = os.path.join(member.work, 'server')
        with open(program, 'w', encoding='utf-8') as file:
            file.write('#!/bin/sh\nLD_PRELOAD=%s TIERRA_CLOCK=%s exec %s "$@"\n' % (
                os.path.abspath(shim), path, os.path.abspath(member.program)))
        os.chmod(program, 0o755)
        member.program = program

    def set(self, off_ms):
        self.map[:8] = struct.pack('=q', off_ms)


def await_past(ms):
    """What is written now is later than a tag of then, by any of the members' clocks."""
    wait_until('time goes on', lambda: time.time() * 1000 > ms + CLOCKS_MS)


def write(members, what):
    for m in members:
        m.ok('SET', '%s:%s' % (what, m.name), m.name)
        m.ok('SET', 'last', '%s %s' % (what, m.name))
        m.ok('INCR', 'count')
        await_past(tag_ms(m, 'last'))


def offset_ms(member, peer):
    (lag,) = [lag for lag in member.lags() if lag['peer'] == peer.name.encode()]
    return lag['clock-offset-ms']


def await_seen(member, peer, off_ms):
    """How far the clocks are apart; a test on one machine has them equal otherwise."""
    wait_until(lambda: '%s sees %d ms: %s' % (member.name, off_ms, member.lags()),
               lambda: abs(offset_ms(member, peer) - off_ms) < HOUR_MS // 4)


def tag_ms(member, key):
    return pairs(pairs(member.ok('REPLGROUP', 'EXPLAIN', key))['tag'])['ms']


def await_own_clocks(members):
    """Whoever was started begins at its lease, up to two seconds ahead, and the others follow it
    there: until the clocks have caught up the last write need not win."""
    def caught_up(m):
        m.ok('SET', 'probe', m.name)
        return tag_ms(m, 'probe') <= time.time() * 1000
    for m in members:
        wait_until('%s goes by its clock' % m.name, lambda m=m: caught_up(m))
    members[0].ok('DEL', 'probe')


def counts_from_now(members):
    """What is written now has a tag of now; what lives for ten minutes does so everywhere."""
    for m in members:
        m.ok('SET', 'now', m.name, 'EX', '600')
        ms = tag_ms(m, 'now')
        assert abs(ms - time.time() * 1000) < HOUR_MS // 4, (m.name, ms, time.time())
        for reader in members:
            wait_until(lambda reader=reader, m=m: '%s has what %s wrote' % (reader.name, m.name),
                       lambda reader=reader, m=m: reader.ok('GET', 'now') == m.name.encode())
            left_ms = reader.ok('PTTL', 'now')
            # More than was given, where the reader's clock is behind the writer's by more than it
            # took to get there.
            assert 0 < left_ms < 600000 + HOUR_MS // 4, (reader.name, m.name, left_ms)
        await_past(ms)


def go_on(group, members, what, in_order=True):
    """All take writes, the last one wins, and nobody refuses anything."""
    if in_order:
        await_own_clocks(members)
    write(members, what)
    held = group.await_same(members)
    winner = '%s %s' % (what, members[-1].name)
    assert not in_order or held[b'last'].decode() == winner, (held[b'last'], winner)
    counts_from_now(members)
    for m in members:
        m.ok('DEL', 'now')
        for text in ('ops from the future', "this node's clock is wrong"):
            assert text not in m.server.log_text(), m.server.log_text()
    group.await_same(members)


def while_it_runs(group, clock, members, off_ms):
    """The last of the members is the one whose clock it is."""
    a, c = members[0], members[-1]
    clock.set(off_ms)
    await_seen(c, a, -off_ms)
    await_seen(a, c, off_ms)
    wait_until(lambda: 'it says so: %s' % c.server.log_text(),
               lambda: 'clock is not followed' in c.server.log_text())
    # Whoever is not the last writes last: a tag of an hour ahead would win.
    go_on(group, [c] + members[:-1], 'off %d' % off_ms)
    go_on(group, members, 'and c last')
    clock.set(0)
    await_seen(c, a, 0)
    go_on(group, members, 'right again')
    wait_until(lambda: 'it says so: %s' % c.server.log_text(),
               lambda: 'clock is followed again' in c.server.log_text())
    print('an hour %s, %d members: not followed' % (
        'ahead' if off_ms > 0 else 'back', len(members)), flush=True)


def when_it_starts(group, clock, members, off_ms):
    a, c = members[0], members[-1]
    c.kill()
    clock.set(off_ms)
    a.ok('SET', 'down', off_ms)
    c.start()
    group.await_active(members)
    await_seen(c, a, -off_ms)
    # Its time is that of a peer, as exact as a round trip is short.
    go_on(group, [c] + members[:-1], 'started off %d' % off_ms, in_order=False)
    clock.set(0)
    await_seen(c, a, 0)
    go_on(group, members, 'right after the start')
    print('started an hour %s, %d members: not followed' % (
        'ahead' if off_ms > 0 else 'back', len(members)), flush=True)


def run(args):
    group = Group(args.server, args.work, {'maxmemory': '2gb'})
    try:
        members = group.make(['a', 'b', 'c'])
        clock = Clock(members[-1], args.shim)
        for m in members:
            m.start()
        group.await_active()
        for off_ms in (HOUR_MS, -HOUR_MS):
            while_it_runs(group, clock, members, off_ms)
            when_it_starts(group, clock, members, off_ms)
        a, b, c = members
        b.stop()  # Nobody can say which of the others is right.
        for off_ms in (HOUR_MS, -HOUR_MS):
            while_it_runs(group, clock, [a, c], off_ms)
        when_it_starts(group, clock, [a, c], HOUR_MS)
        b.start()
        group.await_active()
        go_on(group, members, 'all three')
        group.finish()
    except BaseException:
        group.fail()
        raise


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, lambda p: p.add_argument('--shim', required=True)))
