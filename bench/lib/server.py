"""Servers under test: start, readiness, CPU and I/O of the process, death, end.

Every server is a child that the kernel kills with this process, has a directory and a log file of
its own, and every wait has a limit.
"""
import ctypes
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time

PR_SET_PDEATHSIG = 1
READY_S = 60
STOP_S = 20
LOG_TAIL_BYTES = 1500
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

_libc = ctypes.CDLL(None, use_errno=True)


class ServerError(Exception):
    """A server that does not start, or has died."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def call(port, *arguments, timeout_s=30.0):
    """One command; the raw reply (its first line, or as much as came with it)."""
    request = b"*%d\r\n" % len(arguments)
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        request += b"$%d\r\n%s\r\n" % (len(data), data)
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as conn:
        conn.sendall(request)
        reply = b""
        while not reply.endswith(b"\r\n"):
            data = conn.recv(65536)
            if not data:
                break
            reply += data
    return reply


def child_setup(cpus):
    """For preexec_fn: the child dies with us, in a group of its own, on these CPUs."""
    def setup():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setpgrp()
        if cpus:
            os.sched_setaffinity(0, cpus)
    return setup


class Server:
    """`command` is split like a shell line; {port} and {dir} are filled in. CPU time is that of the
    process itself: a wrapper has to exec the server."""

    def __init__(self, name, command, workdir, cpus=None):
        self.name = name
        self.command = command
        self.dir = os.path.join(workdir, name)
        self.log_path = os.path.join(workdir, name + ".log")
        self.cpus = cpus
        self.port = None
        self.process = None

    def start(self, fresh=True):
        if fresh:
            shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir, exist_ok=True)
        self.port = free_port()
        words = [word.format(port=self.port, dir=self.dir) for word in shlex.split(self.command)]
        with open(self.log_path, "ab") as log:
            try:
                self.process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir,
                    preexec_fn=child_setup(self.cpus))
            except OSError as error:
                raise ServerError(f"{self.name}: {words[0]}: {error.strerror}") from error
        self._wait_ready()

    def _wait_ready(self):
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            self.check_alive()
            try:
                if call(self.port, "PING", timeout_s=2.0).startswith(b"+PONG"):
                    return
            except OSError:
                pass
            time.sleep(0.05)
        tail = self.log_tail()
        self.stop()
        raise ServerError(f"{self.name}: no PONG within {READY_S} s; its log ends:\n{tail}")

    def log_tail(self):
        try:
            with open(self.log_path, "rb") as log:
                log.seek(max(0, os.path.getsize(self.log_path) - LOG_TAIL_BYTES))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def check_alive(self):
        if self.process is None:
            raise ServerError(f"{self.name}: is not running")
        if not self.alive():
            code = self.process.returncode
            how = f"exit {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
            raise ServerError(f"{self.name}: died ({how}); its log ends:\n{self.log_tail()}")

    def stop(self):
        if self.process is None:
            return
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                pass
        # What it may have started is in its group, and may outlive it.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process = None

    def cpu_us(self):
        """User and system time of all threads; the kernel counts in ticks of 10 ms."""
        self.check_alive()
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii", errors="replace") as stat:
            words = stat.read().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) * 1000000 // TICKS_PER_S

    def cpu_us_by_thread(self):
        """As cpu_us, by the name of the thread without its number; the first thread is "main".

        What a thread that has ended meanwhile had used is not in it.
        """
        self.check_alive()
        tasks = f"/proc/{self.process.pid}/task"
        found = {}
        for tid in os.listdir(tasks):
            try:
                with open(f"{tasks}/{tid}/stat", encoding="ascii", errors="replace") as stat:
                    head, _, tail = stat.read().rpartition(")")
            except OSError:
                continue
            name = "main" if int(tid) == self.process.pid else head.partition("(")[2]
            name = name.rstrip("0123456789").rstrip("-")
            words = tail.split()
            spent = (int(words[11]) + int(words[12])) * 1000000 // TICKS_PER_S
            found[name] = found.get(name, 0) + spent
        return found

    def io_bytes(self):
        """(read, written) to the device, or (0, 0) where that is not readable."""
        try:
            with open(f"/proc/{self.process.pid}/io", encoding="ascii") as source:
                fields = dict(line.split(": ") for line in source.read().splitlines())
            return int(fields["read_bytes"]), int(fields["write_bytes"])
        except (OSError, KeyError, ValueError):
            return 0, 0

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def version(self):
        try:
            reply = call(self.port, "INFO", "server").decode(errors="replace")
        except OSError:
            return "?"
        fields = dict(line.split(":", 1) for line in reply.split("\r\n") if ":" in line)
        for name in ("tierra_version", "redis_version"):
            if name in fields:
                return name.split("_")[0] + " " + fields[name]
        return "?"
