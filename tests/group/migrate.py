#!/usr/bin/env python3
"""MIGRATE from a member of a group: what the target has accepted is deleted at every member; what
another member has written meanwhile stays, at every member.

usage: migrate.py --server tierra-server [--shards N]
"""

import sys
import threading

from grouplib import Conn, ErrorReply, Group, encode, main_of
from target import greets

LONG_MS = '60000'
LONG = 20000  # Elements.


def fill(member):
    member.ok('SET', 's', 'v')
    member.ok('SET', 'long', 'x' * (3 << 20))
    member.ok('INCRBY', 'n', '7')
    member.ok('PEXPIRE', 'n', '10000000')
    for first in range(0, LONG, 1000):
        part = range(first, first + 1000)
        member.ok('HSET', 'h', *(x for i in part for x in ('f%d' % i, i)))
        member.ok('ZADD', 'z', *(x for i in part for x in (i, 'm%d' % i)))
    member.ok('RPUSH', 'l', *range(100))
    member.ok('SADD', 'm', *range(100))


KEYS = ('s', 'long', 'n', 'h', 'z', 'l', 'm')


def moved(group, a, b):
    """To another member of no group: hot and cold."""
    for cold in (False, True):
        fake = greets(lambda n, words: b'+OK\r\n')
        fill(b)
        group.await_same()
        if cold:
            a.ok('DEBUG', 'RELOAD')
        assert a.ok('MIGRATE', '127.0.0.1', fake.port, '', '0', LONG_MS, 'COPY', 'KEYS',
                    *KEYS) == b'OK'
        assert set(group.await_same()) == {k.encode() for k in KEYS}
        assert a.ok('MIGRATE', '127.0.0.1', fake.port, '', '0', LONG_MS, 'KEYS', *KEYS) == b'OK'
        assert group.await_same() == {}
        sent = [w for w in fake.got if w[0] == b'RESTORE']
        names = sorted(w[1] for w in sent)
        assert names == sorted(2 * [k.encode() for k in KEYS]), names
        assert [0 < int(w[2]) <= 10000000 for w in sent if w[1] == b'n'] == [True, True]
        fake.close()


def written(group, a, b):
    """By the other member, before the target has answered."""
    go = threading.Event()

    def answer(_, words):
        go.wait(600)
        return b'+OK\r\n'
    for key, write in (('s', ('APPEND', 's', 'w')), ('h', ('HSET', 'h', 'f1', 'w')),
                       ('long', ('SETRANGE', 'long', '100', 'y')), ('n', ('INCR', 'n'))):
        fake = greets(answer)
        fill(a)
        group.await_same()
        go.clear()
        conn = Conn(a.server.socket_path)
        conn.send(encode([x.encode() for x in ('MIGRATE', '127.0.0.1', str(fake.port), key, '0',
                                               LONG_MS)]))
        fake.wait(b'RESTORE')
        b.ok(*write)
        want = b.values([key.encode()])
        group.await_same()
        go.set()
        reply = conn.reply()
        assert isinstance(reply, ErrorReply) and b'was changed' in bytes(reply), reply
        group.await_same()
        assert a.values([key.encode()]) == want and b.values([key.encode()]) == want, key
        conn.close()
        fake.close()


def run(args):
    options = {}
    if args.shards > 1:
        options = {'clustering-policy': 'enterprise', 'shards': str(args.shards)}
    with Group(args.server, args.work, options) as group:
        members = group.make(['a', 'b'])
        for m in members:
            m.start()
            group.await_active([m])
        group.await_active()
        moved(group, *members)
        written(group, *members)


def add_options(parser):
    parser.add_argument('--shards', type=int, default=1)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, add_options))
