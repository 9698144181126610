#!/usr/bin/env python3
"""A replication group of real processes on one machine: founding, joining, both directions,
restarts, flush, force-unlink, leaving, and what is refused.

usage: smoke.py --server tierra-server [--shards N]
"""

import json
import os
import subprocess
import sys

from grouplib import (
    Conn, ErrorReply, Group, Server, encode, fill, main_of, pairs, wait_until)


def shared_counters(group):
    for n, m in enumerate(group.up(), 1):
        for _ in range(10 * n):
            m.ok('INCR', 'shared')
        m.ok('HINCRBY', 'shared:h', 'f', n)
        m.ok('ZINCRBY', 'shared:z', n, 'm')
        m.ok('SADD', 'shared:u', m.name)
        m.ok('RPUSH', 'shared:l', m.name)


def both_directions(group):
    a, b, c = group.up()
    fill(a, 'a')
    fill(b, 'b')
    shared_counters(group)
    held = group.await_same()
    assert held[b'shared'] == b'60', held[b'shared']
    assert held[b'shared:h'] == (b'hash', {b'f': b'6'}), held[b'shared:h']
    assert held[b'shared:z'] == (b'zset', [b'm', b'6']), held[b'shared:z']
    assert held[b'shared:u'] == (b'set', {b'a', b'b', b'c'})
    assert sorted(held[b'shared:l'][1]) == [b'a', b'b', b'c']
    assert len(held) == 2 * 56 + 5, len(held)
    assert c.ok('TTL', 'a:ttl') > 9000
    c.ok('DEL', 'a:s:1', 'b:h')
    b.ok('RENAME', 'a:s:2', '{a:s:2}renamed')
    assert b.ok('DBSIZE') >= 100
    held = group.await_same()
    assert b'a:s:1' not in held and b'b:h' not in held
    assert held[b'{a:s:2}renamed'] == b'value 2'
    for m in (a, b, c):
        wait_until('%s counts %d keys: %s' % (m.name, len(held), m.ok('DBSIZE')),
                   lambda m=m: m.ok('DBSIZE') == len(held))
    print('both directions: %d keys alike' % len(held))


def link_counters(group):
    """What crosses the links is counted, as it is sent: this does not become less."""
    a, _, c = group.up()
    before = int(a.info()['link_bytes_out']), int(c.info()['link_bytes_in'])
    a.ok('SET', 'counted', os.urandom(20000))
    wait_until('its bytes are counted', lambda: (
        int(a.info()['link_bytes_out']) - before[0] >= 2 * 20000 and
        int(c.info()['link_bytes_in']) - before[1] >= 20000 and
        int(c.info()['link_ready']) >= 2))
    a.ok('DEL', 'counted')


def transactions(group):
    a, b = group.up()[:2]
    assert a.ok('MULTI') == b'OK'
    for i in range(20):
        a.ok('SET', '{t}:%d' % i, 'in one batch')
    a.ok('EXEC')
    b.ok('WATCH', '{t}:0')
    wait_until('the batch arrives', lambda: b.ok('EXISTS', '{t}:0') == 1)
    assert b.ok('EXISTS', *['{t}:%d' % i for i in range(20)]) == 20, 'a batch in parts'
    b.ok('UNWATCH')
    b.ok('SET', 'watched', 'before')
    group.await_same()
    b.ok('WATCH', 'watched')
    a.ok('SET', 'watched', 'from the peer')
    wait_until('it arrives', lambda: b.ok('GET', 'watched') == b'from the peer')
    b.ok('MULTI')
    b.ok('SET', 'watched', 'after')
    assert b.call('EXEC') is None, 'a remote change did not count for WATCH'
    print('transactions')


def restarts(group):
    a, b, c = group.up()
    before = group.await_same()
    b.kill()
    a.ok('SET', 'while b was away', 1)
    c.ok('INCRBY', 'shared', 5)
    b.start()
    group.await_active()
    held = group.await_same()
    assert held[b'shared'] == b'65'
    for m in (a, c):
        m.stop()
    b.ok('SET', 'alone', 'b')
    b.ok('INCRBY', 'shared', 7)
    b.kill()
    for m in (a, b, c):
        m.start()
    group.await_active()
    held = group.await_same()
    assert held[b'alone'] == b'b' and held[b'shared'] == b'72', held[b'shared']
    assert len(held) == len(before) + 2
    print('restarts: nothing lost')


def concurrent(group):
    """Two members write while each believes that it is alone: one is down when the other writes."""
    a, b, c = group.up()
    c.ok('SET', 'conflict', 'before')
    c.ok('DEL', 'counter')
    c.ok('SET', 'counter', 100)
    c.ok('SADD', 'set', 'x')
    group.await_same()
    b.stop()
    c.stop()
    a.ok('SET', 'conflict', 'a')
    a.ok('INCRBY', 'counter', 1)
    a.ok('DEL', 'set')
    a.ok('HSET', 'kind', 'f', 'v')
    a.stop()
    b.start()
    b.ok('SET', 'conflict', 'b')
    b.ok('INCRBY', 'counter', 10)
    b.ok('SADD', 'set', 'y')
    b.ok('RPUSH', 'kind', 'one of both')
    a.start()
    c.start()
    group.await_active()
    held = group.await_same()
    # For some seconds after a start a member's clock (HLC) is ahead, at its lease: either may win.
    assert held[b'conflict'] in (b'a', b'b'), held[b'conflict']
    assert held[b'counter'] == b'111', held[b'counter']
    assert held[b'set'] == (b'set', {b'y'}), held[b'set']
    assert held[b'kind'] in ((b'hash', {b'f': b'v'}), (b'list', [b'one of both'])), held[b'kind']
    print('concurrent writes converge')


def who_waits(group):
    """What other members write wakes who waits, and raises keyspace notifications."""
    a, b, _ = group.up()
    waiting = Conn(b.server.socket_path)
    for wait, push, wanted in (
            ('BLPOP', ('RPUSH', 'wait', 'x', 'y'), [b'wait', b'x']),
            ('BRPOP', ('RPUSH', 'wait2', 'x'), [b'wait2', b'x']),
            ('BZPOPMIN', ('ZADD', 'wait', '2', 'm'), [b'wait', b'm', b'2'])):
        b.ok('DEL', wanted[0])
        group.await_same()
        waiting.send(encode([wait.encode(), wanted[0], b'0']))
        wait_until('it waits', lambda: b.info('clients')['blocked_clients'] == '1')
        a.ok(*push)
        assert waiting.reply() == wanted
    held = group.await_same()
    assert b'wait2' not in held
    b.ok('CONFIG', 'SET', 'notify-keyspace-events', 'EA')
    waiting.call('PSUBSCRIBE', '__keyevent@0__:*')
    heard = []
    for cmd, event in ((('SET', 'k', 'v'), b'set'), (('INCR', 'n'), b'incrby'),
                       (('EXPIRE', 'k', '1000'), b'expire'), (('PERSIST', 'k'), b'persist'),
                       (('HSET', 'h', 'f', 'v'), b'hset'), (('RPUSH', 'l', 'v'), b'rpush'),
                       (('SADD', 's', 'm'), b'sadd'), (('ZADD', 'z', '1', 'm'), b'zadd'),
                       (('HDEL', 'h', 'f'), b'hdel'), (('DEL', 'k', 'n', 'l', 's'), b'del')):
        a.ok(*cmd)
        while not heard or heard[-1] != b'__keyevent@0__:' + event:
            heard.append(waiting.reply()[2])
    waiting.close()
    b.ok('CONFIG', 'SET', 'notify-keyspace-events', '')
    group.await_same()
    print('who waits at another member')


def cached_until_it_expires(a, told, tracks):
    """Lives the longer the later a machine comes to read it."""
    def invalid(key):
        while told.reply()[2] != [key.encode()]:
            pass
    life_ms, value = 100, None
    while value is None:
        life_ms *= 2
        key = 'cached:%d' % life_ms
        assert tracks.call('GET', key) is None
        a.ok('SET', key, 'short', 'PX', life_ms)
        invalid(key)
        value = tracks.call('GET', key)
    assert value == b'short'
    invalid(key)


def who_caches(group):
    """What other members write, and what expires, is not valid any more in clients' caches."""
    a, b, _ = group.up()
    told, tracks = Conn(b.server.socket_path), Conn(b.server.socket_path)
    number = told.call('CLIENT', 'ID')
    told.call('SUBSCRIBE', '__redis__:invalidate')
    assert tracks.call('CLIENT', 'TRACKING', 'ON', 'REDIRECT', number) == b'OK'
    a.ok('SET', 'cached', 1)
    a.ok('SADD', 'cached:u', 'x')
    group.await_same()
    for read, write in ((('GET', 'cached'), ('SET', 'cached', 2)),
                        (('GET', 'cached'), ('INCR', 'cached')),
                        (('SCARD', 'cached:u'), ('SADD', 'cached:u', 'y')),
                        (('SMEMBERS', 'cached:u'), ('DEL', 'cached:u'))):
        tracks.call(*read)
        a.ok(*write)
        assert told.reply() == [b'message', b'__redis__:invalidate', [read[1].encode()]], write
    cached_until_it_expires(a, told, tracks)
    told.close()
    tracks.close()
    group.await_same()
    print('who caches at another member')


def explain(member, *names):
    """The reply of EXPLAIN with its maps and those within."""
    top = pairs(member.ok('REPLGROUP', 'EXPLAIN', *names))

    def deep(name, value):
        if name in ('tag', 'since', 'of', 'up-to', 'removed-by', 'element') and value is not None:
            return {k: deep(k, v) for k, v in pairs(value).items()}
        if isinstance(value, list):
            return [{k: deep(k, v) for k, v in pairs(v).items()} for v in value]
        return value
    return {name: deep(name, value) for name, value in top.items()}


def why(group):
    """EXPLAIN. A peer that is down keeps `stable` where it is, so that what lost stays."""
    a, b, c = group.up()
    a.ok('DEL', 'why', 'why:n', 'why:kind', 'why:h', 'why:z', 'why:l')
    group.await_same()
    b.stop()
    c.stop()
    a.ok('SET', 'why', 'of a')
    a.ok('INCRBY', 'why:n', 5)
    a.ok('HSET', 'why:kind', 'f', 'v')
    a.ok('HSET', 'why:h', 'f', 'of a')
    a.ok('ZADD', 'why:z', 1.5, 'm')
    a.ok('RPUSH', 'why:l', 'x', 'y')
    a.stop()
    b.start()
    b.ok('SET', 'why', 'of b')
    b.ok('INCRBY', 'why:n', 7)
    b.ok('SET', 'why:kind', 'string')
    b.ok('HSET', 'why:h', 'f', 'of b')
    a.start()
    group.await_active([a, b])
    group.await_same([a, b])
    for m in (a, b):
        told = explain(m, 'why')
        won = told['value'].decode()
        lost = {'of a': 'of b', 'of b': 'of a'}[won]
        assert told['tag']['member'] == won[-1:].encode(), told
        fates = {v['value'].decode(): v for v in told['values']}
        assert fates[won]['outcome'] == b'shown' and fates[lost]['outcome'] == b'older', told
        assert fates[lost]['tag']['member'] == lost[-1:].encode()
        assert fates[won]['tag']['ms'] >= fates[lost]['tag']['ms'], told
        told = explain(m, 'why:n')
        assert told['value'] == b'12', told
        assert {c['tag']['member']: c['counted'] for c in told['counters']} == {b'a': 5, b'b': 7}
        told = explain(m, 'why:kind')
        lost = told['values'] if told['type'] == b'hash' else told['types']
        assert [v['outcome'] for v in lost] == [b'type-conflict'], told
        told = explain(m, 'why:h', 'f')
        assert told['type'] == b'hash' and told['value'] is None, told
        assert told['element']['value'] == m.ok('HGET', 'why:h', 'f'), told
        assert sorted(v['outcome'] for v in told['element']['values']) == [b'older', b'shown']
        assert explain(m, 'why:h', 'g')['element']['state'] == b'absent'
        assert explain(m, 'why:z', 'm')['element']['value'] == b'1.5'
        assert explain(m, 'why:l', '-1')['element']['value'] == b'y'
        assert explain(m, 'why:l', '2')['element']['state'] == b'absent'
        assert explain(m, 'nothing')['tier'] == b'none'
        told = explain(m, 'why')
        m.ok('DEBUG', 'RELOAD')
        cold = explain(m, 'why')
        assert told.pop('tier') == b'dram' and cold.pop('tier') == b'flash'
        assert told == cold, (told, cold)
    b.ok('PEXPIRE', 'why', 1)
    wait_until('it expires', lambda: explain(b, 'why')['state'] == b'expired')
    c.start()
    group.await_active()
    group.await_same()
    for m in (a, b, c):
        reply = m.call('REPLGROUP', 'EXPLAIN', 'why', 'x' * 70000)
        assert isinstance(reply, ErrorReply) and b'longer' in reply
    print('why a value won')


def digest(member):
    """One that all have answered: it gives up those that are silent for long."""
    told = []

    def complete():
        told[:] = [digest_now(member)]
        return told[0]['result'] != b'incomplete'
    wait_until(lambda: 'all answer a digest: %s' % told, complete)
    return told[0]


def digest_now(member):
    told = pairs(member.ok('REPLGROUP', 'DIGEST'))
    told['differing-keys'] = [pairs(k) for k in told['differing-keys']]
    told['missing'] = [pairs(k) for k in told['missing']]
    told['buckets'] = [pairs(k) for k in told['buckets']]
    return told


def digests(group):
    """Members that hold the same agree; one that does not is found, and the key."""
    a, b, c = group.up()
    for m in (a, b, c):
        m.ok('SET', 'ends:' + m.name, 'soon', 'PX', 5000)
    held = group.await_same()
    for m in (a, b, c):
        told = digest(m)
        assert told['result'] == b'agree', told
        assert sorted(told['members']) == [b'a', b'b', b'c'] and told['missing'] == [], told
        assert told['differing-buckets'] == told['moving-buckets'] == 0, told
        # All but what expires soon.
        assert told['keys'] <= len(held) and told['keys'] >= len(held) - 5, (told, len(held))
        assert told['damaged-rows'] == 0, told
    b.ok('DEBUG', 'RELOAD')
    assert digest(a)['result'] == b'agree'
    assert b.ok('GET', 'a:s:3') == b'value 3'
    b.ok('DEBUG', 'DIVERGE', 'a:s:3', 'not what was written')
    # A digest awaits what was logged, of this shard, and so what had changed before.
    b.ok('SET', '{a:s:3}after', 1)
    wait_until('it arrives', lambda: all(m.ok('EXISTS', '{a:s:3}after') for m in (a, c)))
    for m in (a, b, c):
        told = digest(m)
        assert told['result'] == b'differ', told
        assert [k['key'] for k in told['differing-keys']] == [b'a:s:3'], told
        others = [b'b'] if m is not b else [b'a', b'c']
        assert told['differing-keys'][0]['members'] == others, told
        assert told['buckets'][0]['members'] == others and told['differing-buckets'] == 1, told
    a.ok('SET', 'a:s:3', 'the same again')
    group.await_same()
    assert digest(c)['result'] == b'agree'
    c.pause()
    told = []

    def misses_c():
        told[:] = [digest_now(a)]
        assert told[0]['result'] == b'incomplete', told
        return [m['member'] for m in told[0]['missing']] == [b'c']
    wait_until(lambda: 'only c does not answer: %s' % told, misses_c)
    c.resume()
    group.await_active()
    print('digests agree, and tell where they do not')


def complete(done):
    return None if 'incomplete' in done[1] else done


def operators(group):
    """tierra-ctl group, against a member."""
    a = group.up()[0]
    program = os.path.join(os.path.dirname(group.program), 'tierra-ctl')

    def ctl(*args):
        done = subprocess.run([program, '-t', '600', '-s', a.server.socket_path] + list(args),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return done.returncode, done.stdout.decode()
    code, text = ctl('group', 'members')
    rows = [line.split() for line in text.splitlines()]
    assert code == 0 and rows[0][0] == 'name', text
    assert sorted(r[0] for r in rows[1:]) == ['a', 'b', 'c'], text  # By who joined first.
    code, text = ctl('group', 'status')
    assert code == 0 and ['state', 'active'] in [line.split() for line in text.splitlines()], text
    code, text = ctl('--json', 'group', 'lag')
    assert code == 0 and {lag['peer'] for lag in json.loads(text)} == {'b', 'c'}, text
    a.ok('HSET', b'odd \xff', 'f', 'v')
    code, text = ctl('--json', 'group', 'explain', 'why:h', 'f')
    told = json.loads(text)
    assert code == 0 and told['type'] == 'hash', text
    assert told['element']['value'].encode() == a.ok('HGET', 'why:h', 'f'), text
    assert told['element']['tag']['member'] in 'ab', text
    code, text = ctl('group', 'explain', 'why:h', 'f')
    assert code == 0 and '@%s' % told['element']['tag']['member'] in text, text
    group.await_same()
    code, text = wait_until('all answer a digest', lambda: complete(
        ctl('--json', 'group', 'digest')))
    assert code == 0 and json.loads(text)['result'] == 'agree', text
    a.ok('SET', 'a:s:4', 'x')
    group.await_same()
    a.ok('DEBUG', 'DIVERGE', 'a:s:4', 'y')
    a.ok('SET', '{a:s:4}after', 2)
    code, text = wait_until('all answer a digest', lambda: complete(ctl('group', 'digest')))
    assert code == 1 and 'key=a:s:4' in text, text
    a.ok('SET', 'a:s:4', 'z')
    code, text = ctl('group', 'flush', 'mars')
    assert code == 1 and 'REPLGROUP FLUSH earth' in text, text
    for wrong in (('group',), ('group', 'flush'), ('group', 'explain'), ('group', 'gossip')):
        code, text = ctl(*wrong)
        assert code == 2, (wrong, text)
    print('tierra-ctl group')


def stands_alone(group):
    """A node of no group says so."""
    node = Server(group.program, os.path.join(group.work, 'alone'), group.work, {})
    assert node.wait_ready() is not None, node.log_text()
    conn = Conn(node.socket_path)
    for words in (('STATUS',), ('EXPLAIN', 'k'), ('DIGEST',), ('LEAVE',)):
        reply = conn.call('REPLGROUP', *words)
        assert isinstance(reply, ErrorReply) and b'in no replication group' in reply, reply
    conn.close()
    assert node.stop() == 0
    print('a node that stands alone')


def refused_commands(group):
    a = group.up()[0]
    for command, word in ((('FLUSHALL',), b'REPLGROUP FLUSH'), (('FLUSHDB',), b'REPLGROUP FLUSH'),
                          (('SAVE',), b'op log'), (('BGSAVE',), b'op log'),
                          (('BGREWRITEAOF',), b'op log'), (('SWAPDB', 0, 1), b'database 0'),
                          (('MOVE', 'k', 1), b'RENAME'),
                          (('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru'), b'noeviction'),
                          (('CONFIG', 'SET', 'appendfsync', 'no'), b'everysec'),
                          (('CONFIG', 'SET', 'save', '60 1'), b'op log'),
                          (('REPLGROUP', 'FLUSH'), b'REPLGROUP FLUSH earth'),
                          (('REPLGROUP', 'FLUSH', 'mars'), b'REPLGROUP FLUSH earth'),
                          (('REPLGROUP', 'FORCE-UNLINK', 'nobody'), b'nobody'),
                          (('REPLGROUP', 'FORCE-UNLINK', 'a'), b'LEAVE')):
        reply = a.call(*command)
        assert isinstance(reply, ErrorReply) and word in reply, (command, reply)
    print('commands that a group has no use for')


def flush_is_watched(b):
    """It has an ACL entry of its own, and the log tells who did it, or tried to."""
    b.ok('ACL', 'SETUSER', 'operator', 'on', '>secret', '+@all', '-replgroup|flush')
    b.ok('ACL', 'SETUSER', 'flusher', 'on', '>secret', '+replgroup|flush')
    try:
        b.ok('AUTH', 'operator', 'secret')
        assert b.call('REPLGROUP', 'STATUS')
        reply = b.call('REPLGROUP', 'FLUSH', 'earth')
        assert isinstance(reply, ErrorReply) and b'NOPERM' in reply, reply
        assert b"'replgroup|flush'" in reply, reply
        wait_until('the denial is in the log', lambda: 'replgroup|flush outcome=denied by=operator'
                   in b.server.log_text())
        b.ok('AUTH', 'flusher', 'secret')
        assert b'NOPERM' in b.call('REPLGROUP', 'STATUS')
        b.ok('REPLGROUP', 'FLUSH', 'earth')
        wait_until('the flush is in the log', lambda: 'REPLGROUP FLUSH outcome=ok by=flusher'
                   in b.server.log_text())
    finally:
        b.ok('AUTH', 'default', '')


def flush(group):
    a, b, c = group.up()
    flush_is_watched(b)
    for m in (a, b, c):
        wait_until('%s is empty' % m.name, lambda m=m: m.call('DBSIZE') == 0)
        wait_until('%s writes again: %s' % (m.name, m.status()),
                   lambda m=m: m.status()['writes'] == b'ok')
    a.ok('SET', 'after the flush', 1)
    assert group.await_same() == {b'after the flush': b'1'}
    b.kill()
    b.start()
    group.await_active()
    assert group.await_same() == {b'after the flush': b'1'}
    print('flush empties all')


def joins_later(group):
    """A member that comes to a group with data."""
    a = group.up()[0]
    fill(a, 'before')
    (d,) = group.make(['d'])
    d.start()
    group.await_active()
    d.ok('INCR', 'from d')
    held = group.await_same()
    assert held[b'from d'] == b'1' and len(held) >= 56
    d.kill()
    d.start()
    group.await_active()
    assert group.await_same() == held
    print('a fourth member got everything')


def unlink(group):
    a, b, c, d = group.up()
    d.kill()
    a.ok('REPLGROUP', 'FORCE-UNLINK', 'd')
    for m in (a, b, c):
        wait_until('%s knows: %s' % (m.name, m.members()),
                   lambda m=m: m.members()['d']['member-state'] == b'unlinked')
    a.ok('SET', 'without d', 1)
    group.await_same([a, b, c])
    d.start()
    # Its shards know, too: what they say first is that it is no member yet.
    wait_until(lambda: 'd is fenced: %s' % d.status(),
               lambda: d.status()['state'] == b'unlinked' and b'delete' in d.status()['writes'])
    reply = d.call('SET', 'x', 1)
    assert isinstance(reply, ErrorReply) and b'delete' in reply, reply
    d.stop()
    print('an unlinked member fences itself')


def leave(group):
    a, b, c = [m for m in group.up() if m.name in 'abc']
    c.ok('SET', 'last words', 'of c')
    c.ok('REPLGROUP', 'LEAVE')
    wait_until(lambda: 'c has left: %s' % c.status(), lambda: c.status()['state'] == b'left')
    assert isinstance(c.call('SET', 'x', 1), ErrorReply)
    c.stop()
    held = group.await_same([a, b])
    assert held[b'last words'] == b'of c'
    print('a member left')


def refused_starts(group, shards):
    (e,) = group.make(['e'])
    e.extra = {'maxmemory': '300mb', 'member-name': 'e'}
    e.start()
    wait_until(lambda: 'e is told why: %s' % e.status(),
               lambda: b'maxmemory' in e.status()['refused'])
    e.stop()
    e.extra = {'maxmemory-policy': 'allkeys-lru'}
    code, text = e.refused()
    assert code == 2 and 'noeviction' in text, (code, text)
    e.extra = {'member-name': 'nobody'}
    code, text = e.refused()
    assert code == 2 and 'linked-databases' in text, (code, text)
    e.extra = {'group-secret-file': '/nonexistent'}
    code, text = e.refused()
    assert code == 2 and '/nonexistent' in text, (code, text)
    e.extra = {'linked-databases': 'e=127.0.0.1'}
    code, text = e.refused()
    assert code == 2 and 'NAME=HOST:PORT' in text, (code, text)
    e.extra = {'group-nickname': 'mars'}
    code, text = e.refused()
    assert code in (2, 3) and 'earth' in text, (code, text)
    weak = os.path.join(group.work, 'other')
    with open(os.open(weak, os.O_CREAT | os.O_WRONLY, 0o600), 'w', encoding='ascii') as file:
        file.write('0' * 64)
    e.extra = {'group-secret-file': weak}
    e.start()
    wait_until('the log tells of the secret', lambda: 'secret' in e.server.log_text())
    e.stop()
    print('starts that are refused (%d shards)' % shards)


def run(args):
    options = {'maxmemory': '2gb'}  # Sanitizers take more than any budget of a test.
    if args.shards > 1:
        options.update({'clustering-policy': 'enterprise', 'shards': args.shards})
    with Group(args.server, args.work, options) as group:
        for m in group.make(['a', 'b', 'c']):
            m.start()
        group.await_active()
        both_directions(group)
        link_counters(group)
        transactions(group)
        restarts(group)
        concurrent(group)
        who_waits(group)
        who_caches(group)
        why(group)
        digests(group)
        operators(group)
        refused_commands(group)
        flush(group)
        joins_later(group)
        unlink(group)
        leave(group)
        refused_starts(group, args.shards)
        stands_alone(group)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run, lambda p: p.add_argument('--shards', type=int, default=1)))
