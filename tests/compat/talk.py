#!/usr/bin/env python3
"""Runs conversations of several clients against redis-server and tierra-server, and compares what
each client was told. The conversations are in talks/*.talk, one after the other:

    = title             a new conversation: new clients, no keys
    a: CMD ARG..        client a sends a command and reads its reply
    a> CMD ARG..        it only sends
    a< N                it reads N replies (or messages), one if N is missing
    a* CMD ARG..        as a:, but the elements of the reply come in any order
    a~ N                as a<, but they come in any order
    a. TEXT             it reads messages, up to and with the first that ends with TEXT
    a3                  it speaks RESP3 from here on
    a!                  it closes its connection
    blocked N           until as many clients wait as INFO tells
    clients N           until there are as many connections as INFO tells, without the watcher's

An argument in double quotes may hold blanks and Python's escapes; $a stands for the number of
client a, as CLIENT ID gives it, which replies must not show. Keys of one conversation that belong
together have the same {tag}, so that it runs against several shards, too.
"""

import argparse
import ast
import glob
import os
import sys
import time

import diff_cmds
from diff_cmds import Conn, spawn, stop

# For what hangs, not for what is slow.
WAIT_SECONDS_MAX = 240


def words(text):
    out, i = [], 0
    while i < len(text):
        if text[i] == ' ':
            i += 1
        elif text[i] == '"':
            end = i + 1
            while text[end] != '"':
                end += 2 if text[end] == '\\' else 1
            out.append(ast.literal_eval('b' + text[i:end + 1]))
            i = end + 1
        else:
            end = text.find(' ', i)
            end = len(text) if end < 0 else end
            out.append(text[i:end].encode())
            i = end
    return out


def conversations(path):
    """(title, [(number of the line, line)])"""
    found = []
    with open(path) as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if line.startswith('= '):
                found.append((line[2:], []))
            elif line and not line.startswith('#'):
                found[-1][1].append((number, line))
    return found


class Talk:
    def __init__(self, place):
        self.place, self.clients, self.ids = place, {}, {}
        self.watcher = Conn(place)
        self.watcher.call('FLUSHALL')

    def client(self, name):
        if name not in self.clients:
            self.clients[name] = Conn(self.place)
            self.clients[name].sock.settimeout(WAIT_SECONDS_MAX)
            self.ids[name] = self.clients[name].call('CLIENT', 'ID')[1]
        return self.clients[name]

    def wait(self, field, wanted):
        end = time.monotonic() + WAIT_SECONDS_MAX
        while True:
            text = self.watcher.call('INFO', 'clients')[1].decode()
            got = int(dict(x.split(':', 1) for x in text.split('\r\n') if ':' in x)[field])
            if got == wanted:
                return
            if time.monotonic() > end:
                raise TimeoutError('%s is %d, not %d' % (field, got, wanted))
            time.sleep(0.002)

    def arguments(self, text):
        return [self.ids[w[1:].decode()] if w[:1] == b'$' and w[1:].decode() in self.ids else w
                for w in words(text)]

    def read(self, conn):
        try:
            return conn.read()
        except ConnectionError:
            return 'closed'

    def step(self, line):
        head = line.split(' ', 1)[0]
        if head == 'blocked':
            return self.wait('blocked_clients', int(line.split()[1]))
        if head == 'clients':
            return self.wait('connected_clients', int(line.split()[1]) + 1)
        name, what, rest = head[0], head[1:], line[len(head):].strip()
        conn = self.client(name)
        if what == '!':
            conn.close()
            del self.clients[name]
        elif what == '3':
            conn.call('HELLO', '3')
        elif what == '>':
            conn.send([self.arguments(rest)])
        elif what == '<':
            return [self.read(conn) for _ in range(int(rest or '1'))]
        elif what == '.':
            out = [self.read(conn)]
            while out[-1] != 'closed' and out[-1][1][-1][1] != rest.encode():
                out.append(self.read(conn))
            return out
        elif what == '~':
            return sorted((self.read(conn) for _ in range(int(rest))), key=repr)
        elif what in (':', '*'):
            conn.send([self.arguments(rest)])
            reply = self.read(conn)
            return (reply[0], sorted(reply[1], key=repr)) if what == '*' else reply
        else:
            raise ValueError(line)
        return None

    def close(self):
        for conn in self.clients.values():
            conn.close()
        self.clients = {}
        self.wait('connected_clients', 1)
        self.watcher.close()


def transcript(place, lines):
    """What was read, by the number of the line; ends with what went wrong."""
    talk, out = Talk(place), []
    try:
        for number, line in lines:
            out.append((number, line, talk.step(line)))
    except OSError as e:
        out.append((number, line, 'FAILED: %s' % e))
    talk.close()
    return out


def compare(path, place_a, place_b, only):
    failed = count = 0
    for title, lines in conversations(path):
        if only and only not in title:
            continue
        count += 1
        a, b = transcript(place_a, lines), transcript(place_b, lines)
        if a == b and not any(str(x[2]).startswith('FAILED') for x in a):
            continue
        failed += 1
        n, line, wanted, got = next(((x[0], x[1], x[2], y[2]) for x, y in zip(a, b)
                                     if x != y or str(x[2]).startswith('FAILED')),
                                    (0, 'the number of steps', len(a), len(b)))
        print('%s:%d: %s\n    %s\n  redis:  %.1000r\n  tierra: %.1000r'
              % (os.path.basename(path), n, title, line, wanted, got))
    print('%s: %d conversations, %d differ' % (os.path.basename(path), count, failed))
    return failed


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', default='bin/tierra-server')
    p.add_argument('--shards', type=int, default=1)
    p.add_argument('--only', help='conversations with this in their title')
    p.add_argument('files', nargs='*')
    args = p.parse_args()
    redis = diff_cmds.redis_server()
    here = os.path.dirname(os.path.abspath(__file__))
    files = args.files or sorted(glob.glob(os.path.join(here, 'talks', '*.talk')))
    more = [] if args.shards == 1 else ['--clustering-policy', 'enterprise', '--shards',
                                        str(args.shards)]
    started, status = [], 2
    try:
        started.append(spawn([redis, '--save', '', '--appendonly', 'no'], 'redis-server'))
        started.append(spawn([args.server] + more, 'tierra-server'))
        status = int(sum(compare(f, started[0][2], started[1][2], args.only) for f in files) != 0)
    finally:
        for process, directory, _ in started:
            stop(process, directory, keep=status == 2)
    return status


if __name__ == '__main__':
    sys.exit(main())
