"""What the tests of refusals share: a server in a directory, and a list of what is wrong."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
sys.path[:0] = [os.path.join(TESTS, 'torture', 'crash'), os.path.join(TESTS, 'lib')]

from node import Conn, ErrorReply, Server  # noqa: E402,F401  pylint: disable=C0413,W0611
from ports import free_ports  # noqa: E402,F401  pylint: disable=C0413,W0611

# For what hangs, not for what is slow.
WAIT_SECONDS_MAX = 240
# server/node.h
EXIT_CONFIG, EXIT_DATA, EXIT_DISK, EXIT_PORT, EXIT_BUSY = 2, 3, 4, 5, 6


class Place:
    """A directory for one server at a time."""

    def __init__(self, program):
        self.program = program
        self.work = tempfile.mkdtemp(prefix='tierra-refuse-')
        self.data = os.path.join(self.work, 'data')
        self.wrong = []
        self.servers = []

    def check(self, what, good, *details):
        if not good:
            self.wrong.append(what)
            print('FAILED: %s' % what, *(repr(d)[:1500] for d in details))

    def start(self, **options):
        """A server that must come up. Names of options have _ for -."""
        server = Server(self.program, self.data, self.work,
                        {k.replace('_', '-'): v for k, v in options.items()})
        self.servers.append(server)
        if server.wait_ready(WAIT_SECONDS_MAX) is None:
            code = server.kill()
            raise SystemExit('no start, code %s\n%s' % (code, server.log_text()))
        return server

    def conn(self, server):
        return Conn(server.socket_path, WAIT_SECONDS_MAX)

    def run(self, *args):
        """A start that should fail: the exit code and what was said."""
        command = [self.program, *args]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, cwd=self.work,
                                  timeout=WAIT_SECONDS_MAX, check=False)
        except subprocess.TimeoutExpired:
            return None, 'it runs'
        return done.returncode, done.stdout.decode(errors='replace')

    def refuses(self, what, code, words, *args):
        """The start must end with `code` (or one of several), and say all of `words`."""
        got, text = self.run(*args)
        codes = code if isinstance(code, tuple) else (code,)
        self.check(what, got in codes and all(w in text for w in words), got, code, words, text)

    def refuses_data(self, what, code, words, *args):
        self.refuses(what, code, words, '--port', '0', '--dir', self.data, *args)

    def copy_data(self, source):
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(source, self.data)

    def finish(self):
        """The exit code of the test."""
        for server in self.servers:
            server.kill()
        shutil.rmtree(self.work, ignore_errors=True)
        print('%d refusals are not as they should be' % len(self.wrong) if self.wrong
              else 'all refusals are as they should be')
        return 1 if self.wrong else 0


def raw(server):
    """A bare connection."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(WAIT_SECONDS_MAX)
    sock.connect(server.socket_path)
    return sock


def send(sock, data):
    """What was closed meanwhile takes nothing more: that is seen when reading."""
    try:
        sock.sendall(data)
    except OSError:
        pass


def read_until(sock, end):
    """Until the reply ends so, or the connection is closed: then (what came, True)."""
    out = b''
    while not out.endswith(end):
        try:
            data = sock.recv(1 << 16)
        except ConnectionError:
            return out, True
        if not data:
            return out, True
        out += data
    return out, False


def wait_until(condition):
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def main_of(run):
    """Runs `run(place)` on the server of the command line."""
    sys.stdout.reconfigure(line_buffering=True)
    place = Place(os.path.abspath(sys.argv[1]))
    try:
        run(place)
    finally:
        code = place.finish()
    sys.exit(code)
