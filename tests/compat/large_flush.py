#!/usr/bin/env python3
"""FLUSHALL of many keys: a new store in the place of the old one, whatever comes in between.

The new store is opened in the background while the command waits. With writes of others meanwhile,
within MULTI, given up by a client that has gone, before an orderly end and before the death of the
process: afterwards there is one store, and the keys are all there or none, but for those that were
written later.
"""

import argparse
import os
import random
import shutil
import signal
import sys

import diff_cmds
from diff_cmds import Conn

KEYS = 12000  # More than are deleted one by one.
BATCH = 1000


class Node:
    def __init__(self, server):
        self.server = server
        self.process = self.directory = self.conn = None
        self.start()

    def start(self):
        self.process, self.directory, self.path = diff_cmds.spawn(
            [self.server, '--maxmemory', '256mb', '--loglevel', 'warning'], 'tierra-server',
            self.directory)
        self.conn = Conn(self.path)

    def stop(self, sig):
        self.conn.close()
        self.process.send_signal(sig)
        status = self.process.wait(timeout=600)
        assert status == (0 if sig == signal.SIGTERM else -sig), status

    def fill(self, round_):
        for first in range(0, KEYS, BATCH):
            self.conn.call('MSET', *(x for i in range(first, first + BATCH)
                                     for x in ('key:%d' % i, 'value:%d:%d' % (round_, i))))
        self.conn.call('RPUSH', 'list', *('x' * 100 for _ in range(BATCH)))

    def size(self):
        return int(self.conn.call('DBSIZE')[1])

    def stores(self):
        return [name for shard in os.listdir(self.directory) if shard.startswith('shard-')
                for name in os.listdir(os.path.join(self.directory, shard))
                if name.startswith('store-')]


def flush(node, other):
    """Another client writes meanwhile: what is acknowledged after it stays."""
    node.conn.send([('FLUSHALL',)])
    other.send([('SET', 'other:%d' % i, i) for i in range(500)] + [('DBSIZE',)])
    assert all(other.read() == ('+', b'OK') for _ in range(500))
    other.read()
    assert node.conn.read() == ('+', b'OK')
    assert node.size() <= 500
    assert node.conn.call('EXISTS', 'list', 'key:1') == (':', b'0')
    assert other.call('SET', 'later', '1') == ('+', b'OK')


def run(node, *commands):
    node.conn.send([('MULTI',), *commands, ('EXEC',)])
    replies = [node.conn.read() for _ in range(len(commands) + 2)][-1][1]
    assert len(replies) == len(commands) and not any(r[0] == '-' for r in replies), replies


def transaction(node, _):
    run(node, ('FLUSHALL',), ('SET', 'later', '1'))
    assert node.size() == 1


def behind_writes(node, _):
    """What the transaction has written before is gone with the rest, also after a crash."""
    run(node, ('SET', 'earlier', '1'), ('APPEND', 'key:7', 'x'), ('RPUSH', 'list', 'y'),
        ('DEL', 'key:8'), ('HSET', 'hash', 'f', 'v'), ('FLUSHALL',), ('INCR', 'earlier'),
        ('RPUSH', 'list', 'z'))
    assert node.conn.call('GET', 'earlier') == ('$', b'1')
    assert node.conn.call('LRANGE', 'list', 0, -1) == ('*', [('$', b'z')])
    assert node.size() == 2


def at_the_end(node, _):
    run(node, ('SET', 'earlier', '1'), ('RPUSH', 'list', 'y'), ('FLUSHDB',))
    assert node.size() == 0


def grown(node, _):
    """The keys are few when EXEC begins, and many when it empties the database."""
    assert node.conn.call('FLUSHALL') == ('+', b'OK')
    some = [('MSET', *(x for i in range(first, first + 3000) for x in ('new:%d' % i, i)))
            for first in range(0, 12000, 3000)]
    run(node, *some, ('FLUSHALL',), ('SET', 'later', '1'), ('DBSIZE',))
    assert node.size() == 1


def given_up(node, _):
    """Done or not, as a whole; the next one goes through."""
    gone = Conn(node.path)
    gone.send([('FLUSHALL',)])
    gone.close()
    assert node.conn.call('GET', 'key:5')[0] == '$'
    assert node.size() in (0, KEYS + 1), node.size()


WAYS = (flush, transaction, given_up, behind_writes, at_the_end, grown)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--rounds', type=int, default=2 * len(WAYS))
    args = p.parse_args()
    rng = random.Random(args.seed)
    print('seed %d' % args.seed)
    node = Node(args.server)
    try:
        for i in range(args.rounds):
            way = WAYS[i % len(WAYS)]
            sig = rng.choice((signal.SIGTERM, signal.SIGKILL)) if i < len(WAYS) else signal.SIGKILL
            node.fill(i)
            other = Conn(node.path)
            way(node, other)
            other.close()
            before = node.size()
            node.stop(sig)
            node.start()
            assert node.size() in ((before,) if way is not given_up else (0, KEYS + 1)), way
            assert len(node.stores()) == 1, node.stores()
            assert node.conn.call('FLUSHALL') == ('+', b'OK')
            assert node.size() == 0
        node.stop(signal.SIGTERM)
    except BaseException:
        with open(os.path.join(node.directory, 'log'), encoding='utf-8', errors='replace') as f:
            print(f.read()[-3000:])
        raise
    finally:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait()
        shutil.rmtree(node.directory, ignore_errors=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
