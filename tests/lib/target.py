"""Targets of MIGRATE that do what a test wants."""

import socket
import threading


class Fake:
    """A target that answers the n-th command of a connection by answer(n, words): bytes, None
    (nothing), or False: it hangs up."""

    def __init__(self, answer):
        self.answer = answer
        self.sock = socket.socket()
        self.sock.bind(('127.0.0.1', 0))
        self.sock.listen()
        self.port = self.sock.getsockname()[1]
        self.got = []
        self.news = threading.Condition()
        self.peers = []
        self.runs = threading.Thread(target=self.run, daemon=True)
        self.runs.start()

    def run(self):
        while True:
            try:
                peer = self.sock.accept()[0]
            except OSError:
                return
            self.peers.append(peer)
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        file = peer.makefile('rb')
        try:
            for n in range(1 << 30):
                line = file.readline()
                if not line:
                    break
                words = []
                for _ in range(int(line[1:])):
                    words.append(file.read(int(file.readline()[1:]) + 2)[:-2])
                with self.news:
                    self.got.append(words)
                    self.news.notify_all()
                reply = self.answer(n, words)
                if reply is False:
                    # What it has said before arrives: it takes all that is still sent.
                    peer.shutdown(socket.SHUT_WR)
                    while file.read(65536):
                        pass
                    break
                if reply:
                    peer.sendall(reply)
        except (OSError, ValueError):
            pass
        file.close()
        peer.close()

    def got_of(self, word):
        """How many of these commands it has got."""
        with self.news:
            return sum(w[0] == word for w in self.got)

    def wait(self, word, count=1):
        """Until it has got so many of these commands."""
        with self.news:
            assert self.news.wait_for(
                lambda: sum(w[0] == word for w in self.got) >= count, 600), self.got

    def close(self):
        # Closing wakes no thread that is in accept(). When SIGCONT makes the kernel begin the call
        # again, it would take connections of who has the number of the descriptor by then.
        self.sock.shutdown(socket.SHUT_RDWR)
        self.runs.join()
        self.sock.close()
        for peer in self.peers:
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def greets(then):
    """A fake that lets in: the rest is up to then(n of RESTORE, words)."""
    def answer(n, words):
        if words[0] in (b'AUTH', b'SELECT'):
            return b'+OK\r\n'
        return then(n - 1, words)
    return Fake(answer)
