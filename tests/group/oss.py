#!/usr/bin/env python3
"""Members whose shards are nodes of a cluster (clustering-policy oss): each member is a cluster of
its own, with its own ports and ids; what is written at a node of one comes to the node of the other
that has the same slots. A member with another policy is not let in.
"""

import sys

from grouplib import Conn, ErrorReply, Group, free_ports, main_of, wait_until

NODES = 2
PORT_TAKEN = 5  # Exit status.


class Nodes:
    """The nodes of one member, each by its Unix socket."""

    def __init__(self, member):
        path = member.server.socket_path
        self.conns = [Conn(path)] + [Conn('%s.%d' % (path, i)) for i in range(1, NODES)]
        self.first = int(member.extra['port'])

    def ok(self, key, *args):
        """At the node that owns the key, found as a client finds it."""
        reply = self.conns[0].call(*args)
        if isinstance(reply, ErrorReply) and reply.startswith(b'MOVED '):
            address = reply.split()[2]
            port = int(address.rsplit(b':', 1)[1])
            assert address.startswith(b'127.0.0.1:') and 0 < port - self.first < NODES, reply
            reply = self.conns[port - self.first].call(*args)
        assert not isinstance(reply, ErrorReply), (key, args, reply)
        return reply

    def contents(self):
        found = {}
        for c in self.conns:
            for key in c.call('KEYS', '*'):
                assert key not in found, key
                found[key] = c.call('GET', key)
        return {key: value for key, value in found.items() if value is not None}

    def counts(self):
        """DBSIZE of the nodes, and what their slots say."""
        slots = {self.conns[0].call('CLUSTER', 'KEYSLOT', key) for key in self.contents()}
        return ([c.call('DBSIZE') for c in self.conns],
                [sum(c.call('CLUSTER', 'COUNTKEYSINSLOT', slot) for slot in slots)
                 for c in self.conns])


def start(member):
    """At ports that are free, one behind the other."""
    while True:
        member.extra.update({'port': free_ports(NODES)[0], 'bind': '127.0.0.1'})
        member.spawn()
        if member.server.wait_ready() is not None:
            member.conn = Conn(member.server.socket_path)
            return Nodes(member)
        assert member.server.process.wait() == PORT_TAKEN, member.server.log_text()


def both_ways(a, b):
    for i in range(200):
        key = 'key%d' % i
        (a if i % 2 else b).ok(key, 'SET', key, i)
    for i in range(40):
        key = 'count%d' % i
        for _ in range(3):
            a.ok(key, 'INCR', key)
            b.ok(key, 'INCRBY', key, 10)
    wanted = {b'key%d' % i: b'%d' % i for i in range(200)}
    wanted.update({b'count%d' % i: b'33' for i in range(40)})
    for side in a, b:
        wait_until('the same at both', lambda s=side: s.contents() == wanted)
    for i in range(0, 200, 3):
        key = 'key%d' % i
        a.ok(key, 'DEL', key)
        del wanted[key.encode()]
    for side in a, b:
        wait_until('deleted at both', lambda s=side: s.contents() == wanted)
        wait_until('slots count as DBSIZE does', lambda s=side: len(set(map(tuple, s.counts())))
                   == 1)
    per_node = a.counts()[0]
    assert per_node == b.counts()[0] and min(per_node) > 0, per_node
    print('%d keys at %d nodes of both members' % (sum(per_node), NODES))


def run(args):
    options = {'maxmemory': '2gb', 'clustering-policy': 'oss', 'shards': NODES}
    with Group(args.server, args.work, options) as group:
        members = group.make(['a', 'b', 'c'])
        a, b = [start(m) for m in members[:2]]
        group.await_active(members[:2])
        both_ways(a, b)
        ids = [[c.call('CLUSTER', 'MYID') for c in side.conns] for side in (a, b)]
        assert len(set(ids[0] + ids[1])) == 2 * NODES, ids
        c = members[2]
        c.extra = {'clustering-policy': 'enterprise'}
        c.start()
        wait_until('another policy is refused',
                   lambda: b'clustering-policy' in c.status()['refused'])
        assert not c.is_active()
        c.stop()
        print('another policy is refused')


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
