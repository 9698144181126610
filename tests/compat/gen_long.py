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
        return self.rng.choice(['-1', 'x', '536870911', '9223372036854775807', 400000])

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
