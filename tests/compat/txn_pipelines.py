#!/usr/bin/env python3
"""Transactions in one pipeline with what ends them: RESET, a refused EXEC, UNWATCH and DISCARD, one
behind the other without waiting for a reply. What was watched before is watched no more, and what
is watched since is. What EXEC does to the session holds for what follows it. And connections that
are gone before their commands have run leave nothing behind.

usage: txn_pipelines.py SERVER
"""

import socket
import struct
import sys

from smoke_shards import check, info, main_of, wait_for

TAGS = ['{t%d}' % i for i in range(8)]
ENDS = {'RESET': ['RESET'], 'a refused EXEC': ['EXEC', 'x'], 'UNWATCH': ['UNWATCH']}
OK = ('+', b'OK')


def last_of(c, commands):
    c.send(commands)
    return [c.read() for _ in commands][-1]


def rounds(c, tag, name, end):
    key, other = 'k' + tag, 'q' + tag
    run = [['MULTI'], ['SET', other, '1'], ['EXEC']]
    watch, change = ['WATCH', key], ['APPEND', key, 'x']
    ran = ('*', [OK])
    check(name + ', then a transaction', last_of(c, [watch, end] + run), ran)
    check(name + ', a change', last_of(c, [watch, end, change] + run), ran)
    check(name + ', a change before', last_of(c, [watch, change, end] + run), ran)
    check(name + ', watched again', last_of(c, [watch, end, watch, change] + run), ('*', None))
    check(name + ', watched twice', last_of(c, [watch, end, watch, end, change] + run), ran)
    check(name + ' within MULTI', last_of(c, [watch, ['MULTI'], end, ['DISCARD'], change] + run),
          ran)


def replies(c, commands, count):
    c.send(commands)
    return [c.read() for _ in range(count)]


def session(node, tag):
    """It is changed by EXEC, at whatever shard, or is not."""
    c, key = node.connect(), 'k' + tag
    got = replies(c, [['MULTI'], ['SET', key, '1'], ['CLIENT', 'REPLY', 'OFF'], ['EXEC'],
                      ['MGET', key, *('k' + t for t in TAGS)], ['GET', key],
                      ['CLIENT', 'REPLY', 'ON'], ['PING']], 5)
    # Two are announced, and sent is one; REPLY ON's stands in the place of the other.
    check('no replies since REPLY OFF', got[3:], [('*', [OK, OK]), ('+', b'PONG')])
    got = replies(c, [['CLIENT', 'NO-EVICT', 'ON'], ['MULTI'], ['SET', key, '1'], ['EXEC'],
                      ['CLIENT', 'INFO']], 5)
    check('NO-EVICT stays', b' flags=e ' in got[4][1], True)
    got = replies(c, [['MULTI'], ['SET', key, '1'], ['HELLO', '3'], ['EXEC'],
                      *(['GET', 'none' + t] for t in TAGS)], 4 + len(TAGS))
    check('RESP3 since EXEC', got[4:], [('_', b'')] * len(TAGS))
    c.send([['CLIENT', 'REPLY', 'OFF'], ['WATCH', key], ['UNWATCH'], ['GET'], ['WHAT']])
    got = replies(c, [['MULTI'], ['SET', key, '1'], ['EXEC'], ['GET', key],
                      ['CLIENT', 'REPLY', 'ON'], ['PING']], 2)
    check('no replies', got, [OK, ('+', b'PONG')])


def gone(node, other, before, commands):
    """It sends `commands` while its shard is busy, and the end of it comes in the same turn."""
    c = node.connect()
    check('before', replies(c, before, len(before))[0], OK)
    other.send([['DEBUG', 'SLEEP', '0.01']])
    c.send(commands)
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    c.close()
    check('DEBUG SLEEP', other.read(), OK)


def leaving(node):
    """One that is known by its name until the server has seen that it is gone."""
    c = node.connect()
    check('SETNAME', c.call('CLIENT', 'SETNAME', 'leaving'), OK)
    return c


def leaves_nothing(node, other, tag):
    key, queue = 'k' + tag, 'queue' + tag
    queued = [['MULTI'], ['SET', key, '1'], ['SET', key, '2']]
    watch = ['WATCH', key]
    for last in (['EXEC'], ['DISCARD'], ['RESET'], ['EXEC', 'x']):
        gone(node, other, queued, [last])
        gone(node, other, [watch, *queued], [last])
    for last in (['UNWATCH'], ['RESET'], watch):
        gone(node, other, [watch], [last])
    check('afterwards', replies(other, [*queued, ['EXEC'], ['GET', key]], 5)[3:],
          [('*', [OK, OK]), ('$', b'2')])
    # A client that waits for a key, or is about to.
    c = leaving(node)
    c.send([['BLPOP', queue, '0']])
    c.close()
    c = leaving(node)
    c.send([['GET', key]] * 20000 + [['BLPOP', queue, '0']])
    c.sock.shutdown(socket.SHUT_WR)
    while c.file.read(65536):
        pass
    c.close()


def run(node, *more):
    c = node.start('--maxmemory', '256mb', *more)
    for tag in TAGS:
        session(node, tag)
        leaves_nothing(node, node.connect(), tag)
    wait_for('they are gone', lambda: b' name=leaving ' not in c.call('CLIENT', 'LIST')[1] and
             info(c)['blocked_clients'] == '0')
    for tag in TAGS:
        check('an element for nobody', [c.call('RPUSH', 'queue' + tag, 'x'),
                                        c.call('LLEN', 'queue' + tag)], [(':', b'1')] * 2)
    for _ in range(3):
        for tag in TAGS:
            for name, end in ENDS.items():
                rounds(c, tag, name, end)
        c = node.connect()
    node.process.terminate()
    check('exit status', node.end(), 0)


if __name__ == '__main__':
    sys.exit(main_of(run, [], ['--shards', '4', '--clustering-policy', 'enterprise']))
