#!/usr/bin/env python3
"""Clients that wait for a key, have sent so much behind it that no more is received, and are gone:
they wait no longer, and what is pushed later is not for them.

usage: gone_waiters.py SERVER
"""

import sys

from smoke_shards import check, info, main_of, wait_for

TAGS = ['{t%d}' % i for i in range(20)]
# Above what may wait of one client with this maxmemory and as many clients.
BEHIND = [['SET', 'other', 'x' * 1000]] * 180


def run(node, *more):
    c = node.start('--maxmemory', '48mb', *more)
    waiters = [node.connect() for _ in TAGS]
    for waiter, tag in zip(waiters, TAGS):
        waiter.send([['BLPOP', 'queue' + tag, '0'], *BEHIND])
    wait_for('they wait', lambda: info(c)['blocked_clients'] == str(len(TAGS)))
    for waiter in waiters:
        waiter.close()
    wait_for('they are gone', lambda: info(c)['blocked_clients'] == '0')
    for tag in TAGS:
        check('an element for nobody', [c.call('RPUSH', 'queue' + tag, 'x'),
                                        c.call('LLEN', 'queue' + tag)], [(':', b'1')] * 2)
    check('what was behind', c.call('EXISTS', 'other'), (':', b'0'))
    node.process.terminate()
    check('exit status', node.end(), 0)


SHARDS = ['--shards', '4', '--clustering-policy', 'enterprise']

EPOLL = ['--io-backend', 'epoll']

if __name__ == '__main__':
    sys.exit(main_of(run, [], SHARDS, EPOLL, EPOLL + SHARDS))
