#!/usr/bin/env python3
"""A small hash that comes back from flash has its fields in the order in which they were written.

usage: hash_order.py SERVER
"""

import random
import sys

from smoke_shards import check, info, main_of, value, wait_for

SIZES = [1, 2, 9, 40, 63]


def fields(c, key):
    wait_for('cold', lambda: info(c)['cold_keys'] == '%d' % len(SIZES))
    return [name for _, name in value(c, 'HKEYS', key)]


def run(node):
    seed = random.randrange(1 << 30)
    print('seed', seed)
    r = random.Random(seed)
    c = node.start('--maxmemory', '256mb', '--enable-debug-command', 'yes')
    check('DEBUG COLD', value(c, 'DEBUG', 'COLD', '1'), b'OK')
    wanted = {}
    for size in SIZES:
        names = [b'field%d' % i for i in range(size)]
        r.shuffle(names)
        wanted['hash%d' % size] = names
        for name in names:
            check('HSET', value(c, 'HSET', 'hash%d' % size, name, 'v' * r.randrange(200)), b'1')
    for key, names in wanted.items():
        check(key, fields(c, key), names)
    again = wanted['hash9'].pop(3)
    check('HSET again', value(c, 'HSET', 'hash9', again, 'w'), b'0')
    check('hash9, one written again', fields(c, 'hash9'), wanted['hash9'] + [again])
    node.process.terminate()
    check('exit status', node.end(), 0)


if __name__ == '__main__':
    sys.exit(main_of(run, []))
