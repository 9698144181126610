#!/usr/bin/env python3
"""Commands in EXEC have their time in commandstats and their entries in the slow log, as in Redis;
and a key that a command finds expired is gone at once, though none is looked for in the background.

usage: exec_figures.py SERVER
"""

import sys

from smoke_shards import check, info, main_of, value, wait_for


def queue(c, *commands):
    check('MULTI', value(c, 'MULTI'), b'OK')
    for command in commands:
        check(command, value(c, *command.split()), b'QUEUED')
    return value(c, 'EXEC')


def slow(c):
    return [b' '.join(word[1] for word in entry[1][3][1]).decode()
            for entry in value(c, 'SLOWLOG', 'GET', '-1')]


def spent_us(c, command):
    text = value(c, 'INFO', 'commandstats').decode()
    for line in text.split('\r\n'):
        if line.startswith('cmdstat_%s:' % command):
            return int(line.split('usec=')[1].split(',')[0])
    return 0


def check_slow_log(c):
    c.call('CONFIG', 'SET', 'slowlog-log-slower-than', '50000')
    c.call('SLOWLOG', 'RESET')
    queue(c, 'SET k v', 'DEBUG SLEEP 0.1', 'GET k', 'DEBUG SLEEP 0.11')
    check('the slow ones', [text for text in slow(c) if text.startswith('DEBUG')],
          ['DEBUG SLEEP 0.11', 'DEBUG SLEEP 0.1'])
    check('their time', spent_us(c, 'debug') >= 200000, True)
    check('and that of EXEC', spent_us(c, 'exec') >= 200000, True)
    c.call('CONFIG', 'SET', 'slowlog-log-slower-than', '0')
    c.call('SLOWLOG', 'RESET')
    queue(c, 'INCR n', 'AUTH user secret')
    got = slow(c)
    check('each but EXEC', got[:2], ['AUTH (redacted) (redacted)', 'INCR n'])
    c.call('CONFIG', 'SET', 'MasterAuth', 'secret', 'hz', '10')
    check('a password that is no option here', slow(c)[0],
          'CONFIG SET MasterAuth (redacted) hz 10')
    check('EXEC', any('EXEC' in text for text in got), False)
    c.call('CONFIG', 'SET', 'slowlog-log-slower-than', '10000')


def check_expired(c):
    check('DEBUG', value(c, 'DEBUG', 'SET-ACTIVE-EXPIRE', '0'), b'OK')
    c.call('FLUSHALL')
    before = int(info(c)['expired_keys'])
    for key in ('a', 'b'):
        c.call('SET', key, 'v', 'PX', '1')
    c.call('SET', 'stays', 'v')
    for key in ('a', 'b'):
        wait_for('expired', lambda: value(c, 'PTTL', key) == b'-2')
    check('DBSIZE', value(c, 'DBSIZE'), b'1')
    check('expired_keys', int(info(c)['expired_keys']) - before, 2)
    check('expired_reads', int(info(c)['expired_reads']) > 0, True)
    # What has expired before it is watched is not changed by its going.
    c.call('SET', 'c', 'v', 'PX', '1')
    wait_for('expired', lambda: value(c, 'PTTL', 'c') == b'-2')
    check('WATCH', value(c, 'WATCH', 'c'), b'OK')
    check('FLUSHDB', value(c, 'FLUSHDB'), b'OK')
    check('EXEC', queue(c, 'PING'), [('+', b'PONG')])
    # But what was there is.
    c.call('SET', 'd', 'v')
    check('WATCH', value(c, 'WATCH', 'd'), b'OK')
    check('FLUSHDB', value(c, 'FLUSHDB'), b'OK')
    check('EXEC', queue(c, 'PING'), None)
    check('DEBUG', value(c, 'DEBUG', 'SET-ACTIVE-EXPIRE', '1'), b'OK')


def run(node):
    c = node.start()
    check_slow_log(c)
    check_expired(c)
    node.process.terminate()
    check('exit status', node.end(), 0)


if __name__ == '__main__':
    sys.exit(main_of(run, []))
