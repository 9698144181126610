"""A network between members that can be taken apart: a network namespace each, on one bridge."""

import json
import os
import subprocess

PORT = 7000
# Nobody's: the bridge brings it to all, and none takes it.
NOWHERE = '02:00:00:00:00:99'


class NoNetwork(Exception):
    """Namespaces cannot be made here."""


def ip(*args, check=True):
    done = subprocess.run(('ip',) + args, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          check=False)
    if check and done.returncode != 0:
        raise NoNetwork('ip %s: %s' % (' '.join(args), done.stderr.decode().strip()))


class Net:
    """`count` places with addresses 10.77.0.1, 10.77.0.2, ..."""

    def __init__(self, count, work):
        self.count = count
        self.tag = 'tg%d' % os.getpid()
        self.hub = self.tag + 'h'
        self.work = work
        self.blocked = {}  # (from, to): told
        try:
            ip('netns', 'add', self.hub)
            ip('-n', self.hub, 'link', 'add', 'name', 'hub0', 'type', 'bridge')
            ip('-n', self.hub, 'link', 'set', 'hub0', 'up')
            for i in range(count):
                self.plug_in(i)
        except (NoNetwork, FileNotFoundError) as err:
            self.remove()
            raise NoNetwork(str(err)) from err

    def plug_in(self, i):
        name = self.name(i)
        ip('netns', 'add', name)
        ip('-n', self.hub, 'link', 'add', 'name', 'v%d' % i, 'type', 'veth', 'peer', 'name', 'eth0',
           'netns', name)
        ip('-n', self.hub, 'link', 'set', 'v%d' % i, 'master', 'hub0')
        ip('-n', self.hub, 'link', 'set', 'v%d' % i, 'up')
        ip('-n', name, 'link', 'set', 'lo', 'up')
        ip('-n', name, 'addr', 'add', self.address(i) + '/24', 'dev', 'eth0')
        ip('-n', name, 'link', 'set', 'eth0', 'up')

    def name(self, i):
        return '%s-%d' % (self.tag, i)

    def address(self, i):
        return '10.77.0.%d' % (i + 1)

    def program(self, i, program):
        """A program that is `program` in that place; the process is the same."""
        path = os.path.join(self.work, 'in-%d' % i)
        with open(path, 'w', encoding='utf-8') as file:
            file.write('#!/bin/sh\nexec ip netns exec %s %s "$@"\n' % (self.name(i), program))
        os.chmod(path, 0o755)
        return path

    def block(self, a, b, told=False):
        """What `a` sends to `b` is lost: on the way, or `told`, so that the sender has an error."""
        if (a, b) in self.blocked:
            return
        self.blocked[a, b] = told
        if told:
            ip('-n', self.name(a), 'route', 'add', 'blackhole', self.address(b))
        else:
            ip('-n', self.name(a), 'neigh', 'replace', self.address(b), 'lladdr', NOWHERE,
               'dev', 'eth0', 'nud', 'permanent')

    def heal(self):
        for (a, b), told in self.blocked.items():
            if told:
                ip('-n', self.name(a), 'route', 'del', 'blackhole', self.address(b), check=False)
            else:
                ip('-n', self.name(a), 'neigh', 'del', self.address(b), 'dev', 'eth0', check=False)
        self.blocked.clear()

    def sent_bytes(self):
        """What all places have sent, packets that were lost included."""
        done = subprocess.run(('ip', '-n', self.hub, '-s', '-j', 'link', 'show'),
                              stdout=subprocess.PIPE, check=True)
        return sum(link['stats64']['rx']['bytes'] for link in json.loads(done.stdout)
                   if link['ifname'].startswith('v'))

    def remove(self):
        for i in range(self.count):
            ip('netns', 'del', self.name(i), check=False)
        ip('netns', 'del', self.hub, check=False)
