#!/usr/bin/env python3
"""Loads a server of several shards with a mix over all types while clients ask and change what
covers the node, and stops it under that load. For the thread sanitizer: passes if the server ends
with status 0 and has written no report.

usage: stress_shards.py SERVER BENCH
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from diff_cmds import Conn

MIX = ('get=20,set=20,incr=5,append=5,mget=5,mset=5,del=3,hset=5,hget=5,hgetall=2,sadd=5,srem=2,'
       'zadd=5,zrange=2,lpush=3,lpop=3,expire=2,exists=2')
ROUNDS = 25


def commands(rng):
    return [
        ['CLIENT', 'LIST'], ['INFO', 'everything'], ['DBSIZE'], ['RANDOMKEY'], ['SLOWLOG', 'GET'],
        ['SCAN', '0', 'COUNT', '200'], ['LATENCY', 'HISTOGRAM'], ['MEMORY', 'STATS'], ['ROLE'],
        ['CONFIG', 'SET', 'maxmemory', '%dmb' % rng.randrange(300, 500), 'appendfsync',
         rng.choice(['always', 'everysec', 'no']), 'slowlog-log-slower-than', '100', 'requirepass',
         ''],
        ['CONFIG', 'SET', 'maxflash', '%dgb' % rng.randrange(2, 5)], ['CONFIG', 'GET', '*'],
        ['CONFIG', 'RESETSTAT'], ['CLIENT', 'PAUSE', '5'], ['CLIENT', 'UNPAUSE'], ['BGSAVE'],
        ['KEYS', 'key:00000000001*'], ['SLOWLOG', 'LEN'], ['LASTSAVE'], ['FLUSHALL'],
        ['DEBUG', 'RELOAD'],
        # The load is the default user's: it is checked from now on, or no more.
        ['ACL', 'SETUSER', 'default', rng.choice(['-lcs', '+@all', 'resetchannels', '&*'])],
        # Others come and go.
        ['ACL', 'SETUSER', 'u%d' % rng.randrange(3), 'on', 'nopass', '+@all', '~%d' % rng.random()],
        ['ACL', 'DELUSER', 'u%d' % rng.randrange(3)], ['ACL', 'LIST'], ['ACL', 'LOG'],
        ['ACL', 'DRYRUN', 'default', 'LCS', 'a', 'b'], ['ACL', 'WHOAMI'],
    ]


def main():
    server, bench = sys.argv[1:3]
    rng = random.Random(1)
    directory = tempfile.mkdtemp(prefix='tierra-stress-')
    path, log_path = os.path.join(directory, 's'), os.path.join(directory, 'log')
    with open(log_path, 'wb') as log:
        process = subprocess.Popen(
            [server, '--port', '0', '--unixsocket', path, '--dir', os.path.join(directory, 'data'),
             '--clustering-policy', 'enterprise', '--shards', '3', '--enable-debug-command', 'yes'],
            stdout=log, stderr=log)
    for _ in range(1200):
        if os.path.exists(path) or process.poll() is not None:
            break
        time.sleep(0.05)
    load = subprocess.Popen(
        [bench, '--socket', path, '--clients', '12', '--pipeline', '8', '--keys', '2000',
         '--fields', '20', '--requests', '0', '--duration', '600', '--timeout', '120', '--mix',
         MIX], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    conns = [Conn(path) for _ in range(3)]
    for i in range(ROUNDS):
        some = commands(rng)
        rng.shuffle(some)
        # FLUSHALL and RELOAD now and then, so that there is something to be asked about.
        some = [c for c in some if c[0] not in ('FLUSHALL', 'DEBUG') or i % 8 == 7]
        for n, conn in enumerate(conns):
            conn.send(some[n::len(conns)])
        for n, conn in enumerate(conns):
            for _ in some[n::len(conns)]:
                conn.read()
    conns[0].send([['SHUTDOWN']])
    status = process.wait(timeout=300)
    load.kill()
    load.wait()
    with open(log_path, encoding='utf-8', errors='replace') as log:
        text = log.read()
    wrong = status != 0 or 'WARNING: ThreadSanitizer' in text
    if wrong:
        print('status %d\n%s' % (status, text[-20000:]))
    shutil.rmtree(directory, ignore_errors=True)
    return wrong


if __name__ == '__main__':
    sys.exit(main())
