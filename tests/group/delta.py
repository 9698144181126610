#!/usr/bin/env python3
"""A member that was away for longer than the logs are kept is given what differs, and something
happens in the middle: who gives is killed or unlinked, who receives is killed, all is emptied.

usage: delta.py --server tierra-server [--parts giver,receiver,flush,unlink,bytes] [--keys N]
"""

import os
import sys

from grouplib import Group, agree, fill, main_of, wait_until
from resync import log_begin, resyncs
from ways import OPEN, Ways

KEYS, CHANGED, GONE = 400, 250, 20
ALIKE = 4000  # Members of a set that stay as they are.
VALUE_BYTES = 10000
# Of what differs, by each who gives: some has come, and more is to come. All of it is one range,
# which another one begins anew: so it is never complete, however long it is held.
MIDDLE_BYTES = 3 << 19
OPTIONS = {'oplog-segment-bytes': '1mb', 'oplog-retention-bytes': '1mb',
           'store-memtable-bytes': '1mb', 'maxmemory': '2gb'}


def value():
    return os.urandom(VALUE_BYTES)  # Does not become short on its way.


def fill_all(member):
    member.conn.pipeline([(b'SET', b'big:%d' % i, value()) for i in range(KEYS)])
    member.ok('SADD', 'small', *[str(i) for i in range(ALIKE)])
    fill(member, 'm')
    member.ok('INCRBY', 'count', 1000)
    member.ok('SADD', 'set', *[str(i) for i in range(100)])


def own(member, part):
    """Acknowledged by who goes away, and known to nobody else."""
    member.ok('SET', part + ':own', 'kept')
    member.ok('SADD', 'set', part)
    member.ok('INCR', 'count')
    member.ok('DEL', 'big:%d' % (KEYS - 1))


def change(member, part):
    """What whoever is away must learn of without a log."""
    first = GONE * (1 + ['giver', 'receiver', 'flush', 'unlink'].index(part))
    member.conn.pipeline([(b'SET', b'big:%d' % i, value()) for i in range(CHANGED)])
    member.ok('DEL', *['big:%d' % (CHANGED + i) for i in range(first)])
    member.ok('SET', part + ':gone', 'x')
    member.ok('DEL', part + ':gone')
    member.ok('SREM', 'set', '1', '2')
    member.ok('LPOP', 'm:l')
    member.ok('INCRBY', 'count', 10)


def log_end(member):
    names = os.listdir(os.path.join(member.data, 'shard-000', 'oplog'))
    return max(int(name[:-4], 16) for name in names if name.endswith('.log'))


def outgrow(writer, members):
    """No log has anything any more of what it has now."""
    ends = {m.name: log_end(m) for m in members}
    names = {m.name.encode() for m in members}

    def churn():
        # Not faster than the others take it: they are not to fall behind, too.
        if all(lag['lag-ops'] == 0 for lag in writer.lags() if lag['peer'] in names):
            writer.conn.pipeline([(b'SET', b'churn', os.urandom(1 << 16)) for _ in range(8)])

    def grown():
        churn()
        return all(log_end(m) > ends[m.name] + 2 for m in members)

    def trimmed():
        churn()
        return all(log_begin(m) > ends[m.name] for m in members)

    wait_until('the logs have grown', grown)
    # What their stores have is persistent then, and may go from the log.
    for m in members:
        m.restart_saved()
    for m in members:
        wait_until(lambda m=m: '%s is back: %s' % (m.name, m.status()), m.is_active)
    wait_until(lambda: 'the logs are trimmed: %s' % writer.lags(), trimmed)
    writer.ok('DEL', 'churn')


def hold_delta(ways, part, away, others):
    """The member is back, what differs is on its way, and stands: who gives it."""
    ways.isolate(away)
    own(away, part)
    away.kill()
    ways.all(OPEN)
    change(others[0], part)
    outgrow(others[0], others)
    for m in others:
        ways.hold_after(m, away, MIDDLE_BYTES)
    away.start()
    wait_until(lambda: 'a delta is under way: %s' % away.server.log_text(),
               lambda: any(ways.is_held(m, away) for m in others))
    # Its report is as old as its last tick.
    wait_until(lambda: 'no writes: %s' % away.server.log_text(),
               lambda: away.status()['writes'] != b'ok')
    assert resyncs(away) == 0, away.server.log_text()
    return [m for m in others if ways.is_held(m, away)][0]


def let_go(ways):
    ways.left.clear()
    ways.all(OPEN)


def meanwhile(members, part):
    for m in members:
        m.ok('SET', '%s:%s' % (part, m.name), 'new')
        m.ok('SET', 'big:%d' % (KEYS - 2), m.name)
        m.ok('INCRBY', 'count', 100)
        m.ok('DEL', 'big:%d' % (CHANGED // 2))


def check(held, part, away, writers, count):
    assert held[part.encode() + b':own'] == b'kept', part
    assert part.encode() in held[b'set'][1] and b'1' not in held[b'set'][1]
    first = GONE * (1 + ['giver', 'receiver', 'flush', 'unlink'].index(part))
    back = [i for i in range(CHANGED, CHANGED + first) if b'big:%d' % i in held]
    assert not back, 'deleted keys came back: %s' % back[:5]
    assert b'big:%d' % (KEYS - 1) not in held and b'big:%d' % (CHANGED // 2) not in held
    assert all(held[b'%s:%s' % (part.encode(), m.name.encode())] == b'new' for m in writers)
    assert held[b'count'] == b'%d' % count, held[b'count']
    info = away.info()
    # What shares its bucket with one that differs is sent, too.
    assert int(info['rows_alike']) > ALIKE // 2 > int(info['copied_rows_in']), info
    assert resyncs(away) != 0


def goes_on(group, part, away, writers, count):
    """To its end: the count is right, and nothing that went is back."""
    wait_until(lambda: 'rows are joined: %s' % away.server.log_text()[-4000:],
               lambda: resyncs(away) != 0)
    group.await_active()
    held = group.await_same()
    check(held, part, away, writers, count)
    agree([away])
    print('%s: %d keys alike, %s rows left out, %s sent' % (
        part, len(held), away.info()['rows_alike'], away.info()['copied_rows_in']))


def giver_dies(group, ways, a, b, c):
    giver = hold_delta(ways, 'giver', b, [a, c])
    meanwhile([a, c], 'giver')
    giver.kill()
    let_go(ways)
    wait_until(lambda: 'another one gives: %s' % b.server.log_text(), lambda: resyncs(b) != 0)
    giver.start()
    goes_on(group, 'giver', b, [a, c], 1000 + 10 + 1 + 200)


def receiver_dies(group, ways, a, b, c):
    hold_delta(ways, 'receiver', b, [a, c])
    meanwhile([a, c], 'receiver')
    b.kill()
    let_go(ways)
    b.start()
    goes_on(group, 'receiver', b, [a, c], 1000 + 10 + 1 + 200)


def is_emptied(group, ways, a, b, c):
    giver = hold_delta(ways, 'flush', b, [a, c])
    meanwhile([a, c], 'flush')
    giver.ok('REPLGROUP', 'FLUSH', 'earth')
    let_go(ways)
    for m in (a, b, c):
        wait_until(lambda m=m: '%s is empty: %s' % (m.name, m.status()),
                   lambda m=m: m.info()['flush_epoch'] == '1' and m.call('DBSIZE') == 0)
    group.await_active()
    b.ok('SET', 'after', 'flush')
    held = group.await_same()
    assert held == {b'after': b'flush'}, sorted(held)[:5]
    print('flush: emptied')


def giver_is_unlinked(group, ways, a, b, c):
    giver = hold_delta(ways, 'unlink', b, [a, c])
    meanwhile([a, c], 'unlink')
    other = c if giver is a else a
    # What nobody else had by then would go with it.
    wait_until(lambda: 'the other one has it: %s' % other.ok('GET', 'count'),
               lambda: int(other.ok('GET', 'count')) >= 1000 + 10 + 200)
    other.ok('REPLGROUP', 'FORCE-UNLINK', giver.name)
    let_go(ways)
    wait_until('it is fenced', lambda: giver.call('SET', 'x', 'y') != b'OK')
    giver.kill()
    goes_on(group, 'unlink', b, [other], 1000 + 10 + 1 + 200)


def one_in_a_hundred(group, ways, a, b, c, keys):
    """What crosses the links when few of many keys have changed, beside a whole copy."""
    for first in range(0, keys, 1000):
        a.conn.pipeline([(b'SET', b'key:%d' % i, os.urandom(100))
                         for i in range(first, min(first + 1000, keys))])
    agree([a])
    b.kill()
    changed = range(0, keys, 100)
    a.conn.pipeline([(b'SET', b'key:%d' % i, os.urandom(100)) for i in changed if i % 1000])
    a.ok('DEL', *['key:%d' % i for i in changed if i % 1000 == 0])
    outgrow(a, [a])
    before = ways.forwarded
    b.start()
    wait_until(lambda: 'rows are joined: %s' % b.server.log_text()[-4000:],
               lambda: resyncs(b) != 0)
    delta = ways.forwarded - before
    group.await_active([a, b])
    agree([b])
    sent, alike = [int(b.info()[name]) for name in ('copied_rows_in', 'rows_alike')]
    # A bucket of 1 to 2 rows brings along 2 more for each that differs, on average.
    assert sent < keys // 20 and alike > keys - keys // 20, (sent, alike)
    before = ways.forwarded
    c.start()
    group.await_active()
    copy = ways.forwarded - before
    print('%d keys, %d changed: %d rows sent, %d left out, %d bytes; a whole copy %d bytes' % (
        keys, len(changed), sent, alike, delta, copy))


PARTS = {'giver': giver_dies, 'receiver': receiver_dies, 'flush': is_emptied,
         'unlink': giver_is_unlinked, 'bytes': one_in_a_hundred}


def run(args):
    for part in args.parts.split(','):
        with Group(args.server, args.work, dict(OPTIONS)) as group:
            ways = Ways(group)
            a, b, c = ways.make(['a', 'b', 'c'])
            for m in (a, b) if part == 'bytes' else (a, b, c):
                m.start()
                group.await_active()
            if part == 'bytes':
                one_in_a_hundred(group, ways, a, b, c, args.keys)
                continue
            fill_all(a)
            group.await_same()
            PARTS[part](group, ways, a, b, c)


def add_options(parser):
    parser.add_argument('--parts', default=','.join(PARTS))
    parser.add_argument('--keys', type=int, default=20000, help='of the part "bytes"')


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, add_options))
