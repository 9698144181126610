"""What the tests of replication groups share: members as real processes, and what they hold."""

import os
import secrets
import shutil
import signal
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', 'torture', 'crash'), os.path.join(HERE, '..', 'lib')]

from node import (  # noqa: E402,F401  pylint: disable=C0413,W0611
    Conn, ErrorReply, Server, ServerGone, encode)
from ports import free_ports  # noqa: E402  pylint: disable=C0413

NICKNAME = 'earth'
# Bounds hangs; nothing is measured by it.
WAIT_SECONDS = 240


def wait_until(what, condition, seconds=WAIT_SECONDS):
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError('not in %d s: %s' % (seconds, what() if callable(what) else what))
        time.sleep(0.02)


def pairs(reply):
    """A map that came as an array."""
    return {reply[i].decode(): reply[i + 1] for i in range(0, len(reply), 2)}


READ_ALL = {
    b'string': lambda key: (b'GET', key),
    b'hash': lambda key: (b'HGETALL', key),
    b'set': lambda key: (b'SMEMBERS', key),
    b'list': lambda key: (b'LRANGE', key, b'0', b'-1'),
    b'zset': lambda key: (b'ZRANGE', key, b'0', b'-1', b'WITHSCORES'),
}


def held(kind, reply):
    """A value to compare; None: there is none."""
    if reply is None or kind == b'string':
        return reply
    if not reply:
        return None
    if kind == b'hash':
        return kind, dict(zip(reply[::2], reply[1::2]))
    return kind, frozenset(reply) if kind == b'set' else reply


class Member:
    """One member: its directory, its process, a connection to it."""

    def __init__(self, group, name, address):
        self.group, self.name, self.address = group, name, address
        self.work = os.path.join(group.work, name)
        self.data = os.path.join(self.work, 'data')
        os.mkdir(self.work)
        self.extra = {}
        self.program = group.program
        self.server = None
        self.conn = None

    def options(self):
        options = {'group-nickname': NICKNAME, 'member-name': self.name,
                   'linked-databases': self.group.linked(self),
                   'group-secret-file': self.group.secret, 'enable-debug-command': 'yes'}
        options.update(self.group.options)
        options.update(self.extra)
        return options

    def spawn(self):
        self.server = Server(self.program, self.data, self.work, self.options())

    def start(self):
        self.spawn()
        if self.server.wait_ready() is None:
            raise AssertionError('no start\n' + self.server.log_text())
        self.conn = Conn(self.server.socket_path)
        return self

    def refused(self):
        """The text and exit code of a start that must fail."""
        self.spawn()
        code = self.server.process.wait(WAIT_SECONDS)
        return code, self.server.log_text()

    def kill(self):
        if self.conn is not None:
            self.conn.close()
        self.conn = None
        assert self.server.kill() is None, 'it had ended by itself\n' + self.server.log_text()

    def stop(self):
        self.conn.close()
        self.conn = None
        code = self.server.stop()
        assert code == 0, '%s\n%s' % (code, self.server.log_text())

    def restart_saved(self):
        """Its store has all persistently then. An end by a signal leaves what would take long, or
        what a busy disk delays, to the log."""
        self.conn.send(encode([b'SHUTDOWN', b'SAVE']))
        code = self.server.process.wait(WAIT_SECONDS)
        assert code == 0, '%s\n%s' % (code, self.server.log_text())
        self.conn.close()
        self.start()

    def pause(self):
        self.server.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.server.process.send_signal(signal.SIGCONT)

    def call(self, *args):
        return self.conn.call(*args)

    def ok(self, *args):
        reply = self.conn.call(*args)
        assert not isinstance(reply, ErrorReply), ([str(a)[:100] for a in args[:20]], reply)
        return reply

    def status(self):
        return pairs(self.ok('REPLGROUP', 'STATUS'))

    def members(self):
        return {m['name'].decode(): m for m in map(pairs, self.ok('REPLGROUP', 'MEMBERS'))}

    def lags(self):
        return [pairs(r) for r in self.ok('REPLGROUP', 'LAG')]

    def info(self, section='replgroup'):
        lines = self.ok('INFO', section).decode().split('\r\n')
        return dict(line.split(':', 1) for line in lines if ':' in line)

    def is_active(self):
        s = self.status()
        return s['state'] == b'active' and s['writes'] == b'ok'

    def pipelined(self, commands):
        replies = self.conn.pipeline(commands)
        for command, reply in zip(commands, replies):
            assert not isinstance(reply, ErrorReply), (command, reply)
        return replies

    def values(self, keys):
        """What is there, whatever its type; None: no longer."""
        found = []
        kinds = self.pipelined([(b'TYPE', key) for key in keys])
        known = [(key, kind) for key, kind in zip(keys, kinds) if kind != b'none']
        replies = iter(self.conn.pipeline([READ_ALL[kind](key) for key, kind in known]))
        for kind in kinds:
            reply = None if kind == b'none' else next(replies)
            # Between the two it may have expired, or become another.
            found.append(None if isinstance(reply, ErrorReply) else held(kind, reply))
        return found

    def contents(self):
        keys = []
        cursor = b'0'
        while True:
            cursor, some = self.ok('SCAN', cursor, 'COUNT', 1000)
            keys += some
            if cursor == b'0':
                break
        found = dict(zip(keys, self.values(keys)))
        return {key: value for key, value in found.items() if value is not None}


class Group:
    """A directory with members in it. `with` ends them: in order, or with their logs shown."""

    def __init__(self, program, work, options=None):
        self.program = program
        self.work = tempfile.mkdtemp(prefix='tierra-group-', dir=work)
        # Most tests write at a member right after its start, some with no peer there.
        self.options = {'group-restart-wait': 0, **(options or {})}
        self.secret = os.path.join(self.work, 'secret')
        self.all = []
        fd = os.open(self.secret, os.O_CREAT | os.O_WRONLY, 0o600)
        with open(fd, 'w', encoding='ascii') as file:
            file.write(secrets.token_hex(32) + '\n')

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.finish()
        else:
            self.fail()

    def make(self, names, address_of=None):
        """Members that are not started yet."""
        ports = free_ports(len(names))
        made = [Member(self, name, address_of(name, port) if address_of else '127.0.0.1:%d' % port)
                for name, port in zip(names, ports)]
        self.all += made
        return made

    def linked(self, member):
        """What a member is configured with: itself, and those that were made before it."""
        known = self.all[:self.all.index(member)][:4] + [member]
        return ' '.join('%s=%s' % (m.name, m.address) for m in known)

    def up(self):
        return [m for m in self.all if m.conn is not None]

    def await_active(self, members=None):
        for m in members or self.up():
            wait_until(lambda m=m: '%s is active: %s\n%s' % (
                m.name, m.status(), m.server.log_text()), m.is_active)

    def same(self, members=None):
        """The contents if all hold the same, else None."""
        held = [m.contents() for m in members or self.up()]
        return held[0] if all(h == held[0] for h in held) else None

    def await_same(self, members=None, seconds=WAIT_SECONDS):
        members = members or self.up()

        def differences():
            held = [m.contents() for m in members]
            keys = sorted({k for h in held for k in h if any(o.get(k) != h[k] for o in held)})
            lines = [('%r: %s' % (k, [(m.name, h.get(k)) for m, h in zip(members, held)]))[:400]
                     for k in keys[:5]]
            lines += ['%s: %s %s' % (m.name, m.status(), m.lags()) for m in members]
            return 'all hold the same, %d keys differ\n%s' % (len(keys), '\n'.join(lines))

        def shipped():
            return all(lag['lag-ops'] == 0 for m in members for lag in m.lags()
                       if lag['peer'].decode() in {o.name for o in members})

        def held():
            contents = self.same(members) if shipped() else None
            return None if contents is None else (contents,)

        return wait_until(differences, held, seconds)[0]

    def finish(self):
        for m in self.up():
            m.stop()
        shutil.rmtree(self.work, ignore_errors=True)

    def fail(self):
        print('kept: %s' % self.work)
        for m in self.all:
            if m.server is not None:
                print('--- %s\n%s' % (m.name, m.server.log_text()[-6000:]))
                if m.server.process.poll() is None:
                    m.server.process.send_signal(signal.SIGCONT)
                    m.server.kill()


def agree(members):
    """They find no difference themselves (REPLGROUP DIGEST)."""
    for m in members:
        wait_until(lambda m=m: '%s: members agree: %s' % (m.name, m.call('REPLGROUP', 'DIGEST')),
                   lambda m=m: b'agree' in m.call('REPLGROUP', 'DIGEST'))


def fill(member, prefix):
    """Some of each type."""
    for i in range(50):
        member.ok('SET', '%s:s:%d' % (prefix, i), 'value %d' % i)
    member.ok('HSET', prefix + ':h', *[str(i) for i in range(40)])
    member.ok('SADD', prefix + ':u', *[str(i) for i in range(40)])
    member.ok('RPUSH', prefix + ':l', *[str(i) for i in range(40)])
    member.ok('ZADD', prefix + ':z', *[str(i) for i in range(40)])
    member.ok('SET', prefix + ':ttl', 'x', 'EX', 10000)
    member.ok('APPEND', prefix + ':long', 'y' * 40000)


def main_of(description, run, add_options=None):
    import argparse  # pylint: disable=import-outside-toplevel
    parser = argparse.ArgumentParser(description=description.split('\n', maxsplit=1)[0])
    parser.add_argument('--server', required=True)
    parser.add_argument('--work', default=None)
    if add_options:
        add_options(parser)
    run(parser.parse_args())
    return 0
