"""What diff_cmds.py makes of a command that another generator gave: words that are left out, twice,
exchanged, or replaced by what is no number, too large a one, or an option of another command.
"""

import re

WORDS = ['', ' ', '0', '-1', '1', '-0', '+1', '01', '1.0', '9223372036854775807',
         '9223372036854775808', '-9223372036854775808', '-9223372036854775809',
         '18446744073709551616', '4294967296', '1e18', '1e400', 'nan', '-nan', 'inf', '-inf',
         '+inf', 'x', '(', '[', '(1', '-', '+', '#', '*', '\0', '\r\n', 'a' * 100,
         'NX', 'XX', 'GT', 'LT', 'CH', 'INCR', 'GET', 'EX', 'COUNT', 'LIMIT', 'MATCH', 'WITHSCORES',
         'WITHVALUES', 'BYLEX', 'BYSCORE', 'REV', 'STORE', 'WEIGHTS', 'AGGREGATE', 'ANY', 'ASC',
         'RANK', 'MAXLEN', 'REPLACE', 'BIT', 'BYTE', 'LEN', 'IDX', 'LEFT', 'MIN', 'KEEPTTL']
KEY_BYTES_MAX = 60000
# Changed, they would wait, take gigabytes, or have results that are left to chance.
NEVER = ('BLPOP', 'BRPOP', 'BLMOVE', 'BRPOPLPUSH', 'BLMPOP', 'BZPOPMIN', 'BZPOPMAX', 'BZMPOP',
         'SETRANGE', 'SETBIT', 'BITFIELD', 'WAIT', 'RESTORE', 'SELECT', 'SPOP', 'SRANDMEMBER',
         'HRANDFIELD', 'ZRANDMEMBER', 'SCAN', 'RANDOMKEY', 'PFDEBUG', 'KEYS', 'PEXPIRE', 'EXPIRE',
         'SORT', 'SORT_RO', 'OBJECT', 'TIME', 'DBSIZE', 'LASTSAVE')
# What lives for so long outlives a run.
LEAST_SECONDS = 1000
EXPIRING = ('SET', 'SETEX', 'PSETEX', 'GETEX')
# Whose words may be keys, or make keys of others.
SPREAD = ('GEORADIUS', 'GEORADIUSBYMEMBER', 'LCS', 'OBJECT', 'PFCOUNT', 'PFMERGE',
          'MSET', 'MSETNX')
# Only of keys whose scores are all equal.
BY_MEMBER = ('ZRANGEBYLEX', 'ZREVRANGEBYLEX', 'ZLEXCOUNT', 'ZREMRANGEBYLEX', 'ZRANGE',
             'ZRANGESTORE')


def as_text(word):
    return word if isinstance(word, (bytes, str)) else str(word)

# These keys are left to the other generators: their scores must be equal; it is no sorted set; SORT
# brings it into the encoding in which redis-server keeps -0; two members at one place have no order
# by distance.
APART = {'ZADD': ('lex:', 'hll:', 'sortzset:'), 'GEOADD': ('geo:',)}


def has_tag(word):
    return isinstance(word, str) and '{' in word


def change(g, args):
    """The same words but for one change. With tags, keys stay as they are, and nothing else becomes
    one."""
    r, out = g.rng, list(args)
    kept = 3 if args[0] in BY_MEMBER else 1
    # No key is as long as a value may be.
    places = [i for i in range(kept, len(out)) if not (g.TAGS and has_tag(out[i])) and
              len(str(out[i])) < 10000]
    if not places:
        return out[:1] if r.random() < 0.5 or g.TAGS else out + [r.choice(WORDS)]
    at = r.choice(places)
    kind = r.random() * (0.65 if g.TAGS else 1)
    if kind < 0.5:
        out[at] = r.choice(WORDS)
    elif kind < 0.65:
        del out[at]
    elif kind < 0.75:
        out.insert(at, out[at])
    elif kind < 0.85:
        other = r.choice(places)
        out[at], out[other] = out[other], out[at]
    elif kind < 0.95:
        out.insert(r.choice(places) + r.randrange(2), r.choice(WORDS))
    else:
        del out[at:]
    return out


def ends_soon(args):
    """Nothing may live for less than a run: when it ends, the two servers are not asked at once."""
    words = [as_text(word).upper() if not isinstance(word, bytes) else '' for word in args]
    units = {'EX': 1, 'PX': 1000, 'SETEX': 1, 'PSETEX': 1000}
    if args[0] not in EXPIRING:
        return False
    # SETEX and PSETEX have the key in between.
    spans = [(words[i + (2 if i == 0 else 1)], units[word]) for i, word in enumerate(words)
             if word in units and i + (2 if i == 0 else 1) < len(words)]
    return any(re.fullmatch(r'\+?\d{1,9}', span) and 0 < int(span) < LEAST_SECONDS * unit
               for span, unit in spans)


def gen_odd(g, draw):
    """A command of another generator, changed."""
    while True:
        cmd = draw(g)
        name = cmd.args[0]
        if cmd.how in ('exact', 'unordered', 'pairs') and name not in NEVER and \
                not (g.TAGS and name in SPREAD) and not (
                    name in APART and cmd.args[1].startswith(APART[name])):
            break
    cmd.args = change(g, cmd.args)
    if g.rng.random() < 0.2:
        cmd.args = change(g, cmd.args)
    if ends_soon(cmd.args):
        return gen_odd(g, draw)
    # What moved to the place of a key must not be longer than one may be here.
    short = all(len(as_text(word)) < KEY_BYTES_MAX for word in cmd.args)
    return cmd if short else gen_odd(g, draw)
