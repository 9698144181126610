#!/usr/bin/env python3
"""Every write command at two members of a group (write_commands.py): its effect comes to the other
member, and with the same command, a DEL and another writer at the other member meanwhile both show
what the merge table says. A command with the flag "write" that is missing there fails.

usage: commands.py --server tierra-server [--shards N]
"""

import contextlib
import os
import shutil
import sys
import tempfile

from grouplib import (
    Conn, ErrorReply, Group, Server, agree, encode, free_ports, main_of, wait_until)
from rows import Row
from tables import run_rows, start_in_order
from ways import Ways
from write_commands import EMPTY, REFUSED, WRITES

# What is restored, as DUMP gives it.
MODELS = {'string': ('SET', 'a'), 'list': ('RPUSH', 'a', 'b'), 'hash': ('HSET', 'f', 'a', 'g', 'b'),
          'set': ('SADD', 'a', 'b'), 'zset': ('ZADD', '1', 'x', '2', 'y')}


def write_commands(member):
    """The names of all commands and subcommands with the flag."""
    found, left = set(), list(member.ok('COMMAND'))
    while left:
        fields = left.pop()
        if b'write' in fields[2]:
            found.add(fields[0].decode())
        left += fields[9]
    return found


def check_table(member):
    known = {w.command for w in WRITES} | set(REFUSED) | set(EMPTY)
    there = write_commands(member)
    assert there - known == set(), 'not in write_commands.py: %s' % sorted(there - known)
    assert known - there == set(), 'no write commands: %s' % sorted(known - there)
    for w in WRITES:
        names = [name_of(other) for other, _ in w.others]
        assert names[0] == w.command and {'del', 'unlink'} & set(names), (w.command, names)
        assert len(names) >= (2 if w.command == 'del' else 3), (w.command, names)


def name_of(step):
    words = step.split()
    return (words[1] if words[0] == ':' else words[0]).lower()


def steps_of(member, text):
    return ['%d %s' % (member, step.strip()) for step in text.split(';') if step.strip()]


def checks(shows):
    """What "shows" says of all members, as steps."""
    if shows.startswith(':'):
        return ['%d %s' % (m, shows) for m in (1, 2)]
    if not shows.startswith('%'):
        return ['? ' + shows]
    parts = [part.split() for part in shows.split(';')]
    return [step for key, text in parts for step in ('about ' + key, '? ' + text)]


def rows_of(write):
    """(name, steps) of its rows."""
    before = steps_of(1, write.before) + ['sync']
    call = steps_of(1, write.call)
    yield 'alone', before + call + ['sync'] + checks(write.shows)
    for other, shows in write.others:
        end = ['sync'] + checks(shows)
        yield 'with ' + other, before + call + steps_of(2, other) + end
        if name_of(other) == 'del':
            yield 'after ' + other, before + steps_of(2, other) + call + end


def all_rows(given):
    rows = []
    for write in WRITES:
        for name, steps in rows_of(write):
            rows.append(Row(len(rows), '%s, %s' % (write.call, name), '; '.join(steps), given))
    return rows


def payloads(member):
    given = {}
    for name, (command, *words) in MODELS.items():
        member.ok(command, 'model', *words)
        given[name] = member.ok('DUMP', 'model')
        member.ok('DEL', 'model')
    return given


def refused(members):
    for name, words in REFUSED.items():
        for m in members:
            reply = m.call(*name.split('|'), *words)
            assert isinstance(reply, ErrorReply), (name, reply)
    for name, words in EMPTY.items():
        for m in members:
            m.ok(*name.split('|'), *words)


def moves_that_wait(group):
    """What a peer writes wakes who waits to move or to take it; that comes back."""
    a, b = group.up()
    waiting = Conn(b.server.socket_path)
    for wait, push, reply, left in (
            ('BLMOVE {w} {w}to LEFT RIGHT 0', 'RPUSH {w} x y', b'x', ['{w}', '{w}to']),
            ('BRPOPLPUSH {w} {w}to 0', 'RPUSH {w} x y', b'y', ['{w}', '{w}to']),
            ('BLMPOP 0 1 {w} LEFT COUNT 2', 'RPUSH {w} x y', [b'{w}', [b'x', b'y']], []),
            ('BZMPOP 0 1 {w} MAX', 'ZADD {w} 1 x 2 y', [b'{w}', [[b'y', b'2']]], ['{w}'])):
        waiting.send(encode([word.encode() for word in wait.split()]))
        wait_until('it waits', lambda: b.info('clients')['blocked_clients'] == '1')
        a.ok(*push.split())
        assert waiting.reply() == reply, wait
        held = group.await_same()
        assert sorted(k.decode() for k in held if k.startswith(b'{w}')) == left, (wait, held)
        a.ok('DEL', *(left + ['{w}']))
        group.await_same()
    waiting.close()


@contextlib.contextmanager
def target(program):
    """A server on its own, to which keys migrate; where it is, for rows."""
    work = tempfile.mkdtemp(prefix='tierra-target-')
    port = free_ports(1)[0]
    server = Server(program, os.path.join(work, 'data'), work, {'port': port})
    try:
        assert server.wait_ready() is not None, server.log_text()
        yield {'host': b'127.0.0.1', 'port': b'%d' % port}
    finally:
        server.stop()
        shutil.rmtree(work, ignore_errors=True)


def run(args):
    options = {'maxmemory': '2gb'}  # Sanitizers take more than any budget of a test.
    if args.shards > 1:
        options.update({'clustering-policy': 'enterprise', 'shards': args.shards})
    with Group(args.server, args.work, options) as group:
        ways = Ways(group)
        members = ways.make(['a', 'b'])
        start_in_order(members)
        check_table(members[0])
        refused(members)
        moves_that_wait(group)
        with target(args.server) as address:
            rows = all_rows(payloads(members[0]) | address)
            run_rows(group, ways, members, rows)
        group.await_same()
        agree(members)
        print('%d commands, %d rows (%d shards)' % (
            len({w.command for w in WRITES}), len(rows), args.shards))


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, lambda p: p.add_argument('--shards', type=int, default=1)))
