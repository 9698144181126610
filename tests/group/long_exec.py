#!/usr/bin/env python3
"""EXEC of very many commands on one key: what each costs does not depend on how many there are.

Nothing here looks at a clock. With the work of a pair growing with the pairs before it, COUNT
pairs would take many minutes of a few turns, in which nobody else is served: longer than a test
may take. The other member makes of the same ops what is here.

usage: long_exec.py --server tierra-server [--count n] [--parts text,..]
"""

from grouplib import ErrorReply, Group, main_of

COUNT = 30000
CHUNK_BITS = 8192
LONG = 20000


def bits_and_expiry(i):
    return [('SETBIT', 'bits', i * 7 % (8 * LONG), 1), ('EXPIRE', 'bits', 10000 + i)]


def fields_and_expiry(i):
    return [('HSET', 'hash', i, 'v'), ('EXPIRE', 'hash', 10000 + i)]


def members_and_expiry(i):
    return [('ZADD', 'zset', i, i), ('EXPIRE', 'zset', 10000 + i)]


def pushes_and_expiry(i):
    return [('RPUSH', 'list', i), ('EXPIRE', 'list', 10000 + i)]


def pushes_to_two(i):
    return [('LPUSH', 'one', i), ('RPUSH', 'two', i), ('EXPIRE', 'one', 10000 + i),
            ('EXPIRE', 'two', 10000 + i)]


def field_comes_and_goes(i):
    return [('HSET', 'there', i, 'v'), ('HDEL', 'there', i)]


def push_and_pop(i):
    return [('RPUSH', 'queue', i), ('LPOP', 'queue')]


def increments_and_expiry(i):
    return [('INCR', 'number'), ('EXPIRE', 'number', 10000 + i)]


def hash_comes_and_goes(i):
    return [('HSET', 'gone', 'f', i), ('HDEL', 'gone', 'f')]


def written_over(i):
    return [('SET', 'over', i), ('EXPIRE', 'over', 10000 + i)]


def written_over_by_types(i):
    return [('SADD', 'any', i), ('DEL', 'any'), ('RPUSH', 'any', i), ('DEL', 'any')]


def many_keys(i):
    return [('EXPIRE', 'long:%d' % (i % 100), 10000 + i), ('SETBIT', 'long:%d' % (i % 100), i, 1),
            ('HSET', 'h:%d' % (i % 1000), i, 'v'),
            ('EXPIRE', 'h:%d' % (i % 1000), 10000 + i)]


PARTS = (bits_and_expiry, fields_and_expiry, members_and_expiry, pushes_and_expiry, pushes_to_two,
         field_comes_and_goes, push_and_pop, increments_and_expiry, hash_comes_and_goes,
         written_over, written_over_by_types, many_keys)


def prepare(member):
    member.ok('SET', 'bits', b'\0' * LONG)
    member.ok('HSET', 'there', 'stays', 'v')
    member.ok('RPUSH', 'queue', 'first')
    for i in range(100):
        member.ok('SET', 'long:%d' % i, b'x' * LONG)


def run_all(member, part, count):
    commands = [('MULTI',)] + [c for i in range(count) for c in part(i)] + [('EXEC',)]
    commands = [[str(word).encode() for word in c] for c in commands]
    replies = []
    for at in range(0, len(commands), 5000):
        replies += member.conn.pipeline(commands[at:at + 5000])
    assert not isinstance(replies[-1], ErrorReply), replies[-1]
    assert len(replies[-1]) == len(commands) - 2
    bad = [r for r in replies[-1] if isinstance(r, ErrorReply)]
    assert not bad, bad[:3]


def check(member, count):
    ttl = 10000 + count - 1
    for key in ('bits', 'hash', 'zset', 'list', 'one', 'two', 'number', 'over'):
        if member.ok('EXISTS', key):
            assert ttl - 3600 < member.ok('TTL', key) <= ttl, key
    for key, cmd in (('hash', 'HLEN'), ('zset', 'ZCARD'), ('list', 'LLEN'), ('one', 'LLEN')):
        assert member.ok(cmd, key) in (0, count), key
    assert member.ok('HGETALL', 'there') == [b'stays', b'v']
    assert member.ok('LLEN', 'queue') == 1
    assert member.ok('EXISTS', 'gone', 'any') == 0


def run(args):
    with Group(args.server, args.work, {'maxmemory': '1gb'}) as group:
        a, b = group.make(['a', 'b'])
        for m in (a, b):
            m.start()
        group.await_active()
        prepare(a)
        group.await_same()
        for part in PARTS:
            if args.parts and part.__name__ not in args.parts.split(','):
                continue
            run_all(a, part, args.count)
            print(part.__name__, flush=True)
        check(a, args.count)
        group.await_same()
        check(b, args.count)


def options(parser):
    parser.add_argument('--count', type=int, default=COUNT)
    parser.add_argument('--parts', default='')


if __name__ == '__main__':
    main_of(__doc__, run, options)
