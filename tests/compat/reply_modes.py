#!/usr/bin/env python3
"""CLIENT REPLY ON, OFF and SKIP, within transactions and outside, byte for byte as redis-server:
what is left of an EXEC's reply when its queue changes the mode, and of errors behind it. Random
commands in one pipeline, and one at a time. From one seed follows one run.

usage: reply_modes.py --server SERVER [--shards N] [--seed N] [--count N]
"""

import argparse
import random
import sys

import diff_cmds
from diff_cmds import Conn

END = b'$3\r\nend\r\n'
MODES = [['CLIENT', 'REPLY', 'ON'], ['CLIENT', 'REPLY', 'OFF'], ['CLIENT', 'REPLY', 'SKIP']]
LAST = [['DISCARD'], ['CLIENT', 'REPLY', 'ON'], ['ECHO', 'end']]
FIXED = ['MULTI|OFF|EXEC', 'MULTI|SET|OFF|EXEC|GET0', 'MULTI|SET|OFF|GET|EXEC|NOSUCH',
         'MULTI|SET|SKIP|GET|EXEC|GET|GET', 'MULTI|SET|SKIP|EXEC|GET0|PING',
         'SKIP|MULTI|SET|EXEC|PING', 'MULTI|SET|OFF|GET|ON|GET|EXEC|PING',
         'MULTI|SET|SKIP|ON|EXEC|PING|PING',
         'MULTI|SET|SKIP|OFF|ON|EXEC|PING|PING', 'OFF|MULTI|SET|ON|GET|EXEC|PING',
         'MULTI|SET|SKIP|EXEC|MULTI|GET|EXEC|PING', 'MULTI|SET|OFF|EXEC|MULTI|ON|GET|EXEC|GET0',
         'MULTI|SET|SKIP|EXEC|SKIP|PING|PING', 'MULTI|SET|OFF|EXEC|EXEC|ON|EXEC',
         'MULTI|SET|GET0|SKIP|EXEC|PING', 'WATCH|SET|MULTI|OFF|EXEC|PING']


def command(word, tag):
    key = 'k{%s}' % tag
    return {'ON': MODES[0], 'OFF': MODES[1], 'SKIP': MODES[2], 'SET': ['SET', key, 'v'],
            'GET': ['GET', key], 'INCR': ['INCR', key], 'GET0': ['GET'], 'WATCH': ['WATCH', key],
            'REPLY?': ['CLIENT', 'REPLY', 'x'], 'EXEC1': ['EXEC', 'x'],
            'MGET': ['MGET', key, 'k{%s}' % tag[::-1]]}.get(word, [word])


def drawn(rng):
    """A few transactions. All keys are on one shard, but those of MGET outside."""
    tag, words = rng.choice(('aa', 'bc', 'cb', 'de', 'ed', 'ff')), []
    inner = ['SET', 'GET', 'INCR', 'PING', 'ON', 'OFF', 'SKIP', 'OFF', 'SKIP', 'REPLY?']
    odd = inner + ['GET0', 'NOSUCH', 'EXEC', 'EXEC1', 'DISCARD', 'WATCH', 'UNWATCH']
    outer = odd + ['MGET']
    for _ in range(rng.randint(1, 3)):
        words += [rng.choice(outer) for _ in range(rng.randint(0, 3))] + ['MULTI']
        words += [rng.choice(inner if rng.random() < 0.95 else odd)
                  for _ in range(rng.randint(0, 5))]
        words += ['EXEC'] + [rng.choice(outer) for _ in range(rng.randint(0, 3))]
    return [command(w, tag) for w in words]


def told(place, commands, piped):
    """Every byte of the replies."""
    conn, out = Conn(place), b''
    conn.call('FLUSHALL')
    conn.call('SET', 'k{bc}', '5')
    for some in [commands + LAST] if piped else [[c] for c in commands + LAST]:
        conn.send(some)
    while not out.endswith(END):
        data = conn.sock.recv(65536)
        if not data:
            out += b'closed'
            break
        out += data
    conn.close()
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    p.add_argument('--shards', type=int, default=1)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--count', type=int, default=1500)
    args = p.parse_args()
    redis = diff_cmds.redis_server()
    more = [] if args.shards == 1 else ['--clustering-policy', 'enterprise', '--shards',
                                        str(args.shards)]
    rng, started, status, failed = random.Random(args.seed), [], 2, 0
    cases = [[command(w, tag) for w in line.split('|')] for line in FIXED
             for tag in ('aa', 'bc', 'de')]
    cases += [drawn(rng) for _ in range(args.count)]
    try:
        started.append(diff_cmds.spawn([redis, *diff_cmds.REDIS_ARGS], 'redis-server'))
        started.append(diff_cmds.spawn([args.server] + more, 'tierra-server'))
        for i, commands in enumerate(cases):
            wanted, got = (told(s[2], commands, i % 4 != 0) for s in started)
            failed += wanted != got
            if wanted != got and failed <= 10:
                print('%s\n  redis:  %r\n  tierra: %r'
                      % (' | '.join(' '.join(c) for c in commands), wanted, got))
        status = int(failed != 0)
    finally:
        for process, directory, _ in started:
            diff_cmds.stop(process, directory, keep=status == 2)
    print('seed %d: %d pipelines, %d differ' % (args.seed, len(cases), failed))
    return status


if __name__ == '__main__':
    sys.exit(main())
