#!/usr/bin/env python3
"""Clients that wait for keys, with long commands, while they are closed for maxmemory-clients,
killed and unblocked, in the same pipelines in which others push to their keys. Every element is
then with a client, in a list, or went to a client that was killed after it was served: none is
lost otherwise, none is twice.

usage: evicted_waiters.py SERVER [SEED]
"""

import random
import sys

from smoke_shards import POLICY, check, info, main_of, value, wait_for

ROUNDS = 16
WAITERS = 24
PUSHERS = 3
TAGS = ['{w%d}' % i for i in range(6)]
KEYS = 600       # Of a command that waits; the last three of them are pushed to.
HOT = ('x', 'y', 'z')
BALLAST_BYTES = 300000
COUNT = 3        # Of BLMPOP and BZMPOP: what one reply may take away.


class Waiter:
    def __init__(self, node, rng, number):
        self.conn = node.connect()
        self.id = int(value(self.conn, 'CLIENT', 'ID'))
        self.tag = rng.choice(TAGS)
        self.kind = rng.choice(['BLPOP', 'BRPOP', 'BLMPOP', 'BLMOVE', 'BZPOPMIN', 'BZMPOP'])
        zset = self.kind[1] == 'Z'
        keys = ['%s%s%s%d' % (self.tag, 'zcold' if zset else 'cold', 'n' * 40, i)
                for i in range(KEYS)]
        keys += ['%s%s%s' % (self.tag, 'zset' if zset else 'list', k)
                 for k in rng.sample(HOT, len(HOT))]
        if self.kind == 'BLMOVE':
            # A destination each, with a long name.
            self.to = '%sto%d%s' % (self.tag, number, 't' * 30000)
            self.words = ['BLMOVE', keys[-1], self.to, 'LEFT', 'RIGHT', '0']
        elif self.kind in ('BLMPOP', 'BZMPOP'):
            self.words = [self.kind, '0', len(keys), *keys, 'MIN' if zset else 'LEFT', 'COUNT',
                          COUNT]
        else:
            self.words = [self.kind, *keys, '0']

    def wait(self):
        self.conn.send([self.words])

    def end(self):
        """The elements that it got; None if it was closed before it got anything."""
        try:
            reply = self.conn.read()
        except (ConnectionError, OSError, ValueError):
            return None
        finally:
            self.conn.close()
        if reply[0] == '-' or reply[1] is None:
            return []
        if self.kind == 'BLMOVE':
            return [reply[1]]
        if self.kind in ('BLPOP', 'BRPOP', 'BZPOPMIN'):
            return [reply[1][1][1]]
        return [e[1][0][1] if self.kind == 'BZMPOP' else e[1] for e in reply[1][1][1]]

    def takes(self):
        """Elements that were lost with it at most, if it was served and then closed."""
        return 0 if self.kind == 'BLMOVE' else COUNT if 'MPOP' in self.kind else 1


class Elements:
    """Each has a name of its own."""

    def __init__(self):
        self.pushed = {}

    def new(self, tag):
        name = b'e%d' % len(self.pushed)
        self.pushed[name] = tag
        return name

    def push(self, rng):
        tag, hot = rng.choice(TAGS), rng.choice(HOT)
        some = [self.new(tag) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.35:
            return ['ZADD', '%szset%s' % (tag, hot)] + [w for e in some for w in ('1', e)]
        return [rng.choice(['RPUSH', 'LPUSH']), '%slist%s' % (tag, hot), *some]


def stir(rng, waiters, elements, limits):
    """Commands of one pipeline."""
    out = []
    for _ in range(40):
        r, one = rng.random(), rng.choice(waiters)
        if r < 0.45:
            out.append(elements.push(rng))
        elif r < 0.55:
            tag = rng.choice(TAGS)
            out += [['MULTI'], ['RPUSH', tag + 'listx', elements.new(tag)],
                    ['ZADD', tag + 'zsetx', '2', elements.new(tag)], ['EXEC']]
        elif r < 0.68:
            out.append(['CLIENT', 'UNBLOCK', one.id] + rng.choice([[], ['ERROR']]))
        elif r < 0.78:
            out.append(['CLIENT', 'KILL', 'ID', one.id])
        else:
            out.append(['CONFIG', 'SET', 'maxmemory-clients', rng.choice(limits)])
    return out


def left_over(c, waiters):
    """The elements that are in lists and sorted sets."""
    found = []
    for tag in TAGS:
        for hot in HOT:
            found += [e[1] for e in c.call('LRANGE', '%slist%s' % (tag, hot), 0, -1)[1]]
            found += [e[1] for e in c.call('ZRANGE', '%szset%s' % (tag, hot), 0, -1)[1]]
    moved = [e[1] for w in waiters if w.kind == 'BLMOVE'
             for e in c.call('LRANGE', w.to, 0, -1)[1]]
    return found, moved


def account(c, waiters, elements, killed):
    """Where all of them are. What is lost was told to a client that was killed then."""
    ended = [(w, w.end()) for w in waiters]
    left, moved = left_over(c, waiters)
    got = [e for w, some in ended if w.kind != 'BLMOVE' for e in some or []]
    all_found = left + moved + got
    check('twice', len(all_found), len(set(all_found)))
    check('never pushed', set(all_found) - set(elements.pushed), set())
    check('told of a move and not moved',
          {e for w, some in ended if w.kind == 'BLMOVE' for e in some or []} - set(moved), set())
    for tag in TAGS:
        missing = [e for e, where in elements.pushed.items()
                   if where == tag and e not in set(all_found)]
        room = sum(w.takes() for w, some in ended
                   if w.tag == tag and some is None and w.id in killed)
        check('lost of %s, of %d that could be' % (tag, room), len(missing) <= room or missing,
              True)
    return sum(some is None for _, some in ended)


def one_round(node, c, pushers, rng, early):
    """`early`: the limit is there before the waiters are, and they come while others push."""
    check('FLUSHALL', value(c, 'FLUSHALL'), b'OK')
    elements = Elements()
    waiters = [Waiter(node, rng, i) for i in range(WAITERS)]
    limits = [0, '1', 100000, 300000, 600000]
    if early:
        check('CONFIG SET', value(c, 'CONFIG', 'SET', 'maxmemory-clients', 300000), b'OK')
    lines = [stir(rng, waiters, elements, limits) for _ in pushers]
    for waiter in waiters:
        try:
            waiter.wait()
        except OSError:
            pass
    if not early:
        wait_for('they wait', lambda: int(info(c)['blocked_clients']) == WAITERS)
    for conn, line in zip(pushers, lines):
        conn.send(line)
    for conn, line in zip(pushers, lines):
        for words in line:
            reply = conn.read()
            check('%s' % words[:3], reply[0] == '-' and reply, False)
    value(c, 'CONFIG', 'SET', 'maxmemory-clients', '0')
    # Nobody waits on, whether it came late or was not met.
    wait_for('nobody waits', lambda: settled(c, waiters) and all(
        value(c, 'CLIENT', 'UNBLOCK', w.id) is not None for w in waiters) and
        info(c)['blocked_clients'] == '0')
    killed = {words[3] for line in lines for words in line if words[:2] == ['CLIENT', 'KILL']}
    return account(c, waiters, elements, killed)


def listed(c):
    """The numbers of all clients."""
    return {int(line.split(' ')[0][3:])
            for line in value(c, 'CLIENT', 'LIST').decode().splitlines()}


def settled(c, waiters):
    """All that have sent a command have been answered, or closed."""
    ids = {str(w.id) for w in waiters}
    for line in value(c, 'CLIENT', 'LIST').decode().splitlines():
        fields = dict(word.split('=', 1) for word in line.split(' '))
        if fields['id'] in ids and fields['cmd'].startswith('client'):
            return False
    return True


def ballast(node):
    """A client that is not closed and leaves no room to others, as soon as there is a limit."""
    conn = node.connect()
    conn.call('CLIENT', 'NO-EVICT', 'on')
    conn.sock.sendall(b'*2\r\n$%d\r\n' % BALLAST_BYTES + b'a' * (BALLAST_BYTES - 1))
    return conn


def waiting(node, c, rng):
    check('FLUSHALL', value(c, 'FLUSHALL'), b'OK')
    waiters = [Waiter(node, rng, i) for i in range(WAITERS)]
    for w in waiters:
        w.wait()
    wait_for('they wait', lambda: int(info(c)['blocked_clients']) == WAITERS)
    return waiters


def ended_first(node, c, rng):
    """Who was killed or unblocked in the pipeline before the push takes nothing."""
    for how in ('KILL', 'UNBLOCK'):
        waiters, elements = waiting(node, c, rng), Elements()
        c.send([['CLIENT', how] + ['ID'] * (how == 'KILL') + [w.id] for w in waiters] +
               [elements.push(rng) for _ in range(60)])
        for _ in range(WAITERS + 60):
            c.read()
        check('%s: answers' % how, [w.end() for w in waiters],
              [None if how == 'KILL' else []] * WAITERS)
        left, moved = left_over(c, waiters)
        check('%s: left' % how, (sorted(left), moved), (sorted(elements.pushed), []))


def closed_beside(node, c, rng):
    """All who wait are closed for their room in the pipeline in which they are served: before or
    after it. Who was served before it was closed is told so."""
    heavy = ballast(node)
    for _ in range(4):
        waiters, elements = waiting(node, c, rng), Elements()
        out = [elements.push(rng) for _ in range(60)]
        out.insert(rng.choice([0, 5, 60]), ['CONFIG', 'SET', 'maxmemory-clients', '1'])
        c.send(out)
        for _ in out:
            c.read()
        ids = {w.id for w in waiters}
        wait_for('all are closed', lambda ids=ids: not ids & listed(c))
        wait_for('nobody waits', lambda: info(c)['blocked_clients'] == '0')
        account(c, waiters, elements, set())
        value(c, 'CONFIG', 'SET', 'maxmemory-clients', '0')
    heavy.close()


def run(node, *more):
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    rng = random.Random(seed)
    c = node.start(*more)
    c.call('CLIENT', 'NO-EVICT', 'on')
    pushers = [node.connect() for _ in range(PUSHERS)]
    for conn in pushers:
        conn.call('CLIENT', 'NO-EVICT', 'on')
    ended_first(node, c, rng)
    closed_beside(node, c, rng)
    before = int(info(c)['evicted_clients'])
    closed = sum(one_round(node, c, pushers, rng, early=n % 2 == 1) for n in range(ROUNDS))
    evicted = int(info(c)['evicted_clients']) - before
    check('some were closed for their room', evicted > 0, True)
    print('seed %d: %d waiters, %d closed, %d of them for maxmemory-clients' % (
        seed, ROUNDS * WAITERS, closed, evicted))
    node.process.terminate()
    check('exit status', node.end(), 0)


if __name__ == '__main__':
    sys.exit(main_of(run, [], [*POLICY, '--shards', '4'], ['--io-backend', 'epoll']))
