#!/usr/bin/env python3
"""Who waits for whom: a pipeline of commands that take long each gives others their turn between
them, on the client's own shard and on another; threads that work in the background yield the CPUs
to the shards.

usage: fair_turns.py SERVER
"""

import os
import select
import sys
import time

from smoke_shards import check, main_of, value, wait_for

MEMBERS = 20000
# All of them fit in one read of the server, 64 KiB.
COMMANDS = 400
# Without turns it is two, at each attempt: one before the pipeline has come, one behind it.
ENOUGH = 10
# The one who asks may itself not have got its turn on this machine.
ATTEMPTS = 20
BACKGROUND = ('flash-', 'rocksdb')
LOWER = 10


def fill(c, key):
    for first in range(0, MEMBERS, 1000):
        args = ['SADD', key] + ['m%d' % i for i in range(first, first + 1000)]
        check('SADD', value(c, *args), b'1000')


def asked_meanwhile(slow, other, key):
    """How often another client was answered while a pipeline was."""
    wanted = b':%d\r\n' % MEMBERS * COMMANDS
    slow.send([['SINTERCARD', 2, key, key]] * COMMANDS)
    came, asked = b'', 0
    while len(came) < len(wanted):
        check('SCARD', value(other, 'SCARD', key), b'%d' % MEMBERS)
        asked += 1
        if select.select([slow.sock], [], [], 0)[0]:
            came += slow.sock.recv(65536) or sys.exit('the connection was closed')
    check('SINTERCARDs', came, wanted)
    return asked


def turns(node, c, key):
    fill(c, key)
    other, asked = node.connect(), 0
    for _ in range(ATTEMPTS):
        asked = max(asked, asked_meanwhile(c, other, key))
        if asked >= ENOUGH:
            break
    check('asked %d times during %d commands: enough' % (asked, COMMANDS), asked >= ENOUGH, True)


def listed_meanwhile(node):
    """CLIENT LIST between two turns of a client whose input has all been run."""
    slow, first, other = (node.connect() for _ in range(3))
    for _ in range(3):
        # What both send meanwhile comes in one turn, `first` before `other`.
        slow.send([['DEBUG', 'SLEEP', '0.1']])
        time.sleep(0.02)
        first.send([['DEBUG', 'SLEEP', '0.001']])
        time.sleep(0.02)
        other.send([['CLIENT', 'LIST']])
        for c in (slow, first):
            check('DEBUG SLEEP', c.read(), ('+', b'OK'))
        check('CLIENT LIST', other.read()[1].count(b'id=') >= 4, True)
    for c in (slow, first, other):
        c.close()


def niceness(pid, names):
    """Of the threads whose names begin so; they take their place a moment after the start."""
    found = {}
    for tid in os.listdir('/proc/%d/task' % pid):
        try:
            with open('/proc/%d/task/%s/comm' % (pid, tid)) as file:
                name = file.read().strip()
            if name.startswith(names):
                found[name] = os.getpriority(os.PRIO_PROCESS, int(tid))
        except OSError:
            pass  # It has ended meanwhile.
    return found


def threads(node):
    pid = node.process.pid
    wanted = min(19, os.getpriority(os.PRIO_PROCESS, pid) + LOWER)
    def all_yield():
        found = niceness(pid, BACKGROUND)
        return len(found) >= 3 and set(found.values()) == {wanted}
    wait_for('threads in the background', all_yield)


def run(node, *more):
    c = node.start('--maxmemory', '256mb', *more)
    for key in ('a', 'b', 'c', 'd'):
        turns(node, c, key)
    if not more:
        listed_meanwhile(node)
    threads(node)
    node.process.terminate()
    check('exit status', node.end(), 0)


if __name__ == '__main__':
    sys.exit(main_of(run, [], ['--shards', '2', '--clustering-policy', 'enterprise']))
