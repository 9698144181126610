"""What is in the keys, and what commands make of it.

Values by the first letter of the key: s string (tuple of pieces, each (identity, length), from
which the bytes follow), b long string (bytes), t string that expires soon, n integer, h hash,
u set, z sorted set (scores are integers), l list.
"""

import random

from node import ErrorReply

_BLOB = random.Random(4711).randbytes(1 << 16)
# A reply that is not checked.
ANY = None
NO_KEY = ErrorReply(b'ERR no such key')
OUT_OF_RANGE = ErrorReply(b'ERR index out of range')


def piece(part):
    """The bytes that belong to (identity, length)."""
    ident, length = part
    head = b'<%d>' % ident
    at = (ident * 2654435761) % (len(_BLOB) - 8192)
    return (head + _BLOB[at:at + length])[:max(length, len(head))]


def text_of(value):
    """The bytes of a string's value."""
    return b''.join(piece(p) for p in value)


class Short:
    """A value that expires soon."""

    def __init__(self, part, ttl):
        self.part = part
        self.ttl = ttl
        self.from_time = None   # It expires at from_time + ttl at the earliest,
        self.to_time = None     # and at to_time + ttl at the latest.


class State:
    """Keys with their values, and which of them have an expiry, one that is far away."""

    __slots__ = ('values', 'expiring')

    def __init__(self):
        self.values = {}
        self.expiring = set()

    def copy(self):
        other = State()
        other.values = dict(self.values)
        other.expiring = set(self.expiring)
        return other

    def part(self, keys):
        other = State()
        other.values = {k: self.values[k] for k in keys if k in self.values}
        other.expiring = self.expiring & keys
        return other

    def get(self, key, default=None):
        return self.values.get(key, default)

    def put(self, key, value):
        """An empty collection is no key."""
        if value or isinstance(value, int):
            self.values[key] = value
        else:
            self.drop(key)

    def drop(self, key):
        self.expiring.discard(key)
        return self.values.pop(key, None)

    def expire(self, key, expires):
        if expires:
            self.expiring.add(key)
        else:
            self.expiring.discard(key)


# --- effects: (state, operation, key, arguments...), returning the reply that is due ---

def _set(state, op, key, value, expires=False):
    state.put(key, value)
    state.expire(key, expires)
    if isinstance(value, Short):
        value.from_time, value.to_time = op.sent, op.acked
    return ANY


def _append(state, _, key, part):
    state.put(key, state.get(key, ()) + (part,))
    return len(text_of(state.get(key)))


def _append_long(state, _, key, data):
    state.put(key, state.get(key, b'') + data)
    return len(state.get(key))


def _set_range(state, _, key, offset, data):
    old = state.get(key, b'').ljust(offset, b'\0')
    state.put(key, old[:offset] + data + old[offset + len(data):])
    return len(state.get(key))


def _set_bit(state, _, key, bit, on):
    old = bytearray(state.get(key, b'').ljust(bit // 8 + 1, b'\0'))
    mask = 0x80 >> bit % 8
    before = int(old[bit // 8] & mask != 0)
    old[bit // 8] = old[bit // 8] | mask if on else old[bit // 8] & ~mask
    state.put(key, bytes(old))
    return before


def _incr(state, _, key, by):
    state.put(key, state.get(key, 0) + by)
    return state.get(key)


def _del(state, _, key):
    state.drop(key)
    return ANY


def _getdel(state, _, key):
    old = state.drop(key)
    return ANY if old is None else text_of(old)


def _flush(state, _, key):
    del key
    state.values.clear()
    state.expiring.clear()
    return ANY


def _expire(state, _, key):
    if state.get(key) is None:
        return 0
    state.expiring.add(key)
    return 1


def _persist(state, _, key):
    if key not in state.expiring:
        return 0
    state.expiring.discard(key)
    return 1


def _rename(state, op, key, to):
    if _copy(state, op, key, to) == 0:
        return NO_KEY
    state.drop(key)
    return b'OK'


def _copy(state, _, key, to):
    value = state.get(key)
    if value is None:
        return 0
    state.put(to, value)
    state.expire(to, key in state.expiring)
    return 1


def _hset(state, _, key, pairs):
    old = state.get(key, {})
    state.put(key, {**old, **pairs})
    return len(pairs.keys() - old.keys())


def _hincr(state, _, key, field, by):
    old = state.get(key, {})
    value = int(old.get(field, b'0')) + by
    state.put(key, {**old, field: b'%d' % value})
    return value


def _without(state, _, key, members):
    """HDEL, ZREM."""
    old = state.get(key, {})
    state.put(key, {m: v for m, v in old.items() if m not in members})
    return len(old.keys() & members)


def _sadd(state, _, key, members):
    old = state.get(key, frozenset())
    state.put(key, old | members)
    return len(members - old)


def _srem(state, _, key, members):
    old = state.get(key, frozenset())
    state.put(key, old - members)
    return len(members & old)


def _smove(state, op, key, to, member):
    if _srem(state, op, key, frozenset((member,))) == 0:
        return 0
    _sadd(state, op, to, frozenset((member,)))
    return 1


def _sunionstore(state, _, key, sources):
    union = frozenset().union(*(state.get(k, frozenset()) for k in sources))
    state.drop(key)
    state.put(key, union)
    return len(union)


def _zadd(state, _, key, scores):
    old = state.get(key, {})
    state.put(key, {**old, **scores})
    return len(scores.keys() - old.keys())


def _zincr(state, _, key, member, by):
    old = state.get(key, {})
    score = old.get(member, 0) + by
    state.put(key, {**old, member: score})
    return b'%d' % score


def _zpopmin(state, op, key):
    old = state.get(key)
    if not old:
        return []
    score, member = min((s, m) for m, s in old.items())
    _without(state, op, key, {member})
    return [member, b'%d' % score]


def _zremrange(state, op, key, low, high):
    """By score."""
    return _without(state, op, key,
                    {m for m, s in state.get(key, {}).items() if low <= s <= high})


def _zunionstore(state, _, key, sources):
    union = {}
    for source in sources:
        for member, score in state.get(source, {}).items():
            union[member] = union.get(member, 0) + score
    state.drop(key)
    state.put(key, union)
    return len(union)


def _rpush(state, _, key, values):
    state.put(key, state.get(key, ()) + values)
    return len(state.get(key))


def _lpush(state, _, key, values):
    state.put(key, values[::-1] + state.get(key, ()))
    return len(state.get(key))


def _pop(state, _, key, left):
    old = state.get(key)
    if not old:
        return ANY
    state.put(key, old[1:] if left else old[:-1])
    return old[0] if left else old[-1]


def _lset(state, _, key, index, value):
    old = state.get(key)
    if old is None:
        return NO_KEY
    at = index + len(old) if index < 0 else index
    if not 0 <= at < len(old):
        return OUT_OF_RANGE
    state.put(key, old[:at] + (value,) + old[at + 1:])
    return b'OK'


def _linsert(state, _, key, before, pivot, value):
    old = state.get(key)
    if old is None:
        return 0
    if pivot not in old:
        return -1
    at = old.index(pivot) + (0 if before else 1)
    state.put(key, old[:at] + (value,) + old[at:])
    return len(old) + 1


def _lrem(state, _, key, value):
    """All of them."""
    old = state.get(key, ())
    state.put(key, tuple(v for v in old if v != value))
    return old.count(value)


def _ltrim(state, _, key, start, stop):
    """Neither is negative."""
    state.put(key, state.get(key, ())[start:stop + 1])
    return b'OK'


def _lmove(state, op, key, to, from_left, to_left):
    value = _pop(state, op, key, from_left)
    if value is ANY:
        return ANY
    (_lpush if to_left else _rpush)(state, op, to, (value,))
    return value


EFFECTS = {
    'set': _set, 'append': _append, 'append_long': _append_long, 'set_range': _set_range,
    'set_bit': _set_bit, 'incr': _incr, 'del': _del, 'getdel': _getdel, 'flush': _flush,
    'expire': _expire, 'persist': _persist, 'rename': _rename, 'copy': _copy, 'hset': _hset,
    'hincr': _hincr, 'without': _without, 'sadd': _sadd, 'srem': _srem, 'smove': _smove,
    'sunionstore': _sunionstore, 'zadd': _zadd, 'zincr': _zincr, 'zpopmin': _zpopmin,
    'zremrange': _zremrange, 'zunionstore': _zunionstore, 'rpush': _rpush, 'lpush': _lpush,
    'pop': _pop, 'lset': _lset, 'linsert': _linsert, 'lrem': _lrem, 'ltrim': _ltrim,
    'lmove': _lmove,
}
# The first argument is a key that they change as well.
TWO_KEYS = {'rename', 'copy', 'smove', 'lmove'}
# The first argument has the keys that they read.
UNIONS = {'sunionstore', 'zunionstore'}


def changed_keys(effect):
    name, key, *args = effect
    return (key, args[0]) if name in TWO_KEYS else (key,)


def read_keys(effect):
    """Those it changes, and those that it depends on."""
    name, _, *args = effect
    return changed_keys(effect) + (tuple(args[0]) if name in UNIONS else ())


def apply_op(state, op):
    """Changes the state; returns the replies that are due, one per command, ANY if not checked."""
    due = []
    for i, effects in enumerate(op.effects):
        reply = ANY
        if op.done is None or i in op.done:
            for name, key, *args in effects:
                reply = EFFECTS[name](state, op, key, *args)
        due.append(reply)
    return due
