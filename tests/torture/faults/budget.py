#!/usr/bin/env python3
"""maxflash: growth is refused before the directory is larger, and goes on when there is room.

Fills until -OOM, checks that the directory is within maxflash and that reads, deletes and expiry go
on, deletes most of it, waits until writes are taken again, fills once more, takes a checkpoint
(which counts, too), and restarts: what was acknowledged must be there.
"""

import os
import sys

from faultlib import MB, WAIT_S, Fixture, main_of, tree_bytes, wait_until

MAXFLASH = 96 * MB
# What a compaction has written counts before what it replaces is gone.
OVERSHOOT = 1.25


def fill(fix, first, generation):
    at, refusal = fix.fill(first, 10 ** 6, generation)
    assert refusal and refusal.startswith(b'OOM ') and b'maxflash' in refusal, refusal
    size = tree_bytes(fix.data)
    assert size <= MAXFLASH * OVERSHOOT, 'the directory grew to %.1f MB' % (size / MB)
    return at


def run_on(fix):
    stopped = fill(fix, 0, 1)
    keys = sorted(fix.model)
    print('refused at %d keys; directory %.1f MB' % (len(keys), tree_bytes(fix.data) / MB))
    assert len(keys) * fix.value_len > MAXFLASH // 4, 'refused too early'
    fix.check(keys[::97])
    assert fix.conn.call('PEXPIRE', keys[0], 1) == 1
    del fix.model[keys[0]]
    gone = [key for i, key in enumerate(keys[1:]) if i % 4 != 0]
    fix.delete(gone)
    fix.check(gone[::97])
    # Again and again: garbage must not pile up.
    for generation in range(2, 6):
        fix.fill_to(len(keys) * 3 // 4, generation)
        fill(fix, stopped, generation)
        print('and again at %d keys; directory %.1f MB' % (
            len(fix.model), tree_bytes(fix.data) / MB))
        fix.delete(sorted(fix.model)[:len(fix.model) // 2])
    print('after 5 rounds %d keys; directory %.1f MB' % (
        len(fix.model), tree_bytes(fix.data) / MB))
    # A checkpoint holds tables back when they are replaced: then both count.
    fix.delete(sorted(fix.model)[::2])
    wait_until('room after deleting', WAIT_S, fix.probe)
    assert fix.conn.call('SAVE') == b'OK'
    checkpoints = tree_bytes(os.path.join(fix.data, 'checkpoints'))
    assert checkpoints > len(fix.model) * fix.value_len, 'the checkpoint is incomplete'
    wait_until('the checkpoint counts', WAIT_S,
               lambda: fix.number('flash_dir_bytes') >= checkpoints)


def run(args):
    options = {'maxflash': MAXFLASH, 'maxmemory': '256mb', 'appendfsync': 'no'}
    fix = Fixture(args, options, 'budget')
    try:
        fix.start()
        run_on(fix)
        assert fix.server.kill() is None, 'the server ended by itself'
        fix.start()
        fix.check(sorted(fix.model)[::7])
        code = fix.stop()
        assert code == 0, 'exit code %s' % code
    except BaseException:
        fix.fail()
        raise
    fix.finish()


if __name__ == '__main__':
    sys.exit(main_of(__doc__, run))
