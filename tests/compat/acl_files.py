#!/usr/bin/env python3
"""Users in the configuration and in an ACL file; what ACL LOG and SLOWLOG keep; and that a change
holds on every shard when it is answered.

usage: acl_files.py SERVER
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time

from diff_cmds import Conn

SHARDS = ([], ['--clustering-policy', 'enterprise', '--shards', '3'])
CONNS = 12
# For what hangs, not for what is slow.
SECONDS_MAX = 120
EXIT_CONFIG = 2


class Place:
    """A directory for one server at a time."""

    def __init__(self, program):
        self.program = os.path.abspath(program)
        self.work = tempfile.mkdtemp(prefix='tierra-acl-')
        self.process = self.path = None
        self.conns = []
        self.failed = 0

    def write(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, 'w', encoding='ascii') as file:
            file.write(text)
        return path

    def read(self, name):
        with open(os.path.join(self.work, name), encoding='ascii') as file:
            return file.read()

    def start(self, *args):
        self.path = os.path.join(self.work, 'socket')
        with open(os.path.join(self.work, 'log'), 'wb') as log:
            self.process = subprocess.Popen(
                [self.program, *args, '--port', '0', '--unixsocket', self.path, '--dir', self.work],
                stdout=log, stderr=log, cwd=self.work)
        end = time.monotonic() + SECONDS_MAX
        while 'Ready to accept' not in self.read('log'):
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit('no start\n' + self.read('log'))
            time.sleep(0.01)
        return self.conn()

    def conn(self, *auth):
        conn = Conn(self.path)
        self.conns.append(conn)
        if auth:
            self.check('AUTH %s' % auth[0], conn.call('AUTH', *auth), ('+', b'OK'))
        return conn

    def stop(self):
        for conn in self.conns:
            conn.close()
        self.conns = []
        self.process.terminate()
        self.check('the exit code', self.process.wait(SECONDS_MAX), 0)
        self.process = None

    def check(self, what, got, wanted):
        if got != wanted:
            self.failed += 1
            print('%s: wanted %r, got %r' % (what, wanted, got))

    def has(self, what, text, part):
        if part not in text:
            self.failed += 1
            print('%s: %r is not in %r' % (what, part, text))

    def refuses(self, what, words, *args):
        """A start that ends with the reason."""
        got = subprocess.run([self.program, *args, '--port', '0', '--dir', self.work],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                             timeout=SECONDS_MAX)
        self.check(what, got.returncode, EXIT_CONFIG)
        for word in words:
            self.has(what, got.stdout, word)
        if b'hidden' in got.stdout:
            self.failed += 1
            print('%s: a password is shown: %r' % (what, got.stdout))


def pairs(reply):
    flat = [x[1] for x in reply[1]]
    return dict(zip(flat[::2], flat[1::2]))


def users(conn):
    return sorted(x[1] for x in conn.call('ACL', 'LIST')[1])


def closed(conn):
    try:
        conn.call('PING')
    except (ConnectionError, OSError):
        return True
    return False


def directives(place, more):
    conf = place.write('t.conf', 'user bob on >hidden ~b* resetchannels -@all +@read (~w +set)\n'
                                 '# a comment\n'
                                 'user default on nopass ~* &* +@all -flushdb\n'
                                 'maxmemory 64mb\n')
    c = place.start(conf, *more)
    place.has('FLUSHDB', c.call('FLUSHDB')[1], b'NOPERM')
    b = place.conn('bob', 'hidden')
    place.check('GET b', b.call('GET', 'b'), ('$', None))
    place.check('SET w', b.call('SET', 'w', '1'), ('+', b'OK'))
    place.check('ACL SETUSER', c.call('ACL', 'SETUSER', 'eve', 'on', '>hidden', '+@all', '-@string',
                                      '+get', '+select|0', '~x', '~q"q', "~'r", '~t\\t)'),
                ('+', b'OK'))
    before = users(c)
    place.check('CONFIG REWRITE', c.call('CONFIG', 'REWRITE'), ('+', b'OK'))
    text = place.read('t.conf')
    place.check('lines', [line.split()[:2] for line in text.splitlines() if line[:4] == 'user'],
                [['user', 'bob'], ['user', 'default'], ['user', 'eve']])
    place.has('the comment', text, '# a comment')
    place.check('passwords', 'hidden' in text, False)
    place.stop()
    c = place.start(conf, *more)
    place.check('users after a restart', users(c), before)
    place.has('FLUSHDB after it', c.call('FLUSHDB')[1], b'NOPERM')
    place.stop()


def requirepass(place, more):
    conf = place.write('t.conf', 'requirepass hidden\n')
    c = place.start(conf, *more)
    place.has('without AUTH', c.call('GET', 'a')[1], b'NOAUTH')
    place.check('AUTH', c.call('AUTH', 'hidden'), ('+', b'OK'))
    place.check('CONFIG REWRITE', c.call('CONFIG', 'REWRITE'), ('+', b'OK'))
    place.check('no user in the file', 'user' in place.read('t.conf'), False)
    c.call('ACL', 'SETUSER', 'default', '-flushall')
    place.check('CONFIG REWRITE', c.call('CONFIG', 'REWRITE'), ('+', b'OK'))
    place.has('the default user in the file', place.read('t.conf'), '-flushall')
    place.stop()
    c = place.start(conf, *more)
    place.has('without AUTH', c.call('GET', 'a')[1], b'NOAUTH')
    place.check('AUTH', c.call('AUTH', 'hidden'), ('+', b'OK'))
    place.has('FLUSHALL', c.call('FLUSHALL')[1], b'NOPERM')
    place.stop()


def wrong_starts(place, _):
    place.refuses('no such file', (b'Error loading ACLs', b'none.acl'), '--aclfile', 'none.acl')
    place.write('u.acl', 'user a on >hidden\nuser a on\nuser b +nosuch\n')
    place.refuses('a wrong file', (b"Duplicate user 'a'", b"'+nosuch'", b'u.acl:3'), '--aclfile',
                  'u.acl')
    place.write('u.acl', '')
    place.refuses('both', (b'exclude',), '--aclfile', 'u.acl', '--user', 'a', 'on')
    for what, rules, words in (
            ('an unknown command', 'a +nosuch', (b"'+nosuch'", b"'a'", b'Unknown command')),
            ('a bad hash', 'a #hidden', (b'64 characters',)),
            ('an open selector', 'a (+get', (b'Unmatched parenthesis',)),
            ('a pattern behind all', 'a ~* ~b', (b'resetkeys',)),
            ('no name', '', (b'wrong number of arguments',)),
            ('twice', 'a >hidden\nuser a on', (b'Duplicate user',)),
            ('a blank in the name', '"a b" on', (b'Spaces not allowed',))):
        conf = place.write('t.conf', 'user %s\n' % rules)
        place.refuses(what, words + (b't.conf:',), conf)


def file(place, more):
    place.write('u.acl', '\nuser alice on >hidden ~* &* +@all\n   user bob on >hidden  +@set ~s*\n')
    c = place.start('--aclfile', 'u.acl', *more)
    place.check('ACL USERS', [x[1] for x in c.call('ACL', 'USERS')[1]],
                [b'alice', b'bob', b'default'])
    place.check('ACL SETUSER', c.call('ACL', 'SETUSER', 'eve', 'on', 'nopass', '+get', '~*'),
                ('+', b'OK'))
    before = users(c)
    place.check('ACL SAVE', c.call('ACL', 'SAVE'), ('+', b'OK'))
    place.check('the file', sorted(place.read('u.acl').encode().splitlines()), before)
    place.check('its mode', stat.S_IMODE(os.stat(os.path.join(place.work, 'u.acl')).st_mode) & 7, 0)
    bob, alice, eve = (place.conn(n, 'hidden') for n in ('bob', 'alice', 'eve'))
    good = place.read('u.acl')
    place.write('u.acl', good + 'user alice on\nuser carol +nosuch\n')
    reply = c.call('ACL', 'LOAD')
    place.has('a wrong file', reply[1], b"Duplicate user 'alice' found")
    place.has('a wrong file', reply[1], b"Error in applying operation '+nosuch'")
    place.check('users as before', users(c), before)
    place.check('bob as before', bob.call('SADD', 's', 'a'), (':', b'1'))
    place.write('u.acl', good.replace('user eve', 'user carol'))
    place.check('ACL LOAD', alice.call('ACL', 'LOAD'), ('+', b'OK'))
    place.check('who loaded is closed', closed(alice), True)
    place.check('bob is closed', closed(bob), True)
    place.check('eve is closed', closed(eve), True)
    place.check('default is not', c.call('ACL', 'WHOAMI'), ('$', b'default'))
    place.check('ACL USERS', [x[1] for x in c.call('ACL', 'USERS')[1]],
                [b'alice', b'bob', b'carol', b'default'])
    place.check('CONFIG GET', c.call('CONFIG', 'GET', 'aclfile')[1][1], ('$', b'u.acl'))
    place.has('within MULTI', (c.call('MULTI'), c.call('ACL', 'SAVE'), c.call('DISCARD'))[1][1],
              b'not possible within MULTI' if more else b'not allowed inside a transaction')
    os.unlink(os.path.join(place.work, 'u.acl'))
    os.mkdir(os.path.join(place.work, 'u.acl'))
    place.has('a file that cannot be written', c.call('ACL', 'SAVE')[1], b'There was an error')
    place.has('a file that cannot be read', c.call('ACL', 'LOAD')[1], b'Error loading ACLs')
    os.rmdir(os.path.join(place.work, 'u.acl'))
    # Whoever asks meanwhile waits for the file.
    several = [place.conn() for _ in range(CONNS)]
    for conn in several:
        conn.send([('ACL', 'SAVE'), ('PING',), ('ACL', 'LOAD')])
    got = {conn.read()[1] + conn.read()[1] + conn.read()[1] for conn in several}
    place.check('many at once', got, {b'OKPONGOK'})
    place.stop()


def every_shard(place, more):
    """When ACL SETUSER is answered no connection is judged by what held before."""
    c = place.start(*more)
    c.call('ACL', 'SETUSER', 'bob', 'on', 'nopass', '+get', '+mget', '~a*', '~b*')
    bobs = [place.conn('bob', 'x') for _ in range(CONNS)]
    for number in range(20):
        allow, deny = (b'a', b'b') if number % 2 == 0 else (b'b', b'a')
        place.check('ACL SETUSER', c.call('ACL', 'SETUSER', 'bob', 'resetkeys',
                                          b'~' + allow + b'*'), ('+', b'OK'))
        for conn in bobs:
            place.check('allowed', conn.call('GET', allow + b'%d' % number), ('$', None))
            place.has('denied', conn.call('GET', deny + b'%d' % number)[1] or b'', b'NOPERM')
            place.has('one of several', conn.call('MGET', allow, deny)[1], b'NOPERM')
    place.check('ACL DELUSER', c.call('ACL', 'DELUSER', 'bob'), (':', b'1'))
    place.check('all are closed', [closed(conn) for conn in bobs], [True] * CONNS)
    end = time.monotonic() + SECONDS_MAX
    while len(c.call('CLIENT', 'LIST')[1].splitlines()) != 1 and time.monotonic() < end:
        time.sleep(0.01)
    place.check('one is left', len(c.call('CLIENT', 'LIST')[1].splitlines()), 1)
    place.stop()


def logs(place, more):
    c = place.start(*more)
    c.call('CONFIG', 'SET', 'slowlog-log-slower-than', '0')
    c.call('ACL', 'SETUSER', 'bob', 'on', '>hidden', '+get', '+publish', '+multi', '+exec', '~a')
    for number in range(CONNS):
        conn = place.conn()
        conn.call('CLIENT', 'SETNAME', 'n%d' % number)
        conn.call('AUTH', 'bob', 'wrong')
        conn.call('HELLO', '2', 'AUTH', 'bob', 'hidden')
        conn.call('SET', 'a', '1')
        conn.call('GET', 'b')
        conn.call('PUBLISH', 'c', 'm')
        conn.call('MULTI')
        conn.call('SET', 'a', '1')
        conn.call('EXEC')
    got = {}
    for entry in map(pairs, c.call('ACL', 'LOG', '100')[1]):
        place.check('fields', sorted(entry), [b'age-seconds', b'client-info', b'context', b'count',
                                              b'object', b'reason', b'username'])
        place.has('the client', entry[b'client-info'], b' name=n')
        key = tuple(entry[x] for x in (b'username', b'context', b'reason', b'object'))
        got[key] = got.get(key, 0) + int(entry[b'count'])
    place.check('ACL LOG', got, {(b'bob', b'toplevel', b'auth', b'AUTH'): CONNS,
                                 (b'bob', b'toplevel', b'command', b'set'): CONNS,
                                 (b'bob', b'toplevel', b'key', b'b'): CONNS,
                                 (b'bob', b'toplevel', b'channel', b'c'): CONNS,
                                 (b'bob', b'multi', b'command', b'set'): CONNS})
    place.check('two of them', len(c.call('ACL', 'LOG', '2')[1]), 2)
    c.call('CONFIG', 'SET', 'acllog-max-len', '3')
    bob = place.conn('bob', 'hidden')
    for number in range(10):
        bob.call('GET', 'k%d' % number)
    place.check('the newest', [pairs(e)[b'object'] for e in c.call('ACL', 'LOG')[1]],
                [b'k9', b'k8', b'k7'])
    place.check('ACL LOG RESET', c.call('ACL', 'LOG', 'RESET'), ('+', b'OK'))
    place.check('nothing', c.call('ACL', 'LOG')[1], [])
    c.call('CONFIG', 'SET', 'requirepass', 'hidden')
    text = repr(c.call('SLOWLOG', 'GET', '-1'))
    place.has('SLOWLOG', text, '(redacted)')
    place.check('a password in SLOWLOG', 'hidden' in text, False)
    place.stop()


def changed_while_waiting(place, more):
    """What was taken in, or refused, under earlier rules: neither ends the server, nor lets the
    next command pass."""
    c = place.start('--requirepass', 'hidden', '--maxmemory', '64mb',
                    '--enable-debug-command', 'yes', *more)
    c.call('AUTH', 'hidden')
    waiting = place.conn()
    c.call('CONFIG', 'SET', 'requirepass', '')
    keys = ['{k}%d' % number for number in range(12)]  # More than without a login.
    waiting.send([['BLPOP', *keys, '0']])
    end = time.monotonic() + SECONDS_MAX
    while b'blocked_clients:1' not in c.call('INFO', 'clients')[1]:
        if time.monotonic() > end:
            raise SystemExit('BLPOP does not wait\n' + place.read('log'))
        time.sleep(0.01)
    c.call('CONFIG', 'SET', 'requirepass', 'hidden')
    place.check('RPUSH', c.call('RPUSH', keys[0], 'v'), (':', b'1'))
    place.check('BLPOP', waiting.read()[0], '*')
    for number in range(20):
        c.call('SADD', 'large', *['%d:%d:%s' % (number, i, 'x' * 4000) for i in range(256)])
    place.check('all is cold', c.call('DEBUG', 'RELOAD'), ('+', b'OK'))
    c.call('CONFIG', 'SET', 'maxmemory', '64mb')  # What was refused may have raised it.
    c.call('ACL', 'SETUSER', 'bob', 'on', '>hidden', '+@all', '~*')
    bob = place.conn('bob', 'hidden')
    bob.send([['SORT', 'large', 'ALPHA']])  # Of all members, which do not fit.
    place.check('a value that is too large', bob.read()[0], '-')
    c.call('ACL', 'SETUSER', 'bob', '-@all')
    place.has('the command behind it', bob.call('DBSIZE')[1], b'NOPERM')
    for words in (('SETNAME', 'auth', 'AUTH', 'default', 'hidden'),
                  ('AUTH', 'default', 'hidden', 'SETNAME', 'x', 'AUTH', 'default', 'hidden')):
        c.call('CONFIG', 'SET', 'slowlog-log-slower-than', '0')
        place.check('HELLO', c.call('HELLO', '2', *words)[0], '*')
        c.call('CONFIG', 'SET', 'slowlog-log-slower-than', '-1')
    text = repr(c.call('SLOWLOG', 'GET', '100'))
    place.check('HELLO in SLOWLOG', ('hidden' in text, text.count('(redacted)') >= 6),
                (False, True))
    place.stop()


def main():
    place = Place(sys.argv[1])
    try:
        for more in SHARDS:
            for run in (directives, requirepass, wrong_starts, file, every_shard, logs,
                        changed_while_waiting):
                if more and run is wrong_starts:
                    continue
                for name in os.listdir(place.work):
                    path = os.path.join(place.work, name)
                    shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
                before = place.failed
                run(place, more)
                print('%s%s: %s' % (run.__name__, ' '.join([''] + more),
                                    'ok' if place.failed == before else 'FAILED'))
    finally:
        if place.process is not None:
            place.process.kill()
            place.process.wait()
        shutil.rmtree(place.work, ignore_errors=True)
    return int(place.failed != 0)


if __name__ == '__main__':
    sys.exit(main())
