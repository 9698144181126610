"""Clusters for tests: of redis-servers, and one tierra-server under clustering-policy oss."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

from diff_cmds import Conn, flat

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))

from ports import free_ports  # noqa: E402  pylint: disable=C0413

WAIT_SECONDS_MAX = 240
PORT_TAKEN = 5  # Exit status of tierra-server.
SLOTS = 16384


def wait_until(what, condition):
    end = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.01)


def first_slot(node, nodes):
    return (node * SLOTS + nodes - 1) // nodes


class Cluster:
    """`ports`: of the nodes, in the order of their slots."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix='tierra-cluster-')
        self.ports, self.processes = [], []

    def conn(self, node):
        return Conn(self.ports[node])

    def spawn(self, command, name):
        log = open(os.path.join(self.directory, name + '.log'), 'ab')
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        return self.processes[-1]

    def answers(self, node):
        try:
            c = self.conn(node)
        except OSError:
            return False
        c.close()
        return True

    def log_text(self):
        out = ''
        for name in os.listdir(self.directory):
            if name.endswith('.log'):
                with open(os.path.join(self.directory, name), encoding='utf8') as file:
                    out += file.read()[-3000:]
        return out

    def stop(self):
        codes = []
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            codes.append(process.wait(timeout=WAIT_SECONDS_MAX))
        self.processes = []
        return codes

    def remove(self):
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Tierra(Cluster):
    """One process; it may be stopped and started again."""

    def __init__(self, server, nodes, *more):
        super().__init__()
        self.server, self.nodes, self.more = server, nodes, list(more)
        self.start()

    def start(self, *more):
        while not self.try_start(*more):
            pass
        return self

    def try_start(self, *more):
        self.ports = free_ports(self.nodes)
        process = self.spawn(
            [self.server, '--port', str(self.ports[0]), '--bind', '127.0.0.1', '--dir',
             os.path.join(self.directory, 'data'), '--clustering-policy', 'oss', '--shards',
             str(self.nodes), '--enable-debug-command', 'yes', *self.more, *more], 'tierra')
        wait_until('the server does not answer',
                   lambda: process.poll() is not None or self.answers(self.nodes - 1))
        if process.poll() is None:
            return True
        self.processes = []
        if process.returncode != PORT_TAKEN:
            raise RuntimeError('the server ended with status %d: %s'
                               % (process.returncode, self.log_text()))
        return False


class Redis(Cluster):
    """A process a node; the slots are spread as Tierra spreads its own."""

    def __init__(self, nodes, *more):
        super().__init__()
        first = free_ports(2 * nodes)[0]
        self.ports = [first + i for i in range(nodes)]
        for i, port in enumerate(self.ports):
            place = os.path.join(self.directory, 'node%d' % i)
            os.mkdir(place)
            self.spawn(['redis-server', '--port', str(port), '--bind', '127.0.0.1', '--dir', place,
                        '--cluster-enabled', 'yes', '--cluster-port', str(first + nodes + i),
                        '--cluster-announce-ip', '127.0.0.1', '--save', '',
                        '--enable-debug-command', 'yes', *more], 'redis%d' % i)
        wait_until('redis-server', lambda: all(self.answers(i) for i in range(nodes)))
        conns = [self.conn(i) for i in range(nodes)]
        for i, c in enumerate(conns):
            c.call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1)
            c.call('CLUSTER', 'ADDSLOTSRANGE', first_slot(i, nodes), first_slot(i + 1, nodes) - 1)
            if i != 0:
                conns[0].call('CLUSTER', 'MEET', '127.0.0.1', self.ports[i], first + nodes + i)
        wait_until('the cluster of redis-servers', lambda: all(self.knows_all(c) for c in conns))

    def knows_all(self, c):
        info = c.call('CLUSTER', 'INFO')[1]
        return b'cluster_state:ok' in info and len(c.call('CLUSTER', 'SLOTS')[1]) == \
            len(self.ports) and b'handshake' not in c.call('CLUSTER', 'NODES')[1]


def ids_of(cluster):
    """The ids of the nodes, in order."""
    return [flat(cluster.conn(i).call('CLUSTER', 'MYID'))[0] for i in range(len(cluster.ports))]


class Client:
    """As a client of a cluster does it: asks the first node, and goes where it is sent."""

    def __init__(self, cluster):
        self.cluster, self.conns, self.redirections = cluster, {}, 0

    def at(self, port):
        if port not in self.conns:
            self.conns[port] = Conn(port)
        return self.conns[port]

    def call(self, *args):
        kind, value = self.at(self.cluster.ports[0]).call(*args)
        if kind == '-' and value.startswith(b'MOVED '):
            self.redirections += 1
            kind, value = self.at(int(value.rsplit(b':', 1)[1])).call(*args)
        if kind == '-':
            raise RuntimeError('%r: %r' % (args, value))
        return value

    def close(self):
        for c in self.conns.values():
            c.close()
