#!/usr/bin/env python3
"""maxmemory is full of keys alone: their entries in the key table, everything else being cold.

Hundreds of thousands of tiny keys come in and become cold. The server starts again with less
memory, and maxmemory is lowered further, to what the process takes by then: a write is refused with
-OOM and the reason, since nothing is left to be freed. Reads of cold keys, deletes and expiry go on
meanwhile, and writes are taken again when maxmemory is raised. What was acknowledged is there, at
once and after a kill. That the reads make a few keys hot gives no writer hope: one that sends many
writes at once is not made to wait for each of them.
"""

import sys

from faultlib import MB, WAIT_S, Fixture, main_of, wait_until

MAXMEMORY = 32 * MB
FILL_MAXMEMORY = 256 * MB  # The fill should not have to wait.
KEYS = 600000
BATCH = 500
WAVE = 50000
PAIRS = 20


def name(number):
    return b'k%x' % number


def parts(numbers):
    return [numbers[at:at + BATCH] for at in range(0, len(numbers), BATCH)]


def check(fix, present, absent):
    for numbers, there in ((present, True), (absent, False)):
        keys = [name(i) for i in numbers]
        for key, value in zip(keys, fix.conn.pipeline([(b'GET', key) for key in keys])):
            assert value == (key if there else None), (key, value)


def fill(fix):
    for first in range(0, KEYS, WAVE):
        commands = [(b'MSET', *[word for i in some for word in (name(i), name(i))])
                    for some in parts(range(first, first + WAVE))]
        replies = fix.conn.pipeline(commands, 8)
        assert all(reply == b'OK' for reply in replies), [r for r in replies if r != b'OK'][:1]
        assert fix.conn.call('DEBUG', 'RELOAD') == b'OK'
    wait_until('all is cold', WAIT_S, lambda: fix.number('cold_keys') == KEYS)
    assert fix.number('keytab_bytes') > 7 * KEYS


def lower_maxmemory(fix):
    """Until a write is refused: what the allocator keeps for reuse goes first."""
    def refused():
        fix.conn.call('CONFIG', 'SET', 'maxmemory', fix.number('budget_used') * 97 // 100)
        fix.refusal = fix.conn.call('SET', 'more', 'x')
        return fix.refusal != b'OK'

    wait_until('a refusal', WAIT_S, refused)
    assert fix.refusal.startswith(b'OOM ') and b'keys alone' in fix.refusal, fix.refusal


def refuse_at_once(fix):
    """Writes among reads, which bring in less than what is too much."""
    maxmemory = int(fix.conn.call('CONFIG', 'GET', 'maxmemory')[1])
    assert fix.conn.call('CONFIG', 'SET', 'maxmemory', maxmemory * 95 // 100) == b'OK'
    before = fix.number('delayed_writers')
    commands = [command for i in range(PAIRS)
                for command in ((b'GET', name(i)), (b'SET', name(i), b'x'))]
    replies = fix.conn.pipeline(commands, len(commands))
    assert replies[::2] == [name(i) for i in range(PAIRS)], replies
    assert all(reply.startswith(b'OOM ') for reply in replies[1::2]), replies
    delayed = fix.number('delayed_writers') - before
    print('%d of %d writes waited' % (delayed, PAIRS))
    assert delayed <= PAIRS // 2, delayed


def run_on(fix):
    lower_maxmemory(fix)
    maxmemory = int(fix.conn.call('CONFIG', 'GET', 'maxmemory')[1])
    print('refused at %.1f MB with %d keys, %.1f MB of them: %s' % (
        maxmemory / MB, fix.conn.call('DBSIZE'), fix.number('keytab_bytes') / MB,
        fix.refusal.decode()))
    refuse_at_once(fix)
    more = fix.conn.call('EXISTS', 'more')
    check(fix, range(0, KEYS, 997), range(KEYS + 1, KEYS + 1000))
    # Expiry and deletes go on.
    assert fix.conn.call('PEXPIRE', name(0), 1) == 1
    wait_until('it expires', WAIT_S, lambda: fix.info('stats', 'expired_keys') != '0')
    gone = [i for i in range(1, KEYS) if i % 8 != 0]
    for some in parts(gone):
        assert fix.conn.call('DEL', *[name(i) for i in some]) == len(some)
    # What a few MB of deleted keys give back goes under in what buffers and caches take.
    assert fix.conn.call('CONFIG', 'SET', 'maxmemory', FILL_MAXMEMORY) == b'OK'
    wait_until('writes are taken', WAIT_S, lambda: fix.conn.call('SET', name(0), name(0)) == b'OK')
    left = range(0, KEYS, 8)
    check(fix, left[::97], gone[::997])
    assert fix.conn.call('DBSIZE') == len(left) + more
    return left, gone, more


def run(args):
    options = {'maxmemory': FILL_MAXMEMORY, 'appendfsync': 'no', 'save': '',
               'enable-debug-command': 'yes'}
    fix = Fixture(args, options, 'keys')
    try:
        fix.start()
        fill(fix)
        assert fix.stop() == 0
        fix.options = dict(options, maxmemory=MAXMEMORY)
        fix.start()
        left, gone, more = run_on(fix)
        assert fix.server.kill() is None, 'the server ended by itself'
        fix.start()
        check(fix, left[::97], gone[::997])
        assert fix.conn.call('DBSIZE') == len(left) + more
        assert fix.stop() == 0
    except BaseException:
        fix.fail()
        raise
    fix.finish()


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
