#!/usr/bin/env python3
"""How a server ends, and what the start after it finds: nothing is lost, whatever the end brought
to the store, and the op log is replayed for the rest and for nothing else.

usage: restart.py SERVER
"""

import os
import re
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'torture',
                                'crash'))

# pylint: disable-next=wrong-import-position
from node import Conn, Server, ServerGone  # noqa: E402

# For what hangs, not for what is slow.
WAIT_SECONDS_MAX = 240
KEYS = 6000
MANY_KEYS = 40000
# A bound that is never reached.
LONG = 1000000
REST = 'the next start replays the rest'
BUFFERS = "the next start replays what is in the store's write buffers"
# Of what may come too late on a slow machine.
ROUNDS_MAX = 12
WRITES_BACK = 'writing back before the end'


class Place:
    """A directory for one server at a time."""

    def __init__(self, program):
        self.program = program
        self.work = tempfile.mkdtemp(prefix='tierra-restart-')
        self.failed = 0
        self.server = None

    def check(self, what, got, wanted):
        if got != wanted:
            self.failed += 1
            print('%s: wanted %r, got %r' % (what, wanted, got))

    def start(self, **options):
        """A connection. Names of options have _ for -."""
        self.server = Server(self.program, os.path.join(self.work, 'data'), self.work,
                             {k.replace('_', '-'): v for k, v in options.items()})
        if self.server.wait_ready(WAIT_SECONDS_MAX) is None:
            self.server.kill()
            raise SystemExit('no start\n' + self.server.log_text())
        return Conn(self.server.socket_path, WAIT_SECONDS_MAX)

    def end(self, conn, *how):
        """SHUTDOWN, or signals; the exit code."""
        if how and isinstance(how[0], signal.Signals):
            for one in how:
                self.server.process.send_signal(one)
        else:
            try:
                conn.call('SHUTDOWN', *how)
            except ServerGone:
                pass
        return self.server.process.wait(WAIT_SECONDS_MAX)

    def wait_for_log(self, text):
        """Until the server has logged it, or has ended."""
        while text not in self.server.log_text() and self.server.process.poll() is None:
            time.sleep(0.001)

    def replayed(self):
        """Records that the start replayed."""
        return int(re.search(r'recovered .* records=(\d+)', self.server.log_text())[1])

    def close(self):
        if self.server is not None:
            self.server.kill()
        shutil.rmtree(self.work, ignore_errors=True)


def fill(conn, name, value=b'v%d', keys=KEYS):
    conn.pipeline([[b'SET', b'%s:%d' % (name, i), value % i] for i in range(keys)])


def differs(conn, name, value=b'v%d', keys=KEYS):
    """How many keys do not have their value."""
    got = conn.pipeline([[b'GET', b'%s:%d' % (name, i)] for i in range(keys)])
    return sum(v != value % i for i, v in enumerate(got))


# The end, shutdown-timeout, and whether the start after it replays what was written.
ENDS = [
    (['SAVE'], 0, False),
    (['NOW'], LONG, True),
    (['NOSAVE'], LONG, True),
    ([], 0, True),
    ([], LONG, False),
    ([signal.SIGTERM], 0, True),
    ([signal.SIGINT], LONG, False),
]


def check_end(place, how, timeout, replays, written):
    """Whether it came before all rows were written back, if that is what it is about."""
    what = 'end %r with shutdown-timeout %d' % (how, timeout)
    conn = place.start(shutdown_timeout=timeout)
    written.append(b'end%d' % len(written))
    fill(conn, written[-1])
    place.check(what, place.end(conn, *how), 0)
    log = place.server.log_text()
    in_time = REST in log or not replays
    place.check(what + ': the rest is told', REST in log or BUFFERS in log, replays)
    conn = place.start()
    place.check(what + ': records', (place.replayed() >= KEYS, place.replayed() > 0),
                (replays, replays))
    place.check(what + ': keys', conn.call('DBSIZE'), KEYS * len(written))
    for name in written:
        place.check(what + ': %r' % name, differs(conn, name), 0)
    place.check(what + ': the end of the start after it', place.end(conn, 'SAVE'), 0)
    return in_time


def check_ends(place):
    written = []
    for end in ENDS:
        # On a slow machine the end may come when everything is written back: again, then.
        place.check('%r: in time' % (end,), any(
            check_end(place, *end, written) for _ in range(ROUNDS_MAX)), True)


def check_buffers(place):
    """The store has every row, but not on disk: an end that writes nothing says so."""
    for how, told in (['NOSAVE'], True), (['SAVE'], False):
        conn = place.start(shutdown_timeout=LONG)
        fill(conn, b'buffers')
        end = time.monotonic() + WAIT_SECONDS_MAX
        while b'dirty_rows:0\r' not in conn.call('INFO', 'tiering'):
            if time.monotonic() > end:
                raise SystemExit('rows are not written back')
            time.sleep(0.05)
        place.check('end %r' % how, place.end(conn, *how), 0)
        log = place.server.log_text()
        place.check('what is told at %r' % how, (BUFFERS in log, REST in log), (told, False))
        conn = place.start()
        place.check('replayed', place.replayed() > 0, told)
        place.check('keys', differs(conn, b'buffers'), 0)
        place.check('the end', place.end(conn, 'SAVE'), 0)


def check_signals_at_once(place):
    """More than one while connections close, or while the log does."""
    for number in range(3):
        conn = place.start(shutdown_timeout=LONG)
        name = b'twice%d' % number
        fill(conn, name)
        code = place.end(conn, *[signal.SIGTERM] * (2 + number))
        place.check('exit code after %d signals' % (2 + number), code, 0)
        conn = place.start()
        place.check('after %d signals' % (2 + number), differs(conn, name), 0)
        place.check('the end', place.end(conn), 0)


def check_second_signal(place):
    """While rows are written back it cuts that short, and the next start replays the rest.

    Without it the end would write everything, and nothing would be replayed. Which of the two ends
    first is not ours to say: in one of the rounds it has to be the signal.
    """
    value = b'%d' + b'x' * 1000
    cut_short = 0
    for number in range(ROUNDS_MAX):
        conn = place.start(shutdown_timeout=LONG)
        name = b'second%d' % number
        fill(conn, name, value, MANY_KEYS)
        place.server.process.send_signal(signal.SIGTERM)
        place.wait_for_log(WRITES_BACK)
        place.check('exit code', place.end(conn, signal.SIGTERM), 0)
        conn = place.start()
        cut_short += place.replayed() > 0
        place.check('after a second signal', differs(conn, name, value, MANY_KEYS), 0)
        place.check('the end', place.end(conn, 'SAVE'), 0)
        if cut_short:
            return
    place.check('rounds in which the second signal cut the end short', cut_short > 0, True)


def main():
    place = Place(sys.argv[1])
    try:
        check_ends(place)
        check_buffers(place)
        check_signals_at_once(place)
        check_second_signal(place)
    finally:
        place.close()
    print('%d failed' % place.failed if place.failed else 'passed')
    return place.failed != 0


if __name__ == '__main__':
    sys.exit(main())
