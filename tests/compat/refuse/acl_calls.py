"""Calls of every command that has keys, made of the command table: COMMAND DOCS tells the words of
a call and which of them are keys, COMMAND INFO what it does to them.

Of each command there are the call with what must be there, one with each optional part, and one
with every alternative of a choice; parts that may stand several times stand twice.
"""

from refuselib import ErrorReply

READS, WRITES = {b'access'}, {b'insert', b'delete', b'update'}
VALUES = {b'string': b'v', b'integer': b'1', b'double': b'0.001', b'unix-time': b'9',
          b'pattern': b'*'}
NAMED = {b'encoding': b'u8', b'operation': b'AND', b'numkeys': b'2'}
# What reads no key by a pattern: that would need all keys.
PATTERNS = {b'BY': b'nosort', b'GET': b'#'}
# In COMMAND DOCS the one key and KEYS stand beside each other, and PFDEBUG has no words. It writes
# to what may be read, in redis-server, too.
BY_HAND = {
    b'migrate': [(b'h 1 $0 0 9', 'rw'), (b'h 1 $0 0 9 COPY REPLACE', 'rw'),
                 (b'h 1 $e 0 9 KEYS $0 $1', 'rw rw'),
                 (b'h 1 $e 0 9 AUTH2 a b KEYS $0 $1 $2', 'rw rw rw')],
    b'pfdebug': [(b'ENCODING $0', 'r'), (b'TODENSE $0', 'r')],
}


class Key:
    """The place of a key; `access`: a string of "r" and "w"."""

    def __init__(self, access):
        self.access = access


def fields_of(flat):
    return dict(zip(flat[::2], flat[1::2]))


def access_of(flags):
    flags = {f.lower() for f in flags}
    return 'r' * bool(flags & READS) + 'w' * bool(flags & WRITES)


class Words:
    """What the arguments of one command may be."""

    def __init__(self, info):
        self.accesses = [access_of(fields_of(spec)[b'flags']) for spec in info[8]]

    def one(self, arg):
        """Ways to write it once, without its token."""
        kind = arg[b'type']
        if kind == b'key':
            return [[Key(self.accesses[arg[b'key_spec_index']])]]
        if kind == b'pure-token':
            return [[]]
        if kind == b'oneof':
            return [way for inner in arg[b'arguments'] for way in self.ways(fields_of(inner))]
        if kind == b'block':
            return self.all([fields_of(inner) for inner in arg[b'arguments']])
        return [[PATTERNS.get(arg.get(b'token')) or NAMED.get(arg[b'name']) or VALUES[kind]]]

    def ways(self, arg):
        """Ways to write it where it must be."""
        token = [arg[b'token']] if b'token' in arg else []
        flags = arg.get(b'flags', [])
        found = []
        for way in self.one(arg):
            if b'multiple_token' in flags:
                found.append((token + way) * 2)
            else:
                found.append(token + way * (2 if b'multiple' in flags else 1))
        return found

    def all(self, args):
        """Of a list of them: each of the optional ones and each alternative is in one of the ways,
        at least."""
        ways = [self.ways(arg) for arg in args]
        optional = [b'optional' in arg.get(b'flags', []) for arg in args]
        least = [[] if o else w[0] for o, w in zip(optional, ways)]
        found = [sum(least, [])]
        for at, some in enumerate(ways):
            for way in some if optional[at] else some[1:]:
                found.append(sum(least[:at] + [way] + least[at + 1:], []))
        return found


def by_hand(name):
    calls = []
    for text, accesses in BY_HAND[name]:
        keys = accesses.split()
        calls.append([name] + [b'' if w == b'$e' else Key(keys[int(w[1:])]) if w[:1] == b'$' else w
                               for w in text.split()])
    return calls


def words_change_access(call):
    """SET and BITFIELD: what their keys must allow depends on the other words."""
    words = [w for w in call if not isinstance(w, Key)]
    if call[0] == b'set':
        call[1] = Key('rw' if b'GET' in words else 'w')
    elif call[0] == b'bitfield':
        call[1] = Key('rw' if {b'SET', b'INCRBY'} & set(words) else 'r')


def calls(conn):
    """Lists of words and Keys: of every command that has keys, subcommands included. Channels of
    shards are no keys."""
    infos, left = {}, list(conn.call('COMMAND'))
    while left:
        info = left.pop()
        infos[info[0]] = info
        left += info[9]
    docs, left = {}, conn.call('COMMAND', 'DOCS')
    while left:
        name, doc = left[0], fields_of(left[1])
        docs[name] = doc
        left = doc.get(b'subcommands', []) + left[2:]
    found = []
    for name in sorted(n for n, info in infos.items() if info[8]):
        if name in BY_HAND:
            found += by_hand(name)
            continue
        args = [fields_of(arg) for arg in docs[name][b'arguments']]
        found += [name.split(b'|') + way for way in Words(infos[name]).all(args)]
    for call in found:
        words_change_access(call)
    return [call for call in found if any(isinstance(w, Key) for w in call)]


# --- who may ---

# Each key is one of ok*, but for one.
RULES = 'reset on nopass +@all ~ok* %R~r* %W~w*'
BESIDE = 'reset on nopass +@all ~ok* (+@all ~beside*)'
DENIED = b'NOPERM this user has no permissions to access one of the keys used as arguments'


def filled(call, at=None, name=b''):
    """With names for keys; that of the key number `at` is given."""
    words, number = [], 0
    for word in call:
        if isinstance(word, Key):
            word = name if number == at else b'ok%d' % number
            number += 1
        words.append(word)
    return words


def attempts(call):
    """(user, words, whether they are denied, the key that is): each key in turn is one that may not
    be touched, or only be read, or only be written, or only by the selector that denies others."""
    keys = [w for w in call if isinstance(w, Key)]
    for at, key in enumerate(keys):
        for user, name, denied in ((b'u', b'no', True), (b'u', b'r', 'w' in key.access),
                                   (b'u', b'w', 'r' in key.access),
                                   (b's', b'beside', len(keys) > 1)):
            yield user, filled(call, at, name), denied, None if user == b's' else name


def check_keys(f):
    """Of `f` (known_flaws.py): every command with every key of it denied."""
    f.check('rules', f.call('ACL SETUSER u ' + RULES) == b'OK')
    f.check('rules', f.call('ACL SETUSER s ' + BESIDE) == b'OK')
    users = {}
    for name in (b'u', b's'):
        users[name] = f.place.conn(f.server)
        users[name].call('AUTH', name, 'x')
    found = calls(f.conn)
    for call in found:
        good = filled(call)
        keys = sorted(w for w, was in zip(good, call) if isinstance(was, Key))
        got = f.call([b'COMMAND', b'GETKEYS'] + good)
        f.check('keys of %s' % good, isinstance(got, list) and sorted(got) == keys, got)
        got = f.call([b'ACL', b'DRYRUN', b'u'] + good)
        f.check('%s, allowed' % good, got == b'OK', got)
        for user, words, denied, key in attempts(call):
            check_one(f, users[user], user, words, denied, key)
    f.check('nothing was done', f.call('DBSIZE') == 0, f.call('KEYS *'))
    # All of them could have been.
    for call in found:
        if call[0] != b'migrate':
            got = users[b'u'].call(*filled(call))
            f.check('%s, sent' % filled(call), not isinstance(got, ErrorReply) or not (
                got == b'ERR syntax error' or got.startswith((b'NOPERM', b'ERR wrong'))), got)
    for conn in users.values():
        conn.close()
    f.call('ACL DELUSER s u')
    f.call('FLUSHALL')
    print('%d calls of %d commands' % (len(found), len({call[0] for call in found})))


def check_one(f, conn, user, words, denied, key):
    got = f.call([b'ACL', b'DRYRUN', user] + words)
    if not denied:
        f.check('%s by %s, allowed' % (words, user), got == b'OK', got)
        return
    wanted = b"This user has no permissions to access the '%s' key" % (key or b'')
    f.check('%s by %s' % (words, user), isinstance(got, bytes) and
            (got == wanted if key else got.startswith(wanted.split(b"'", maxsplit=1)[0])), got)
    got = conn.call(*words)
    f.check('%s by %s, sent' % (words, user), isinstance(got, ErrorReply) and got == DENIED, got)
    conn.call('MULTI')
    got = [conn.call(*words), conn.call('EXEC')]
    f.check('%s by %s, within MULTI' % (words, user),
            all(isinstance(r, ErrorReply) for r in got), got)
