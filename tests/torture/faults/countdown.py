#!/usr/bin/env python3
"""The n-th call to the disk fails, for each n: once, and from then on for good.

A short script of writes, flushes and reads runs under fault_shim.c with the fault at the n-th call
(any of open, write, sync, read) on the store's tables, then on its manifest, then on the op log;
n spread over all that there are, or each with enough cycles. Not on all files of the store at once:
a start that cannot write RocksDB's report meets an assertion (engine/store/README.md). Against a
model of what was acknowledged, refused and left unknown: nothing acknowledged is lost, no value is
wrong, the server does not end by itself, while the fault lasts, after kill -9, in a start that
meets the fault, and in one that does not.
"""

import sys

from faultctl import Faults
from faultlib import WAIT_S, Conn, ErrorReply, Fixture, main_of, wait_until
from node import Server, ServerGone

TABLES, MANIFEST, LOG = '.sst', 'MANIFEST', '/oplog/'
OPTIONS = {'maxmemory': '64mb', 'store-memtable-bytes': '2mb', 'save': '', 'appendfsync': 'always',
           'oplog-segment-bytes': '1mb', 'io-backend': 'epoll'}
KEYS = 24
ROUNDS = 4
NEVER = 1 << 60


class Script:
    """The writes, and what each key may hold after them."""

    def __init__(self, fix):
        self.fix = fix
        self.conn = fix.conn
        self.may = {}

    def write(self, command, key, value, sure):
        """`sure`: an error means that it did not happen."""
        reply = None
        try:
            reply = self.conn.call(*command)
        except ServerGone:
            self.reconnect()
        if reply is not None and not isinstance(reply, ErrorReply):
            self.may[key] = {value}
        elif reply is None or not sure:
            self.may[key] = self.may.get(key, {None}) | {value}

    def reconnect(self):
        self.conn = self.fix.conn = Conn(self.fix.server.socket_path)

    def flush(self):
        """All to the store, or the attempt has ended."""
        self.conn.call('BGREWRITEAOF')
        wait_until('the flush ends', WAIT_S, lambda: self.fix.info(
            'persistence', 'aof_rewrite_in_progress') == '0')

    def run(self, sure):
        for round_ in range(ROUNDS):
            for i in range(KEYS):
                value = b'%d.%d.' % (round_, i) * 200
                key = b'string:%d' % i
                if (i + round_) % 5 == 4:
                    self.write(('DEL', key), key, None, sure)
                else:
                    self.write(('SET', key, value), key, value, sure)
                key = b'hash:%d field:%d' % (i % 3, i)
                self.write(('HSET', *key.split(), value), key, value, sure)
            self.flush()
            self.check(errors=True)

    def check(self, errors):
        for key, may in sorted(self.may.items()):
            words = key.split()
            got = self.conn.call('HGET' if len(words) == 2 else 'GET', *words)
            if isinstance(got, ErrorReply):
                assert errors, (key, got)
            else:
                assert got in may, (key, got and got[:40], [v and v[:40] for v in may])


def start_under_fault(fix, faults):
    """It serves, or it ends with an exit code of its own."""
    fix.server = Server(fix.program, fix.data, fix.work, fix.options, env=faults.env)
    if fix.server.wait_ready() is None:
        code = fix.server.kill()
        assert code in (3, 4), 'exit code %s\n%s' % (code, fix.server.log_text())
        return False
    fix.conn = Conn(fix.server.socket_path)
    return True


def cycle(args, path, nth, sticky):
    """Calls that could have failed, the more of the script and of the start; those that did."""
    fix = Fixture(args, OPTIONS, 'countdown')
    faults = Faults(args.shim, fix.work)
    try:
        fix.start(env=faults.env)
        script = Script(fix)
        rule = faults.add('any', path, nth=nth, sticky=sticky)
        script.run(sure=path != LOG)
        calls, failed = faults.figures(rule)
        assert fix.server.kill() is None, 'the server ended by itself'
        faults.clear()
        rule = faults.add('any', path, nth=nth, sticky=sticky)
        if start_under_fault(fix, faults):
            script.conn = fix.conn
            script.check(errors=True)
            assert fix.server.kill() is None, 'the server ended by itself'
        start_calls, start_failed = faults.figures(rule)
        faults.clear()
        fix.start()
        script.conn = fix.conn
        script.check(errors=False)
        script.run(sure=True)
        script.check(errors=False)
        assert fix.stop() == 0
    except BaseException:
        print('failed: call %d on %s fails %s' % (nth, path, 'for good' if sticky else 'once'))
        fix.fail()
        raise
    fix.finish()
    return max(calls, start_calls), failed + start_failed


def run(args):
    for path in (TABLES, MANIFEST, LOG):
        calls, failed = cycle(args, path, NEVER, False)
        assert calls > 0 and failed == 0, (path, calls, failed)
        some = sorted({1 + (i * calls) // args.cycles for i in range(args.cycles)})
        struck = 0
        for nth in some:
            for sticky in (False, True):
                _, failed = cycle(args, path, nth, sticky)
                # The number of calls varies from run to run; the first one is always there.
                assert failed > 0 or nth > 1, path
                struck += failed > 0
        print('%s: %d calls; a fault at %d of them, once and for good, %d of %d struck' % (
            path, calls, len(some), struck, 2 * len(some)))


def add_options(parser):
    parser.add_argument('--shim', required=True)
    parser.add_argument('--cycles', type=int, default=12, help='calls that fail, of each kind')


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, add_options))
