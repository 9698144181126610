#!/usr/bin/env python3
"""Sends commands that nobody would send, and expects the server to live and to remember.

Names and the grammar of the arguments come from the server itself (COMMAND DOCS), so that a new
command is covered without an edit here. Most commands follow their grammar, with keys and elements
of a small pool and mostly small numbers; then some have an argument replaced, dropped or added:
numbers of every size, words of other commands, garbage. Nothing is expected of a reply but that it
is one. What is expected of the server:

    it stays alive, answers PING after every batch, and keeps to RESP
    after kill -9 and a start the keyspace reads as before (everything acknowledged was written)
    after SIGTERM it ends with status 0, and tierra-inspect finds no damage

With little memory most keys are on flash when they are named. From one seed follow the same
commands, but not the same interleaving with demotion.

usage: random_commands.py --server PATH --inspect PATH [--seed N] [--count N] [--option NAME=VALUE]
"""
import argparse
import os
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'crash'))

from node import ErrorReply, Server, ServerGone, encode  # noqa: E402
from resp3 import Conn3  # noqa: E402

BATCH = 240
SQUEEZED = '8mb'
CONNECTIONS = 4
BATCHES_BETWEEN_KILLS = 10
# They end, stop or change the server or the connection in ways that the run depends on.
LEFT_OUT = {
    b'shutdown', b'debug', b'client|pause', b'client|kill', b'client|reply', b'client|no-evict',
    b'client|no-touch', b'quit', b'auth', b'monitor', b'subscribe', b'psubscribe', b'ssubscribe',
    b'unsubscribe', b'punsubscribe', b'sunsubscribe',
    b'config|set', b'config|rewrite', b'acl', b'hello', b'reset', b'flushall', b'flushdb',
    b'replicaof', b'slaveof', b'sync', b'psync', b'failover', b'wait', b'save', b'bgsave',
    b'replgroup', b'bgrewriteaof', b'module'}
RARE = {b'flushall', b'flushdb', b'save', b'bgsave'}
RARE_PART = 0.0003
KEYS = [b'k%d' % i for i in range(24)] + [b'{t}%d' % i for i in range(8)] + [b'', b'\r\n', b'\x00']
ELEMENTS = [b'a', b'b', b'c', b'1', b'2', b'3', b'', b'-0', b'x' * 70, b'y' * 3000] + \
    [b'e%d' % i for i in range(40)]
NUMBERS = [
    b'0', b'1', b'-1', b'2', b'7', b'10', b'-10', b'100', b'1000', b'4096', b'65536', b'100000',
    b'2147483647', b'2147483648', b'4294967295', b'4294967296', b'9223372036854775807',
    b'-9223372036854775808', b'9223372036854775808', b'18446744073709551615', b'1e300', b'-1e308',
    b'1.5', b'-0.0', b'inf', b'-inf', b'nan', b'0x10', b'1e', b' 1', b'(1', b'(2.5', b'[a', b'[e3',
    b'(b', b'+', b'-', b'1-', b'99999999999999999999999999']
GARBAGE = [
    b'*', b'?', b'[a-', b'%s%n', b'\xff\xfe', b'$-1', b'k*', b'{t}*', b'\\', b'[^]x]', b'LIMIT',
    b'COUNT', b'0' * 400]
# Where their time to wait stands; for ever would be what it says.
WAITING = {b'blpop': -1, b'brpop': -1, b'blmove': -1, b'brpoplpush': -1, b'bzpopmin': -1,
           b'bzpopmax': -1, b'blmpop': 0, b'bzmpop': 0}
TIMEOUTS = [b'0.001', b'0.002', b'1e-3', b'-1', b'nan', b'x', b'']
# A number as an offset must not make the run itself slow or large.
LONG_STRINGS = {b'setrange', b'setbit', b'bitfield'}


def as_map(flat):
    return {flat[i]: flat[i + 1] for i in range(0, len(flat), 2)}


def read_grammars(docs, out):
    """Name -> arguments, as COMMAND DOCS gives them; subcommands under container|name."""
    for name, entry in as_map(docs).items():
        doc = as_map(entry)
        out[name] = [as_map(argument) for argument in doc.get(b'arguments') or []]
        read_grammars(doc.get(b'subcommands') or [], out)


def tokens_of(arguments, out):
    for argument in arguments:
        if b'token' in argument:
            out.add(argument[b'token'])
        tokens_of([as_map(a) for a in argument.get(b'arguments') or []], out)


def read_commands(conn):
    """[(name words, arity, arguments)], subcommands one by one; all tokens."""
    found, grammars, tokens = [], {}, set()
    read_grammars(conn.call('COMMAND', 'DOCS'), grammars)
    for arguments in grammars.values():
        tokens_of(arguments, tokens)
    for entry in conn.call('COMMAND'):
        name, arity, subcommands = entry[0], entry[1], entry[9]
        if name in LEFT_OUT - RARE:
            continue
        if subcommands:
            found += [(sub[0].split(b'|'), sub[1], grammars.get(sub[0], []))
                      for sub in subcommands if sub[0] not in LEFT_OUT]
        else:
            found.append(([name], arity, grammars.get(name, [])))
    return sorted(found, key=lambda c: c[0]), sorted(tokens)


class Generator:
    def __init__(self, rng, commands, tokens):
        self.rng = rng
        self.rare = [c for c in commands if c[0][0] in RARE]
        self.commands = [c for c in commands if c[0][0] not in RARE]
        self.tokens = tokens

    def number(self, huge):
        rng = self.rng
        if rng.random() < 0.85:
            return b'%d' % rng.choice([rng.randrange(0, 5), rng.randrange(-5, 60)])
        number = rng.choice(NUMBERS)
        return number if huge or len(number) < 7 else b'12345'

    def anything(self, huge):
        rng = self.rng
        draw = rng.random()
        if draw < 0.3:
            return rng.choice(KEYS)
        if draw < 0.6:
            return rng.choice(ELEMENTS)
        if draw < 0.85:
            return self.number(huge)
        return rng.choice(self.tokens if draw < 0.93 else GARBAGE)

    def value(self, kind, huge):
        rng = self.rng
        if kind == b'key':
            return rng.choice(KEYS)
        if kind == b'integer':
            return self.number(huge)
        if kind == b'double':
            return rng.choice(NUMBERS) if rng.random() < 0.2 else b'%g' % rng.uniform(-4, 4)
        if kind == b'unix-time':
            return b'%d' % (time.time() * rng.choice([1, 1000]) + rng.randrange(-100, 2000))
        if kind == b'pattern':
            return rng.choice([b'*', b'k*', b'e?', b'[a-c]', b'{t}*'])
        return rng.choice(ELEMENTS) if rng.random() < 0.6 else self.number(huge)

    def argument(self, argument, huge, out):
        """Appends what one argument of the grammar asks for."""
        rng = self.rng
        flags = argument.get(b'flags') or []
        if b'optional' in flags and rng.random() < 0.7:
            return
        inner = [as_map(a) for a in argument.get(b'arguments') or []]
        times = 1
        if b'multiple' in flags:
            times = 1 + min(rng.randrange(4), rng.randrange(4))
        token = argument.get(b'token')
        if token is not None and b'multiple_token' not in flags:
            out.append(token)
        for _ in range(times):
            if token is not None and b'multiple_token' in flags:
                out.append(token)
            if argument[b'type'] == b'oneof':
                self.argument(rng.choice(inner), huge, out)
            elif argument[b'type'] == b'block':
                for part in inner:
                    self.argument(part, huge, out)
            elif argument[b'type'] == b'pure-token':
                if token is None:
                    out.append(self.anything(huge))
            elif argument.get(b'name') == b'numkeys':
                out.append(b'%d' % rng.randrange(1, 4))
            else:
                out.append(self.value(argument[b'type'], huge))

    def spoil(self, words, huge):
        rng = self.rng
        at = rng.randrange(len(words) + 1)
        draw = rng.random()
        if draw < 0.5 and at < len(words):
            words[at] = self.anything(huge)
        elif draw < 0.75:
            words[at:at + 1] = []
        else:
            words.insert(at, self.anything(huge))

    def command(self):
        rng = self.rng
        some = self.rare if self.rare and rng.random() < RARE_PART else self.commands
        name, arity, grammar = rng.choice(some)
        huge = name[0] not in LONG_STRINGS
        words = []
        for argument in grammar:
            self.argument(argument, huge, words)
        # "numkeys key ..." is right when both agree.
        if grammar and grammar[0].get(b'name') == b'numkeys' and rng.random() < 0.8:
            keys = 0
            while 1 + keys < len(words) and words[1 + keys] in KEYS:
                keys += 1
            words[0] = b'%d' % max(1, keys)
        while len(name) + len(words) < abs(arity) and rng.random() < 0.9:
            words.append(self.anything(huge))
        while rng.random() < 0.12:
            self.spoil(words, huge)
        if name[0] in WAITING and words:
            words[WAITING[name[0]]] = rng.choice(TIMEOUTS)
        return name + words


def dump(conn):
    """The keyspace as {key: (type, contents, time of expiry)}."""
    cursor, keys = b'0', set()
    while True:
        cursor, some = conn.call('SCAN', cursor, 'COUNT', 1000)
        keys.update(some)
        if cursor == b'0':
            break
    out = {}
    for key in sorted(keys):
        kind = conn.call('TYPE', key)
        if kind == b'string':
            value = conn.call('GET', key)
        elif kind == b'list':
            value = conn.call('LRANGE', key, 0, -1)
        elif kind == b'set':
            value = sorted(conn.call('SMEMBERS', key))
        elif kind == b'hash':
            flat = conn.call('HGETALL', key)
            value = sorted(zip(flat[0::2], flat[1::2]))
        elif kind == b'zset':
            value = conn.call('ZRANGE', key, 0, -1, 'WITHSCORES')
        else:
            continue
        expires = conn.call('PEXPIRETIME', key)
        # -2: it expired just now.
        if not isinstance(value, ErrorReply) and expires != -2:
            out[key] = (kind, value, expires)
    return out


def differences(before, after):
    """What expired meanwhile is none."""
    now_ms = time.time() * 1000
    for key in sorted(set(before) | set(after)):
        if before.get(key) != after.get(key):
            if key in before and key not in after and 0 <= before[key][2] <= now_ms:
                continue
            yield '%r: %.300r before, %.300r after' % (key, before.get(key), after.get(key))


class Run:
    def __init__(self, args, work):
        self.args = args
        self.work = work
        self.rng = random.Random(args.seed)
        self.options = {'maxmemory': '64mb', 'save': '', 'loglevel': 'warning'}
        self.options.update(option.split('=', 1) for option in args.option)
        self.last = []
        self.asked = None
        self.server = None

    def start(self):
        self.server = Server(self.args.server, os.path.join(self.work, 'data'), self.work,
                             self.options)
        if self.server.wait_ready() is None:
            raise ServerGone
        return [Conn3(self.server.socket_path) for _ in range(CONNECTIONS)]

    def batch(self, conns, generator):
        """A pipeline on every connection at once."""
        self.last = [[generator.command() for _ in range(BATCH // CONNECTIONS)] for _ in conns]
        for conn, commands in zip(conns, self.last):
            if self.rng.random() < 0.1:
                conn.call('HELLO', self.rng.choice([2, 3]))
            conn.send(b''.join(encode(c) for c in commands))
        for conn, commands in zip(conns, self.last):
            for self.asked in commands:
                conn.reply()
            conn.call('DISCARD')
            conn.call('UNWATCH')
            assert conn.call('PING') == b'PONG'

    def kill_and_compare(self, conns):
        conns[0].call('HELLO', 2)
        before = dump(conns[0])
        self.server.kill()
        conns = self.start()
        wrong = list(differences(before, dump(conns[0])))
        if wrong:
            raise AssertionError('after kill -9 the keyspace reads differently:\n'
                                 + '\n'.join(wrong[:10]))
        return conns

    def run(self):
        conns = self.start()
        generator = Generator(self.rng, *read_commands(conns[0]))
        batches = max(1, self.args.count // BATCH)
        for number in range(batches):
            # Now and then so little memory that nothing stays in DRAM longer than it must.
            conns[0].call('CONFIG', 'SET', 'maxmemory', SQUEEZED if number % 3 == 2 else '64mb')
            self.batch(conns, generator)
            if number % 4 == 3:
                conns[0].call('DEBUG', 'RELOAD')
            if number % BATCHES_BETWEEN_KILLS == BATCHES_BETWEEN_KILLS - 1:
                conns = self.kill_and_compare(conns)
        code = self.server.stop()
        if code != 0:
            raise AssertionError('the server ended with %s after SIGTERM' % code)
        return os.spawnv(os.P_WAIT, self.args.inspect, [
            self.args.inspect, '--dir', os.path.join(self.work, 'data'), 'verify'])


def describe(server):
    """What a server that does not answer one connection tells another."""
    try:
        conn = Conn3(server.socket_path, timeout=5)
        return '%s\n%s' % (conn.call('CLIENT', 'LIST').decode(errors='replace'),
                           conn.call('INFO').decode(errors='replace'))
    except (OSError, ServerGone) as error:
        return 'asked what it does, the server gives no answer either: %r' % error


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--server', required=True)
    parser.add_argument('--inspect', required=True)
    parser.add_argument('--seed', type=int,
                        default=int(os.environ.get('TIERRA_SEED', random.randrange(1 << 31))))
    parser.add_argument('--count', type=int, default=20000)
    parser.add_argument('--option', action='append', default=[], help='of the server: name=value')
    args = parser.parse_args()
    print('seed %d (repeat with --seed or TIERRA_SEED)' % args.seed, flush=True)
    work = tempfile.mkdtemp(prefix='tierra-commands-')
    run = Run(args, work)
    try:
        code = run.run()
    except (AssertionError, ServerGone, TimeoutError) as error:
        print('FAILED: %s %s' % (type(error).__name__, error))
        print('no answer to %.1000r' % run.asked)
        print('last commands: %.4000r' % run.last)
        if isinstance(error, TimeoutError):
            print(describe(run.server))
        print(run.server.log_text()[-6000:])
        run.server.kill()
        print('kept: ' + work)
        return 1
    shutil.rmtree(work)
    print('%d commands, no damage' % args.count)
    return code


if __name__ == '__main__':
    sys.exit(main())
