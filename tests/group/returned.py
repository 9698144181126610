#!/usr/bin/env python3
"""A member that comes back with an older copy of its directory. It never gives a sequence number
twice while a peer can be reached, whatever its clients ask.

usage: returned.py --server tierra-server
"""

import os
import shutil
import sys

from grouplib import ErrorReply, Group, fill, main_of, wait_until

# Longer than any start: what ends the wait is that the peers have been heard.
OPTIONS = {'group-restart-wait': 600000}


def copy_of(member):
    """A copy of its directory as it is now."""
    member.stop()
    shutil.copytree(member.data, member.data + '.old')
    member.start()


def put_back(member):
    shutil.rmtree(member.data)
    os.rename(member.data + '.old', member.data)


def peers_remember(group):
    """The others know what it had acknowledged: it is told, and writes nothing."""
    a, b, c = group.up()
    copy_of(c)
    group.await_active()
    for i in range(20):
        c.ok('INCR', 'mine')
        a.ok('SET', 'theirs', i)
    held = group.await_same()
    assert held[b'mine'] == b'20', held
    c.kill()
    put_back(c)
    c.start()

    def told():
        reply = c.call('INCR', 'mine')
        assert isinstance(reply, ErrorReply), reply
        return b'older copy' in reply and reply
    wait_until(lambda: 'c is told: %s\n%s' % (c.status(), c.server.log_text()), told)
    wait_until(lambda: 'its state says so: %s' % c.status(),
               lambda: b'older copy' in c.status()['writes'])
    for m in (a, b):
        assert m.ok('GET', 'mine') == b'20', m.name
    # What it says is to be done.
    c.stop()
    a.ok('REPLGROUP', 'FORCE-UNLINK', 'c')
    shutil.rmtree(c.data)
    c.start()
    group.await_active()
    assert c.ok('INCR', 'mine') == 21
    assert group.await_same()[b'mine'] == b'21'
    print('peers remember: it writes nothing')


def peers_restarted(group):
    """Nobody remembers what it had acknowledged, but its writes are there: it fetches them."""
    a, b, c = group.up()
    copy_of(c)
    group.await_active()
    for _ in range(20):
        c.ok('INCR', 'again')
    group.await_same()
    for m in (a, b, c):
        m.kill()
    put_back(c)
    c.start()
    reply = c.call('INCR', 'again')
    assert isinstance(reply, ErrorReply) and reply.startswith(b'LOADING this member'), reply
    a.start()
    b.start()
    group.await_active()
    assert c.ok('INCR', 'again') == 21
    assert group.await_same()[b'again'] == b'21'
    print('peers restarted: it has its writes back before it writes')


def run(args):
    with Group(args.server, args.work, dict(OPTIONS)) as group:
        for m in group.make(['a', 'b', 'c']):
            m.start()
        group.await_active()
        fill(group.up()[0], 'a')
        peers_remember(group)
        peers_restarted(group)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
