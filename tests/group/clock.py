#!/usr/bin/env python3
"""A member whose clock is an hour off, ahead and behind: it warns, takes no writes as long as two
peers say so, and poisons nobody; when the clock is right again, it goes on at once. One of two
members, whom nobody can outvote, goes on without following its clock.

usage: clock.py --server tierra-server --shim clock_shim.so
"""

import mmap
import os
import struct
import sys

from grouplib import ErrorReply, Group, main_of, wait_until

HOUR_MS = 3600000


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


def write(members, what):
    for m in members:
        m.ok('SET', '%s:%s' % (what, m.name), m.name)
        m.ok('SET', 'last', '%s %s' % (what, m.name))
        m.ok('INCR', 'count')


def wall_of(member):
    """The server's own clock, in ms, and how far it is behind (-) or ahead of ours."""
    seconds, micros = map(int, member.ok('TIME'))
    return seconds * 1000 + micros // 1000


def lag_of(member, peer):
    (lag,) = [lag for lag in member.lags() if lag['peer'] == peer.name.encode()]
    return lag


def offset(member, peer):
    return lag_of(member, peer)['clock-offset-ms']


def fenced(member):
    return b'clock' in member.status()['writes']


def not_from_the_future(group, members):
    """What is written now counts from now."""
    for m in members:
        m.ok('SET', 'now', m.name)
        (told,) = [m.ok('REPLGROUP', 'EXPLAIN', 'now')]
        tag = dict(zip(told[::2], told[1::2]))[b'tag']
        tag = dict(zip(tag[::2], tag[1::2]))
        assert abs(tag[b'ms'] - wall_of(members[0])) < HOUR_MS // 2, (tag, wall_of(members[0]))
    group.await_same()


def one_of_three(group, clock, members, off_ms):
    a, b, c = members
    write(members, 'before')
    group.await_same()
    clock.set(off_ms)
    wait_until(lambda: 'c is fenced: %s\n%s' % (c.status(), c.server.log_text()),
               lambda: fenced(c))
    reply = c.call('SET', 'k', 'v')
    assert isinstance(reply, ErrorReply) and b'clock' in reply, reply
    text = c.server.log_text()
    assert 'clocks differ' in text and "this node's clock is wrong" in text, text
    write([a, b], 'meanwhile')
    # Behind, it takes what the others write for sent from the future, and says so.
    wait_until(lambda: 'a sees how far it is off: %s' % a.lags(),
               lambda: abs(lag_of(a, c)['clock-offset-ms'] - off_ms) < 60000 or
               (off_ms < 0 and b'future' in lag_of(a, c)['last-error']))
    assert abs(offset(a, b)) < 60000, a.lags()
    clock.set(0)
    group.await_active()
    if off_ms > 0:
        for m in members:
            assert 'ops from the future' not in m.server.log_text(), m.server.log_text()
    write([c, a, b], 'right again %d' % off_ms)
    held = group.await_same()
    assert held[b'last'].startswith(b'right again'), held[b'last']
    not_from_the_future(group, members)
    print('an hour %s: fenced, and back' % ('ahead' if off_ms > 0 else 'behind'))


def one_of_two(group, clock, a, c):
    """Nobody can say which of the two is wrong: both take writes, and none follows the step."""
    clock.set(HOUR_MS)
    wait_until(lambda: 'c sees it: %s' % c.lags(), lambda: offset(c, a) < -HOUR_MS // 2)
    write([a, c], 'of two')
    group.await_same([a, c])
    c.kill()
    c.start()  # With the wrong clock; what it promised before counts.
    group.await_active([a, c])
    wait_until(lambda: 'c sees it: %s' % c.lags(), lambda: offset(c, a) < -HOUR_MS // 2)
    write([c, a], 'started with it')
    group.await_same([a, c])
    clock.set(0)
    wait_until(lambda: 'c agrees: %s' % c.lags(), lambda: abs(offset(c, a)) < 60000)
    write([c, a], 'in the end')
    assert group.await_same([a, c])[b'last'] == b'in the end a'
    not_from_the_future(group, [a, c])
    print('one of two: both went on')


def run(args):
    group = Group(args.server, args.work, {'maxmemory': '2gb'})
    try:
        members = group.make(['a', 'b', 'c'])
        a, b, c = members
        clock = Clock(c, args.shim)
        for m in members:
            m.start()
        group.await_active()
        one_of_three(group, clock, members, HOUR_MS)
        one_of_three(group, clock, members, -HOUR_MS)
        b.ok('REPLGROUP', 'LEAVE')
        wait_until('b has left', lambda: b.status()['state'] == b'left')
        b.stop()
        group.await_active([a, c])
        one_of_two(group, clock, a, c)
        group.finish()
    except BaseException:
        group.fail()
        raise


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, lambda p: p.add_argument('--shim', required=True)))
