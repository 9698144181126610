"""The writing of partition.py: at all members at once, at a pace, and what must come of it."""

import random
import threading
import time

from grouplib import Conn, ErrorReply, ServerGone, encode, wait_until

COUNTERS = 20
BITMAP = b'bits'     # One of all members: each sets bits that no other one sets.
LONG = 40000         # So that it is in chunks from the start.
BATCH = 50


class Writer(threading.Thread):
    """Batches at one member, one after the other, until it is told to stop or the member ends."""

    def __init__(self, load, member, rng):
        super().__init__(daemon=True)
        self.load, self.name, self.rng = load, member.name, rng
        self.conn = Conn(member.server.socket_path)
        self.over = False
        self.failure = None

    def run(self):
        try:
            due = time.monotonic()
            while not self.over:
                self.batch()
                due = max(due + BATCH / self.load.rate, time.monotonic() - 1)
                time.sleep(max(0.0, due - time.monotonic()))
        except (ServerGone, OSError):
            pass
        except Exception as err:  # pylint: disable=broad-except
            self.failure = err
        finally:
            self.conn.close()

    def batch(self):
        commands = self.load.commands(self.name, self.rng)
        replies = []
        try:
            self.conn.send(b''.join(encode(c) for c in commands))
            for _ in commands:
                replies.append(self.conn.reply())
        finally:
            self.load.account(commands, replies)


class Load:
    """
    Collections have a name for each cycle and are deleted in the next one, at one member: so what
    is held does not grow, and each element that was acknowledged must be there once.
    """

    def __init__(self, seed, rate):
        self.lock = threading.Lock()
        self.seed, self.rate = seed, rate
        self.cycle = 0
        self.number, self.bytes = 0, 0
        self.refused, self.unanswered = 0, 0
        self.sure = {}      # Counter: sum of acknowledged increments,
        self.unknown = {}   # and of those without a reply.
        self.acked = {}     # Collection: elements that were acknowledged.
        self.bits = []      # Of the bitmap, acknowledged,
        self.unknown_bits = 0
        self.writers = []
        self.cycle_writes, self.cycle_bytes = 0, 0

    # --- a cycle ---

    def begin(self, members):
        gone = [self.collection(kind) for kind in (b's', b'l', b'z')]
        if self.cycle == 0:
            members[0].ok('SETRANGE', BITMAP, LONG - 1, 'x')
            wait_until('all have the bitmap', lambda: all(
                m.call('STRLEN', BITMAP) == LONG for m in members))
        self.cycle += 1
        members[self.cycle % len(members)].ok('DEL', *gone)
        self.acked = {}
        self.cycle_writes, self.cycle_bytes = 0, 0
        self.writers = [Writer(self, m, random.Random('%d %d %s' % (self.seed, self.cycle, m.name)))
                        for m in members]
        for w in self.writers:
            w.start()

    def stop(self):
        for w in self.writers:
            w.over = True

    def join(self):
        for w in self.writers:
            w.join()
            if w.failure is not None:
                raise w.failure

    # --- commands ---

    def collection(self, kind):
        return b'%s:%d' % (kind, self.cycle)

    def commands(self, who, rng):
        with self.lock:
            first = self.number
            self.number += BATCH
            self.cycle_writes += BATCH
        made = [self.command(who.encode(), rng, first + i) for i in range(BATCH)]
        size = sum(len(encode(c)) for c in made)
        with self.lock:
            self.bytes += size
            self.cycle_bytes += size
        return made

    def command(self, who, rng, number):
        key = rng.randrange(COUNTERS)
        value = b'%s %d' % (who, number)
        kind = rng.randrange(10)
        if kind == 0:
            return b'INCRBY', b'c:%d' % key, b'%d' % rng.randrange(1, 9)
        if kind == 1:
            return b'HINCRBY', b'h', b'f:%d' % key, b'1'
        if kind == 2:
            return b'ZINCRBY', b'zc', b'1', b'm:%d' % key
        if kind == 3:
            return b'SADD', self.collection(b's'), b'%d' % number
        if kind == 4:
            return b'RPUSH', self.collection(b'l'), b'%d' % number
        if kind == 5:
            return b'ZADD', self.collection(b'z'), b'%d' % key, b'%d' % number
        if kind == 6:
            return b'SET', b'v:%d' % key, value, b'PX', b'%d' % rng.randrange(200, 5000)
        if kind == 7:
            return b'SET', b'v:%d' % key, value
        if kind == 8:
            return b'SETBIT', BITMAP, b'%d' % number, b'1'
        return b'DEL', b'v:%d' % key

    # --- what came of them ---

    def account(self, commands, replies):
        with self.lock:
            self.refused += sum(isinstance(r, ErrorReply) for r in replies)
            self.unanswered += len(commands) - len(replies)
            for i, command in enumerate(commands):
                self._account(command, replies[i] if i < len(replies) else None)

    def _account(self, command, reply):
        name, key = command[0], command[1]
        if isinstance(reply, ErrorReply):
            return
        if name in (b'SADD', b'RPUSH', b'ZADD'):
            if reply is not None:
                self.acked.setdefault(key, []).append(command[-1])
            return
        if name == b'SETBIT':
            if reply is None:
                self.unknown_bits += 1
            else:
                self.bits.append(int(command[2]))
            return
        if name == b'INCRBY':
            counter, by = (key, None), command[2]
        elif name == b'HINCRBY':
            counter, by = (key, command[2]), command[3]
        elif name == b'ZINCRBY':
            counter, by = (key, command[3]), command[2]
        else:
            return
        into = self.unknown if reply is None else self.sure
        into[counter] = into.get(counter, 0) + int(by)

    @staticmethod
    def _elements(value):
        if value is None:
            return []
        kind, elements = value
        return elements[::2] if kind == b'zset' else list(elements)

    @staticmethod
    def _count(held, key, field):
        value = held.get(key)
        if field is None:
            return int(value or 0)
        if value is None:
            return 0
        kind, elements = value
        if kind == b'zset':
            elements = dict(zip(elements[::2], elements[1::2]))
        return int(elements.get(field, 0))

    def _check_bits(self, text):
        missing = [n for n in self.bits if text[n // 8] >> (7 - n % 8) & 1 == 0]
        assert not missing, 'acknowledged bits are gone: %s' % missing[:5]
        count = int.from_bytes(text, 'big').bit_count()
        most = len(self.bits) + self.unknown_bits + 4
        assert count <= most, '%d bits are set, not %d' % (count, most)

    def check(self, held):
        for name in set(self.sure) | set(self.unknown):
            got = self._count(held, *name)
            low = self.sure.get(name, 0)
            high = low + self.unknown.get(name, 0)
            assert low <= got <= high, 'counter %r is %d, not within %d and %d' % (
                name, got, low, high)
        self._check_bits(held[BITMAP])
        for key, acked in self.acked.items():
            elements = self._elements(held.get(key))
            missing = set(acked) - set(elements)
            assert not missing, 'acknowledged elements of %r are gone: %s' % (
                key, sorted(missing)[:5])
            assert len(set(elements)) == len(elements), 'elements of %r are there twice' % key
        old = [key for key in held if key[:2] in (b's:', b'l:', b'z:') and
               not key.endswith(b':%d' % self.cycle)]
        assert not old, 'deleted keys are there: %s' % old[:5]
