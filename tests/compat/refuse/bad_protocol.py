#!/usr/bin/env python3
"""Clients that send what is no request, too much of it, or half of it, or never read.

The texts are Redis's. After each of them the server must answer others.

usage: bad_protocol.py tierra-server
"""

import threading

from refuselib import main_of, raw, read_until, send, wait_until

from node import encode  # pylint: disable=wrong-import-order

PONG = b'+PONG\r\n'
LONG = 70000
# What is sent, what comes back, whether the connection is closed then.
REQUESTS = (
    (b'PING\r\n', PONG, False),
    (b'PING\n', PONG, False),
    (b'\r\n\r\n  \r\nPING\r\n', PONG, False),
    (b'*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n', PONG, False),
    (b'*x\r\n', b'-ERR Protocol error: invalid multibulk length\r\n', True),
    (b'*+1\r\n', b'-ERR Protocol error: invalid multibulk length\r\n', True),
    (b'*2147483648\r\n', b'-ERR Protocol error: invalid multibulk length\r\n', True),
    (b'*1\r\n:1\r\n', b"-ERR Protocol error: expected '$', got ':'\r\n", True),
    (b'*1\r\n$-1\r\n', b'-ERR Protocol error: invalid bulk length\r\n', True),
    (b'*1\r\n$ 4\r\n', b'-ERR Protocol error: invalid bulk length\r\n', True),
    (b'*1\r\n$536870913\r\n', b'-ERR Protocol error: invalid bulk length\r\n', True),
    (b'*1\r\n$99999999999999999999\r\n', b'-ERR Protocol error: invalid bulk length\r\n', True),
    (b'SET a "x\r\n', b'-ERR Protocol error: unbalanced quotes in request\r\n', True),
    (b'a' * LONG, b'-ERR Protocol error: too big inline request\r\n', True),
    (b'*' + b'1' * LONG, b'-ERR Protocol error: too big mbulk count string\r\n', True),
    (b'*1\r\n$' + b'1' * LONG, b'-ERR Protocol error: too big bulk count string\r\n', True),
    (b'POST / HTTP/1.1\r\n', b'', True),
    (b'Host: example.org\r\n', b'', True),
    (b'QUIT\r\nPING\r\n', b'+OK\r\n', True),
    (b'$4\r\nPING\r\n', b"-ERR unknown command '$4', with args beginning with: \r\n" + PONG, False),
    (b'NOSUCH a\r\n', b"-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n", False),
    (b'GET\r\n', b"-ERR wrong number of arguments for 'get' command\r\n", False),
)
# Before AUTH.
STRANGERS = (
    (b'GET a\r\n', b'-NOAUTH Authentication required.\r\n', False),
    (b'*11\r\n', b'-ERR Protocol error: unauthenticated multibulk length\r\n', True),
    (b'*2\r\n$3\r\nGET\r\n$16385\r\n',
     b'-ERR Protocol error: unauthenticated bulk length\r\n', True),
    (b'AUTH wrong\r\n',
     b'-WRONGPASS invalid username-password pair or user is disabled.\r\n', False),
    (b'AUTH secret\r\nPING\r\n', b'+OK\r\n' + PONG, False),
)
PIPELINE = 1000000
HALVES = 200
# Of the server, for requests that were announced and never sent.
GROWTH_BYTES_MAX = 64 << 20


def memory(conn):
    text = conn.call('INFO', 'memory').decode()
    return int(text.split('used_memory:')[1].split()[0])


def alive(place, server, what):
    conn = place.conn(server)
    place.check('the server answers after ' + what, conn.call('PING') == b'PONG')
    conn.close()


def requests(place, server, table):
    for data, reply, closes in table:
        for slow in (False, True):
            if slow and len(data) > 1000:
                continue
            sock = raw(server)
            # Byte by byte: every place of a cut.
            for part in [data[i:i + 1] for i in range(len(data))] if slow else [data]:
                send(sock, part)
            # \0: until it is closed.
            got, closed = read_until(sock, b'\0' if closes else reply)
            place.check('%r%s' % (data[:40], ', byte by byte' if slow else ''),
                        (got, closed) == (reply, closes), got, closed, reply, closes)
            sock.close()
    conn = place.conn(server)
    conn.call('AUTH', 'secret')
    place.check('the server answers after broken requests', conn.call('PING') == b'PONG')
    conn.close()


def halves(place, server):
    """Announced, and not sent: no memory for it; then the rest comes, or the end."""
    conn = place.conn(server)
    before = memory(conn)
    socks = []
    for i in range(HALVES):
        sock = raw(server)
        send(sock, (b'*1048576\r\n', b'*2\r\n$4\r\nECHO\r\n$500000000\r\n', b'*3\r\n$3\r\nSE',
                    b'SET half a requ')[i % 4])
        socks.append(sock)
    sock = raw(server)
    send(sock, encode([b'ECHO', b'x' * 100000])[:60000])
    place.check('memory for what was only announced', memory(conn) - before < GROWTH_BYTES_MAX)
    send(sock, encode([b'ECHO', b'x' * 100000])[60000:])
    got, _ = read_until(sock, b'x\r\n')
    place.check('the rest of a request', got == b'$100000\r\n' + b'x' * 100000 + b'\r\n')
    for one in [sock, *socks]:
        one.close()
    place.check('connections are given back', wait_until(
        lambda: b'connected_clients:1\r\n' in conn.call('INFO', 'clients')))
    conn.close()
    alive(place, server, 'half requests')


def long_pipeline(place, server):
    """A million commands before the first reply is read."""
    sock = raw(server)
    sender = threading.Thread(target=send, args=(sock, b'PING\r\n' * PIPELINE), daemon=True)
    sender.start()
    got = 0
    while got < PIPELINE * len(PONG):
        data = sock.recv(1 << 20)
        if not data:
            break
        got += len(data)
    sender.join()
    place.check('a million commands', got == PIPELINE * len(PONG), got)
    sock.close()


def never_reads(place, server):
    """The limit of the output buffer ends the connection."""
    conn = place.conn(server)
    conn.call('SET', 'big', b'x' * 60000)
    conn.call('CONFIG', 'SET', 'client-output-buffer-limit', 'normal 2mb 0 0')
    before = memory(conn)
    sock = raw(server)
    try:
        for _ in range(100000):
            sock.sendall(b'GET big\r\n' * 100)
        ended = False
    except ConnectionError:
        ended = True
    place.check('who never reads is cut off', ended)
    place.check('memory for who never reads', memory(conn) - before < GROWTH_BYTES_MAX)
    conn.call('CONFIG', 'SET', 'client-output-buffer-limit', 'normal 0 0 0')
    sock.close()
    conn.close()
    alive(place, server, 'a client that never reads')


def too_many(place, server):
    conn = place.conn(server)
    place.check('all others are gone', wait_until(
        lambda: b'connected_clients:1\r\n' in conn.call('INFO', 'clients')))
    conn.call('CONFIG', 'SET', 'maxclients', '3')
    socks = [raw(server) for _ in range(2)]
    for sock in socks:
        send(sock, b'PING\r\n')
        place.check('within maxclients', read_until(sock, PONG) == (PONG, False))
    sock = raw(server)
    got, closed = read_until(sock, b'\0')
    place.check('beyond maxclients', closed and got.startswith(b'-ERR max number of clients'), got)
    for sock in socks:
        sock.close()
    conn.call('CONFIG', 'SET', 'maxclients', '1000')
    conn.close()


def run(place):
    server = place.start()
    requests(place, server, REQUESTS)
    halves(place, server)
    long_pipeline(place, server)
    never_reads(place, server)
    too_many(place, server)
    place.check('the server ends as it should', server.stop() == 0)
    server = place.start()
    conn = place.conn(server)
    conn.call('CONFIG', 'SET', 'requirepass', 'secret')
    conn.close()
    requests(place, server, STRANGERS)
    place.check('the server ends as it should', server.stop() == 0)


if __name__ == '__main__':
    main_of(run)
