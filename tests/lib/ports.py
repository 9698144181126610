"""TCP ports for the servers of a test, which no other test takes, even while nothing listens there.

A process holds blocks of ports: whose first port it has bound, without listening, is its own until
it ends. They lie below those that the system gives to outgoing connections.
"""

import random
import socket

FIRST, END, BLOCK = 12000, 32000, 50

_held = []
_next = _end = 0


def _take_block():
    global _next, _end  # pylint: disable=global-statement
    while True:
        first = random.randrange(FIRST, END, BLOCK)
        holder = socket.socket()
        try:
            holder.bind(('127.0.0.1', first))
        except OSError:
            holder.close()
            continue
        _held.append(holder)
        _next, _end = first + 1, first + BLOCK
        return


def _is_free(port):
    """Of what is no test."""
    with socket.socket() as probe:
        try:
            probe.bind(('', port))
        except OSError:
            return False
    return True


def free_ports(count):
    """So many, one behind the other; none twice."""
    global _next  # pylint: disable=global-statement
    while True:
        if _next + count > _end:
            _take_block()
        ports = range(_next, _next + count)
        _next += count
        if all(map(_is_free, ports)):
            return list(ports)
