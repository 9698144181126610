#!/usr/bin/env python3
"""Many clients with large pipelines on cold hashes, under a small maxmemory.

Each of 50 clients sends 2 MB of HSETs at once and goes on as they are answered, until the hashes
are several times the memory; all clients add fields to the same hashes, small and large ones, so
that a command finds its hash cold, or pinned and being read for others. Then they do the same with
HGET and HMGET. Every command must get its reply, and the right one; no client may be left without a
reply for long while others are served; what is allocated must stay within maxmemory, and what the
kernel says is resident within that and a quarter. The latter two only with the allocator of the
product, and not under a sanitizer.
"""

import collections
import hashlib
import random
import selectors
import socket
import sys
import time

from faultlib import MB, Fixture, main_of, run_with
from node import encode

MAXMEMORY = 64 * MB
# As in dram.py: at the highest 44 to 52 MB are allocated, the rest are pages kept for reuse.
LIMIT = MAXMEMORY + MAXMEMORY // 4
CLIENTS = 50
PIPELINE_BYTES = 2 * MB
VALUE_BYTES = 1000
FIELDS = 16           # Of one HSET.
WRITES = 200          # HSETs of each client, 160 MB in all.
READS = 600           # Commands of each client.
LARGE, SMALL = 3, 400  # Hashes that half of the commands each go to.
# Bounds a hang: without a reply for so long a client counts as starved. Seconds.
PATIENCE_S = 240


def value_of(key, field):
    return hashlib.shake_128(key + b'.' + field).digest(VALUE_BYTES)


class Client:
    """Sends what it has to as the socket takes it, and checks each reply as it comes."""

    def __init__(self, number, path, pipeline_bytes=PIPELINE_BYTES):
        self.number = number
        self.pipeline_bytes = pipeline_bytes
        self.rng = random.Random(number)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.sock.setblocking(False)
        self.fields = []                  # (key, field) that were written.
        self.todo = iter(())              # (command, what it must give)
        self.out = bytearray()
        self.got = bytearray()
        self.wanted = collections.deque()  # Of the commands without a reply.
        self.answered_at = 0.0

    def begin(self, commands):
        self.todo = iter(commands)
        self.refill()
        self.answered_at = time.monotonic()

    def refill(self):
        """The pipeline is kept at its length."""
        while len(self.out) < self.pipeline_bytes:
            command, wanted = next(self.todo, (None, None))
            if command is None:
                return
            self.out += encode(command)
            self.wanted.append(wanted)

    def writes(self):
        for at in range(WRITES):
            if self.rng.random() < 0.5:
                key = b'large:%d' % self.rng.randrange(LARGE)
            else:
                key = b'small:%d' % self.rng.randrange(SMALL)
            command = [b'HSET', key]
            for i in range(FIELDS):
                field = b'%d:%d' % (self.number, at * FIELDS + i)
                self.fields.append((key, field))
                command += [field, value_of(key, field)]
            yield command, FIELDS

    def reads(self):
        for at in range(READS):
            key, field = self.rng.choice(self.fields)
            if at % 4 == 0:
                yield [b'HMGET', key, field, b'absent:%d' % at], [value_of(key, field), None]
            else:
                yield [b'HGET', key, field], value_of(key, field)

    def send(self):
        try:
            sent = self.sock.send(self.out)
        except BlockingIOError:
            return
        del self.out[:sent]
        self.refill()

    def parse(self, pos):
        """(The reply at pos, its end), or None if it is not all there."""
        end = self.got.find(b'\r\n', pos)
        if end < 0:
            return None
        kind, rest = self.got[pos:pos + 1], bytes(self.got[pos + 1:end])
        end += 2
        if kind == b':':
            return int(rest), end
        if kind == b'$':
            size = int(rest)
            if size < 0:
                return None, end
            if len(self.got) < end + size + 2:
                return None
            return bytes(self.got[end:end + size]), end + size + 2
        assert kind == b'*', 'client %d: %s%s' % (self.number, kind.decode(), rest.decode())
        items = []
        for _ in range(int(rest)):
            item = self.parse(end)
            if item is None:
                return None
            items.append(item[0])
            end = item[1]
        return items, end

    def receive(self):
        data = self.sock.recv(1 << 18)
        assert data, 'client %d: the server closed the connection' % self.number
        self.got += data
        pos = 0
        while self.wanted:
            parsed = self.parse(pos)
            if parsed is None:
                break
            wanted = self.wanted.popleft()
            assert parsed[0] == wanted, 'client %d: %r instead of %r' % (
                self.number, str(parsed[0])[:60], str(wanted)[:60])
            pos = parsed[1]
            self.answered_at = time.monotonic()
        del self.got[:pos]


def drive(clients, commands_of, look):
    """All clients at once, until each has its replies."""
    ready = selectors.DefaultSelector()
    for c in clients:
        c.begin(commands_of(c))
        ready.register(c.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, c)
    while ready.get_map():
        for key, events in ready.select(1):
            c = key.data
            if events & selectors.EVENT_WRITE:
                c.send()
            if events & selectors.EVENT_READ:
                c.receive()
            if not c.wanted and not c.out:
                ready.unregister(c.sock)
            elif not c.out:
                ready.modify(c.sock, selectors.EVENT_READ, c)
        now = time.monotonic()
        for key in list(ready.get_map().values()):
            assert now - key.data.answered_at < PATIENCE_S, (
                'client %d has no reply for %d s; it waits for %d' % (
                    key.data.number, PATIENCE_S, len(key.data.wanted)))
        look()
    ready.close()


class Memory:
    """The resident set of the server at its highest, as the kernel has it."""

    def __init__(self, fix):
        self.path = '/proc/%d/status' % fix.server.process.pid
        self.counts = fix.info('memory', 'mem_allocator').startswith('jemalloc')
        self.peak = 0

    def look(self):
        with open(self.path, encoding='ascii') as source:
            fields = dict(line.split(':', 1) for line in source)
        self.peak = int(fields['VmHWM'].split()[0]) * 1024
        if self.counts:
            assert self.peak <= LIMIT, 'resident: %.1f MB of %.1f' % (
                self.peak / MB, MAXMEMORY / MB)


def run_on(fix):
    memory = Memory(fix)
    clients = [Client(n, fix.server.socket_path) for n in range(CLIENTS)]
    drive(clients, Client.writes, memory.look)
    print('written: peak %.1f MB, %d waits for flash' % (
        memory.peak / MB, fix.number('flash_waits')))
    drive(clients, Client.reads, memory.look)
    print('read: peak %.1f MB, %d waits for flash' % (
        memory.peak / MB, fix.number('flash_waits')))
    if memory.counts:
        allocated = int(fix.info('memory', 'used_memory_peak'))
        print('allocated: peak %.1f MB' % (allocated / MB))
        assert allocated <= MAXMEMORY, allocated
    assert fix.number('refused_writers') == 0
    assert fix.number('row_reads') > 0
    total = sum(fix.conn.call('HLEN', b'large:%d' % i) for i in range(LARGE))
    total += sum(fix.conn.call('HLEN', b'small:%d' % i) for i in range(SMALL))
    assert total == CLIENTS * WRITES * FIELDS, total
    for c in clients:
        c.sock.close()


def run(args):
    fix = Fixture(args, {'maxmemory': MAXMEMORY, 'save': ''}, 'pipelines')
    run_with(fix, run_on)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
