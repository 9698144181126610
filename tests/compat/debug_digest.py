#!/usr/bin/env python3
"""DEBUG DIGEST and DIGEST-VALUE: the same for the same content, however it came about and wherever
it is, and another one after each change.

usage: debug_digest.py SERVER
"""

import sys

from smoke_shards import check, main_of, value

NONE = b'0' * 40
# Commands that make the same value at k, and commands each of which makes another of it.
KINDS = [
    ([['SET k 12'], ['SET k 11', 'INCR k'], ['APPEND k 1', 'APPEND k 2']],
     ['APPEND k x', 'INCR k', 'EXPIRE k 1000']),
    ([['SADD k a b 3'], ['SADD k 3', 'SADD k b x a', 'SREM k x']],
     ['SADD k c', 'SREM k a', 'EXPIRE k 1000']),
    ([['HSET k f 1 g 2'], ['HSET k g 2', 'HINCRBY k f 1'], ['HSET k f 1 h 0 g 2', 'HDEL k h']],
     ['HSET k f 2', 'HSET k f 2 g 1', 'HDEL k f', 'HSET k h 1']),
    ([['ZADD k 1 a 2 b'], ['ZADD k 2 b 5 c', 'ZADD k 1 a', 'ZREM k c'], ['ZADD k 0 a 2 b',
                                                                        'ZINCRBY k 1 a']],
     ['ZADD k 2 a', 'ZADD k 2 a 1 b', 'ZREM k a', 'ZADD k 3 c']),
    ([['RPUSH k a b a'], ['LPUSH k a', 'LINSERT k BEFORE a x', 'LSET k 0 a',
                          'LINSERT k AFTER a b']],
     ['RPUSH k c', 'LSET k 0 b', 'LPOP k', 'RPOPLPUSH k k']),
    ([['SETRANGE k 200000 end'], ['SETBIT k 0 0', 'SETRANGE k 200000 end']],
     ['SETBIT k 900000 1', 'APPEND k x']),
]


def sum_of(c, key):
    reply = value(c, 'DEBUG', 'DIGEST-VALUE', key)
    check('one sum', len(reply), 1)
    return reply[0][1]


def make(c, commands):
    c.call('FLUSHALL')
    for command in commands:
        c.call(*command.split())
    return sum_of(c, 'k'), value(c, 'DEBUG', 'DIGEST')


def check_kind(c, same, others):
    first = make(c, same[0])
    check('something', NONE in first, False)
    for commands in same[1:]:
        got = make(c, commands)
        check('by %s' % commands, got[0], first[0])
        # In the sum of the keyspace it counts how a list came about.
        if not same[0][0].startswith('RPUSH'):
            check('all by %s' % commands, got[1], first[1])
    check('COPY', c.call('COPY', 'k', 'j')[1], b'1')
    check('of the copy', sum_of(c, 'j'), first[0])
    check('of both', value(c, 'DEBUG', 'DIGEST') == first[1], False)
    for command in others:
        changed = make(c, same[0] + [command])
        check('after ' + command, (changed[0] == first[0], changed[1] == first[1]),
              (False, False))


def check_tiers(c):
    """Content in DRAM, on flash, and loaded again."""
    c.call('FLUSHALL')
    for number, (same, _) in enumerate(KINDS):
        for command in same[-1]:
            words = command.split()
            c.call(*[('k%d' % number) if word == 'k' else word for word in words])
    keys = ['k%d' % number for number in range(len(KINDS))]
    before = value(c, 'DEBUG', 'DIGEST-VALUE', *keys, 'none'), value(c, 'DEBUG', 'DIGEST')
    check('sums', len({sum[1] for sum in before[0]}), len(KINDS) + 1)
    check('of none', before[0][-1][1], NONE)
    check('DEBUG RELOAD', value(c, 'DEBUG', 'RELOAD'), b'OK')
    check('cold', value(c, 'DEBUG', 'OBJECT', 'k0'), b'tier:flash')
    check('DIGEST', value(c, 'DEBUG', 'DIGEST'), before[1])
    check('DIGEST-VALUE', value(c, 'DEBUG', 'DIGEST-VALUE', *keys, 'none'), before[0])
    return before[1]


def check_multi(c):
    """What may have to read is refused, rather than wrong."""
    check('MULTI', value(c, 'MULTI'), b'OK')
    for words in (['DIGEST-VALUE', 'k0'], ['DIGEST']):
        check('queued', value(c, 'DEBUG', *words), b'QUEUED')
    check('EXEC', [b'within MULTI' in reply[1] for reply in value(c, 'EXEC')], [True, True])


def run(node):
    c = node.start('--maxmemory', '256mb', '--enable-debug-command', 'yes')
    check('of nothing', (value(c, 'DEBUG', 'DIGEST'), sum_of(c, 'k')), (NONE, NONE))
    for same, others in KINDS:
        check_kind(c, same, others)
    before = check_tiers(c)
    check_multi(c)
    node.process.terminate()
    check('exit status', node.end(), 0)
    c = node.start('--maxmemory', '256mb', '--enable-debug-command', 'yes')
    check('after a restart', value(c, 'DEBUG', 'DIGEST'), before)
    node.process.terminate()
    check('exit status', node.end(), 0)


if __name__ == '__main__':
    sys.exit(main_of(run, []))
