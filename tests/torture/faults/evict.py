#!/usr/bin/env python3
"""maxmemory-policy: keys are evicted from both tiers when maxflash is nearly reached.

Under each policy twice what fits is written. With victims nothing is refused and the
directory stays small; what is left are keys as they were written, and after a restart exactly the
same ones. Without victims (volatile-* and no key with an expiry) growth is refused with -OOM, as
under noeviction. OBJECT FREQ and IDLETIME answer under the policies that count what they tell.
"""

import sys

from faultlib import MB, WAIT_S, Fixture, main_of, tree_bytes, wait_until

MAXFLASH = 64 * MB
OVERSHOOT = 1.25
WRITES = 2 * MAXFLASH // 4096


def write(fix, first, count, ttl):
    """SETs, with an expiry far away if `ttl`; the first refusal, or None."""
    for at in range(first, first + count, 64):
        keys = [b'key:%d' % i for i in range(at, at + 64)]
        tail = (b'EX', b'100000') if ttl else ()
        replies = fix.conn.pipeline([(b'SET', key, fix.value(key, 1)) + tail for key in keys], 64)
        for key, reply in zip(keys, replies):
            if reply != b'OK':
                return reply
            fix.model[key] = 1
        if at % 4096 == 0:
            size = tree_bytes(fix.data)
            assert size <= MAXFLASH * OVERSHOOT, 'the directory grew to %.1f MB' % (size / MB)
    return None


def living(fix):
    """The keys that are left, each with the value that was written."""
    keys = sorted(fix.model)
    values = fix.conn.pipeline([(b'GET', key) for key in keys])
    for key, value in zip(keys, values):
        assert value is None or value == fix.value(key, 1), (key, value[:40])
    return {key for key, value in zip(keys, values) if value is not None}


def evicted(fix):
    return int(fix.info('stats', 'evicted_keys'))


def settled(fix):
    """The keys that are left when nothing is evicted any more."""
    found = [set()]

    def still():
        before = evicted(fix)
        found[0] = living(fix)
        return evicted(fix) == before and len(found[0]) == fix.conn.call('DBSIZE')

    wait_until('evictions end', WAIT_S, still)
    return found[0]


def policy_evicts(fix, policy):
    conn = fix.conn
    assert conn.call('CONFIG', 'SET', 'maxmemory-policy', policy) == b'OK'
    before = evicted(fix)
    refusal = write(fix, len(fix.model), WRITES, policy.startswith('volatile'))
    assert refusal is None, '%s: %r' % (policy, refusal)
    assert evicted(fix) > before, policy
    wait_until('evictions end', WAIT_S,
               lambda: fix.info('stats', 'current_eviction_exceeded_time') == '0')
    left = settled(fix)
    print('%s: %d of %d keys left, directory %.1f MB' % (
        policy, len(left), len(fix.model), tree_bytes(fix.data) / MB))
    assert len(left) * fix.value_len > MAXFLASH // 16, 'too much was evicted'
    assert int(fix.info('stats', 'total_eviction_exceeded_time')) > 0


def no_victims(fix):
    """Keys without an expiry fill it; volatile-* may evict none of them."""
    conn = fix.conn
    assert conn.call('FLUSHALL') == b'OK'
    fix.model = {}
    assert conn.call('CONFIG', 'SET', 'maxmemory-policy', 'volatile-lru') == b'OK'
    before = evicted(fix)
    refusal = write(fix, 0, WRITES, False)
    assert refusal and refusal.startswith(b'OOM ') and b'maxflash' in refusal, refusal
    assert evicted(fix) == before
    assert living(fix) == set(fix.model)


def object_commands(fix):
    conn = fix.conn
    assert conn.call('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lfu') == b'OK'
    # It would count one less where a minute ends.
    assert conn.call('CONFIG', 'SET', 'lfu-decay-time', '0') == b'OK'
    conn.call('SET', 'often', 'x')
    assert conn.call('OBJECT', 'FREQ', 'often') == 5
    conn.call('GET', 'often')
    assert conn.call('OBJECT', 'FREQ', 'often') == 6
    assert conn.call('CONFIG', 'SET', 'lfu-decay-time', '1') == b'OK'
    assert b'idle time not tracked' in conn.call('OBJECT', 'IDLETIME', 'often')
    assert conn.call('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru') == b'OK'
    conn.call('SET', 'often', 'y')
    assert conn.call('OBJECT', 'IDLETIME', 'often') <= 60
    assert b'access frequency not tracked' in conn.call('OBJECT', 'FREQ', 'often')
    assert conn.call('OBJECT', 'FREQ', 'absent') is None
    conn.call('DEL', 'often')


def run(args):
    options = {'maxflash': MAXFLASH, 'maxmemory': '256mb', 'appendfsync': 'no'}
    fix = Fixture(args, options, 'evict')
    try:
        fix.start()
        object_commands(fix)
        for policy in ('volatile-ttl', 'allkeys-lru', 'allkeys-lfu', 'allkeys-random'):
            policy_evicts(fix, policy)
        assert fix.conn.call('CONFIG', 'SET', 'maxmemory-policy', 'noeviction') == b'OK'
        left = settled(fix)
        assert fix.server.kill() is None, 'the server ended by itself'
        fix.start()
        assert living(fix) == left, 'not the keys of before the kill'
        no_victims(fix)
        code = fix.stop()
        assert code == 0, 'exit code %s' % code
    except BaseException:
        fix.fail()
        raise
    fix.finish()


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
