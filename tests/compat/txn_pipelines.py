#!/usr/bin/env python3
"""Transactions in one pipeline with what ends them: RESET, a refused EXEC, UNWATCH and DISCARD, one
behind the other without waiting for a reply. What was watched before is watched no more, and what
is watched since is.

usage: txn_pipelines.py SERVER
"""

import sys

from smoke_shards import check, main_of

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


def run(node, *more):
    c = node.start('--maxmemory', '256mb', *more)
    for _ in range(3):
        for tag in TAGS:
            for name, end in ENDS.items():
                rounds(c, tag, name, end)
        c = node.connect()
    node.process.terminate()
    check('exit status', node.end(), 0)


if __name__ == '__main__':
    sys.exit(main_of(run, [], ['--shards', '4', '--clustering-policy', 'enterprise']))
