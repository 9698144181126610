#!/usr/bin/env python3
"""Runs the same random commands on redis-server and on tierra-server and compares the replies.

The commands come from generators, one table per family (GENERATORS). From one seed follows one run.
Before they are compared, replies pass the normalisation that the generator names:

    EXACT     as they are
    UNORDERED arrays and sets: as sorted lists
    PAIRS     flat field-value lists, or maps: as sorted lists of pairs
    MEMBERS   random elements: the same number, and each one of the candidates that the second
              server itself gives (by the command the generator names) before the command
    SCAN      a walk from cursor 0 to its end: as a sorted list
    TIMES     a number that depends on now is "some"
    EXPIRES   as they are; what expires within a millisecond is gone before the next command
    BATCH     a transaction in one pipeline, or commands that belong together, reply by reply
    TRAVEL    DUMP of a key and RESTORE of what it gave: the payloads may differ, but for their
              version; what is restored must be what was dumped, and the same on both

A command that removes at random (SPOP) is followed by what makes both servers equal again.

With --shards N the second server has N shards. Keys carry hash tags then, so that the keys of a
command are on one shard, except those of commands that may span shards; what is compared as it is
goes in pipelines.

With --cold the second server has so little memory that what commands name has mostly left DRAM.

When replies differ the run is repeated with ever fewer commands before the failing one, and the
shortest that still fails is printed.
"""

import argparse
import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import gen_keys
import gen_long
import gen_odd
import gen_types
import gen_zset_list

EXACT, UNORDERED, PAIRS, MEMBERS, SCAN = 'exact', 'unordered', 'pairs', 'members', 'scan'
TIMES, EXPIRES, BATCH, TRAVEL = 'times', 'expires', 'batch', 'travel'
# What expires within a millisecond has, by the clock of a turn that began a moment ago, too.
EXPIRES_SECONDS = 0.02
FAR_TIMES = {str(t * unit).encode() for t in gen_keys.FAR for unit in (1, 1000)}
SKIP = 77
# One database, as there is one here.
REDIS_ARGS = ['--save', '', '--appendonly', 'no', '--databases', '1']
MINIMISE_SECONDS = 60
ATTEMPTS_MAX = 4
SHOWN_MAX = 40
# For what hangs, not for what is slow.
CALL_SECONDS_MAX = 100
# So long a writer waits for flash before it is refused (GROWTH_WAIT_MS of the server).
WAITS_SECONDS = 5
REFUSALS_MAX = 5000
REFUSALS_UNTIL_RELIEF = 100
RELIEF_PART = 0.5


# --- protocol ---

class ErrorReply(str):
    pass


class Conn:
    def __init__(self, place):
        """`place`: the path of a Unix socket, or a port."""
        if isinstance(place, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(CALL_SECONDS_MAX)
            self.sock.connect(place)
        else:
            self.sock = socket.create_connection(('127.0.0.1', place), timeout=CALL_SECONDS_MAX)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile('rb', buffering=65536)

    def call(self, *args):
        """Repeats what is refused because the flash tier does not keep up."""
        refusals = 0
        while True:
            self.send([args])
            reply = self.read()
            if reply[0] != '-' or not reply[1].startswith(b'OOM') or refusals >= REFUSALS_MAX:
                return reply
            refusals += 1
            if refusals % REFUSALS_UNTIL_RELIEF == 0:
                self.relieve()
            time.sleep(0.01)

    def relieve(self):
        """More memory: what was freed may stay with the allocator, above all a sanitizer's."""
        set_maxmemory(self, RELIEF_PART)

    def send(self, cmds):
        out = []
        for args in cmds:
            out.append(b'*%d\r\n' % len(args))
            for a in args:
                a = a if isinstance(a, bytes) else str(a).encode()
                out.append(b'$%d\r\n%s\r\n' % (len(a), a))
        self.sock.sendall(b''.join(out))

    def read(self):
        """A reply as (type, value); aggregates have lists as values."""
        line = self.file.readline()
        if not line.endswith(b'\r\n'):
            raise ConnectionError('connection closed within a reply')
        kind, rest = line[:1].decode(), line[1:-2]
        if kind in '+-:,#(_':
            return (kind, rest)
        if kind in '$=':
            n = int(rest)
            if n < 0:
                return (kind, None)
            data = self.file.read(n + 2)
            if len(data) != n + 2:
                raise ConnectionError('connection closed within a bulk string')
            return (kind, data[:-2])
        n = int(rest)
        if kind == '|':
            return (kind, [self.read() for _ in range(n * 2 + 1)])  # With what it belongs to.
        if n < 0:
            return (kind, None)
        return (kind, [self.read() for _ in range(n * 2 if kind == '%' else n)])

    def close(self):
        self.file.close()
        self.sock.close()


def normalise(reply, how):
    kind, value = reply
    if how == TIMES and kind == ':' and int(value) > 0 and value not in FAR_TIMES:
        return (kind, b'some')
    if not isinstance(value, list):
        # The result of PFCOUNT, which Tierra does not keep there while memory is short.
        if kind == '$' and value is not None and value.startswith(b'HYLL'):
            return (kind, value[:8] + bytes(8) + value[16:])
        return reply
    if how == UNORDERED:
        return (kind, sorted(value, key=repr))
    if how == PAIRS and len(value) % 2 == 0:
        pairs = [value[i:i + 2] for i in range(0, len(value), 2)]
        return (kind, sorted(pairs, key=repr))
    return reply


# --- generators ---

class Gen:
    """What generators draw from. Few keys, fields and values, so that commands meet."""

    KEYS = 6
    TAGS = 0  # Hash tags; 0: keys have none.
    PIPELINES = True  # With tags.
    WITHOUT = set()  # Commands that are not generated.

    def __init__(self, rng):
        self.rng = rng
        self.tag = ''
        self.one_tag = False  # In a transaction.

    def new_command(self):
        """The keys of one command have one tag."""
        self.tag = self.new_tag()

    def new_tag(self):
        return '{t%d}' % self.rng.randrange(self.TAGS) if self.TAGS else ''

    def key(self, family):
        # One in ten keys belongs to another family: WRONGTYPE.
        if self.rng.random() < 0.1:
            family = self.rng.choice(FAMILIES)
        return '%s:%d%s' % (family, self.rng.randrange(self.KEYS), self.tag)

    def any_key(self, family):
        """For commands whose keys may be anywhere."""
        if not self.one_tag:
            self.tag = self.new_tag()
        return self.key(family)

    def sub(self):
        r = self.rng.random()
        if r < 0.3:
            return str(self.rng.randrange(-3, 30))
        if r < 0.34:
            return self.rng.choice(['', '\x00\x01', 'a b', '\r\n', 'x' * 100, 'F', '0.5', '-0',
                                    '007'])
        return 'f%d' % self.rng.randrange(40)

    def subs(self, most=6):
        return [self.sub() for _ in range(self.rng.randint(1, most))]

    def integer(self):
        r = self.rng.random()
        if r < 0.1:
            return self.rng.choice(['9223372036854775807', '-9223372036854775808',
                                    '9223372036854775808', '-9223372036854775809', '00', '+1',
                                    ' 1', '1 ', '', 'abc', '1.5', '-0', '1e3'])
        return str(self.rng.randrange(-100, 1000))

    def small(self):
        """A count."""
        if self.rng.random() < 0.06:
            return self.integer_bad()
        return str(self.rng.randrange(0, 12))

    def signed(self):
        if self.rng.random() < 0.06:
            return self.integer_bad()
        return str(self.rng.randrange(-12, 12))

    def integer_bad(self):
        return self.rng.choice(['x', '', '1.0', '-9223372036854775808', '99999999999999999999',
                                '+2', ' 3'])

    def real(self):
        r = self.rng.random()
        if r < 0.12:
            return self.rng.choice(['inf', '-inf', 'nan', 'abc', '', ' 1', '1 ', '1e400', '-1e400',
                                    '+3', '0x10', '1e-30', '5.0e3', '-0', '1_0', 'infinity',
                                    '1e4000'])
        if r < 0.5:
            return '%.*f' % (self.rng.randrange(0, 9), self.rng.uniform(-100, 100))
        return self.rng.choice(['0.1', '0.2', '1', '-1', '3.0', '1e5', '1.23456789012345678',
                                '10.50', '-0.1', '123456789.125'])

    def value(self):
        r = self.rng.random()
        if r < 0.35:
            return self.integer()
        if r < 0.6:
            return self.real()
        if r < 0.62:
            return 'v' * self.rng.randrange(60, 9000)
        return 'v%d' % self.rng.randrange(1000)

    def pairs(self, most=4):
        return [x for _ in range(self.rng.randint(1, most)) for x in (self.sub(), self.value())]

    def pattern(self):
        return self.rng.choice(['*', 'f*', '?', 'f[12]*', '1*', 'none', '', '[^f]*', '\\f1'])

    def case(self, word):
        return self.rng.choice([word, word.lower(), word.title()])


class Cmd:
    """How to compare; `pool`: the command whose reply holds all that MEMBERS may show; `heal`: what
    makes both servers equal again, from what is left on either; `batch`: the commands of a
    transaction, or what belongs together."""

    def __init__(self, args, how=EXACT, pool=None, heal=None, pairs=False, batch=()):
        self.args, self.how, self.pool, self.heal, self.pairs = list(args), how, pool, heal, pairs
        self.batch = list(batch)

    def all(self):
        return self.batch or [self]

    def __repr__(self):
        if self.batch:
            return '; '.join(repr(cmd) for cmd in self.batch)
        words = [str(a) for a in self.args]
        words = [w if len(w) < 200 else '%s..(%d bytes)' % (w[:40], len(a))
                 for w, a in zip(words, self.args)]
        return ' '.join(w if w.isalnum() else repr(w) for w in words)


def gen_string(g):
    k, r = g.key('string'), g.rng
    return r.choice([
        lambda: Cmd(['SET', k, g.value()]),
        lambda: Cmd(['SET', k, g.value(), g.case(r.choice(['NX', 'XX', 'GET', 'KEEPTTL', 'BAD']))]),
        lambda: Cmd(['GET', k]),
        lambda: Cmd(['GETSET', k, g.value()]),
        lambda: Cmd(['GETDEL', k]),
        lambda: Cmd(['APPEND', k, g.value()]),
        lambda: Cmd(['STRLEN', k]),
        lambda: Cmd(['INCR', k]),
        lambda: Cmd(['DECRBY', k, g.integer()]),
        lambda: Cmd(['INCRBY', k, g.integer()]),
        lambda: Cmd(['INCRBYFLOAT', k, g.real()]),
        lambda: Cmd(['SETRANGE', k, g.small(), g.value()]),
        lambda: Cmd(['GETRANGE', k, g.signed(), g.signed()]),
        lambda: Cmd(['MGET', k, g.any_key('string'), g.any_key('hash'), k]),
        lambda: Cmd(['MSET', k, g.value(), g.any_key('string'), g.value()]),
        lambda: Cmd(['MSETNX', k, g.value(), g.key('string'), g.value()]),
        lambda: Cmd(['SETNX', k, g.value()]),
    ])()


def gen_hash(g):
    k, r = g.key('hash'), g.rng
    field_count = r.choice([[], [g.signed()], [g.signed(), g.case('WITHVALUES')],
                            [g.signed(), 'WITHVALUE'], [g.signed(), 'WITHVALUES', 'x']])
    return r.choice([
        lambda: Cmd(['HSET', k] + g.pairs()),
        lambda: Cmd(['HSET', k] + g.pairs(12)),
        lambda: Cmd(['HSET', k] + g.pairs()[:-1]),
        lambda: Cmd(['HMSET', k] + g.pairs()),
        lambda: Cmd(['HSETNX', k, g.sub(), g.value()]),
        lambda: Cmd(['HGET', k, g.sub()]),
        lambda: Cmd(['HMGET', k] + g.subs()),
        lambda: Cmd(['HGETALL', k], PAIRS),
        lambda: Cmd(['HDEL', k] + g.subs()),
        lambda: Cmd(['HLEN', k]),
        lambda: Cmd(['HEXISTS', k, g.sub()]),
        lambda: Cmd(['HKEYS', k], UNORDERED),
        lambda: Cmd(['HVALS', k], UNORDERED),
        lambda: Cmd(['HSTRLEN', k, g.sub()]),
        lambda: Cmd(['HINCRBY', k, g.sub(), g.integer()]),
        lambda: Cmd(['HINCRBYFLOAT', k, g.sub(), g.real()]),
        lambda: Cmd(['HRANDFIELD', k] + field_count, MEMBERS, pool=['HGETALL', k],
                    pairs=len(field_count) == 2),
        lambda: gen_scan(g, 'HSCAN', k),
    ])()


def gen_set(g):
    k, r = g.key('set'), g.rng
    keys = [g.key('set') for _ in range(r.randint(1, 4))]
    op = r.choice(['SINTER', 'SUNION', 'SDIFF'])
    return r.choice([
        lambda: Cmd(['SADD', k] + g.subs(12)),
        lambda: Cmd(['SADD', k] + g.subs(30)),
        lambda: Cmd(['SREM', k] + g.subs()),
        lambda: Cmd(['SMEMBERS', k], UNORDERED),
        lambda: Cmd(['SISMEMBER', k, g.sub()]),
        lambda: Cmd(['SMISMEMBER', k] + g.subs()),
        lambda: Cmd(['SCARD', k]),
        lambda: Cmd(['SPOP', k] + r.choice([[], [], [g.small()], [g.signed()], ['1', '2']]),
                    MEMBERS, pool=['SMEMBERS', k], heal=gen_spop_heal(k)),
        lambda: Cmd(['SRANDMEMBER', k] + r.choice([[], [g.signed()], ['1', '2']]), MEMBERS,
                    pool=['SMEMBERS', k]),
        lambda: gen_scan(g, 'SSCAN', k),
        lambda: Cmd(['SMOVE', k, g.key('set'), g.sub()]),
        lambda: Cmd([op] + keys, UNORDERED),
        lambda: Cmd([op + 'STORE', k] + keys),
        lambda: Cmd(['SINTERCARD', r.choice([str(len(keys)), str(len(keys)), g.signed()])] + keys +
                    r.choice([[], [], ['LIMIT', g.signed()], ['LIMIT'], ['BAD', '1']])),
    ])()


def gen_spop_heal(key):
    """After SPOP both sets become what the first server has now."""
    return lambda a, b: [('DEL', key)] + [('SADD', key, m) for m in a if m]


def gen_key(g):
    k, r = g.key(r_family(g)), g.rng
    return r.choice([
        lambda: Cmd(['DEL', k]),
        lambda: Cmd(['DEL', k, g.any_key('set'), g.any_key('hash')]),
        lambda: Cmd(['EXISTS', k, k, g.any_key('set')]),
        lambda: Cmd(['TYPE', k]),
        lambda: Cmd(['PERSIST', k]),
        lambda: Cmd(['EXPIRE', k, '1000']),
        lambda: Cmd(['PEXPIRE', k, r.choice(['-1', '0', '100000000'])]),
        lambda: Cmd(['RENAME', k, g.key('set')]),
        lambda: Cmd(['COPY', k, g.key('hash')] + r.choice([[], ['REPLACE']])),
    ])()


def r_family(g):
    return g.rng.choice(FAMILIES)


def gen_scan(g, name, key):
    options = []
    if g.rng.random() < 0.5:
        options += ['MATCH', g.pattern()]
    if g.rng.random() < 0.4:
        options += [g.case('COUNT'), g.small()]
    if g.rng.random() < 0.05:
        options += g.rng.choice([['COUNT'], ['BAD', '1'], ['TYPE', 'hash']])
    cursor = '0'
    if g.rng.random() > 0.93:
        cursor = g.rng.choice(['x', '-', '18446744073709551616', '1 ', ' 0', '', '+0', '-0'])
    return Cmd([name, key, cursor] + options, SCAN, pairs=name != 'SSCAN')


GENERATORS = {'string': gen_string, 'hash': gen_hash, 'set': gen_set, 'key': gen_key}
GENERATORS.update(gen_zset_list.generators(Cmd, gen_scan))
GENERATORS.update(gen_types.generators(Cmd))
GENERATORS['long'] = lambda g: gen_long.gen_long(g, Cmd)
GENERATORS['bits'] = lambda g: gen_long.gen_bits(g, Cmd)


def draw_of(without):
    """Commands of all generators but these."""
    return lambda g: GENERATORS[g.rng.choice([n for n in GENERATORS for _ in range(WEIGHTS[n])
                                              if n not in without])](g)


GENERATORS.update(gen_keys.generators(Cmd, draw_of(('txn',))))
GENERATORS['odd'] = lambda g: gen_odd.gen_odd(g, draw_of(('txn', 'odd')))
WEIGHTS = {'string': 3, 'hash': 8, 'set': 8, 'zset': 8, 'list': 8, 'long': 4, 'bits': 4, 'key': 1,
           'geo': 6, 'hll': 4, 'lcs': 2, 'dump': 2, 'sort': 5, 'ttl': 5, 'names': 3, 'odd': 8,
           'txn': 2, 'travel': 4}
FAMILIES = ['string', 'hash', 'set', 'zset', 'list', 'long']


# Where the number of keys stands.
NUMKEYS = {'SINTERCARD': 1, 'ZINTERCARD': 1, 'LMPOP': 1, 'ZMPOP': 1,
           'BLMPOP': 2, 'BZMPOP': 2, 'ZUNION': 1, 'ZINTER': 1,
           'ZDIFF': 1, 'ZUNIONSTORE': 2, 'ZINTERSTORE': 2, 'ZDIFFSTORE': 2}


def names_own_keys(args):
    """False if a wrong number of keys makes keys of other words: CROSSSLOT, rightly."""
    at = NUMKEYS.get(args[0])
    if at is None or at >= len(args) or not args[at].isdigit():
        return True
    return all('{' in word for word in args[at + 1:at + 1 + int(args[at])])


def generate(seed, count):
    """The commands."""
    rng = random.Random(seed)
    g = Gen(rng)
    draw, cmds = draw_of(()), []
    while len(cmds) < count:
        g.new_command()
        cmd = draw(g)
        if not any(one.args[0] in g.WITHOUT or (g.TAGS and not names_own_keys(one.args))
                   for one in cmd.all()):
            cmds.append(cmd)
    return cmds


# --- comparison ---

def scan_all(conn, args):
    args, seen, steps = list(args), [], 0
    at = 1 if args[0] == 'SCAN' else 2
    while True:
        kind, value = reply = conn.call(*args)
        if not isinstance(value, list) or steps > 10000:
            return reply
        seen += value[1][1]
        steps += 1
        if value[0][1] == b'0':
            return (value[1][0], seen)
        args[at] = value[0][1]


def flat(reply):
    """Values of a reply without structure."""
    kind, value = reply
    if isinstance(value, list):
        return [x for v in value for x in flat(v)]
    return [] if value is None or kind == '_' else [value]


def shape(reply):
    kind, value = reply
    return (kind, [shape(v) for v in value]) if isinstance(value, list) else \
        (kind, value if kind in '-+:_' else value is None)


def check_members(cmd, reply, pool):
    """None, or what is wrong with the random elements."""
    if reply[0] == '-':
        return None
    candidates = flat(pool)
    got = flat(reply)
    if cmd.args[0] in ('HRANDFIELD', 'ZRANDMEMBER'):
        pairs = {(candidates[i], candidates[i + 1]) for i in range(0, len(candidates) - 1, 2)}
        if len(cmd.args) == 4:
            got = list(zip(got[::2], got[1::2]))
            candidates = list(pairs)
        else:
            candidates = [f for f, _ in pairs]
    if any(m not in candidates for m in got):
        return 'an element that is not in the collection'
    negative = len(cmd.args) > 2 and str(cmd.args[2]).startswith('-')
    if not negative and len(set(got)) != len(got):
        return 'an element twice'
    return None


def run_batch(conn, cmd):
    """The replies; those of commands that were queued are normalised as they would be alone."""
    if not any(one.args[0] == 'MULTI' for one in cmd.batch):
        return [normalise(conn.call(*one.args), one.how) for one in cmd.batch]
    conn.send([one.args for one in cmd.batch])
    out, queued = [], []
    for one in cmd.batch:
        reply = conn.read()
        if reply == ('+', b'QUEUED'):
            queued.append(one.how)
        elif one.args[0] == 'EXEC' and isinstance(reply[1], list):
            reply = (reply[0], [normalise(r, how) for r, how in zip(reply[1], queued)])
        else:
            reply = normalise(reply, one.how)
        out.append(reply)
    return out


def travel(a, b, cmd):
    """None, or what differs. The words of RESTORE say which server's payload it gets."""
    dump_args, restore_args = [one.args for one in cmd.batch]
    dumps = [conn.call(*dump_args) for conn in (a, b)]
    if not all(kind == '$' and payload for kind, payload in dumps):
        return None if dumps[0] == dumps[1] else dumps
    if len({payload[-10:-8] for _, payload in dumps}) != 1:
        return ('versions of payloads', dumps)
    given = {gen_types.OWN_DUMP: dumps, gen_types.OTHER_DUMP: dumps[::-1]}
    replies, values = [], []
    for i, conn in enumerate((a, b)):
        words = [given[w][i][1] if w in given else w for w in restore_args]
        replies.append(conn.call(*words))
        values.append([shown(conn, key)[::2] for key in (dump_args[1], restore_args[1])])
        if replies[i] == ('+', b'OK') and values[i][0] != values[i][1]:
            return ('restored is not what was dumped', values[i])
    return None if replies[0] == replies[1] and values[0] == values[1] else (
        (replies[0], values[0]), (replies[1], values[1]))


def step(a, b, cmd):
    """Runs one command on both; None if they agree, else what differs."""
    if cmd.how == TRAVEL:
        return travel(a, b, cmd)
    if cmd.how == BATCH:
        ra, rb = run_batch(a, cmd), run_batch(b, cmd)
        return next(((x, y) for x, y in zip(ra, rb) if x != y), None)
    if cmd.how == SCAN:
        ra, rb = scan_all(a, cmd.args), scan_all(b, cmd.args)
        how = PAIRS if cmd.pairs else UNORDERED
        na, nb = normalise(ra, how), normalise(rb, how)
        return None if na == nb else (na, nb)
    if cmd.how != MEMBERS:
        ra, rb = a.call(*cmd.args), b.call(*cmd.args)
        if cmd.how == EXPIRES:
            time.sleep(EXPIRES_SECONDS)
        na, nb = normalise(ra, cmd.how), normalise(rb, cmd.how)
        return None if na == nb else (na, nb)
    pool = b.call(*cmd.pool)
    ra, rb = a.call(*cmd.args), b.call(*cmd.args)
    if shape(ra) != shape(rb):
        return (ra, rb)
    wrong = check_members(cmd, rb, pool)
    if wrong is not None:
        return (wrong, rb)
    if cmd.heal is not None and rb[0] != '-':
        left_a, left_b = a.call(*cmd.pool), b.call(*cmd.pool)
        if left_b[0] != '-':
            if sorted(flat(left_b) + list(flat(rb))) != sorted(flat(pool)):
                return ('what was removed and what is left is not what was there', rb)
            for args in cmd.heal(flat(left_a), flat(left_b)):
                a.call(*args)
                b.call(*args)
    return None


PIPELINE = 12  # Commands at once.


def pipelines(cmds):
    """(index of the first, commands): runs of what is compared as it is, and the others alone."""
    at = 0
    while at < len(cmds):
        end = at + 1
        while end - at < PIPELINE and end < len(cmds) and cmds[at].how == EXACT and \
                cmds[end].how == EXACT:
            end += 1
        yield at, cmds[at:end]
        at = end


class StoodStill(Exception):
    """A command within a pipeline or a transaction was refused, as flash was not there for longer
    than a writer waits: it cannot be tried again alone."""


def step_pipeline(a, b, cmds):
    """None, or (index, what differs)."""
    began, found = time.monotonic(), None
    if len(cmds) == 1:
        wrong = step(a, b, cmds[0])
        found = None if wrong is None else (0, wrong)
    else:
        for conn in (a, b):
            conn.send([c.args for c in cmds])
        for i in range(len(cmds)):
            ra, rb = a.read(), b.read()
            if ra != rb and found is None:
                found = (i, (ra, rb))
    if found and "b'OOM " in repr(found[1][1]) and time.monotonic() - began >= WAITS_SECONDS:
        raise StoodStill(repr(cmds[found[0]]))
    return found


def shown(conn, name):
    """(type, whether it lives for ever, value) of a key, comparable."""
    kind = conn.call('TYPE', name)[1]
    ttl = conn.call('PTTL', name)[1]
    how = {b'string': (EXACT, ['GET', name]), b'hash': (PAIRS, ['HGETALL', name]),
           b'set': (UNORDERED, ['SMEMBERS', name]),
           b'zset': (EXACT, ['ZRANGE', name, 0, -1, 'WITHSCORES']),
           b'list': (EXACT, ['LRANGE', name, 0, -1]),
           b'none': (EXACT, ['EXISTS', name])}[kind]
    return (kind, ttl == b'-1', normalise(conn.call(*how[1]), how[0]))


def dump(conn):
    """All data, comparable."""
    return {name: shown(conn, name) for name in sorted(flat(conn.call('KEYS', '*')))}


def set_maxmemory(conn, part):
    """To that of which the server uses this part."""
    info = conn.call('INFO', 'memory')[1].decode()
    rss = int(info.split('used_memory_rss:')[1].split()[0])
    conn.call('CONFIG', 'SET', 'maxmemory', max(int(rss / part), Cooler.LEAST))


class Cooler:
    """Keeps maxmemory so near to what a server uses that it demotes all that it can."""

    EVERY = 16      # Commands between two adjustments.
    PART = 0.9      # Above where demotion starts, below where writers are delayed.
    REST_S = 0.002  # For write-back and demotion.
    LEAST = 16 << 20  # With less, no write is taken; with several shards main sets another.

    def __init__(self, conn):
        self.conn = conn

    def adjust(self):
        set_maxmemory(self.conn, self.PART)
        time.sleep(self.REST_S)


def run(place_a, place_b, cmds, cold=False, protos=(2, 3)):
    """None, or (index of the command, what differs)."""
    pairs = []
    for proto in protos:
        a, b = Conn(place_a), Conn(place_b)
        if proto == 3:
            a.call('HELLO', '3')
            b.call('HELLO', '3')
        pairs.append((a, b))
    try:
        pairs[0][0].call('FLUSHALL')
        pairs[0][1].call('FLUSHALL')
        cooler = Cooler(pairs[0][1]) if cold else None
        one_by_one = not (Gen.TAGS and Gen.PIPELINES)
        steps = ((i, [cmd]) for i, cmd in enumerate(cmds)) if one_by_one else pipelines(cmds)
        for n, (at, some) in enumerate(steps):
            if cooler is not None and n % Cooler.EVERY == 0:
                cooler.adjust()
            a, b = pairs[n % len(pairs)]
            found = step_pipeline(a, b, some)
            if found is not None:
                return (at + found[0], found[1])
        da, db = dump(pairs[0][0]), dump(pairs[0][1])
        if da != db:
            names = [n for n in sorted(set(da) | set(db)) if da.get(n) != db.get(n)]
            return (len(cmds) - 1, ('data differ at the end',
                                    [(n, da.get(n), db.get(n)) for n in names[:3]]))
        return None
    finally:
        for a, b in pairs:
            a.close()
            b.close()


def related(cmds):
    """Those that name a key of the last one, or a key of one of those."""
    words = lambda cmd: {w for one in cmd.all() for w in one.args[1:]
                         if isinstance(w, str) and ':' in w}
    keys, kept = words(cmds[-1]), [cmds[-1]]
    for cmd in reversed(cmds[:-1]):
        if words(cmd) & keys:
            keys |= words(cmd)
            kept.insert(0, cmd)
    return kept


def minimise(place_a, place_b, cmds, cold):
    """Leaves out what the failure does not need: other keys, then halves, quarters, ..."""
    deadline = time.monotonic() + MINIMISE_SECONDS
    fewer = related(cmds)
    found = run(place_a, place_b, fewer, cold)
    if found is not None:
        cmds = fewer[:found[0] + 1]
    size = len(cmds) // 2
    while size >= 1 and time.monotonic() < deadline:
        at = 0
        # The last command is the one that fails; it stays.
        while at < len(cmds) - 1 and time.monotonic() < deadline:
            fewer = cmds[:at] + cmds[min(at + size, len(cmds) - 1):]
            found = run(place_a, place_b, fewer, cold)
            if found is not None:
                cmds = fewer[:found[0] + 1]
            else:
                at += size
        size //= 2
    return cmds


# --- servers ---

def wait_ready(path, process, what):
    deadline = time.monotonic() + CALL_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit('%s ended with status %s' % (what, process.returncode))
        try:
            conn = Conn(path)
            ok = conn.call('PING')
            conn.close()
            if ok == ('+', b'PONG'):
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit('%s does not answer' % what)


def spawn(command, what, directory=None):
    """The process, its directory (a new one if none is given), and the path of its socket."""
    directory = directory or tempfile.mkdtemp(prefix='tierra-diff-')
    path = os.path.join(directory, 'socket')
    with open(os.path.join(directory, 'log'), 'wb') as log:
        process = subprocess.Popen(
            command + ['--port', '0', '--unixsocket', path, '--dir', directory], stdout=log,
            stderr=log)
    wait_ready(path, process, what)
    return process, directory, path


def stop(process, directory, keep):
    process.terminate()
    try:
        process.wait(timeout=CALL_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if keep:
        print('kept', directory)
    else:
        shutil.rmtree(directory, ignore_errors=True)


def redis_server():
    """Its path. Where it is not, tests that compare with it are skipped."""
    redis = shutil.which('redis-server')
    if redis is None:
        print('SKIP: there is no redis-server')
        sys.exit(SKIP)
    return redis


@contextlib.contextmanager
def side_by_side(redis, tierra):
    """Paths of the sockets of two servers, started by these words, which end behind the block."""
    started = []
    try:
        started.append(spawn(redis, 'redis-server'))
        started.append(spawn(tierra, 'tierra-server'))
        yield [place[2] for place in started]
    finally:
        for process, directory, _ in started:
            stop(process, directory, keep=False)


def sorted_sets(seed):
    """Arguments of both servers. Redis makes a negative zero 0 in its compact encoding of sorted
    sets and keeps it in the other, so each run has only one of the two."""
    if seed % 2 != 0:
        return ['--zset-max-listpack-entries', '0']
    return ['--zset-max-listpack-entries', '1000000', '--zset-max-listpack-value', '1000000']


def from_difference(a, b):
    """Long ones from a little before where they begin to differ."""
    same = os.path.commonprefix([a, b])
    start = len(same) - 200 if len(same) > 600 else 0
    return tuple(('... ' if start else '') + text[start:start + 1000] for text in (a, b))


def compare(args, place_a, place_b):
    cmds = generate(args.seed, args.count)
    started = time.monotonic()
    for _ in range(ATTEMPTS_MAX):
        try:
            found = run(place_a, place_b, cmds, args.cold)
            break
        except StoodStill as command:
            print('flash stood still for longer than a writer waits, from the start: %s' % command)
    else:
        return 1
    if found is None:
        print('seed %d: %d commands, %.1f s, no difference'
              % (args.seed, args.count, time.monotonic() - started))
        return 0
    at, wrong = found
    print('seed %d: command %d differs: %r' % (args.seed, at, cmds[at]))
    print('  redis:  %s\n  tierra: %s' % from_difference(*map(str, wrong)))
    if not args.no_minimise:
        print('shortest that fails:')
        left = minimise(place_a, place_b, cmds[:at + 1], args.cold)
        if len(left) > SHOWN_MAX:
            print('   (%d commands before these)' % (len(left) - SHOWN_MAX))
        for cmd in left[-SHOWN_MAX:]:
            print('  ', cmd)
    return 1


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--count', type=int, default=20000)
    p.add_argument('--port-a', type=int, help='a running redis-server; else one is started')
    p.add_argument('--port-b', type=int, help='a running tierra-server; else one is started')
    p.add_argument('--server', default='bin/tierra-server', help='tierra-server to start')
    p.add_argument('--server-arg', action='append', default=[], help='one more argument for it')
    p.add_argument('--family', action='append', help='only these families of commands')
    p.add_argument('--shards', type=int, help='shards of tierra-server')
    p.add_argument('--keys', type=int, help='keys per family')
    p.add_argument('--single', action='store_true',
                   help='no pipelines with --shards, so that a refusal can be tried again')
    p.add_argument('--cold', action='store_true', help='starve tierra-server of memory')
    p.add_argument('--no-minimise', action='store_true')
    args = p.parse_args()

    if args.family:
        for name in list(GENERATORS):
            if name not in args.family:
                del GENERATORS[name]
    if args.keys:
        Gen.KEYS = args.keys
    Gen.PIPELINES = not args.single
    if args.shards:
        Gen.TAGS = 4 * args.shards
        Cooler.LEAST = (16 + 8 * args.shards) << 20
        args.server_arg += ['--clustering-policy', 'enterprise', '--shards', str(args.shards)]
    redis = redis_server() if args.port_a is None else None
    started, status = [], 2
    try:
        place_a, place_b = args.port_a, args.port_b
        if place_a is None:
            started.append(spawn([redis, *REDIS_ARGS] +
                                 sorted_sets(args.seed), 'redis-server'))
            place_a = started[-1][2]
        if place_b is None:
            started.append(spawn([args.server] + args.server_arg + sorted_sets(args.seed),
                                 'tierra-server'))
            place_b = started[-1][2]
        status = compare(args, place_a, place_b)
    finally:
        for process, directory, _ in started:
            stop(process, directory, keep=status == 2)
    return status


if __name__ == '__main__':
    sys.exit(main())
