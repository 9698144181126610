#!/usr/bin/env python3
"""A member whose disk is not what its peers know: with an older copy of its directory, or with
none. It never gives a sequence number twice while a peer can be reached, and comes back by itself
as a new incarnation, with a copy of the group's data.

usage: returned.py --server tierra-server
"""

import glob
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

from grouplib import Conn, ErrorReply, Group, ServerGone, fill, main_of, pairs, wait_until

# Longer than any start: what ends the wait is that the peers have been heard.
OPTIONS = {'group-restart-wait': 600000, 'store-memtable-bytes': '1mb'}
FILLER = 'x' * 300000


def copy_of(member):
    """A copy of its directory as it is now."""
    member.stop()
    shutil.copytree(member.data, member.data + '.old')
    member.start()


def put_back(member):
    shutil.rmtree(member.data)
    os.rename(member.data + '.old', member.data)


def reconnect(member):
    """To the process that a member has started again as, if it has."""
    try:
        return member.status()
    except (ServerGone, OSError):
        member.conn.close()
    try:
        member.conn = Conn(member.server.socket_path)
        return member.status()
    except (ServerGone, OSError):
        return None


def is_back(member):
    s = reconnect(member)
    return s is not None and s['state'] == b'active' and s['writes'] == b'ok'


def await_anew(group, member, old, refuses=True):
    """It becomes another incarnation by itself, and writes nothing before."""
    origin = old['origin']

    def is_new():
        s = reconnect(member)
        if s is None or s['origin'] in (0, origin):
            if s is not None and refuses:
                try:
                    reply = member.call('SET', 'too soon', 'v')
                    if not isinstance(reply, ErrorReply):
                        # It has become one meanwhile.
                        assert member.status()['origin'] not in (0, origin), reply
                        member.ok('DEL', 'too soon')
                except (ServerGone, OSError):
                    pass
            return False
        return s['state'] == b'active' and s['writes'] == b'ok'
    wait_until(lambda: '%s is a new incarnation: %s\n%s' % (
        member.name, reconnect(member), member.server.log_text()[-4000:]), is_new)
    group.await_active()
    for m in group.up():
        wait_until(lambda m=m: 'all agree: %s' % m.call('REPLGROUP', 'DIGEST'),
                   lambda m=m: b'agree' in m.call('REPLGROUP', 'DIGEST'))


def asides(member):
    return glob.glob(os.path.join(member.data, 'aside-*'))


def older_copy(group, members):
    """The others know what it had acknowledged: it writes nothing, and begins anew."""
    c = members[-1]
    copy_of(c)
    group.await_active()
    for i in range(20):
        c.ok('INCR', 'mine')
        members[0].ok('SET', 'theirs', i)
    held = group.await_same()
    old = c.status()
    c.kill()
    put_back(c)
    c.start()
    await_anew(group, c, old)
    assert group.await_same() == held
    assert len(asides(c)) == 1, asides(c)
    assert os.path.exists(os.path.join(asides(c)[0], 'GROUP')), os.listdir(asides(c)[0])
    assert c.ok('INCR', 'mine') == int(held[b'mine']) + 1
    group.await_same()
    print('%d members: an older copy begins anew' % len(members))


def peers_killed(group, members):
    """Whether they remember what it had acknowledged depends on what they had written to their
    stores by then. If not, it fetches its writes; if they do, it has them as a new incarnation."""
    c = members[-1]
    copy_of(c)
    group.await_active()
    for _ in range(20):
        c.ok('INCR', 'again')
    group.await_same()
    old = c.status()
    for m in members:
        m.kill()
    put_back(c)
    c.start()
    reply = c.call('INCR', 'again')
    assert isinstance(reply, ErrorReply) and reply.startswith(b'LOADING this member'), reply
    for m in members[:-1]:
        m.start()
    wait_until(lambda: '%s is back: %s\n%s' % (c.name, reconnect(c), c.server.log_text()[-4000:]),
               lambda: is_back(c))
    assert c.ok('INCR', 'again') == 21
    group.await_active()
    assert group.await_same()[b'again'] == b'21'
    print('peers killed: it has its writes back before it writes, as %s' % (
        'itself' if c.status()['origin'] == old['origin'] else 'another'))


def removals(member, *names):
    """What is kept of those of a key, or an element, as not all have acknowledged them yet."""
    told = pairs(member.ok('REPLGROUP', 'EXPLAIN', *names))
    if len(names) > 1:
        told = pairs(told['element'])
    return told['floors'] + told['removals']


def peers_restarted(group, members):
    """Of what was removed nothing is left at its peers, not even how far its counts had come, for
    it had acknowledged the removal. They restart; upon an older copy, alone, it goes on with these
    counts. The peers still know what it had acknowledged: nothing of that comes back."""
    c = members[-1]
    removed = (('{g}n',), ('{g}h', 'f'))
    c.ok('INCRBY', '{g}n', 5)
    c.ok('HSET', '{g}h', 'stays', 'v')
    c.ok('HINCRBY', '{g}h', 'f', 5)
    group.await_same()
    copy_of(c)
    group.await_active()
    members[0].ok('DEL', '{g}n')
    members[0].ok('HDEL', '{g}h', 'f')
    group.await_same()

    def collected():
        # What the store has persistently counts: that goes on as its buffers are filled.
        members[0].ok('SET', '{g}filler', FILLER)
        for m in members[:-1]:
            m.ok('DEBUG', 'RELOAD')
        return not any(removals(m, *names) for m in members[:-1] for names in removed)
    wait_until(lambda: 'all is collected: %s' % [
        (m.name, removals(m, *names)) for m in members[:-1] for names in removed], collected)
    members[0].ok('DEL', '{g}filler')
    held = group.await_same()
    old = c.status()
    c.kill()
    for m in members[:-1]:
        m.stop()
    put_back(c)
    c.extra['group-restart-wait'] = 0
    c.start()
    wait_until('it writes alone', c.is_active)
    assert c.ok('INCR', '{g}n') == 6
    assert c.ok('HINCRBY', '{g}h', 'f', 1) == 6
    del c.extra['group-restart-wait']
    for m in members[:-1]:
        m.start()
    await_anew(group, c, old, refuses=False)
    assert group.await_same() == held
    print('peers restarted: what it had acknowledged to be removed does not come back')


def wrote_alone(group, members):
    """Upon an older copy it wrote while no peer could be reached: they have other writes under
    the same numbers, made as soon after the copy. Those that it acknowledged are set aside, all
    others are there."""
    c = members[-1]
    copy_of(c)
    group.await_active()
    for _ in range(5):
        c.ok('INCR', '{f}forked')
    held = group.await_same()
    old = c.status()
    for m in members:
        m.kill()
    put_back(c)
    c.extra['group-restart-wait'] = 0
    c.start()
    wait_until('it writes alone', c.is_active)
    for _ in range(9):
        c.ok('INCR', '{f}elsewhere')
    del c.extra['group-restart-wait']
    for m in members[:-1]:
        m.start()
    await_anew(group, c, old, refuses=False)
    assert group.await_same() == held
    print('what was written upon an older copy, alone, is set aside')


def empty_directory(group, members, which):
    """Nothing is left of it: it takes its own place."""
    m = members[which]
    old = m.status()
    held = group.await_same()
    m.kill()
    shutil.rmtree(m.data)
    os.mkdir(m.data)
    # The first, too, has to know whom to ask.
    m.extra['linked-databases'] = ' '.join('%s=%s' % (o.name, o.address) for o in members)
    m.start()
    await_anew(group, m, old)
    assert group.await_same() == held
    m.ok('SET', 'by ' + m.name, len(members))
    group.await_same()
    print('%d members: one without its data takes its place anew' % len(members))


def three_members(args):
    with Group(args.server, args.work, {**OPTIONS, **args.options}) as group:
        members = [m.start() for m in group.make(['a', 'b', 'c'])]
        group.await_active()
        fill(members[0], 'a')
        older_copy(group, members)
        peers_killed(group, members)
        peers_restarted(group, members)
        wrote_alone(group, members)
        empty_directory(group, members, 1)
        empty_directory(group, members, 0)  # The one that would found.


def two_members(args):
    with Group(args.server, args.work, {**OPTIONS, **args.options}) as group:
        members = [m.start() for m in group.make(['x', 'y'])]
        group.await_active()
        fill(members[0], 'a')
        older_copy(group, members)
        empty_directory(group, members, 1)


def run(args):
    # Most of the time each waits for what takes seconds by design.
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(two_members, args), pool.submit(three_members, args)]:
            done.result()


def add_options(parser):
    parser.add_argument('--shards', type=int)


def run_with(args):
    args.options = {}
    if args.shards:
        args.options = {'maxmemory': '2gb', 'clustering-policy': 'enterprise',
                        'shards': args.shards}
    run(args)


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run_with, add_options))
