#!/usr/bin/env python3
"""Eviction by maxmemory: only what demotion cannot help, and only under a policy that evicts.

Below what the process needs every key that may go goes, without a client doing anything, with its
event and its invalidation, and stays gone after a restart; noeviction, a budget that is low for a
moment and a load that demotion can serve evict nothing.

usage: evict_dram.py SERVER [--shards N] [--roomy]     (--roomy: under a sanitizer)
"""

import argparse
import os
import shutil
import sys
import tempfile
import time

import smoke_shards
from smoke_shards import POLICY, Node, check, info, pipeline, value, wait_for

KEYS = ['key{%d}' % i for i in range(40)]
# Longer than what is not helped lasts before it counts.
QUIET_SECONDS = 4
# What is written under pressure, and the memory for each shard, and once more.
VALUE = 4096
PRESSED_KEYS = 40000
PRESSED_MB = 24
BATCH = 1000
# Cold keys.
MANY = 20000
BATCH = 1000
# Small keys that fill what the process leaves of a budget: of the smallest that takes so many.
SMALL_KEYS_MIN = 60000
SMALL_KEYS_MAX = 3000000


def evicted(c):
    return int(info(c)['evicted_keys'])


def config(c, *args):
    check('CONFIG SET %r' % (args,), value(c, 'CONFIG', 'SET', *args), b'OK')


def refused(c, *args):
    """Not call: that gives more memory on OOM."""
    c.send([list(args)])
    kind, text = c.read()
    return kind == '-' and text.startswith(b'OOM ')


def write(c, keys, *tail):
    got = pipeline(c, [['SET', key, 'v:' + key, *tail] for key in keys])
    check('SET', set(got), {b'OK'})


def starved(node, c, listener, watcher):
    """All keys, under one of allkeys-*."""
    write(c, KEYS)
    for key in KEYS:
        check('GET', value(watcher, 'GET', key), ('v:' + key).encode())
    before = evicted(c)
    config(c, 'maxmemory-policy', 'allkeys-lru')
    config(c, 'maxmemory', '1')
    # Nobody asks for anything: what is evicted is told of.
    told = {listener.read()[1][3][1] for _ in KEYS}
    check('events', told, {key.encode() for key in KEYS})
    gone = {watcher.read()[1][1][1][0][1] for _ in KEYS}
    check('invalidations', gone, {key.encode() for key in KEYS})
    check('evicted_keys', evicted(c) - before, len(KEYS))
    check('DBSIZE', value(c, 'DBSIZE'), b'0')
    check('no writes', refused(c, 'SET', 'k', 'v'), True)
    config(c, 'maxmemory', '0')
    write(c, ['k'])
    check('GET', value(c, 'GET', 'k'), b'v:k')
    check('DEL', value(c, 'DEL', 'k'), b'1')


def many(c):
    """Of a budget that was enough, on flash."""
    config(c, 'maxmemory', '1gb')
    check('DEBUG COLD', value(c, 'DEBUG', 'COLD', '1'), b'OK')
    for first in range(0, MANY, BATCH):
        write(c, ['m:%d' % k for k in range(first, first + BATCH)])
    wait_for('cold', lambda: info(c)['cold_keys'] == '%d' % MANY)
    check('DEBUG COLD', value(c, 'DEBUG', 'COLD', '0'), b'OK')
    before = evicted(c)
    config(c, 'maxmemory-policy', 'allkeys-random')
    config(c, 'maxmemory', '1mb')
    wait_for('all go', lambda: value(c, 'DBSIZE') == b'0')
    check('evicted', evicted(c) - before, MANY)
    config(c, 'maxmemory', '0')


def volatile_only(c):
    """Keys without an expiry stay; then writes are refused for good."""
    stay, go = KEYS[::2], KEYS[1::2]
    config(c, 'maxmemory-policy', 'volatile-ttl')
    write(c, stay)
    write(c, go, 'EX', '100000')
    before = evicted(c)
    config(c, 'maxmemory', '1')
    wait_for('those that expire go', lambda: evicted(c) - before == len(go))
    time.sleep(QUIET_SECONDS)
    check('evicted', evicted(c) - before, len(go))
    check('no writes', refused(c, 'SET', 'k', 'v'), True)
    config(c, 'maxmemory', '0')
    check('those that stay', [value(c, 'GET', key) for key in stay],
          [('v:' + key).encode() for key in stay])
    check('DBSIZE', value(c, 'DBSIZE'), b'%d' % len(stay))


def not_evicted(c):
    """noeviction however long it is; another policy for a moment."""
    before, keys = evicted(c), value(c, 'DBSIZE')
    config(c, 'maxmemory-policy', 'noeviction')
    config(c, 'maxmemory', '1')
    time.sleep(QUIET_SECONDS)
    config(c, 'maxmemory', '0')
    config(c, 'maxmemory-policy', 'allkeys-random')
    for _ in range(3):
        pipeline(c, [['CONFIG', 'SET', 'maxmemory', '1'], ['CONFIG', 'SET', 'maxmemory', '0']])
    time.sleep(QUIET_SECONDS)
    check('evicted', evicted(c), before)
    check('DBSIZE', value(c, 'DBSIZE'), keys)


def run_starved(node, *more):
    c = node.start(*more)
    config(c, 'notify-keyspace-events', 'Ee')
    listener, watcher = node.connect(), node.connect()
    listener.call('PSUBSCRIBE', '*')
    watcher.call('HELLO', '3')
    watcher.call('CLIENT', 'TRACKING', 'ON')
    starved(node, c, listener, watcher)
    config(c, 'notify-keyspace-events', '')
    watcher.call('CLIENT', 'TRACKING', 'OFF')
    many(c)
    volatile_only(c)
    not_evicted(c)
    left = sorted(x[1] for x in value(c, 'KEYS', '*'))
    node.process.kill()
    node.process.wait()
    c = node.start(*more)
    check('after a kill', sorted(x[1] for x in value(c, 'KEYS', '*')), left)
    node.process.terminate()
    check('exit status', node.end(), 0)


def run_pressed(node, megabytes, *more):
    """More than the budget, written and read: demotion serves that, and no key goes."""
    c = node.start('--maxmemory', '%dmb' % megabytes, '--maxmemory-policy', 'allkeys-lru', *more)
    conns = [c] + [node.connect() for _ in range(3)]
    written = set()
    for first in range(0, PRESSED_KEYS, BATCH):
        parts = [range(first + i, first + BATCH, len(conns)) for i in range(len(conns))]
        reads = range(0, first, first // 100 + 1)
        for conn, part in zip(conns, parts):
            conn.send([['SET', 'p:%d' % k, 'x' * VALUE] for k in part] +
                      [['GET', 'p:%d' % k] for k in reads])
        for conn, part in zip(conns, parts):
            written.update(k for k in part if conn.read() == ('+', b'OK'))
            for k in reads:
                check('GET', len(conn.read()[1] or b''), VALUE if k in written else 0)
    for _ in range(QUIET_SECONDS * 2):
        for k in range(0, PRESSED_KEYS, 997):
            check('GET', len(value(c, 'GET', 'p:%d' % k) or b''), VALUE if k in written else 0)
        time.sleep(0.5)
    check('evicted', evicted(c), 0)
    check('DBSIZE', value(c, 'DBSIZE'), b'%d' % len(written))
    print('%d MB: %d of %d written, %s cold, highest use %s' % (
        megabytes, len(written), PRESSED_KEYS, info(c)['cold_keys'], info(c)['budget_used_peak']))
    node.process.terminate()
    check('exit status', node.end(), 0)


def run(place, part, *args):
    directory = tempfile.mkdtemp(prefix='tierra-evict-')
    try:
        part(Node(place, directory), *args)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('server')
    parser.add_argument('--shards', type=int, default=1)
    parser.add_argument('--roomy', action='store_true')
    args = parser.parse_args()
    more = [*POLICY, '--shards', '%d' % args.shards] if args.shards > 1 else []
    server = os.path.abspath(args.server)
    run(server, run_starved, *more)
    if not args.roomy:
        run(server, run_pressed, PRESSED_MB * (1 + args.shards), *more)
    print('%d failed' % smoke_shards.failed if smoke_shards.failed else 'passed')
    return smoke_shards.failed != 0


if __name__ == '__main__':
    sys.exit(main())
