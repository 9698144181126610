#!/usr/bin/env python3
"""maxmemory under reads alone: nothing is written, every read brings a key into memory.

Five times the memory is written and brought to flash; then there is nothing dirty any more and no
batch is written, but GETs of random keys, each asked for twice so that it is promoted, bring twelve
times the memory in. The bytes of resident keys, as the keyspace counts them, must stay within
maxmemory: with a demotion that waits for batches they become five times as much, all there is.
"""

import random
import sys

from faultlib import MB, WAIT_S, Conn, Fixture, main_of, run_with, wait_until
from node import encode

MAXMEMORY = 48 * MB
WRITTEN = 5 * MAXMEMORY
READ = 12 * MAXMEMORY
CONNS = 32
BATCH = 16
VALUE_BYTES = 15000


def read(fix, keys, conns):
    """
    Each key twice, all connections at once; a value of each batch is compared, of all the size.
    The most that the resident keys took.
    """
    most = 0
    rounds = [keys[at:at + BATCH] for at in range(0, len(keys), BATCH)]
    for at in range(0, len(rounds), len(conns)):
        busy = list(zip(conns, rounds[at:at + len(conns)]))
        for conn, some in busy:
            conn.send(b''.join(encode((b'GET', key)) for key in some + some))
        for conn, some in busy:
            replies = [conn.reply() for _ in some + some]
            assert replies[0] == replies[BATCH] == fix.value(some[0], 1), some[0]
            assert all(len(reply) == VALUE_BYTES for reply in replies), some
        most = max(most, fix.number('hot_bytes'))
    return most


def run_on(fix):
    count = WRITTEN // fix.value_len
    _, refusal = fix.fill(0, count, 1)
    assert refusal is None, refusal
    wait_until('all is written back', WAIT_S, lambda: fix.number('dirty_rows') == 0)
    flushes, promotions = fix.number('flushes'), fix.number('promotions')
    conns = [Conn(fix.server.socket_path) for _ in range(CONNS)]
    rng = random.Random(1)
    keys = sorted(fix.model)
    most = read(fix, [rng.choice(keys) for _ in range(READ // VALUE_BYTES // BATCH * BATCH)], conns)
    promoted = (fix.number('promotions') - promotions) * fix.value_len
    print('%d MB came in, at most %.1f MB were resident' % (promoted // MB, most / MB))
    assert promoted > 2 * MAXMEMORY, 'too little came in'
    assert most <= MAXMEMORY, 'resident keys: %.1f MB of %.1f' % (most / MB, MAXMEMORY / MB)
    assert fix.number('flushes') - flushes <= 1, 'something was written'
    for conn in conns:
        conn.close()


def run(args):
    fix = Fixture(args, {'maxmemory': MAXMEMORY, 'save': ''}, 'reads')
    fix.value_len = VALUE_BYTES
    run_with(fix, run_on)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
