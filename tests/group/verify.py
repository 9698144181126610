#!/usr/bin/env python3
"""tierra-inspect verify finds nothing wrong with the directories of members: of all types, with
keys of which nothing shows any more, and with what two have written that did not hear each other.

usage: verify.py --server tierra-server --inspect tierra-inspect
"""

import subprocess

from grouplib import Group, fill, main_of, wait_until
from ways import HELD, OPEN, Ways

KEYS = 60


def verify(args, member):
    done = subprocess.run([args.inspect, '--dir', member.data, 'verify'], capture_output=True,
                          text=True, timeout=300, check=False)
    assert done.returncode == 0, '%s: %d\n%s' % (member.name, done.returncode,
                                                 done.stdout + done.stderr)


def of_each_type(member, i):
    member.ok('SET', 's%d' % i, 'x' * (i * 500))
    member.ok('HSET', 'h%d' % i, 'a', 1, 'b', 2)
    member.ok('HINCRBY', 'h%d' % i, 'c', 5)
    member.ok('SADD', 'u%d' % i, 'a', 'b')
    member.ok('ZADD', 'z%d' % i, 1, 'a', 2, 'b')
    member.ok('RPUSH', 'l%d' % i, 'a', 'b')
    member.ok('INCR', 'c%d' % i)


def apart(ways, a, b):
    """Types and removals that did not see each other."""
    ways.all(HELD)
    for i in range(0, KEYS, 2):
        a.ok('ZREM', 'z%d' % i, 'a')
        b.ok('ZINCRBY', 'z%d' % i, 3, 'a')
        a.ok('DEL', 'h%d' % i)
        b.ok('HSET', 'h%d' % i, 'd', 1)
        a.ok('SET', 't%d' % i, 'x' * (i * 500))
        b.ok('SADD', 't%d' % i, 'y')
        a.ok('HSET', 'v%d' % i, 'f', 1)
        b.ok('RPUSH', 'v%d' % i, 'y')
        a.ok('PEXPIRE', 's%d' % i, 1000000)
        b.ok('APPEND', 's%d' % i, 'z')
    ways.all(OPEN)


def unread(group, a, b):
    """Times that go, or come, at keys that b does not read."""
    for i in range(KEYS):
        a.ok('SET', 'e:s%d' % i, 'x' * (i * 500))
        a.ok('HSET', 'e:h%d' % i, 'f', 1)
        for key in ('e:s%d' % i, 'e:h%d' % i) if i % 2 else ():
            a.ok('EXPIRE', key, 100000)
    group.await_same()
    b.restart_saved()
    group.await_active()
    for i in range(KEYS):
        for key in ('e:s%d' % i, 'e:h%d' % i):
            a.ok(*(('PERSIST', key) if i % 2 else ('EXPIRE', key, 100000)))
    wait_until('b has all of it', lambda: all(lag['lag-ops'] == 0 for lag in a.lags()))
    b.restart_saved()
    group.await_active()


def run(args):
    with Group(args.server, args.work, {'key-checkpoint-changes': 20}) as group:
        ways = Ways(group)
        for m in ways.make(['a', 'b']):
            m.start()
            group.await_active()
        a, b = group.all

        def look():
            group.await_same()
            for m in group.all:
                m.restart_saved()
            group.await_active()
            group.await_same()
            for m in group.all:
                m.stop()
                verify(args, m)
                m.start()
            group.await_active()

        fill(a, 'fill')
        for i in range(KEYS):
            of_each_type(a if i % 2 else b, i)
        look()
        unread(group, a, b)
        b.stop()
        verify(args, b)
        b.start()
        group.await_active()
        look()
        apart(ways, a, b)
        look()
        for i in range(KEYS):
            names = [kind + str(i) for kind in (*'shuzlctv', 'e:s', 'e:h')]
            (a if i % 3 else b).ok('DEL', *names)
        look()


def add_options(parser):
    parser.add_argument('--inspect', required=True)


if __name__ == '__main__':
    main_of(__doc__, run, add_options)
