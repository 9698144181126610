#!/usr/bin/env python3
"""Hashes many times larger than maxmemory, filled and read one field at a time.

50 clients with pipelines add fields to hashes of some thousand fields, all mixed, so that a field
mostly goes to a hash of which a part has left memory; then one hash of a million small fields is
filled and read, and one of fields of a KiB, alone among very many cold keys. Counted: an HSET or
HGET reads one row from flash at most, beside the key rows of hashes that were cold as a whole: what
a read has brought must not leave before its command has run.
No command may be refused, and the keyspace must stay within maxmemory.
"""

import random
import sys

from faultlib import MB, Fixture, main_of, run_with
from pipelines import Client, drive

MAXMEMORY = 64 * MB
CLIENTS = 50
PIPELINE_BYTES = 16384
HASHES, FIELDS, VALUE = 40, 5000, b'v' * 1000
READS = 20000
BIG_FIELDS, BIG_BATCH, BIG_READS = 1000000, 64, 20000
COLD_KEYS, WIDE_FIELDS = 100000, 64000


class Watch:
    """What the server has read and what it holds, from a connection of its own."""

    def __init__(self, fix):
        self.fix = fix
        self.turns = 0
        self.hot_peak = 0
        self.mark()

    def mark(self):
        self.rows = self.fix.number('row_reads')
        self.keys = self.fix.number('promotions')

    def look(self):
        self.turns += 1
        if self.turns % 256 == 0:
            self.hot_peak = max(self.hot_peak, self.fix.number('hot_bytes'))

    def check(self, what, commands):
        rows = self.fix.number('row_reads') - self.rows
        keys = self.fix.number('promotions') - self.keys
        print('%s: %d commands, %d rows read, %d of them key rows; %.1f MB of keys at most' % (
            what, commands, rows, keys, self.hot_peak / MB))
        assert rows - keys <= commands, 'a command of one field has read more than its row'
        assert self.hot_peak <= MAXMEMORY, self.hot_peak
        assert self.fix.number('refused_writers') == 0
        self.mark()


def run_clients(fix, watch, commands):
    """The commands, (arguments, reply) each, dealt to all clients."""
    clients = [Client(n, fix.server.socket_path, PIPELINE_BYTES) for n in range(CLIENTS)]
    drive(clients, lambda c: commands[c.number::CLIENTS], watch.look)
    for c in clients:
        c.sock.close()


def many(fix, watch, rng):
    names = [(b'hash:%d' % h, b'field:%d' % f) for h in range(HASHES) for f in range(FIELDS)]
    rng.shuffle(names)
    run_clients(fix, watch, [([b'HSET', key, field, VALUE], 1) for key, field in names])
    watch.check('HSET', len(names))
    some = rng.sample(names, READS)
    run_clients(fix, watch, [([b'HGET', key, field], VALUE) for key, field in some])
    watch.check('HGET', len(some))
    for h in range(HASHES):
        assert fix.conn.call('HLEN', b'hash:%d' % h) == FIELDS


def add_fields(key, fields, value):
    """HSETs of BIG_BATCH fields each, with their replies."""
    return [([b'HSET', key] + [x for i in range(at, at + BIG_BATCH) for x in (b'%d' % i, value(i))],
             BIG_BATCH) for at in range(0, fields, BIG_BATCH)]


def big(fix, watch, rng):
    def value(i):
        return b'%064d' % i

    run_clients(fix, watch, add_fields(b'big', BIG_FIELDS, value))
    watch.check('HSET of %d fields' % BIG_BATCH, BIG_FIELDS)
    assert fix.conn.call('HLEN', b'big') == BIG_FIELDS
    some = rng.sample(range(BIG_FIELDS), BIG_READS)
    run_clients(fix, watch, [([b'HGET', b'big', b'%d' % i], value(i)) for i in some])
    watch.check('HGET of a million', len(some))


def wide(fix, watch):
    """Its fields are all there is to free, and the hand of the clock meets its key rarely."""
    replies = fix.conn.pipeline([(b'SET', b'cold:%d' % i, b'x' * 100) for i in range(COLD_KEYS)])
    assert set(replies) == {b'OK'}
    before = fix.number('demoted_elements')
    run_clients(fix, watch, add_fields(b'wide', WIDE_FIELDS, lambda i: b'%01000d' % i))
    watch.check('HSET of %d fields among %d keys' % (BIG_BATCH, COLD_KEYS), WIDE_FIELDS)
    assert fix.conn.call('HLEN', b'wide') == WIDE_FIELDS
    assert fix.number('demoted_elements') - before > WIDE_FIELDS // 4, 'it did not leave in parts'


def run_on(fix):
    watch = Watch(fix)
    rng = random.Random(1)
    many(fix, watch, rng)
    assert fix.number('demoted_elements') > HASHES * FIELDS // 2, 'memory was not short'
    big(fix, watch, rng)
    wide(fix, watch)


def run(args):
    fix = Fixture(args, {'maxmemory': MAXMEMORY, 'save': ''}, 'hashes')
    run_with(fix, run_on)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
