"""A server process and connections to it, as the crash tests need them."""

import os
import signal
import socket
import subprocess
import time


class ServerGone(Exception):
    """The connection ended."""


class ErrorReply(bytes):
    """A reply that starts with '-'."""


def encode(args):
    """One command as RESP."""
    parts = [b'*%d\r\n' % len(args)]
    for arg in args:
        parts.append(b'$%d\r\n' % len(arg))
        parts.append(arg)
        parts.append(b'\r\n')
    return b''.join(parts)


class Conn:
    """A connection over a Unix socket; replies one by one, in order."""

    def __init__(self, path, timeout=180):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.buf = bytearray()
        self.pos = 0

    def close(self):
        self.sock.close()

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as err:
            if isinstance(err, TimeoutError):
                raise
            raise ServerGone from err

    def _fill(self):
        if self.pos > 1 << 20:
            del self.buf[:self.pos]
            self.pos = 0
        try:
            data = self.sock.recv(1 << 18)
        except OSError as err:
            if isinstance(err, TimeoutError):
                raise
            raise ServerGone from err
        if not data:
            raise ServerGone
        self.buf += data

    def _line(self):
        start = self.pos
        while True:
            end = self.buf.find(b'\r\n', start)
            if end >= 0:
                break
            start = max(self.pos, len(self.buf) - 1) - self.pos
            self._fill()
            start += self.pos
        line = bytes(self.buf[self.pos:end])
        self.pos = end + 2
        return line

    def reply(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b'+':
            return rest
        if kind == b':':
            return int(rest)
        if kind == b'-':
            return ErrorReply(rest)
        if kind == b'$':
            length = int(rest)
            if length < 0:
                return None
            while len(self.buf) - self.pos < length + 2:
                self._fill()
            data = bytes(self.buf[self.pos:self.pos + length])
            self.pos += length + 2
            return data
        if kind == b'*':
            count = int(rest)
            return None if count < 0 else [self.reply() for _ in range(count)]
        raise AssertionError('not RESP: %r' % line)

    def call(self, *args):
        self.send(encode([a if isinstance(a, bytes) else str(a).encode() for a in args]))
        return self.reply()

    def pipeline(self, commands, batch=256):
        """The replies to all commands, `batch` under way at a time."""
        out = []
        for at in range(0, len(commands), batch):
            some = commands[at:at + batch]
            self.send(b''.join(encode(c) for c in some))
            out.extend(self.reply() for _ in some)
        return out


class Server:
    """One start of the server on a data directory."""

    def __init__(self, program, data_dir, work_dir, options, env=None, tag=''):
        self.socket_path = os.path.join(work_dir, 's')
        self.log_path = os.path.join(work_dir, 'server%s.log' % tag)
        if os.path.exists(self.socket_path):
            os.unlink(self.socket_path)
        args = [program, '--port', '0', '--unixsocket', self.socket_path, '--dir', data_dir]
        for name, value in options.items():
            args += ['--' + name, str(value)]
        with open(self.log_path, 'ab') as log:
            log.write(b'--- %s\n' % ' '.join(args).encode())
            log.flush()
            self.log_start = log.tell()
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                args, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=dict(os.environ, **(env or {})))

    def log_text(self):
        with open(self.log_path, 'rb') as log:
            log.seek(self.log_start)
            return log.read().decode(errors='replace')

    def wait_ready(self, seconds=180):
        """Seconds until it answered, or None if it ended or did not answer in time."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            if self.process.poll() is not None:
                return None
            try:
                conn = Conn(self.socket_path, timeout=seconds)
                if conn.call('PING') == b'PONG':
                    conn.close()
                    return time.monotonic() - start
                conn.close()
            except (OSError, ServerGone):
                pass
            time.sleep(0.005)
        return None

    def kill(self):
        """kill -9; the exit code it had if it had ended by itself, else None."""
        code = self.process.poll()
        if code is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        return code

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(180)
        except subprocess.TimeoutExpired:
            self.kill()
            return 'does not stop'
