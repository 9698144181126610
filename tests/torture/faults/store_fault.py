#!/usr/bin/env python3
"""RocksDB's writes and syncs fail under a running server; it mends itself when they no longer do.

For each fault (fault_shim.c): all keys are made cold, and overwritten until a write is refused with
MISCONF and the reason. Then reads of what is resident and of what is cold go on, deletes are taken,
SAVE says that it failed and why, INFO tells the state. When the fault has gone writes are taken
again without a restart. Everything acknowledged is there, read from the store that mended itself
and after a kill. Nothing is evicted while the store takes no writes. Faults that stay: the server
is killed, or stopped, within the fault, and the next start has everything.
"""

import errno
import sys

from faultctl import Faults
from faultlib import MB, WAIT_S, Conn, ErrorReply, Fixture, main_of, wait_until

OPTIONS = {'maxmemory': '64mb', 'store-memtable-bytes': '2mb', 'appendfsync': 'no', 'save': '',
           'oplog-segment-bytes': '1mb', 'enable-debug-command': 'yes'}
KEYS = 3000
NOT_OPENED = b'flash tier could not be opened again'

# What fails, with what, and a part of the reason that the client is to see.
FAULTS = (
    (('write', '.sst', errno.EIO), b'error'),
    (('sync', '.sst', errno.EIO), b'error'),
    (('write', '.sst', errno.ENOSPC), b'No space left'),
    (('write', 'MANIFEST', errno.EIO), b'error'),
    (('sync', 'MANIFEST', errno.EIO), b'error'),
    (('open', '.sst', errno.EIO), b'error'),
)


def overwrite_until_refused(fix, generation):
    """SETs over all keys, again and again: the first that is refused, and the refusal."""
    for round_ in range(20):
        for i in range(0, KEYS, 64):
            keys = [b'key:%d' % k for k in range(i, min(i + 64, KEYS))]
            value_of = generation + round_
            replies = fix.conn.pipeline(
                [(b'SET', key, fix.value(key, value_of)) for key in keys], 64)
            refusal = None
            for key, reply in zip(keys, replies):
                if reply == b'OK':
                    fix.model[key] = value_of
                else:
                    refusal = refusal or (key, reply)
            if refusal:
                return refusal
        fix.conn.call('BGREWRITEAOF')
    raise AssertionError('no write was refused although the store cannot be written')


def reload_all(fix):
    """Everything is cold then: whoever reads it reads the store, write buffers and tables."""
    shards = int(fix.options.get('shards', 1))
    # DEBUG runs on the shard of the connection, and a new one goes where there are the fewest.
    others = [Conn(fix.server.socket_path) for _ in range(shards - 1)]

    def all_cold():
        for conn in [fix.conn] + others:
            assert conn.call('DEBUG', 'RELOAD') == b'OK'
        return fix.number('cold_keys') == fix.conn.call('DBSIZE')

    wait_until('all is cold', WAIT_S, all_cold)
    for conn in others:
        conn.close()


def kill_and_start(fix):
    assert fix.server.kill() is None, 'the server ended by itself'
    fix.start()
    fix.check(sorted(fix.model))


def check_readable(fix, keys, closes):
    """What was written since all was cold is resident, and read whatever happens to the store. If
    it closes, by attempts to open it that fail, the others may have an error that says so."""
    resident = [key for key in keys if fix.model[key] != 1]
    fix.check(resident)
    for key in set(keys) - set(resident):
        reply = fix.conn.call('GET', key)
        if closes and isinstance(reply, ErrorReply):
            assert NOT_OPENED in reply, reply
        else:
            assert reply == fix.value(key, 1), (key, reply and reply[:40])


def ailing(fix, key, reason, closes=False):
    """What holds while it cannot be written, and `key` was refused."""
    keys = sorted(fix.model)
    refusal = fix.conn.call('SET', key, 'x')
    assert refusal.startswith(b'MISCONF Errors writing to the flash tier: '), refusal
    assert reason.lower() in refusal.lower(), refusal
    assert fix.info('tiering', 'store_status') != 'ok'
    assert fix.info('tiering', 'store_last_error') != ''
    check_readable(fix, keys[::53], closes)
    fix.delete(keys[::101])
    fix.check(keys[::101])
    save = fix.conn.call('SAVE')
    assert save.startswith(b'ERR the checkpoint failed'), save
    assert reason.lower() in save.lower(), save


def goes_away(args, fault, reason, saves, options=None):
    fix = Fixture(args, options or OPTIONS, 'store')
    faults = Faults(args.shim, fix.work)
    try:
        fix.start(env=faults.env)
        fix.fill(0, KEYS, 1)
        reload_all(fix)
        rule = faults.add(fault[0], fault[1], err=fault[2], writing=True)
        key, refusal = overwrite_until_refused(fix, 2)
        assert refusal.startswith(b'MISCONF'), refusal
        ailing(fix, key, reason, closes=fault[1] == 'MANIFEST')
        assert faults.figures(rule)[1] > 0
        faults.clear()
        wait_until('all is well', WAIT_S, lambda: fix.info('tiering', 'store_status') == 'ok')
        wait_until('writes are taken', WAIT_S, fix.probe)
        reopens = fix.number('store_reopens')
        reload_all(fix)
        fix.check(sorted(fix.model))
        if saves:
            assert fix.conn.call('SAVE') == b'OK'
        kill_and_start(fix)
        fix.fill(0, KEYS, 100)
        kill_and_start(fix)
        assert fix.conn.call('DBSIZE') == len(fix.model) + 1
        assert fix.stop() == 0
    except BaseException:
        fix.fail()
        raise
    fix.finish()
    print('%s of %s, %s: reopened %d times; %s' % (
        fault[0], fault[1], errno.errorcode[fault[2]], reopens, refusal.decode()[:200]))


def stays(args, end):
    fix = Fixture(args, OPTIONS, 'store')
    faults = Faults(args.shim, fix.work)
    try:
        fix.start(env=faults.env)
        fix.fill(0, KEYS, 1)
        faults.add('sync', '.sst')
        key, _ = overwrite_until_refused(fix, 2)
        ailing(fix, key, b'error')
        if end == 'kill':
            assert fix.server.kill() is None, 'the server ended by itself'
        else:
            assert fix.stop() == 4, 'exit code'
        fix.start()
        fix.check(sorted(fix.model))
        assert fix.conn.call('DBSIZE') == len(fix.model)
        assert fix.probe()
        assert fix.stop() == 0
    except BaseException:
        fix.fail()
        raise
    fix.finish()
    print('%s within the fault: nothing lost' % end)


def evicts_nothing(args):
    """With a maxflash far below what there is, until the store takes writes again."""
    fix = Fixture(args, OPTIONS, 'store')
    faults = Faults(args.shim, fix.work)
    try:
        fix.start(env=faults.env)
        fix.fill(0, KEYS, 1)
        faults.add('sync', '.sst')
        overwrite_until_refused(fix, 2)
        for name, value in (('maxmemory-policy', 'allkeys-random'), ('maxflash', 2 * MB)):
            assert fix.conn.call('CONFIG', 'SET', name, value) == b'OK'
        wait_until('too much flash is known', WAIT_S, lambda: fix.info(
            'stats', 'current_eviction_exceeded_time') != '0')
        wait_until('attempts', WAIT_S, lambda: 'attempt=4' in fix.server.log_text())
        assert fix.info('stats', 'evicted_keys') == '0'
        fix.check(sorted(fix.model))
        faults.clear()
        wait_until('evictions', WAIT_S, lambda: fix.info('stats', 'evicted_keys') != '0')
        assert fix.stop() == 0
    except BaseException:
        fix.fail()
        raise
    fix.finish()
    print('nothing is evicted while the store takes no writes')


def report_fails(args):
    """RocksDB's own report, LOG, cannot be written: nobody needs it, and nothing is refused."""
    fix = Fixture(args, OPTIONS, 'store')
    faults = Faults(args.shim, fix.work)
    try:
        fix.start(env=faults.env)
        faults.add('write', '/LOG')
        for generation in range(1, 4):
            assert fix.fill(0, KEYS, generation) == (KEYS, None)
            reload_all(fix)
        fix.check(sorted(fix.model))
        faults.clear()
        kill_and_start(fix)
        assert fix.stop() == 0
    except BaseException:
        fix.fail()
        raise
    fix.finish()
    print('nothing depends on the report of RocksDB')


def run(args):
    for number, (fault, reason) in enumerate(FAULTS):
        goes_away(args, fault, reason, number % 2 == 0)
    shards = {'clustering-policy': 'enterprise', 'shards': '2'}
    goes_away(args, ('sync', '.sst', errno.EIO), b'error', False, dict(OPTIONS, **shards))
    evicts_nothing(args)
    report_fails(args)
    for end in ('kill', 'stop'):
        stays(args, end)


def add_options(parser):
    parser.add_argument('--shim', required=True)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, add_options))
