"""Ways between members on one machine that can be held back and cut, with no rights needed: each
member tells the others the address of a forwarder, and listens behind it (group-bind)."""

import os
import socket
import threading

from grouplib import free_ports

CHUNK = 1 << 16
OPEN, HELD, CUT = 'open', 'held', 'cut'


def inode_of(port):
    """The inode of the local socket with that port that is connected, or None."""
    with open('/proc/net/tcp', encoding='ascii') as table:
        for line in table.readlines()[1:]:
            words = line.split()
            if int(words[1].split(':')[1], 16) == port:
                return words[9]
    return None


def holds(pid, inode):
    folder = '/proc/%d/fd' % pid
    try:
        return any(os.readlink(os.path.join(folder, fd)) == 'socket:[%s]' % inode
                   for fd in os.listdir(folder))
    except OSError:
        return False


class Pair:
    """A connection that came, and the one behind it."""

    def __init__(self, near, far, dialer, target):
        self.ends, self.names, self.gone = (near, far), (dialer, target), False
        self.stranded = False

    def close(self):
        self.gone = True
        for end in self.ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Ways:
    """All ways of a group. One goes from each member to each other; `between` sets how it is."""

    def __init__(self, group):
        self.group = group
        self.state = {}
        self.left = {}  # By way: bytes until it is held by itself.
        self.pairs = []
        self.changed = threading.Condition()
        self.forwarded = 0  # Bytes.

    def make(self, names):
        """Members, not started yet."""
        made = self.group.make(names)
        for m, port in zip(made, free_ports(len(made))):
            m.extra['group-bind'] = '127.0.0.1:%d' % port
            listening = socket.create_server(('127.0.0.1', int(m.address.split(':')[1])))
            threading.Thread(target=self._accept, args=(listening, m, port), daemon=True).start()
        return made

    def between(self, sources, targets, state):
        """CUT: no connection, in no direction. HELD: bytes wait, in this direction."""
        with self.changed:
            for a in sources:
                for b in targets:
                    self.state[a.name, b.name] = state
            for pair in self.pairs:
                if CUT in (self._state(*pair.names), self._state(*pair.names[::-1])):
                    pair.close()
            self.changed.notify_all()

    def hold_after(self, source, target, count):
        """So many bytes more pass in this direction, then it is HELD."""
        with self.changed:
            self.left[source.name, target.name] = count

    def strand(self):
        """No end of a connection of now hears from the other any more, not even that it closes."""
        with self.changed:
            for pair in self.pairs:
                pair.stranded = True

    def is_held(self, source, target):
        with self.changed:
            return self._state(source.name, target.name) == HELD

    def all(self, state):
        self.between(self.group.all, self.group.all, state)

    def isolate(self, member, state=CUT):
        self.between([member], self.group.all, state)
        self.between(self.group.all, [member], state)

    def _count(self, way, count):
        if way not in self.left:
            return
        self.left[way] -= count
        if self.left[way] <= 0:
            del self.left[way]
            self.state[way] = HELD

    def _state(self, a, b):
        return self.state.get((a, b), OPEN)

    def _dialer(self, near):
        """Whose connection it is. None: it is gone already."""
        inode = inode_of(near.getpeername()[1])
        for m in self.group.all:
            if inode and m.server is not None and holds(m.server.process.pid, inode):
                return m.name
        return None

    def _accept(self, listening, target, port):
        while True:
            near, _ = listening.accept()
            try:
                dialer = self._dialer(near)
                far = socket.create_connection(('127.0.0.1', port))
            except OSError:
                near.close()
                continue
            pair = Pair(near, far, dialer, target.name)
            with self.changed:
                self.pairs = [p for p in self.pairs if not p.gone] + [pair]
                if dialer is None or CUT in (self._state(dialer, target.name),
                                             self._state(target.name, dialer)):
                    pair.close()
            for source, to, way in ((near, far, pair.names), (far, near, pair.names[::-1])):
                threading.Thread(target=self._forward, args=(pair, source, to, way),
                                 daemon=True).start()

    def _forward(self, pair, source, to, way):
        try:
            while True:
                data = source.recv(CHUNK)
                with self.changed:
                    self.changed.wait_for(lambda: pair.gone or (
                        self._state(*way) == OPEN and not pair.stranded))
                    self.forwarded += len(data)
                    self._count(way, len(data))
                if not data or pair.gone:
                    break
                to.sendall(data)
        except OSError:
            pass
        pair.close()
