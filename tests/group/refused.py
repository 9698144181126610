#!/usr/bin/env python3
"""Who is not let into a group, or cannot become a part of it: a sixth member, other numbers of
shards, a shard without a clock. Each says so, and how it ends.

usage: refused.py --server tierra-server
"""

import os
import sys

from grouplib import ErrorReply, Group, main_of, wait_until

OPTIONS = {'maxmemory': '2gb', 'clustering-policy': 'enterprise', 'shards': 2}


def await_refusal(member, *words):
    """It is told why it is not let in, in one text."""
    wait_until(lambda: '%s is refused with %s: %s' % (member.name, words, member.status()),
               lambda: all(word in member.status()['refused'] for word in words))
    assert member.status()['state'] == b'seeking', member.status()
    reply = member.call('SET', 'k', 'v')
    assert isinstance(reply, ErrorReply) and b'REPLGROUP STATUS' in reply, reply


def sixth(group):
    """Five are in: one more waits until one of them is unlinked."""
    members = group.up()
    assert len(members) == 5
    (f,) = group.make(['f'])
    f.start()
    await_refusal(f, b'has 5 members', b'unlink one')
    for m in members:
        m.ok('SET', 'by ' + m.name, 'v')
    group.await_same(members)
    assert all('f' not in m.members() for m in members)
    e = members[4]
    e.kill()
    members[0].ok('REPLGROUP', 'FORCE-UNLINK', 'e')
    group.await_active([f])
    f.ok('SET', 'by f', 'v')
    held = group.await_same()
    assert len(held) == 6, held
    print('a sixth member waits for its place')
    f.kill()
    members[1].ok('REPLGROUP', 'FORCE-UNLINK', 'f')


def other_shards(group):
    """Other numbers of shards: both are named."""
    (g,) = group.make(['g'])
    g.extra['shards'] = 3
    g.start()
    await_refusal(g, b'shards is 3 here and 2 in the group')
    g.stop()
    print('other numbers of shards')


def no_clock(group):
    """A member whose shard cannot keep its lease: it says that it has failed, not that it waits;
    once mended, and started anew, it gets in. What is in its way is there before the group is."""
    a, b = group.make(['x', 'y'])
    a.extra['linked-databases'] = 'x=%s' % a.address
    b.extra['linked-databases'] = 'x=%s y=%s' % (a.address, b.address)
    b.start()
    lease = os.path.join(b.data, 'shard-001', 'lease')
    os.mkdir(lease)
    a.start()
    wait_until(lambda: 'the shard has failed: %s' % b.status(),
               lambda: b'could not become one of the group' in b.status()['writes'])
    # It stays so: a report that has failed, and a member that never has all rows.
    assert b.status()['state'] == b'joining', b.status()
    assert 'could not become one of the group' in b.info()['writes'], b.info()
    assert lease in b.server.log_text(), b.server.log_text()
    failed = [key for key in map(str, range(20)) if b'could not become' in b.call('SET', key, 'v')]
    assert 0 < len(failed) < 20, failed
    b.stop()
    os.rmdir(lease)
    b.start()
    group.await_active([a, b])
    a.ok('SET', 'k', 'v')
    assert group.await_same([a, b]) == {b'k': b'v'}
    print('a shard that failed says so')


def run(args):
    with Group(args.server, args.work, dict(OPTIONS)) as other:
        no_clock(other)
    with Group(args.server, args.work, dict(OPTIONS)) as group:
        for m in group.make(['a', 'b', 'c', 'd', 'e']):
            m.start()
        group.await_active()
        sixth(group)
        other_shards(group)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
