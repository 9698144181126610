#!/usr/bin/env python3
"""What clients and tools read of a server itself, against redis-server 7.0.15: the names of INFO's
fields, of CONFIG GET's options and of CLIENT LIST's fields, what HELLO, COMMAND DOCS and MEMORY
STATS have, and the replies of administrative commands to words that are wrong or missing.

Each difference stands below with its reason; one that is gone fails the test, too.

usage: introspection.py --server SERVER
"""

import argparse
import re
import sys
import time

from diff_cmds import Conn, flat, redis_server, side_by_side

WAIT_SECONDS_MAX = 240
SECTIONS = ('server', 'clients', 'memory', 'persistence', 'stats', 'replication', 'cpu', 'cluster',
            'keyspace', 'modules', 'nosuch')
NO_AOF_FORK = 'the op log is neither rewritten by a process nor loaded from an RDB'
INFO_MISSING = {
    'aof_rewrites_consecutive_failures': NO_AOF_FORK, 'current_save_keys_processed': NO_AOF_FORK,
    'current_save_keys_total': NO_AOF_FORK, 'rdb_last_load_keys_expired': NO_AOF_FORK,
    'rdb_last_load_keys_loaded': NO_AOF_FORK,
    'dump_payload_sanitizations': 'every payload is looked through',
    'expire_cycle_cpu_milliseconds': 'what expired is found by an index, without a cycle',
    'expired_stale_perc': 'likewise', 'expired_time_cap_reached_count': 'likewise',
    'reply_buffer_shrinks': 'buffers are sized otherwise', 'reply_buffer_expands': 'likewise',
}
INFO_OURS = {'shards', 'tierra_version', 'aof_buffer_length', 'aof_current_size',
             'aof_pending_rewrite', 'pubsub_messages_dropped'}
# By the starts of their names.
CONFIG_MISSING = {
    'active-defrag-': 'memory is not moved', 'bind-source-addr': 'no connections to masters',
    'masterauth': 'likewise', 'masteruser': 'likewise',
    'replica-': 'replication is that of a group', 'slave-announce-': 'likewise',
    'propagation-error-behavior': 'likewise', 'tls-': 'no TLS',
}
CONFIG_OURS = {'accept-loss', 'clustering-policy', 'group-bind', 'group-nickname',
               'group-restart-wait', 'group-secret-file', 'io-backend', 'key-checkpoint-changes',
               'linked-databases', 'maxflash', 'member-name', 'oplog-retention-bytes',
               'oplog-retention-time', 'oplog-segment-bytes', 'reader-threads',
               'replication-oom-threshold-percent', 'shards', 'store-block-cache',
               'store-direct-reads', 'store-memtable-bytes'}
# INFO replication, of which the rest is random.
REPLICATION_VALUES = {'role', 'connected_slaves', 'master_failover_state', 'master_replid2',
                      'master_repl_offset', 'second_repl_offset', 'repl_backlog_active',
                      'repl_backlog_size', 'repl_backlog_first_byte_offset',
                      'repl_backlog_histlen'}
# Values that are not the same at first.
CONFIG_VALUES = {'appendonly': 'the op log', 'dir': '', 'unixsocket': '', 'shutdown-timeout': '',
                 'databases': 'there is one'}

REPLIES = '''
HELLO 4;HELLO x;HELLO 3 AUTH;HELLO 2 BAD;HELLO 2 AUTH nosuch x;AUTH x;AUTH a b;AUTH a b c;MEMORY
MEMORY USAGE nokey;MEMORY USAGE k SAMPLES;MEMORY USAGE k SAMPLES -1;MEMORY USAGE k BAD 1
MEMORY HELP;MEMORY PURGE;MEMORY NOSUCH;LATENCY HELP;LATENCY LATEST;LATENCY HISTORY x
LATENCY GRAPH x;LATENCY HISTOGRAM nosuch;LATENCY RESET x;SLOWLOG GET 0;SLOWLOG GET -2
SLOWLOG GET x;SLOWLOG HELP;OBJECT HELP;OBJECT NOSUCH k;OBJECT FREQ k;OBJECT ENCODING k
OBJECT REFCOUNT nokey;CLIENT NO-EVICT x;CLIENT KILL x;CLIENT KILL ID 99999;CLIENT KILL TYPE x
CLIENT KILL ID x;CLIENT LIST TYPE x;CLIENT LIST ID;CLIENT LIST ID x;CLIENT LIST ID 99999
CLIENT LIST BAD;CLIENT GETNAME;CLIENT REPLY x;CLIENT UNBLOCK 999;CLIENT UNBLOCK x
CLIENT UNBLOCK 9 BAD;CLIENT NOSUCH;CLIENT PAUSE x;CLIENT PAUSE -1;CLIENT PAUSE 0 BAD
CLIENT TRACKING x;CLIENT TRACKING on BCAST OPTIN;CLIENT TRACKING on PREFIX x;CLIENT CACHING yes
CLIENT TRACKINGINFO;CLIENT GETREDIR;CLIENT SETINFO a b;CONFIG HELP;CONFIG GET;CONFIG GET nosuch
CONFIG SET nosuch 1;CONFIG SET a;CONFIG SET maxmemory x;CONFIG SET timeout -1
CONFIG SET timeout 1 timeout 2;CONFIG SET appendfsync x;CONFIG SET hz x;CONFIG SET save x
CONFIG SET Timeout 1 tImeout 2;CONFIG SET HZ x;CONFIG SET dataBases 5;CONFIG SET Dir x
CONFIG SET proc-title-template {x};CONFIG SET proc-title-template {title
CONFIG SET proc-title-template {};CONFIG SET proc-title-template x{
CONFIG SET proc-title-template {TITLE}x;CONFIG SET proc-title-template BLANK
CONFIG SET proc-title-template {title}{server-mode};CONFIG SET proc-title-template x}{y
CONFIG SET proc-title-template {{;CONFIG SET proc-title-template title}
CONFIG SET proc-title-template {{{title}-{port};CONFIG GET proc-title-template
CONFIG SET proc-title-template {x} maxmemory x;CONFIG SET maxmemory x proc-title-template {x}
CONFIG SET proc-title-template {tls-port}{listen-addr}{config-file}{unixsocket}
CONFIG GET proc-title-template
CONFIG SET cluster-announce-hostname a/b;CONFIG GET cluster-announce-hostname
CONFIG SET repl-diskless-load x;CONFIG SET repl-diskless-load on-empty-db
CONFIG GET repl-diskless-load;CONFIG SET repl-diskless-load disabled
CONFIG SET hash-max-ziplist-entries 5 hash-max-listpack-entries 6
CONFIG GET hash-max-listpack-entries
CONFIG SET hash-max-listpack-entries 7 hash-max-ziplist-entries 8
CONFIG GET hash-max-listpack-entries
CONFIG SET hash-max-listpack-entries 7 hash-max-ziplist-entries 9 maxmemory x
CONFIG GET hash-max-listpack-entries
CONFIG SET hash-max-ziplist-value 5 Hash-Max-ziplist-VALUE 6
CONFIG SET hash-max-ziplist-value 5 hash-max-listpack-value 6 hash-max-ziplist-value 6
CONFIG SET hash-max-listpack-entries 512;CONFIG GET hash-max-ziplist-entries
CONFIG SET databases 5;CONFIG SET loglevel x;CONFIG SET notify-keyspace-events Q
CONFIG SET client-output-buffer-limit x;CONFIG SET maxmemory-policy x;CONFIG RESETSTAT x
CONFIG SET slowlog-log-slower-than x;CONFIG SET hash-max-listpack-entries -1;CONFIG REWRITE
COMMAND HELP;COMMAND COUNT x;COMMAND GETKEYS;COMMAND GETKEYS nosuch;COMMAND GETKEYS get
COMMAND GETKEYS ping;COMMAND GETKEYS ssubscribe a;COMMAND GETKEYS sunsubscribe
COMMAND GETKEYS mset a 1 b 2;COMMAND GETKEYSANDFLAGS set a b
COMMAND INFO nosuch;COMMAND DOCS nosuch;COMMAND LIST FILTERBY x
COMMAND LIST FILTERBY PATTERN h*y;PUBSUB HELP;PUBSUB NUMSUB;PUBSUB NUMSUB a b
PUBSUB SHARDNUMSUB a;PUBSUB CHANNELS x y;SUBSCRIBE;ACL HELP;ACL WHOAMI;ACL GETUSER default
ACL GETUSER no;ACL LIST;ACL USERS;ACL CAT x;ACL GENPASS x;ACL GENPASS 0;ACL DELUSER default
ACL SETUSER u x;ACL LOG x;ACL LOG RESET;ACL LOG;ACL LOAD;ACL SAVE;ACL DRYRUN no get a
CLUSTER HELP;CLUSTER INFO;ROLE;ROLE x;READONLY;ASKING;WAIT x 1;WAIT 1 x;RESET x;SHUTDOWN x
SHUTDOWN SAVE NOSAVE;SHUTDOWN ABORT;LOLWUT;LOLWUT VERSION x;LOLWUT VERSION;SAVE x;BGSAVE x
MONITOR x;PFSELFTEST;PFSELFTEST x;FLUSHALL x;FLUSHDB x;FLUSHALL ASYNC;FLUSHDB sync;SWAPDB 0 0
MODULE;MODULE LIST;MODULE LIST x;MODULE HELP x;MODULE NOSUCH;FUNCTION;FUNCTION NOSUCH
FUNCTION LIST;FUNCTION LIST x;FUNCTION LIST LIBRARYNAME;FUNCTION LIST withcode libraryname *
FUNCTION LIST WITHCODE WITHCODE;FUNCTION LIST LIBRARYNAME a LIBRARYNAME b;FUNCTION LIST LONG
FUNCTION LIST LIBRARYNAME a LIBRARYNAME;FUNCTION DELETE x;FUNCTION DELETE;FUNCTION DELETE a b
FUNCTION KILL;FUNCTION KILL x;FUNCTION DUMP;FUNCTION DUMP x;FUNCTION STATS x;FUNCTION HELP x
FUNCTION FLUSH;FUNCTION FLUSH SYNC;FUNCTION FLUSH x;FUNCTION FLUSH SYNC x
DEBUG;DEBUG JMAP;DEBUG NOSUCH;DEBUG SLEEP 0;DEBUG SLEEP x;DEBUG SLEEP -1;DEBUG SLEEP 1e-5
DEBUG SLEEP 0.0001x;DEBUG SLEEP nan;DEBUG SLEEP inf;DEBUG SLEEP -inf;DEBUG SLEEP EMPTY
DEBUG SLEEP;DEBUG SLEEP 0 0;DEBUG OBJECT nokey;DEBUG SET-ACTIVE-EXPIRE 1
DEBUG ERROR a;DEBUG PROTOCOL double;DEBUG PROTOCOL attrib;DEBUG PROTOCOL map
DEBUG PROTOCOL bignum;DEBUG PROTOCOL x;DEBUG STRINGMATCH-LEN 10;DEBUG LOG x;DEBUG RELOAD
DEBUG QUICKLIST-PACKED-THRESHOLD 100b;SCAN 0 MATCH EMPTY
'''


# LONG is a word of some hundred bytes, which errors repeat whole.
LONG_WORDS = '''
EXPIRE k 10 LONG;PEXPIREAT k 10 LONG;CLIENT LIST TYPE LONG;CLIENT KILL USER LONG
CLIENT KILL TYPE LONG;CONFIG SET LONG 1;CLIENT TRACKING ON BCAST PREFIX LONG PREFIX L
LONG a;CLIENT LONG a;ACL SETUSER a LONG;ACL CAT LONG;ACL DRYRUN LONG get a
'''


LAST = (['GET'], ['NOSUCH'], ['PING'], ['MULTI', 'GET a', 'NOSUCH', 'SET a b'], ['OBJECT'],
        ['MULTI', 'GET', 'GET a', 'GET a'], ['CONFIG NOSUCH'], ['AUTH x y'],
        ['SUBSCRIBE a', 'GET a'], ['WATCH a', 'OTHER SET a 1', 'MULTI', 'GET a', 'GET a'],
        ['MULTI', 'CONFIG GET hz'], ['MULTI', 'INCR n', 'EXEC'],
        ['MULTI', 'GET', 'DISCARD', 'MULTI', 'GET x', 'INCR n'])


class Check:
    def __init__(self):
        self.failed = 0

    def same(self, what, got, wanted):
        if got != wanted:
            self.failed += 1
            print('%s: %.600s, redis-server %.600s' % (what, got, wanted))

    def names(self, what, ours, theirs, known):
        """`known`: (names that are only here, names that are only there)."""
        self.same(what + ', only here', sorted(ours - theirs), sorted(known[0]))
        self.same(what + ', only there', sorted(theirs - ours), sorted(known[1]))


def info_fields(conn, section):
    return {line.split(':')[0] for line in conn.call('INFO', section)[1].decode().split('\r\n')}


def compare_info(check, ours, theirs):
    found = [set().union(*(info_fields(conn, s) for s in SECTIONS)) for conn in (ours, theirs)]
    check.names('INFO', *found, (INFO_OURS, INFO_MISSING))
    told = [[line for line in conn.call('INFO', 'replication')[1].decode().split('\r\n')
             if line.split(':')[0] in REPLICATION_VALUES] for conn in (ours, theirs)]
    check.same('INFO replication', *told)


def config_of(conn):
    pairs = [x[1] for x in conn.call('CONFIG', 'GET', '*')[1]]
    return {name.decode(): value for name, value in zip(pairs[::2], pairs[1::2])}


def compare_config(check, ours, theirs):
    a, b = config_of(ours), config_of(theirs)
    gone = {n for n in set(b) - set(a) if n.startswith(tuple(CONFIG_MISSING))}
    check.names('CONFIG', set(a), set(b), (CONFIG_OURS, gone))
    for name in sorted((set(a) & set(b)) - set(CONFIG_VALUES)):
        check.same('CONFIG ' + name, a[name], b[name])


def client_fields(reply):
    return [word.split('=')[0] for word in reply[1].decode().split('\n')[0].split()]


def tree(reply):
    """Maps and sets have no order."""
    kind, value = reply
    if kind == '%':
        return {str(value[i][1]): tree(value[i + 1]) for i in range(0, len(value), 2)}
    if isinstance(value, list):
        elements = [tree(v) for v in value]
        return sorted(elements, key=repr) if kind == '~' else elements
    return value


def compare_docs(check, ours, theirs):
    """Of what is on both sides."""
    a, b = (tree(conn.call('COMMAND', 'DOCS')) for conn in (ours, theirs))
    inner = "b'subcommands'"
    for name in sorted(set(a) & set(b)):
        subs = a[name].pop(inner, {}), b[name].pop(inner, {})
        check.same('COMMAND DOCS ' + name, a[name], b[name])
        for sub in sorted(set(subs[0]) & set(subs[1])):
            check.same('COMMAND DOCS ' + sub, subs[0][sub], subs[1][sub])


def memory_of(conn, name, fields):
    for line in conn.call('CLIENT', 'LIST')[1].decode().splitlines():
        words = dict(word.split('=', 1) for word in line.split(' ') if '=' in word)
        if words.get('name') == name:
            return {field: words[field] for field in fields}
    return None


def compare_last(check, places, watchers):
    """What CLIENT LIST says of a client whose commands were refused or queued, or will not run."""
    for sent in LAST:
        conns = [Conn(place) for place in places]
        told = []
        for conn, watcher in zip(conns, watchers):
            conn.call('CLIENT', 'SETNAME', 'last')
            for words in sent:
                (watcher if words[:5] == 'OTHER' else conn).call(*words.split()[-3:])
            told.append(memory_of(watcher, 'last', ['cmd', 'multi', 'flags']))
            conn.call('CLIENT', 'SETNAME', 'old')
            conn.close()
        check.same(sent, *told)


def compare_errors(check, ours, theirs):
    """INFO errorstats: the codes, in their order."""
    told = []
    for conn in (ours, theirs):
        conn.call('CONFIG', 'RESETSTAT')
        for words in 'LPUSH k x', 'NOSUCH', 'AUTH a b', 'EXEC', 'MULTI', 'NOSUCH', 'EXEC':
            conn.call(*words.split())
        told.append(conn.call('INFO', 'errorstats')[1].decode())
    check.same('INFO errorstats', *told)


def compare_inputs(check, places, watchers):
    """What CLIENT LIST says of a client whose command is incomplete, or waits."""
    long_bytes = b'v' * 100000
    inputs = [b'*2\r\n$3\r\nGE', b'*3\r\n$3\r\nSET\r\n$1\r\nk\r\n', b'*3\r\n$3\r\nSET\r\n$1',
              b'*3\r\n$3\r\nSET\r\n$2\r\nkk\r\n$10\r\nabc', b'*1\r\n$100000\r\n' + long_bytes,
              b'*2\r\n$3\r\nSET\r\n$200000\r\n' + long_bytes, b'SET k', b'*',
              b'*3\r\n$5\r\nBLPOP\r\n$4\r\nlist\r\n$1\r\n0\r\n']
    for data in inputs:
        fields = ['qbuf', 'argv-mem'] if data[:1] == b'*' else ['qbuf']
        conns = [Conn(place) for place in places]
        for conn in conns:
            conn.call('CLIENT', 'SETNAME', 'input')
            conn.sock.sendall(data)
        wanted, got, end = None, None, time.monotonic() + WAIT_SECONDS_MAX
        while (got is None or got != wanted or set(got.values()) == {'0'}) \
                and time.monotonic() < end:
            time.sleep(0.01)
            got, wanted = (memory_of(conn, 'input', fields) for conn in watchers)
        check.same(data[:40], got, wanted)
        for conn in conns:
            conn.close()


def compare_replies(check, ours, theirs):
    special = {'LONG': 'L' + 'x' * 400, 'BLANK': '  ', 'EMPTY': ''}
    for words in (REPLIES + LONG_WORDS).replace('\n', ';').split(';'):
        if words:
            sent = [special.get(word, word) for word in words.split(' ')]
            check.same(words, *(conn.call(*sent) for conn in (ours, theirs)))


def compare_functions(check, ours, theirs):
    """What of FUNCTION and MODULE is not the same."""
    for container in 'FUNCTION', 'MODULE':
        told = [flat(conn.call(container, 'HELP')) for conn in (ours, theirs)]
        check.same(container + ' HELP, its frame', told[0][:1] + told[0][-2:],
                   told[1][:1] + told[1][-2:])
        check.names(container + ' HELP', *({line.split()[0] for line in lines[1:]
                                            if not line.startswith(b' ')} for lines in told),
                    (set(), {b'LOAD', b'RESTORE'} if container == 'FUNCTION'
                     else {b'LOAD', b'LOADEX', b'UNLOAD'}))
    stats = [conn.call('FUNCTION', 'STATS') for conn in (ours, theirs)]
    check.same('FUNCTION STATS but for the engines', (stats[0][0], stats[0][1][:3]),
               (stats[1][0], stats[1][1][:3]))
    for words in 'FUNCTION LOAD x', 'FUNCTION RESTORE x', 'MODULE LOAD /x', 'MODULE UNLOAD x':
        check.same(words + ' is not here', ours.call(*words.split())[1][:23],
                   b'ERR unknown subcommand ')


def compare_doctors(check, ours, theirs):
    """Words of their own, but the line of an event has the same figures."""
    for words in ('MEMORY', 'DOCTOR'), ('LATENCY', 'DOCTOR'):
        told = [conn.call(*words) for conn in (ours, theirs)]
        check.same(words, *((kind, kind == '=' and text[:4], text[-1:]) for kind, text in told))
    lines = []
    for conn in (ours, theirs):
        conn.call('CONFIG', 'SET', 'latency-monitor-threshold', '10')
        conn.call('DEBUG', 'SLEEP', '0.02')
        text = conn.call('LATENCY', 'DOCTOR')[1].decode().removeprefix('txt:')
        # Other events may stand before it where the machine was slow.
        lines.append([re.sub(r'\d+(\.\d+)?', 'N', line) for line in text.split('\n')
                      if re.match(r'\d+\. command:', line)])
        conn.call('CONFIG', 'SET', 'latency-monitor-threshold', '0')
        conn.call('LATENCY', 'RESET')
    check.same('LATENCY DOCTOR of an event', *lines)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    args = p.parse_args()
    redis = redis_server()
    check = Check()
    debug = ['--enable-debug-command', 'yes']
    with side_by_side([redis, '--save', '', '--appendonly', 'no'] + debug,
                      [args.server] + debug) as (their_path, our_path):
        for proto in ('2', '3'):
            ours, theirs = Conn(our_path), Conn(their_path)
            hello = [conn.call('HELLO', proto)[1] for conn in (ours, theirs)]
            check.same('HELLO ' + proto, [x for x in hello[0] if x[0] != ':'],
                       [x for x in hello[1] if x[0] != ':'])
            for conn in (ours, theirs):
                conn.call('SET', 'k', 'v')
            compare_info(check, ours, theirs)
            compare_config(check, ours, theirs)
            for words in (('CLIENT', 'LIST'), ('CLIENT', 'INFO')):
                check.same(words, *(client_fields(c.call(*words)) for c in (ours, theirs)))
            stats = [set(tree(c.call('MEMORY', 'STATS'))) if proto == '3' else set()
                     for c in (ours, theirs)]
            check.names('MEMORY STATS', *stats, (set(), set()))
            if proto == '3':
                compare_docs(check, ours, theirs)
            compare_replies(check, ours, theirs)
            compare_functions(check, ours, theirs)
            compare_doctors(check, ours, theirs)
            compare_last(check, [our_path, their_path], (ours, theirs))
            compare_errors(check, ours, theirs)
            compare_inputs(check, [our_path, their_path], (ours, theirs))
            ours.close()
            theirs.close()
    print('%d differences' % check.failed)
    return int(check.failed != 0)


if __name__ == '__main__':
    sys.exit(main())
