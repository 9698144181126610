"""Generators of diff_cmds.py for strings in chunks: around and above where they begin."""

CHUNK = 1024
LIMIT = 16 * 1024


class Draw:
    """What the generators draw from a Gen."""

    def __init__(self, g):
        self.g, self.rng = g, g.rng

    def near(self, *places):
        """At or close to one of the places."""
        return max(0, self.rng.choice(places) + self.rng.randrange(-2, 3))

    def length(self):
        r = self.rng.random()
        if r < 0.3:
            return self.rng.randrange(0, 40)
        if r < 0.6:
            return self.near(LIMIT, LIMIT + CHUNK, 2 * LIMIT, CHUNK, 64 * CHUNK)
        return self.rng.randrange(LIMIT, 5 * LIMIT)

    def offset(self):
        r = self.rng.random()
        if r < 0.4:
            return self.near(0, CHUNK, LIMIT, LIMIT + CHUNK, 20 * CHUNK, 64 * CHUNK, 80 * CHUNK)
        if r < 0.97:
            return self.rng.randrange(0, 6 * LIMIT)
        return self.rng.choice(['-1', 'x', '536870912', '9223372036854775807', 400000])

    def index(self):
        """Of GETRANGE."""
        n = self.offset()
        return n if isinstance(n, str) or self.rng.random() < 0.7 else -n

    def text(self, length=None):
        n = self.length() if length is None else length
        seed = self.rng.randrange(256)
        return (bytes((seed + i * 7) & 0xff for i in range(977)) * (n // 977 + 1))[:n]

    def piece(self):
        """What is written into a string."""
        return self.text(self.rng.choice([1, 3, 10, 10, 100, CHUNK, CHUNK + 1, 3000]))


    def bit(self):
        n = self.offset()
        if isinstance(n, str):
            return n if n != '536870912' else '4294967296'
        return n * 8 + self.rng.randrange(8)

    def unit(self):
        return self.rng.choice([[], [], ['BYTE'], ['BIT'], ['bit'], ['BAD'], ['BIT', 'x']])

    def bit_range(self):
        r = self.rng.random()
        if r < 0.2:
            return []
        if r < 0.35:
            return [self.index()]
        scale = self.rng.choice([1, 8])
        ends = [n if isinstance(n, str) else n * scale for n in (self.index(), self.index())]
        return ends + self.unit()

    def field(self):
        r = self.rng
        kind = r.choice(['i', 'u']) + str(r.choice([1, 2, 5, 8, 13, 16, 32, 63, 64, 65, 0]))
        if r.random() < 0.03:
            kind = r.choice(['x8', 'i', 'u64', 'i+8', ''])
        where = '#%d' % r.randrange(3000) if r.random() < 0.2 else str(self.bit())
        # Not the least number: Redis 7.0 saturates a shorter field to its maximum with it.
        value = str(r.choice([0, 1, -1, 100, 255, 127, -128, 1 << 40, -(1 << 62), (1 << 63) - 1]))
        return r.choice([['GET', kind, where], ['GET', kind, where], ['SET', kind, where, value],
                         ['INCRBY', kind, where, value], ['INCRBY', kind, where, value],
                         ['OVERFLOW', r.choice(['WRAP', 'SAT', 'FAIL', 'sat'])],
                         ['SET', kind, where, 'x'] if r.random() < 0.1 else
                         ['SET', kind, where, value]])

    def fields(self):
        return [w for _ in range(self.rng.randint(1, 6)) for w in self.field()]


def gen_bits(g, Cmd):
    d, r = Draw(g), g.rng
    family = r.choice(['long', 'long', 'string'])
    k, other = g.key(family), g.key('long')
    return r.choice([
        lambda: Cmd(['SETBIT', k, d.bit(), r.choice(['0', '1', '1', '1', '2', 'x'])]),
        lambda: Cmd(['SETBIT', k, d.bit(), r.choice(['0', '1'])]),
        lambda: Cmd(['GETBIT', k, d.bit()]),
        lambda: Cmd(['BITCOUNT', k] + d.bit_range()),
        lambda: Cmd(['BITPOS', k, r.choice(['0', '1', '1', '2', 'x'])] + d.bit_range()),
        lambda: Cmd(['BITPOS', k, r.choice(['0', '1'])] + d.bit_range()),
        lambda: Cmd(['BITFIELD', k] + d.fields()),
        lambda: Cmd(['BITFIELD', k] + d.fields()),
        lambda: Cmd(['BITFIELD_RO', k] + r.choice([[], d.field(), d.fields(),
                                                   ['GET', 'u8', d.bit()]])),
        lambda: Cmd(['BITOP', g.case(r.choice(['AND', 'OR', 'XOR', 'NOT', 'BAD'])), other] +
                    [g.key(r.choice(['long', 'string'])) for _ in range(r.choice([1, 1, 2, 3]))]),
        lambda: Cmd(['SET', k, r.choice([b'\xff', b'\0']) * d.length()]),
        lambda: Cmd(['SETRANGE', k, d.offset(), r.choice([b'\xff', b'\0']) * 2000]),
    ])()


def gen_long(g, Cmd):
    d, r = Draw(g), g.rng
    k, other = g.key('long'), g.key('long')
    return r.choice([
        lambda: Cmd(['SET', k, d.text()]),
        lambda: Cmd(['SET', k, d.text(), g.case(r.choice(['NX', 'XX', 'GET', 'KEEPTTL']))]),
        lambda: Cmd(['SET', k, d.text(), 'EX', '1000']),
        lambda: Cmd(['SETEX', k, '1000', d.text()]),
        lambda: Cmd(['GET', k]),
        lambda: Cmd(['GETSET', k, d.text()]),
        lambda: Cmd(['GETDEL', k]),
        lambda: Cmd(['GETEX', k] + r.choice([[], ['PERSIST'], ['EX', '1000']])),
        lambda: Cmd(['APPEND', k, d.piece()]),
        lambda: Cmd(['APPEND', k, d.piece()]),
        lambda: Cmd(['APPEND', k, '']),
        lambda: Cmd(['STRLEN', k]),
        lambda: Cmd(['SETRANGE', k, d.offset(), d.piece()]),
        lambda: Cmd(['SETRANGE', k, d.offset(), d.piece()]),
        lambda: Cmd(['SETRANGE', k, d.offset(), '']),
        lambda: Cmd(['GETRANGE', k, d.index(), d.index()]),
        lambda: Cmd(['GETRANGE', k, d.index(), d.index()]),
        lambda: Cmd(['SUBSTR', k, d.index(), d.index()]),
        lambda: Cmd(['INCR', k]),
        lambda: Cmd(['INCRBYFLOAT', k, '1.5']),
        lambda: Cmd(['MGET', k, other]),
        lambda: Cmd(['MSET', k, d.text(), other, d.text(), k, d.piece()]),
        lambda: Cmd(['RENAME', k, other]),
        lambda: Cmd(['COPY', k, other] + r.choice([[], ['REPLACE']])),
        lambda: Cmd(['EXPIRE', k, '1000']),
        lambda: Cmd(['PERSIST', k]),
        lambda: Cmd(['TYPE', k]),
        lambda: Cmd(['DEL', k]),
        lambda: Cmd(['SADD', k, 'a']),
        lambda: Cmd(['HSET', k, 'f', 'v']),
    ])()
