"""Generators of diff_cmds.py for sorted sets and lists.

Ranges by member are asked of keys of their own (lex:N), whose scores are all equal, as the order is
not defined otherwise.
"""


class Draw:
    """What both families draw from a Gen."""

    def __init__(self, g):
        self.g, self.rng = g, g.rng

    def one(self, *choices):
        return self.rng.choice(choices)

    def maybe(self, p, *words):
        return list(words) if self.rng.random() < p else []

    def lex_key(self):
        """Keys of another type are those of strings that no other command makes a sorted set of."""
        family = 'lex' if self.rng.random() < 0.95 else 'hll'
        return '%s:%d%s' % (family, self.rng.randrange(self.g.KEYS), self.g.tag)

    def score(self):
        r = self.rng.random()
        if r < 0.5:
            return str(self.rng.randrange(-5, 9))
        if r < 0.6:
            return self.one('-0', '-0.0', '0', '-1e-400')
        if r < 0.9:
            return self.one('1.5', '0.1', '0.2', '0.3', '-2.25', '1e3', '3.0', '1e-5',
                            '12345678901234567')
        if r < 0.97:
            return self.one('inf', '-inf', '+inf', '1e308', '0x10')
        return self.one('nan', 'abc', '', ' 1', '1 ', '1e999')

    def bound(self):
        r = self.rng.random()
        if r < 0.3:
            return self.one('-inf', '+inf', 'inf', '(inf')
        if r < 0.96:
            return self.one('', '(') + self.one('-3', '-1', '-0', '0', '1', '2', '3', '1.5', '0.1',
                                                '5', '1000')
        return self.one('', '(', 'x', '[1', ' 1', '1 ', 'nan', '1e999', '((')

    def lex_bound(self):
        r = self.rng.random()
        if r < 0.3:
            return self.one('-', '+')
        if r < 0.95:
            return self.one('[', '(') + self.g.sub()
        return self.one('', 'a', '-x', '++', '[', '(')

    def limit(self):
        return self.maybe(0.3, self.g.case('LIMIT'), self.g.signed(), self.g.signed())

    def scores(self, p=0.4):
        return self.maybe(p, self.g.case('WITHSCORES'))

    def count(self, p=0.5):
        return self.maybe(p, self.g.case('COUNT'), self.g.small()) + self.maybe(0.02, 'x')


def members(d, most):
    return [x for _ in range(d.rng.randint(1, most)) for x in (d.score(), d.g.sub())]


def zadd(d, k):
    words = [w for w in ('NX', 'XX', 'GT', 'LT', 'CH', 'INCR') if d.rng.random() < 0.25]
    return ['ZADD', k] + [d.g.case(w) for w in words] + members(d, d.one(1, 1, 3)) + d.maybe(0.03,
                                                                                             'x')


def zrange(d, name, *keys):
    g = d.g
    by = d.one([], ['BYSCORE'], ['BYSCORE'], ['BYLEX'])
    draw = d.bound if by == ['BYSCORE'] else d.lex_bound if by else g.signed
    keys = [k if i < len(keys) - 1 or by != ['BYLEX'] else d.lex_key() for i, k in enumerate(keys)]
    options = [by, d.maybe(0.4, g.case('REV')), d.limit() if by or d.rng.random() < 0.1 else [],
               d.scores(0.05 if by == ['BYLEX'] or len(keys) > 1 else 0.4), d.maybe(0.02, 'BYLEX')]
    d.rng.shuffle(options)
    return [name] + keys + [draw(), draw()] + sum(options, [])


def algebra(d, store):
    g, op = d.g, d.one('ZUNION', 'ZINTER', 'ZDIFF')
    keys = [g.key('zset' if d.rng.random() < 0.85 else 'set')
            for _ in range(d.rng.randint(1, 4))]
    number = str(len(keys)) if d.rng.random() < 0.96 else g.signed()
    weights = [d.one('1', '2', '0.5', '3', 'inf', '1e3', '-1', '-0') for _ in keys]
    options = []
    if op != 'ZDIFF' or d.rng.random() < 0.03:
        options += [d.maybe(0.3, g.case('WEIGHTS'), *weights),
                    d.maybe(0.4, g.case('AGGREGATE'), d.one('SUM', 'min', 'Max', 'min', 'max',
                                                            'bad'))]
    options.append(d.scores(0.03 if store else 0.5))
    d.rng.shuffle(options)
    return [op + 'STORE', g.key('zset')][:2 if store else 0] + [op][:0 if store else 1] + \
        [number] + keys + sum(options, [])


def several(d, family):
    keys = [d.g.key(family) for _ in range(d.rng.randint(1, 3))]
    return [str(len(keys)) if d.rng.random() < 0.95 else d.g.signed()] + keys


def gen_zset(g, Cmd, scan):
    d, k, r = Draw(g), g.key('zset'), g.rng
    lex = d.lex_key()
    random_of = d.one([], [g.signed()], [g.signed(), g.case('WITHSCORES')], [g.signed(), 'bad'])
    return r.choice([
        lambda: Cmd(['ZADD', k] + members(d, 4)),
        lambda: Cmd(['ZADD', k] + members(d, 12)),
        lambda: Cmd(['ZADD', lex] + [x for m in g.subs(8) for x in ('0', m)]),
        lambda: Cmd(zadd(d, k)),
        lambda: Cmd(zadd(d, k)),
        lambda: Cmd(['ZINCRBY', k, d.score(), g.sub()]),
        lambda: Cmd(['ZREM', k] + g.subs()),
        lambda: Cmd(['ZCARD', k]),
        lambda: Cmd(['ZSCORE', k, g.sub()]),
        lambda: Cmd(['ZMSCORE', k] + g.subs()),
        lambda: Cmd([d.one('ZRANK', 'ZREVRANK'), k, g.sub()]),
        lambda: Cmd(zrange(d, 'ZRANGE', k)),
        lambda: Cmd(zrange(d, 'ZRANGE', k)),
        lambda: Cmd(zrange(d, 'ZRANGESTORE', g.key('zset'), k)),
        lambda: Cmd(['ZREVRANGE', k, g.signed(), g.signed()] + d.scores()),
        lambda: Cmd([d.one('ZRANGEBYSCORE', 'ZREVRANGEBYSCORE'), k, d.bound(), d.bound()] +
                    d.scores() +
                    d.limit()),
        lambda: Cmd([d.one('ZRANGEBYLEX', 'ZREVRANGEBYLEX'), lex, d.lex_bound(), d.lex_bound()] +
                    d.limit()),
        lambda: Cmd(['ZCOUNT', k, d.bound(), d.bound()]),
        lambda: Cmd(['ZLEXCOUNT', lex, d.lex_bound(), d.lex_bound()]),
        lambda: Cmd([d.one('ZPOPMIN', 'ZPOPMAX'), k] + d.maybe(0.5, g.small()) + d.maybe(0.02,
                                                                                         '1')),
        lambda: Cmd(['ZREMRANGEBYRANK', k, g.signed(), g.signed()]),
        lambda: Cmd(['ZREMRANGEBYSCORE', k, d.bound(), d.bound()]),
        lambda: Cmd(['ZREMRANGEBYLEX', lex, d.lex_bound(), d.lex_bound()]),
        lambda: Cmd(algebra(d, False)),
        lambda: Cmd(algebra(d, False)),
        lambda: Cmd(algebra(d, True)),
        lambda: Cmd(['ZINTERCARD'] + several(d, 'zset') + d.maybe(0.4, g.case('LIMIT'),
                                                                  g.signed())),
        lambda: Cmd(['ZMPOP'] + several(d, 'zset') + [d.one('MIN', 'max', 'MAX', 'bad')] +
                    d.count()),
        # They wait for a moment at most: nobody else writes.
        lambda: Cmd([d.one('BZPOPMIN', 'BZPOPMAX')] + several(d, 'zset')[1:] + ['0.001']),
        lambda: Cmd(['BZMPOP', '0.001'] + several(d, 'zset') +
                    [d.one('MIN', 'max', 'MAX', 'bad')] + d.count()),
        lambda: Cmd(['ZRANDMEMBER', k] + random_of, 'members',
                    pool=['ZRANGE', k, '0', '-1', 'WITHSCORES']),
        lambda: scan(g, 'ZSCAN', k),
    ])()


def gen_list(g, Cmd, scan):
    d, k, r = Draw(g), g.key('list'), g.rng
    end = lambda: d.one('LEFT', 'right', 'RIGHT', 'left') if r.random() < 0.97 else 'bad'
    value = lambda: g.value() if r.random() < 0.3 else g.sub()
    values = lambda most: [value() for _ in range(r.randint(1, most))]
    lpos = [d.maybe(0.5, 'RANK', g.signed()), d.maybe(0.5, g.case('COUNT'), g.small()),
            d.maybe(0.4, 'MAXLEN', g.signed()), d.maybe(0.02, 'x')]
    r.shuffle(lpos)
    return r.choice([
        lambda: Cmd([d.one('LPUSH', 'RPUSH'), k] + values(6)),
        lambda: Cmd([d.one('LPUSH', 'RPUSH'), k] + values(12)),
        lambda: Cmd([d.one('LPUSH', 'RPUSH'), k] + values(30)),
        lambda: Cmd([d.one('LPUSHX', 'RPUSHX'), k] + values(2)),
        lambda: Cmd([d.one('LPOP', 'RPOP'), k] + d.maybe(0.5, g.small()) + d.maybe(0.02, '1')),
        lambda: Cmd([d.one('LPOP', 'RPOP'), k]),
        lambda: Cmd(['LLEN', k]),
        lambda: Cmd(['LRANGE', k, g.signed(), g.signed()]),
        lambda: Cmd(['LRANGE', k, '0', '-1']),
        lambda: Cmd(['LINDEX', k, g.signed()]),
        lambda: Cmd(['LSET', k, g.signed(), g.value()]),
        lambda: Cmd(['LREM', k, g.signed(), g.sub()]),
        lambda: Cmd(['LTRIM', k, g.signed(), g.signed()]),
        lambda: Cmd(['LINSERT', k, d.one('BEFORE', 'after', 'AFTER', 'before', 'bad'), g.sub(),
                     g.value()]),
        lambda: Cmd(['LINSERT', k, d.one('BEFORE', 'after'), g.sub(), g.sub()]),
        lambda: Cmd(['LPOS', k, g.sub()] + sum(lpos, [])),
        lambda: Cmd(['LMOVE', k, g.key('list'), end(), end()]),
        lambda: Cmd(['RPOPLPUSH', k, g.key('list')]),
        lambda: Cmd(['LMPOP'] + several(d, 'list') + [end()] + d.count()),
        lambda: Cmd([d.one('BLPOP', 'BRPOP')] + several(d, 'list')[1:] + ['0.001']),
        lambda: Cmd(['BLMPOP', '0.001'] + several(d, 'list') + [end()] + d.count()),
        lambda: Cmd(['BLMOVE', k, g.key('list'), end(), end(), '0.001']),
        lambda: Cmd(['BRPOPLPUSH', k, g.key('list'), '0.001']),
    ])()


def generators(Cmd, scan):
    """Of the two families: a function of a Gen each."""
    return {'zset': lambda g: gen_zset(g, Cmd, scan), 'list': lambda g: gen_list(g, Cmd, scan)}
