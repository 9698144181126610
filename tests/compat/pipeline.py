#!/usr/bin/env python3
"""Sends the same pipelines, cut at random places, to redis-server and to tierra-server.

The commands are those of diff_cmds.py whose replies are exact, with transactions, inline commands,
unknown ones and long ones between them: what is parsed and looked up ahead of its turn must not
change what a client sees. Then many clients send one command each at the same time, and some are
killed meanwhile. From one seed follows one run.
"""

import argparse
import random
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
    cmds = [one for c in diff_cmds.generate(seed, count)
            if not any(one.args[0] == 'MULTI' for one in c.batch)
            for one in c.all() if one.how == EXACT and one.heal is None]
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


# --- many connections with one command each ---

SIDES = 12
ROUNDS = 400


class Side:
    """One client with keys of its own, and what they must hold."""

    def __init__(self, port, number, rng):
        self.port, self.number, self.rng = port, number, rng
        self.count = 0
        self.connect()
        self.value = self.conn.call('GET', b'v%d' % number)

    def connect(self):
        self.conn = Conn(self.port)
        self.id = self.conn.call('CLIENT', 'ID')[1]

    def draw(self):
        """A command, and the reply that is due."""
        if self.rng.randrange(3) == 0:
            self.count += 1
            return [b'INCR', b'n%d' % self.number], (':', b'%d' % self.count)
        if self.rng.randrange(2) == 0:
            value = b'%d' % self.rng.randrange(10**9)
            self.value = ('$', value)
            return [b'SET', b'v%d' % self.number, value], ('+', b'OK')
        return [b'GET', b'v%d' % self.number], self.value


def kill_one(sides, rng):
    """One client kills another while all others, and the other, send a command."""
    victim = rng.randrange(1, SIDES)
    for side in sides[1:]:
        side.conn.send([[b'SET', b'v%d' % side.number, b'x']])
        side.value = ('$', b'x')
    killed = sides[0].conn.call('CLIENT', 'KILL', 'ID', sides[victim].id)
    for side in sides[1:]:
        if side.number != victim and side.conn.read() != ('+', b'OK'):
            return False
    sides[victim].conn.close()
    sides[victim].connect()
    sides[victim].value = sides[victim].conn.call('GET', b'v%d' % victim)
    return killed == (':', b'1')


def run_sides(seed, port):
    """All send at once, so that the server finds many inputs in one turn."""
    rng = random.Random(seed)
    first = Conn(port)
    first.call('FLUSHALL')
    sides = [Side(port, i, rng) for i in range(SIDES)]
    for number in range(ROUNDS):
        due, late = [], []
        for side in sides:
            cmd, reply = side.draw()
            data = protocol(cmd)
            at = rng.randrange(len(data)) if rng.randrange(8) == 0 else len(data)
            due.append((side, cmd, data, reply))
            late.append(data[at:])
            side.conn.sock.sendall(data[:at])
        for side, rest in zip(sides, late):
            side.conn.sock.sendall(rest)
        for side, cmd, data, reply in due:
            got = side.conn.read()
            if got != reply:
                print('seed %d: round %d, client %d: %r gave %r instead of %r'
                      % (seed, number, side.number, cmd, got, reply))
                return 1
        if number % 20 == 19 and not kill_one(sides, rng):
            print('seed %d: round %d: wrong replies beside CLIENT KILL' % (seed, number))
            return 1
    print('seed %d: %d clients side by side, no difference' % (seed, SIDES))
    return 0


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--count', type=int, default=20000)
    p.add_argument('--server', default='bin/tierra-server')
    args = p.parse_args()
    redis = diff_cmds.redis_server()
    started, status = [], 2
    more = diff_cmds.sorted_sets(args.seed)
    try:
        started.append(spawn([redis, *diff_cmds.REDIS_ARGS] + more, 'redis-server'))
        started.append(spawn([args.server] + more, 'tierra-server'))
        status = (run(args.seed, args.count, started[0][2], started[1][2]) or
                  run_sides(args.seed, started[1][2]))
    finally:
        for process, directory, _ in started:
            stop(process, directory, keep=status == 2)
    return status


if __name__ == '__main__':
    sys.exit(main())
