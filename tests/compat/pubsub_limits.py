#!/usr/bin/env python3
"""Subscribers that do not read: the limits of class pubsub close them, hard and soft, on their own
shard and on others, and nobody else suffers.

usage: pubsub_limits.py SERVER
"""

import shutil
import sys
import tempfile
import time

from smoke_shards import POLICY, Node, check, info, value
import smoke_shards

WAIT_SECONDS_MAX = 60
MESSAGE = b'm' * 65536


def wait_closed(c, channel, left):
    """Until only `left` listen."""
    end = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < end:
        if value(c, 'PUBSUB', 'NUMSUB', channel)[1][1] == b'%d' % left:
            return True
        time.sleep(0.01)
    return False


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
    heard = [value(c, 'PUBLISH', 'deep', MESSAGE) for _ in range(600)]
    check('several names', (heard[0], heard[-1]), (b'4', b'0'))
    node.process.terminate()
    check('exit status', node.end(), 0)


def main():
    for more in ([], [*POLICY, '--shards', '4']):
        directory = tempfile.mkdtemp(prefix='tierra-pubsub-')
        try:
            run(Node(sys.argv[1], directory), *more)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    print('%d failed' % smoke_shards.failed if smoke_shards.failed else 'passed')
    return smoke_shards.failed != 0


if __name__ == '__main__':
    sys.exit(main())
