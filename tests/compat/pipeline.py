#!/usr/bin/env python3
"""Sends the same pipelines, cut at random places, to redis-server and to tierra-server.

The commands are those of diff_cmds.py whose replies are exact, with transactions, inline commands,
unknown ones and long ones between them: what is parsed and looked up ahead of its turn must not
change what a client sees. From one seed follows one run.
"""

import argparse
import random
import shutil
import sys

import diff_cmds
from diff_cmds import EXACT, Conn, normalise, spawn, stop

PIPELINE_MAX = 80


def protocol(args):
    out = [b'*%d\r\n' % len(args)]
    for a in args:
        a = a if isinstance(a, bytes) else str(a).encode()
        out.append(b'$%d\r\n%s\r\n' % (len(a), a))
    return b''.join(out)


def odd(rng):
    """What does not go the usual way: (bytes, number of replies)."""
    return rng.choice([
        (b'PING\r\n', 1),
        (b'\r\n', 0),
        (b'*0\r\n', 0),
        (protocol(['NOSUCH', 'a', 'b']), 1),
        (protocol(['GET']), 1),
        (protocol(['MGET'] + ['s%d' % i for i in range(60)]), 1),
        (protocol(['SET', 'long', b'v' * rng.randrange(60000)]), 1),
        (protocol(['STRLEN', 'long']), 1),
        (protocol(['MULTI']) + protocol(['INCR', 'n']) + protocol(['GET', 'n']) +
         protocol(['EXEC']), 4),
        (protocol(['MULTI']) + protocol(['SET', 'n', '1']) + protocol(['DISCARD']), 3),
        (protocol(['CLIENT', 'REPLY', 'SKIP']) + protocol(['INCR', 'n']), 0),
    ])


def pipelines(seed, count):
    """Lists of (bytes, number of replies)."""
    rng = random.Random(seed)
    cmds = [c for c in diff_cmds.generate(seed, count) if c.how == EXACT and c.heal is None]
    at = 0
    while at < len(cmds):
        size = rng.randrange(1, PIPELINE_MAX)
        line = [(protocol(c.args), 1) for c in cmds[at:at + size]]
        at += size
        for _ in range(rng.randrange(4)):
            line.insert(rng.randrange(len(line) + 1), odd(rng))
        yield line


def cut(rng, data):
    """The same bytes in one to four parts."""
    places = sorted(rng.randrange(len(data)) for _ in range(rng.randrange(4)))
    return [data[a:b] for a, b in zip([0] + places, places + [len(data)]) if a != b]


def run(seed, count, place_a, place_b):
    rng = random.Random(seed)
    conns = [Conn(place_a), Conn(place_b)]
    for conn in conns:
        conn.call('FLUSHALL')
    for number, line in enumerate(pipelines(seed, count)):
        data = b''.join(part for part, _ in line)
        replies = []
        for conn in conns:
            for part in cut(rng, data):
                conn.sock.sendall(part)
            replies.append([normalise(conn.read(), EXACT)
                            for _ in range(sum(n for _, n in line))])
        if replies[0] != replies[1]:
            at = next(i for i, (a, b) in enumerate(zip(*replies)) if a != b)
            print('seed %d: pipeline %d, reply %d differs\n  redis:  %.500r\n  tierra: %.500r\n'
                  '  sent: %.2000r' % (seed, number, at, replies[0][at], replies[1][at], data))
            return 1
    same = diff_cmds.dump(conns[0]) == diff_cmds.dump(conns[1])
    print('seed %d: %s' % (seed, 'no difference' if same else 'the data differ at the end'))
    return 0 if same else 1


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--count', type=int, default=20000)
    p.add_argument('--server', default='bin/tierra-server')
    args = p.parse_args()
    redis = shutil.which('redis-server')
    if redis is None:
        print('SKIP: there is no redis-server')
        return diff_cmds.SKIP
    started, status = [], 2
    try:
        started.append(spawn([redis, '--save', '', '--appendonly', 'no'], 'redis-server'))
        started.append(spawn([args.server], 'tierra-server'))
        status = run(args.seed, args.count, started[0][2], started[1][2])
    finally:
        for process, directory, _ in started:
            stop(process, directory, keep=status == 2)
    return status


if __name__ == '__main__':
    sys.exit(main())
