"""A connection that reads RESP2 and RESP3."""
from node import Conn, ErrorReply


class Conn3(Conn):
    """Maps come as flat lists, doubles and big numbers as bytes. Pushes, which come at any time
    from CLIENT TRACKING, are passed over."""

    def reply(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind in b'$=':
            return self._bulk(int(rest))
        if kind == b'>':
            for _ in range(int(rest)):
                self.reply()
            return self.reply()
        if kind in b'*~':
            count = int(rest)
            return None if count < 0 else [self.reply() for _ in range(count)]
        if kind == b'%':
            return [self.reply() for _ in range(2 * int(rest))]
        if kind == b'+' or kind in b',(':
            return rest
        if kind == b':':
            return int(rest)
        if kind == b'-':
            return ErrorReply(rest)
        if kind == b'_':
            return None
        if kind == b'#':
            return rest == b't'
        raise AssertionError('not RESP: %r' % line)

    def _bulk(self, length):
        if length < 0:
            return None
        while len(self.buf) - self.pos < length + 2:
            self._fill()
        data = bytes(self.buf[self.pos:self.pos + length])
        self.pos += length + 2
        return data
