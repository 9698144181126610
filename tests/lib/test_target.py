#!/usr/bin/env python3
"""Targets of MIGRATE: one that was closed takes nothing of the next one, when the process was
stopped, either."""

import os
import signal
import socket
import subprocess
import sys

from target import greets

ROUNDS = 20
STOP = 'import os, sys; [os.kill(int(sys.argv[1]), int(s)) for s in sys.argv[2:]]'
SIGNALS = [str(int(s)) for s in (signal.SIGSTOP, signal.SIGCONT)]


def stopped():
    """This process was, and goes on."""
    subprocess.run([sys.executable, '-c', STOP, str(os.getpid()), *SIGNALS], check=True)


def select(port):
    with socket.create_connection(('127.0.0.1', port)) as sock:
        sock.sendall(b'*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n')
        assert sock.recv(16) == b'+OK\r\n'


def main():
    signal.alarm(120)
    for n in range(ROUNDS):
        old = greets(lambda n, words: b'+OK\r\n')
        select(old.port)
        old.close()
        new = greets(lambda n, words: b'+OK\r\n')
        stopped()
        select(new.port)
        select(new.port)
        assert (len(old.got), len(new.got)) == (1, 2), (n, old.got, new.got)
        new.close()
    print('ok')


if __name__ == '__main__':
    main()
