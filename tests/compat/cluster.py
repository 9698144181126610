#!/usr/bin/env python3
"""clustering-policy oss: the shards of one tierra-server as nodes of a Redis Cluster.

What clients send is compared with a cluster of two redis-servers that have the same slots: replies,
redirections, errors. Then what only we have: keys of slots on both tiers, addresses that are
announced, ids over restarts, Unix sockets; and the tools: redis-cli -c and --cluster,
redis-benchmark --cluster, and redis-py's cluster client if it is there.

usage: cluster.py --server SERVER [--part compare|alone|tools]
"""

import argparse
import os
import re
import shutil
import subprocess
import sys

from clusterlib import (
    WAIT_SECONDS_MAX, Client, Redis, Tierra, first_slot, ids_of, wait_until)
from diff_cmds import Conn, flat

failed = 0


def check(what, got, wanted):
    global failed
    if got != wanted:
        failed += 1
        print('%s: wanted %r, got %r' % (what, wanted, got))


# --- beside redis-server ---

# Client, node, command. A client is one connection at one node. '<' reads a message. Keys: a is the
# second node's; b, c, {b}.. the first one's, b and c of different slots.
TALK = """
a 0 GET a
a 0 SET b 1
a 0 SET c 2
a 1 GET b
a 1 SET a 3
a 0 MGET b c
a 0 MSET a 1 b 2
a 0 MSETNX b 1 c 2
a 0 MSET {b}1 1 {b}2 2
a 0 MGET b {b}1 {b}2
a 1 MGET b {b}1
a 0 DEL a b
a 0 EXISTS b c
a 0 TOUCH b c
a 0 UNLINK {b}1 b1
a 0 RENAME b c
a 0 COPY b c
a 0 COPY b {b}4
a 0 SUNION b c
a 0 SINTERCARD 2 b c
a 0 ZUNIONSTORE b 2 c d
a 0 GEORADIUS b 0 0 1 km STORE c
a 0 BLPOP b c 0
a 0 BLPOP a 0
a 0 BLMPOP 0 1 a LEFT
a 0 OBJECT ENCODING a
a 0 OBJECT ENCODING b
a 0 MEMORY USAGE a
a 0 PFCOUNT b c
a 0 GET
a 0 SINTERCARD x b c
a 0 NOSUCH a
a 0 WATCH a
a 0 WATCH b c
a 0 WATCH b
a 0 UNWATCH
a 0 MULTI
a 0 GET b
a 0 GET c
a 0 EXEC
a 0 GET b
a 0 MULTI
a 0 GET a
a 0 GET b
a 0 EXEC
a 0 MULTI
a 0 MGET b c
a 0 PING
a 0 EXEC
a 0 MULTI
a 0 DBSIZE
a 0 PING
a 0 INCR b
a 0 GET {b}2
a 0 EXEC
a 0 WATCH b
a 0 MULTI
a 0 WATCH a
a 0 EXEC
a 0 MULTI
a 0 GET b
a 0 GET c
a 0 DISCARD
a 0 EXEC
a 0 MULTI
a 0 EXEC
a 0 MULTI
a 0 SELECT 1
a 0 SPUBLISH b m
a 0 GET c
a 0 EXEC
a 0 MULTI
a 0 SELECT 1
a 0 EXEC
a 0 WATCH b
b 0 SET b 7
a 0 MULTI
a 0 GET b
a 0 EXEC
a 0 SELECT 0
a 0 SELECT 1
a 0 SELECT x
a 0 MOVE b 1
a 0 SWAPDB 0 1
a 0 COPY b {b}3 DB 1
a 0 READONLY
a 0 READWRITE
a 0 ASKING
a 0 GET b
a 0 SSUBSCRIBE a
a 0 SSUBSCRIBE b c
a 0 SPUBLISH a m
a 0 SUNSUBSCRIBE a
a 0 SUNSUBSCRIBE b c
a 0 SUNSUBSCRIBE
s 0 SSUBSCRIBE b {b}1
s 0 <
b 0 SPUBLISH b m
s 0 <
b 0 PUBSUB SHARDCHANNELS
b 1 PUBSUB SHARDCHANNELS
b 0 PUBSUB SHARDNUMSUB b
b 0 MULTI
b 0 SPUBLISH b m2
b 0 EXEC
s 0 <
s 0 SUNSUBSCRIBE b {b}1
s 0 <
p 1 SUBSCRIBE news
b 0 PUBLISH news one
p 1 <
b 0 PUBSUB NUMSUB news
b 1 PUBSUB NUMSUB news
b 1 PUBLISH news two
p 1 <
b 0 MULTI
b 0 PUBLISH news three
b 0 EXEC
p 1 <
b 0 PUBSUB CHANNELS
b 1 PUBSUB CHANNELS
p 1 UNSUBSCRIBE
b 0 CONFIG SET notify-keyspace-events KEA
b 1 CONFIG SET notify-keyspace-events KEA
p 1 PSUBSCRIBE __key*
b 0 SET b 1
b 1 SET a 1
p 1 <
p 1 <
p 1 PUNSUBSCRIBE
b 0 CONFIG SET notify-keyspace-events ""
b 1 CONFIG SET notify-keyspace-events ""
a 0 DBSIZE
a 1 DBSIZE
a 1 KEYS *
a 1 SCAN 0
a 1 RANDOMKEY
a 0 CLUSTER MYID
a 1 CLUSTER MYID
a 0 CLUSTER MYSHARDID
a 0 CLUSTER KEYSLOT a
a 0 CLUSTER KEYSLOT {b}2
a 0 CLUSTER KEYSLOT x{}y
a 0 CLUSTER KEYSLOT
a 0 CLUSTER COUNTKEYSINSLOT 15495
a 1 CLUSTER COUNTKEYSINSLOT 15495
a 0 CLUSTER COUNTKEYSINSLOT 3300
a 0 CLUSTER COUNTKEYSINSLOT 16384
a 0 CLUSTER COUNTKEYSINSLOT -1
a 0 CLUSTER COUNTKEYSINSLOT x
a 1 CLUSTER GETKEYSINSLOT 15495 10
a 0 CLUSTER GETKEYSINSLOT 15495 10
a 0 CLUSTER GETKEYSINSLOT 3300 0
a 0 CLUSTER GETKEYSINSLOT 3300 -1
a 0 CLUSTER GETKEYSINSLOT 16384 1
a 0 CLUSTER GETKEYSINSLOT 3300 x
a 0 CLUSTER GETKEYSINSLOT x 1
a 0 CLUSTER GETKEYSINSLOT 3300
a 0 CLUSTER REPLICAS nobody
a 0 CLUSTER SLAVES nobody
a 0 CLUSTER COUNT-FAILURE-REPORTS nobody
a 0 CLUSTER SAVECONFIG
a 0 CLUSTER FAILOVER
a 0 CLUSTER FAILOVER force
a 0 CLUSTER FAILOVER TAKEOVER
a 0 CLUSTER FAILOVER x
a 0 CLUSTER FAILOVER FORCE TAKEOVER
a 0 CLUSTER RESET x
a 0 CLUSTER RESET HARD SOFT
a 0 CLUSTER NOSUCH
a 0 CLUSTER
a 0 CLUSTER SLOTS x
a 0 CLUSTER NODES
a 1 CLUSTER NODES
a 0 CLUSTER SLOTS
a 0 CLUSTER SHARDS
a 0 CONFIG GET cluster-enabled
a 0 COMMAND INFO asking readonly readwrite
a 0 FLUSHALL
a 0 DBSIZE
a 1 DBSIZE
3 0 HELLO 3
3 0 GET a
3 0 CLUSTER MYID
3 0 CLUSTER NODES
3 0 CLUSTER SLOTS
3 0 CLUSTER SHARDS
3 0 CLUSTER COUNTKEYSINSLOT 3
3 0 COMMAND DOCS asking readonly readwrite
h 0 CONFIG SET cluster-announce-hostname one.example
h 1 CONFIG SET cluster-announce-hostname one.example
wait hostnames
h 0 CLUSTER SLOTS
h 0 CLUSTER SHARDS
h 0 CLUSTER NODES
h 0 CONFIG SET cluster-preferred-endpoint-type hostname
h 0 GET a
h 0 CLUSTER SLOTS
h 0 CLUSTER SHARDS
h 0 CONFIG SET cluster-preferred-endpoint-type unknown-endpoint
h 0 GET a
h 0 CLUSTER SLOTS
h 0 CLUSTER SHARDS
h 0 CONFIG SET cluster-preferred-endpoint-type ip
h 0 CONFIG SET cluster-announce-hostname a_b
"""

# What is not the same from run to run, in the text of any reply.
VARYING = [
    # CLUSTER NODES: port of the bus, pings, epoch.
    (re.compile(rb'@\d+'), b'@BUS'),
    (re.compile(rb'(master - )\d+ \d+ \d+'), rb'\1PING PONG EPOCH'),
]
# Fields of maps whose values are not.
VARYING_FIELDS = (b'id',)


class Side:
    """One of the two clusters, with what to put for its names."""

    def __init__(self, cluster):
        self.cluster, self.conns = cluster, {}
        self.names = [(i, b'ID%d' % n) for n, i in enumerate(ids_of(cluster))] + \
            [(b'%d' % p, b'PORT%d' % n) for n, p in enumerate(cluster.ports)]

    def plain(self, text):
        for name, other in self.names:
            text = text.replace(name, other)
        for pattern, other in VARYING:
            text = pattern.sub(other, text)
        return text

    def normalise(self, reply):
        kind, value = reply
        if not isinstance(value, list):
            return (kind, value if value is None else self.plain(value))
        out = [self.normalise(v) for v in value]
        for i in range(0, len(out) - 1):
            if out[i][1] in VARYING_FIELDS and not out[i + 1][1] is None and \
                    not str(out[i + 1][1]).startswith("b'ID"):
                out[i + 1] = (out[i + 1][0], b'*')
        return (kind, out)

    def conn(self, client, node):
        key = (client, node)
        if key not in self.conns:
            self.conns[key] = self.cluster.conn(node)
        return self.conns[key]

    def say(self, client, node, words):
        conn = self.conn(client, node)
        if words == ['<']:
            return self.normalise(conn.read())
        reply = self.normalise(conn.call(*['' if w == '""' else w for w in words]))
        return self.sorted(words, reply)

    @staticmethod
    def sorted(words, reply):
        """Redis gives nodes in the order of a hash table."""
        if words[:2] == ['CLUSTER', 'NODES']:
            return (reply[0], sorted(reply[1].removeprefix(b'txt:').split(b'\n')))
        if words[0] in ('CLUSTER', 'KEYS', 'PUBSUB') and isinstance(reply[1], list):
            return (reply[0], sorted(reply[1], key=repr))
        return reply


def hostnames_are_known(side):
    return all(len(re.findall(rb',one\.example', side.cluster.conn(i).call('CLUSTER', 'NODES')[1]))
               == len(side.cluster.ports) for i in range(len(side.cluster.ports)))


def info_of(conn, *section):
    text = conn.call(*section)[1].decode()
    return dict(line.split(':', 1) for line in text.split('\r\n') if ':' in line)


def compare_info(redis, tierra):
    both = [info_of(side.cluster.conn(0), 'CLUSTER', 'INFO') for side in (redis, tierra)]
    check('fields of CLUSTER INFO', [f for f in both[1] if f not in both[0]], [])
    for field in both[1]:
        if 'messages' not in field:
            check(field, both[1][field], both[0][field])
    for field in 'redis_mode', 'cluster_enabled', 'tcp_port':
        got = [side.plain(info_of(side.cluster.conn(1), 'INFO')[field].encode())
               for side in (redis, tierra)]
        check(field, got[1], got[0])


def compare_commands(redis, tierra):
    """What COMMAND tells of the subcommands, whose order is that of a hash table."""
    for words in ('COMMAND', 'INFO', 'cluster'), ('COMMAND', 'DOCS', 'cluster'):
        told = []
        for side in redis, tierra:
            conn = side.conn('r3', 0)
            conn.call('HELLO', '3')
            reply = conn.call(*words)
            told.append(sorted(repr(x) for x in pieces(reply)))
        check(' '.join(words), told[1], told[0])


def pieces(reply):
    """Of a reply with subcommands: each by itself, in no order."""
    kind, value = reply
    if not isinstance(value, list):
        return [reply]
    out, i = [], 0
    while i < len(value):
        name = value[i][1]
        if isinstance(name, bytes) and name.startswith(b'cluster|') and i + 1 < len(value) and \
                kind == '%':
            out.append((name, unordered(value[i + 1])))
            i += 2
        elif value[i][0] == '*' and name and str(name[0][1]).startswith("b'cluster|"):
            out.append(unordered(value[i]))
            i += 1
        else:
            out += pieces(value[i])
            i += 1
    return out


def unordered(reply):
    """Sets in an order."""
    kind, value = reply
    if not isinstance(value, list):
        return reply
    out = [unordered(v) for v in value]
    return (kind, sorted(out, key=repr) if kind == '~' else out)


def compare(server):
    clusters = []
    try:
        clusters.append(Redis(2))
        clusters.append(Tierra(server, 2))
        redis, tierra = [Side(c) for c in clusters]
        for line in TALK.strip().split('\n'):
            client, node, *words = line.split(' ')
            if client == 'wait':
                for side in redis, tierra:
                    wait_until('hostnames', lambda s=side: hostnames_are_known(s))
                continue
            got = [side.say(client, int(node), words) for side in (redis, tierra)]
            check(line, got[1], got[0])
        compare_info(redis, tierra)
        compare_commands(redis, tierra)
    finally:
        for c in clusters:
            c.remove()


# --- by itself ---

def refuses_changes(c):
    for words in ('ADDSLOTS 1', 'ADDSLOTSRANGE 1 2', 'BUMPEPOCH', 'DELSLOTS 1', 'DELSLOTSRANGE 1 2',
                  'FLUSHSLOTS', 'FORGET x', 'MEET 127.0.0.1 1', 'REPLICATE x', 'RESET',
                  'RESET HARD', 'SET-CONFIG-EPOCH 1', 'SETSLOT 1 STABLE'):
        kind, text = c.call('CLUSTER', *words.split())
        check('CLUSTER ' + words, (kind, b'number and slots are fixed' in text), ('-', True))
    check('CLUSTER LINKS', c.call('CLUSTER', 'LINKS'), ('*', []))
    check('CLUSTER HELP', b'    Return the hash slot for <key>.' in flat(c.call('CLUSTER', 'HELP')),
          True)
    own = c.call('CLUSTER', 'MYID')[1]
    check('CLUSTER REPLICAS', c.call('CLUSTER', 'REPLICAS', own), ('*', []))


def keys_of_slots(cluster):
    """COUNTKEYSINSLOT and GETKEYSINSLOT of keys that are hot, cold, deleted, expired; each slot has
    neighbours with keys, too."""
    conns = [cluster.conn(i) for i in range(len(cluster.ports))]
    ports = {port: c for port, c in zip(cluster.ports, conns)}

    def owner(slot):
        return [c for i, c in enumerate(conns)
                if first_slot(i, len(conns)) <= slot < first_slot(i + 1, len(conns))][0]

    # Nothing follows the last slot that has entries, and the walk's end is where slot 0 begins.
    for n in ('06S', 'la2'):
        check('the slot of ' + n, conns[0].call('CLUSTER', 'KEYSLOT', n), (':', b'0'))
        conns[0].call('SET', n, 'v')
    conns[0].call('DEBUG', 'RELOAD')
    conns[0].call('DEL', '06S')
    check('COUNTKEYSINSLOT 0', conns[0].call('CLUSTER', 'COUNTKEYSINSLOT', 0), (':', b'1'))
    conns[0].call('DEL', 'la2')
    tags = ['t%d' % i for i in range(40)]
    slots = {t: int(conns[0].call('CLUSTER', 'KEYSLOT', t)[1]) for t in tags}
    names = {t: {('{%s}%d' % (t, i)).encode() for i in range(1 + 40 * (n % 4))}
             for n, t in enumerate(tags)}
    # More than one step, and more than one turn, of the walk has.
    big = tags[7]
    names[big] = {('{%s}big-%d' % (big, i)).encode() for i in range(20000)}
    for t in tags:
        c = owner(slots[t])
        cmds = [('SET', n, 'v') for n in names[t]]
        c.send(cmds)
        check('SET', {c.read() for _ in cmds}, {('+', b'OK')})
    check('nobody has keys of others', sum(len(c.call('KEYS', '*')[1]) for c in ports.values()),
          sum(len(n) for n in names.values()))

    def look(what):
        for t in tags:
            c = owner(slots[t])
            check('%s: COUNTKEYSINSLOT of %s' % (what, t),
                  c.call('CLUSTER', 'COUNTKEYSINSLOT', slots[t]), (':', b'%d' % len(names[t])))
            got = flat(c.call('CLUSTER', 'GETKEYSINSLOT', slots[t], 1000000))
            check('%s: GETKEYSINSLOT of %s' % (what, t), sorted(got), sorted(names[t]))
            some = flat(c.call('CLUSTER', 'GETKEYSINSLOT', slots[t], 3))
            check('%s: three of %s' % (what, t), (len(some), set(some) <= names[t]),
                  (min(3, len(names[t])), True))
        c = owner(slots[big])
        c.call('MULTI')
        c.call('CLUSTER', 'COUNTKEYSINSLOT', slots[big])
        check(what + ': COUNTKEYSINSLOT in EXEC', flat(c.call('EXEC')), [b'%d' % len(names[big])])

    look('hot')
    for c in conns:
        check('DEBUG RELOAD', c.call('DEBUG', 'RELOAD'), ('+', b'OK'))
    check('cold', sum(int(info_of(c, 'INFO', 'tiering')['cold_keys']) for c in conns) > 1000, True)
    look('cold')
    for t in tags:
        c = owner(slots[t])
        for n in sorted(names[t])[::3]:
            check('DEL', c.call('DEL', n), (':', b'1'))
            names[t].discard(n)
        for n in sorted(names[t])[::5]:
            c.call('APPEND', n, 'more')
    look('some deleted, some hot')
    for c in conns:
        check('FLUSHALL', (c.call('FLUSHALL'), c.call('DBSIZE')), (('+', b'OK'), (':', b'0')))
        c.close()


def shared_and_own(cluster):
    """What is the process's, and what a node's."""
    conns = [cluster.conn(i) for i in range(len(cluster.ports))]
    last = conns[-1]
    check('CONFIG SET at any node', last.call('CONFIG', 'SET', 'slowlog-log-slower-than', '0'),
          ('+', b'OK'))
    check('holds at all', {flat(c.call('CONFIG', 'GET', 'slowlog-log-slower-than'))[1]
                           for c in conns}, {b'0'})
    last.call('CONFIG', 'SET', 'slowlog-log-slower-than', '-1')
    for c in conns:
        check('SLOWLOG RESET', c.call('SLOWLOG', 'RESET'), ('+', b'OK'))
    for i, c in enumerate(conns):
        c.call('CLIENT', 'SETNAME', 'n%d' % i)
        names = re.findall(rb' name=(n\d+) ', c.call('CLIENT', 'LIST')[1])
        check('CLIENT LIST is of the node', names, [b'n%d' % i])
        # The connections that looked whether it answers go by and by.
        wait_until('one client', lambda c=c: info_of(
            c, 'INFO', 'clients')['connected_clients'] == '1')
        info = info_of(c, 'INFO', 'everything')
        check('INFO', (info['shards'], int(info['used_memory_rss']) > 0), (str(len(conns)), True))
    check('SAVE', last.call('SAVE'), ('+', b'OK'))
    last.send([('SET', 'a', '1'), ('CONFIG', 'SET', 'maxclients', '9999'), ('PING',)])
    check('order of replies', [last.read()[1] for _ in range(3)], [b'OK', b'OK', b'PONG'])
    last.call('MULTI')
    kind, text = last.call('CONFIG', 'SET', 'maxclients', '10000')
    if len(conns) > 1:
        check('CONFIG SET in MULTI', (kind, b'whole process' in text), ('-', True))
        check('EXEC', last.call('EXEC')[1][:9], b'EXECABORT')
    else:
        check('EXEC', flat(last.call('EXEC')), [b'OK'])
    for c in conns:
        c.call('FLUSHALL')
        c.close()


def announced(cluster):
    c = cluster.conn(0)
    check('announce', c.call('CONFIG', 'SET', 'cluster-announce-ip', '10.1.2.3',
                             'cluster-announce-port', '7000'), ('+', b'OK'))
    check('MOVED', c.call('GET', 'a'), ('-', b'MOVED 15495 10.1.2.3:7001'))
    check('CLUSTER NODES', [line.split()[1] for line in
                            c.call('CLUSTER', 'NODES')[1].splitlines()],
          [b'10.1.2.3:7000@0', b'10.1.2.3:7001@0'])
    for name, value, words in (
            ('cluster-announce-port', '65535', b'up to 65536'),
            ('port', '65535', b'up to 65536'), ('port', '0', b'set port'),
            ('cluster-announce-ip', 'a b', b'not an address'),
            ('cluster-announce-hostname', 'x:1', b'Hostnames may only')):
        kind, text = c.call('CONFIG', 'SET', name, value)
        check('CONFIG SET %s %s' % (name, value), (kind, words in text), ('-', True))
    check('nothing was set', c.call('GET', 'a'), ('-', b'MOVED 15495 10.1.2.3:7001'))
    c.call('CONFIG', 'SET', 'cluster-announce-ip', '', 'cluster-announce-port', '0')
    check('as before', c.call('GET', 'a'), ('-', b'MOVED 15495 127.0.0.1:%d' % cluster.ports[1]))
    c.close()


def unix_sockets(cluster, path):
    zero, one = Conn(path), Conn(path + '.1')
    check('node 0', zero.call('SET', 'b', '1'), ('+', b'OK'))
    check('node 1', one.call('SET', 'a', '1'), ('+', b'OK'))
    check('sent to a port', zero.call('GET', 'a'),
          ('-', b'MOVED 15495 127.0.0.1:%d' % cluster.ports[1]))
    check('FLUSHALL', (zero.call('FLUSHALL'), one.call('DBSIZE')), (('+', b'OK'), (':', b'1')))
    one.call('FLUSHALL')


def restarts(cluster, path):
    ids = ids_of(cluster)
    client = Client(cluster)
    for i in range(100):
        client.call('SET', 'stay%d' % i, i)
    client.close()
    check('two nodes took part', client.redirections > 10, True)
    check('clean end', cluster.stop(), [0])
    check('sockets are gone', [os.path.exists(p) for p in (path, path + '.1')], [False] * 2)
    cluster.start()
    check('ids after a restart', ids_of(cluster), ids)
    client = Client(cluster)
    check('keys after it', [client.call('GET', 'stay%d' % i) for i in range(100)],
          [b'%d' % i for i in range(100)])
    client.close()
    cluster.stop()
    file = os.path.join(cluster.directory, 'data', 'CLUSTER')
    with open(file, 'rb') as f:
        text = f.read()
    for what, changed in (('cut', text[:-1]), ('empty', b''), ('a node short', text[:-49]),
                          ('no digit', text.replace(ids[0][:4], b'xyz!')),
                          ('too long', text + text), ('binary', bytes(range(256)) * 100)):
        with open(file, 'wb') as f:
            f.write(changed)
        done = subprocess.run(
            [cluster.server, '--port', str(cluster.ports[0]), '--bind', '127.0.0.1', '--dir',
             os.path.join(cluster.directory, 'data'), '--clustering-policy', 'oss'],
            capture_output=True, timeout=WAIT_SECONDS_MAX)
        check('CLUSTER ' + what, (done.returncode, b'CLUSTER' in done.stderr), (3, True))
    os.unlink(file)
    cluster.start()
    check('new ids', (len(set(ids_of(cluster) + ids)), len(ids)), (4, 2))


def alone(server):
    path = os.path.join
    cluster = Tierra(server, 2)
    try:
        socket_path = path(cluster.directory, 'socket')
        cluster.stop()
        cluster.more = ['--unixsocket', socket_path]
        cluster.start()
        c = cluster.conn(0)
        refuses_changes(c)
        c.close()
        keys_of_slots(cluster)
        announced(cluster)
        unix_sockets(cluster, socket_path)
        restarts(cluster, socket_path)
    finally:
        cluster.remove()


# --- tools ---

def run_tool(*command, stdin=''):
    done = subprocess.run(command, input=stdin.encode(), capture_output=True,
                          timeout=WAIT_SECONDS_MAX)
    return done.returncode, (done.stdout + done.stderr).decode(errors='replace')


REDIS_PY = """
import sys
from redis.cluster import RedisCluster
r = RedisCluster(host='127.0.0.1', port=int(sys.argv[1]))
assert len(r.get_nodes()) == int(sys.argv[2])
for i in range(200):
    assert r.set('py%d' % i, i)
assert [int(r.get('py%d' % i)) for i in range(200)] == list(range(200))
with r.pipeline() as p:
    for i in range(200):
        p.incr('py%d' % i)
    assert p.execute() == list(range(1, 201))
assert len(list(r.scan_iter(match='py*'))) == 200
assert r.cluster_keyslot('a') == 15495
r.mset_nonatomic({'py%d' % i: 'x' for i in range(200)})
assert r.delete(*['py%d' % i for i in range(200)]) == 200
"""


def python_with_redis():
    for python in (sys.executable, '/usr/bin/python3'):
        if os.path.exists(python) and run_tool(python, '-c', 'import redis.cluster')[0] == 0:
            return python
    return None


def benchmark(cluster, nodes):
    code, text = run_tool('redis-benchmark', '--cluster', '-p', str(cluster.ports[-1]), '-t',
                          'set,get,incr', '-n', '3000', '-P', '16', '-r', '1000', '-q')
    check('redis-benchmark', (code, 'Cluster has %d master nodes' % nodes in text, 'rror' in text),
          (0, True, False))
    counts = [int(cluster.conn(i).call('DBSIZE')[1]) for i in range(nodes)]
    check('every node has keys of it', min(counts) > 0, True)


def tools(server, nodes):
    cluster = Tierra(server, nodes)
    try:
        shared_and_own(cluster)
        first, last = cluster.ports[0], cluster.ports[-1]
        code, text = run_tool('redis-cli', '-c', '-p', str(last), stdin='\n'.join(
            ['SET key%d %d' % (i, i) for i in range(50)] + ['GET key%d' % i for i in range(50)]))
        check('redis-cli -c', (code, [x for x in text.split('\n') if 'Redirected' not in x]),
              (0, ['OK'] * 50 + [str(i) for i in range(50)] + ['']))
        code, text = run_tool('redis-cli', '--cluster', 'check', '127.0.0.1:%d' % first)
        check('redis-cli --cluster check',
              (code, 'All nodes agree' in text, 'All 16384 slots covered' in text,
               '50 keys in %d masters' % nodes in text), (0, True, True, True))
        code, text = run_tool('redis-cli', '--cluster', 'info', '127.0.0.1:%d' % last)
        check('redis-cli --cluster info', (code, '50 keys in %d masters' % nodes in text),
              (0, True))
        code, text = run_tool('redis-cli', '--cluster', 'call', '127.0.0.1:%d' % last, 'FLUSHALL')
        check('redis-cli --cluster call', (code, text.count(': OK')), (0, nodes))
        if nodes > 1:  # It refuses a cluster of one node, of redis-server, too.
            benchmark(cluster, nodes)
        python = python_with_redis()
        if python is None:
            print('redis-py is not here: its cluster client is not tested')
        else:
            check('redis-py', run_tool(python, '-c', REDIS_PY, str(last), str(nodes)), (0, ''))
        check('clean end', cluster.stop(), [0])
    finally:
        cluster.remove()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--server', required=True)
    parser.add_argument('--part', choices=('compare', 'alone', 'tools'))
    args = parser.parse_args()
    if shutil.which('redis-server') is None or shutil.which('redis-cli') is None:
        print('no redis-server')
        return 77
    if args.part in (None, 'compare'):
        compare(args.server)
    if args.part in (None, 'alone'):
        alone(args.server)
    if args.part in (None, 'tools'):
        for nodes in 1, 2, 4:
            tools(args.server, nodes)
    print('%d failed' % failed if failed else 'passed')
    return failed != 0


if __name__ == '__main__':
    sys.exit(main())
