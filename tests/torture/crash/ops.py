"""Random operations: commands with the effects that the model knows of them."""

from model import Op, read_command
from state import Short, piece

STRINGS = ('set', 'set', 'set', 'set', 'setex', 'short', 'incr', 'incr', 'append', 'delete', 'mset',
           'getdel', 'multi', 'multi', 'get', 'get', 'expire', 'persist', 'rename', 'copy')
LONG_STRINGS = ('set_long', 'append_long', 'set_range', 'set_range')
FAMILIES = {
    b'SETBIT': ('set_bit',),
    b'HSET': ('hset', 'hset', 'hset_many', 'hincr', 'hdel'),
    b'SADD': ('sadd', 'sadd', 'srem', 'smove', 'sunionstore'),
    b'ZADD': ('zadd', 'zadd', 'zincr', 'zrem', 'zpopmin', 'zremrange', 'zunionstore'),
    b'RPUSH': ('rpush', 'rpush', 'lpush', 'lpop', 'rpop', 'lset', 'linsert', 'lrem', 'ltrim',
               'lmove'),
}
FIELDS = 24
LONG_MAX = 60000
# The letters of keys that general commands take: not those that expire soon.
LETTERS = (b's', b's', b'b', b'n', b'h', b'u', b'z', b'l')


def known_families(conn):
    """The commands of FAMILIES that the server has."""
    names = sorted(FAMILIES)
    return [n for n, info in zip(names, conn.call(b'COMMAND', b'INFO', *names)) if info]


class Generator:
    """Makes the operations of one connection."""

    def __init__(self, index, rng, keys, value_max, families):
        self.rng = rng
        # All keys of a connection are in one hash slot: any two may meet in one command.
        self.prefix = b':{%d}:' % index
        self.counts = {b's': keys, b't': 50, b'b': 6, b'n': 200, b'l': 40}
        self.value_max = value_max
        self.kinds = list(STRINGS + LONG_STRINGS)
        for family in families:
            self.kinds += FAMILIES[family]
        self.next_id = 0

    def key(self, letter):
        return letter + self.prefix + b'%d' % self.rng.randrange(self.counts.get(letter, 100))

    def two_keys(self, letter):
        a, b = self.key(letter), self.key(letter)
        while a == b:
            b = self.key(letter)
        return a, b

    def part(self):
        self.next_id += 1
        low = min(1024, self.value_max)
        return (self.next_id, self.rng.randint(low, self.value_max))

    def small(self):
        self.next_id += 1
        return b'%d' % self.next_id

    def element(self):
        """Of a list: such that some meet."""
        return self.small() if self.rng.random() < 0.7 else b'e%d' % self.rng.randrange(5)

    def field(self):
        return b'f%d' % self.rng.randrange(FIELDS)

    def fields(self):
        return {self.field() for _ in range(self.rng.choice((1, 1, 1, 3, 8)))}

    def data(self, most):
        return self.rng.randbytes(self.rng.randint(1, most))

    def command(self, kind, writer):
        """One command and its effects."""
        return getattr(self, kind)(writer)

    # --- strings and keys of all types ---

    def set(self, _):
        key, part = self.key(b's'), self.part()
        return [b'SET', key, piece(part)], [('set', key, (part,))]

    def setex(self, _):
        key, part = self.key(b's'), self.part()
        return [b'SETEX', key, b'100000', piece(part)], [('set', key, (part,), True)]

    def short(self, _):
        key, value = self.key(b't'), Short(self.part(), self.rng.randint(100, 2000) / 1000)
        return ([b'PSETEX', key, b'%d' % (value.ttl * 1000), piece(value.part)],
                [('set', key, value)])

    def incr(self, _):
        key, by = self.key(b'n'), self.rng.randint(-5, 1000)
        return [b'INCRBY', key, b'%d' % by], [('incr', key, by)]

    def append(self, writer):
        key, part = self.key(b's'), (self.part()[0], self.rng.randint(10, 300))
        if len(writer.state.get(key, ())) > 8:
            return [b'SET', key, piece(part)], [('set', key, (part,))]
        return [b'APPEND', key, piece(part)], [('append', key, part)]

    def getdel(self, _):
        key = self.key(b's')
        return [b'GETDEL', key], [('getdel', key)]

    def mset(self, _):
        pairs = {self.key(b's'): self.part() for _ in range(self.rng.randint(2, 4))}
        args = [x for k, p in pairs.items() for x in (k, piece(p))]
        return [b'MSET', *args], [('set', k, (p,)) for k, p in pairs.items()]

    def any_key(self):
        return self.key(self.rng.choice(LETTERS))

    def delete(self, _):
        keys = list({self.any_key() for _ in range(3)})
        return [self.rng.choice((b'DEL', b'UNLINK')), *keys], [('del', key) for key in keys]

    def expire(self, _):
        key = self.any_key()
        return [b'EXPIRE', key, b'100000'], [('expire', key)]

    def persist(self, _):
        key = self.any_key()
        return [b'PERSIST', key], [('persist', key)]

    def rename(self, _):
        key, to = self.two_keys(self.rng.choice(LETTERS))
        return [b'RENAME', key, to], [('rename', key, to)]

    def copy(self, _):
        key, to = self.two_keys(self.rng.choice(LETTERS))
        return [b'COPY', key, to, b'REPLACE'], [('copy', key, to)]

    # --- long strings ---

    def set_long(self, _):
        key, data = self.key(b'b'), self.data(LONG_MAX)
        return [b'SET', key, data], [('set', key, data)]

    def append_long(self, writer):
        key, data = self.key(b'b'), self.data(3000)
        if len(writer.state.get(key, b'')) > 2 * LONG_MAX:
            return [b'DEL', key], [('del', key)]
        return [b'APPEND', key, data], [('append_long', key, data)]

    def set_range(self, _):
        key, data, at = self.key(b'b'), self.data(2500), self.rng.randrange(LONG_MAX)
        return [b'SETRANGE', key, b'%d' % at, data], [('set_range', key, at, data)]

    def set_bit(self, _):
        key, bit, on = self.key(b'b'), self.rng.randrange(8 * LONG_MAX), self.rng.randrange(2)
        return [b'SETBIT', key, b'%d' % bit, b'%d' % on], [('set_bit', key, bit, on)]

    # --- hashes ---

    def hset(self, _):
        key, field = self.key(b'h'), self.field()
        value = piece((self.part()[0], self.rng.choice((20, 20, 400))))
        return [b'HSET', key, field, value], [('hset', key, {field: value})]

    def hset_many(self, _):
        key = self.key(b'h')
        pairs = {field: self.small() for field in self.fields()}
        args = [x for pair in pairs.items() for x in pair]
        return [b'HSET', key, *args], [('hset', key, pairs)]

    def hincr(self, _):
        key, field = self.key(b'h'), b'c%d' % self.rng.randrange(4)
        return [b'HINCRBY', key, field, b'7'], [('hincr', key, field, 7)]

    def hdel(self, _):
        key, fields = self.key(b'h'), self.fields()
        return [b'HDEL', key, *fields], [('without', key, fields)]

    # --- sets ---

    def sadd(self, _):
        key, members = self.key(b'u'), frozenset(self.fields())
        return [b'SADD', key, *members], [('sadd', key, members)]

    def srem(self, _):
        key, members = self.key(b'u'), frozenset(self.fields())
        return [b'SREM', key, *members], [('srem', key, members)]

    def smove(self, _):
        (key, to), member = self.two_keys(b'u'), self.field()
        return [b'SMOVE', key, to, member], [('smove', key, to, member)]

    def sunionstore(self, _):
        key, sources = self.key(b'u'), self.two_keys(b'u')
        return [b'SUNIONSTORE', key, *sources], [('sunionstore', key, sources)]

    # --- sorted sets ---

    def zadd(self, _):
        key, scores = self.key(b'z'), {m: self.rng.randrange(1000) for m in self.fields()}
        args = [x for m, s in scores.items() for x in (b'%d' % s, m)]
        return [b'ZADD', key, *args], [('zadd', key, scores)]

    def zincr(self, _):
        key, member = self.key(b'z'), self.field()
        return [b'ZINCRBY', key, b'3', member], [('zincr', key, member, 3)]

    def zrem(self, _):
        key, members = self.key(b'z'), self.fields()
        return [b'ZREM', key, *members], [('without', key, members)]

    def zpopmin(self, _):
        key = self.key(b'z')
        return [b'ZPOPMIN', key], [('zpopmin', key)]

    def zremrange(self, _):
        key, low = self.key(b'z'), self.rng.randrange(1000)
        return ([b'ZREMRANGEBYSCORE', key, b'%d' % low, b'%d' % (low + 100)],
                [('zremrange', key, low, low + 100)])

    def zunionstore(self, _):
        key, sources = self.key(b'z'), self.two_keys(b'z')
        return [b'ZUNIONSTORE', key, b'2', *sources], [('zunionstore', key, sources)]

    # --- lists ---

    def pushed(self):
        return tuple(self.element() for _ in range(self.rng.choice((1, 1, 3))))

    def rpush(self, _):
        key, values = self.key(b'l'), self.pushed()
        return [b'RPUSH', key, *values], [('rpush', key, values)]

    def lpush(self, _):
        key, values = self.key(b'l'), self.pushed()
        return [b'LPUSH', key, *values], [('lpush', key, values)]

    def lpop(self, _):
        key = self.key(b'l')
        return [b'LPOP', key], [('pop', key, True)]

    def rpop(self, _):
        key = self.key(b'l')
        return [b'RPOP', key], [('pop', key, False)]

    def lset(self, _):
        key, index, value = self.key(b'l'), self.rng.randrange(-12, 12), self.element()
        return [b'LSET', key, b'%d' % index, value], [('lset', key, index, value)]

    def pivot(self, writer, key):
        """Mostly one that is there, as far as is known."""
        values = writer.state.get(key)
        return self.rng.choice(values) if values else b'e1'

    def linsert(self, writer):
        key, before, value = self.key(b'l'), self.rng.random() < 0.5, self.element()
        pivot = self.pivot(writer, key)
        return ([b'LINSERT', key, b'BEFORE' if before else b'AFTER', pivot, value],
                [('linsert', key, before, pivot, value)])

    def lrem(self, writer):
        key = self.key(b'l')
        value = self.pivot(writer, key)
        return [b'LREM', key, b'0', value], [('lrem', key, value)]

    def ltrim(self, _):
        key, start, stop = self.key(b'l'), self.rng.randrange(3), self.rng.randrange(20, 200)
        return [b'LTRIM', key, b'%d' % start, b'%d' % stop], [('ltrim', key, start, stop)]

    def lmove(self, _):
        key, to = self.two_keys(b'l')
        left, to_left = self.rng.random() < 0.5, self.rng.random() < 0.5
        words = [b'LEFT' if side else b'RIGHT' for side in (left, to_left)]
        return [b'LMOVE', key, to, *words], [('lmove', key, to, left, to_left)]

    # --- operations ---

    def op(self, writer):
        kind = self.rng.choice(self.kinds)
        if kind == 'get':
            key = self.any_key()
            return Op([read_command(key)], [[]], expect=key)
        if kind == 'multi':
            kinds = [k for k in self.kinds if k not in ('get', 'multi')]
            pairs = [self.command(self.rng.choice(kinds), writer)
                     for _ in range(self.rng.randint(2, 5))]
            return Op([p[0] for p in pairs], [p[1] for p in pairs], multi=True)
        command, effects = self.command(kind, writer)
        return Op([command], [effects])
