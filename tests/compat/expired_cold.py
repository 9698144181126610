#!/usr/bin/env python3
"""A key on flash that has expired is reclaimed, and counted, when a command has looked at it; not
while clients are paused.

usage: expired_cold.py SERVER
"""

import sys

from smoke_shards import check, info, main_of, value, wait_for

PAUSE_MS = 10000000
KEYS = ['key%d' % i for i in range(20)]


def run(node):
    c = node.start('--maxmemory', '256mb', '--enable-debug-command', 'yes')
    check('DEBUG COLD', value(c, 'DEBUG', 'COLD', '1'), b'OK')
    # None expires before the pause has begun.
    c.call('MULTI')
    for key in KEYS:
        c.call('SET', key, 'v', 'PX', '10')
    c.call('CLIENT', 'PAUSE', PAUSE_MS, 'WRITE')
    check('EXEC', len(value(c, 'EXEC')), len(KEYS) + 1)
    wait_for('cold', lambda: info(c)['cold_keys'] == '%d' % len(KEYS))
    wait_for('expired', lambda: all(value(c, 'GET', key) is None for key in KEYS))
    check('expired_keys while paused', info(c)['expired_keys'], '0')
    # Who watches what has expired before sees no change in its going.
    watcher = node.connect()
    check('WATCH', value(watcher, 'WATCH', *KEYS), b'OK')
    check('CLIENT UNPAUSE', value(c, 'CLIENT', 'UNPAUSE'), b'OK')
    for key in KEYS:
        check('GET', value(c, 'GET', key), None)
    check('expired_keys', int(info(c)['expired_keys']), len(KEYS))
    check('DBSIZE', value(c, 'DBSIZE'), b'0')
    check('MULTI', value(watcher, 'MULTI'), b'OK')
    check('PING', value(watcher, 'PING'), b'QUEUED')
    check('EXEC', value(watcher, 'EXEC'), [('+', b'PONG')])
    node.process.terminate()
    check('exit status', node.end(), 0)


if __name__ == '__main__':
    sys.exit(main_of(run, []))
