#!/usr/bin/env python3
"""SPOP of sets that are larger than what DRAM may hold.

A server gets two sets and is started again with so little memory that none of them can be loaded.
Then members are popped, one and many, by one client and by several, beside others that change
the set: each comes once, each was there, what is left is what was not popped, each is as likely as
any other, and nothing is loaded. At last the server is killed, and none of them comes back.
"""

import signal
import sys
import threading

import large_streams
from large_streams import Plain, member, walk

BATCH = 500


def short(i):
    """Of so many even short ones are too many."""
    return 'm:%d' % i


def fill(pair, count):
    for at in range(0, count, BATCH):
        pair.b.call('SADD', 'set', *(short(i) for i in range(at, at + BATCH)))
    for at in range(0, count // 4, BATCH):
        pair.b.call('SADD', 'drawn', *(member(i) for i in range(at, at + BATCH)))


def texts(reply):
    assert reply[0] == '*', reply
    return [text for _, text in reply[1]]


class Popped:
    """What must be in the set."""

    def __init__(self, key, members):
        self.key, self.left = key, {m.encode() for m in members}

    def take(self, found):
        assert len(found) == len(set(found)), 'popped twice'
        assert set(found) <= self.left, 'not in the set, or popped before'
        self.left -= set(found)

    def pop(self, conn, n=None):
        if n is None:
            reply = conn.call('SPOP', self.key)
            assert reply[0] == '$', reply
            self.take([reply[1]])
            return
        found = texts(conn.call('SPOP', self.key, n))
        assert len(found) == min(n, len(self.left)), len(found)
        self.take(found)

    def check(self, conn):
        assert conn.call('SCARD', self.key) == (':', b'%d' % len(self.left))
        found, _ = walk(conn, 'SSCAN', self.key, 'COUNT', '1000')
        assert len(found) == len(set(found)), 'shown twice'
        assert set(found) == self.left, (len(found), len(self.left))


def one_client(pair, rng, popped):
    conn = pair.b
    assert conn.call('SPOP', popped.key, '0') == ('*', [])
    for words in ('x',), ('-1',), ('1', '2'):
        reply = conn.call('SPOP', popped.key, *words)
        assert reply == pair.a.call('SPOP', popped.key, *words) and reply[0] == '-', reply
    for n in (None, 1, 2, 300, 1200, None, 5000):
        popped.pop(conn, n)
        pair.look()
    popped.check(conn)
    for _ in range(60):
        popped.pop(conn, rng.choice((None, 3)))
        # What was just written is on flash, or not yet.
        m = sorted(popped.left)[rng.randrange(len(popped.left))]
        assert conn.call('SREM', popped.key, m) == (':', b'1')
        popped.left.remove(m)
        m = b'new:%d' % rng.randrange(1 << 30)
        assert conn.call('SADD', popped.key, m) == (':', b'1')
        popped.left.add(m)
    popped.check(conn)
    # RESP3 tells one from many.
    conn.call('HELLO', '3')
    reply = conn.call('SPOP', popped.key, '2')
    assert reply[0] == '~' and len(reply[1]) == 2, reply
    popped.take([text for _, text in reply[1]])
    conn.call('HELLO', '2')


def refused(pair, popped, drawn):
    """More than may be kept, and where nothing is read from flash: with a way out."""
    conn = pair.b
    for n in (len(popped.left) - 1, len(popped.left), 1 << 62):
        reply = conn.call('SPOP', popped.key, n)
        assert reply[0] == '-' and b'use a lower count' in reply[1], reply
    conn.call('MULTI')
    conn.call('SPOP', drawn.key)
    reply = conn.call('EXEC')
    assert reply[0] == '-' and b'MULTI' in reply[1], reply
    popped.check(conn)


def clients(pair, popped, path, number, rounds):
    """They pop beside each other, and others add and remove."""
    found = [[] for _ in range(number)]
    added, removed, failed = set(), set(), []
    keep = sorted(popped.left)

    def pop(me):
        conn = Plain(path)
        for i in range(rounds):
            reply = conn.call('SPOP', popped.key, *(('7',) if i % 3 == 0 else ()))
            if reply[0] == '-':
                failed.append(reply)
            elif reply[0] == '*':
                found[me] += texts(reply)
            else:
                found[me].append(reply[1])

    def change():
        conn = Plain(path)
        for i in range(rounds):
            if conn.call('SADD', popped.key, 'beside:%d' % i) == (':', b'1'):
                added.add(b'beside:%d' % i)
            if conn.call('SREM', popped.key, keep[i]) == (':', b'1'):
                removed.add(keep[i])

    threads = [threading.Thread(target=pop, args=(i,)) for i in range(number)]
    threads.append(threading.Thread(target=change))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed[:3]
    popped.left |= added
    assert removed <= popped.left
    popped.left -= removed
    popped.take([m for part in found for m in part])
    pair.look()
    popped.check(pair.b)


def likely(pair, popped, rounds):
    """Of each of ten parts of a set as many are popped: six deviations at most, which is once in
    50 million runs."""
    parts = {m: i % 10 for i, m in enumerate(sorted(popped.left))}
    for n, times in ((None, rounds), (3, rounds // 3), (20, rounds // 20), (rounds * 2, 1)):
        before = set(popped.left)
        for _ in range(times):
            popped.pop(pair.b, n)
        gone = before - popped.left
        times = [0] * 10
        for m in gone:
            times[parts[m]] += 1
        mean = len(gone) / 10
        bound = 6 * (mean * 0.9) ** 0.5
        assert all(abs(t - mean) <= bound for t in times), (n, times)


def ahead(pair, popped, rounds):
    """Who pops one after the other waits for flash seldom: 16 are drawn ahead once it has gone on
    for a while. Another change between two pops makes them void."""
    waited = pair.info('flash_hits')
    for _ in range(rounds):
        popped.pop(pair.b)
    waited = pair.info('flash_hits') - waited
    # For 1, 1 + 1, 1 + 3, 1 + 7, 1 + 15 members, and from then on for each 1 + 16.
    assert waited <= 5 + rounds // 10, 'flash was waited for %d times' % waited
    waited = pair.info('flash_hits')
    for i in range(20):
        popped.pop(pair.b)
        assert pair.b.call('SADD', popped.key, 'between:%d' % i) == (':', b'1')
        popped.left.add(b'between:%d' % i)
    assert pair.info('flash_hits') - waited >= 20, 'popped what was drawn before a change'


def emptied(pair, popped):
    """When so few are left that they may be loaded, or popped at once."""
    conn = pair.b
    while len(popped.left) > 2000:
        popped.pop(conn, 4000)
    popped.pop(conn, 1 << 40)
    assert conn.call('EXISTS', popped.key) == (':', b'0')
    assert conn.call('SPOP', popped.key) == ('$', None)


def run_on(servers, rng, count):
    pair = servers.pair
    fill(pair, count)
    servers.restart()
    pair.a.call('SADD', 'set', 'x')  # For its errors.
    popped = Popped('set', (short(i) for i in range(count)))
    drawn = Popped('drawn', (member(i) for i in range(count // 4)))
    refused(pair, popped, drawn)
    one_client(pair, rng, popped)
    likely(pair, drawn, 400)
    likely(pair, popped, 400)
    for each in popped, drawn:
        ahead(pair, each, 300)
    clients(pair, popped, servers.path, 8, 40)
    # The bytes of long members are known only when they were read once.
    assert pair.info('scans') <= 1, 'something was loaded whole'
    servers.tierra.send_signal(signal.SIGKILL)
    servers.tierra.wait()
    servers.start_again()
    popped.check(pair.b)
    drawn.check(pair.b)
    emptied(pair, drawn)
    assert pair.rss <= large_streams.RSS_MB_MAX, 'rss %d MB' % pair.rss


if __name__ == '__main__':
    sys.exit(large_streams.main_of(__doc__, run_on, 160000))
