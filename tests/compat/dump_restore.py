#!/usr/bin/env python3
"""DUMP and RESTORE between redis-server and tierra-server.

Random values of all types, of sizes that make Redis use each of its encodings, go from one server
to the other and back, and must be the same there. Then dumps are damaged: with their sum as it was
they must be refused, with a sum that fits they are refused or make a value that can be read. And
idle times.
"""

import argparse
import random
import sys

import diff_cmds
import gen_types


def text(rng):
    r = rng.random()
    if r < 0.3:
        return str(rng.choice([0, -1, 12, 127, 128, -129, 4095, -4097, 32768, -70000, 1 << 23,
                               1 << 31, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63)]))
    if r < 0.9:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(30)))
    if r < 0.97:
        return b'ab' * rng.randrange(2, 100)
    return bytes(rng.randrange(97, 100) for _ in range(rng.choice([63, 64, 70, 4095, 4096, 9000])))


def score(rng):
    return rng.choice(['0', '1', '-3', '1.5', 'inf', '-inf', '1e300', '0.1', '100000', '3e-5'])


def value(rng, key):
    """A command that makes one."""
    n = rng.choice([1, 2, 5, 20, 130, 600])
    kind = rng.randrange(7)
    if kind == 0:
        return ['SET', key, text(rng)]
    if kind == 1:
        return ['RPUSH', key] + [text(rng) for _ in range(n)]
    if kind == 2:
        return ['SADD', key] + [text(rng) for _ in range(n)]
    if kind == 3:
        width = rng.choice([100, 100000, 1 << 40])
        return ['SADD', key] + [str(rng.randrange(-width, width)) for _ in range(n)]
    if kind == 4:
        return ['HSET', key] + [x for _ in range(n) for x in (text(rng), text(rng))]
    if kind == 5:
        return ['ZADD', key] + [x for _ in range(n) for x in (score(rng), text(rng))]
    return ['SET', key, bytes(rng.randrange(256) for _ in range(rng.choice([17, 5000, 40000])))]


def move(a, b, key):
    kind, dump = a.call('DUMP', key)
    assert kind == '$' and dump, (kind, dump)
    reply = b.call('RESTORE', key, '0', dump)
    assert reply == ('+', b'OK'), (key, reply, dump[:60])
    return dump


def shown(conn, key):
    return diff_cmds.dump(conn)[key.encode()]


def round_trips(a, b, rng, count):
    """The dumps that were seen."""
    dumps = []
    for i in range(count):
        key = 'k%d' % i
        for conn in (a, b):
            conn.call('FLUSHALL')
        a.call(*value(rng, key))
        want = shown(a, key)
        dumps.append(move(a, b, key))
        assert shown(b, key) == want, (key, want, shown(b, key))
        a.call('DEL', key)
        dumps.append(move(b, a, key))
        assert shown(a, key) == want, (key, want, shown(a, key))
        assert b.call('RESTORE', key, '0', dumps[-1])[1].startswith(b'BUSYKEY')
        assert b.call('RESTORE', key, '5000000', dumps[-1], 'REPLACE') == ('+', b'OK')
        assert 0 < int(b.call('PTTL', key)[1]) <= 5000000
        assert shown(b, key)[2] == want[2]
    return dumps


def damaged(b, rng, dumps, count):
    read = 0
    for _ in range(count):
        dump = bytearray(rng.choice(dumps))
        for _ in range(rng.choice([1, 1, 2, 5])):
            dump[rng.randrange(len(dump) - 8)] = rng.randrange(256)
        same = bytes(dump) in dumps
        reply = b.call('RESTORE', 'damaged', '0', bytes(dump), 'REPLACE')
        assert same or reply == ('-', b'ERR DUMP payload version or checksum are wrong'), reply
        summed = gen_types.with_footer(bytes(dump[:-10]))
        reply = b.call('RESTORE', 'damaged', '0', summed, 'REPLACE')
        if reply == ('+', b'OK'):
            read += 1
            b.call('DUMP', 'damaged')
            shown(b, 'damaged')
        else:
            assert reply[1] in (b'ERR Bad data format',
                                b'ERR key or element name is longer than 65535 bytes'), reply
        assert b.call('PING') == ('+', b'PONG')
        b.call('FLUSHALL')
    print('%d damaged dumps, of which %d could be read' % (count, read))


def uses(b):
    """An idle time that comes along is kept once somebody has asked for one; a use ends it."""
    idle = ('IDLETIME', '1000000')

    def asked():
        return int(b.call('OBJECT', 'IDLETIME', 'k')[1])
    for policy in ('noeviction', 'volatile-ttl', 'allkeys-lru', 'noeviction'):
        b.call('CONFIG', 'SET', 'maxmemory-policy', policy)
        b.call('SET', 'k', 'v')
        assert asked() < 500000, policy
        dump = b.call('DUMP', 'k')[1]
        for use in (['TOUCH', 'k'], ['GET', 'k'], ['SET', 'k', 'v'], ['APPEND', 'k', 'v']):
            assert b.call('RESTORE', 'k', '0', dump, 'REPLACE', *idle) == ('+', b'OK')
            assert asked() >= 1000000, (policy, use)
            b.call('OBJECT', 'ENCODING', 'k')
            assert asked() >= 1000000, (policy, use)
            if use[0] == 'TOUCH':
                assert b.call('DEBUG', 'RELOAD') == ('+', b'OK')  # It counts for a cold key, too.
            b.call(*use)
            assert asked() < 500000, (policy, use)
    b.call('FLUSHALL')


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--count', type=int, default=300)
    args = p.parse_args()
    redis = diff_cmds.redis_server()
    with diff_cmds.side_by_side([redis, '--save', '', '--appendonly', 'no'],
                                [args.server, '--enable-debug-command', 'yes']) as paths:
        a, b = (diff_cmds.Conn(path) for path in paths)
        uses(b)
        rng = random.Random(args.seed)
        dumps = round_trips(a, b, rng, args.count)
        damaged(b, rng, dumps, 5 * args.count)
        print('seed %d: %d values, there and back' % (args.seed, args.count))
    return 0


if __name__ == '__main__':
    sys.exit(main())
