"""Compares a server that was started again with the model."""

import time

from model import Short, check_order, matches, read_command
from node import Conn, ServerGone


def read_all(conn, keys):
    """key -> (reply, start, end)."""
    out = {}
    keys = sorted(keys)
    for at in range(0, len(keys), 256):
        some = keys[at:at + 256]
        start = time.monotonic()
        replies = conn.pipeline([read_command(k) for k in some])
        end = time.monotonic()
        out.update((k, (reply, start, end)) for k, reply in zip(some, replies))
    return out


def scan_all(conn):
    names, cursor = set(), b'0'
    while True:
        cursor, some = conn.call('SCAN', cursor, 'COUNT', 1000)
        names.update(some)
        if cursor == b'0':
            return names


def check_names(conn, writers):
    """SCAN, DBSIZE and the model must agree on which keys there are."""
    due = {k for w in writers for k, v in w.base.items() if not isinstance(v, Short)}
    short = {k for w in writers for k in w.keys if k[:1] == b't'}
    names = scan_all(conn)
    if names - due - short:
        return 'SCAN shows keys that must not be there: %r' % sorted(names - due - short)[:5]
    if due - names:
        return 'SCAN does not show %r' % sorted(due - names)[:5]
    count = conn.call('DBSIZE')
    if not len(due) <= count <= len(due) + len(short):
        return 'DBSIZE %d, SCAN %d, due %d and up to %d that expire' % (
            count, len(names), len(due), len(short))
    return ''


def verify(path, writers, not_after=None, maybe_flushed=False):
    """
    Finds for each connection how many operations are there, and makes that its new base. Returns
    (text, lost): the text is empty if all is well; lost is the age of the oldest acknowledged
    operation that is missing, in seconds before not_after[1]. `not_after`: (time up to which what
    was acknowledged must be there, time of the crash); None: all that was acknowledged.
    """
    try:
        return verify_all(Conn(path), writers, not_after, maybe_flushed)
    except ServerGone:
        return 'the server ended during the check', 0.0


def verify_all(conn, writers, not_after, maybe_flushed):
    ranges, lost = [], 0.0
    for i, writer in enumerate(writers):
        actual = read_all(conn, writer.keys)
        if maybe_flushed and all(matches(None, *seen) for seen in actual.values()):
            flushed = True
        else:
            flushed = False
        if flushed and i == 0:
            for w in writers:
                w.base = {}
                w.begin()
        n_min = writer.acked if not_after is None else writer.bound(not_after[0])
        found, text = writer.find(actual, n_min)
        if found is None:
            conn.close()
            return 'connection %d: %s' % (i, text), lost
        ranges.append(found)
        if found[1] < writer.acked:
            lost = max(lost, not_after[1] - writer.log[found[1]].acked)
    text = check_order(writers, ranges)
    for writer, found in zip(writers, ranges):
        writer.accept(found[0])
    text = text or check_names(conn, writers)
    conn.close()
    return text, lost
