#!/usr/bin/env python3
"""Few keys are written over and over: the log must not grow with all that was written.

The rows fit into the store's write buffers, which therefore never have to be written; the log can
only be dropped when they are. What is on disk is compared with what was logged.
"""

import argparse
import os
import shutil
import sys
import time

import diff_cmds
from diff_cmds import Conn

KEYS, BATCH = 2, 200
VALUE = b'v' * 4096
# With maxmemory 64 MB a log of 16 MiB may wait for the store, and twice that for its sync.
KEPT_BYTES_MAX = 96 << 20
WRITTEN_BYTES = 400 << 20
SECONDS_MAX = 600


def log_bytes(directory):
    """Of the log on disk, spare segments included; some may go meanwhile."""
    total = 0
    for at, _, names in os.walk(os.path.join(directory, 'shard-000', 'oplog')):
        for name in names:
            try:
                total += os.path.getsize(os.path.join(at, name))
            except FileNotFoundError:
                pass
    return total


def overwrite(conn):
    number = 0
    while number * len(VALUE) < WRITTEN_BYTES:
        conn.send([('SET', 'key:%d' % ((number + i) % KEYS), VALUE) for i in range(BATCH)])
        for _ in range(BATCH):
            reply = conn.read()
            # A disk that stands still has some refused.
            assert reply == ('+', b'OK') or reply[1].startswith(b'OOM'), reply
            number += reply[0] == '+'


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n\n', maxsplit=1)[0])
    p.add_argument('--server', required=True)
    args = p.parse_args()
    proc, directory, path = diff_cmds.spawn(
        [args.server, '--maxmemory', '64mb', '--oplog-segment-bytes', '4mb', '--loglevel',
         'warning'], 'tierra-server')
    try:
        conn = Conn(path)
        overwrite(conn)
        until = time.monotonic() + SECONDS_MAX
        while log_bytes(directory) > KEPT_BYTES_MAX:
            assert time.monotonic() < until, '%d MiB of log' % (log_bytes(directory) >> 20)
            time.sleep(0.1)
        print('%d MiB written, %d MiB of log' % (WRITTEN_BYTES >> 20, log_bytes(directory) >> 20))
    finally:
        proc.kill()
        proc.wait()
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
