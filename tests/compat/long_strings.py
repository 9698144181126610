#!/usr/bin/env python3
"""What changes of parts of long cold strings cost a tierra-server: bytes of the log, rows read.

Each key is written, then left until it is cold: its key row and no chunk are in memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from diff_cmds import Conn, wait_ready

MIB = 1 << 20
# For what hangs, not for what is slow.
WAIT_SECONDS_MAX = 240
ROW_BYTES_MAX = 1200  # A chunk with its op.


class Server:
    def __init__(self, path, directory):
        place = os.path.join(directory, 'socket')
        self.process = subprocess.Popen(
            [path, '--port', '0', '--unixsocket', place, '--dir', directory, '--maxmemory',
             '256mb'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_ready(place, self.process, 'tierra-server')
        self.conn = Conn(place)

    def info(self, name):
        text = self.conn.call('INFO', 'tiering')[1].decode()
        return int(text.split('\n' + name + ':')[1].split()[0])

    def stop(self):
        """With all rows in the store, so that none is replayed into memory."""
        self.conn.send([['SHUTDOWN', 'SAVE']])
        if self.process.wait() != 0:
            sys.exit('the server ended with %d' % self.process.returncode)
        self.conn.close()


def log_end(inspect, directory):
    """The last position of the log, and where in its segment that ends."""
    text = subprocess.run([inspect, '--dir', directory, '--json', 'oplog', 'ls'], check=True,
                          capture_output=True, text=True).stdout
    return max((s.get('last_lsn', 0), s['end']) for s in map(json.loads, text.splitlines())
               if 'end' in s)


def log_bytes_after(inspect, directory, before):
    """What one record took; 0 if there is none."""
    end = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < end:
        after = log_end(inspect, directory)
        if after[0] > before[0]:
            # A record that begins a segment stands behind 4 KiB of its head.
            return after[1] - (before[1] if after[1] > before[1] else 4096)
        time.sleep(0.1)
    return 0


def expect(what, got, at_most):
    print('%s: %d, at most %d' % (what, got, at_most))
    if got > at_most:
        sys.exit('too much')


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    p.add_argument('--inspect', required=True)
    args = p.parse_args()
    with tempfile.TemporaryDirectory(prefix='tierra-long-') as directory:
        server = Server(args.server, directory)
        call = server.conn.call
        value = bytes(range(256)) * 4096
        for i in range(10):
            call('APPEND', 'ten', value)
        call('APPEND', 'ten', 'abc')
        for i in range(0, 100, 5):
            call('SETRANGE', 'bitmap', i * MIB, value)
        call('SETBIT', 'bitmap', 8 * 100 * MIB, 1)
        server.stop()
        for name, cmd, rows, writes, reply in (
                ('APPEND of 10 bytes to 10 MiB', ('APPEND', 'ten', '0123456789'), 2, 1,
                 10 * MIB + 13),
                ('SETBIT in 100 MiB', ('SETBIT', 'bitmap', 8 * 50 * MIB + 8 * 77 + 3, 1), 2, 1, 0),
                ('SETRANGE of 100 bytes', ('SETRANGE', 'bitmap', 20 * MIB + 4000, 'x' * 100), 3, 2,
                 100 * MIB + 1),
                ('GETBIT in 100 MiB', ('GETBIT', 'bitmap', 8 * 95 * MIB + 15), 2, 0, 1),
                ('STRLEN', ('STRLEN', 'bitmap'), 1, 0, 100 * MIB + 1)):
            server = Server(args.server, directory)
            before = log_end(args.inspect, directory)
            got = server.conn.call(*cmd)
            if got != (':', str(reply).encode()):
                sys.exit('%s: %r' % (name, got))
            read = server.info('row_reads') + server.info('scans')
            log = log_bytes_after(args.inspect, directory, before) if writes else 0
            server.stop()
            expect(name + ', rows read', read, rows)
            expect(name + ', log bytes', log, writes * ROW_BYTES_MAX)
            if writes and log == 0:
                sys.exit('nothing was logged')
    return 0


if __name__ == '__main__':
    sys.exit(main())
