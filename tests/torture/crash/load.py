"""Writers: threads that send pipelined operations and keep the model of what they did."""

import threading
import time

from model import matches
from node import Conn, ErrorReply, ServerGone, encode
from state import ANY, NO_KEY, OUT_OF_RANGE, apply_op


class Violation(Exception):
    """The server answered something wrong while it ran."""


def _refused(reply):
    """An error that says: nothing was done, for want of room."""
    if not isinstance(reply, ErrorReply) or reply in (NO_KEY, OUT_OF_RANGE):
        return False
    if reply.startswith((b'OOM', b'EXECABORT')):
        return True
    raise Violation('error reply: %r' % bytes(reply))


def take_replies(conn, op):
    """Reads the replies to an operation: one per command, None where it was refused."""
    if not op.multi:
        reply = conn.reply()
        if _refused(reply):
            op.done = ()
        return [reply]
    for _ in range(len(op.commands) + 1):
        _refused(conn.reply())
    replies = conn.reply()
    if _refused(replies):
        op.done = ()
        return []
    op.done = tuple(i for i, r in enumerate(replies) if not _refused(r))
    return replies


class Client(threading.Thread):
    """Sends operations until the server is gone, or until told to stop."""

    def __init__(self, path, writer, generator, pipeline, pause):
        super().__init__(daemon=True)
        self.path = path
        self.writer = writer
        self.generator = generator
        self.pipeline = pipeline
        self.pause = pause
        self.stop = False
        self.failure = None

    def run(self):
        try:
            conn = Conn(self.path)
            while not self.stop:
                self.turn(conn)
                if self.pause:
                    time.sleep(self.pause)
            conn.close()
        except ServerGone:
            pass
        except OSError as err:
            if not isinstance(err, (ConnectionError, FileNotFoundError)):
                self.failure = repr(err)
        except Exception as err:  # pylint: disable=broad-except
            self.failure = '%s: %s' % (type(err).__name__, err)

    def turn(self, conn):
        writer = self.writer
        count = self.generator.rng.randint(1, self.pipeline)
        ops = [self.generator.op(writer) for _ in range(count)]
        data = b''.join(encode(c) for op in ops for c in op.wire())
        now = time.monotonic()
        for op in ops:
            writer.keys.update(op.keys())
            writer.sent(op, now)
        conn.send(data)
        for op in ops:
            replies = take_replies(conn, op)
            op.acked = time.monotonic()
            self.check(op, replies)
            writer.acked += 1

    def check(self, op, replies):
        """What the server says while it runs is compared as well."""
        if op.done is not None and len(op.done) < len(op.commands):
            self.writer.refused += 1
        due = apply_op(self.writer.state, op)
        if op.expect is not None:
            value = self.writer.state.get(op.expect)
            if not matches(value, replies[0], op.sent, op.acked):
                raise Violation('%r reads %r' % (op.expect, replies[0] and replies[0][:80]))
            return
        for i, reply in enumerate(replies):
            done = op.done is None or i in op.done
            if done and due[i] is not ANY and reply != due[i]:
                raise Violation('%r: reply %r, due %r' % (op.commands[i][:3], reply, due[i]))
