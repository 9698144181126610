#!/usr/bin/env python3
"""Walks the command table: what COMMAND INFO says of every command that is here must be what
redis-server 7.0.15 says (arity, flags, positions of keys, categories, tips, key specifications,
subcommands), ACL CAT and COMMAND LIST must tell the categories of redis-server, commands
that are not here included, and random calls by users with random rules must be judged alike by ACL
DRYRUN, in whatever argument a key stands.

Each difference stands below with its reason; one that is gone fails the test, too.

usage: command_table.py --server SERVER [--seed N] [--count N]
"""

import argparse
import random
import sys

from diff_cmds import Conn, redis_server, spawn, stop

FIELDS = ('name', 'arity', 'flags', 'first', 'last', 'step', 'categories', 'tips', 'keys')
SETS = ('flags', 'categories', 'tips')

# (command, field): (what is only here, what is only there, why).
DIFFERENCES = {
    ('acl|load', 'flags'): ({'no_multi'}, set(), 'it is read on another thread meanwhile'),
    ('acl|save', 'flags'): ({'no_multi'}, set(), 'it is written on another thread meanwhile'),
    ('migrate', 'flags'): ({'no_multi'}, set(), 'others are served while it waits for its target'),
}

# Of Tierra alone, by the start of their names.
OURS = {'replgroup': 'the replication group'}

# What redis-server has besides, likewise.
MISSING = {
    'eval': 'scripts', 'fcall': 'scripts', 'function': 'scripts', 'script': 'scripts',
    'x': 'streams',
    'module': 'there are no modules',
    'restore-asking': 'nodes exchange no keys',
    'failover': 'replication is that of a group', 'psync': 'replication is that of a group',
    'replconf': 'replication is that of a group', 'replicaof': 'replication is that of a group',
    'slaveof': 'replication is that of a group', 'sync': 'replication is that of a group',
}

USERS = 100
RULES = ['+@all', '-@all', '+@read', '-@read', '+@write', '-@write', '-@dangerous', '+@dangerous',
         '+@fast', '-@slow', '+@keyspace', '-@string', '+@string', '+@pubsub', '-@admin', '+get',
         '-get', '+set', '+config', '-config|set', '+config|get', '-client', '+client|id', '~a*',
         '~b*', '%R~r*', '%W~w*', '%RW~c*', '%R~b*', 'allkeys', 'resetkeys', '&a*', '&news',
         'allchannels', 'resetchannels', '+select|0', '-select', '+memory|usage']
WORDS = ['a1', 'a2', 'b1', 'r1', 'w1', 'c1', 'x', '0', '1', '2', '3', '-1', 'store', 'STOREDIST',
         'get', 'by', 'limit', 'count', 'left', 'max', 'news', 'nx', 'ex', 'set', 'incrby', 'u4',
         'keys', 'a*', '', 'm', 'withscores', 'weights']


class Check:
    def __init__(self):
        self.failed = 0

    def that(self, good, text, *args):
        if not good:
            self.failed += 1
            if self.failed <= 40:
                print(text % args)


def table(conn):
    """Every command and subcommand by its name."""
    found, left = {}, list(conn.call('COMMAND')[1])
    while left:
        fields = left.pop()[1]
        found[fields[0][1].decode()] = fields
        left += fields[9][1]
    return found


def names(fields):
    return {x[1].decode() for x in fields[1]}


def excuse(name, reasons):
    return next((why for start, why in reasons.items() if name.startswith(start)), None)


def compare_tables(check, ours, theirs):
    for name in set(ours) - set(theirs):
        check.that(excuse(name, OURS), 'unknown to redis-server: %s', name)
    for name in set(theirs) - set(ours):
        check.that(excuse(name, MISSING), 'not here: %s', name)
    seen = set()
    for name in sorted(set(ours) & set(theirs)):
        for at, field in enumerate(FIELDS):
            a, b = ours[name][at], theirs[name][at]
            if field not in SETS:
                check.that(a == b, '%s, %s: %s, redis-server %s', name, field, a, b)
                continue
            a, b = names(a), names(b)
            known = DIFFERENCES.get((name, field), (set(), set()))
            check.that((a - b, b - a) == known[:2], '%s, %s: only here %s, only there %s', name,
                       field, a - b, b - a)
            if known[0] or known[1]:
                seen.add((name, field))
    check.that(seen == set(DIFFERENCES), 'no such command any more: %s', set(DIFFERENCES) - seen)


def compare_categories(check, conn, ours, theirs):
    """COMMAND INFO, ACL CAT and COMMAND LIST read the same table; categories have all of Redis."""
    for category in (x[1].decode() for x in conn.call('ACL', 'CAT')[1]):
        wanted = {n for n, fields in ours.items() if '@' + category in names(fields[6])}
        absent = {n for n, fields in theirs.items()
                  if n not in ours and '@' + category in names(fields[6])}
        for words in (('ACL', 'CAT'), ('COMMAND', 'LIST', 'FILTERBY', 'ACLCAT')):
            got = {x[1].decode() for x in conn.call(*words, category)[1]}
            check.that(got == wanted | absent, '%s %s: %s', ' '.join(words), category,
                       got ^ (wanted | absent))


def random_call(rng, name, fields):
    call = name.split('|')
    arity = int(fields[1][1])
    length = arity if arity > 0 else -arity + rng.choice((0, 0, 1, 2, 3, 4, 6))
    return call + [rng.choice(WORDS) for _ in range(length - len(call))]


def stricter_here(call):
    """GEORADIUS with several destinations: redis-server looks at the last one only. PFMERGE without
    a source: it does not look at the destination."""
    stores = sum(word.lower() in ('store', 'storedist') for word in call)
    return (call[0].startswith('georadius') and stores > 1) or (call[0] == 'pfmerge' and
                                                                len(call) == 2)


def compare_judgements(check, rng, conns, commands, count):
    for number in range(USERS):
        rules = [rng.choice(RULES) for _ in range(rng.randrange(2, 9))]
        if rng.randrange(2):
            rules += ['(' + ' '.join(rng.choice(RULES) for _ in range(rng.randrange(1, 5))) + ')']
        made = [conn.call('ACL', 'SETUSER', 'u', 'reset', 'clearselectors', *rules)
                for conn in conns]
        check.that(made[0] == made[1], '%s: %s, redis-server %s', rules, *made)
        calls = [random_call(rng, *rng.choice(commands)) for _ in range(count // USERS)]
        calls = [call for call in calls if not stricter_here(call)]
        for conn in conns:
            conn.send([['ACL', 'DRYRUN', 'u', *call] for call in calls])
        for call, *got in zip(calls, *([conn.read() for _ in calls] for conn in conns)):
            check.that(got[0] == got[1], '%s, %s: %s, redis-server %s', rules, call, *got)
        check.that(check.failed < 40, 'user %d of %d', number, USERS)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    p.add_argument('--seed', type=int, default=random.randrange(1 << 32))
    p.add_argument('--count', type=int, default=20000)
    args = p.parse_args()
    redis = redis_server()
    check, started = Check(), []
    try:
        started.append(spawn([args.server], 'tierra-server'))
        started.append(spawn([redis, '--save', ''], 'redis-server'))
        conns = [Conn(place[2]) for place in started]
        ours, theirs = (table(conn) for conn in conns)
        compare_tables(check, ours, theirs)
        compare_categories(check, conns[0], ours, theirs)
        both = [(n, ours[n]) for n in sorted(set(ours) & set(theirs))]
        compare_judgements(check, random.Random(args.seed), conns, both, args.count)
        for conn in conns:
            conn.close()
    finally:
        for process, directory, _ in started:
            stop(process, directory, keep=False)
    print('%d commands, seed %d: %d differences' % (len(both), args.seed, check.failed))
    return int(check.failed != 0)


if __name__ == '__main__':
    sys.exit(main())
