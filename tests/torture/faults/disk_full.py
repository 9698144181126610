#!/usr/bin/env python3
"""A disk that is nearly full refuses growth before RocksDB or the log meets its end.

On a small tmpfs: fills until -OOM with the reason, checks that reads and deletes go on and that
nothing failed inside, that writes go on when there is room, then kills and compares. A start
without room says so and exits with code 4. Skipped (77) where a tmpfs cannot be mounted.
"""

import errno
import os
import shutil
import subprocess
import sys
import tempfile

from faultlib import MB, WAIT_S, Fixture, main_of, wait_until
from node import Server

DISK = 128 * MB
OPTIONS = {'oplog-segment-bytes': '1mb', 'store-memtable-bytes': '4mb', 'maxmemory': '256mb'}


def mount(path):
    try:
        done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=%d' % DISK, 'tierra', path],
                              capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def fill(fix, first, generation):
    at, refusal = fix.fill(first, 10 ** 6, generation)
    assert refusal and refusal.startswith(b'OOM ') and b'no space left' in refusal, refusal
    return at


def run_on(fix):
    stopped = fill(fix, 0, 1)
    keys = sorted(fix.model)
    print('refused at %d keys of %d bytes' % (len(keys), fix.value_len))
    assert len(keys) * fix.value_len > DISK // 4, 'refused too early'
    fix.check(keys[::97])
    gone = [key for i, key in enumerate(keys) if i % 4 != 0]
    fix.delete(gone)
    fix.check(gone[::97])
    fix.fill_to(len(keys) * 3 // 4, 2)
    fill(fix, stopped, 3)
    print('and again at %d keys' % len(fix.model))
    # Another program takes what is left, and gives it back.
    ballast = os.path.join(fix.work, 'ballast')
    fix.delete(sorted(fix.model)[:len(fix.model) // 2])
    wait_until('room after deleting', WAIT_S, fix.probe)
    quiet = ('running_compactions', 'pending_compaction_bytes', 'running_flushes', 'dirty_rows')
    wait_until('quiet', WAIT_S, lambda: all(fix.number(name) == 0 for name in quiet))

    def spare():
        """Beyond what the server wants to keep free; it looks now and then, this is as of now."""
        disk = os.statvfs(fix.work)
        return disk.f_bavail * disk.f_frsize - fix.number('flash_disk_needed') * 7 // 10

    with open(ballast, 'wb') as out:

        def refused():
            """What compactions give back meanwhile the other program takes as well."""
            if not fix.probe():
                return True
            more = spare()
            if more > 0:
                os.posix_fallocate(out.fileno(), out.seek(0, os.SEEK_END), more)
            return False

        wait_until('refusal when others fill the disk', WAIT_S, refused)
    fix.check(sorted(fix.model)[::97])
    os.unlink(ballast)
    wait_until('room after others left', WAIT_S, fix.probe)
    assert fix.number('flush_failures') == 0 and fix.number('store_errors') == 0


def start_without_room(fix):
    ballast = os.path.join(fix.work, 'ballast')
    with open(ballast, 'wb', buffering=0) as out:
        try:
            while out.write(bytes(4096)) != 0:
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
    fix.server = Server(fix.program, fix.data, fix.work, fix.options)
    assert fix.server.wait_ready() is None, 'it started'
    code = fix.server.kill()
    text = fix.server.log_text()
    assert code == 4 and 'No space left on device' in text, 'exit code %s\n%s' % (code, text)
    os.unlink(ballast)
    fix.start()
    fix.check(sorted(fix.model)[::7])


def run(args):
    work = tempfile.mkdtemp(prefix='tierra-full-', dir=args.work)
    if not mount(work):
        shutil.rmtree(work)
        print('no tmpfs here')
        sys.exit(77)
    fix = Fixture(args, OPTIONS, 'full', work)
    try:
        fix.start()
        run_on(fix)
        assert fix.server.kill() is None, 'the server ended by itself'
        fix.start()
        fix.check(sorted(fix.model)[::7])
        assert fix.server.kill() is None, 'the server ended by itself'
        start_without_room(fix)
        code = fix.stop()
        assert code == 0, 'exit code %s' % code
    except BaseException:
        fix.fail()
        raise
    finally:
        subprocess.run(['umount', '-l', work], check=False)
    fix.finish()


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
