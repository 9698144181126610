#!/usr/bin/env python3
"""Subscribers that do not read: the limits of class pubsub close them, hard and soft, on their own
shard and on others, and nobody else suffers. Limits that CONFIG SET changes count for connections
that are there.

usage: pubsub_limits.py SERVER
"""

import sys
import time

from smoke_shards import POLICY, WAIT_SECONDS_MAX, check, info, main_of, value

MESSAGE = b'm' * 65536


def wait_closed(c, channel, left):
    """Until only `left` listen."""
    end = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < end:
        if value(c, 'PUBSUB', 'NUMSUB', channel)[1][1] == b'%d' % left:
            return True
        time.sleep(0.01)
    return False


def wait_gone(what, c, names):
    """Until CLIENT LIST has none of them."""
    end = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < end:
        listed = value(c, 'CLIENT', 'LIST')
        if not any(b'name=%s ' % name in listed for name in names):
            return
        time.sleep(0.01)
    check(what, 'still there', 'closed')


def named(node, *names):
    conns = [node.connect() for _ in names]
    for conn, name in zip(conns, names):
        conn.call('CLIENT', 'SETNAME', name)
    return conns


def set_config(c, name, text):
    check('CONFIG SET', value(c, 'CONFIG', 'SET', name, text), b'OK')


def check_existing(node, c):
    """CONFIG SET counts for the connections that are there, on all shards, in both directions."""
    limits = 'client-output-buffer-limit'
    c.call('SET', 'big', b'b' * (4 << 20))
    set_config(c, limits, 'normal 1mb 0 0 pubsub 32mb 8mb 60')
    names = [b'c%d' % i for i in range(8)]
    conns = named(node, *names)
    set_config(c, limits, 'normal 0 0 0')
    check('raised', [len(value(conn, 'GET', 'big')) for conn in conns], [4 << 20] * 8)
    set_config(c, limits, 'normal 1mb 0 0')
    for conn in conns:
        conn.send([['GET', 'big']])
    wait_gone('lowered', c, names)
    # What waits already is more than the new limit, by the hard and by the soft one.
    for text in ('normal 1mb 0 0', 'normal 0 1mb 1'):
        set_config(c, limits, 'normal 0 0 0')
        conns = named(node, *names)
        for conn in conns:
            conn.send([['GET', 'big']] * 8)
        set_config(c, limits, text)
        wait_gone(text, c, names)
    # Listeners have their own class.
    set_config(c, limits, 'normal 1mb 0 0')
    listener, = named(node, 'listener')
    listener.call('SUBSCRIBE', 'wide')
    check('receivers', value(c, 'PUBLISH', 'wide', b'w' * (2 << 20)), b'1')
    check('a wide message', len(listener.read()[1][2][1]), 2 << 20)
    # And when it listens no more, it has the other one again.
    listener.call('UNSUBSCRIBE')
    listener.send([['GET', 'big']])
    wait_gone('no listener', c, [b'listener'])
    set_config(c, limits, 'normal 0 0 0')
    conns = named(node, *names)
    set_config(c, 'client-query-buffer-limit', '1mb')
    for conn in conns:
        try:
            conn.sock.sendall(b'*2\r\n$3\r\nGET\r\n$2000000\r\n' + b'k' * 1999999)
        except ConnectionError:
            pass
    wait_gone('query buffer', c, names)


def run(node, *more):
    c = node.start(*more)
    idle = [node.connect() for _ in range(5)]
    reader = node.connect()
    reader.call('SUBSCRIBE', 'c')
    for conn in idle:
        conn.call('SUBSCRIBE', 'c')
    check('CONFIG SET', value(c, 'CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 1mb 0 0'),
          b'OK')
    sent = 0
    # More than all socket buffers hold.
    for _ in range(600):
        c.call('PUBLISH', 'c', MESSAGE)
        sent += 1
        check('message', reader.read()[1][2][1] == MESSAGE, True)
    check('hard limit', wait_closed(c, 'c', 1), True)
    check('memory', int(info(c)['mem_clients_normal']) < 64 << 20, True)
    check('CONFIG SET', value(c, 'CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 0 1mb 1'),
          b'OK')
    slow = node.connect()
    slow.call('SUBSCRIBE', 'c')
    for _ in range(300):
        c.call('PUBLISH', 'c', MESSAGE)
        reader.read()
    check('soft limit', wait_closed(c, 'c', 1), True)
    check('the reader hears', (c.call('PUBLISH', 'c', 'end'), reader.read()[1][2]),
          ((':', b'1'), ('$', b'end')))
    # The last one of several names, all of which a message goes to.
    check('CONFIG SET', value(c, 'CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 1mb 0 0'),
          b'OK')
    slow = node.connect()
    for pattern in ('d*', 'de*', '?ee?'):
        slow.call('PSUBSCRIBE', pattern)
    slow.call('SUBSCRIBE', 'deep')
    check('several names', value(c, 'PUBLISH', 'deep', MESSAGE), b'4')
    for _ in range(600):
        c.call('PUBLISH', 'deep', MESSAGE)
    check('hard limit, several names', wait_closed(c, 'deep', 0), True)
    check('nobody hears', value(c, 'PUBLISH', 'deep', MESSAGE), b'0')
    check_existing(node, c)
    node.process.terminate()
    check('exit status', node.end(), 0)


if __name__ == '__main__':
    sys.exit(main_of(run, [], [*POLICY, '--shards', '4']))
