"""Compares a server that was started again with the model."""

import time

from model import check_order, read_command
from node import Conn, ServerGone
from state import Short

# Of the keys that the last load did not touch, this part is read all the same.
SAMPLE_PART = 0.1


def read_all(conn, keys):
    """key -> (reply, TTL, start, end)."""
    out = {}
    keys = sorted(keys)
    for at in range(0, len(keys), 128):
        some = keys[at:at + 128]
        start = time.monotonic()
        replies = conn.pipeline([c for k in some for c in (read_command(k), [b'TTL', k])])
        end = time.monotonic()
        out.update((k, (reply, ttl, start, end))
                   for k, reply, ttl in zip(some, replies[::2], replies[1::2]))
    return out


def scan_all(conn):
    names, cursor = set(), b'0'
    while True:
        cursor, some = conn.call('SCAN', cursor, 'COUNT', 1000)
        names.update(some)
        if cursor == b'0':
            return names


def keyspace_counts(conn):
    """Keys and keys with an expiry, as INFO has them."""
    for line in conn.call('INFO', 'keyspace').split(b'\r\n'):
        if line.startswith(b'db0:'):
            fields = dict(f.split(b'=') for f in line[4:].split(b','))
            return int(fields[b'keys']), int(fields[b'expires'])
    return 0, 0


def check_counts(conn, writers):
    """DBSIZE, INFO and the model must agree on how many keys there are."""
    due = sum(1 for w in writers for v in w.base.values.values() if not isinstance(v, Short))
    expiring = sum(len(w.base.expiring) for w in writers)
    short = sum(1 for w in writers for k in w.keys if k[:1] == b't')
    count = conn.call('DBSIZE')
    if not due <= count <= due + short:
        return 'DBSIZE %d, due %d and up to %d that expire' % (count, due, short)
    keys, expires = keyspace_counts(conn)
    if not due <= keys <= due + short:
        return 'INFO keys %d, due %d and up to %d that expire' % (keys, due, short)
    if not expiring <= expires <= expiring + short:
        return 'INFO expires %d, due %d and up to %d that expire' % (expires, expiring, short)
    return ''


def check_names(conn, writers):
    """SCAN must show what is there."""
    due = {k for w in writers for k, v in w.base.values.items() if not isinstance(v, Short)}
    short = {k for w in writers for k in w.keys if k[:1] == b't'}
    names = scan_all(conn)
    if names - due - short:
        return 'SCAN shows keys that must not be there: %r' % sorted(names - due - short)[:5]
    if due - names:
        return 'SCAN does not show %r' % sorted(due - names)[:5]
    return ''


def verify(path, writers, rng, full, not_after=None, one_log=True):
    """
    Finds for each connection how many operations are there, and makes that its new base. Returns
    (text, lost): the text is empty if all is well; lost is the age of the oldest acknowledged
    operation that is missing, in seconds before not_after[1]. `not_after`: (time up to which what
    was acknowledged must be there, time of the crash); None: all that was acknowledged. `full`: all
    keys are read; else those that were touched, and some of the others. `one_log`: of all
    connections; else they may be in different shards, which know no common order.
    """
    try:
        conn = Conn(path)
        result = _verify(conn, writers, rng, full, not_after, one_log)
        conn.close()
        return result
    except ServerGone:
        return 'the server ended during the check', 0.0


def _verify(conn, writers, rng, full, not_after, one_log):
    ranges, lost = [], 0.0
    for i, writer in enumerate(writers):
        keys = writer.keys if full else writer.touched()
        if not full:
            keys |= {k for k in writer.keys if rng.random() < SAMPLE_PART}
        actual = read_all(conn, keys)
        n_min = writer.acked if not_after is None else writer.bound(not_after[0])
        found, text = writer.find(actual, n_min)
        if found is None:
            return 'connection %d: %s' % (i, text), lost
        ranges.append(found)
        if found[1] < writer.acked:
            lost = max(lost, not_after[1] - writer.log[found[1]].acked)
    text = check_order(writers, ranges) if one_log else ''
    for writer, found in zip(writers, ranges):
        writer.accept(found[0])
    text = text or check_counts(conn, writers)
    if full:
        text = text or check_names(conn, writers)
    return text, lost
