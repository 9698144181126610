"""The rules of fault_shim.c, which a test changes while the server runs under it."""

import errno
import mmap
import os
import struct

RULES = 16
RULE = struct.Struct('=IIQIIQQ88s')
CALLS = {'any': 0, 'open': 1, 'write': 2, 'sync': 3, 'read': 4}


class Faults:
    """A file of rules, and the environment that puts a server under them."""

    def __init__(self, shim, work):
        self.path = os.path.join(work, 'faults')
        with open(self.path, 'wb') as out:
            out.write(bytes(RULES * RULE.size))
        with open(self.path, 'r+b') as both:
            self.map = mmap.mmap(both.fileno(), RULES * RULE.size)
        self.env = {'LD_PRELOAD': shim, 'TIERRA_FAULTS': self.path}
        self.count = 0

    def add(self, call, path, nth=1, sticky=True, err=errno.EIO, writing=False):
        """From the nth call on, or that one only, calls on files with `path` in theirs fail."""
        at = self.count * RULE.size
        self.map[at:at + RULE.size] = RULE.pack(CALLS[call], err, 0, sticky, writing, 0, 0,
                                                path.encode())
        self.count += 1
        self.set_countdown(self.count - 1, nth)
        return self.count - 1

    def set_countdown(self, number, nth):
        """In one store of the machine: the server looks meanwhile."""
        memoryview(self.map).cast('Q')[(number * RULE.size + 8) // 8] = nth

    def clear(self):
        for number in range(self.count):
            self.set_countdown(number, 0)
        self.count = 0

    def figures(self, number):
        """Calls that matched while the rule was on, and those that failed."""
        return RULE.unpack_from(self.map, number * RULE.size)[5:7]
