#!/usr/bin/env python3
"""MIGRATE between redis-server and tierra-server.

The same commands run with every pair of them as source and target, and as many shards: replies, and
what is left at both ends, must be those of two redis-servers. Then targets that are none: they do
not answer, break off, answer nonsense, or errors for some keys; what they have not accepted must
stay. What is written meanwhile must not be lost, others must be served, and clients that are killed
and a server that is shut down leave nothing behind.

usage: migrate.py --server SERVER [--seed N]
"""

import argparse
import os
import random
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time

import dump_restore
from clusterlib import free_ports, wait_until
from diff_cmds import Conn, dump, redis_server, stop, wait_ready
from target import Fake, greets  # pylint: disable=C0411

NOWHERE = 1  # Nobody listens there.
LONG_MS = '60000'
PASSWORD = 'a-secret'
ON_THEIR_WAY = 128  # MIGRATE_KEYS_MAX


class Server:
    def __init__(self, command):
        self.what = ' '.join(command)
        self.port = free_ports(1)[0]
        self.directory = tempfile.mkdtemp(prefix='tierra-migrate-')
        with open(os.path.join(self.directory, 'log'), 'wb') as log:
            self.process = subprocess.Popen(
                command + ['--port', str(self.port), '--dir', self.directory], stdout=log,
                stderr=log)
        wait_ready(self.port, self.process, command[0])
        self.conns = []
        self.c = self.connect()

    def connect(self):
        self.conns.append(Conn(self.port))
        return self.conns[-1]

    def stop(self):
        for conn in self.conns:
            conn.close()
        stop(self.process, self.directory, keep=False)


def migrate(conn, port, *rest, host='127.0.0.1'):
    return conn.call('MIGRATE', host, port, *rest)


# --- the same as two redis-servers ---

def cases(port):
    """(What the source has, what the target has, MIGRATE)."""
    one = [['SET', 'a', '1'], ['RPUSH', 'b', 'x', 'y'], ['HSET', 'h', 'f', 'v'],
           ['SET', 't', 'v', 'PX', '1000000']]
    busy = [['SET', 'a', 'there'], ['SADD', 'b', 'm']]
    here = ('127.0.0.1', port)
    for options in ([], ['COPY'], ['REPLACE'], ['copy', 'replace'], ['REPLACE', 'COPY', 'COPY']):
        for target in ([], busy):
            for key in 'abt-':
                yield one, target, [*here, key, '0', LONG_MS, *options]
            yield one, target, [*here, '', '0', LONG_MS, *options, 'KEYS', 'a', 'b', 'h', 't', '-']
            yield one, target, [*here, '', '0', LONG_MS, *options, 'keys', '-', 'b']
            yield one, target, [*here, '', '0', LONG_MS, *options, 'keys', 'h', 'h', 't']
    for rest in (['a', '0', '0'], ['a', '0', '-1'], ['a', 'x', '5'], ['a', '0', 'x'], ['a', '0'],
                 ['a', '0', '5', 'BAD'], ['a', '0', '5', 'AUTH'], ['a', '0', '5', 'AUTH2', 'x'],
                 ['a', '0', '5', 'KEYS', 'b'], ['', '0', '5'], ['', '0', '5', 'KEYS'],
                 ['a', '0', '5', 'COPY', 'x', 'AUTH', 'y'], ['', 'x', '5', 'KEYS'],
                 ['a', '99999999999999999999', '5'], ['a', '0', '99999999999999999999'],
                 ['a', '1', LONG_MS], ['a', '-2', LONG_MS], ['', '77', LONG_MS, 'KEYS', 'a', 'b'],
                 ['a', '0', LONG_MS, 'AUTH', 'nobody asked'],
                 ['a', '0', LONG_MS, 'AUTH2', 'nobody', 'asked'],
                 ['a', '0', LONG_MS, 'AUTH2', 'default', 'any'],
                 ['-', '0', LONG_MS, 'AUTH', 'x'], ['-', '0', LONG_MS, 'BAD']):
        yield one, [], [*here, *rest]
    yield one, [], ['127.0.0.1', str(NOWHERE), 'a', '0', LONG_MS]
    yield one, [], ['127.0.0.1', 'port', 'a', '0', LONG_MS]
    yield one, [], ['no.such.host.invalid', port, 'a', '0', LONG_MS]
    yield one, [], ['no such host', port, 'a', '0', LONG_MS]
    yield one, [], ['localhost', port, 'a', '0', LONG_MS]


# Of what a slow machine may have no time for.
TRIES_MAX = 20


def outcome(source, target, case):
    for _ in range(TRIES_MAX):
        for conn, cmds in ((source.c, case[0]), (target.c, case[1])):
            conn.call('FLUSHALL')
            for cmd in cmds:
                conn.call(*cmd)
        reply = source.c.call('MIGRATE', *case[2])
        # With no time given it is a second, which may be too short on a slow machine.
        if case[2][1] != target.port or case[2][4:5] not in (['0'], ['-1']) or \
                not reply[1].startswith(b'IOERR'):
            break
    return reply, dump(source.c), dump(target.c)


def compare(redises, others):
    wanted = [outcome(*redises, case) for case in cases(redises[1].port)]
    pairs = [(a, b) for a in others + redises[:1] for b in others + redises[1:] if a is not b]
    for source, target in pairs:
        for case, want in zip(cases(target.port), wanted):
            got = outcome(source, target, case)
            # redis-server sends the keys although its AUTH or SELECT was refused.
            if any(text in want[0][1] for text in (b'DB index', b'AUTH <pass', b'WRONGPASS')):
                assert got[2] == {} or source is redises[0], (source.what, target.what, case, got)
                got, want = got[:2], want[:2]
            assert got == want, (source.what, target.what, case, got, want)
    print('%d cases with %d pairs of servers' % (len(wanted), len(pairs)))


def secrets(source, target):
    """AUTH and AUTH2, which stand in no log."""
    target.c.call('ACL', 'SETUSER', 'mover', 'on', '>' + PASSWORD, '~*', '+@all')
    target.c.call('CONFIG', 'SET', 'requirepass', PASSWORD)
    source.c.call('CONFIG', 'SET', 'slowlog-log-slower-than', '0')
    for how, want in (([], b'NOAUTH Authentication required.'),
                      (['AUTH', 'wrong'], b'WRONGPASS invalid username-password pair or user is '
                                          b'disabled.'),
                      (['AUTH2', 'mover', 'wrong'], b'WRONGPASS invalid username-password pair or '
                                                    b'user is disabled.'),
                      (['AUTH', PASSWORD], None), (['AUTH2', 'mover', PASSWORD], None)):
        if not how and 'redis-server' in source.what:
            continue  # It has a connection from before.
        source.c.call('SET', 'a', '1')
        reply = migrate(source.c, target.port, 'a', '0', LONG_MS, 'REPLACE', *how)
        if want is None:
            assert reply == ('+', b'OK'), reply
        else:
            assert reply == ('-', b'ERR Target instance replied with error: ' + want), reply
        assert source.c.call('EXISTS', 'a')[1] == (b'0' if want is None else b'1')
    log = repr(source.c.call('SLOWLOG', 'GET', '128'))
    assert PASSWORD not in log and 'redacted' in log, log
    target.c.call('CONFIG', 'SET', 'requirepass', '')
    source.c.call('CONFIG', 'SET', 'slowlog-log-slower-than', '10000')
    target.c.call('ACL', 'DELUSER', 'mover')


# --- values ---

def values(source, target, rng, count):
    """Of all types and sizes, hot and cold, all in one command."""
    for conn in (source.c, target.c):
        conn.call('FLUSHALL')
    keys = ['k%d' % i for i in range(count)]
    for key in keys:
        source.c.call(*dump_restore.value(rng, key))
        if rng.random() < 0.2:
            source.c.call('PEXPIRE', key, 1000000)
    want = dump(source.c)
    if rng.random() < 0.7:
        source.c.call('DEBUG', 'RELOAD')
    rng.shuffle(keys)
    reply = migrate(source.c, target.port, '', '0', LONG_MS, 'KEYS', *keys)
    assert reply == ('+', b'OK'), reply
    assert dump(target.c) == want
    assert source.c.call('DBSIZE') == (':', b'0'), source.c.call('DBSIZE')


def large(source, target):
    """Values of many megabytes, whole."""
    for conn in (source.c, target.c):
        conn.call('FLUSHALL')
    text = bytes(range(256)) * (40 << 12)
    source.c.call('SET', 's', text)
    for first in range(0, 60000, 1000):
        part = range(first, first + 1000)
        source.c.call('HSET', 'h', *(x for i in part for x in ('f%d' % i, 'v' * (i % 300))))
        source.c.call('ZADD', 'z', *(x for i in part for x in (i * 7 % 1000, 'm%d' % i)))
        source.c.call('RPUSH', 'l', *('e%d' % i for i in part))
        source.c.call('SADD', 'm', *('e%d' % i for i in part))
    want = dump(source.c)
    keys = ('s', 'h', 'z', 'l', 'm')
    for key in keys:
        source.c.call('PEXPIRE', key, '10000000')
    for option in ('COPY', 'REPLACE'):
        reply = migrate(source.c, target.port, '', '0', LONG_MS, option, 'KEYS', *keys)
        assert reply == ('+', b'OK'), reply
        for key in keys:
            assert 0 < int(target.c.call('PTTL', key)[1]) <= 10000000
            target.c.call('PERSIST', key)
        assert dump(target.c) == want
    assert source.c.call('DBSIZE') == (':', b'0')


def many(source, target, count):
    """Keys on flash, of all shards, beside others that stay."""
    for conn in (source.c, target.c):
        conn.call('FLUSHALL')
    for first in range(0, count, 1000):
        source.c.call('MSET', *(x for i in range(first, first + 1000)
                                for x in ('k%d' % i, 'v%d' % i * 20)))
    source.c.call('DEBUG', 'RELOAD')
    reply = migrate(source.c, target.port, '', '0', LONG_MS, 'KEYS',
                    *('k%d' % i for i in range(0, count, 2)))
    assert reply == ('+', b'OK'), reply
    for conn, rest in ((source.c, 1), (target.c, 0)):
        assert conn.call('DBSIZE')[1] == b'%d' % (count // 2)
        for i in range(rest, count, 98):
            assert conn.call('GET', 'k%d' % i)[1] == b'v%d' % i * 20


def events(source, target):
    """What was moved is told of as deleted."""
    source.c.call('CONFIG', 'SET', 'notify-keyspace-events', 'EA')
    source.c.call('MSET', 'a', '1', 'b', '2')
    listener = source.connect()
    listener.call('SUBSCRIBE', '__keyevent@0__:del')
    assert migrate(source.c, target.port, '', '0', LONG_MS, 'REPLACE', 'KEYS', 'a', '-',
                   'b') == ('+', b'OK')
    told = {listener.read()[1][2][1] for _ in range(2)}
    assert told == {b'a', b'b'}, told
    source.c.call('CONFIG', 'SET', 'notify-keyspace-events', '')


# --- targets that are none ---

KEYS = ['{x}%d' % i for i in range(300)]


def refill(source):
    source.c.call('FLUSHALL')
    source.c.call('MSET', *(x for key in KEYS for x in (key, 'v')))


def is_left(source, gone):
    return all((source.c.call('EXISTS', key)[1] == b'0') == (key in gone) for key in KEYS)


def left(source, gone, what):
    for key in KEYS:
        want = b'0' if key in gone else b'1'
        assert source.c.call('EXISTS', key)[1] == want, (what, key)


def odd_targets(source):
    reading = b'IOERR error or timeout reading to target instance'
    nonsense = (b'ERR Target instance replied with what is neither +OK nor an error; keys that it '
                b'has not accepted stay here')
    error = b'ERR Target instance replied with error: '

    def odd(n, words):
        return b'-ERR not this one\r\n' if int(words[1][3:]) % 3 == 1 else b'+OK\r\n'
    targets = (
        # What it does, when a client waits how long, the reply, the keys that are gone.
        ('silent', Fake(lambda n, words: None), '200', reading, 0),
        ('silent later', greets(lambda n, words: b'+OK\r\n' if n < 5 else None), '300', reading, 5),
        ('hangs up', Fake(lambda n, words: False), LONG_MS, reading, 0),
        ('hangs up later', greets(lambda n, words: n < 7 and b'+OK\r\n'), LONG_MS, reading, 7),
        ('HTTP', Fake(lambda n, words: b'HTTP/1.0 400 Bad Request\r\n'), LONG_MS, nonsense, 0),
        ('a number', greets(lambda n, words: b':1\r\n'), LONG_MS, nonsense, 0),
        ('an array', greets(lambda n, words: b'+OK\r\n' if n < 3 else b'*1\r\n+OK\r\n'), LONG_MS,
         nonsense, 3),
        ('no words', greets(lambda n, words: b'\r\n\n\n'), LONG_MS, nonsense, 0),
        ('zeros', greets(lambda n, words: bytes(100) + b'\n'), LONG_MS, nonsense, 0),
        ('no end', Fake(lambda n, words: b'x' * 100000), '300', reading, 0),
        ('a long error', Fake(lambda n, words: b'-' + b'y' * 100000 + b'\r\n'), LONG_MS,
         error + b'y' * 900, 0),
        ('errors', greets(odd), LONG_MS, error + b'ERR not this one',
         [key for i, key in enumerate(KEYS) if i % 3 != 1]),
    )
    for what, fake, timeout, want, gone in targets:
        gone = KEYS[:gone] if isinstance(gone, int) else gone
        while True:
            refill(source)
            reply = migrate(source.c, fake.port, '', '0', timeout, 'KEYS', *KEYS)
            # What is to happen before the time is over may take longer on a slow machine.
            if is_left(source, gone) and reply == ('-', want) or int(timeout) >= int(LONG_MS):
                break
            timeout = str(int(timeout) * 4)
        # A long one is cut.
        assert reply == ('-', want) or (what == 'a long error' and reply[1].startswith(want) and
                                        len(reply[1]) < 1200), (what, reply)
        left(source, gone, what)
        reply = migrate(source.c, fake.port, '', '0', timeout, 'COPY', 'KEYS', *KEYS)
        left(source, gone, what)
        assert source.c.call('SET', KEYS[-1], 'w') == ('+', b'OK')
        fake.close()
    # More than it was asked for, at once: it is believed as far as it was asked.
    fake = greets(lambda n, words: b'+OK\r\n' * 1000)
    refill(source)
    reply = migrate(source.c, fake.port, '', '0', LONG_MS, 'KEYS', *KEYS)
    assert reply[0] == '-' and reply[1].startswith(b'ERR Target instance replied with '), reply
    assert int(source.c.call('EXISTS', *KEYS)[1]) >= len(KEYS) - ON_THEIR_WAY
    fake.close()
    # One that takes no connection: its queue is full.
    full = socket.socket()
    full.bind(('127.0.0.1', 0))
    full.listen(0)
    waiting = []
    for _ in range(4):
        waiting.append(socket.socket())
        waiting[-1].setblocking(False)
        waiting[-1].connect_ex(full.getsockname())
    refill(source)
    reply = migrate(source.c, full.getsockname()[1], KEYS[0], '0', '300')
    assert reply == ('-', b'IOERR error or timeout connecting to the client'), reply
    for sock in waiting + [full]:
        sock.close()


# --- meanwhile ---

def started(source, fake, *rest):
    """A client whose MIGRATE has got to where its target has to answer."""
    client = source.connect()
    client.send([['MIGRATE', '127.0.0.1', fake.port, *rest], ['PING']])
    fake.wait(b'RESTORE')
    return client


def told_one_by_one(source):
    """Of a key that was accepted is told while the others are still under way."""
    go = threading.Event()
    fake = greets(lambda n, words: b'+OK\r\n' if n == 0 or go.wait(600) else False)
    source.c.call('FLUSHALL')
    source.c.call('MSET', '{k}1', 'v', '{k}2', 'v')
    source.c.call('CONFIG', 'SET', 'notify-keyspace-events', 'EA')
    listener = source.connect()
    listener.call('SUBSCRIBE', '__keyevent@0__:del')
    client = started(source, fake, '', '0', LONG_MS, 'KEYS', '{k}1', '{k}2')
    assert listener.read()[1][2][1] == b'{k}1'
    go.set()
    assert listener.read()[1][2][1] == b'{k}2'
    assert client.read() == ('+', b'OK')
    source.c.call('CONFIG', 'SET', 'notify-keyspace-events', '')
    fake.close()


def expires_on_its_way(source, fake):
    """A client whose MIGRATE was sent a key that has expired since. It lives the longer the later a
    machine comes to take it."""
    life_ms, client = 300, source.connect()
    while True:
        source.c.call('SET', 'e', 'v', 'PX', life_ms)
        client.send([['MIGRATE', '127.0.0.1', fake.port, 'e', '0', LONG_MS]])
        wait_until('it is on its way, or was too late', lambda: fake.got_of(b'RESTORE') or
                   select.select([client.sock], [], [], 0)[0])
        if fake.got_of(b'RESTORE'):
            break
        assert client.read() == ('+', b'NOKEY')
        life_ms *= 4
    wait_until('expiry', lambda: source.c.call('EXISTS', 'e')[1] == b'0')
    return client


def meanwhile(source):
    for verdict in (b'+OK\r\n', b'-ERR no\r\n', False):
        go = threading.Event()

        def then(_, words, go=go, verdict=verdict):
            go.wait(600)
            return verdict
        fake = greets(then)
        source.c.call('FLUSHALL')
        source.c.call('MSET', '{k}1', 'old', '{k}2', 'x')
        client = started(source, fake, '{k}1', '0', LONG_MS)
        # Everybody is served, and the key is read; but who would write it waits.
        writer = source.connect()
        writer.send([['APPEND', '{k}1', 'new'], ['GET', '{k}1']])
        for _ in range(20):
            assert source.c.call('GET', '{k}1')[1] == b'old'
            assert source.c.call('SET', '{k}2', 'y') == ('+', b'OK')
            assert source.c.call('MGET', '{k}2', '{k}1')[1] == [('$', b'y'), ('$', b'old')]
        go.set()
        want = {b'+OK\r\n': ('+', b'OK'),
                b'-ERR no\r\n': ('-', b'ERR Target instance replied with error: ERR no'),
                False: ('-', b'IOERR error or timeout reading to target instance')}[verdict]
        assert client.read() == want
        assert client.read() == ('+', b'PONG')
        value = b'new' if want[0] == '+' else b'oldnew'
        assert writer.read() == (':', b'%d' % len(value))
        assert writer.read() == ('$', value)
        fake.close()
    fake, go = None, threading.Event()

    def answer(_, words):
        go.wait(600)
        return b'+OK\r\n'
    # COPY holds nobody.
    fake = greets(answer)
    source.c.call('SET', 'c', 'old')
    client = started(source, fake, 'c', '0', LONG_MS, 'COPY')
    assert source.c.call('SET', 'c', 'new') == ('+', b'OK')
    go.set()
    assert client.read() == ('+', b'OK')
    assert source.c.call('GET', 'c')[1] == b'new'
    fake.close()
    # What goes by itself is gone; and what takes its place stays.
    go.clear()
    fake = greets(answer)
    client = expires_on_its_way(source, fake)
    go.set()
    assert client.read() == ('+', b'OK')
    go.clear()
    source.c.call('SET', 'f', 'v')
    client = source.connect()
    client.send([['MIGRATE', '127.0.0.1', fake.port, 'f', '0', LONG_MS]])
    fake.wait(b'RESTORE', 2)
    assert source.c.call('FLUSHALL') == ('+', b'OK')
    go.set()
    assert client.read() == ('+', b'OK')
    assert source.c.call('SET', 'f', 'w') == ('+', b'OK')
    fake.close()


LONG = 20000  # Elements, of values that are dumped in slices.


def fill_long(source):
    source.c.call('FLUSHALL')
    source.c.call('SET', 's', 'x' * (5 << 20))
    for first in range(0, LONG, 1000):
        part = range(first, first + 1000)
        source.c.call('HSET', 'h', *(x for i in part for x in ('f%d' % i, i)))
        source.c.call('ZADD', 'z', *(x for i in part for x in (i, 'f%d' % i)))
        source.c.call('SADD', 'm', *('f%d' % i for i in part))
        source.c.call('RPUSH', 'l', *part)


class Writer(threading.Thread):
    """Does the same again and again, and counts what was acknowledged."""

    def __init__(self, source, *cmds):
        super().__init__(daemon=True)
        self.conn, self.cmds = source.connect(), cmds
        self.count, self.ended = 0, False
        self.start()

    def run(self):
        while not self.ended:
            self.conn.send([['MULTI'], *self.cmds, ['EXEC']])
            replies = [self.conn.read() for _ in range(len(self.cmds) + 2)]
            assert replies[-1][0] == '*', replies
            self.count += 1

    def end(self):
        self.ended = True
        self.join(600)
        assert not self.is_alive()


def counted(source, target, rounds):
    """Of long values that are written all the time no write is lost, none is there twice, and what
    arrives is of one moment."""
    def of(key):
        return {
            's': lambda c: int(c.call('STRLEN', 's')[1]) % (5 << 20),
            'h': lambda c: int(c.call('HGET', 'h', 'n')[1] or 0),
            'z': lambda c: int(c.call('ZSCORE', 'z', 'n')[1] or 0),
            'm': lambda c: int(c.call('SISMEMBER', 'm', 'n')[1] or 0),
            'l': lambda c: int(c.call('LLEN', 'l')[1]) % LONG}[key]
    for _ in range(rounds):
        fill_long(source)
        target.c.call('FLUSHALL')
        writers = {
            's': Writer(source, ['APPEND', 's', 'y']),
            'h': Writer(source, ['HINCRBY', 'h', 'n', '1'], ['HINCRBY', 'h', 'm', '1']),
            'z': Writer(source, ['ZINCRBY', 'z', '1', 'n'], ['ZINCRBY', 'z', '1', 'm']),
            'l': Writer(source, ['RPUSH', 'l', 'a'])}
        for option in ('COPY', 'REPLACE'):
            for key in 'hmlzs':
                reply = migrate(source.c, target.port, key, '0', LONG_MS, option)
                assert reply == ('+', b'OK'), (key, reply)
        for key, writer in writers.items():
            writer.end()
            got = [of(key)(server.c) for server in (source, target)]
            assert sum(got) == writer.count, (key, got, writer.count)
        assert target.c.call('SCARD', 'm') == (':', b'%d' % LONG)
        for server in (source, target):
            for get, key in (('HGET', 'h'), ('ZSCORE', 'z')):
                assert server.c.call(get, key, 'n') == server.c.call(get, key, 'm'), (get, key)


def cut_short(source, rng):
    """FLUSHALL, CLIENT KILL and DEL while long values are dumped and sent."""
    for turn in range(12):
        fake = greets(lambda n, words: b'+OK\r\n')
        fill_long(source)
        client = source.connect()
        number = client.call('CLIENT', 'ID')[1]
        keys = rng.sample(['s', 'h', 'z', 'm', 'l'], 5)
        client.send([['MIGRATE', '127.0.0.1', fake.port, '', '0', LONG_MS, 'KEYS', *keys]])
        for _ in range(rng.randrange(40)):
            assert source.c.call('PING') == ('+', b'PONG')
        if turn % 3 == 0:
            source.c.call('CLIENT', 'KILL', 'ID', number)
        else:
            source.c.call(*(('FLUSHALL',) if turn % 3 == 1 else ('DEL', *keys)))
            reply = client.read()
            assert reply in (('+', b'OK'), ('+', b'NOKEY')), reply
            assert source.c.call('DBSIZE')[1] == b'0'
        for key in keys:
            source.c.call('DEL', key)
        assert source.c.call('DBSIZE')[1] == b'0'
        fake.close()


def gone_before(source):
    """More keys in a row than are on their way at once, before they were sent."""
    go = threading.Event()

    def answer(_, words):
        if words[0] == b'SELECT':
            go.wait(600)
        return b'+OK\r\n'
    fake = Fake(answer)
    refill(source)
    client = source.connect()
    client.send([['MIGRATE', '127.0.0.1', fake.port, '', '0', LONG_MS, 'KEYS', *KEYS]])
    fake.wait(b'SELECT')
    there = KEYS[2 * ON_THEIR_WAY:]
    source.c.call('DEL', *KEYS[:2 * ON_THEIR_WAY])
    go.set()
    assert client.read() == ('+', b'OK')
    assert [w[1].decode() for w in fake.got if w[0] == b'RESTORE'] == there
    assert source.c.call('DBSIZE') == (':', b'0')
    fake.close()


def paused(source):
    for hangs_up in (False, True):
        # It may come too late to pause, on a slow machine: then the target has been silent.
        assert any(is_done_when_paused(source, hangs_up, ms) for ms in (2000, 8000, 32000))


def is_done_when_paused(source, hangs_up, silent_ms):
    """The target has done all that it was asked for, and nothing here goes on."""
    go = threading.Event()
    done = threading.Event()

    def then(_, words):
        go.wait(600)
        fake.peers[-1].sendall(b'+OK\r\n')
        if hangs_up:
            fake.peers[-1].shutdown(socket.SHUT_RDWR)
        done.set()
    fake = greets(then)
    source.c.call('SET', 'p', 'v')
    client = started(source, fake, 'p', '0', str(silent_ms))
    assert source.c.call('CLIENT', 'PAUSE', LONG_MS, 'WRITE') == ('+', b'OK')
    go.set()
    done.wait(600)
    # Longer than the target may be silent.
    time.sleep(silent_ms * 1.25 / 1000)
    assert source.c.call('GET', 'p')[1] == b'v'
    assert source.c.call('CLIENT', 'UNPAUSE') == ('+', b'OK')
    reply = client.read()
    assert client.read() == ('+', b'PONG')
    fake.close()
    if reply[1].startswith(b'IOERR'):
        return False
    assert reply == ('+', b'OK'), reply
    assert source.c.call('EXISTS', 'p')[1] == b'0'
    return True


def killed(source):
    """Clients of both kinds of ends, whose keys are everybody's again."""
    for how in ('close', 'kill'):
        for key in ('k1', 'k2', 'k3', 'k4', 'k5'):  # Of several shards.
            fake = greets(lambda n, words: None)
            source.c.call('SET', key, 'v')
            client = source.connect()
            client.call('CLIENT', 'SETNAME', 'mover')
            number = client.call('CLIENT', 'ID')[1]
            client.send([['MIGRATE', '127.0.0.1', fake.port, key, '0', LONG_MS]])
            fake.wait(b'RESTORE')
            writer = source.connect()
            writer.send([['APPEND', key, 'w']])
            if how == 'close':
                # As for all commands, the end of what it sends is no end of what it waits for.
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
                client.file.close()
                client.sock.close()
                source.conns.remove(client)
            else:
                assert source.c.call('CLIENT', 'KILL', 'ID', number) == (':', b'1')
            assert writer.read() == (':', b'2'), (how, key)
            assert source.c.call('GET', key)[1] == b'vw'
            fake.close()
    wait_until('no client', lambda: b'mover' not in source.c.call('CLIENT', 'LIST')[1])


def rights(source, fake):
    source.c.call('ACL', 'SETUSER', 'u', 'on', 'nopass', '~a*', '%R~b*', '+@all')
    user = source.connect()
    user.call('AUTH', 'u', 'x')
    source.c.call('MSET', 'a', '1', 'b', '1', 'c', '1')
    noperm = ('-', b'NOPERM this user has no permissions to access one of the keys used as '
                   b'arguments')
    assert migrate(user, fake.port, 'b', '0', LONG_MS) == noperm
    assert migrate(user, fake.port, '', '0', LONG_MS, 'KEYS', 'a', 'b') == noperm
    assert migrate(user, fake.port, 'a', '0', LONG_MS) == ('+', b'OK')
    source.c.call('ACL', 'SETUSER', 'u', '-@dangerous')
    assert migrate(user, fake.port, 'a', '0', LONG_MS)[1].startswith(b'NOPERM this user has no '
                                                                     b'permissions to run')
    source.c.call('ACL', 'DELUSER', 'u')
    # It cannot wait within a transaction.
    assert source.c.call('MULTI') == ('+', b'OK')
    assert migrate(source.c, fake.port, 'c', '0', LONG_MS) == (
        '-', b'ERR Command not allowed inside a transaction')
    assert source.c.call('EXEC')[1].startswith(b'EXECABORT')
    assert source.c.call('EXISTS', 'c')[1] == b'1'


def bounds(source, target):
    """What is too long is told, and stays; the rest goes."""
    for conn in (source.c, target.c):
        conn.call('FLUSHALL')
    source.c.call('CONFIG', 'SET', 'proto-max-bulk-len', 2 << 20)
    for key in ('h1', 'h3'):
        for i in range(4):
            source.c.call('HSET', key, 'f%d' % i, 'v' * (1 << (20 if key == 'h1' else 10)))
    source.c.call('SET', 'h2', 'v')
    reply = migrate(source.c, target.port, '', '0', LONG_MS, 'KEYS', 'h2', 'h1', 'h3')
    assert reply[0] == '-' and b'proto-max-bulk-len' in reply[1], reply
    assert source.c.call('KEYS', '*')[1] == [('$', b'h1')]
    assert target.c.call('DBSIZE')[1] == b'2'
    source.c.call('CONFIG', 'SET', 'proto-max-bulk-len', 512 << 20)
    assert migrate(source.c, target.port, 'h1', '0', LONG_MS) == ('+', b'OK')


def shut_down(source):
    """While targets are silent, and a name is looked up."""
    fake = greets(lambda n, words: None)
    source.c.call('MSET', 'k1', 'v', 'k2', 'v', 'k3', 'v')
    for key in ('k1', 'k2', 'k3'):
        source.connect().send([['MIGRATE', '127.0.0.1', fake.port, key, '0', LONG_MS]])
    fake.wait(b'RESTORE', 3)
    source.c.send([['SHUTDOWN', 'NOSAVE']])
    assert source.process.wait(600) == 0
    fake.close()


def alone(source, target, rng):
    """What only a Tierra promises."""
    counted(source, target, 3)
    cut_short(source, rng)
    odd_targets(source)
    meanwhile(source)
    told_one_by_one(source)
    gone_before(source)
    paused(source)
    killed(source)
    fake = greets(lambda n, words: b'+OK\r\n')
    rights(source, fake)
    fake.close()
    bounds(source, target)
    shut_down(source)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    p.add_argument('--seed', type=int, default=random.randrange(1 << 32))
    args = p.parse_args()
    redis = redis_server()
    print('seed %d' % args.seed)
    rng = random.Random(args.seed)
    ours = [args.server, '--enable-debug-command', 'yes']
    shards = ['--clustering-policy', 'enterprise', '--shards', '4']
    theirs = [redis, '--save', '', '--databases', '1', '--enable-debug-command', 'yes']
    servers = []
    try:
        for command in (theirs, theirs, ours, ours + shards):
            servers.append(Server(command))
        first, second, one, four = servers
        compare([first, second], [one, four])
        for source, target in ((one, second), (first, one), (one, four), (four, one),
                               (four, second)):
            secrets(source, target)
            values(source, target, rng, 150)
            events(source, target)
            if source is not first:
                many(source, target, 6000)
        large(one, second)
        large(four, one)
        alone(four, one, rng)
        alone(one, second, rng)
    finally:
        for server in servers:
            server.stop()
    return 0


if __name__ == '__main__':
    sys.exit(main())
