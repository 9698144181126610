#!/usr/bin/env python3
"""kill -9 under load: nothing acknowledged may be lost, nothing may be there that was not written.

Each cycle starts the server on the data of the one before with another configuration, lets several
connections write, kills it at a random moment, starts it again (and in some cycles kills it during
that start), and compares all keys with a model (model.py). The death of the process does not empty
the page cache: hence nothing acknowledged may be missing under any appendfsync.

Prints the seed. The data of a failure is kept.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time

from check import verify
from load import Client, Generator, known_families
from model import Writer
from node import Conn, Server


def options_of(rng):
    return {
        'appendfsync': rng.choice(('always', 'everysec', 'no')),
        'maxmemory': '%dmb' % rng.choice((48, 64, 96, 200)),
        'oplog-segment-bytes': '1mb',
        'io-backend': rng.choice(('auto', 'epoll')),
        'reader-threads': rng.choice((1, 4, 32)),
        'store-direct-reads': rng.choice(('yes', 'no')),
    }


class Torture:
    def __init__(self, args, work):
        self.args = args
        self.rng = random.Random(args.seed)
        self.work = work
        self.data = os.path.join(work, 'data')
        self.writers = [Writer() for _ in range(args.connections)]
        self.generators = None
        self.totals = {'ops': 0, 'unknown': 0, 'refused': 0, 'second_kills': 0, 'flushes': 0,
                       'slowest_start': 0.0}

    def start(self, options):
        server = Server(self.args.server, self.data, self.work, options)
        return server, server.wait_ready()

    def make_generators(self, path):
        conn = Conn(path)
        families = known_families(conn)
        conn.close()
        if self.generators is None:
            value_max = self.rng.choice((1024, 2048, 4096))
            self.generators = [
                Generator(i, random.Random(self.rng.random()), self.args.keys, value_max, families)
                for i in range(self.args.connections)]
            print('families: strings %s' % b' '.join(families).decode())

    def load(self, server):
        """Writes under way until the kill. Returns a text if the server did wrong before."""
        rng = self.rng
        for writer in self.writers:
            writer.begin()
        pause = rng.choice((0, 0, 0, 0.002))
        clients = [Client(server.socket_path, w, g, rng.choice((1, 16, 64, 200)), pause)
                   for w, g in zip(self.writers, self.generators)]
        for client in clients:
            client.start()
        end = time.monotonic() + rng.choice((0.05, 0.3, 1.0, self.args.seconds)) * rng.random()
        if rng.random() < 0.3:
            time.sleep(max(0, end - time.monotonic()) * rng.random())
            conn = Conn(server.socket_path)
            conn.call(rng.choice(('BGSAVE', 'BGREWRITEAOF')))
            conn.close()
        time.sleep(max(0, end - time.monotonic()))
        code = server.kill()
        for client in clients:
            client.join(180)
        self.totals['ops'] += sum(w.acked for w in self.writers)
        self.totals['unknown'] += sum(len(w.log) - w.acked for w in self.writers)
        self.totals['refused'] += sum(c.refused for c in clients)
        if code is not None:
            return 'the server ended by itself, code %s' % code
        return next((c.failure for c in clients if c.failure), '')

    def flush(self, server):
        """FLUSHALL, killed while it is under way: all or nothing."""
        for writer in self.writers:
            writer.begin()
        conn = Conn(server.socket_path)
        conn.send(b'FLUSHALL\r\n')
        time.sleep(self.rng.random() * 0.1)
        server.kill()
        conn.close()
        self.totals['flushes'] += 1
        return ''

    def cycle(self, number):
        rng = self.rng
        options = options_of(rng)
        phases = [time.monotonic()]
        server, ready = self.start(options)
        phases.append(time.monotonic())
        if ready is None:
            return 'no start\n' + server.log_text()
        self.make_generators(server.socket_path)
        flush = number % 10 == 9
        text = self.flush(server) if flush else self.load(server)
        if text:
            return '%s\n%s' % (text, server.log_text())
        if rng.random() < 0.3:
            again = Server(self.args.server, self.data, self.work, options)
            time.sleep(rng.random() * 0.15)
            code = again.kill()
            if code is not None:
                return 'the second start ended by itself, code %s\n%s' % (code, again.log_text())
            self.totals['second_kills'] += 1
        phases.append(time.monotonic())
        server, ready = self.start(options)
        phases.append(time.monotonic())
        if ready is None:
            return 'no start after the kill\n' + server.log_text()
        self.totals['slowest_start'] = max(self.totals['slowest_start'], ready)
        text, _ = verify(server.socket_path, self.writers, maybe_flushed=flush)
        code = server.kill() if rng.random() < 0.7 else server.stop()
        phases.append(time.monotonic())
        if self.args.verbose:
            print('cycle %d: start %.2f load %.2f start %.2f check %.2f s; %s' % (
                number, *(b - a for a, b in zip(phases, phases[1:])), options))
        if not text and code not in (None, 0):
            text = 'the server ended with %s after the check\n%s' % (code, server.log_text())
        return text and '%s\n%r\n%s' % (text, options, server.log_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--server', required=True)
    parser.add_argument('--cycles', type=int, default=20)
    parser.add_argument('--seed', type=int, default=int.from_bytes(os.urandom(4), 'little'))
    parser.add_argument('--connections', type=int, default=4)
    parser.add_argument('--keys', type=int, default=6000, help='per connection')
    parser.add_argument('--seconds', type=float, default=2.0, help='longest load of a cycle')
    parser.add_argument('--verbose', action='store_true')
    parser.add_argument('--work', help='directory for data; default: a temporary one')
    args = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    print('seed %d' % args.seed)
    work = tempfile.mkdtemp(prefix='tierra-kill-', dir=args.work)
    torture = Torture(args, work)
    began = time.monotonic()
    for number in range(args.cycles):
        text = torture.cycle(number)
        if text:
            print('FAILED in cycle %d, seed %d: %s\nkept: %s' % (number, args.seed, text, work))
            return 1
    print('%d cycles in %.1f s: %s' % (args.cycles, time.monotonic() - began, torture.totals))
    shutil.rmtree(work)
    return 0


if __name__ == '__main__':
    sys.exit(main())
