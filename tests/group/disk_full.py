#!/usr/bin/env python3
"""A member without room takes nothing from its peers, says so, and goes on by itself.

Parts: "budget": maxflash and maxmemory are spent at one member of three; "disk": a member on a
small tmpfs, filled by its peers' writes, then to its last byte by another program; "copy": the
disk ends in the middle of the copy of a new member. The last two are skipped (77) where a tmpfs
cannot be mounted.

usage: disk_full.py --server tierra-server [--parts budget,disk,copy] [--shards N]
"""

import errno
import os
import subprocess
import sys
import tempfile

from grouplib import ErrorReply, Group, main_of, wait_until
from ways import OPEN, Ways

MB = 1 << 20
VALUE_BYTES = 8000
OPTIONS = {'oplog-segment-bytes': '1mb', 'store-memtable-bytes': '2mb', 'maxmemory': '2gb'}
# As many writes wait for the member that is full: more than its queue takes.
WAITING = 1500
# Keys that are read and deleted one by one.
KEPT = 6
# And those that take the budget. Random bytes: tables that hold them are not smaller.
BIG = 4500
BIG_BYTES = BIG * VALUE_BYTES
# Of a copy: some has come, more is to come.
MIDDLE_BYTES = 3 * MB


class Disk:
    """A small file system, and another program that takes what is left of it."""

    def __init__(self, size):
        self.path = tempfile.mkdtemp(prefix='tierra-disk-')
        self.ballast = os.path.join(self.path, 'ballast')
        try:
            done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=%d' % size, 'tierra',
                                   self.path], capture_output=True, check=False).returncode
        except FileNotFoundError:
            done = 1
        if done != 0:
            os.rmdir(self.path)
            print('no tmpfs here')
            sys.exit(77)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(['umount', '-l', self.path], check=False)
        os.rmdir(self.path)

    def hold(self, member):
        """The member's data is to be here."""
        member.data = os.path.join(self.path, 'data')

    def free(self):
        st = os.statvfs(self.path)
        return st.f_bavail * st.f_frsize

    def take(self, leave):
        """Of what is free now."""
        with open(self.ballast, 'ab') as out:
            more = self.free() - leave
            assert more > 0, (self.free(), leave)
            os.posix_fallocate(out.fileno(), out.tell(), more)

    def take_all(self):
        with open(self.ballast, 'ab', buffering=0) as out:
            try:
                while out.write(bytes(4096)) != 0:
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC, error

    def give_back(self):
        os.unlink(self.ballast)


def value():
    return os.urandom(VALUE_BYTES)  # Does not become short on its way.


def write(member, first, count, prefix=b'big'):
    replies = member.conn.pipeline(
        [(b'SET', b'%s:%d' % (prefix, i), value()) for i in range(first, first + count)], 64)
    assert replies == [b'OK'] * count, [r for r in replies if r != b'OK'][:1]


def tiering(member, name):
    return int(member.info('tiering')[name])


def is_quiet(member):
    return all(tiering(member, name) == 0 for name in (
        'running_compactions', 'pending_compaction_bytes', 'running_flushes', 'dirty_rows'))


def waiting_for(member, peer):
    """Writes of the member that the peer has not acknowledged."""
    return sum(lag['lag-ops'] for lag in member.lags() if lag['peer'].decode() == peer.name)


def incoming(member):
    return member.status()['incoming']


def await_incoming(member, word):
    wait_until(lambda: '%s has no room, for %s: %s\n%s' % (
        member.name, word, member.status(), member.server.log_text()[-3000:]),
               lambda: word in incoming(member))


def await_room(member):
    wait_until(lambda: '%s has room: %s %s\n%s' % (
        member.name, member.status(), member.info('tiering'), member.server.log_text()[-3000:]),
               lambda: incoming(member) == b'ok')


def peer_line(member, peer):
    """What INFO says of the peer."""
    lines = [text for name, text in member.info().items()
             if name.startswith('peer') and ('name=%s,' % peer.name) in text]
    assert len(lines) == 1, (member.info(), peer.name)
    return lines[0]


def peers_know(full, peers):
    def knows(m):
        seen = m.members()[full.name]
        return (seen['incoming'] == b'full' and seen['link-state'] == b'Linked' and
                'incoming=full' in peer_line(m, full) and
                any(lag['incoming'] == b'full' for lag in m.lags()))

    for m in peers:
        wait_until(lambda m=m: '%s knows that %s is full: %s %s %s' % (
            m.name, full.name, m.members(), m.lags(), m.info()), lambda m=m: knows(m))
        assert 'a peer has no room for writes' in m.server.log_text()


def await_refusal(member, word):
    """Its own clients' growth is refused, with the reason."""
    def refused():
        reply = member.call('SET', 'grows', value())
        return isinstance(reply, ErrorReply) and reply.startswith(b'OOM ') and word in reply
    wait_until(lambda: '%s refuses growth: %s' % (member.name, member.status()), refused)


def others_go_on(full, others):
    """They write, and agree; what the one has can be read, and deleted for all."""
    before, seen = int(others[0].ok('GET', 'count')), full.ok('GET', 'count')
    for m in others:
        m.ok('INCR', 'count')
    wait_until('the others agree', lambda: all(
        int(m.ok('GET', 'count')) == before + len(others) for m in others))
    # Shown with the next report.
    wait_until(lambda: 'what is not taken waits: %s' % [m.lags() for m in others],
               lambda: all(waiting_for(m, full) > 0 for m in others))
    assert len(full.ok('GET', 'kept:0')) == VALUE_BYTES
    assert full.ok('GET', 'count') == seen
    gone = [i for i in range(1, KEPT) if full.ok('EXISTS', 'kept:%d' % i)][0]
    assert full.ok('DEL', 'kept:%d' % gone) == 1
    for m in others:
        wait_until('a removal there arrives',
                   lambda m=m: m.ok('EXISTS', 'kept:%d' % gone) == 0)


def converge(group, members):
    group.await_active(members)
    held = group.await_same(members)
    for m in members:
        wait_until(lambda m=m: '%s: members agree: %s' % (m.name, m.call('REPLGROUP', 'DIGEST')),
                   lambda m=m: b'agree' in m.call('REPLGROUP', 'DIGEST'))
        wait_until(lambda m=m: 'all have room: %s' % m.members(),
                   lambda m=m: all(o['incoming'] == b'ok' for o in m.members().values()))
    return held


# --- maxflash and maxmemory ---

def is_full(full, others, word):
    await_incoming(full, word)
    wait_until(lambda: 'INFO says so: %s' % full.info(),
               lambda: word.decode() in full.info()['incoming'])
    assert 'no room for what peers write' in full.server.log_text()
    peers_know(full, others)
    write(others[0], 0, 4, b'late')
    others_go_on(full, others)


def start_all(group, members):
    for m in members:
        m.start()
    group.await_active()
    members[0].ok('SET', 'count', 0)
    write(members[0], 0, KEPT, b'kept')
    group.await_same()


def budget(args):
    options = dict(OPTIONS, maxflash='1gb')
    if args.shards:
        options.update({'clustering-policy': 'enterprise', 'shards': args.shards})
    with Group(args.server, args.work, options) as group:
        a, b, c = group.make(['a', 'b', 'c'])
        start_all(group, [a, b, c])
        write(a, 0, BIG)
        group.await_same()
        # Less than what no relief can free.
        c.ok('CONFIG', 'SET', 'maxflash', BIG_BYTES * 7 // 8)
        is_full(c, [a, b], b'maxflash')
        await_refusal(c, b'maxflash')
        c.ok('CONFIG', 'SET', 'maxflash', '1gb')
        await_room(c)
        converge(group, [a, b, c])
        print('maxflash is raised: all goes on')
        wait_until('what was written is in tables', lambda: is_quiet(c))
        c.ok('CONFIG', 'SET', 'maxflash', BIG_BYTES * 7 // 8)
        is_full(c, [a, b], b'maxflash')
        c.conn.pipeline([(b'DEL', b'big:%d' % i) for i in range(BIG)])
        await_room(c)
        assert b'big:0' not in converge(group, [a, b, c])
        print('keys are deleted at the one that was full: all goes on')
        c.ok('CONFIG', 'SET', 'maxflash', '1gb')
        if args.shards:
            return
        # The process alone takes more.
        c.ok('CONFIG', 'SET', 'maxmemory', '20mb')
        is_full(c, [a, b], b'DRAM')
        c.ok('CONFIG', 'SET', 'maxmemory', '2gb')
        await_room(c)
        converge(group, [a, b, c])
        print('maxmemory is raised: all goes on')


# --- a small disk ---

def fill(writer, full):
    """Until it takes nothing more, and nothing is being compacted: the number of keys."""
    written = 0

    def is_settled():
        nonlocal written
        if waiting_for(writer, full) < WAITING:
            write(writer, written, 128)
            written += 128
            return False
        return b'no space left' in incoming(full) and is_quiet(full)

    wait_until(lambda: '%s is full: %s\n%s' % (
        full.name, full.status(), full.server.log_text()[-3000:]), is_settled)
    return written


def is_killed_when_full(full, kept):
    """What it has acknowledged is there; what waited had not been."""
    full.kill()
    full.start()
    await_incoming(full, b'no space left')
    wait_until(lambda: 'it is active: %s' % full.status(),
               lambda: full.status()['state'] == b'active')
    assert full.ok('EXISTS', *kept) == len(kept)


def disk_ends(disk, full, others):
    """Every byte is taken: writes of RocksDB, of the log, of the lease fail, whatever comes."""
    disk.take_all()
    before = int(full.info()['lease_failures'])
    write(others[0], 0, 4, b'late')

    def has_failed():
        disk.take_all()  # What it deletes meanwhile becomes free.
        return int(full.info()['lease_failures']) > before

    wait_until('a write has failed', has_failed)
    await_incoming(full, b'o space left on')
    others_go_on(full, others)
    full.kill()
    disk.take_all()  # What it had open, and was deleted already, has become free.
    code, text = full.refused()
    assert code == 4 and 'No space left on device' in text, (code, text[-3000:])
    disk.give_back()
    full.start()
    await_incoming(full, b'no space left')


def make_room(full, writer, written):
    """Deletes there what has come, until all has."""
    def is_done():
        full.conn.pipeline([(b'DEL', b'big:%d' % i) for i in range(written)])
        return incoming(full) == b'ok' and waiting_for(writer, full) == 0
    wait_until(lambda: 'all has come: %s %s\n%s' % (
        full.status(), full.info('tiering'), full.server.log_text()[-3000:]), is_done)


def small_disk(args):
    with Disk(32 * MB) as disk, Group(args.server, args.work, OPTIONS) as group:
        a, b, c = group.make(['a', 'b', 'c'])
        disk.hold(c)
        start_all(group, [a, b, c])
        written = fill(a, c)
        has = [k for k in (b'big:%d' % i for i in range(written)) if c.ok('EXISTS', k)]
        print('%d keys were written, %d of them are there' % (written, len(has)))
        assert len(has) >= 500 and len(has) + WAITING // 2 < written
        is_full(c, [a, b], b'no space left')
        await_refusal(c, b'no space left')
        is_killed_when_full(c, has)
        disk_ends(disk, c, [a, b])
        make_room(c, a, written)
        converge(group, [a, b, c])
        assert 'there is room again' in c.server.log_text()
        print('keys are deleted: all goes on')


# --- the disk ends while rows are copied ---

def is_held_in_the_middle(ways, to, givers):
    wait_until(lambda: 'rows are under way: %s' % to.server.log_text()[-3000:],
               lambda: any(ways.is_held(m, to) for m in givers))


def let_go(ways):
    ways.left.clear()
    ways.all(OPEN)


def copy(args):
    with Disk(96 * MB) as disk, Group(args.server, args.work, OPTIONS) as group:
        ways = Ways(group)
        a, b, c = ways.make(['a', 'b', 'c'])
        disk.hold(c)
        for m in (a, b):
            m.start()
            group.await_active()
        write(a, 0, 1500)
        for m in (a, b):
            ways.hold_after(m, c, MIDDLE_BYTES)
        c.start()
        is_held_in_the_middle(ways, c, [a, b])
        disk.take_all()
        let_go(ways)
        await_incoming(c, b'o space left on')
        write(a, 1500, 10)
        # Its copy is not whole: that lasts as long as the disk is full.
        assert c.status()['state'] == b'joining', c.status()
        wait_until(lambda: 'no writes: %s' % c.status(), lambda: c.status()['writes'] != b'ok')
        disk.give_back()
        assert len(converge(group, [a, b, c])) == 1510
        print('the disk ended in the middle of a copy: it went on when there was room')


PARTS = {'budget': budget, 'disk': small_disk, 'copy': copy}


def run(args):
    for part in args.parts.split(','):
        PARTS[part](args)


def add_options(parser):
    parser.add_argument('--parts', default=','.join(PARTS))
    parser.add_argument('--shards', type=int, help='of the part "budget"')


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, add_options))
