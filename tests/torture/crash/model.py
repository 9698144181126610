"""What must be there after a crash.

Each connection writes keys of its own. After a crash what is there must be what the first n of its
operations made, for one n; every acknowledged operation is among them if the mode of syncing
promises it. All connections together must be a prefix of one log: no operation is there if another
is missing that had been acknowledged before the first was sent.
"""

from node import ErrorReply
from state import Short, State, apply_op, changed_keys, piece, read_keys, text_of

# TTL of a key that is not there, and of one that does not expire.
TTL_NO_KEY = -2
TTL_NONE = -1
# Ways to explain what was under way that are followed at the same time.
WAYS_MAX = 200
# The server counts whole milliseconds, as Redis does, and by another clock. Seconds.
CLOCK_STEP = 0.002


class Op:
    """One command, or a transaction of several."""

    __slots__ = ('commands', 'effects', 'multi', 'sent', 'acked', 'done', 'expect')

    def __init__(self, commands, effects, multi=False, expect=None):
        self.commands = commands  # Lists of bytes.
        self.effects = effects    # Per command: list of (name, key, arguments...).
        self.multi = multi
        self.sent = self.acked = None
        self.done = None          # Indexes of the commands that took effect; None: all or unknown.
        self.expect = expect      # Of a reading: (key); its value is known at the reply.

    def wire(self):
        if self.multi:
            return [[b'MULTI'], *self.commands, [b'EXEC']]
        return self.commands

    def keys(self, which=changed_keys):
        """Those it changes."""
        return {key for effects in self.effects for e in effects for key in which(e)}


def flush_op():
    """FLUSHALL: one for each connection, with the same times."""
    return Op([[b'FLUSHALL']], [[('flush', None)]])


# --- what is there ---

READS = {
    b'h': lambda k: [b'HGETALL', k], b'u': lambda k: [b'SMEMBERS', k],
    b'z': lambda k: [b'ZRANGE', k, b'0', b'-1', b'WITHSCORES'],
    b'l': lambda k: [b'LRANGE', k, b'0', b'-1'],
}


def read_command(key):
    return READS.get(key[:1], lambda k: [b'GET', k])(key)


def _matches_pairs(value, reply):
    pairs = dict(zip(reply[::2], reply[1::2]))
    if len(pairs) != len(value) or len(reply) != 2 * len(value):
        return False
    if isinstance(next(iter(value.values())), bytes):
        return pairs == value
    order = sorted((s, m) for m, s in value.items())
    return reply == [x for s, m in order for x in (m, b'%d' % s)]


def matches(value, reply, start, end):
    """Whether the reply to read_command, given between start and end, shows this value."""
    if isinstance(reply, ErrorReply):
        return False
    if isinstance(value, Short):
        if reply is None:
            return value.from_time is None or end >= value.from_time + value.ttl - CLOCK_STEP
        alive = value.to_time is None or start <= value.to_time + value.ttl
        return alive and reply == piece(value.part)
    if value is None:
        return not reply
    if isinstance(value, int):
        return reply == b'%d' % value
    if isinstance(value, bytes):
        return reply == value
    if isinstance(value, frozenset):
        return len(reply) == len(value) and frozenset(reply) == value
    if isinstance(value, dict):
        return _matches_pairs(value, reply)
    if isinstance(reply, list):
        return tuple(reply) == value
    return reply is not None and reply == text_of(value)


def agrees(state, key, seen):
    """`seen`: (reply, TTL, start, end)."""
    reply, ttl, start, end = seen
    value = state.get(key)
    if not matches(value, reply, start, end):
        return False
    if isinstance(value, Short):
        return True
    if key in state.expiring:
        return ttl > 0
    return ttl == (TTL_NO_KEY if value is None else TTL_NONE)


def show(state, key):
    value = state.get(key)
    text = repr((value.part, value.ttl, value.from_time, value.to_time)
                if isinstance(value, Short) else value)
    text = text if len(text) < 160 else text[:160] + '...'
    return text + (' with expiry' if key in state.expiring else '')


class Writer:
    """The model of one connection: the state before the last start of load, and what followed."""

    def __init__(self):
        self.base = State()
        self.state = State()
        self.keys = set()   # Ever used.
        self.log = []       # Sent since `base`: acknowledged ones, then those in flight.
        self.acked = 0
        self.refused = 0    # For want of memory, since `base`.

    def begin(self):
        self.log = []
        self.refused = 0
        self.acked = 0
        self.state = self.base.copy()

    def sent(self, op, now):
        op.sent = now
        self.log.append(op)

    def flushed(self, sent, acked):
        """All before is acknowledged. `acked`: None if it is not known to have been done."""
        op = flush_op()
        self.sent(op, sent)
        if acked is not None:
            op.acked = acked
            self.acked += 1
            apply_op(self.state, op)

    def flush_at(self):
        """The index of the last FLUSHALL, or None."""
        return next((i for i in range(len(self.log) - 1, -1, -1)
                     if self.log[i].commands == [[b'FLUSHALL']]), None)

    def bound(self, before):
        """How many operations had been acknowledged at the time `before`."""
        count = 0
        while count < self.acked and self.log[count].acked <= before:
            count += 1
        return count

    def touched(self):
        """The keys that `log` may have changed."""
        if self.flush_at() is not None:
            return set(self.keys)
        return {key for op in self.log for key in op.keys()}

    def find(self, actual, n_min):
        """
        `actual`: key -> (reply, TTL, start, end). The range of n that explains it, or None and a
        text.
        """
        state = self.base.copy()
        for op in self.log[:n_min]:
            apply_op(state, op)
        wrong = {k for k, seen in actual.items() if not agrees(state, k, seen)}
        first = last = best = None
        for n in range(n_min, len(self.log) + 1):
            if n > n_min:
                op = self.log[n - 1]
                apply_op(state, op)
                keys = op.keys()
                for key in actual if None in keys else keys:
                    wrong.discard(key)
                    if not agrees(state, key, actual[key]):
                        wrong.add(key)
            if best is None or len(wrong) < best[0]:
                keys = sorted(wrong)[:5]
                best = (len(wrong), n, keys, {k: show(state, k) for k in keys})
            if not wrong:
                first = n if first is None else first
                last = n
        if first is not None:
            return (first, last), ''
        found = self.find_refused(actual, n_min) if self.refused else None
        if found is not None:
            return found, ''
        return None, self.explain(actual, n_min, best)

    def find_refused(self, actual, n_min):
        """
        Where memory was short, commands under way may have been refused one by one. The same as
        find, with any of the unanswered ones left out; marks those.
        """
        state = self.base.copy()
        for op in self.log[:n_min]:
            apply_op(state, op)
        unknown = self.log[n_min:]
        changed = {key for op in unknown for key in op.keys()}
        if any(not agrees(state, k, seen) for k, seen in actual.items() if k not in changed):
            return None
        last = {key: i for i, op in enumerate(unknown) for key in op.keys()}
        ways = [(state.part({key for op in unknown for key in op.keys(read_keys)}), [])]
        for i, op in enumerate(unknown):
            both = []
            for way, left_out in ways:
                done = way.copy()
                apply_op(done, op)
                both += [(done, left_out), (way, left_out + [op])]
            final = [k for k in op.keys() if last[k] == i]
            ways = [(way, left_out) for way, left_out in both
                    if all(agrees(way, k, actual[k]) for k in final)][:WAYS_MAX]
        if not ways:
            return None
        for op in ways[0][1]:
            op.done = ()
        return len(self.log), len(self.log)

    def explain(self, actual, n_min, best):
        count, n, keys, due = best
        lines = ['no n in %d..%d (acknowledged %d) explains what is there; nearest n=%d, %d keys '
                 'differ:' % (n_min, len(self.log), self.acked, n, count)]
        for key in keys:
            lines.append('  %r: due %s, there %.160r TTL %s, read from %.3f to %.3f' %
                         (key, due[key], *actual[key]))
            history = [(i + 1, [c[:2] for c in op.commands]) for i, op in enumerate(self.log)
                       if key in op.keys()]
            lines.append('    changed by its operations %.400r' % history[-8:])
        return '\n'.join(lines)

    def accept(self, n):
        """The crash left the first n operations: what follows builds on them."""
        for op in self.log[:n]:
            apply_op(self.base, op)
        self.begin()


def check_order(writers, ranges):
    """
    One log holds the operations of all connections: what is there must be a prefix of it, as far
    as the order is known from outside. Returns a text, empty if all is well.
    """
    for i, first in enumerate(writers):
        n_min = ranges[i][0]
        if n_min == 0:
            continue
        sent = first.log[n_min - 1].sent
        for j, other in enumerate(writers):
            n_max = ranges[j][1]
            if j != i and n_max < other.acked and other.log[n_max].acked < sent:
                return ('not a prefix: operation %d of connection %d is there, but not operation '
                        '%d of connection %d, acknowledged %.3f s before it was sent' %
                        (n_min, i, n_max + 1, j, sent - other.log[n_max].acked))
    return check_flush(writers, ranges)


def check_flush(writers, ranges):
    """FLUSHALL empties the keys of all connections, or of none."""
    at = [w.flush_at() for w in writers]
    done = [i for i, (low, _) in enumerate(ranges) if at[i] is not None and low > at[i]]
    undone = [i for i, (_, high) in enumerate(ranges) if at[i] is not None and high <= at[i]]
    if done and undone:
        return 'FLUSHALL was done for connections %s and not for %s' % (done, undone)
    return ''
