#!/usr/bin/env python3
"""What MONITOR shows of the same commands at redis-server and at tierra-server, but for the time
and the address. With --shards the lines may come in another order: commands run side by side.
"""

import argparse
import re
import shutil
import sys

from diff_cmds import SKIP, Conn, spawn, stop

COMMANDS = [
    ['SET', '{a}k', 'a b'], ['set', '{b}k', b'\x00\x01"\\\r\n\t\a\b\xff'], ['GET', '{a}k'],
    ['MGET', '{a}k', '{b}k', '{c}k'], ['INCR', '{c}n'], ['INCR', '{a}k'], ['NOSUCH', 'x'], ['GET'],
    ['MULTI'], ['SET', '{a}k', '1'], ['INCR', '{a}k'], ['EXEC'],
    ['MULTI'], ['NOSUCH'], ['EXEC'], ['MULTI'], ['GET', '{a}k'], ['DISCARD'],
    ['CONFIG', 'SET', 'slowlog-max-len', '128'], ['CONFIG', 'GET', 'port'], ['DBSIZE'],
    ['ECHO', ''],
    ['AUTH', 'user', 'secret'], ['AUTH', 'secret'], ['HELLO', '2', 'AUTH', 'user', 'secret'],
    ['RPUSH', '{a}l', '2', '1'], ['SORT', '{a}l', 'STORE', '{a}m'], ['BLPOP', '{a}l', '0'],
    ['CLIENT', 'ID'], ['WATCH', '{b}k'], ['UNWATCH'], ['SELECT', '0'], ['PUBLISH', 'c', 'm'],
    ['PING', 'the end']]


def lines(path):
    monitor, other, client = Conn(path), Conn(path), Conn(path)
    assert monitor.call('MONITOR') == ('+', b'OK')
    assert client.call('FLUSHALL') == ('+', b'OK')
    for args in COMMANDS:
        client.call(*args)
    shown = []
    while not shown or not shown[-1].endswith(b'"the end"'):
        kind, text = monitor.read()
        assert kind == '+', (kind, text)
        m = re.fullmatch(rb'\d+\.\d{6} \[0 unix:\S*\] (.*)', text)
        assert m, text
        shown.append(m[1])
    # It can go on, and ends with RESET.
    assert b'flags=O' in other.call('CLIENT', 'LIST')[1]
    monitor.send([['RESET']])
    while monitor.read() != ('+', b'RESET'):
        pass
    assert b'flags=O' not in other.call('CLIENT', 'LIST')[1]
    client.call('SET', '{a}k', '1')
    assert monitor.call('PING') == ('+', b'PONG')
    monitor.call('MULTI')
    monitor.call('MONITOR')
    assert b'DENY BLOCKING' in monitor.call('EXEC')[1][0][1]
    return shown


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    p.add_argument('--shards', type=int, default=1)
    args = p.parse_args()
    if shutil.which('redis-server') is None:
        sys.exit(SKIP)
    policy = []
    if args.shards > 1:
        policy = ['--clustering-policy', 'enterprise', '--shards', str(args.shards)]
    found = []
    for command, what in ((['redis-server', '--save', ''], 'redis-server'),
                          ([args.server] + policy, 'tierra-server')):
        process, directory, path = spawn(command, what)
        try:
            found.append(lines(path))
        finally:
            stop(process, directory, keep=False)
    if args.shards > 1:
        found = [sorted(shown) for shown in found]
    for line in sorted(set(found[0]) ^ set(found[1])):
        print('%s only: %r' % ('redis' if line in found[0] else 'tierra', line))
    if found[0] != found[1]:
        sys.exit('they differ: %r\n%r' % tuple(found))
    print('%d lines, no difference' % len(found[0]))


if __name__ == '__main__':
    main()
