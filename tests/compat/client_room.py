#!/usr/bin/env python3
"""maxmemory-clients: input, there or announced, queues, watched keys, subscriptions, prefixes and
replies nobody reads count; the largest clients are closed first and no more of them than needed,
wherever they are; NO-EVICT. What bounds prefixes without it.

usage: client_room.py SERVER
"""

import sys

from smoke_shards import POLICY, check, info, main_of, value, wait_for

KIB = 1024


def clients(c):
    """By name: the fields of CLIENT LIST."""
    found = {}
    for line in value(c, 'CLIENT', 'LIST').decode().splitlines():
        fields = dict(word.split('=', 1) for word in line.split(' '))
        found[fields['name']] = fields
    return found


def named(node, name):
    c = node.connect()
    c.call('CLIENT', 'SETNAME', name)
    return c


def begin(conn, size):
    """A command whose argument of `size` bytes lacks its end."""
    try:
        conn.sock.sendall(b'*2\r\n$%d\r\n' % size + b'a' * size)
    except ConnectionError:
        pass  # It was closed meanwhile: that is seen otherwise.


def takes(c, name, size):
    wait_for('%s takes %d' % (name, size),
             lambda: int(clients(c).get(name, {'tot-mem': 0})['tot-mem']) >= size)


def ends(what, conn, step):
    """The connection is closed while it does so and so many things."""
    try:
        for i in range(1000000):
            step(i)
        check(what, 'never closed', 'closed')
    except (ConnectionError, OSError):
        pass


def set_limit(c, limit):
    check('CONFIG SET', value(c, 'CONFIG', 'SET', 'maxmemory-clients', limit), b'OK')


def check_order(node, c):
    """Sizes of which each is more than twice the one before; the largest go first."""
    sizes = [128 * KIB, 1024 * KIB, 3072 * KIB]
    set_limit(c, 0)
    conns = []
    for i, size in enumerate(sizes):
        for k in range(3):
            conns.append(named(node, 's%d-%d' % (i, k)))
            begin(conns[-1], size)
    for i, size in enumerate(sizes):
        for k in range(3):
            takes(c, 's%d-%d' % (i, k), size)
    before = int(info(c)['evicted_clients'])
    total = sum(int(f['tot-mem']) for f in clients(c).values()) + 64 * KIB
    for i in (2, 1):
        # One of three has to go; then the two others of its size; then the next size.
        for k, gone in ((1, 1), (3, 3)):
            set_limit(c, total - k * sizes[i] + 64 * KIB)
            left = sum(3 for _ in sizes[:i]) + 3 - gone
            wait_for('closed', lambda left=left: len(
                [n for n in clients(c) if n.startswith('s')]) <= left)
            names = sorted(n for n in clients(c) if n.startswith('s'))
            check('left', len(names), left)
            check('smaller ones', sum(int(n[1]) < i for n in names), 3 * i)
        total -= 3 * sizes[i]
    check('evicted_clients', int(info(c)['evicted_clients']) - before, 6)
    for conn in conns:
        conn.close()


def check_kinds(node, c):
    """What a client can take room by."""
    set_limit(c, 3000000)
    conn = named(node, 'input')
    check('below the limit', conn.call('SET', 'k', b'v' * 1000000)[1], b'OK')
    ends('input', conn, lambda i: conn.call('SET', 'k', b'v' * 3000000))
    conn = named(node, 'queue')
    conn.call('MULTI')
    ends('queue', conn, lambda i: conn.call('SET', '{k}', b'v' * 500000))
    set_limit(c, 400000)
    conn = named(node, 'subscriber')
    ends('subscriptions', conn, lambda i: conn.call('SUBSCRIBE', 'channel%d' % i))
    conn = named(node, 'tracker')
    ends('prefixes', conn, lambda i: conn.call('CLIENT', 'TRACKING', 'ON', 'BCAST', 'PREFIX',
                                               '%d:' % i, 'PREFIX', '%dx' % i))
    if int(info(c)['shards']) == 1:
        conn = named(node, 'watcher')
        ends('watched keys', conn, lambda i: conn.call('WATCH', 'key%d' % i))
    set_limit(c, 3000000)
    check('a long value', c.call('SET', 'long', b'v' * 200000)[1], b'OK')
    conn = named(node, 'deaf')
    conn.sock.settimeout(0.01)

    def ask(_):
        try:
            conn.send([['GET', 'long']] * 20)
        except TimeoutError:
            pass
        check('below the limit', int(info(c)['mem_clients_normal']) < 16 << 20, True)
        if 'deaf' not in clients(c):
            raise ConnectionError

    ends('output', conn, ask)
    wait_for('closed', lambda: not {'input', 'queue', 'subscriber', 'deaf'} & set(clients(c)))


def check_prefixes(node, c):
    """Without maxmemory-clients a sixteenth of maxmemory is for all of them."""
    set_limit(c, 0)
    check('CONFIG SET', value(c, 'CONFIG', 'SET', 'maxmemory', '64mb'), b'OK')
    conns = [named(node, 'tracker%d' % i) for i in range(2)]
    names, refused = 0, []
    while not refused and names < 1000000:
        for conn in conns:
            words = [w for i in range(500) for w in ('PREFIX', '%d:' % (names + i))]
            conn.send([['CLIENT', 'TRACKING', 'ON', 'BCAST', *words]])
            reply = conn.read()  # call() would try it again.
            refused += [reply] if reply[0] == '-' else []
        names += 500
    check('refused', refused[0][1][:3], b'OOM')
    check('many', names > 2000, True)
    check('OFF', value(conns[0], 'CLIENT', 'TRACKING', 'OFF'), b'OK')
    check('room again', value(conns[1], 'CLIENT', 'TRACKING', 'ON', 'BCAST', 'PREFIX', 'a'), b'OK')
    for conn in conns:
        conn.close()
    wait_for('gone', lambda: info(c)['tracking_total_prefixes'] == '0')


def check_no_evict(node, c):
    set_limit(c, 1000000)
    kept, other = named(node, 'kept'), named(node, 'other')
    check('NO-EVICT', value(kept, 'CLIENT', 'NO-EVICT', 'on'), b'OK')
    check('flag', 'e' in clients(c)['kept']['flags'], True)
    begin(kept, 2000000)
    takes(c, 'kept', 2000000)
    # It counts, so that anybody else is closed.
    begin(other, 100000)
    wait_for('the other is closed', lambda: 'other' not in clients(c))
    check('it stays', 'kept' in clients(c), True)
    kept.close()
    wait_for('it is gone', lambda: 'kept' not in clients(c))


def check_announced(node, c):
    """What a client has announced counts before it is there. Whoever asks next, be it in the same
    turn, does not find it any more, if both are on the same shard."""
    set_limit(c, 1000000)
    begin_of = b'*2\r\n$3\r\nGET\r\n$%d\r\n'
    conn = named(node, 'within')
    conn.sock.sendall(begin_of % 500000)
    takes(c, 'within', 500000)
    check('not reserved', int(clients(c)['within']['qbuf-free']) < 100000, True)
    check('not in the sum', int(info(c)['mem_clients_normal']) < 500000, True)
    conn.close()
    for _ in range(50):
        conn = named(node, 'beyond')
        conn.sock.sendall(begin_of % 1000000)
        # Until what it has announced has come, it is as any other.
        seen = clients(c).get('beyond')
        while seen is not None and seen['qbuf'] == '0':
            seen = clients(c).get('beyond')
        if int(info(c)['shards']) == 1:
            check('closed', seen, None)
        else:
            wait_for('closed', lambda: 'beyond' not in clients(c))
        conn.close()


def check_percent(node, c):
    check('CONFIG SET', value(c, 'CONFIG', 'SET', 'maxmemory', '64mb'), b'OK')
    set_limit(c, '5%')
    conn = named(node, 'percent')
    begin(conn, 3000000)
    takes(c, 'percent', 3000000)
    check('CONFIG SET', value(c, 'CONFIG', 'SET', 'maxmemory', '48mb'), b'OK')
    wait_for('closed', lambda: 'percent' not in clients(c))
    # A percentage of nothing is none.
    check('CONFIG SET', value(c, 'CONFIG', 'SET', 'maxmemory', '0'), b'OK')
    conn = named(node, 'percent')
    begin(conn, 30000000)
    takes(c, 'percent', 30000000)
    conn.close()


def run(node, *more):
    c = node.start(*more)
    c.call('CLIENT', 'SETNAME', 'control')
    c.call('CLIENT', 'NO-EVICT', 'on')
    check_kinds(node, c)
    check_no_evict(node, c)
    check_order(node, c)
    check_announced(node, c)
    check_percent(node, c)
    check_prefixes(node, c)
    node.process.terminate()
    check('exit status', node.end(), 0)


if __name__ == '__main__':
    sys.exit(main_of(run, [], [*POLICY, '--shards', '4'], ['--io-backend', 'epoll']))
