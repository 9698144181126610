#!/usr/bin/env python3
"""RocksDB's writes and syncs fail under a running server; it mends itself when they no longer do.

For each fault (fault_shim.c): under load until a write is refused with MISCONF and the reason. Then
reads of what is resident and of what is cold go on, deletes are taken, SAVE says that it failed,
INFO tells the state. When the fault has gone writes are taken again without a restart. Everything
acknowledged is there, at once and after a kill. Faults that stay: the server is killed, or stopped,
within the fault, and the next start has everything.
"""

import errno
import sys

from faultctl import Faults
from faultlib import Fixture, main_of, wait_until

OPTIONS = {'maxmemory': '64mb', 'store-memtable-bytes': '2mb', 'appendfsync': 'no', 'save': '',
           'oplog-segment-bytes': '1mb'}
KEYS = 3000

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


def ailing(fix, key, reason):
    """What holds while it cannot be written, and `key` was refused."""
    keys = sorted(fix.model)
    refusal = fix.conn.call('SET', key, 'x')
    assert refusal.startswith(b'MISCONF Errors writing to the flash tier: '), refusal
    assert reason.lower() in refusal.lower(), refusal
    assert fix.info('tiering', 'store_status') != 'ok'
    assert fix.info('tiering', 'store_last_error') != ''
    fix.check(keys[::53])
    fix.delete(keys[::101])
    fix.check(keys[::101])
    save = fix.conn.call('SAVE')
    assert save.startswith(b'ERR the checkpoint failed'), save


def goes_away(args, fault, reason, options=None):
    fix = Fixture(args, options or OPTIONS, 'store')
    faults = Faults(args.shim, fix.work)
    try:
        fix.start(env=faults.env)
        fix.fill(0, KEYS, 1)
        rule = faults.add(fault[0], fault[1], err=fault[2], writing=True)
        key, refusal = overwrite_until_refused(fix, 2)
        assert refusal.startswith(b'MISCONF'), refusal
        ailing(fix, key, reason)
        assert faults.figures(rule)[1] > 0
        faults.clear()
        wait_until('all is well', 60, lambda: fix.info('tiering', 'store_status') == 'ok')
        assert fix.probe()
        fix.check(sorted(fix.model)[::7])
        assert fix.conn.call('SAVE') == b'OK'
        fix.fill(0, KEYS, 100)
        fix.check(sorted(fix.model)[::7])
        reopens = fix.number('store_reopens')
        assert fix.server.kill() is None, 'the server ended by itself'
        fix.start()
        fix.check(sorted(fix.model))
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


def run(args):
    for fault, reason in FAULTS:
        goes_away(args, fault, reason)
    shards = {'clustering-policy': 'enterprise', 'shards': '2'}
    goes_away(args, ('sync', '.sst', errno.EIO), b'error', dict(OPTIONS, **shards))
    for end in ('kill', 'stop'):
        stays(args, end)


def add_options(parser):
    parser.add_argument('--shim', required=True)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, add_options))
