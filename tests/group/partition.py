#!/usr/bin/env python3
"""Three members in network namespaces under load: cycles of partitions, pauses and kill -9. In the
end of each all hold the same, and nothing acknowledged is missing.

usage: partition.py --server tierra-server [--cycles N] [--seed N]

Exit status 77: network namespaces cannot be made here.
"""

import os
import random
import sys
import time

from grouplib import ErrorReply, Group, ServerGone, main_of
from netns import PORT, Net, NoNetwork

COUNTERS = 20
BATCH = 50


class Load:
    """Writes at all members, and what must come of them."""

    def __init__(self, rng):
        self.rng = rng
        self.number = 0
        self.acked = {}      # Counter: sum of acknowledged increments,
        self.unknown = {}    # and of those without a reply.
        self.members = set()  # Acknowledged additions to the set.
        self.refused = 0

    def batch(self, who):
        commands = []
        for _ in range(BATCH):
            self.number += 1
            kind = self.rng.randrange(6)
            key = self.rng.randrange(COUNTERS)
            if kind == 0:
                commands.append((b'INCRBY', b'c:%d' % key, b'%d' % self.rng.randrange(1, 9)))
            elif kind == 1:
                commands.append((b'HINCRBY', b'h', b'f:%d' % key, b'1'))
            elif kind == 2:
                commands.append((b'SADD', b's', b'%d' % self.number))
            elif kind == 3:
                commands.append((b'SET', b'v:%d' % key, b'%s %d' % (who.encode(), self.number)))
            elif kind == 4:
                commands.append((b'RPUSH', b'l:%d' % key, b'%d' % self.number))
            else:
                commands.append((b'DEL', b'v:%d' % key))
        return commands

    def counter(self, command):
        if command[0] == b'INCRBY':
            return command[1], int(command[2])
        return (b'h', command[2]), int(command[3])

    def account(self, command, reply):
        if command[0] == b'SADD' and reply == 1:
            self.members.add(command[2])
        if command[0] not in (b'INCRBY', b'HINCRBY') or isinstance(reply, ErrorReply):
            return
        name, by = self.counter(command)
        into = self.unknown if reply is None else self.acked
        into[name] = into.get(name, 0) + by

    def run(self, member):
        """One batch; the member may be killed meanwhile."""
        commands = self.batch(member.name)
        replies = []
        try:
            member.conn.send(b''.join(encode(c) for c in commands))
            for _ in commands:
                replies.append(member.conn.reply())
        except (ServerGone, OSError):
            pass
        for command, reply in zip(commands, replies):
            self.refused += isinstance(reply, ErrorReply)
            self.account(command, reply)
        for command in commands[len(replies):]:
            self.account(command, None)

    def check(self, held):
        for name in set(self.acked) | set(self.unknown):
            if isinstance(name, tuple):
                got = int(held.get(name[0], (b'hash', {}))[1].get(name[1], 0))
            else:
                got = int(held.get(name, 0))
            low = self.acked.get(name, 0)
            high = low + self.unknown.get(name, 0)
            assert low <= got <= high, 'counter %r is %d, not within %d and %d' % (
                name, got, low, high)
        missing = self.members - held.get(b's', (b'set', frozenset()))[1]
        assert not missing, 'acknowledged members are gone: %s' % sorted(missing)[:5]


def encode(args):
    return b'*%d\r\n' % len(args) + b''.join(b'$%d\r\n%s\r\n' % (len(a), a) for a in args)


def take_apart(rng, net, members):
    """What goes wrong in this cycle: its name, and the members that are not to be asked."""
    kind = rng.choice(('isolate', 'pair', 'one way', 'flap', 'pause', 'kill', 'kill'))
    a, b = rng.sample(range(len(members)), 2)
    if kind == 'isolate':
        for i in range(len(members)):
            if i != a:
                net.block(a, i)
                net.block(i, a)
    elif kind == 'pair':
        net.block(a, b)
        net.block(b, a)
    elif kind == 'one way':
        net.block(a, b)
    elif kind == 'pause':
        members[a].pause()
        return kind, {a}
    elif kind == 'kill':
        members[a].kill()
        return kind, {a}
    return kind, set()


def cycle(rng, net, group, load, seconds):
    members = group.all
    kind, away = take_apart(rng, net, members)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for i, m in enumerate(members):
            if i not in away:
                load.run(m)
        if kind == 'flap':
            a, b = rng.sample(range(len(members)), 2)
            net.heal()
            net.block(a, b)
    net.heal()
    for i in away:
        if kind == 'pause':
            members[i].resume()
        else:
            members[i].start()
    healed = time.monotonic()
    group.await_active()
    held = group.await_same()
    load.check(held)
    return kind, time.monotonic() - healed


def run(args):
    seed = args.seed or random.SystemRandom().randrange(1 << 31)
    rng = random.Random(seed)
    group = Group(args.server, args.work, {'maxmemory': '2gb', 'appendfsync': args.appendfsync})
    try:
        net = Net(3, group.work)
    except NoNetwork as err:
        print('skipped: %s' % err)
        group.finish()
        sys.exit(77)
    load = Load(rng)
    try:
        made = group.make(['a', 'b', 'c'], lambda name, port: '%s:%d' % (
            net.address('abc'.index(name)), PORT))
        for i, m in enumerate(made):
            m.program = net.program(i, os.path.abspath(args.server))
            m.start()
        group.await_active()
        took = []
        for n in range(args.cycles):
            kind, seconds = cycle(rng, net, group, load, args.seconds)
            took.append(seconds)
            print('%d %s: alike after %.2f s, %d writes' % (n, kind, seconds, load.number))
        took.sort()
        print('seed %d: %d cycles, %d writes, alike after heal: median %.2f s, worst %.2f s' % (
            seed, len(took), load.number, took[len(took) // 2], took[-1]))
        group.finish()
    except BaseException:
        print('seed %d' % seed)
        group.fail()
        raise
    finally:
        net.remove()


def add_options(parser):
    parser.add_argument('--cycles', type=int, default=5)
    parser.add_argument('--seconds', type=float, default=2)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--appendfsync', default='everysec')


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, add_options))
