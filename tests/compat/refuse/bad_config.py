#!/usr/bin/env python3
"""Configurations that cannot be, addresses and directories that are taken.

The error names the directive, what is allowed, and file and line; each kind has its own exit code.

usage: bad_config.py tierra-server
"""

import os
import socket
import stat

from refuselib import (EXIT_BUSY, EXIT_CONFIG, EXIT_DATA, EXIT_DISK, EXIT_PORT, WAIT_SECONDS_MAX,
                       free_ports, main_of, read_until)

# Directive, value, words of the error.
VALUES = (
    ('appendfsync', 'sometimes', ('everysec', 'always', 'no')),
    ('io-backend', 'foo', ('auto', 'io_uring', 'epoll')),
    ('maxmemory-policy', 'bogus', ('noeviction', 'allkeys-lru')),
    ('clustering-policy', 'bogus', ('none', 'enterprise', 'oss')),
    ('maxmemory', '5zb', ('memory value',)),
    ('maxmemory', '-1', ('memory',)),
    ('port', '70000', ('between 0 and 65535',)),
    ('port', 'x', ('integer',)),
    ('reader-threads', '0', ('between 1 and 64',)),
    ('oplog-segment-bytes', '1kb', ('1048576',)),
    ('store-direct-reads', 'perhaps', ('yes', 'no')),
    ('daemonize', 'yes', ('only', 'no')),
    ('no-such-directive', '1', ('unknown directive',)),
)


def config_values(place):
    for name, value, words in VALUES:
        place.refuses('%s %s' % (name, value), EXIT_CONFIG, (name, value, *words),
                      '--port', '0', '--dir', place.data, '--' + name, value)
        with open(os.path.join(place.work, 'bad.conf'), 'w', encoding='ascii') as file:
            file.write('# first line\nport 0\n%s %s\n' % (name, value))
        place.refuses('%s %s in a file' % (name, value), EXIT_CONFIG,
                      (name, value, 'bad.conf:3', *words), 'bad.conf', '--dir', place.data)
    place.refuses('too few arguments', EXIT_CONFIG, ('port', 'wrong number of arguments'), '--port')
    place.refuses('a missing file', EXIT_CONFIG, ('none.conf', 'No such file'), 'none.conf')
    place.check('nothing is made by a refused start', not os.path.exists(place.data))


def addresses(place):
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        place.refuses('a port that is taken', EXIT_PORT, (port, 'in use'), '--port', port,
                      '--bind', '127.0.0.1', '--dir', place.data)
    place.refuses('an address that is not ours', EXIT_PORT, ('192.0.2.1',), '--port', '1',
                  '--bind', '192.0.2.1', '--dir', place.data)
    place.refuses('a socket in no directory', EXIT_PORT, ('none/socket',), '--port', '0',
                  '--unixsocket', os.path.join(place.work, 'none', 'socket'), '--dir', place.data)


def cluster_ports(place):
    """clustering-policy oss takes a run of ports, which must be there and be free."""
    data = os.path.join(place.work, 'oss')
    oss = ('--clustering-policy', 'oss', '--shards', '4', '--bind', '127.0.0.1', '--dir', data)
    place.refuses('cluster-enabled yes', EXIT_CONFIG, ('clustering-policy oss',), '--port', '0',
                  '--cluster-enabled', 'yes', '--dir', data)
    place.refuses('ports beyond the last', EXIT_CONFIG, ('4 shards', '65533', 'up to 65536'),
                  '--port', '65533', *oss)
    place.refuses('announced ports beyond the last', EXIT_CONFIG,
                  ('cluster-announce-port 65534', 'up to 65537'), '--port', '7000',
                  '--cluster-announce-port', '65534', *oss)
    place.refuses('too many shards', EXIT_CONFIG, ('shards', 'between 0 and 256'), '--port',
                  '7000', '--clustering-policy', 'oss', '--shards', '257', '--dir', data)
    place.refuses('a Unix socket only', EXIT_CONFIG, ('port is 0', 'unixsocket'), '--port', '0',
                  '--unixsocket', os.path.join(place.work, 'socket'), *oss)
    place.refuses('an address with a line in it', EXIT_CONFIG, ('cluster-announce-ip',), '--port',
                  '7000', '--cluster-announce-ip', '1.2.3.4\r\n', *oss)
    place.refuses('a name that is none', EXIT_CONFIG, ('Hostnames',), '--port', '7000',
                  '--cluster-announce-hostname', 'a b', *oss)
    secret = os.path.join(place.work, 'secret')
    with open(os.open(secret, os.O_CREAT | os.O_WRONLY, 0o600), 'w', encoding='ascii') as file:
        file.write('0' * 64)
    member = ('--group-nickname', 'earth', '--member-name', 'a', '--group-secret-file', secret)
    place.refuses('the port of the group among them', EXIT_CONFIG,
                  ('7000 to 7003', '127.0.0.1:7003', 'this member'), '--port', '7000',
                  '--linked-databases', 'a=127.0.0.1:7003', *member, *oss)
    place.refuses('group-bind among them', EXIT_CONFIG, ('7000 to 7003', '*:7001'), '--port',
                  '7000', '--linked-databases', 'a=127.0.0.1:9', '--group-bind', '*:7001', *member,
                  *oss)
    place.check('nothing is made by a refused start',
                not os.path.exists(os.path.join(data, 'FORMAT')))
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        # Those before it may be taken by others, and are named then.
        place.refuses('a port of theirs that is taken', EXIT_PORT, ('port', 'in use'), '--port',
                      str(taken.getsockname()[1] - 3), *oss)


def own_address():
    """An address of this machine that is no loopback, or None. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(('192.0.2.254', 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith('127.') else address


def first_reply(address, port, data=b'PING\r\n'):
    with socket.create_connection((address, port), WAIT_SECONDS_MAX) as conn:
        conn.sendall(data)
        return read_until(conn, b'\r\n')[0]


def protected_mode(place):
    """Without a password only this machine may connect; it is told so, as Redis does."""
    address = own_address()
    if address is None:
        print('no address but loopback here: protected-mode is not tested')
        return
    for mode, denied in (('yes', True), ('no', False)):
        port = free_ports(1)[0]
        server = place.start(port=port, bind='%s 127.0.0.1' % address, protected_mode=mode)
        # Who is denied says nothing first: the answer could get lost with it.
        got = first_reply(address, port, b'' if denied else b'PING\r\n')
        if denied:
            place.check('another host is denied', got.startswith(
                b'-DENIED ') and b'running in protected mode' in got and b'loopback' in got, got)
        else:
            place.check('another host with protected-mode no', got == b'+PONG\r\n', got)
        got = first_reply('127.0.0.1', port)
        place.check('loopback with protected-mode %s' % mode, got == b'+PONG\r\n', got)
        if denied:
            assert place.conn(server).call('CONFIG', 'SET', 'requirepass', 'secret') == b'OK'
            got = first_reply(address, port, b'AUTH secret\r\n')
            place.check('another host when there is a password', got == b'+OK\r\n', got)
        server.stop()


def port_in_use(place):
    """CONFIG SET of a port that another has: the old one stays open."""
    old = free_ports(1)[0]
    server = place.start(port=old, bind='127.0.0.1')
    conn = place.conn(server)
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        taken = other.getsockname()[1]
        try:
            got = conn.call('CONFIG', 'SET', 'maxmemory', '300mb', 'port', str(taken))
        except Exception as error:  # pylint: disable=broad-except
            got = str(error)
        place.check('a port in use', 'Unable to listen on this port' in str(got), got)
    got = first_reply('127.0.0.1', old)
    place.check('the old port', got == b'+PONG\r\n', got)
    got = conn.call('CONFIG', 'GET', 'maxmemory')
    place.check('nothing was set', b'0' in got, got)
    server.stop()


def directories(place):
    server = place.start()
    place.refuses_data('a directory in use', EXIT_BUSY, ('in use', place.data))
    place.refuses_data('another number of shards while in use', EXIT_BUSY, ('in use',),
                       '--clustering-policy', 'enterprise', '--shards', '2')
    server.stop()
    place.refuses_data('another number of shards', EXIT_DATA, ('FORMAT', '1 shard', 'shards'),
                       '--clustering-policy', 'enterprise', '--shards', '2')
    path = os.path.join(place.data, 'FORMAT')
    with open(path, encoding='ascii') as file:
        text = file.read()
    version = text.split()[1]
    for what, changed, words in (
            ('a later format', text.replace(version, '99', 1), ('99', version)),
            ('no format', 'nonsense\n', ()),
            ('an empty file', '', ()),
            ('shards that are no number', text.replace('shards 1', 'shards x'), ())):
        with open(path, 'w', encoding='ascii') as file:
            file.write(changed)
        place.refuses_data('FORMAT with ' + what, EXIT_DATA, ('FORMAT', *words))
    os.unlink(path)
    place.refuses_data('data without FORMAT', EXIT_DATA, ('FORMAT',))
    with open(path, 'w', encoding='ascii') as file:
        file.write(text)
    place.start().stop()
    place.refuses('a directory that cannot be made', EXIT_DISK, ('/proc/none',), '--port', '0',
                  '--dir', '/proc/none')
    blocked = os.path.join(place.work, 'file')
    with open(blocked, 'w', encoding='ascii'):
        pass
    got, text = place.run('--port', '0', '--dir', blocked)
    place.check('a file as directory', got in (EXIT_DISK, EXIT_CONFIG) and blocked in text, got,
                text)
    place.check('the file stays', stat.S_ISREG(os.stat(blocked).st_mode))


def run(place):
    config_values(place)
    addresses(place)
    cluster_ports(place)
    protected_mode(place)
    port_in_use(place)
    directories(place)


if __name__ == '__main__':
    main_of(run)
