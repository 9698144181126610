#!/usr/bin/env python3
"""Random typed commands at one member of a group and at redis-server (tests/compat/diff_cmds.py):
the replies are the same, and in the end all members hold what redis-server holds, hot and cold, and
find no difference themselves. Meanwhile the last member lets go of all that it has in DRAM, over
and over, so that what comes meets cold keys.

usage: differential.py --server tierra-server [--seed N] [--count N] [--members N] [--shards N]
"""

import os
import sys
import threading

from grouplib import HERE, Conn, Group, agree, main_of, wait_until

sys.path.insert(0, os.path.join(HERE, '..', 'compat'))

import diff_cmds  # noqa: E402  pylint: disable=C0413

PAUSE_SECONDS = 0.05
# Refused.
NOT_IN_A_GROUP = {'SWAPDB', 'MOVE'}


class Cooler(threading.Thread):
    """A member that keeps nothing in DRAM for long."""

    def __init__(self, member):
        super().__init__(daemon=True)
        self.conn, self.done = Conn(member.server.socket_path), threading.Event()
        self.replies = [self.conn.call('DEBUG', 'RELOAD')]

    def run(self):
        while not self.done.wait(PAUSE_SECONDS):
            self.replies.append(self.conn.call('DEBUG', 'RELOAD'))

    def stop(self):
        self.done.set()
        self.join()
        self.conn.close()
        assert set(self.replies) == {b'OK'}, set(self.replies)


def holds(member, wanted):
    """What differs from what redis-server holds."""
    conn = diff_cmds.Conn(member.server.socket_path)
    held = diff_cmds.dump(conn)
    conn.close()
    return [(key, held.get(key), wanted.get(key)) for key in sorted(set(held) | set(wanted))
            if held.get(key) != wanted.get(key)][:3]


def everywhere(group, redis):
    """All members hold what redis-server holds, whichever way it is read."""
    conn = diff_cmds.Conn(redis)
    wanted = diff_cmds.dump(conn)
    conn.close()
    for tier in ('hot', 'cold'):
        for m in group.up():
            wait_until(lambda m=m, t=tier: '%s (%s) holds the same: %s' % (
                m.name, t, holds(m, wanted)), lambda m=m: not holds(m, wanted))
            m.ok('DEBUG', 'RELOAD')
    agree(group.up())
    return len(wanted)


def run(args):
    redis = diff_cmds.redis_server()
    # As with an even seed: a negative zero is 0, in redis-server's compact encoding; so it is here
    # as a sum of increments.
    sorted_sets = diff_cmds.sorted_sets(0)
    diff_cmds.Gen.WITHOUT = NOT_IN_A_GROUP
    diff_cmds.Gen.TAGS = 4 * args.shards  # With tags, what can be goes in pipelines.
    options = {'maxmemory': '2gb'}  # Sanitizers take more than any budget of a test.
    options.update({name[2:]: value for name, value in zip(sorted_sets[::2], sorted_sets[1::2])})
    if args.shards > 1:
        options.update({'clustering-policy': 'enterprise', 'shards': args.shards})
    process, directory, place = diff_cmds.spawn(
        [redis, *diff_cmds.REDIS_ARGS] + sorted_sets, 'redis-server')
    try:
        with Group(args.server, args.work, options) as group:
            for m in group.make(['a', 'b', 'c', 'd', 'e'][:args.members]):
                m.start()
                group.await_active()
            first, last = group.all[0], group.all[-1]
            cmds = diff_cmds.generate(args.seed, args.count)
            cooler = Cooler(last)
            cooler.start()
            found = diff_cmds.run(place, first.server.socket_path, cmds)
            cooler.stop()
            assert found is None, 'seed %d: command %d differs: %r\n  redis:  %s\n  tierra: %s' % (
                args.seed, found[0], cmds[found[0]], str(found[1][0])[:1000],
                str(found[1][1])[:1000])
            keys = everywhere(group, place)
            print('seed %d: %d commands, %d keys, %d members: no difference' % (
                args.seed, args.count, keys, args.members))
    finally:
        diff_cmds.stop(process, directory, keep=False)


def add_options(parser):
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--count', type=int, default=4000)
    parser.add_argument('--members', type=int, default=2)
    parser.add_argument('--shards', type=int, default=1)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, add_options))
