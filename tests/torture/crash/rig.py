"""What the crash tests share: a server under load with its model, workers, the command line."""

import argparse
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from load import Client
from model import Writer
from node import Conn, ErrorReply, Server, ServerGone
from ops import Generator, known_families

# How long something that must come is waited for: a bound for what hangs.
WAIT_SECONDS_MAX = 180
# In the text of a failure that was a Loss.
LOSS = ': Loss: '
# Of what a server uses: maxmemory is set to that in order to have most keys on flash.
PRESSURES = (0.97, 1.03, 1.1, 1.4)


MB = 1 << 20


def least_memory(shards):
    """
    What several shards need for themselves. With less, keys leave DRAM before the command that
    asked for them has all of its own, and it waits for long.
    """
    return 0 if shards == 1 else (40 + 8 * shards) * MB


class Failure(Exception):
    """The server did wrong; the text says what."""


class Loss(Failure):
    """What had been promised is not there, or the server does not start on what is."""


class Rig:
    """A data directory, the servers on it one after another, and what must be in it."""

    def __init__(self, args, seed, work):
        self.args = args
        self.rng = random.Random(seed)
        self.work = work
        self.data = os.path.join(work, 'data')
        self.writers = []
        self.generators = None
        self.shards = 1
        self.server = None
        self.options = {}
        self.totals = {}

    def count(self, name, by=1):
        self.totals[name] = self.totals.get(name, 0) + by

    def new_life(self):
        """An empty directory, other sizes of data."""
        if os.path.exists(self.data):
            shutil.rmtree(self.data)
        self.writers = [Writer() for _ in range(self.args.connections)]
        self.generators = None
        self.shards = self.args.shards or self.rng.choice((1, 1, 2, 3))

    def base_options(self):
        rng = self.rng
        return {
            'clustering-policy': 'none' if self.shards == 1 else 'enterprise',
            'shards': self.shards,
            'enable-debug-command': 'yes',
            'oplog-segment-bytes': '1mb',
            'maxmemory': max(rng.choice((48, 64, 200)) * MB, least_memory(self.shards)),
            'key-checkpoint-changes': rng.choice((0, 1, 50, 2000)),
            'store-memtable-bytes': rng.choice(('1mb', '4mb', '0')),
            'reader-threads': rng.choice((1, 4, 32)),
        }

    def start(self, env=None, wait=True):
        """With self.options."""
        self.server = Server(self.args.server, self.data, self.work, self.options, env)
        if not wait:
            return
        seconds = self.server.wait_ready(WAIT_SECONDS_MAX)
        if seconds is None:
            code = self.server.kill()
            raise Failure('no start, code %s' % code)
        self.totals['slowest_start'] = max(self.totals.get('slowest_start', 0), round(seconds, 2))

    def kill(self):
        code = self.server.kill()
        if code is not None:
            raise Failure('the server ended by itself, code %s' % code)

    def stop(self):
        code = self.server.stop()
        if code != 0:
            raise Failure('the server ended with %s' % code)

    def conn(self):
        return Conn(self.server.socket_path)

    def make_generators(self):
        if self.generators is not None:
            return
        conn, rng = self.conn(), self.rng
        families = known_families(conn)
        conn.close()
        keys = rng.choice((100, 400, 1500, self.args.keys))
        value_max = rng.choice((200, 1024, 4096))
        self.generators = [Generator(i, random.Random(rng.random()), keys, value_max, families)
                           for i in range(self.args.connections)]

    # --- load ---

    def begin_load(self):
        rng = self.rng
        pause = rng.choice((0, 0, 0, 0.002))
        clients = [Client(self.server.socket_path, w, g, rng.choice((1, 16, 64, 200)), pause)
                   for w, g in zip(self.writers, self.generators)]
        for client in clients:
            client.start()
        return clients

    def await_progress(self):
        """Until something was acknowledged, or the load has failed."""
        end = time.monotonic() + WAIT_SECONDS_MAX
        while not any(w.acked for w in self.writers) and time.monotonic() < end:
            if self.server.process.poll() is not None:
                return
            time.sleep(0.002)

    def join_load(self, clients):
        for client in clients:
            client.stop = True
        for client in clients:
            client.join(WAIT_SECONDS_MAX)
            if client.is_alive():
                raise Failure('a connection hangs')
        failure = next((c.failure for c in clients if c.failure), None)
        if failure:
            raise Failure(failure)

    def quiesce(self, clients):
        """Ends the load without a crash: everything is acknowledged."""
        self.join_load(clients)
        for writer in self.writers:
            if writer.acked != len(writer.log):
                raise Failure('the server ended by itself, code %s' % self.server.kill())

    def flush_all(self):
        """FLUSHALL between two loads."""
        conn, sent = self.conn(), time.monotonic()
        reply = conn.call('FLUSHALL')
        if reply != b'OK':
            raise Failure('FLUSHALL: %r' % reply)
        acked = time.monotonic()
        conn.close()
        for writer in self.writers:
            writer.flushed(sent, acked)
        self.count('flushes')

    def flush_unfinished(self):
        """FLUSHALL that is killed while it is under way."""
        conn, sent = self.conn(), time.monotonic()
        conn.send(b'FLUSHALL\r\n')
        time.sleep(self.rng.random() * 0.1)
        self.kill()
        conn.close()
        for writer in self.writers:
            writer.flushed(sent, None)
        self.count('flushes')

    def press(self, conn):
        """Little memory: what is not in use goes to flash."""
        info = conn.call('INFO', 'memory').decode()
        rss = int(info.split('used_memory_rss:')[1].split()[0])
        wanted = int(rss * self.rng.choice(PRESSURES))
        conn.call('CONFIG', 'SET', 'maxmemory', max(wanted, least_memory(self.shards)))

    def stir(self, seconds, actions):
        """For so long does now and then what operators do; the load goes on."""
        rng, end = self.rng, time.monotonic() + seconds
        try:
            conn = self.conn()
            while time.monotonic() < end:
                time.sleep(max(0, min(rng.random() * 0.2, end - time.monotonic())))
                action = rng.choice(actions)
                if action == 'press':
                    self.press(conn)
                elif action is not None:
                    reply = conn.call(*action)
                    if isinstance(reply, ErrorReply) and not action[0].startswith('BG'):
                        raise Failure('%s: %r' % (action, reply))
            conn.close()
        except ServerGone as err:
            raise Failure('the server ended by itself, code %s' % self.server.kill()) from err

    def note_load(self):
        self.count('ops', sum(w.acked for w in self.writers))
        self.count('unknown', sum(len(w.log) - w.acked for w in self.writers))
        self.count('refused', sum(w.refused for w in self.writers))

    def inspect(self):
        """tierra-inspect must find the directory as the crash left it in order."""
        if self.args.inspect is None:
            return
        done = subprocess.run([self.args.inspect, '--dir', self.data, 'verify', '--deep'],
                              capture_output=True, check=False, timeout=10 * WAIT_SECONDS_MAX)
        self.count('inspected')
        if done.returncode != 0:
            raise Failure('tierra-inspect verify: exit code %d\n%s' % (
                done.returncode, (done.stdout + done.stderr).decode(errors='replace')[-3000:]))


# --- the command line ---

def _work_of(args, index, make, queue):
    """One worker; puts (text of a failure or None, totals)."""
    seed = args.seed + index
    work = os.path.realpath(tempfile.mkdtemp(prefix='tierra-crash-', dir=args.work))
    rig = make(args, seed, work)
    cycles = args.cycles // args.workers + (index < args.cycles % args.workers)
    number = 0
    try:
        for number in range(cycles):
            rig.cycle(number)
            rig.count('cycles')
        rig.end()
        shutil.rmtree(work)
        queue.put((None, rig.totals))
    except Exception as err:  # pylint: disable=broad-except
        text = 'cycle %d of worker %d (seed %d): %s: %s\n%r\n%s\nkept: %s' % (
            number, index, args.seed, type(err).__name__, err, rig.options,
            rig.server.log_text()[-6000:] if rig.server else '', work)
        if rig.server:
            rig.server.kill()
        queue.put((text, rig.totals))


def parser_of(description, cycles):
    parser = argparse.ArgumentParser(description=description.split('\n', maxsplit=1)[0])
    parser.add_argument('--server', required=True)
    parser.add_argument('--inspect', help='tierra-inspect; verifies some crashed directories')
    parser.add_argument('--cycles', type=int, default=cycles, help='of all workers')
    parser.add_argument('--workers', type=int, default=2, help='servers at the same time')
    parser.add_argument('--seed', type=int, default=int.from_bytes(os.urandom(4), 'little'))
    parser.add_argument('--shards', type=int, help='of each server; default: one to three')
    parser.add_argument('--connections', type=int, default=3)
    parser.add_argument('--keys', type=int, default=4000, help='most strings per connection')
    parser.add_argument('--seconds', type=float, default=0.8, help='longest load of a cycle')
    parser.add_argument('--verbose', action='store_true')
    parser.add_argument('--work', help='directory for data; default: a temporary one')
    return parser


def add_up(results):
    totals = {}
    for _, part in results:
        for name, value in part.items():
            old = totals.get(name, 0)
            totals[name] = max(old, value) if isinstance(value, float) else old + value
    return totals


def run(args, make):
    """Runs the workers: (the texts of failures, totals)."""
    sys.stdout.reconfigure(line_buffering=True)
    print('seed %d' % args.seed)
    began = time.monotonic()
    queue = multiprocessing.Queue()
    workers = [multiprocessing.Process(target=_work_of, args=(args, i, make, queue))
               for i in range(args.workers)]
    for worker in workers:
        worker.start()
    results = [queue.get() for _ in workers]
    for worker in workers:
        worker.join()
    totals = add_up(results)
    print('%d cycles in %.1f s: %s' % (totals.get('cycles', 0), time.monotonic() - began, totals))
    return [text for text, _ in results if text]
