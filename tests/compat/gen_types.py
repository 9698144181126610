"""Generators of diff_cmds.py for geo, HyperLogLog, LCS, DUMP, RESTORE and SORT."""

import struct

from gen_zset_list import Draw

# Of which the first are near each other, for searches that find several.
PLACES = [(13.361389, 38.115556), (15.087269, 37.502669), (13.4, 38.1), (13.3, 38.2), (13.35, 38.0),
          (12.758489, 38.788135), (17.241510, 38.788135), (2.35, 48.85), (-0.12, 51.5),
          (-122.42, 37.77), (151.2, -33.87), (139.69, 35.69), (179.99, 10.1), (-179.99, 10.2),
          (0, 0), (0.0001, 0.0001), (5, 84.9), (-5, -84.8), (180, 85.05112878),
          (-180, -85.0), (90, 66.1), (91, 80.5)]
MEMBERS = 25


class GeoDraw(Draw):
    def longitude_latitude(self, of=None):
        """Of member number `of`: no two are at one place, as equally near ones are in no order."""
        r = self.rng.random()
        if r < 0.4 and (of is None or of < len(PLACES)):
            return ['%r' % x for x in (self.one(*PLACES) if of is None else PLACES[of])]
        if r < 0.7:
            x, y = self.one(*PLACES[:7])
            near = lambda v: '%r' % (v + self.rng.uniform(-0.5, 0.5))
            return [near(x), near(y)]
        if r < 0.96:
            return ['%r' % self.rng.uniform(-180, 180), '%r' % self.rng.uniform(-85, 85)]
        return self.one(['181', '0'], ['0', '86'], ['x', '1'], ['1', ''], ['nan', '1'],
                        ['-200', '-90'], ['1e400', '0'])

    def geo_key(self):
        """Not one that may be a sorted set with members at one place."""
        family = 'geo' if self.rng.random() < 0.95 else 'lcs'
        return '%s:%d%s' % (family, self.rng.randrange(self.g.KEYS), self.g.tag)

    def distance_key(self):
        """Distances are stored where nobody takes them for positions: many would be the same."""
        return 'geodist:%d%s' % (self.rng.randrange(self.g.KEYS), self.g.tag)

    def member(self):
        return 'p%d' % self.rng.randrange(MEMBERS)

    def unit(self):
        odd = 'bad' if self.rng.random() < 0.1 else 'M'
        return self.one('m', 'km', 'KM', 'ft', 'mi', 'Mi', 'm', 'km', odd)

    def length(self):
        r = self.rng.random()
        if r < 0.9:
            return self.one('0', '1', '100', '1000', '50.5', '200000', '3e3', '20000', '5000000',
                            '20037726.37', '1e9', '%.3f' % self.rng.uniform(0, 300000))
        return self.one('-1', 'x', '', 'inf', 'nan')

    def with_words(self, p):
        words = ('WITHDIST', 'WITHHASH', 'WITHCOORD')
        return [self.g.case(w) for w in words if self.rng.random() < p]

    def count_words(self):
        return self.maybe(0.3, self.g.case('COUNT'), self.g.small()) + self.maybe(0.1, 'ANY')

    def search_words(self, p):
        words = [self.with_words(p), self.count_words(), self.maybe(0.5, self.one('ASC', 'desc')),
                 self.maybe(0.02, 'bad')]
        self.rng.shuffle(words)
        return sum(words, [])


def geo_shape(d):
    words = [d.one(['FROMMEMBER', d.member()], ['fromlonlat'] + d.longitude_latitude()) +
             d.maybe(0.03, 'FROMMEMBER', d.member()),
             d.one(['BYRADIUS', d.length(), d.unit()],
                   ['bybox', d.length(), d.length(), d.unit()]) +
             d.maybe(0.03, 'BYRADIUS', d.length(), d.unit())]
    if d.rng.random() < 0.04:
        words[d.rng.randrange(2)] = []
    d.rng.shuffle(words)
    return sum(words, [])


def gen_geo(g, Cmd):
    d = GeoDraw(g)
    k = d.geo_key()
    store = d.one(['STORE', d.geo_key()], ['storedist', d.distance_key()], [], [], [])
    some = [d.rng.randrange(MEMBERS) for _ in range(d.rng.randint(1, 6))]
    add = [x for i in some for x in d.longitude_latitude(i) + ['p%d' % i]]
    kind = d.rng.random()
    if kind < 0.4:
        options = [g.case(w) for w in ('NX', 'XX', 'CH') if d.rng.random() < 0.15]
        return Cmd(['GEOADD', k] + options + add + d.maybe(0.02, 'x'))
    if kind < 0.45:
        return Cmd(['ZREM', k, d.member(), d.member()])
    if kind < 0.52:
        return Cmd(['GEODIST', k, d.member(), d.member()] + d.maybe(0.5, d.unit()) +
                   d.maybe(0.02, 'x'))
    if kind < 0.6:
        some = [d.member() for _ in range(d.rng.randint(0, 5))]
        return Cmd([d.one('GEOHASH', 'GEOPOS'), k] + some)
    name = d.one('GEORADIUS', 'GEORADIUS_RO', 'GEORADIUSBYMEMBER', 'GEORADIUSBYMEMBER_RO',
                 'GEOSEARCH', 'GEOSEARCH', 'GEOSEARCHSTORE')
    if name == 'GEOSEARCHSTORE':
        to = d.one([d.geo_key()], [d.distance_key(), 'STOREDIST'])
        return Cmd([name, to[0], k] + geo_shape(d) + d.search_words(0.02) + to[1:])
    if name == 'GEOSEARCH':
        words = geo_shape(d) + d.search_words(0.4) + d.maybe(0.02, 'STOREDIST')
    else:
        centre = [d.member()] if 'MEMBER' in name else d.longitude_latitude()
        words = centre + [d.length(), d.unit()] + d.search_words(0.05 if store else 0.4) + \
            (store if not name.endswith('_RO') or d.rng.random() < 0.1 else [])
    return Cmd([name, k] + words)


def gen_hll(g, Cmd):
    d, r = Draw(g), g.rng
    # Short and long ones: sparse, dense, and between them.
    own = lambda: 'hll:%d%s' % (r.randrange(g.KEYS), g.tag)
    key = lambda: own() if r.random() < 0.97 else g.key('list')
    # The result of PFCOUNT is kept in the value, by Tierra only while memory is not short: they are
    # made where no command shows their bytes, and compared without it at the end (normalise).
    to = lambda: own() if r.random() < 0.97 else 'geodist:%d%s' % (r.randrange(g.KEYS), g.tag)
    element = lambda: 'e%d' % r.randrange(d.one(10, 500, 20000))
    elements = lambda most: [element() for _ in range(r.randint(0, most))]
    damaged = b'HYLL' + bytes([d.one(0, 1, 1, 1, 2)]) + bytes(11) + bytes(
        d.one(0x7f, 0xff, 0x80, 0x3f, 0xff, 0x84, 0x40) for _ in range(r.randrange(8))) + b'\x80'
    return r.choice([
        lambda: Cmd(['PFADD', to()] + elements(5)),
        lambda: Cmd(['PFADD', to()] + elements(5)),
        lambda: Cmd(['PFADD', to()] + elements(50)),
        lambda: Cmd(['PFADD', to()] + elements(d.one(100, 2000))),
        lambda: Cmd(['PFCOUNT', key()]),
        lambda: Cmd(['PFCOUNT', key()]),
        lambda: Cmd(['PFCOUNT'] + [key() for _ in range(r.randint(1, 4))]),
        lambda: Cmd(['PFMERGE', to()] + [key() for _ in range(r.randint(0, 3))]),
        lambda: Cmd(['PFDEBUG', 'ENCODING', key()]),
        lambda: Cmd(['PFDEBUG', 'DECODE', key()]),
        lambda: Cmd(['STRLEN', key()]),
        lambda: Cmd([d.one('DEL', 'PFDEBUG', 'EXPIRE'), key(), '1000'][:2]),
        lambda: Cmd(['SET', 'hll:bad%s' % g.tag, damaged]),
        lambda: Cmd(['PFADD', 'hll:bad%s' % g.tag] + elements(1)),
        lambda: Cmd([d.one('PFCOUNT', 'PFMERGE'), 'hll:bad%s' % g.tag] + d.maybe(0.5, key())),
    ])()


def gen_lcs(g, Cmd):
    d, r = Draw(g), g.rng
    own = lambda: 'lcs:%d%s' % (r.randrange(g.KEYS), g.tag)
    key = lambda: own() if r.random() < 0.95 else g.key('string')
    text = ''.join(r.choice(d.one('ab', 'abcd', 'acgt0123456789')) for _ in range(
        r.randrange(d.one(3, 20, 300))))
    words = [d.maybe(0.3, g.case('LEN')), d.maybe(0.4, g.case('IDX')), d.maybe(0.3, 'WITHMATCHLEN'),
             d.maybe(0.3, 'MINMATCHLEN', g.signed()), d.maybe(0.02, 'x')]
    r.shuffle(words)
    if r.random() < 0.3:
        return Cmd(['SET', key(), text])
    return Cmd(['LCS', key(), key()] + sum(words, []))


def crc64(data):
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95ac9329ac4bc9b5 if crc & 1 else 0)
    return crc


def with_footer(body, version=10):
    """A value in Redis's serialisation as DUMP gives it."""
    body += struct.pack('<H', version)
    return body + struct.pack('<Q', crc64(body))


def rdb_string(text):
    text = text.encode()
    return (bytes([len(text)]) if len(text) < 64 else struct.pack('>H', 0x4000 | len(text))) + text


def rdb_value(d):
    g, r = d.g, d.rng
    kind = r.randrange(7)
    words = sorted({g.sub() for _ in range(r.randint(1, 8))})
    count = bytes([len(words)])
    if kind == 0:
        return b'\0' + rdb_string(g.value()[:5000])
    if kind == 1:
        return b'\1' + count + b''.join(rdb_string(w) for w in words)
    if kind == 2:
        return b'\2' + count + b''.join(rdb_string(w) for w in words)
    if kind == 3:
        return b'\4' + count + b''.join(rdb_string(w) + rdb_string(g.sub()) for w in words)
    if kind == 4:
        return b'\5' + count + b''.join(rdb_string(w) + struct.pack('<d', r.randrange(9) + 0.5)
                                        for w in words)
    if kind == 5:
        numbers = sorted({r.randrange(-9, 99) for _ in words})
        return b'\x0b' + rdb_string(struct.pack('<II%dh' % len(numbers), 2, len(numbers),
                                                *numbers).decode('latin1')) \
            if all(0 <= x < 99 for x in numbers) else b'\2' + b'\1' + b'\xc0\x05'
    # Twice the same, nothing, and nothing that is a type.
    return d.one(b'\2\2\1a\1a', b'\2\0', b'\x30\1a', b'', b'\2\5\1a')


def gen_dump(g, Cmd):
    d, r = Draw(g), g.rng
    value = rdb_value(d)
    key = g.key(r.choice(['string', 'hash', 'set', 'zset', 'list']))
    # Ranges by member are asked of some lists: no sorted set with several scores goes there.
    if value[:1] == b'\5':
        key = 'zset:%d%s' % (r.randrange(g.KEYS), g.tag)
    body = with_footer(value, 10 if r.random() < 0.95 else 11)
    if r.random() < 0.03:
        body = body[:-1] + b'x'
    ttl = d.one('0', '0', '0', '10000000', '1', '-1', 'x', '99999999999999')
    words = [d.maybe(0.7, g.case('REPLACE')), d.maybe(0.1, 'IDLETIME', g.signed()),
             d.maybe(0.1, 'FREQ', d.one('0', '255', '256', '-1', 'x')), d.maybe(0.02, 'BAD')]
    if r.random() < 0.2:
        words.append(['ABSTTL'])
        ttl = d.one('0', '1', '99999999999999', '1000')
    elif ttl == '1':
        ttl = '0'
    r.shuffle(words)
    return Cmd(['RESTORE', key, ttl, body] + sum(words, []))


# Words that stand for what DUMP gave: the server itself, or the other one.
OWN_DUMP, OTHER_DUMP = '<own dump>', '<other dump>'


def gen_travel(g, Cmd):
    """Only between keys of which the same is asked: for bytes of HyperLogLogs, ranges by member,
    places on the earth and distances see the other generators."""
    d, r = Draw(g), g.rng
    families = d.one(*[('string', 'hash', 'set', 'zset', 'list', 'long')] * 3, ('hll',), ('geo',),
                     ('lcs',), ('sortlist',), ('sortset',), ('lex',))
    key, to = ['%s:%d%s' % (d.one(*families), r.randrange(g.KEYS), g.tag) for _ in range(2)]
    words = [d.maybe(0.8, g.case('REPLACE')), d.maybe(0.05, 'IDLETIME', '100'),
             d.maybe(0.05, 'ABSTTL')]
    r.shuffle(words)
    ttl = d.one('0', '0', '0', '0', '99999999999999' if ['ABSTTL'] in words else '100000000')
    return Cmd(['DUMP', key], 'travel', batch=[
        Cmd(['DUMP', key], 'travel'),
        Cmd(['RESTORE', to, ttl, d.one(OWN_DUMP, OTHER_DUMP)] + sum(words, []), 'travel')])


def gen_sort(g, Cmd):
    d, r = Draw(g), g.rng
    number = lambda: str(r.randrange(-5, 25)) if r.random() < 0.98 else d.one('a', 'b x', '1e400')
    real = lambda: number() if r.random() < 0.9 else d.one('1.5', '-0.25', '1e3', '+7', '07', '-0')
    own = lambda kind: 'sort%s:%d%s' % (kind, r.randrange(g.KEYS), g.tag)
    kind = d.one('list', 'set', 'zset')
    some = [real() for _ in range(r.randint(1, 12))]
    weight = real() if r.random() < 0.95 else 'v' * 60
    draw = r.random()
    if draw < 0.2:
        return Cmd({'list': [d.one('LPUSH', 'RPUSH'), own(kind)] + some,
                    'set': ['SADD', own(kind)] + some,
                    'zset': ['ZADD', own(kind)] + [x for m in some for x in (number(), m)]}[kind])
    if draw < 0.35:
        return Cmd(d.one(['SET', 'sw%s:%s' % (g.tag, number()), d.one(weight, weight, 'v' * 5000)],
                         ['DEL', 'sw%s:%s' % (g.tag, number())],
                         ['INCRBY', 'sw%s:%s' % (g.tag, number()), number()]))
    if draw < 0.45:
        return Cmd(['HSET', 'sh%s:%s' % (g.tag, number()), d.one('f', 'g'), weight])
    if draw < 0.5:
        return Cmd(['LRANGE', own(d.one('list', 'out')), '0', '-1'])
    leads = lambda: d.one('sw%s:*' % g.tag, 'sh%s:*->f' % g.tag, 'sh%s:*->g' % g.tag)
    by = d.one(None, None, 'nosort', leads(), leads())
    alpha, store = r.random() < 0.3 or by is None and kind != 'list', r.random() < 0.3
    gets = [x for _ in range(r.choice([0, 0, 0, 1, 2, 3]))
            for x in ('GET', d.one('#', leads(), 'x'))]
    # What Redis leaves to chance: texts that are equal, and the order of a set.
    chance = by is not None and (alpha if '*' in by else kind == 'set' and not store)
    words = [['BY', by] if by else [], gets, ['ALPHA'] if alpha else [],
             d.one([], ['asc'], ['DESC']),
             [] if chance else d.maybe(0.5, 'LIMIT', g.signed(), g.signed()),
             ['STORE', own('out' if gets else 'list')]
             if store and not (chance and by != 'nosort') else [],
             d.maybe(0.01, 'x')]
    r.shuffle(words)
    name = d.one('SORT', 'SORT', 'SORT_RO')
    sort = Cmd([name, own(kind)] + sum(words, []), 'unordered' if chance else 'exact')
    return Cmd(sort.args, 'batch', batch=[clean_errno(g, Cmd), sort])


def clean_errno(g, Cmd):
    """What goes before a SORT. redis-server 7.0.15 looks at errno after it parsed an element or a
    weight that is no integer, but does not clear it before: once a score like 1e400 was refused,
    SORT of 1.5 says that it is no number, until some command clears errno. Reading the score of
    ZADD does; this one changes nothing."""
    return Cmd(['ZADD', 'sortnone:0%s' % g.tag, 'XX', '0', 'x'])


def generators(Cmd):
    """Of the families: a function of a Gen each."""
    return {'geo': lambda g: gen_geo(g, Cmd), 'hll': lambda g: gen_hll(g, Cmd),
            'lcs': lambda g: gen_lcs(g, Cmd), 'dump': lambda g: gen_dump(g, Cmd),
            'sort': lambda g: gen_sort(g, Cmd), 'travel': lambda g: gen_travel(g, Cmd)}
