#!/usr/bin/env python3
"""Numbers at and beyond 31, 32, 62, 63 and 64 bits, with signs and in forms that are none, in every
place of a command that takes one, on a key of each type and on none: replies, and what is left of
the key, are those of redis-server. Where a command takes two, every pair of them.

usage: number_edges.py --server SERVER
"""

import argparse
import itertools
import re
import sys

from diff_cmds import REDIS_ARGS, Conn, redis_server, side_by_side

I64_MIN, I64_MAX = -(1 << 63), (1 << 63) - 1
# So that no number makes a long string: the limit of both servers, and the bits and bytes about it.
BULK_BYTES_MAX = 1 << 20
NUMBERS = [str(n) for n in (
    I64_MIN - 1, I64_MIN, I64_MIN + 1, -(1 << 62) - 1, -(1 << 32) - 1, -(1 << 32), -(1 << 31) - 1,
    -(1 << 31), -100, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 63, 64, 65, BULK_BYTES_MAX - 1,
    BULK_BYTES_MAX, (BULK_BYTES_MAX << 3) - 1, BULK_BYTES_MAX << 3, (1 << 31) - 1, 1 << 31,
    (1 << 31) + 1, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, (1 << 60) + 1, 1 << 61, 1 << 62,
    I64_MAX - 1, I64_MAX, I64_MAX + 1, (1 << 64) - 1, 1 << 64, (1 << 64) + 1)] + [
        '+1', '+2147483648', '+9223372036854775807', '-0', '01', '-01', '1.0', '1e2', '0x10', '',
        ' 1', '1 ', '--1', '9' * 40]
PAIRED = [str(n) for n in (I64_MIN, -(1 << 31), -3, -1, 0, 1, 2, 63, (1 << 31) - 1, 1 << 32,
                           I64_MAX, (1 << 64) - 1)] + ['+1', '']
# What ends so soon may be there on one of the servers only, and a walk has so many at once, about.
FEW = ('1', '2', '3', '4', '5', '63', '64', '65')

MAKE = {
    'string': ['SET', 'K', 'abcdefgh'], 'number': ['SET', 'K', '5'],
    'list': ['RPUSH', 'K', 'a', 'b', 'c', 'a'], 'set': ['SADD', 'K', 'a', 'b', 'c'],
    'ints': ['SADD', 'K', '1', '2', '3'], 'hash': ['HSET', 'K', 'f', '5', 'g', '6'],
    'zset': ['ZADD', 'K', '1', 'a', '2', 'b', '3', 'c'],
    'lex': ['ZADD', 'K', '0', 'a', '0', 'b', '0', 'c'],
    'geo': ['GEOADD', 'K', '13.36', '38.11', 'p', '15.08', '37.50', 'q'], 'none': ['DEL', 'K'],
}
# Of each type: how to see all of it, and how many there are.
SEE = {'string': ['GETRANGE', 'K', '0', '80'], 'list': ['LRANGE', 'K', '0', '-1'],
       'set': ['SORT', 'K', 'ALPHA'], 'hash': ['HGETALL', 'K'],
       'zset': ['ZRANGE', 'K', '0', '-1', 'WITHSCORES']}
SIZE = [['STRLEN', 'K'], ['LLEN', 'K'], ['SCARD', 'K'], ['HLEN', 'K'], ['ZCARD', 'K']]

EXACT = '''
GETRANGE K N N;SUBSTR K N N;SETRANGE K N x;SETRANGE K N "";GETBIT K N;SETBIT K N 1;SETBIT K 1 N
BITCOUNT K N N;BITCOUNT K N N BIT;BITPOS K 1 N;BITPOS K 0 N;BITPOS K 1 N N;BITPOS K 0 N N BIT
BITPOS K N;BITFIELD K GET u8 N;BITFIELD K GET i64 #N;BITFIELD K SET u8 N N;BITFIELD K SET i64 #N 1
BITFIELD K INCRBY i5 N N;BITFIELD K SET i64 0 N;BITFIELD K SET u63 0 N;BITFIELD_RO K GET u8 N
BITFIELD K OVERFLOW SAT INCRBY i64 0 N INCRBY i64 0 N;BITFIELD K OVERFLOW FAIL INCRBY u63 3 N
BITFIELD K OVERFLOW WRAP INCRBY u1 N N;BITFIELD K GET uN 0;BITFIELD K SET iN 0 1;INCRBY K N
DECRBY K N;INCRBYFLOAT K N;LCS K K IDX MINMATCHLEN N;LINDEX K N;LRANGE K N N;LTRIM K N N;LREM K N a
LSET K N x;LPOS K a RANK N;LPOS K a COUNT N;LPOS K a MAXLEN N;LPOS K a RANK N COUNT N
LPOS K a RANK -2 COUNT N MAXLEN N;LPOP K N;RPOP K N;LMPOP N K LEFT;LMPOP 1 K RIGHT COUNT N
BLMPOP 0.001 1 K LEFT COUNT N;BLMPOP 0.001 N K LEFT;SORT K ALPHA LIMIT N N;SINTERCARD N K
SINTERCARD 1 K LIMIT N;HINCRBY K f N;HINCRBY K new N;HINCRBYFLOAT K f N;ZRANGE K N N
ZRANGE K N N REV WITHSCORES;ZRANGE K (N N BYSCORE;ZRANGE K -inf +inf BYSCORE LIMIT N N
ZRANGE K +inf -inf BYSCORE REV LIMIT N N;ZRANGE K - + BYLEX LIMIT N N;ZREVRANGE K N N
ZRANGE K + - BYLEX REV LIMIT N N;ZRANGEBYSCORE K -inf +inf WITHSCORES LIMIT N N
ZREVRANGEBYSCORE K +inf -inf LIMIT N N;ZRANGEBYLEX K - + LIMIT N N;ZREVRANGEBYLEX K + - LIMIT N N
ZRANGESTORE K K N N;ZRANGESTORE K K N N REV;ZRANGESTORE K K -inf inf BYSCORE LIMIT N N
ZRANGESTORE K K - + BYLEX LIMIT N N;ZREMRANGEBYRANK K N N;ZREMRANGEBYSCORE K N N;ZCOUNT K N N
ZPOPMIN K N;ZPOPMAX K N;ZMPOP N K MIN;ZMPOP 1 K MAX COUNT N;BZMPOP 0.001 1 K MIN COUNT N
ZINTERCARD N K;ZINTERCARD 1 K LIMIT N;ZUNIONSTORE K N K;ZUNION 1 K WEIGHTS N WITHSCORES;ZDIFF N K
ZADD K N m;ZADD K GT N a;ZADD K INCR N a;ZINCRBY K N a;MOVE K N;COPY K K2 DB N
GEOSEARCH K FROMLONLAT 13 38 BYRADIUS 500 km ASC COUNT N;GEORADIUS K 13 38 500 km DESC COUNT N ANY
GEOSEARCH K FROMLONLAT 13 38 BYRADIUS N m ASC;GEOSEARCH K FROMLONLAT 13 38 BYBOX N N ft ASC
'''
# What they show is left to chance, or its order is: the lengths are compared.
CHANCE = '''
SPOP K N;SRANDMEMBER K N;HRANDFIELD K N;HRANDFIELD K N WITHVALUES;ZRANDMEMBER K N
ZRANDMEMBER K N WITHSCORES;SSCAN K 0 COUNT N;HSCAN K 0 COUNT N;ZSCAN K 0 COUNT N
'''
DRAWS = ('SRANDMEMBER', 'HRANDFIELD', 'ZRANDMEMBER')
DRAWN_MIN = -1000
SCANS = ('SSCAN', 'HSCAN', 'ZSCAN')
# From now on, that is beyond 64 bits.
FAR_MS = I64_MAX - (1 << 50)
TIMES = '''
EXPIRE K N;PEXPIRE K N;EXPIREAT K N;PEXPIREAT K N;EXPIRE K N NX;EXPIRE K N XX;EXPIRE K N GT
EXPIRE K N LT;PEXPIREAT K N LT;GETEX K EX N;GETEX K PX N;GETEX K EXAT N;GETEX K PXAT N
SET K v EX N;SET K v PX N;SET K v EXAT N;SET K v PXAT N;SETEX K N v;PSETEX K N v
RESTORE K N PAYLOAD;RESTORE K N PAYLOAD REPLACE;RESTORE K N PAYLOAD REPLACE ABSTTL
RESTORE K 0 PAYLOAD REPLACE IDLETIME N;RESTORE K 0 PAYLOAD REPLACE FREQ N
'''


def sweeps(text):
    return [s.split() for line in text.strip().splitlines() for s in line.split(';')]


def wraps(words):
    """The #N of BITFIELD times its bits."""
    for kind, place in zip(words, words[1:]):
        if place[:1] == '#' and re.fullmatch('-?[0-9]+', place[1:]) and \
                not I64_MIN <= int(place[1:]) * int(kind[1:]) <= I64_MAX:
            return True
    return False


def undefined(words, number):
    """What redis-server computes without a look at the result is refused or bounded here: the #N of
    BITFIELD, a rank without an opposite, the time at which what was restored ends. And it makes as
    many random elements as it is asked for."""
    given = re.fullmatch('-?[0-9]+', number) and int(number)
    if words[0] in DRAWS:
        return given is not None and I64_MIN <= given < DRAWN_MIN
    if words[0] == 'RESTORE':
        return given is not None and words[2] == number and 'ABSTTL' not in words and \
            FAR_MS < given <= I64_MAX
    return wraps(words) or words[0] == 'LPOS' and 'RANK' in words and \
        words[words.index('RANK') + 1] == str(I64_MIN)


def put(word, number):
    """N, (N, #N, uN, iN"""
    if word in ('N', '(N', '#N', 'uN', 'iN'):
        return word[:-1] + number
    return '' if word == '""' else word


def numbered(words):
    """All ways to put numbers into a sweep."""
    places = [i for i, w in enumerate(words) if w in ('N', '(N', '#N')]
    for number in NUMBERS:
        yield [put(w, number) for w in words]
    if len(places) == 2:
        for pair in itertools.product(PAIRED, repeat=2):
            left = list(pair)
            yield [put(w, left.pop(0)) if i in places else w for i, w in enumerate(words)]


def cases():
    """(kind of comparison, type of the key, words)."""
    for text, how in ((EXACT, 'exact'), (CHANCE, 'chance'), (TIMES, 'time')):
        for sweep in sweeps(text):
            for words in numbered(sweep):
                number = words[sweep.index('N')] if 'N' in sweep else ''
                if undefined(words, number) or number in FEW and (
                        how == 'time' or words[0] in SCANS):
                    continue
                for made in MAKE:
                    yield how, made, words


def ttl_class(reply):
    kind, value = reply
    return (kind, value if value in (b'-1', b'-2') else b'some')


def lengths(reply):
    kind, value = reply
    return (kind, [lengths(v) for v in value]) if isinstance(value, list) else \
        (kind, value if kind == '-' else None)


class Side:
    """One server."""

    def __init__(self, place, key):
        self.conn, self.key = Conn(place), key
        self.conn.call('CONFIG', 'SET', 'proto-max-bulk-len', BULK_BYTES_MAX)
        self.conn.call('SET', key, '12')
        self.payload = self.conn.call('DUMP', key)[1]

    def words(self, words):
        named = {'K': self.key, 'K2': self.key + '2', 'PAYLOAD': self.payload}
        return [named.get(w, w) for w in words]

    def run(self, some):
        """Of each case: its reply, what the key is then, and whether it lives for ever."""
        out = []
        for how, made, words in some:
            see = SIZE if how == 'chance' else SEE.values()
            for cmd in (['DEL', 'K', 'K2'], MAKE[made], words, ['TTL', 'K'], ['TYPE', 'K'], *see):
                out.append(self.words(cmd))
        self.conn.send(out)
        return [self.case(how) for how, _, _ in some]

    def case(self, how):
        self.conn.read()
        self.conn.read()
        reply, ttl, kind = self.conn.read(), ttl_class(self.conn.read()), self.conn.read()
        seen = [self.conn.read() for _ in SEE]
        if how == 'chance':
            reply = lengths(reply)
        # WRONGTYPE of what it is not.
        return reply, ttl, kind, [s for s in seen if s[0] != '-']


BATCH = 64
SHOWN_MAX = 40


def compare(redis, tierra):
    """The number of cases, and how many differ."""
    rest, count, wrong = cases(), 0, 0
    while True:
        some = list(itertools.islice(rest, BATCH))
        if not some:
            return count, wrong
        count += len(some)
        for case, a, b in zip(some, redis.run(some), tierra.run(some)):
            if a != b:
                wrong += 1
                if wrong <= SHOWN_MAX:
                    print('%s of %s\n  redis:  %s\n  tierra: %s' % (case[2], case[1], a, b))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    args = p.parse_args()
    redis = redis_server()
    with side_by_side([redis, *REDIS_ARGS], [args.server]) as paths:
        sides = [Side(path, '{k}') for path in paths]
        count, wrong = compare(*sides)
        for side in sides:
            side.conn.close()
    print('%d calls, %d differ' % (count, wrong))
    return int(wrong != 0)


if __name__ == '__main__':
    sys.exit(main())
