#!/usr/bin/env python3
"""Members that cannot reach each other unlink each other: two against one, one against one, with
and without FORCE. What becomes of each side when they meet again, and how both go on.

usage: apart.py --server tierra-server
"""

import os
import shutil
import sys

from grouplib import ErrorReply, Group, agree, main_of, wait_until
from ways import OPEN, Ways

# For so long a member says that it is apart from another one that it does not hear any more.
APART_SECONDS = 60


def start(group, members):
    for m in members:
        m.start()
        group.await_active([m])
    group.await_active(members)


def write(members, what):
    """Something of each, and a conflict."""
    for m in members:
        m.ok('SET', '%s:%s' % (what, m.name), m.name)
        m.ok('SET', what, m.name)
        m.ok('INCR', 'count')


def await_state(member, name, state):
    """Of the last member with that name."""
    wait_until(lambda: '%s: %s is %s: %s' % (member.name, name, state, member.members()),
               lambda: member.members()[name]['member-state'] == state)


def await_apart(member, *names):
    """It says that there are two groups now, whose the other is, and what can be done."""
    def apart():
        text = member.status()['apart']
        return text and all(b' %s' % n.encode() in text for n in names) and text
    text = wait_until(lambda: '%s is apart from %s: %s\n%s' % (
        member.name, names, member.status(), member.server.log_text()[-2000:]), apart)
    assert b'deleted' in text, text
    wait_until(lambda: 'INFO says so: %s' % member.info(),
               lambda: text.decode() == member.info()['apart'])
    wait_until(lambda: '%s goes on by itself: %s' % (member.name, member.status()),
               member.is_active)


def await_together(members):
    """None says that there are two groups. Of one that is not heard any more they forget it by
    themselves, but later."""
    for m in members:
        wait_until(lambda m=m: '%s is in one group: %s' % (m.name, m.status()),
                   lambda m=m: m.status()['apart'] == b'', APART_SECONDS - 5)


def recreate(group, member):
    member.stop()
    shutil.rmtree(member.data)
    os.mkdir(member.data)
    member.start()
    group.await_active([member])


def minority_asks(group, ways, members):
    """The one that is alone asks for what the majority decides: it is out, and says so."""
    a, b, c = members
    ways.isolate(c)
    write(members, 'minority')
    reply = c.call('REPLGROUP', 'FORCE-UNLINK', 'a', 'b')
    assert isinstance(reply, ErrorReply) and b'FORCE' in reply, reply
    c.ok('REPLGROUP', 'FORCE-UNLINK', 'a')
    wait_until(lambda: 'c waits for b: %s' % c.status(), lambda: b' b' in c.status()['waits'])
    # Until it has lasted too long.
    assert c.members()['a']['link-state'] in (b'Unlinking', b'UnlinkFailed'), c.members()
    a.ok('REPLGROUP', 'FORCE-UNLINK', 'c')
    for m in (a, b):
        await_state(m, 'c', b'unlinked')
    ways.all(OPEN)
    wait_until(lambda: 'c is out: %s' % c.status(), lambda: c.status()['state'] == b'unlinked')
    for _ in range(2):
        wait_until(lambda: 'c says what to do: %s' % c.status(),
                   lambda: b'delete its data directory' in c.status()['writes'])
        reply = c.call('SET', 'k', 'v')
        assert isinstance(reply, ErrorReply) and b'delete its data directory' in reply, reply
        assert c.ok('GET', 'minority:c') == b'c'  # To be read, until it is deleted.
        c.kill()
        c.start()
    held = group.await_same([a, b])
    assert b'minority:c' not in held and held[b'count'] == b'2', held
    await_together(members)
    agree([a, b])
    print('two against one: it is out')


def both_force(group, ways, members, alone, rest):
    """Each side is a group of its own from then on."""
    for m in rest:
        ways.isolate(m)
    ways.isolate(alone)
    ways.between(rest, rest, OPEN)
    write(members, 'forced')
    names = [m.name for m in rest]
    alone.ok('REPLGROUP', 'FORCE-UNLINK', *names, 'FORCE')
    rest[0].ok('REPLGROUP', 'FORCE-UNLINK', alone.name, *(['FORCE'] if len(rest) == 1 else []))
    for name in names:
        await_state(alone, name, b'unlinked')
    for m in rest:
        await_state(m, alone.name, b'unlinked')
    write(members, 'later')
    ways.all(OPEN)
    for m in rest:
        await_apart(m, alone.name)
    await_apart(alone, *names)
    held = group.await_same(rest)
    other = alone.contents()
    assert held[b'forced'] != other[b'forced'] and b'later:' + alone.name.encode() not in held
    # Started anew, they find it again.
    alone.kill()
    alone.start()
    write([alone], 'last')
    await_apart(alone, *names)
    assert alone.ok('GET', 'last') == alone.name.encode()
    agree(rest)
    # What it said to do.
    recreate(group, alone)
    held = group.await_same(members)
    assert b'last' not in held
    await_together(members)
    agree(members)
    print('%d against one, both by force: two groups, then one again' % len(rest))


def run(args):
    with Group(args.server, args.work, {'maxmemory': '2gb'}) as group:
        ways = Ways(group)
        a, b, c = ways.make(['a', 'b', 'c'])
        start(group, [a, b, c])
        minority_asks(group, ways, [a, b, c])
        c.stop()
        both_force(group, ways, [a, b], b, [a])
        c.start()
        recreate(group, c)
        both_force(group, ways, [a, b, c], c, [a, b])


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
