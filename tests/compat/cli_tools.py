#!/usr/bin/env python3
"""What redis-cli's tools (--bigkeys, --memkeys, --hotkeys, --scan, --stat, --latency-history, ..)
print of a Tierra, beside what they print of a redis-server with the same keys.

usage: cli_tools.py --server SERVER [--shards N]
"""

import argparse
import re
import shutil
import subprocess
import sys

from diff_cmds import SKIP, Conn, side_by_side

TOOL_SECONDS_MAX = 240
KEYS = 300
LFU = ['--maxmemory-policy', 'allkeys-lfu', '--lfu-log-factor', '0', '--lfu-decay-time', '0']
HOT = 20

# The words of redis-cli, and what of its output is compared: "same", but for the order of lines;
# "form": with any number as N; "status": nothing; "starts": the first lines, in that form, of a
# tool that never ends.
TOOLS = (
    # First: --bigkeys and --memkeys count as uses of the keys, more than in redis-server.
    (['--hotkeys'], 'same'), (['--bigkeys'], 'form'), (['--memkeys'], 'form'),
    (['--memkeys-samples', '3'], 'form'), (['--scan'], 'same'),
    (['--scan', '--pattern', 'k*1'], 'same'), (['--stat', '-i', '0.01'], 'starts'),
    (['--latency-history', '--raw', '-i', '1'], 'starts'), (['--json', 'hgetall', 'h'], 'same'),
    (['--csv', 'lrange', 'l', '0', '-1'], 'same'), (['-3', 'config', 'get', 'hz'], 'same'),
    (['info', 'nosuch'], 'same'), (['memory', 'doctor'], 'status'),
    (['latency', 'doctor'], 'status'), (['command', 'docs', 'get'], 'same'),
    (['--lru-test', '100'], 'starts'),  # It writes keys.
)
LINES = 3
# Of --bigkeys and relatives: what was largest until then depends on the order of SCAN.
PROGRESS = re.compile(r'^\[\d\d\.\d\d%\]')
# Of several keys as large any may be named; memory has other sizes.
NAME = re.compile(r'"[^"]*"')


def plain(text, how):
    lines = [line.rstrip() for line in text.replace('\r', '\n').split('\n')]
    lines = [line for line in lines if line and not PROGRESS.match(line)]
    if how in ('form', 'starts'):
        lines = [' '.join(re.sub(r'\d+(\.\d+)?[BKMG]?', 'N', NAME.sub('NAME', line)).split())
                 for line in lines]
    return lines[:LINES] if how == 'starts' else sorted(lines)


def run(path, words, how):
    command = ['redis-cli', '-s', path] + words
    if how != 'starts':
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              stdin=subprocess.DEVNULL, timeout=TOOL_SECONDS_MAX, check=False)
        return done.returncode, done.stdout if how != 'status' else ''
    if shutil.which('stdbuf') is not None:  # Else lines come when there are many.
        command = ['stdbuf', '-oL'] + command
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, text=True) as process:
        text = ''.join(process.stdout.readline() for _ in range(LINES))
        process.kill()
    return 0, text


def fill(path):
    conn = Conn(path)
    for i in range(KEYS):
        conn.call('SET', 'k%d' % i, 'v' * (1 + i % 7))
    for words in ('RPUSH l a b c', 'SADD s a b', 'ZADD z 1 a 2 b', 'HSET h f v g w'):
        conn.call(*words.split())
    for i in range(HOT):  # Each with a counter of its own, so that nothing has to be chosen.
        for _ in range(10 + i):
            conn.call('GET', 'k%d' % i)
    conn.close()


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--server', required=True)
    p.add_argument('--shards', type=int, default=1)
    args = p.parse_args()
    redis = shutil.which('redis-server')
    if redis is None or shutil.which('redis-cli') is None:
        print('SKIP: there is no redis-server or no redis-cli')
        return SKIP
    shards = ['--clustering-policy', 'enterprise', '--shards', str(args.shards)] \
        if args.shards > 1 else []
    failed = 0
    with side_by_side([redis, '--save', '', '--appendonly', 'no', '--databases', '1'] + LFU,
                      [args.server] + LFU + shards) as places:
        for path in places:
            fill(path)
        for words, how in TOOLS:
            (code, text), (our_code, our_text) = [run(path, words, how) for path in places]
            wanted, got = plain(text, how), plain(our_text, how)
            if (code, wanted) != (our_code, got):
                failed += 1
                print('redis-cli %s: status %d, only here %s, only of redis-server %s'
                      % (' '.join(words), our_code, [x for x in got if x not in wanted],
                         [x for x in wanted if x not in got]))
    print('%d tools, %d differ' % (len(TOOLS), failed))
    return int(failed != 0)


if __name__ == '__main__':
    sys.exit(main())
