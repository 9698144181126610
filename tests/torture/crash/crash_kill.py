#!/usr/bin/env python3
"""kill -9 under load: nothing acknowledged may be lost, nothing may be there that was not written.

Each cycle lets several connections write to a server, kills it at a random moment, starts it again
with another configuration (and in some cycles kills it during that start, too), compares what is
there with a model (model.py), and goes on with that server. Some cycles end it by SIGTERM instead.
Every so often the directory is begun anew. The death of the process does not empty the page cache:
hence nothing acknowledged may be missing under any appendfsync.

Prints the seed. The data of a failure is kept.
"""

import sys
import time

import rig
from check import verify

# Cycles on one data directory, and between two checks of all keys.
LIFE_CYCLES = 20
FULL_CYCLES = 7
ACTIONS = (None, 'press', 'press', ('BGSAVE',), ('BGREWRITEAOF',), ('DEBUG', 'RELOAD'),
           ('CONFIG', 'SET', 'appendfsync', 'always'), ('CONFIG', 'SET', 'appendfsync', 'no'))


class Torture(rig.Rig):
    def random_options(self):
        rng = self.rng
        self.options = self.base_options()
        self.options.update({
            'appendfsync': rng.choice(('always', 'everysec', 'no')),
            'io-backend': rng.choice(('auto', 'epoll')),
            'store-direct-reads': rng.choice(('yes', 'no')),
        })

    def load(self):
        """Writes under way, and the end of the server."""
        rng = self.rng
        if rng.random() < 0.05:
            self.flush_unfinished()
            return
        clients = self.begin_load()
        if rng.random() < 0.15:
            self.stir(rng.random() * self.args.seconds / 2, (None,))
            self.quiesce(clients)
            self.flush_all()
            clients = self.begin_load()
        if rng.random() < 0.9:
            self.await_progress()
        self.stir(rng.random() * rng.choice((0.02, 0.1, 0.3, self.args.seconds)), ACTIONS)
        if rng.random() < 0.1:
            self.quiesce(clients)
            self.stop()
            self.count('clean_ends')
        else:
            self.kill()
            self.join_load(clients)
            self.count('kills')

    def second_kill(self):
        self.start(wait=False)
        time.sleep(self.rng.random() * 0.15)
        self.kill()
        self.count('kills_in_recovery')

    def cycle(self, number):
        rng = self.rng
        begins = number % LIFE_CYCLES == 0
        if begins:
            self.end()
            self.new_life()
            self.random_options()
            self.start()
        self.make_generators()
        for writer in self.writers:
            writer.begin()
        self.load()
        self.note_load()
        while rng.random() < 0.3:
            self.second_kill()
        full = number % FULL_CYCLES == FULL_CYCLES - 1
        if full:
            self.inspect()
        self.random_options()
        self.start()
        text, _ = verify(self.server.socket_path, self.writers, rng, full,
                         one_log=self.shards == 1)
        if text:
            raise rig.Failure(text)
        if self.args.verbose:
            print('cycle %d: %s' % (number, self.totals))

    def end(self):
        if self.server is not None:
            self.stop()
            self.inspect()


def main():
    args = rig.parser_of(__doc__, 100).parse_args()
    failures = rig.run(args, Torture)
    for text in failures:
        print('FAILED: ' + text)
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
