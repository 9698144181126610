"""What the fault tests share: a server under a model of what it acknowledged."""

import hashlib
import os
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'crash'))

from node import (  # noqa: E402  pylint: disable=wrong-import-position
    Conn, ErrorReply, Server, encode)

MB = 1 << 20
# Bounds what hangs, and is no measure of anything. Seconds.
WAIT_S = 240


def tree_bytes(path):
    """As du counts: allocated blocks, a file with several names once."""
    seen = set()
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                st = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            if st.st_ino not in seen:
                seen.add(st.st_ino)
                total += st.st_blocks * 512
    return total


def wait_until(what, seconds, condition):
    """Polls; the time bounds a hang and is no measure of anything."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError('not in %d s: %s' % (seconds, what))
        time.sleep(0.02)


class Slow(Conn):
    """Reads what is announced, and the elements when it is told to."""

    def begin(self, *words):
        self.send(encode(list(words)))
        line = self._line()
        assert line[:1] == b'*', line
        return int(line[1:])

    def take(self, count):
        return [self.reply() for _ in range(count)]


def rss(fix):
    with open('/proc/%d/statm' % fix.server.process.pid, encoding='ascii') as f:
        return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


class Fixture:
    """A data directory, the server on it, and what must be in it."""

    def __init__(self, args, options, tag, work=None):
        self.program = args.server
        self.options = options
        self.work = work or tempfile.mkdtemp(prefix='tierra-%s-' % tag, dir=args.work)
        self.data = os.path.join(self.work, 'data')
        self.model = {}    # Acknowledged: key to generation.
        self.unknown = {}  # No reply, or an error that says unknown: key to possible generations.
        self.value_len = 4096
        self.server = None
        self.conn = None

    def start(self, env=None):
        self.server = Server(self.program, self.data, self.work, self.options, env=env)
        if self.server.wait_ready() is None:
            raise AssertionError('no start\n' + self.server.log_text())
        self.conn = Conn(self.server.socket_path)

    def stop(self):
        self.conn.close()
        return self.server.stop()

    def finish(self):
        shutil.rmtree(self.work, ignore_errors=True)

    def fail(self):
        print('kept: %s\n%s' % (self.work, self.server.log_text() if self.server else ''))
        if self.server:
            self.server.kill()

    def value(self, key, generation):
        return hashlib.shake_128(b'%s.%d' % (key, generation)).digest(self.value_len)

    def info(self, section, name):
        for line in self.conn.call('INFO', section).split(b'\r\n'):
            if line.startswith(name.encode() + b':'):
                return line.split(b':')[1].decode()
        raise AssertionError('no field %s' % name)

    def number(self, name):
        return int(self.info('tiering', name))

    def set(self, key, generation):
        reply = self.conn.call('SET', key, self.value(key, generation))
        if reply == b'OK':
            self.model[key] = generation
        return reply

    def fill(self, first, last, generation, batch=64):
        """SETs until one is refused: (the next number, the refusal), or the last and None."""
        for at in range(first, last, batch):
            keys = [b'key:%d' % i for i in range(at, min(at + batch, last))]
            replies = self.conn.pipeline(
                [(b'SET', key, self.value(key, generation)) for key in keys], batch)
            refusal = None
            for key, reply in zip(keys, replies):
                if reply == b'OK':
                    self.model[key] = generation
                else:
                    assert isinstance(reply, ErrorReply), reply
                    refusal = refusal or reply
            if refusal:
                return at, refusal
        return last, None

    def fill_to(self, count, generation, seconds=WAIT_S):
        """SETs of new keys until there are `count`; what deletes gave back comes by and by."""
        at = [0]

        def reached():
            at[0], _ = self.fill(at[0], at[0] + count, generation)
            return len(self.model) >= count

        wait_until('%d keys again' % count, seconds, reached)

    def delete(self, keys):
        replies = self.conn.pipeline([(b'DEL', key) for key in keys])
        assert all(reply == 1 for reply in replies), [r for r in replies if r != 1][:3]
        for key in keys:
            del self.model[key]

    def check(self, keys):
        for key in keys:
            got = self.conn.call('GET', key)
            want = [self.value(key, g) for g in self.unknown.get(key, [])]
            want.append(self.value(key, self.model[key]) if key in self.model else None)
            assert got in want, '%r is %r, not generation %s' % (
                key, got and got[:40], self.model.get(key))

    def probe(self):
        return self.conn.call('SET', 'probe', 'x') == b'OK'


def run_with(fix, run_on):
    """Starts it, runs, and ends it; what it leaves stays for a look when that fails."""
    try:
        fix.start()
        run_on(fix)
        assert fix.stop() == 0
    except BaseException:
        fix.fail()
        raise
    fix.finish()


def main_of(description, run, add_options=None):
    """Arguments, and the exit code: 0, 1, or 77 for a skip (run raises SystemExit)."""
    import argparse  # pylint: disable=import-outside-toplevel
    parser = argparse.ArgumentParser(description=description.split('\n', maxsplit=1)[0])
    parser.add_argument('--server', required=True)
    parser.add_argument('--work', help='directory for data; default: a temporary one')
    if add_options:
        add_options(parser)
    args = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    run(args)
    return 0
