#!/usr/bin/env python3
"""Loss of power under load: what was synced is left, and of the rest what a disk happened to do.

The server runs with shim.so, which keeps beside the data what was durable. After a kill -9 this
script builds the state that a loss of power at that moment could have left, starts the server on it
and compares with the model:

    appendfsync always    nothing acknowledged is lost
    everysec, no          what is there is a prefix, and holds all that was acknowledged before the
                          newest completed sync of the log began (the shim notes that moment). How
                          long ago that was is reported, not judged: it depends on the machine

Beyond the durable part, a cut takes at random: unsynced blocks of 512 bytes or 4 KiB (so writes are
torn and reordered), new or old sizes, and per directory the entries as of its last sync or as they
were at the cut.

--lie: the shim lets the syncs of the log do nothing. The test must then find a loss, and fails if
it does not: the proof that it can see one.
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

ATTRIBUTE = 'user.tierra_shim'
SKIP = 77


# --- the state after a cut ---

def identity(path):
    try:
        return os.getxattr(path, ATTRIBUTE).decode()
    except OSError:
        return None


def identify(path):
    name = identity(path)
    if name is None:
        name = '%016x' % random.getrandbits(64)
        os.setxattr(path, ATTRIBUTE, name.encode())
    return name


def begin_session(data, state):
    """All that is there at the start is durable."""
    shutil.rmtree(state, ignore_errors=True)
    os.makedirs(os.path.join(state, 'objs'))
    os.makedirs(os.path.join(state, 'dirs'))
    for top, dirs, files in os.walk(data):
        lines = []
        for name in dirs:
            lines.append('d %s %s\n' % (identify(os.path.join(top, name)), name))
        for name in files:
            path = os.path.join(top, name)
            ident = identify(path)
            lines.append('f %s %s\n' % (ident, name))
            to = os.path.join(state, 'objs', ident)
            if name.endswith('.sst'):
                os.link(path, to)
            else:
                shutil.copyfile(path, to)
        with open(os.path.join(state, 'dirs', identify(top)), 'w', encoding='utf-8') as out:
            out.writelines(lines)


class Cut:
    """Builds one state that the loss of power could have left."""

    def __init__(self, data, state, to, rng):
        self.state = state
        self.rng = rng
        self.chance = rng.choice((0.0, 0.0, 0.1, 0.5, 0.9))  # Of an unsynced block to be there.
        self.block = rng.choice((512, 4096))
        self.latest = rng.choice((0.0, 0.0, 0.5, 1.0))  # Of a directory to be as at the cut.
        self.blocks = 0
        self.live = {}
        for top, dirs, files in os.walk(data):
            for name in dirs + files:
                self.live[identity(os.path.join(top, name))] = os.path.join(top, name)
        self.make_dir(data, identity(data), to)

    def __str__(self):
        return 'blocks of %d with chance %s (%d taken), directories as at the cut with %s' % (
            self.block, self.chance, self.blocks, self.latest)

    def entries(self, live, ident):
        durable = os.path.join(self.state, 'dirs', ident)
        if live is not None and self.rng.random() < self.latest:
            for name in sorted(os.listdir(live)):
                path = os.path.join(live, name)
                yield os.path.isdir(path), identity(path), name
        elif os.path.exists(durable):
            with open(durable, encoding='utf-8') as lines:
                for line in lines:
                    kind, entry, name = line.rstrip('\n').split(' ', 2)
                    yield kind == 'd', entry, name

    def make_dir(self, live, ident, to):
        os.mkdir(to)
        for is_dir, entry, name in self.entries(live, ident):
            if entry is None:
                continue
            path = os.path.join(to, name)
            if is_dir:
                self.make_dir(self.live.get(entry), entry, path)
            else:
                self.make_file(entry, path)

    def make_file(self, ident, to):
        synced = os.path.join(self.state, 'objs', ident)
        live = self.live.get(ident)
        content = b''
        if os.path.exists(synced):
            if to.endswith('.sst') and (live is None or os.path.samefile(synced, live)):
                os.link(synced, to)
                return
            with open(synced, 'rb') as src:
                content = src.read()
        if live is not None and self.chance > 0:
            with open(live, 'rb') as src:
                content = self.tear(content, src.read())
        with open(to, 'wb') as out:
            out.write(content)

    def tear(self, old, new):
        """Blocks of `new` over `old`."""
        if old == new:
            return old
        size = self.rng.choice((len(old), len(new)))
        out = bytearray(old[:size].ljust(size, b'\0'))
        for at in range(0, min(size, len(new)), self.block):
            block = new[at:min(at + self.block, size)]
            if out[at:at + len(block)] != block and self.rng.random() < self.chance:
                out[at:at + len(block)] = block
                self.blocks += 1
        return bytes(out)


# --- cycles ---

class Torture:
    def __init__(self, args, work):
        self.args = args
        self.rng = random.Random(args.seed)
        self.work = work
        self.state = os.path.join(work, 'state')
        self.data = os.path.join(work, 'data-0')
        os.mkdir(self.data)
        self.writers = [Writer() for _ in range(args.connections)]
        self.generators = None
        self.totals = {'ops': 0, 'unknown': 0, 'second_cuts': 0, 'blocks': 0, 'longest_loss': 0.0}

    def start(self, options, ready=True):
        begin_session(self.data, self.state)
        env = {'LD_PRELOAD': self.args.shim, 'TIERRA_SHIM_DATA': self.data,
               'TIERRA_SHIM_STATE': self.state,
               'TIERRA_SHIM_SYNC_US': str(self.rng.choice((0, 500, 5000)))}
        if self.args.lie:
            env['TIERRA_SHIM_LIE'] = '/oplog/'
        server = Server(self.args.server, self.data, self.work, options, env)
        return server, server.wait_ready() if ready else None

    def cut(self, number):
        """The data directory becomes what the loss of power left of it."""
        to = os.path.join(self.work, 'data-%d' % number)
        made = Cut(self.data, self.state, to, self.rng)
        self.totals['blocks'] += made.blocks
        before = os.path.join(self.work, 'before')
        shutil.rmtree(before, ignore_errors=True)
        os.rename(self.data, before)
        self.data = to
        return str(made)

    def load(self, server):
        rng = self.rng
        if self.generators is None:
            conn = Conn(server.socket_path)
            families = known_families(conn)
            conn.close()
            self.generators = [
                Generator(i, random.Random(rng.random()), self.args.keys, 4096, families)
                for i in range(self.args.connections)]
        for writer in self.writers:
            writer.begin()
        clients = [Client(server.socket_path, w, g, rng.choice((1, 16, 64)), 0)
                   for w, g in zip(self.writers, self.generators)]
        for client in clients:
            client.start()
        time.sleep(rng.random() * rng.choice((0.1, 0.5, self.args.seconds)))
        crash = time.monotonic()
        code = server.kill()
        for client in clients:
            client.join(180)
        self.totals['ops'] += sum(w.acked for w in self.writers)
        self.totals['unknown'] += sum(len(w.log) - w.acked for w in self.writers)
        text = next((c.failure for c in clients if c.failure), '')
        if code is not None:
            text = 'the server ended by itself, code %s' % code
        return text, crash

    def bound(self, sync, crash):
        if sync == 'always':
            return None
        try:
            with open(os.path.join(self.state, 'synced'), encoding='ascii') as file:
                return int(file.read()) / 1e9, crash
        except FileNotFoundError:
            return 0, crash

    def cycle(self, number):
        """Returns (text, whether it is about a loss)."""
        rng = self.rng
        options = {
            'io-backend': 'epoll', 'oplog-segment-bytes': '1mb',
            'appendfsync': 'always' if self.args.lie else
                           rng.choice(('always', 'always', 'everysec', 'no')),
            'maxmemory': '%dmb' % rng.choice((48, 64, 200)),
        }
        server, ready = self.start(options)
        if ready is None:
            return 'no start\n' + server.log_text(), False
        text, crash = self.load(server)
        if text:
            return '%s\n%s' % (text, server.log_text()), False
        bound = self.bound(options['appendfsync'], crash)
        what = [repr(options), self.cut(2 * number + 1)]
        if rng.random() < 0.3:
            server, _ = self.start(options, ready=False)
            time.sleep(rng.random() * 0.2)
            code = server.kill()
            if code is not None:
                what.append(server.log_text())
                return 'no start after the cut, code %s\n%s' % (code, '\n'.join(what)), True
            what.append('second: ' + self.cut(2 * number + 2))
            self.totals['second_cuts'] += 1
        server, ready = self.start(options)
        if ready is None:
            code = server.kill()
            what.append(server.log_text())
            return 'no start after the cut, code %s\n%s' % (code, '\n'.join(what)), True
        text, lost = verify(server.socket_path, self.writers, bound)
        if options['appendfsync'] == 'everysec':
            self.totals['longest_loss'] = max(self.totals['longest_loss'], lost)
        if self.args.verbose:
            print('cycle %d: %s' % (number, '; '.join(what)))
        if text:
            server.kill()
            return '%s\n%s' % (text, '\n'.join(what)), True
        code = server.stop()
        return ('the server ended with %s' % code if code != 0 else ''), False


def run(args, work):
    torture = Torture(args, work)
    began = time.monotonic()
    for number in range(args.cycles):
        text, loss = torture.cycle(number)
        if text and args.lie and loss:
            print('seen, as it must be, in cycle %d: %s' % (number, text[:600]))
            return 0
        if text:
            print('FAILED in cycle %d, seed %d: %s\nkept: %s' % (number, args.seed, text, work))
            return 1
    print('%d cycles in %.1f s: %s' % (args.cycles, time.monotonic() - began, torture.totals))
    if args.lie:
        print('FAILED: syncs of the log did nothing, and the test saw no loss')
        return 1
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--server', required=True)
    parser.add_argument('--shim', required=True)
    parser.add_argument('--cycles', type=int, default=15)
    parser.add_argument('--seed', type=int, default=int.from_bytes(os.urandom(4), 'little'))
    parser.add_argument('--connections', type=int, default=3)
    parser.add_argument('--keys', type=int, default=3000, help='per connection')
    parser.add_argument('--seconds', type=float, default=2.5, help='longest load of a cycle')
    parser.add_argument('--lie', action='store_true')
    parser.add_argument('--verbose', action='store_true')
    parser.add_argument('--work', help='directory for data; default: a temporary one')
    args = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    print('seed %d' % args.seed)
    work = os.path.realpath(tempfile.mkdtemp(prefix='tierra-power-', dir=args.work))
    try:
        os.setxattr(work, ATTRIBUTE, b'0' * 16)
    except OSError as err:
        print('skipped: no extended attributes in %s: %s' % (work, err))
        os.rmdir(work)
        return SKIP
    result = run(args, work)
    if result == 0:
        shutil.rmtree(work)
    return result


if __name__ == '__main__':
    sys.exit(main())
