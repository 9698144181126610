#!/usr/bin/env python3
"""Loss of power under load: what was synced is left, and of the rest what a disk happened to do.

The server runs with crash_shim.so, which keeps beside the data what was durable. After a kill -9
this script builds the state that a loss of power at that moment could have left, starts the server
on it and compares with the model:

    appendfsync always    nothing acknowledged is lost
    everysec, no          what is there is a prefix, and holds all that was acknowledged before the
                          newest completed sync of the log began (the shim notes that moment). How
                          long ago that was is reported, not judged: it depends on the machine

Beyond the durable part, a cut takes at random: unsynced blocks of 512 bytes or 4 KiB (so writes are
torn and reordered), new or old sizes, and per directory the entries as of its last sync or as they
were at the cut.

In some cycles the process is killed and started again first, with the same disk: what is lost by
the cut may then have been read by a recovery already.

--lie: the shim lets the syncs of the log do nothing. The test must then find a loss, and fails if
it does not: the proof that it can see one.
"""

import os
import random
import shutil
import sys
import tempfile
import time

import rig
from check import verify

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
            if os.path.exists(to):
                continue  # A checkpoint holds it as well.
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

# Cycles on one data directory, and between two checks of all keys.
LIFE_CYCLES = 20
FULL_CYCLES = 7
ACTIONS = (None, None, 'press', ('BGSAVE',), ('DEBUG', 'RELOAD'))


class Torture(rig.Rig):
    def __init__(self, args, seed, work):
        super().__init__(args, seed, work)
        self.state = os.path.join(work, 'state')
        self.made = 0
        self.what = []

    def new_life(self):
        super().new_life()
        os.mkdir(self.data)
        os.setxattr(self.data, ATTRIBUTE, b'1' * 16)

    def random_options(self):
        self.options = self.base_options()
        self.options.update({
            'io-backend': 'epoll',
            'appendfsync': 'always' if self.args.lie else
                           self.rng.choice(('always', 'always', 'everysec', 'no')),
        })

    def power_on(self, goes_on=False, wait=True):
        """`goes_on`: the power was not off, only the process had ended."""
        if not goes_on:
            begin_session(self.data, self.state)
        env = {'LD_PRELOAD': self.args.shim, 'TIERRA_SHIM_DATA': self.data,
               'TIERRA_SHIM_STATE': self.state,
               'TIERRA_SHIM_SYNC_US': str(self.rng.choice((0, 500, 5000)))}
        if goes_on:
            env['TIERRA_SHIM_GOES_ON'] = '1'
        if self.args.lie:
            env['TIERRA_SHIM_LIE'] = '/oplog/'
        self.start(env, wait)

    def cut(self):
        """The data directory becomes what the loss of power left of it."""
        self.made += 1
        to = os.path.join(self.work, 'data-%d' % self.made)
        made = Cut(self.data, self.state, to, self.rng)
        self.count('blocks', made.blocks)
        self.what.append(str(made))
        # Kept to look at, until the next.
        before = os.path.join(self.work, 'before')
        shutil.rmtree(before, ignore_errors=True)
        os.rename(self.data, before)
        self.data = to

    def await_durable(self):
        """Until the server's timer has synced what there is."""
        conn = self.conn()
        end = time.monotonic() + rig.WAIT_SECONDS_MAX
        while True:
            fields = dict(line.split(b':', 1) for line in
                          conn.call('INFO', 'tiering').split(b'\r\n') if b':' in line)
            if fields[b'applied_lsn'] == fields[b'durable_lsn']:
                break
            if time.monotonic() > end:
                raise rig.Failure('everysec does not sync')
            time.sleep(0.01)
        conn.close()

    def load(self):
        """Returns what was promised: as verify takes it."""
        rng, sync = self.rng, self.options['appendfsync']
        clients = self.begin_load()
        if rng.random() < 0.1:
            self.stir(rng.random() * self.args.seconds / 2, (None,))
            self.quiesce(clients)
            self.flush_all()
            clients = self.begin_load()
        if rng.random() < 0.9:
            self.await_progress()
        self.stir(rng.random() * rng.choice((0.05, 0.2, self.args.seconds)), ACTIONS)
        all_durable = sync == 'everysec' and rng.random() < 0.2
        if all_durable:
            self.quiesce(clients)
            self.await_durable()
            self.count('waits_for_everysec')
        crash = time.monotonic()
        self.kill()
        self.join_load(clients)
        self.note_load()
        if self.rng.random() < 0.25:
            # The process died alone.
            self.power_on(goes_on=True, wait=False)
            time.sleep(rng.random() * 0.3)
            self.kill()
            self.count('kills_before_the_cut')
        return None if sync == 'always' or all_durable else (self.synced(), crash)

    def synced(self):
        """What was acknowledged before then is durable. The shim knows of one log only."""
        if self.shards > 1:
            return 0
        try:
            with open(os.path.join(self.state, 'synced'), encoding='ascii') as file:
                return int(file.read()) / 1e9
        except FileNotFoundError:
            return 0

    def cycle(self, number):
        rng = self.rng
        self.what = []
        if number % LIFE_CYCLES == 0:
            self.end()
            self.new_life()
            self.random_options()
            self.power_on()
        self.make_generators()
        for writer in self.writers:
            writer.begin()
        bound = self.load()
        self.cut()
        full = number % FULL_CYCLES == FULL_CYCLES - 1
        sync = self.options['appendfsync']
        try:
            while rng.random() < 0.25:
                self.power_on(wait=False)
                time.sleep(rng.random() * 0.2)
                self.kill()
                self.cut()
                self.count('cuts_in_recovery')
            self.random_options()
            self.power_on()
        except rig.Failure as err:
            raise rig.Loss('%s; appendfsync was %s\n%s' % (
                err, sync, '; '.join(self.what))) from err
        text, lost = verify(self.server.socket_path, self.writers, rng, full, bound,
                            one_log=self.shards == 1)
        if sync == 'everysec':
            self.totals['longest_loss'] = max(self.totals.get('longest_loss', 0.0), lost)
        if text:
            raise rig.Loss('appendfsync was %s: %s\n%s' % (sync, text, '; '.join(self.what)))

    def end(self):
        if self.server is not None:
            self.stop()
            self.inspect()


def attributes_work(args):
    probe = tempfile.mkdtemp(prefix='tierra-crash-', dir=args.work)
    try:
        os.setxattr(probe, ATTRIBUTE, b'0')
        return True
    except OSError as err:
        print('skipped: no extended attributes in %s: %s' % (probe, err))
        return False
    finally:
        os.rmdir(probe)


def main():
    parser = rig.parser_of(__doc__, 200)
    parser.add_argument('--shim', required=True)
    parser.add_argument('--lie', action='store_true')
    args = parser.parse_args()
    if not attributes_work(args):
        return SKIP
    failures = rig.run(args, Torture)
    if args.lie:
        seen = [text for text in failures if rig.LOSS in text]
        print('seen, as it must be: %.600s' % seen[0] if seen else
              'FAILED: syncs of the log did nothing, and the test saw no loss: %s' % failures)
        return 0 if seen else 1
    for text in failures:
        print('FAILED: ' + text)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
