"""What the data must be after a crash, known outside of the server.

Each connection has keys of its own and is alone in writing them, so its operations have one order:
that in which it sent them. After a crash the keys of a connection must be, all of them together,
what its first n operations made, for some n:

    n >= acknowledged    nothing acknowledged is lost (or, where the sync was not waited for,
                         n >= what was acknowledged some time before the crash)
    n <= sent            of those in flight, the server may have done any number, but in order

That is stricter than a check per key: a lost write in the middle, half a transaction, a counter off
by one or a deleted key that is back all have no n. Between the connections it is checked that no
operation is there if another is missing that had been acknowledged before the first was sent.

A state is a dict: key -> value. Values by the first letter of the key: s string (tuple of pieces,
each (identity, length), from which the bytes follow), t string that expires soon, n integer,
h hash, u set, z sorted set, l list.
"""

import random

from node import ErrorReply

_BLOB = random.Random(4711).randbytes(1 << 16)
MISSING = None


def piece(part):
    """The bytes that belong to (identity, length)."""
    ident, length = part
    head = b'<%d>' % ident
    at = (ident * 2654435761) % (len(_BLOB) - 8192)
    return (head + _BLOB[at:at + length])[:max(length, len(head))]


class Short:
    """A value that expires soon."""

    def __init__(self, part, ttl):
        self.part = part
        self.ttl = ttl
        self.from_time = None   # It expires at from_time + ttl at the earliest,
        self.to_time = None     # and at to_time + ttl at the latest.


# --- operations ---

class Op:
    """One command, or a transaction of several."""

    __slots__ = ('commands', 'effects', 'multi', 'sent', 'acked', 'done', 'expect')

    def __init__(self, commands, effects, multi=False, expect=None):
        self.commands = commands  # Lists of bytes.
        self.effects = effects    # Per command: list of (name, key, arguments...).
        self.multi = multi
        self.sent = self.acked = None
        self.done = None          # Indexes of the commands that took effect; None: all or unknown.
        self.expect = expect      # Of a reading: (key); its value is known at the reply.

    def wire(self):
        if self.multi:
            return [[b'MULTI'], *self.commands, [b'EXEC']]
        return self.commands


def apply_effect(state, effect, op):
    """Changes the state; returns the reply that is due, or MISSING if that is not checked."""
    name, key, *args = effect
    old = state.get(key)
    if name == 'set':
        state[key] = args[0]
        if isinstance(args[0], Short):
            args[0].from_time, args[0].to_time = op.sent, op.acked
    elif name == 'append':
        state[key] = (old or ()) + (args[0],)
        return sum(len(piece(p)) for p in state[key])
    elif name == 'incr':
        state[key] = (old or 0) + args[0]
        return state[key]
    elif name == 'del':
        state.pop(key, None)
    elif name == 'hset':
        state[key] = {**(old or {}), args[0]: args[1]}
        return 0 if old and args[0] in old else 1
    elif name == 'hincr':
        value = int((old or {}).get(args[0], b'0')) + args[1]
        state[key] = {**(old or {}), args[0]: b'%d' % value}
        return value
    elif name == 'hdel':
        return _without(state, key, old, args[0])
    elif name == 'sadd':
        state[key] = (old or frozenset()) | {args[0]}
        return 0 if old and args[0] in old else 1
    elif name == 'srem':
        found = bool(old) and args[0] in old
        _put(state, key, (old or frozenset()) - {args[0]})
        return int(found)
    elif name == 'zadd':
        state[key] = {**(old or {}), args[0]: args[1]}
        return 0 if old and args[0] in old else 1
    elif name == 'zincr':
        state[key] = {**(old or {}), args[0]: (old or {}).get(args[0], 0) + args[1]}
    elif name == 'zrem':
        return _without(state, key, old, args[0])
    elif name == 'rpush':
        state[key] = (old or ()) + (args[0],)
        return len(state[key])
    elif name == 'lpush':
        state[key] = (args[0],) + (old or ())
        return len(state[key])
    elif name == 'lpop':
        _put(state, key, (old or ())[1:])
        return old[0] if old else MISSING
    elif name == 'rpop':
        _put(state, key, (old or ())[:-1])
        return old[-1] if old else MISSING
    else:
        raise AssertionError(name)
    return MISSING


def _put(state, key, value):
    if value:
        state[key] = value
    else:
        state.pop(key, None)


def _without(state, key, old, member):
    _put(state, key, {m: v for m, v in (old or {}).items() if m != member})
    return 1 if old and member in old else 0


def apply_op(state, op):
    """Returns the replies that are due, one per command."""
    due = []
    for i, effects in enumerate(op.commands and op.effects):
        reply = MISSING
        if op.done is None or i in op.done:
            for effect in effects:
                reply = apply_effect(state, effect, op)
        due.append(reply)
    return due


# --- what is there ---

READS = {
    b's': lambda k: [b'GET', k], b't': lambda k: [b'GET', k], b'n': lambda k: [b'GET', k],
    b'h': lambda k: [b'HGETALL', k], b'u': lambda k: [b'SMEMBERS', k],
    b'z': lambda k: [b'ZRANGE', k, b'0', b'-1', b'WITHSCORES'],
    b'l': lambda k: [b'LRANGE', k, b'0', b'-1'],
}


def read_command(key):
    return READS[key[:1]](key)


def matches(value, reply, start, end):
    """Whether the reply to read_command, given between start and end, shows this value."""
    if isinstance(reply, ErrorReply):
        return False
    if isinstance(value, Short):
        if reply is None:
            return value.from_time is None or end >= value.from_time + value.ttl
        alive = value.to_time is None or start <= value.to_time + value.ttl
        return alive and reply == piece(value.part)
    if value is MISSING:
        return not reply
    if isinstance(value, int):
        return reply == b'%d' % value
    if isinstance(value, frozenset):
        return len(reply) == len(value) and frozenset(reply) == value
    if isinstance(value, dict):
        pairs = dict(zip(reply[::2], reply[1::2]))
        if len(pairs) != len(value) or len(reply) != 2 * len(value):
            return False
        return all(m in pairs and (pairs[m] == v if isinstance(v, bytes) else float(pairs[m]) == v)
                   for m, v in value.items())
    if isinstance(reply, list):
        return tuple(reply) == value
    return reply is not None and reply == b''.join(piece(p) for p in value)


def show(value):
    text = repr((value.part, value.ttl) if isinstance(value, Short) else value)
    return text if len(text) < 160 else text[:160] + '...'


class Writer:
    """The model of one connection: the state before the last start of load, and what followed."""

    def __init__(self):
        self.base = {}
        self.state = {}
        self.keys = set()   # Ever used.
        self.log = []       # Sent since `base`: acknowledged ones, then those in flight.
        self.acked = 0

    def begin(self):
        self.log = []
        self.acked = 0
        self.state = dict(self.base)

    def bound(self, before):
        """How many operations had been acknowledged at the time `before`."""
        count = 0
        while count < self.acked and self.log[count].acked <= before:
            count += 1
        return count

    def find(self, actual, n_min):
        """
        `actual`: key -> (reply, start, end). The range of n that explains it, or None and a text.
        """
        state = dict(self.base)
        for op in self.log[:n_min]:
            apply_op(state, op)
        wrong = {k for k, seen in actual.items() if not matches(state.get(k), *seen)}
        first = last = None
        best = (len(wrong), n_min, sorted(wrong)[:5], {k: state.get(k) for k in sorted(wrong)[:5]})
        for n in range(n_min, len(self.log) + 1):
            if n > n_min:
                op = self.log[n - 1]
                apply_op(state, op)
                for key in {e[1] for effects in op.effects for e in effects}:
                    wrong.discard(key)
                    if not matches(state.get(key), *actual[key]):
                        wrong.add(key)
                if len(wrong) < best[0]:
                    keys = sorted(wrong)[:5]
                    best = (len(wrong), n, keys, {k: state.get(k) for k in keys})
            if not wrong:
                first = n if first is None else first
                last = n
        if first is not None:
            return (first, last), ''
        lines = ['no n in %d..%d (acknowledged %d) explains what is there; nearest n=%d, %d keys '
                 'differ:' % (n_min, len(self.log), self.acked, best[1], best[0])]
        for key in best[2]:
            reply = actual[key][0]
            text = repr(reply)
            lines.append('  %r: due %s, there %s' % (key, show(best[3][key]), text[:160]))
            history = [i + 1 for i, op in enumerate(self.log)
                       if any(e[1] == key for effects in op.effects for e in effects)]
            lines.append('    changed by its operations %s' % history[-12:])
        return None, '\n'.join(lines)

    def accept(self, n):
        """The crash left the first n operations: what follows builds on them."""
        for op in self.log[:n]:
            apply_op(self.base, op)
        self.begin()


def check_order(writers, ranges):
    """
    One log holds the operations of all connections: what is there must be a prefix of it, as far
    as the order is known from outside. Returns a text, empty if all is well.
    """
    for i, first in enumerate(writers):
        n_min = ranges[i][0]
        if n_min == 0:
            continue
        sent = first.log[n_min - 1].sent
        for j, other in enumerate(writers):
            n_max = ranges[j][1]
            if j != i and n_max < other.acked and other.log[n_max].acked < sent:
                return ('not a prefix: operation %d of connection %d is there, but not operation '
                        '%d of connection %d, acknowledged %.3f s before it was sent' %
                        (n_min, i, n_max + 1, j, sent - other.log[n_max].acked))
    return ''
