"""Writers: threads that send pipelined operations and keep the model of what they did."""

import threading
import time

from model import MISSING, Op, Short, apply_op, matches, piece, read_command
from node import Conn, ErrorReply, ServerGone, encode

STRINGS = ('set', 'set', 'set', 'set', 'setex', 'short', 'incr', 'incr', 'append', 'del', 'mset',
           'multi', 'get', 'get')
FAMILIES = {
    b'HSET': ('hset', 'hset', 'hincr', 'hdel'),
    b'SADD': ('sadd', 'sadd', 'srem'),
    b'ZADD': ('zadd', 'zadd', 'zincr', 'zrem'),
    b'RPUSH': ('rpush', 'lpush', 'lpop', 'rpop'),
}
FIELDS = 24
LIST_MAX = 200


class Violation(Exception):
    """The server answered something wrong while it ran."""


def known_families(conn):
    """The commands of FAMILIES that the server has."""
    names = sorted(FAMILIES)
    return [n for n, info in zip(names, conn.call(b'COMMAND', b'INFO', *names)) if info]


class Generator:
    """Makes the operations of one connection."""

    def __init__(self, index, rng, keys, value_max, families):
        self.rng = rng
        self.prefix = b':%d:' % index
        self.keys = keys
        self.value_max = value_max
        self.kinds = list(STRINGS)
        for family in families:
            self.kinds += FAMILIES[family]
        self.next_id = 0

    def key(self, letter, count=None):
        return letter + self.prefix + b'%d' % self.rng.randrange(count or self.keys)

    def part(self):
        self.next_id += 1
        low = min(1024, self.value_max)
        return (self.next_id, self.rng.randint(low, self.value_max))

    def small(self):
        self.next_id += 1
        return b'%d' % self.next_id

    def field(self):
        return b'f%d' % self.rng.randrange(FIELDS)

    def command(self, kind, writer):
        """One command and its effects."""
        rng, name = self.rng, kind.upper().encode()
        if kind in ('set', 'setex'):
            key, part = self.key(b's'), self.part()
            args = [b'SETEX', key, b'100000'] if kind == 'setex' else [b'SET', key]
            return args + [piece(part)], [('set', key, (part,))]
        if kind == 'short':
            key, value = self.key(b't', 50), Short(self.part(), rng.randint(100, 2000) / 1000)
            return ([b'PSETEX', key, b'%d' % (value.ttl * 1000), piece(value.part)],
                    [('set', key, value)])
        if kind == 'incr':
            key, by = self.key(b'n', 200), rng.randint(-5, 1000)
            return [b'INCRBY', key, b'%d' % by], [('incr', key, by)]
        if kind == 'append':
            key, part = self.key(b's'), (self.part()[0], rng.randint(10, 300))
            if len(writer.state.get(key, ())) > 8:
                return [b'SET', key, piece(part)], [('set', key, (part,))]
            return [b'APPEND', key, piece(part)], [('append', key, part)]
        if kind == 'del':
            keys = list({self.key(b's'), self.key(b's'), self.key(rng.choice((b'n', b's')), 200)})
            return [b'DEL', *keys], [('del', key) for key in keys]
        if kind == 'mset':
            pairs = {self.key(b's'): self.part() for _ in range(rng.randint(2, 4))}
            args = [x for k, p in pairs.items() for x in (k, piece(p))]
            return [b'MSET', *args], [('set', k, (p,)) for k, p in pairs.items()]
        return self.collection_command(kind, name, rng)

    def collection_command(self, kind, name, rng):
        letter = {'h': b'h', 's': b'u', 'z': b'z'}.get(kind[0], b'l')
        key, field = self.key(letter, 100), self.field()
        if kind == 'hset':
            value = piece((self.part()[0], rng.choice((20, 20, 400))))
            return [name, key, field, value], [(kind, key, field, value)]
        if kind == 'hincr':
            field = b'c%d' % rng.randrange(4)
            return [b'HINCRBY', key, field, b'7'], [(kind, key, field, 7)]
        if kind == 'zadd':
            score = rng.randrange(1000)
            return [name, key, b'%d' % score, field], [(kind, key, field, score)]
        if kind == 'zincr':
            return [b'ZINCRBY', key, b'3', field], [(kind, key, field, 3)]
        if kind in ('hdel', 'srem', 'sadd', 'zrem'):
            return [name, key, field], [(kind, key, field)]
        key = self.key(b'l', 40)
        if kind in ('lpop', 'rpop'):
            return [name, key], [(kind, key)]
        value = self.small()
        return [name, key, value], [(kind, key, value)]

    def op(self, writer):
        kind = self.rng.choice(self.kinds)
        if kind == 'get':
            key = self.key(self.rng.choice((b's', b's', b'n')))
            return Op([read_command(key)], [[]], expect=key)
        if kind == 'multi':
            kinds = [k for k in self.kinds if k not in ('get', 'multi')]
            pairs = [self.command(self.rng.choice(kinds), writer)
                     for _ in range(self.rng.randint(2, 5))]
            return Op([p[0] for p in pairs], [p[1] for p in pairs], multi=True)
        command, effects = self.command(kind, writer)
        return Op([command], [effects])


def _refused(reply):
    """An error that says: nothing was done, for want of room."""
    if not isinstance(reply, ErrorReply):
        return False
    if reply.startswith((b'OOM', b'EXECABORT')):
        return True
    raise Violation('error reply: %r' % bytes(reply))


def take_replies(conn, op):
    """Reads the replies to an operation: one per command, None where it was refused."""
    if not op.multi:
        reply = conn.reply()
        if _refused(reply):
            op.done = ()
        return [reply]
    for _ in range(len(op.commands) + 1):
        _refused(conn.reply())
    replies = conn.reply()
    if _refused(replies):
        op.done = ()
        return []
    op.done = tuple(i for i, r in enumerate(replies) if not _refused(r))
    return replies


class Client(threading.Thread):
    """Sends operations until the server is gone, or until told to stop."""

    def __init__(self, path, writer, generator, pipeline, pause):
        super().__init__(daemon=True)
        self.path = path
        self.writer = writer
        self.generator = generator
        self.pipeline = pipeline
        self.pause = pause
        self.stop = False
        self.failure = None
        self.refused = 0

    def run(self):
        try:
            conn = Conn(self.path)
            while not self.stop:
                self.turn(conn)
                if self.pause:
                    time.sleep(self.pause)
            conn.close()
        except ServerGone:
            pass
        except OSError as err:
            if not isinstance(err, (ConnectionError, FileNotFoundError)):
                self.failure = repr(err)
        except Exception as err:  # pylint: disable=broad-except
            self.failure = '%s: %s' % (type(err).__name__, err)

    def turn(self, conn):
        writer = self.writer
        count = self.generator.rng.randint(1, self.pipeline)
        ops = [self.generator.op(writer) for _ in range(count)]
        data = b''.join(encode(c) for op in ops for c in op.wire())
        now = time.monotonic()
        for op in ops:
            op.sent = now
            writer.keys.update(e[1] for effects in op.effects for e in effects)
        writer.log.extend(ops)
        conn.send(data)
        for op in ops:
            replies = take_replies(conn, op)
            op.acked = time.monotonic()
            self.check(op, replies)
            writer.acked += 1

    def check(self, op, replies):
        """What the server says while it runs is compared as well."""
        if op.done is not None and len(op.done) < len(op.commands):
            self.refused += 1
        due = apply_op(self.writer.state, op)
        if op.expect is not None:
            value = self.writer.state.get(op.expect)
            if not matches(value, replies[0], op.sent, op.acked):
                raise Violation('%r reads %r' % (op.expect, replies[0] and replies[0][:80]))
            return
        for i, reply in enumerate(replies):
            done = op.done is None or i in op.done
            if done and due[i] is not MISSING and reply != due[i]:
                raise Violation('%r: reply %r, due %r' % (op.commands[i][:3], reply, due[i]))
