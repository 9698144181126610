#!/usr/bin/env python3
"""A queue far larger than the memory of the server: what is pushed at one end leaves at the other.

The newest elements fill the memory, the oldest are on flash and have to be read to leave. Every
element must come back, in its order, nothing may be refused and the resident memory must stay
within the budget. Both directions, and then both ends at a time, against a list of our own.
"""

import argparse
import collections
import os
import random
import sys
import time

import diff_cmds
from diff_cmds import Conn

MEMORY_MB = 64
# What the allocator keeps counts for more in a small one.
RSS_MB_MAX = MEMORY_MB * 3 // 2
BATCH = 100
IN_FLIGHT = 64
WAITS_S = 5  # GROWTH_WAIT_MS


class Plain(Conn):
    """What is refused is refused. But for a disk that stands still for longer than a writer waits:
    then that one, which did nothing, is tried again."""

    def call(self, *args):
        while True:
            began = time.monotonic()
            reply = self.all([args], refused=(b'OOM',))[0]
            if reply[0] != '-':
                return reply
            assert time.monotonic() - began >= WAITS_S, (args[:2], reply)

    def all(self, commands, refused=()):
        self.send(commands)
        replies = [self.read() for _ in commands]
        for reply in replies:
            assert reply[0] != '-' or reply[1].startswith(refused), (commands[0][:4], reply)
        return replies


class Queue:
    def __init__(self, conn, pid):
        self.conn, self.pid = conn, pid
        self.model = collections.deque()
        self.next = 0
        self.rss = 0

    def look(self):
        with open('/proc/%d/statm' % self.pid, encoding='ascii') as f:
            self.rss = max(self.rss, int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') >> 20)

    def push(self, left, count):
        for first in range(self.next, self.next + count, BATCH):
            part = [b'element:%0200d' % i for i in range(first, first + BATCH)]
            (self.model.extendleft if left else self.model.extend)(part)
            self.conn.call('LPUSH' if left else 'RPUSH', 'list', *part)
            self.look()
        self.next += count

    def pop(self, left, count):
        for _ in range(0, count, IN_FLIGHT):
            n = min(IN_FLIGHT, len(self.model))
            want = [self.model.popleft() if left else self.model.pop() for _ in range(n)]
            got = self.conn.all([('LPOP' if left else 'RPOP', 'list')] * n)
            assert [r[1] for r in got] == want, (want[:2], got[:2])
            self.look()

    def agree(self):
        assert self.conn.call('LLEN', 'list')[1] == b'%d' % len(self.model)
        for index in (0, 1, 100, -1, -2, -100):
            if abs(index) < len(self.model):
                got = self.conn.call('LINDEX', 'list', index)[1]
                assert got == self.model[index], (index, got, self.model[index])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--elements', type=int, default=300000)
    args = p.parse_args()
    rng = random.Random(args.seed)
    print('seed %d' % args.seed)
    tierra, directory, path = diff_cmds.spawn(
        [args.server, '--maxmemory', '%dmb' % MEMORY_MB, '--loglevel', 'warning'], 'tierra-server')
    try:
        queue = Queue(Plain(path), tierra.pid)
        for left in (True, False):
            queue.push(left, args.elements)
            queue.agree()
            queue.pop(not left, args.elements // 2)
            queue.agree()
        for _ in range(100):
            rng.choice((queue.push, queue.pop))(rng.random() < 0.5, 10 * BATCH)
        queue.agree()
        queue.pop(True, len(queue.model))
        while queue.model:
            queue.pop(True, IN_FLIGHT)
        assert queue.conn.call('EXISTS', 'list')[1] == b'0'
        print('%d elements, rss %d MB' % (queue.next, queue.rss))
        assert queue.rss <= RSS_MB_MAX, 'rss %d MB' % queue.rss
    finally:
        diff_cmds.stop(tierra, directory, False)
    return 0


if __name__ == '__main__':
    sys.exit(main())
