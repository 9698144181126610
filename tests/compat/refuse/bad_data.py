#!/usr/bin/env python3
"""Damage in the data directory, met by a start: refused with file and offset and what to do next.

A torn end that was never durable is no damage: it is cut, and the server starts.

usage: bad_data.py tierra-server
"""

import glob
import os
import shutil

from refuselib import EXIT_DATA, EXIT_DISK, WAIT_SECONDS_MAX, main_of

from node import encode  # pylint: disable=wrong-import-order

VALUE = b'v' * 3000
HEADER_BYTES = 4096
WAY_OUT = 'accept-loss'


def fill(place, count, **options):
    """So many keys, one record each; killed. Several segments."""
    server = place.start(oplog_segment_bytes='1mb', **options)
    conn = place.conn(server)
    replies = conn.pipeline([[b'SET', b'key:%d' % i, VALUE] for i in range(count)], 50)
    assert all(reply == b'OK' for reply in replies), replies[:3]
    conn.close()
    server.kill()


def used_segments(directory):
    """Segments with a header of their own: spares have zeros, or an older number."""
    used = []
    for path in sorted(glob.glob(os.path.join(directory, 'shard-000/oplog/*.log'))):
        with open(path, 'rb') as file:
            head = file.read(32)
        number = int(os.path.basename(path)[:16], 16)
        if head[:8] == b'TIERRALG' and int.from_bytes(head[24:32], 'little') == number:
            used.append(path)
    return used


def flip(path, offset):
    with open(path, 'r+b') as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


def content_end(path):
    with open(path, 'rb') as file:
        return len(file.read().rstrip(b'\0'))


def present(place, count):
    """How many keys are there; all others must be absent, those must be right."""
    server = place.start()
    conn = place.conn(server)
    values = conn.pipeline([[b'GET', b'key:%d' % i] for i in range(count)])
    conn.close()
    place.check('the end after damage', server.stop() == 0)
    there = sum(value is not None for value in values)
    place.check('values after damage', all(v in (VALUE, None) for v in values))
    return there, values[:there] == [VALUE] * there


def torn_end(place):
    fill(place, 500, appendfsync='no')
    last = used_segments(place.data)[-1]
    os.truncate(last, content_end(last) - 100)
    place.check('a torn end is cut', present(place, 500) == (499, True))


def segment(place, name):
    return os.path.join(place.data, 'shard-000', 'oplog', name)


def damaged_log(place, clean):
    names = [os.path.basename(path) for path in used_segments(clean)]
    place.check('several segments', len(names) >= 3, names)
    for name in names[0], names[1], names[-1]:
        place.copy_data(clean)
        flip(segment(place, name), HEADER_BYTES + 2000)
        place.refuses_data('a flipped bit in %s' % name, EXIT_DATA,
                           (name, 'offset', WAY_OUT))
        place.copy_data(clean)
        flip(segment(place, name), 50)
        place.refuses_data('a flipped bit in the header of %s' % name, EXIT_DATA, (name, WAY_OUT))
    for name in names:
        place.copy_data(clean)
        os.unlink(segment(place, name))
        place.refuses_data('%s missing' % name, EXIT_DATA, ('oplog', WAY_OUT))
    for name in names[0], names[-1]:
        place.copy_data(clean)
        os.truncate(segment(place, name), HEADER_BYTES + 50000)
        place.refuses_data('%s cut' % name, EXIT_DATA, (name, 'offset', WAY_OUT))
    place.copy_data(clean)
    os.unlink(segment(place, 'watermark'))
    place.refuses_data('the watermark missing', EXIT_DATA, ('watermark', WAY_OUT))
    place.copy_data(clean)
    shutil.rmtree(os.path.dirname(segment(place, 'watermark')))
    place.refuses_data('the log missing', EXIT_DATA, ('oplog', WAY_OUT))
    # Refused again, and then accepted: what can be read is there.
    place.copy_data(clean)
    flip(segment(place, names[-1]), HEADER_BYTES + 2000)
    place.refuses_data('once', EXIT_DATA, (names[-1],))
    place.refuses_data('and again', EXIT_DATA, (names[-1],))
    server = place.start(accept_loss='yes')
    place.check('the end after a loss was accepted', server.stop() == 0)
    there, _ = present(place, 1000)
    place.check('what is left after an accepted loss', 900 < there < 1000, there)


def damaged_store(place, clean):
    """Everything is in the store; the log does not have it any more."""
    tables = glob.glob(os.path.join(clean, 'shard-000/store-*/*.sst'))
    place.check('a table', len(tables) >= 1)
    name = os.path.relpath(tables[0], clean)
    place.copy_data(clean)
    os.unlink(os.path.join(place.data, name))
    # RocksDB looks for it under an older ending, too, and names that.
    place.refuses_data('a table missing', EXIT_DATA, (os.path.basename(name)[:-len('sst')],))
    for name in ('shard-000/store-*/CURRENT', 'shard-000/store-*/FORMAT'):
        place.copy_data(clean)
        for path in glob.glob(os.path.join(place.data, name)):
            os.unlink(path)
        place.refuses_data(name + ' missing', EXIT_DATA, ('shard-000',))
    place.copy_data(clean)
    manifest = glob.glob(os.path.join(place.data, 'shard-000/store-*/MANIFEST-*'))[0]
    flip(manifest, os.path.getsize(manifest) // 2)
    place.refuses_data('a flipped bit in the manifest', EXIT_DATA, ('store-',))
    # The store after FLUSHALL: without CURRENT it must not be taken for a leftover.
    place.copy_data(clean)
    server = place.start()
    conn = place.conn(server)
    conn.call('FLUSHALL')
    conn.call('SET', 'key:0', VALUE)
    conn.close()
    server.stop()
    current = os.path.join(place.data, 'shard-000/CURRENT')
    with open(current, 'rb') as file:
        text = file.read()
    os.unlink(current)
    place.refuses_data('CURRENT missing', EXIT_DATA, ('shard-000/CURRENT', 'missing'))
    for changed in b'', b'x' * 1000, b'store-x\n':
        with open(current, 'wb') as file:
            file.write(changed)
        place.refuses_data('CURRENT of %d bytes' % len(changed), (EXIT_DATA, EXIT_DISK),
                           ('shard-000/CURRENT',))
    with open(current, 'wb') as file:
        file.write(text)
    place.check('nothing was removed meanwhile', present(place, 1) == (1, True))


def run(place):
    torn_end(place)
    shutil.rmtree(place.data)
    fill(place, 1000, appendfsync='always')
    clean = os.path.join(place.work, 'clean')
    shutil.copytree(place.data, clean)
    damaged_log(place, clean)
    # Then the store has everything. By a signal, what a busy disk delays is left to the log.
    place.copy_data(clean)
    server = place.start()
    conn = place.conn(server)
    conn.send(encode([b'SHUTDOWN', b'SAVE']))
    place.check('the end', server.process.wait(WAIT_SECONDS_MAX) == 0)
    conn.close()
    shutil.rmtree(clean)
    shutil.copytree(place.data, clean)
    damaged_store(place, clean)


if __name__ == '__main__':
    main_of(run)
