#!/usr/bin/env python3
"""CLIENT PAUSE while a reply is sent from flash: a client that is held back by it for longer than
one that does not read may take keeps its connection, and gets the whole reply.

Takes the time of the pause.

usage: paused_stream.py SERVER
"""

import sys

from smoke_shards import check, info, main_of, value, wait_for

FIELDS, PAD = 120000, b'v' * 200
# A client that takes nothing of a reply is let go after 30 s.
PAUSE_MS = 36000


def fill(c):
    for first in range(0, FIELDS, 500):
        args = ['HSET', 'h']
        for i in range(first, first + 500):
            args += [b'f%d' % i, PAD]
        reply = c.call(*args)
        if reply != (':', b'500'):
            sys.exit('HSET: %r' % (reply,))


def run(node):
    c = node.start('--maxmemory', '48mb')
    fill(c)
    check('DEBUG COLD', value(c, 'DEBUG', 'COLD', '1'), b'OK')
    wait_for('cold', lambda: value(c, 'DEBUG', 'OBJECT', 'h') == b'tier:flash')
    reader = node.connect()
    reader.sock.settimeout(PAUSE_MS / 1000 * 3)
    reader.send([['HGETALL', 'h']])
    # It has begun, and is too long to have been sent whole.
    line = reader.file.readline()
    check('head', line, b'*%d\r\n' % (FIELDS * 2))
    check('CLIENT PAUSE', value(c, 'CLIENT', 'PAUSE', PAUSE_MS, 'ALL'), b'OK')
    fields = {}
    for _ in range(FIELDS):
        field = reader.read()[1]
        fields[field] = reader.read()[1]
    check('fields', len(fields), FIELDS)
    check('values', set(fields.values()), {PAD})
    check('still connected', value(reader, 'HLEN', 'h'), b'%d' % FIELDS)
    check('nobody was closed', int(info(c)['connected_clients']), 2)
    node.process.terminate()
    check('exit status', node.end(), 0)


if __name__ == '__main__':
    sys.exit(main_of(run, []))
