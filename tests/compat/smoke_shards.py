#!/usr/bin/env python3
"""Starts a server with four shards and checks what covers the node: connections spread over the
shards, order of replies, CROSSSLOT, transactions and WATCH, walks, CLIENT, CONFIG, SLOWLOG, INFO,
saves, maxclients, requirepass, the Unix socket, the end, the start after it, and wrong numbers of
shards.

usage: smoke_shards.py SERVER
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from diff_cmds import Conn, flat

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

from ports import free_ports  # noqa: E402  pylint: disable=C0413

SHARDS = 4
CROSSSLOT = b"CROSSSLOT Keys in request don't hash to the same slot"
POLICY = ['--clustering-policy', 'enterprise']

PORT_TAKEN = 5  # Exit status.
# Bounds what is waited for; nothing is measured by it.
WAIT_SECONDS_MAX = 240

failed = 0


def check(what, got, wanted):
    global failed
    if got != wanted:
        failed += 1
        print('%s: wanted %r, got %r' % (what, wanted, got))


class Node:
    def __init__(self, server, directory):
        self.server, self.directory, self.process, self.port = server, directory, None, 0

    def start(self, *more):
        """A connection to it; another port if somebody took this one meanwhile."""
        while True:
            c = self.try_start(*more)
            if c is not None:
                return c

    def try_start(self, *more):
        self.port = free_ports(1)[0]
        self.log = open(os.path.join(self.directory, 'log'), 'ab')
        self.process = subprocess.Popen(
            [self.server, '--port', str(self.port), '--bind', '127.0.0.1', '--dir',
             os.path.join(self.directory, 'data'), '--enable-debug-command', 'yes', *more],
            stdout=self.log, stderr=self.log)
        end = time.monotonic() + WAIT_SECONDS_MAX
        while time.monotonic() < end:
            try:
                return self.connect()
            except OSError:
                if self.process.poll() == PORT_TAKEN:
                    return None
                if self.process.poll() is not None:
                    sys.exit('the server ended with status %d' % self.process.returncode)
                time.sleep(0.05)
        sys.exit('the server does not answer')

    def connect(self):
        return Conn(self.port)

    def end(self):
        self.process.wait(timeout=WAIT_SECONDS_MAX)
        return self.process.returncode

    def refused(self, *more):
        """Exit status and text of a start that must fail."""
        done = subprocess.run(
            [self.server, '--port', str(free_ports(1)[0]), '--dir',
             os.path.join(self.directory, 'data'), *more], capture_output=True,
            timeout=WAIT_SECONDS_MAX)
        return done.returncode, done.stderr


def info(c):
    text = c.call('INFO', 'everything')[1].decode()
    return dict(line.split(':', 1) for line in text.split('\r\n') if ':' in line)


def value(c, *args):
    return c.call(*args)[1]


def pipeline(c, cmds):
    c.send(cmds)
    return [c.read()[1] for _ in cmds]


# So many that every shard has some.
TAGS = ['{tag%d}' % i for i in range(64)]


def check_keys(c):
    n = 500
    cmds = [x for i in range(n) for x in (['SET', 'k%d' % i, i], ['GET', 'k%d' % i],
                                          ['INCR', 'n{%d}' % (i % 7)])]
    got = pipeline(c, cmds)
    check('order of replies', got[1::3], [b'%d' % i for i in range(n)])
    check('order on one key', got[2::3], [b'%d' % (i // 7 + 1) for i in range(n)])
    check('DBSIZE', value(c, 'DBSIZE'), b'%d' % (n + 7))
    check('KEYS', sorted(flat(c.call('KEYS', 'k*'))), sorted(b'k%d' % i for i in range(n)))
    seen, cursor = [], b'0'
    while True:
        cursor, names = [x[1] for x in value(c, 'SCAN', cursor, 'MATCH', 'k*', 'COUNT', '37')]
        seen += [x[1] for x in names]
        if cursor == b'0':
            break
    check('SCAN', sorted(seen), sorted(b'k%d' % i for i in range(n)))
    picked = {value(c, 'RANDOMKEY') for _ in range(200)}
    check('RANDOMKEY', len(picked) > 50 and None not in picked, True)
    check('MGET', flat(c.call('MGET', *['k%d' % i for i in range(0, n, 3)])),
          [b'%d' % i for i in range(0, n, 3)])
    check('MSET within a pipeline',
          pipeline(c, [['MSET', *['k%d' % (i // 2) for i in range(40)]], ['MGET', 'k0', 'k7', 'no'],
                       ['GET', 'k3']])[0:3:2], [b'OK', b'k3'])
    check('EXISTS', value(c, 'EXISTS', 'k1', 'k2', 'k2', 'none'), b'3')
    check('TOUCH', value(c, 'TOUCH', 'k1', 'k2', 'none'), b'2')
    check('DEL', value(c, 'DEL', *['k%d' % i for i in range(n)], 'none'), b'%d' % n)
    check('CROSSSLOT', [value(c, *cmd) for cmd in (['SUNION', 'a', 'b'], ['RENAME', 'a', 'b'],
                                                   ['MSETNX', 'a', '1', 'b', '2'])],
          [CROSSSLOT] * 3)
    check('one slot', value(c, 'SUNION', '{a}1', '{a}2'), [])


def flags_of(conn, client_id):
    """As CLIENT LIST gives them."""
    for line in value(conn, 'CLIENT', 'LIST').split(b'\n'):
        words = dict(word.split(b'=', 1) for word in line.split())
        if words.get(b'id') == client_id:
            return words[b'flags']
    return None


def check_transactions(c, other):
    client_id = value(c, 'CLIENT', 'ID')
    for tag in TAGS:
        got = pipeline(c, [['MULTI'], ['SET', 'x' + tag, '1'], ['INCR', 'x' + tag],
                           ['PING'], ['EXEC'], ['GET', 'x' + tag]])
        check('EXEC ' + tag, [x[1] for x in got[4]] + got[5:], [b'OK', b'2', b'PONG', b'2'])
        check('WATCH ' + tag, value(c, 'WATCH', 'x' + tag), b'OK')
        check('flags ' + tag, flags_of(other, client_id), b'N')
        other.call('SET', 'x' + tag, '5')
        check('flags of who watched it ' + tag, flags_of(other, client_id), b'd')
        check('EXEC that sees a change ' + tag,
              pipeline(c, [['MULTI'], ['SET', 'x' + tag, '6'], ['EXEC'], ['GET', 'x' + tag]])[2:],
              [None, b'5'])
        check('flags after EXEC ' + tag, flags_of(other, client_id), b'N')
        c.call('WATCH', 'x' + tag)
        check('EXEC that sees none ' + tag,
              [x[1] for x in pipeline(c, [['MULTI'], ['INCR', 'x' + tag], ['EXEC']])[2]], [b'6'])
        check('UNWATCH ' + tag,
              pipeline(c, [['WATCH', 'x' + tag], ['UNWATCH'], ['SET', 'x' + tag, '7'], ['MULTI'],
                           ['GET', 'x' + tag], ['DISCARD']])[-1], b'OK')
    spread = pipeline(c, [['MULTI']] + [['GET', 'x' + tag] for tag in TAGS] + [['EXEC']])
    check('MULTI over several shards', (CROSSSLOT in spread, spread[-1][:9]), (True, b'EXECABORT'))
    spread = pipeline(c, [['WATCH', 'x' + tag] for tag in TAGS] + [['UNWATCH']])
    check('WATCH over several shards', (CROSSSLOT in spread, spread[-1]), (True, b'OK'))
    got = pipeline(c, [['MULTI'], ['DBSIZE'], ['EXEC']])
    check('DBSIZE within MULTI', (got[1][:3], got[2][:9]), (b'ERR', b'EXECABORT'))
    c.send([['CLIENT', 'REPLY', 'OFF']] + [['SET', 'y' + tag, '1'] for tag in TAGS] +
           [['CLIENT', 'REPLY', 'ON'], ['CLIENT', 'REPLY', 'SKIP'], ['GET', 'y' + TAGS[0]],
            ['GET', 'y' + TAGS[1]]])
    check('CLIENT REPLY', [c.read()[1] for _ in range(2)], [b'OK', b'1'])
    for name in ['x', 'y']:
        check('DEL', value(c, 'DEL', *[name + tag for tag in TAGS]), b'%d' % len(TAGS))


def check_clients(node, c):
    conns = [node.connect() for _ in range(8)]
    for i, other in enumerate(conns):
        other.call('CLIENT', 'SETNAME', 'n%d' % i)
    lines = value(c, 'CLIENT', 'LIST').decode().splitlines()
    ids = [int(line.split()[0][3:]) for line in lines]
    check('CLIENT LIST', ([w for line in lines for w in line.split() if w.startswith('name=n')],
                          ids == sorted(ids)), (['name=n%d' % i for i in range(8)], True))
    check('connected_clients', int(info(c)['connected_clients']) >= 9, True)
    victim = value(conns[3], 'CLIENT', 'ID')
    check('CLIENT KILL', value(c, 'CLIENT', 'KILL', 'ID', victim), b'1')
    try:
        gone = conns[3].call('PING')
    except (ConnectionError, OSError):
        gone = None
    check('the killed connection', gone, None)
    check('CLIENT KILL of nobody', value(c, 'CLIENT', 'KILL', '1.2.3.4:5'), b'ERR No such client')
    check('CLIENT PAUSE', value(c, 'CLIENT', 'PAUSE', '600000', 'WRITE'), b'OK')
    for i, other in enumerate(conns):
        if i != 3:
            other.send([['SET', 'p' + TAGS[i], '1']])
    wait_for('blocked_clients', lambda: info(c)['blocked_clients'] == '7')
    check('CLIENT UNPAUSE', value(c, 'CLIENT', 'UNPAUSE'), b'OK')
    check('after it', [conn.read()[1] for i, conn in enumerate(conns) if i != 3], [b'OK'] * 7)
    for conn in conns:
        conn.close()


def check_node(node, c):
    others = [node.connect() for _ in range(SHARDS)]
    check('CONFIG SET', value(c, 'CONFIG', 'SET', 'slowlog-log-slower-than', '0', 'requirepass',
                              'secret'), b'OK')
    check('CONFIG GET everywhere', [flat(o.call('CONFIG', 'GET', 'slowlog-log-slower-than'))[1]
                                    for o in others], [b'0'] * SHARDS)
    fresh = [node.connect() for _ in range(SHARDS)]
    check('requirepass everywhere', {value(f, 'GET', 'a')[:6] for f in fresh}, {b'NOAUTH'})
    check('AUTH', [value(f, 'AUTH', 'secret') for f in fresh], [b'OK'] * SHARDS)
    c.call('CONFIG', 'SET', 'requirepass', '')
    c.call('SLOWLOG', 'RESET')
    pipeline(c, [['SET', 's' + tag, '1'] for tag in TAGS])
    c.call('CONFIG', 'SET', 'slowlog-log-slower-than', '-1')
    entries = [[x[1] for x in e[1]] for e in value(c, 'SLOWLOG', 'GET', '100')]
    ids = [int(e[0]) for e in entries]
    check('SLOWLOG', (sorted(ids, reverse=True) == ids, len(set(ids)) == len(ids),
                      sum(e[3][0][1] == b'SET' for e in entries)), (True, True, len(TAGS)))
    check('SLOWLOG LEN', int(value(c, 'SLOWLOG', 'LEN')) >= len(TAGS), True)
    check('SLOWLOG RESET', (value(c, 'SLOWLOG', 'RESET'), value(c, 'SLOWLOG', 'LEN')),
          (b'OK', b'0'))
    check('CONFIG RESETSTAT', value(c, 'CONFIG', 'RESETSTAT'), b'OK')
    pipeline(c, [['GET', 's' + tag] for tag in TAGS])
    fields = info(c)
    check('INFO', (fields['cmdstat_get'].split(',')[0], fields['shards'], fields['keyspace_hits']),
          ('calls=%d' % len(TAGS), str(SHARDS), str(len(TAGS))))
    histogram = value(c, 'LATENCY', 'HISTOGRAM', 'get')
    check('LATENCY HISTOGRAM', histogram[1][1][1][1], b'%d' % len(TAGS))
    check('MEMORY STATS', len(value(c, 'MEMORY', 'STATS')), 56)
    check('SAVE', value(c, 'SAVE'), b'OK')
    check('rdb_changes_since_last_save', info(c)['rdb_changes_since_last_save'], '0')
    check('LASTSAVE', int(value(c, 'LASTSAVE')) > 0, True)
    check('DEBUG RELOAD', value(c, 'DEBUG', 'RELOAD'), b'OK')
    check('cold keys', int(info(c)['cold_keys']) > 0, True)
    check('GET of cold keys', pipeline(c, [['GET', 's' + tag] for tag in TAGS]),
          [b'1'] * len(TAGS))
    check('DEBUG OBJECT', [value(c, 'DEBUG', 'OBJECT', 's' + tag)[:5] for tag in TAGS[:8]],
          [b'Value'] * 8)
    for conn in others + fresh:
        conn.close()


def check_limits(node, c):
    wait_for('all others are gone', lambda: info(c)['connected_clients'] == '1')
    c.call('CONFIG', 'SET', 'maxclients', '4')
    conns = [node.connect() for _ in range(4)]
    # Accepted in order, by one thread; the last one is too many whichever shard it would go to.
    got = [conn.call('PING')[1] for conn in conns[:3]]
    check('within maxclients', got, [b'PONG'] * 3)
    check('beyond it', conns[3].read()[1], b'ERR max number of clients reached')
    for conn in conns:
        conn.close()
    c.call('CONFIG', 'SET', 'maxclients', '10000')
    check('FLUSHALL', (value(c, 'FLUSHALL'), value(c, 'DBSIZE')), (b'OK', b'0'))


def check_unix(path):
    for _ in range(SHARDS):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
            s.sendall(b'SET u 1\r\nGET u\r\n')
            got = b''
            while len(got) < 12:
                got += s.recv(100)
            check('the Unix socket', got, b'+OK\r\n$1\r\n1\r\n')


def run(server, directory):
    node = Node(server, directory)
    path = os.path.join(directory, 'socket')
    c = node.start(*POLICY, '--shards', str(SHARDS), '--unixsocket', path, '--appendfsync',
                   'always')
    check_keys(c)
    other = node.connect()
    check_transactions(c, other)
    other.close()
    check_clients(node, c)
    check_node(node, c)
    check_limits(node, c)
    check_unix(path)
    pipeline(c, [['SET', 'stay' + tag, tag] for tag in TAGS])
    c.send([['SHUTDOWN']])
    check('exit status', node.end(), 0)
    c = node.start(*POLICY)
    check('after a start', (info(c)['shards'], value(c, 'MGET', *['stay' + t for t in TAGS])),
          (str(SHARDS), [('$', t.encode()) for t in TAGS]))
    node.process.terminate()
    check('exit status', node.end(), 0)
    for more, words in ((['--clustering-policy', 'enterprise', '--shards', '3'], b'4 shards'),
                        ([*POLICY, '--maxmemory', '47mb'], b'4 shards need at least 48mb'),
                        ([], b'clustering-policy')):
        status, text = node.refused(*more)
        check('start with %r' % more, (status in (2, 3), words in text), (True, True))
    shutil.rmtree(os.path.join(directory, 'data'))
    status, text = node.refused('--shards', '2')
    check('several shards under policy none', (status, b'enterprise' in text), (2, True))
    check_budget(node, directory)


def check_budget(node, directory):
    """The smallest maxmemory by the number of shards, in a new directory."""
    shards = [*POLICY, '--shards', '2', '--maxmemory']
    status, text = node.refused(*shards, '31mb')
    check('31mb for two shards', (status, b'2 shards need at least 32mb' in text), (2, True))
    check('what it left', os.path.exists(os.path.join(directory, 'data', 'FORMAT')), False)
    c = node.start(*shards, '32mb')
    check('at the smallest', c.call('SET', 'k', 'v'), ('+', b'OK'))
    check('CONFIG SET', c.call('CONFIG', 'SET', 'maxmemory', '31mb'), ('+', b'OK'))
    for key in 'k', 'l':  # One to a shard.
        c.send([['SET', key, 'v']])  # Not call: that gives more memory on OOM.
        kind, text = c.read()
        check('no writes', (kind, b'below what the process needs' in text), ('-', True))
    check('CONFIG SET', c.call('CONFIG', 'SET', 'maxmemory', '33mb'), ('+', b'OK'))
    check('writes again', c.call('SET', 'k', 'v'), ('+', b'OK'))
    node.process.terminate()
    check('exit status', node.end(), 0)


def wait_for(what, test):
    """Polls; a test that never holds is a failure, not a hang."""
    end = time.monotonic() + WAIT_SECONDS_MAX
    while not test():
        if time.monotonic() > end:
            check(what, 'not within %d s' % WAIT_SECONDS_MAX, True)
            return
        time.sleep(0.01)


def main_of(run_node, *ways):
    """For the command line of tests that check here: `run_node` at a node, with each of the ways of
    starting it."""
    for more in ways:
        directory = tempfile.mkdtemp(prefix='tierra-node-')
        try:
            run_node(Node(sys.argv[1], directory), *more)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    print('%d failed' % failed if failed else 'passed')
    return failed != 0


def main():
    directory = tempfile.mkdtemp(prefix='tierra-shards-')
    try:
        run(sys.argv[1], directory)
    except BaseException:
        with open(os.path.join(directory, 'log')) as log:
            print(log.read()[-3000:])
        raise
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print('%d failed' % failed if failed else 'passed')
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
