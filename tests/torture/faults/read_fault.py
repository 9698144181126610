#!/usr/bin/env python3
"""RocksDB's reads fail, and tables are damaged: an error that says so, never a wrong value.

Reads that return EIO once, for a while, and for good: the command that needs the row gets an error,
resident keys and writes do not notice, and all is well when the fault has gone. A byte of a
table is flipped while the server is up, and while it is down: keys of that block get an error,
the others their values, tierra-inspect verify finds the file, the server lives, and a key that is
written anew can be read.
"""

import glob
import os
import subprocess
import sys

from faultctl import Faults
from faultlib import WAIT_S, Conn, ErrorReply, Fixture, main_of, wait_until

OPTIONS = {'maxmemory': '64mb', 'store-memtable-bytes': '2mb', 'appendfsync': 'no', 'save': '',
           'enable-debug-command': 'yes'}
SHARDS = dict(OPTIONS, **{'clustering-policy': 'enterprise', 'shards': '2'})
KEYS = 2000
VALUE = 1000
UNREADABLE = b'ERR a row of this key cannot be read from flash: '
DAMAGE = 1  # Exit code of tierra-inspect.


def start_cold(fix, env=None):
    """Everything is on flash, some keys in DRAM too: their names."""
    fix.value_len = VALUE
    fix.start(env=env)
    fix.fill(0, KEYS, 1)
    make_cold(fix)
    hot = [b'key:%d' % i for i in range(0, KEYS, 100)]
    for _ in range(3):
        fix.check(hot)
    return hot


def make_cold(fix):
    """Also out of the write buffers, by a flush."""
    assert fix.conn.call('DEBUG', 'RELOAD') == b'OK'
    before = int(fix.info('persistence', 'aof_rewrites'))
    fix.conn.call('BGREWRITEAOF')
    wait_until('the flush', WAIT_S, lambda: int(fix.info('persistence', 'aof_rewrites')) > before)


def read_all(fix, keys):
    """Each key has its value or an error: the keys with errors, and one of these."""
    bad = []
    text = None
    replies = fix.conn.pipeline([(b'GET', key) for key in keys], 64)
    for key, reply in zip(keys, replies):
        if isinstance(reply, ErrorReply):
            assert reply.startswith(UNREADABLE) or b'flash tier could not be opened' in reply, reply
            bad.append(key)
            text = reply
        else:
            assert reply == fix.value(key, fix.model[key]), (key, reply and reply[:40])
    return bad, text


def reads_fail(args, options):
    fix = Fixture(args, options, 'read')
    faults = Faults(args.shim, fix.work)
    try:
        hot = start_cold(fix, faults.env)
        keys = sorted(fix.model)
        cold = [key for key in keys if key not in hot]
        # Once.
        faults.add('read', '.sst', sticky=False)
        reply = fix.conn.call('GET', cold[0])
        assert reply.startswith(UNREADABLE), reply
        fix.check(cold[:1])
        # For a while.
        faults.clear()
        make_cold(fix)
        for _ in range(3):
            fix.check(hot)
        faults.add('read', '.sst')
        bad, text = read_all(fix, cold)
        assert len(bad) > len(cold) // 2, 'only %d reads failed' % len(bad)
        assert read_all(fix, hot)[0] == []
        for i in range(20):
            assert fix.set(cold[i], 2) == b'OK'
        fix.check(cold[:20])
        # Until compactions and an open of the store have met it.
        second = Conn(fix.server.socket_path)
        for generation in range(3, 40):
            replies = fix.conn.pipeline([(b'SET', k, fix.value(k, generation)) for k in keys], 64)
            for key, reply in zip(keys, replies):
                if reply == b'OK':
                    fix.model[key] = generation
                else:
                    assert reply.startswith(b'MISCONF'), reply
            if replies[-1] != b'OK':
                break
        assert second.call('PING') == b'PONG'
        read_all(fix, keys)
        faults.clear()
        wait_until('writes are taken', WAIT_S, fix.probe)
        wait_until('all is well', WAIT_S, lambda: fix.info('tiering', 'store_status') == 'ok')
        fix.check(keys)
        assert fix.server.kill() is None, 'the server ended by itself'
        fix.start()
        fix.check(keys)
        assert fix.stop() == 0
    except BaseException:
        fix.fail()
        raise
    fix.finish()
    print('%d shards: %d of %d reads failed: %s' % (
        int(options.get('shards', 1)), len(bad), len(cold), text.decode()))


def flip(fix, value):
    """One bit of the table that has the value: its path."""
    for path in sorted(glob.glob(os.path.join(fix.data, 'shard-*', 'store-*', '*.sst'))):
        with open(path, 'r+b') as table:
            at = table.read().find(value[:200])
            if at < 0:
                continue
            table.seek(at + 100)
            byte = table.read(1)
            table.seek(at + 100)
            table.write(bytes([byte[0] ^ 1]))
            table.flush()
            os.fsync(table.fileno())
            return path
    raise AssertionError('no table has the value')


def verify(args, fix, path):
    """It finds the damage, and names the file."""
    done = subprocess.run([args.inspect, '--dir', fix.data, 'verify'], capture_output=True,
                          check=False, timeout=120)
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == DAMAGE, (done.returncode, text)
    assert os.path.basename(path) in text, (path, text)


def damage(args, up):
    fix = Fixture(args, OPTIONS, 'damage')
    try:
        start_cold(fix)
        key = b'key:%d' % (KEYS // 2 + 1)
        if not up:
            assert fix.stop() == 0
        path = flip(fix, fix.value(key, 1))
        if not up:
            verify(args, fix, path)
            fix.start()
        keys = sorted(fix.model)
        bad, text = read_all(fix, keys)
        assert key in bad and len(bad) < KEYS // 50, bad
        verify(args, fix, path)
        assert b'damaged' in text or b'corrupt' in text.lower(), text
        # The others: still there, writable; a damaged one is whole when it is written anew.
        assert read_all(fix, keys)[0] == bad
        for key in bad:
            assert fix.set(key, 2) == b'OK'
        assert read_all(fix, keys)[0] == []
        assert fix.server.kill() is None, 'the server ended by itself'
        fix.start()
        assert read_all(fix, keys)[0] == []
        assert fix.server.kill() is None, 'the server ended by itself'
    except BaseException:
        fix.fail()
        raise
    fix.finish()
    print('damage while the server is %s: %d keys: %s' % (
        'up' if up else 'down', len(bad), text.decode()))


def run(args):
    reads_fail(args, OPTIONS)
    reads_fail(args, SHARDS)
    damage(args, up=False)
    damage(args, up=True)


def add_options(parser):
    parser.add_argument('--shim', required=True)
    parser.add_argument('--inspect', required=True)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, add_options))
