#!/usr/bin/env python3
"""Commands that would log more than a record of the op log holds get an error, and nothing else.

The name of a key goes with each element of a collection, so that a command of less than a megabyte
can come to more than that; so can what EXEC runs together. A server without peers, and one of a
group.

usage: large_batches.py --server tierra-server
"""

import argparse
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'group'))

import grouplib  # noqa: E402  pylint: disable=C0413
from grouplib import Conn, ErrorReply, Group, Server  # noqa: E402  pylint: disable=C0413

MB = 1 << 20
KEY = b'k' * 65535
COUNT = 9200            # Of names of the key: 575 MiB.
PART = COUNT // 23      # 25 MiB; all parts together are too many.
RECORD = b'too large for one record of the op log'


def elements(command, count):
    before = {'HSET': [b'v'], 'ZADD': [b'1'], 'GEOADD': [b'1', b'2']}.get(command, [])
    words = []
    for i in range(count):
        name = b'%d' % i
        words += [name] + before if command == 'HSET' else before + [name]
    return words


def is_refused(reply):
    return isinstance(reply, ErrorReply) and RECORD in reply


def one_command(conn):
    for command in ('HSET', 'SADD', 'ZADD', 'RPUSH', 'GEOADD'):
        reply = conn.call(command, KEY, *elements(command, COUNT))
        assert is_refused(reply), (command, reply)
        assert conn.call('EXISTS', KEY) == 0, command
    # The name that counts is not that of the first key.
    conn.call('GEOADD', 'from', *elements('GEOADD', COUNT))
    for command in ('GEORADIUS', 'GEORADIUSBYMEMBER'):
        place = (b'0', b'0') if command == 'GEORADIUS' else (b'1',)
        reply = conn.call(command, 'from', *place, b'22000', b'km', b'STORE', KEY)
        assert is_refused(reply), (command, reply)
        assert conn.call('EXISTS', KEY) == 0, command
    assert conn.call('DEL', 'from') == 1
    half = b'x' * (283 * MB)
    reply = conn.call('MSET', 'a', half, 'b', half)
    assert is_refused(reply), reply
    assert conn.call('EXISTS', 'a', 'b') == 0
    print('one command')


def a_transaction(conn):
    """Each of its commands is short enough: those from the first one on that does not fit get an
    error."""
    assert conn.call('MULTI') == b'OK'
    for first in range(0, COUNT, PART):
        words = [b'%d' % i for i in range(first, first + PART)]
        assert conn.call('SADD', KEY, *words) == b'QUEUED'
    assert conn.call('SADD', 'short', 'member') == b'QUEUED'
    replies = conn.call('EXEC')
    done = [r for r in replies[:-1] if not isinstance(r, ErrorReply)]
    assert 10 < len(done) < len(replies) - 1, replies
    assert replies[:len(done)] == [PART] * len(done), replies
    assert all(is_refused(r) for r in replies[len(done):-1]), replies
    assert replies[-1] == 1, replies
    assert conn.call('SCARD', KEY) == PART * len(done)
    # All of them one by one, each with its key.
    gone = conn.call('SREM', KEY, *(b'%d' % i for i in range(COUNT)))
    assert is_refused(gone), gone
    assert conn.call('DEL', KEY) == 1
    print('a transaction')


def check_fields(conn, replies):
    """Fields that were written are there, and the others are not."""
    for i, reply in enumerate(replies):
        assert is_refused(reply) or reply == ord('x'), reply
        wanted = b'x' if is_refused(reply) else b'\1'
        assert conn.call('GETRANGE', 'bits', str(i), str(i)) == wanted, (i, reply)


def bits_of_a_long_string(conn):
    """BITFIELD of a string that is logged whole: in a group, or as it was set in the same EXEC."""
    assert conn.call('SET', 'bits', b'x' * (100 * MB)) == b'OK'
    words = [w for i in range(7) for w in (b'SET', b'u8', b'#%d' % i, b'1')]
    replies = conn.call('BITFIELD', 'bits', *words)
    assert len(replies) == 7
    check_fields(conn, replies)
    assert conn.call('MULTI') == b'OK'
    assert conn.call('SET', 'bits', b'x' * (300 * MB)) == b'QUEUED'
    assert conn.call('BITFIELD', 'bits', b'SET', b'u8', b'0', b'1') == b'QUEUED'
    for words in (('APPEND', b'y'), ('SETRANGE', b'5', b'y'), ('SETBIT', b'99', b'1')):
        assert conn.call(words[0], 'bits', *words[1:]) == b'QUEUED'
    replies = conn.call('EXEC')
    assert replies[0] == b'OK'
    assert all(is_refused(r) or isinstance(r, int) for r in replies[2:]), replies
    check_fields(conn, replies[1])
    assert conn.call('DEL', 'bits') == 1
    print('bits of a long string')


def set_long_with_times(conn):
    assert conn.call('MULTI') == b'OK'
    assert conn.call('SET', 'long', b'y') == b'QUEUED'
    assert conn.call('SETRANGE', 'long', str(300 * MB), b'y') == b'QUEUED'
    for words in (('EXPIRE', 'long', '10000'), ('PERSIST', 'long'), ('EXPIRE', 'long', '20000')):
        assert conn.call(*words) == b'QUEUED'
    return conn.call('EXEC')


def times_of_a_long_string(conn):
    """They are written into the SET of the same EXEC, which is not logged again."""
    replies = []

    def done():
        replies[:] = set_long_with_times(conn)
        return replies == [b'OK', 300 * MB + 1, 1, 1, 1]
    grouplib.wait_until(lambda: 'the log has written what came before: %s' % replies, done)
    assert 10000 < conn.call('TTL', 'long') <= 20000
    assert conn.call('GETRANGE', 'long', '-2', '-1') == b'\0y'
    assert conn.call('DEL', 'long') == 1
    print('times of a long string')


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    args = p.parse_args()
    with tempfile.TemporaryDirectory(prefix='tierra-batches-') as work:
        server = Server(args.server, os.path.join(work, 'data'), work, {})
        assert server.wait_ready() is not None, server.log_text()
        conn = Conn(server.socket_path)
        one_command(conn)
        a_transaction(conn)
        bits_of_a_long_string(conn)
        times_of_a_long_string(conn)
        assert server.stop() == 0, server.log_text()
    with tempfile.TemporaryDirectory(prefix='tierra-batches-') as work:
        with Group(args.server, work) as group:
            member, = group.make(['a'])
            member.start()
            group.await_active()
            one_command(member.conn)
            bits_of_a_long_string(member.conn)
            times_of_a_long_string(member.conn)
    print('in a group, too')


if __name__ == '__main__':
    main()
