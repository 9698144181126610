#!/usr/bin/env python3
"""The largest rows that members take reach all of them: as they are written, joined in a resync
with others as large, in the copy of a new member. What is larger is refused at once.

usage: large_rows.py --server tierra-server
"""

import os

from grouplib import ErrorReply, Group, main_of, wait_until
from resync import log_begin
from ways import CUT, OPEN, Ways

MB = 1 << 20
OPTIONS = {'oplog-segment-bytes': '1mb'}
NAME_BYTES = 65535
ELEM_BYTES = 16 * MB


def element():
    return os.urandom(ELEM_BYTES)  # Does not become short on its way.


def name(text):
    return text + os.urandom(NAME_BYTES - len(text))


def write_all(member):
    member.ok('SET', name(b'key'), 'value')
    member.ok('HSET', 'hash', name(b'field'), 'value', 'f', element())
    member.ok('SADD', 'set', name(b'member'))
    member.ok('ZADD', 'zset', 1, name(b'member'))
    member.ok('RPUSH', 'list', name(b'first'), 'last')


def write_again(member):
    """Beside the same at the other member: a row of two values, and more names."""
    member.ok('HSET', 'hash', 'f', element())
    member.ok('SADD', 'set', name(b'more'))
    member.ok('ZADD', 'zset', 2, name(b'more'))


def is_refused(reply, word):
    return isinstance(reply, ErrorReply) and word in reply


def larger_is_refused(member):
    more = b'x' * (ELEM_BYTES + 1)
    for args in (('HSET', 'h', 'f', 'v', 'g', more), ('HSETNX', 'h', 'f', more),
                 ('RPUSH', 'l', 'v', more), ('LPUSHX', 'list', more), ('LSET', 'list', 0, more),
                 ('LINSERT', 'list', 'BEFORE', 'last', more)):
        assert is_refused(member.call(*args), b'16 MiB'), args[:2]
    member.ok('MULTI')
    assert is_refused(member.call('HSET', 'h', 'f', more), b'16 MiB')
    assert is_refused(member.call('EXEC'), b'EXECABORT')
    member.ok('SET', 'string', more)
    member.ok('SADD', 'one', 'string')
    assert is_refused(member.call('SORT', 'one', 'BY', 'nosort', 'GET', '*', 'STORE', 'l'),
                      b'16 MiB')
    member.ok('DEL', 'string', 'one')
    longer = b'm' * (NAME_BYTES + 1)
    for args in (('SET', longer, 'v'), ('SADD', 's', longer), ('ZADD', 'z', 1, longer),
                 ('HSET', 'h', longer, 'v')):
        assert is_refused(member.call(*args), b'65535'), args[0]
    assert member.ok('EXISTS', 'h', 'l', 's', 'z') == 0


def go_beyond_the_logs(member, peer):
    """The member has trimmed what the peer lacks."""
    begin = log_begin(member)
    value = os.urandom(MB // 4)

    def churn():
        for _ in range(24):
            member.ok('SET', 'churn', value)
    churn()
    # What the store has is persistent then, and may go from the log.
    member.extra['oplog-retention-bytes'] = '2mb'
    member.restart_saved()
    wait_until(lambda: 'it takes writes again: %s' % member.status(), member.is_active)
    churn()
    member.ok('DEL', 'churn')
    wait_until(lambda: '%s trims what %s lacks: %s' % (member.name, peer.name, member.lags()),
               lambda: log_begin(member) > begin + 4)


def fields_of_what_becomes_long(args):
    """It is written whole, once a field: more than the buffer of the log takes at once."""
    end = 8 * 700000
    with Group(args.server, args.work, {'maxmemory': '64mb'}) as group:
        member, = group.make(['alone'])
        member.start()
        group.await_active()
        commands = []
        for i in range(4):
            commands += [(b'SET', b'k', b'short'), (b'SET', b'other:%d' % i, b'o' * 300000),
                         (b'BITFIELD', b'k', b'SET', b'u8', b'%d' % (end - 8), b'7',
                          b'INCRBY', b'u8', b'0', b'1')]
        for _ in range(3):
            replies = member.conn.pipeline(commands)
            # The sanitizers' memory counts, too.
            if any(isinstance(r, ErrorReply) and r.startswith(b'OOM') for r in replies):
                print('no room')
                continue
            assert replies == 4 * [b'OK', b'OK', [0, ord('t')]], replies
            assert member.ok('GETRANGE', 'k', 0, 4) == b'thort'
            assert member.ok('GETRANGE', 'k', end // 8 - 2, -1) == b'\0\7'


def run(args):
    fields_of_what_becomes_long(args)
    print('fields')
    with Group(args.server, args.work, OPTIONS) as group:
        ways = Ways(group)
        a, b, c = ways.make(['a', 'b', 'c'])
        for m in (a, b):
            m.start()
            group.await_active()
        write_all(a)
        held = group.await_same()
        assert len(held) == 5, list(held)
        larger_is_refused(b)
        print('live')
        ways.all(CUT)
        for m in (a, b):
            write_again(m)
        go_beyond_the_logs(a, b)
        ways.all(OPEN)
        wait_until(lambda: 'a resync: %s\n%s' % (b.info(), b.server.log_text()[-3000:]),
                   lambda: int(b.info()['resyncs']) > 0)
        group.await_active()
        held = group.await_same()
        assert len(held) == 5, list(held)
        print('a resync')
        c.start()
        group.await_active()
        held = group.await_same()
        assert len(held) == 5, list(held)
        assert len(held[b'hash'][1][b'f']) == ELEM_BYTES
        assert c.ok('SCARD', 'set') == c.ok('ZCARD', 'zset') == 3
        print('a copy')


if __name__ == '__main__':
    main_of(__doc__, run)
