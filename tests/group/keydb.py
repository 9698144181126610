#!/usr/bin/env python3
"""Three failures that users of KeyDB's active replication reported, by the numbers of their issues.

keydb_366: two values for one key stay different after a split has healed.
keydb_111: members report different counts of one counter after a restart.
keydb_367: after a cut everything is loaded again.

usage: keydb.py --server tierra-server
"""

import os
import sys
import threading

from grouplib import Conn, ErrorReply, Group, ServerGone, agree, main_of, wait_until
from ways import OPEN, Ways

COUNTERS = ('n', '{n}:other')
ROUNDS = 6
VALUE_BYTES = 1000
KEYS = 4000
CHANGED = 100


def value():
    """One that compression does not make much smaller."""
    return os.urandom(VALUE_BYTES)


def start(ways, names):
    members = ways.make(names)
    for m in members:
        m.start()
        ways.group.await_active([m])
    ways.group.await_active()
    return members


def keydb_366(group, ways, members):
    """Each side writes the same keys while it is cut off, over and over, of any type."""
    for round_number in range(ROUNDS):
        ways.isolate(members[round_number % 3])
        for m in members:
            for i in range(50):
                m.ok('SET', 'k:%d' % i, '%s %d %d' % (m.name, round_number, i))
            # In one: another's, of another type, may arrive at any time.
            m.ok('MULTI')
            m.ok('DEL', 'typed')
            m.ok(*{'a': ('RPUSH', 'typed', 'a'), 'b': ('HSET', 'typed', 'b', 1),
                   'c': ('SADD', 'typed', 'c')}[m.name])
            assert not any(isinstance(r, ErrorReply) for r in m.ok('EXEC'))
        ways.all(OPEN)
        held = group.await_same()
        values = {held[b'k:%d' % i].split()[1] for i in range(50)}
        assert values == {b'%d' % round_number}, values
    agree(group.up()[:1])
    print('keydb_366: %d splits healed' % ROUNDS)


class Incrementer(threading.Thread):
    """Increments at one member until it is told to stop; the member may be killed meanwhile."""

    def __init__(self, member):
        super().__init__(daemon=True)
        self.conn = Conn(member.server.socket_path)
        self.acknowledged, self.unknown = 0, 0
        self.over = False

    def run(self):
        try:
            while not self.over:
                self.unknown = 1
                reply = self.conn.call('INCR', COUNTERS[0])
                self.unknown = 0
                assert not isinstance(reply, ErrorReply), reply
                self.acknowledged += 1
        except (ServerGone, OSError):
            pass


def keydb_111(group, members):
    """All count one counter; one after the other is killed in the middle, or stopped."""
    least, most = 0, 0
    for number, victim in enumerate(members * 2):
        threads = [Incrementer(m) for m in members]
        for t in threads:
            t.start()
        wait_until('all have counted', lambda threads=threads: all(
            t.acknowledged > 100 for t in threads))
        if number % 2 == 0:
            victim.kill()
        else:
            victim.stop()
        for t in threads:
            t.over = True
            t.join()
        least += sum(t.acknowledged for t in threads)
        most += sum(t.acknowledged + t.unknown for t in threads)
        victim.start()
        group.await_active()
        held = group.await_same()
        count = int(held[COUNTERS[0].encode()])
        assert least <= count <= most, (least, count, most)
    agree(group.up()[:1])
    print('keydb_111: %d increments, each counted once, at all members' % count)


def keydb_367(group, ways, members):
    """What one lacks after a cut is what it gets."""
    a, b, c = members
    for i in range(KEYS):
        a.ok('SET', 'big:%d' % i, value())
    group.await_same()
    before = ways.forwarded
    ways.isolate(c)
    for i in range(CHANGED):
        a.ok('SET', 'big:%d' % i, value())
        b.ok('INCR', COUNTERS[1])
        c.ok('SET', 'big:%d' % (KEYS - 1 - i), value())
    ways.all(OPEN)
    held = group.await_same()
    assert held[COUNTERS[1].encode()] == b'%d' % CHANGED
    sent = ways.forwarded - before
    # Each change crosses two links; heartbeats and handshakes come on top.
    bound = KEYS * VALUE_BYTES // 2
    assert sent < bound, (sent, bound)
    agree(group.up()[:1])
    print('keydb_367: %d bytes after the cut, of %d held' % (sent, KEYS * VALUE_BYTES))


def run(args):
    with Group(args.server, args.work, {'maxmemory': '2gb'}) as group:
        ways = Ways(group)
        members = start(ways, ['a', 'b', 'c'])
        keydb_366(group, ways, members)
        keydb_111(group, members)
        keydb_367(group, ways, members)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
