#!/usr/bin/env python3
"""SORT of what is on flash: the collection, and the keys that its patterns lead to, which are known
only when the elements are there.

The server is ended and started again before each case: everything is cold then.
"""

import argparse
import os
import subprocess
import sys
import tempfile

from diff_cmds import Conn, wait_ready

ELEMENTS = 4000
MAXMEMORY_MB = 32
LONG = 'x' * 6000  # ELEMENTS of them are more than a quarter of maxmemory, of two shards, too.


class Server:
    def __init__(self, path, directory, shards):
        place = os.path.join(directory, 'socket')
        policy = []
        if shards > 1:
            policy = ['--clustering-policy', 'enterprise', '--shards', str(shards)]
        with open(os.path.join(directory, 'log'), 'ab') as log:
            self.process = subprocess.Popen(
                [path, '--port', '0', '--unixsocket', place, '--dir', directory, '--maxmemory',
                 '%dmb' % (MAXMEMORY_MB * shards)] + policy, stdout=log, stderr=log)
        wait_ready(place, self.process, 'tierra-server')
        self.conn = Conn(place)

    def info(self, name):
        text = self.conn.call('INFO', 'tiering')[1].decode()
        return int(text.split('\n' + name + ':')[1].split()[0])

    def stop(self):
        """With all rows in the store, so that none is replayed into memory."""
        self.conn.send([['SHUTDOWN', 'SAVE']])
        if self.process.wait() != 0:
            sys.exit('the server ended with %d' % self.process.returncode)
        self.conn.close()


def weight(i):
    """A permutation."""
    return i * 1237 % ELEMENTS


def fill(conn):
    """Pipelines, so that the keys come at once."""
    names = [str(i) for i in range(ELEMENTS)]
    cmds = [['RPUSH', '{t}list'] + names, ['SADD', '{t}set'] + names,
            ['ZADD', '{t}zset'] + [x for n in names for x in (n, n)]]
    for i in range(ELEMENTS):
        cmds.append(['SET', '{t}w:%d' % i, weight(i)])
        cmds.append(['HSET', '{t}h:%d' % i, 'f', 'field %d' % i, 'w', -weight(i)])
        cmds.append(['SET', '{t}long:%d' % i, LONG])
    cmds.append(['RPUSH', '{t}other', '7', '8'])
    cmds.append(['SET', '{t}chunks:7', 'y' * 100000])
    for at in range(0, len(cmds), 500):
        conn.send(cmds[at:at + 500])
        for _ in cmds[at:at + 500]:
            reply = conn.read()
            while reply[0] == '-' and reply[1].startswith(b'OOM'):
                sys.exit('refused: %r' % (reply,))


def values(reply):
    return [v for _, v in reply[1]]


IN_ORDER = [b'%d' % i for i in sorted(range(ELEMENTS), key=weight)]


def by_strings(server):
    for key in ('{t}list', '{t}set', '{t}zset'):
        got = values(server.conn.call('SORT', key, 'BY', '{t}w:*'))
        assert got == IN_ORDER, (key, got[:10])
    assert server.info('row_reads') > ELEMENTS, 'nothing was cold'


def by_fields(server):
    got = values(server.conn.call('SORT', '{t}list', 'BY', '{t}h:*->w', 'GET', '{t}h:*->f', 'GET',
                                  '#'))
    want = [x for e in reversed(IN_ORDER) for x in (b'field ' + e, e)]
    assert got == want, got[:10]


def limited(server):
    """What is not shown is not read: it would not fit."""
    got = values(server.conn.call('SORT', '{t}list', 'BY', '{t}w:*', 'LIMIT', '10', '5', 'GET', '#',
                                  'GET', '{t}long:*'))
    assert got == [x for e in IN_ORDER[10:15] for x in (e, LONG.encode())], got[::2]


def too_much(server):
    server.conn.send([['SORT_RO', '{t}list', 'GET', '{t}long:*']])
    reply = server.conn.read()
    assert reply[0] == '-' and b'a quarter of maxmemory' in reply[1], reply[:100]
    # It kept nothing.
    assert values(server.conn.call('SORT', '{t}list', 'BY', '{t}w:*')) == IN_ORDER


def stored(server):
    reply = server.conn.call('SORT', '{t}set', 'BY', '{t}w:*', 'GET', '{t}w:*', 'STORE', '{t}to')
    assert reply == (':', b'%d' % ELEMENTS), reply
    got = values(server.conn.call('LRANGE', '{t}to', '0', '-1'))
    assert got == [b'%d' % i for i in range(ELEMENTS)], got[:10]


def transaction(server):
    """Elements that are there already, and those that the transaction adds."""
    call = server.conn.call
    call('MULTI')
    call('RPUSH', '{t}new', '5', '6', '7')
    call('SORT', '{t}new', 'BY', '{t}w:*', 'GET', '#', 'GET', '{t}chunks:*', 'GET', '{t}h:*->f')
    call('SORT', '{t}list', 'BY', '{t}w:*', 'LIMIT', '0', '3')
    call('SORT', '{t}list', 'BY', '{t}h:*->w', 'LIMIT', '0', '3', 'STORE', '{t}to')
    got = call('EXEC')[1]
    want = sorted((5, 6, 7), key=weight)
    assert values(got[1])[::3] == [b'%d' % i for i in want], got[1]
    assert values(got[1])[1::3] == [b'y' * 100000 if i == 7 else None for i in want]
    assert values(got[1])[2::3] == [b'field %d' % i for i in want], got[1]
    assert values(got[2]) == IN_ORDER[:3] and got[3] == (':', b'3'), got
    assert values(call('LRANGE', '{t}to', '0', '-1')) == IN_ORDER[:-4:-1]


def not_known_before(server):
    """What EXEC could not know: an element that is moved. An error, and all else happens."""
    call = server.conn.call
    call('MULTI')
    call('LMOVE', '{t}other', '{t}moved', 'LEFT', 'LEFT')
    call('SORT', '{t}moved', 'BY', '{t}w:*', 'GET', '{t}h:*->f')
    call('SORT', '{t}moved', 'GET', '{t}w:*', 'STORE', '{t}to')
    got = call('EXEC')[1]
    assert got[0] == ('$', b'7'), got
    assert got[1][0] == '-' and b'on flash' in got[1][1], got
    assert got[2][0] == '-' and b'on flash' in got[2][1], got
    assert call('LLEN', '{t}to') == (':', b'3'), 'what was stored before'
    assert values(call('SORT', '{t}moved', 'BY', '{t}w:*', 'GET', '{t}h:*->f')) == [b'field 7']


def elsewhere(server):
    """Several shards: patterns without a hash tag before the '*', or with another one."""
    for words, name in ((('BY', 'w:*'), b'BY'), (('BY', '*{t}'), b'BY'), (('BY', '{u}*'), b'BY'),
                        (('BY', '{*t}'), b'BY'), (('BY', '{}{t}*'), b'BY'),
                        (('GET', 'w:*'), b'GET'),
                        (('GET', '#', 'GET', 'h:*->{t}f'), b'GET')):
        reply = server.conn.call('SORT', '{t}other', *words)
        assert reply == ('-', b'ERR %s option of SORT denied in Cluster mode.' % name), reply
    got = values(server.conn.call('SORT', '{t}list', 'BY', 'nosort', 'GET', '#', 'GET', 'x',
                                  'LIMIT', '7', '1'))
    assert got == [b'7', None], got


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    p.add_argument('--shards', type=int, default=1)
    args = p.parse_args()
    cases = [by_strings, by_fields, limited, too_much, stored, transaction, not_known_before]
    if args.shards > 1:
        cases.append(elsewhere)
    with tempfile.TemporaryDirectory(prefix='tierra-sort-') as directory:
        server = Server(args.server, directory, args.shards)
        fill(server.conn)
        for case in cases:
            server.stop()
            server = Server(args.server, directory, args.shards)
            case(server)
            print(case.__name__)
        server.stop()


if __name__ == '__main__':
    main()
