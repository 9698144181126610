"""The op log's writes and syncs fail under a running server.

A limit of the file size (RLIMIT_FSIZE) is set on the process: from then on every write to the log
fails. Expected: no client hangs; a write that was under way ends in an error or a closed connection
(unknown, never OK); later writes are refused with MISCONF, reads are served; after a start without
the limit everything acknowledged is there, and the unknown writes are there whole or not at all.
"""

import resource
import sys

from faultlib import Conn, ErrorReply, Fixture, main_of
from node import ServerGone

KEYS = 200


def write_into_the_fault(fix):
    """SETs on a connection of their own until one has no OK."""
    conn = Conn(fix.server.socket_path)
    for i in range(KEYS, 3 * KEYS):
        key = b'key:%d' % i
        try:
            reply = conn.call('SET', key, fix.value(key, 2))
        except ServerGone:
            reply = None
        if reply != b'OK':
            fix.unknown[key] = [2]
            return reply
        fix.model[key] = 2
    raise AssertionError('every write was acknowledged although the log cannot be written')


def refused_write(fix):
    """Another shard meets the fault with its own first write, and may close the connection."""
    for _ in range(2):
        conn = Conn(fix.server.socket_path)
        assert conn.call('PING') == b'PONG'
        try:
            return conn.call('SET', 'other', 'x')
        except ServerGone:
            pass
    raise AssertionError('a write after the fault has no reply')


def run_with(args, options):
    fix = Fixture(args, options, 'logfault')
    try:
        fix.start()
        fix.fill(0, KEYS, 1)
        limit = resource.prlimit(fix.server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(fix.server.process.pid, resource.RLIMIT_FSIZE, (100, limit[1]))
        first = write_into_the_fault(fix)
        assert first is None or b'MISCONF' in first or b'OOM' in first, first
        refusal = refused_write(fix)
        assert isinstance(refusal, ErrorReply) and b'MISCONF' in refusal, refusal
        fix.conn = Conn(fix.server.socket_path)
        fix.check(b'key:%d' % i for i in range(KEYS))
        assert fix.info('persistence', 'aof_last_write_status') == 'err'
        # Neither a save nor the end waits for what the log will never have. The limit, which is
        # on all files, would meet RocksDB too.
        resource.prlimit(fix.server.process.pid, resource.RLIMIT_FSIZE, limit)
        save = fix.conn.call('SAVE')
        assert save.startswith(b'ERR the checkpoint failed'), save
        code = fix.stop()
        assert code == 4, 'exit %s' % code
        fix.start()
        fix.check(list(fix.model) + list(fix.unknown))
        assert fix.probe()
        code = fix.stop()
        assert code == 0, 'exit %s' % code
    except BaseException:
        fix.fail()
        raise
    fix.finish()
    print('%s: first reply within the fault %r' % (options, first))


def run(args):
    for policy in ('always', 'everysec', 'no'):
        for backend in ('io_uring', 'epoll'):
            run_with(args, {'appendfsync': policy, 'io-backend': backend})
    shards = {'clustering-policy': 'enterprise', 'shards': '2'}
    run_with(args, dict(shards, **{'appendfsync': 'always'}))


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
