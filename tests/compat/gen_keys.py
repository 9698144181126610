"""Generators of diff_cmds.py for what any key has (expiry, existence, names), and transactions.

Points in time are those of FAR, which redis-server tells as they are, or past, or relative; what is
left of time, and points that are relative, are compared as "some" (diff_cmds.normalise, TIMES).
"""

from gen_zset_list import Draw

# In seconds, far enough from each other and from now: no comparison of two depends on when it is.
FAR = [4000000000, 5000000000, 33177117420]
FAMILIES = ['string', 'hash', 'set', 'zset', 'list', 'long', 'string', 'keys']


class KeyDraw(Draw):
    def key(self):
        return self.g.key(self.one(*FAMILIES))

    def odd_time(self):
        return self.one('0', '-1', '-9223372036854775808', '9223372036854775807',
                        '9223372036854775808', '9223372036854776', '-9223372036854776',
                        '9223370000000000', '9223372036854775', 'x', '', '1.5', ' 1', '+1', '00',
                        '1e3', 'nan')

    def point(self, unit):
        """Of time: seconds (unit 1) or milliseconds (1000)."""
        r = self.rng.random()
        if r < 0.7:
            return str(self.one(*FAR) * unit)
        return str(self.one(1, 1000000000) * unit) if r < 0.85 else self.odd_time()

    def span(self, unit):
        return str(self.one(1000, 100000) * unit) if self.rng.random() < 0.85 else self.odd_time()

    def when(self):
        """Words of SET and GETEX."""
        word, unit, point = self.one(('EX', 1, False), ('PX', 1000, False), ('EXAT', 1, True),
                                     ('PXAT', 1000, True))
        words = [self.g.case(word), self.point(unit) if point else self.span(unit)]
        return words if self.rng.random() < 0.97 else words[:1]


def set_words(d):
    words = [d.when() if d.rng.random() < 0.5 else [], d.maybe(0.03, 'EX', '10000'),
             d.maybe(0.15, d.g.case(d.one('NX', 'XX'))), d.maybe(0.03, 'NX'),
             d.maybe(0.25, d.g.case('GET')), d.maybe(0.15, 'KEEPTTL'), d.maybe(0.02, 'bad'),
             d.maybe(0.03, 'PERSIST')]
    d.rng.shuffle(words)
    return sum(words, [])


def expire(d, k):
    """GT and LT are about what is far only: relative times are equal in one server, not in two."""
    relative = d.rng.random() < 0.3
    name, unit = d.one(('EXPIRE', 1), ('PEXPIRE', 1000))
    when = d.span(unit) if relative else d.point(unit)
    words = d.maybe(0.3, d.one('NX', 'xx')) + d.maybe(0.02, 'bad')
    if not relative:
        words += d.maybe(0.3, d.one('GT', 'lt')) + d.maybe(0.1, d.one('GT', 'LT', 'NX', 'XX'))
    return [name if relative else name + 'AT', k, when] + words


def gen_ttl(g, Cmd):
    d, r = KeyDraw(g), g.rng
    k = d.key()
    own = g.key('keys') if r.random() < 0.7 else k
    return r.choice([
        lambda: Cmd(['SET', own, g.value()] + set_words(d)),
        lambda: Cmd(['SET', own, g.value()] + set_words(d)),
        lambda: Cmd(['GETEX', own] + d.one([], ['PERSIST'], d.when(), d.when(), ['bad'],
                                           d.when() + ['PERSIST'])),
        lambda: Cmd(['SETEX', own, d.span(1), g.value()]),
        lambda: Cmd(['PSETEX', own, d.span(1000), g.value()]),
        lambda: Cmd(expire(d, k)),
        lambda: Cmd(expire(d, own)),
        lambda: Cmd(expire(d, own)),
        lambda: Cmd([d.one('TTL', 'PTTL', 'EXPIRETIME', 'PEXPIRETIME'), d.one(k, own)], 'times'),
        lambda: Cmd(['PERSIST', d.one(k, own)]),
        # Gone a moment later, on both.
        lambda: Cmd(['PEXPIRE', k, '1'], 'expires'),
        lambda: Cmd(['SET', own, g.value(), 'PX', '1'], 'expires'),
        lambda: Cmd(['GET', own]),
        lambda: Cmd([d.one('SETRANGE', 'SETBIT'), own, '3', '1']),
        lambda: Cmd([d.one('APPEND', 'INCRBY', 'GETSET', 'SETNX'), own, g.integer()]),
        lambda: Cmd([d.one('INCR', 'DECR', 'GETDEL'), own]),
        lambda: Cmd(['SADD', own, g.sub()]),
        lambda: Cmd(['LPUSH', own, g.sub()]),
        lambda: Cmd(['HSET', own, g.sub(), g.value()]),
    ])()


def gen_names(g, Cmd):
    d, r = KeyDraw(g), g.rng
    k, other = d.key(), d.key()
    number = d.one('0', '0', '1', '-1', 'x', '-2147483649', '99999999999999999999')
    copy = [d.maybe(0.3, 'DB', number),
            d.maybe(0.4, g.case('REPLACE')), d.maybe(0.03, 'bad')]
    r.shuffle(copy)
    scan = [d.maybe(0.4, g.case('MATCH'), '*:%d*' % r.randrange(g.KEYS)), d.maybe(0.02, 'x'),
            d.maybe(0.4, g.case('TYPE'), d.one('string', 'LIST', 'set', 'zset', 'hash', 'stream',
                                               'nosuch')),
            d.maybe(0.4, 'COUNT', d.one('1', '10', '1000', g.small()))]
    r.shuffle(scan)
    return r.choice([
        lambda: Cmd([d.one('RENAME', 'RENAMENX'), k, d.one(other, other, k)]),
        lambda: Cmd(['COPY', k, d.one(other, other, k)] + sum(copy, [])),
        lambda: Cmd([d.one('MOVE', 'MOVE'), k, d.one('0', '1', '-1', 'x', '2147483648')]),
        lambda: Cmd([d.one('DEL', 'UNLINK', 'EXISTS', 'TOUCH')] +
                    [d.g.any_key(d.one(*FAMILIES)) for _ in range(r.randint(1, 4))]),
        lambda: Cmd(['TYPE', k]),
        lambda: Cmd(['OBJECT', d.one('FREQ', 'BAD'), k]),
        lambda: Cmd(['OBJECT', d.one('IDLETIME', 'ENCODING', 'REFCOUNT'), 'absent' + g.tag]),
        lambda: Cmd(['KEYS', d.one('*', '*:[0-3]*', 'str*', 'h?sh:*', '[^z]*', 'none')],
                    'unordered'),
        lambda: Cmd(['SCAN', d.one('0', '0', '0', '0', 'x', '-', '', '+0', ' 0', '0x')] +
                    sum(scan, []), 'scan'),
        lambda: Cmd(['RANDOMKEY'], 'members', pool=['KEYS', '*']),
        lambda: Cmd(['SELECT', d.one('0', '1', '-1', 'x', '', '2147483648')]),
        lambda: Cmd(['SWAPDB', d.one('0', '1', 'x'), d.one('0', '0', '1', 'x')]),
        lambda: Cmd(d.one(['PING'], ['PING', 'x'], ['ECHO', ''], ['TIME', 'x'], ['DBSIZE', 'x'],
                          ['LASTSAVE', 'x'], ['UNWATCH'] if g.TAGS else ['WATCH', k],
                          ['UNWATCH'], ['EXEC'], ['DISCARD'],
                          ['PUBLISH', 'c', 'm'], ['WAIT', '0', '0'], ['NOSUCH', k, 'x' * 200],
                          ['get\r\n', k], [''])),
    ])()


# What does not go into a transaction: it is compared with what was before it.
ALONE = ('scan', 'members', 'expires', 'times', 'travel')
BAD = [['NOSUCH', 'a'], ['GET'], ['MULTI'], ['WATCH', 'a'], ['EXEC', 'x'], ['SET', 'a'],
       ['RESET', 'x'], ['SADD', 'a'], ['OBJECT', 'NOSUCH', 'a']]


def gen_txn(g, Cmd, draw):
    """WATCH, what changes or does not change what is watched, MULTI, commands, EXEC or DISCARD, all
    in one pipeline; `draw` gives a command."""
    d, r = KeyDraw(g), g.rng
    cmds = []
    g.one_tag = True
    plain = lambda: next(c for c in iter(lambda: draw(g), None)
                         if c.how not in ALONE and c.args[0] not in NOT_QUEUED).all()
    if r.random() < 0.3:
        cmds += [Cmd(['WATCH', d.key(), d.key()])]
        cmds += sum((plain() for _ in range(r.randrange(3))), [])
        cmds += [Cmd(['UNWATCH'])] if r.random() < 0.1 else []
    cmds.append(Cmd(['MULTI']))
    queued = sum((plain() for _ in range(r.randint(0, 8))), [])
    if r.random() < 0.12:
        queued.insert(r.randint(0, len(queued)), Cmd(r.choice(BAD)))
    g.one_tag = False
    end = Cmd(['DISCARD' if r.random() < 0.1 else 'EXEC'])
    return Cmd(['MULTI'], 'batch', batch=cmds + queued + [end])


# They end a transaction, or are none of its keys' shard's.
NOT_QUEUED = ('EXEC', 'DISCARD', 'MULTI', 'KEYS', 'SELECT', 'WATCH', 'UNWATCH', 'SWAPDB', 'WAIT')


def generators(Cmd, draw):
    return {'ttl': lambda g: gen_ttl(g, Cmd), 'names': lambda g: gen_names(g, Cmd),
            'txn': lambda g: gen_txn(g, Cmd, draw)}
