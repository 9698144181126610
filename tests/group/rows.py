"""The rows of conflict_tables.def at servers; what a step is stands there. In rows of commands.py
there are besides

    1 : BITOP NOT %2 %1     a command word by word: %N is a key, @N and @sN a time in ms and s, and
                            $NAME what the row was given under that name
    ? 1:a,@~                with a time to live, whatever it is; the same everywhere
"""

import os
import re
import time

from grouplib import HERE, ErrorReply, pairs

VIRTUAL_START_MS = 1000000  # Times in rows count from here,
STRETCH = 120               # and each of their ms is so many, or more, for what was too late.
LONG = 1000                 # A string above it is shown as "1:20001#6,": bytes, bits that are set.
SOON_MS = 1000              # What "wait" waits for is before this.
ANEW = 100000               # Between the numbers of a row and of the same, run again.
STEP_SECONDS = 0.003        # Longer than the ms that decides which write is the later one.
KINDS = {b'string': 1, b'list': 2, b'set': 3, b'zset': 4, b'hash': 5}


class RowFailed(Exception):
    """The row, and what shows instead."""


class Clock:
    """Times of rows, and the time of day."""

    def __init__(self, stretch=STRETCH):
        self.start_ms = int(time.time() * 1000)
        self.stretch = stretch

    def real(self, virtual_ms):
        return self.start_ms + (virtual_ms - VIRTUAL_START_MS) * self.stretch

    def virtual(self, real_ms):
        ms, rest = divmod(real_ms - self.start_ms, self.stretch)
        return '%d%s' % (ms + VIRTUAL_START_MS, '+%d' % rest if rest else '')

    def due(self, virtual_ms):
        """It may have passed by now at a server, whose clock is that of the group."""
        return time.time() * 1000 > self.real(virtual_ms) - 500

    def wait(self):
        """Until all times before SOON_MS that rows use have passed."""
        time.sleep(max(0, self.real(VIRTUAL_START_MS + 60) / 1000 - time.time()))


def show(member, key, clock):
    kind = member.ok('TYPE', key)
    if kind == b'none':
        return '-'
    if kind == b'string':
        text = member.ok('GET', key)
        items = [text if len(text) <= LONG else b'%d#%d' % (
            len(text), int.from_bytes(text, 'big').bit_count())]
    elif kind == b'list':
        items = member.ok('LRANGE', key, 0, -1)
    elif kind == b'set':
        items = [e + b'=' for e in sorted(member.ok('SMEMBERS', key))]
    elif kind == b'zset':
        scores = pairs(member.ok('ZRANGE', key, 0, -1, 'WITHSCORES'))
        items = [b'%s=%.17g' % (name.encode(), float(scores[name])) for name in sorted(scores)]
    else:
        fields = pairs(member.ok('HGETALL', key))
        items = [b'%s=%s' % (name.encode(), fields[name]) for name in sorted(fields)]
    text = '%d:' % KINDS[kind] + ''.join(i.decode('latin-1') + ',' for i in items)
    at_ms = member.ok('PEXPIRETIME', key)
    return text + ('@' + clock.virtual(at_ms) if at_ms > 0 else '')


def text_of(reply):
    """Of a list the items, with commas between; of nothing, no text."""
    if isinstance(reply, list):
        return ','.join(map(text_of, reply))
    return str(reply) if isinstance(reply, int) else (reply or b'').decode('latin-1')


class Row:
    """One row: its steps, and how far it is."""

    def __init__(self, number, name, steps, given=None):
        self.number, self.name, self.text, self.given = number, name, steps, given or {}
        self.prefix = '{row%d}' % number
        self.about = '%1'
        self.steps = [s.split() for s in steps.split(';') if s.strip()]
        # What it does before it waits must have happened when what it waits for passes.
        before, waits, _ = steps.partition('wait')
        times = [int(n) for n in re.findall(r'\b10\d{5}\b', before)] if waits else []
        self.waits_for = min([n for n in times if n < VIRTUAL_START_MS + SOON_MS], default=None)

    def again(self):
        """The same row, with other keys."""
        return Row(self.number + ANEW, self.name, self.text, self.given)

    def is_late(self, clock):
        return self.waits_for is not None and clock.due(self.waits_for)

    def key(self, word):
        return self.prefix + word[1:]

    def fail(self, why):
        raise RowFailed('row "%s"\n  %s\n  %s' % (self.name, self.text, why))

    def literal(self, word, clock):
        if re.match(r'%\d$', word):
            return self.key(word)
        if re.match(r'@s?\d+$', word):
            at_ms = clock.real(int(word.lstrip('@s')))
            return at_ms // 1000 if word[1] == 's' else at_ms
        return self.given[word[1:]] if word[0] == '$' else word

    def argv(self, words, clock):
        if words[0] == ':':
            return [self.literal(w, clock) for w in words[1:]]
        name, rest = words[0], [self.key(w) if re.match(r'%\d$', w) else w for w in words[1:]]
        if name == 'EXPIRE':
            return ['PEXPIREAT', self.key('%1'), clock.real(int(rest[0]))]
        if 'PXAT' in rest:
            rest[-1] = clock.real(int(rest[-1]))
        if name == 'LINSERT':
            rest.insert(0, 'AFTER')
        return [name, self.key('%1')] + rest

    def commands(self, member, words, clock):
        """One, or several in a batch."""
        want = words.pop()[2:] if words[-1].startswith('=>') else None
        batch = [self.argv(c.split(), clock) for c in ' '.join(words).split(' + ')]
        if len(batch) > 1:
            batch = [['MULTI']] + batch + [['EXEC']]
        for argv in batch:
            reply = member.call(*argv)
            inner = reply if isinstance(reply, list) else [reply]
            wrong = [r for r in inner if isinstance(r, ErrorReply)]
            if wrong and want is None:
                self.fail('%s at %s says "%s"' % (argv, member.name, wrong))
        if want is not None:
            got = text_of(reply)
            if got.split(' ')[0] != want:
                self.fail('%s at %s says "%s"' % (argv, member.name, got))

    def check(self, members, want, clock):
        soon = re.search(r'@(\d+)$', want[0])
        soon = soon and int(soon[1]) < VIRTUAL_START_MS + SOON_MS and int(soon[1])
        held = []
        for m in members:
            got = show(m, self.key(self.about), clock)
            if soon and clock.due(soon) and got == '-':
                continue  # This machine is too slow to see it.
            held.append(got)
            if got not in want and re.sub(r'@[\d+]+$', '@~', got) not in want:
                self.fail('%s of %s shows "%s", not "%s"' % (
                    self.about, m.name, got, '" or "'.join(want)))
        if len(members) > 1 and len(set(held)) > 1:
            self.fail('they differ: %s' % held)

    def step(self, words, members, clock):
        if words[0] == '?':
            self.check(members, words[1:], clock)
        elif words[0].endswith('?'):
            self.check([members[int(words[0][0]) - 1]], words[1:], clock)
        elif words[0] == 'about':
            self.about = words[1]
        elif words[0] == 'empty':
            self.check(members, ['-'], clock)
        elif words[0].isdigit():
            self.commands(members[int(words[0]) - 1], words[1:], clock)
        elif words[0] not in ('same', 'cold', 'crash', 'collect'):
            self.fail('no step: %s' % words)


    def go(self, words, members, clock, failures):
        """Whether the row can go on. A failed one is at its end."""
        try:
            self.step(words, members, clock)
            return True
        except RowFailed as err:
            failures.append(str(err))
            self.steps = []
            return False


def read_rows():
    with open(os.path.join(HERE, 'conflict_tables.def'), encoding='utf-8') as file:
        text = re.sub(r'/\*.*?\*/', '', file.read(), flags=re.S)
    found = re.findall(r'^(?:SERVER_)?ROW\("([^"]*)", (\d),((?:\s*"[^"]*")+)\)', text, flags=re.M)
    assert len(found) == len(re.findall(r'^(?:SERVER_)?ROW\(', text, flags=re.M)), len(found)
    return [Row(i, name, ''.join(re.findall(r'"([^"]*)"', steps)))
            for i, (name, _, steps) in enumerate(found)]


def run_apart(rows, members, clock, failures, late):
    """All rows up to their next "sync", step by step in turn; True if rows are not at their end.
    Those that wait do so together, when all others are done. Those for which this machine is too
    slow end before, and are in `late`."""
    left, waiting, more = list(rows), [], False
    while left or waiting:
        if not left:
            clock.wait()
            left, waiting = waiting, []
        going = []
        for row in left:
            words = row.steps.pop(0) if row.steps else None
            if words == ['sync']:
                more = True
            elif words == ['wait']:
                row.waits_for = None
                waiting.append(row)
            elif words is not None:
                wrong = []
                goes_on = row.go(words, members, clock, wrong)
                if row.is_late(clock):
                    row.steps = []
                    late.append(row)
                    continue
                failures += wrong
                if goes_on:
                    going.append(row)
        left = going
        time.sleep(STEP_SECONDS)
    return more
