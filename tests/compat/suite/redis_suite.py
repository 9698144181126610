#!/usr/bin/env python3
"""Runs the Tcl tests of redis-server, as Debian's source package has them, against a Tierra.

The tests are asked from apt at run time and are not part of this project. Each unit gets a server
of its own; the harness itself starts those of units that are about files and starts, in a copy of
the tests where src/redis-server is ours. A test that fails must stand in the file `known` with its
reason, and a unit must reach as many tests as redis-server passes in the same mode (the file
`units`), else this fails. With --cold, where what is not in use is on flash only, those of the file
`known_cold` may fail besides. A reason that begins with "not run:" is of a test which would leave
the server so that those behind it say nothing; it counts as failed. What fails with redis-server
too is not counted where it passes here.

usage: redis_suite.py --server PATH [--units unit/a,unit/b] [--fast] [--cold] [--suite DIR]
       redis_suite.py --real --units ...        (redis-server itself; prints lines for `units`)

Exit: 0 as known, 1 not, 77 skipped because tclsh, dpkg-source or the package are not to be had.
"""

import argparse
import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', '..', 'lib'))

from ports import free_ports  # noqa: E402  pylint: disable=C0413

# One database, and no replicas; what DEBUG, PFDEBUG and OBJECT ENCODING tell is looked at.
FLAGS = ['--durable', '--singledb', '--tags', '-slow -needs:repl']
DEBUG = ['--enable-debug-command', 'yes']
# The harness names a test that does nothing for so long, and gives up; one takes 90 at times.
STALL_SECONDS = 180
# Units that are about starts and files: the harness itself starts the servers.
OWN_STARTS = ('unit/acl', 'unit/acl-v2', 'unit/client-eviction')
# The last of them sets maxmemory itself, and expects the reply of a GET before the next command of
# another client, which does not wait for flash: --cold changes nothing there.
OWN_WARM = ('unit/client-eviction',)
# What src/redis-server is for them. The harness looks for the first line in what it prints.
WRAPPER = '''#!/bin/sh
echo " PID: $$"
%s
exec %s "$@" %s 2>&1
'''
# Behind its start, with --cold; servers whose default user may not are left as they are.
COOL = '''port=$(sed -n 's/^port //p' "$1")
(for i in 1 2 3 4 5 6 7 8 9 10; do
    sleep 0.1
    redis-cli -p "$port" DEBUG COLD 1 && break
done) >/dev/null 2>&1 &'''
UNIT_SECONDS_MAX = 400
SKIPPED = 77
# Of a unit; a block of free_ports has no more.
PORTS = 49
# With DEBUG COLD what is not in use leaves DRAM at once. Less memory would do so, too, but a busy
# server without a key takes 30 MB, and a test sets a value of 33: no budget is too small for keys
# and large enough for commands.
COLD = ['--maxmemory', '256mb']


# --- the tests ---


def source_lists(parts):
    """This machine's own Debian entries, as entries for sources, in a folder of their own."""
    found = 0
    places = ['/etc/apt/sources.list'] + [
        os.path.join('/etc/apt/sources.list.d', name)
        for name in (os.listdir('/etc/apt/sources.list.d')
                     if os.path.isdir('/etc/apt/sources.list.d') else [])]
    for number, path in enumerate(p for p in places if os.path.isfile(p)):
        with open(path, encoding='utf-8', errors='replace') as file:
            text = file.read()
        deb822 = path.endswith('.sources')
        if deb822:
            text = re.sub(r'(?m)^Types:.*$', 'Types: deb-src', text)
        else:
            text = '\n'.join('deb-src' + line[3:] for line in text.splitlines()
                             if re.match(r'deb\s', line))
        if not text.strip():
            continue
        found += 1
        name = 'own%d.%s' % (number, 'sources' if deb822 else 'list')
        with open(os.path.join(parts, name), 'w', encoding='utf-8') as file:
            file.write(text + '\n')
    return found


def fetch_suite(top):
    """Unpacks the source package below `top`; the folder, or None."""
    lists, parts = os.path.join(top, 'lists'), os.path.join(top, 'parts')
    os.makedirs(os.path.join(lists, 'partial'))
    os.makedirs(parts)
    if source_lists(parts) == 0:
        return None
    apt = ['apt-get', '-qq', '-o', 'Dir::Etc::sourcelist=/dev/null', '-o',
           'Dir::Etc::sourceparts=' + parts, '-o', 'Dir::State::lists=' + lists]
    for command in (apt + ['update'], apt + ['source', '--download-only', 'redis']):
        if subprocess.run(command, cwd=top, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          timeout=300, check=False).returncode != 0:
            return None
    described = [name for name in os.listdir(top) if name.endswith('.dsc')]
    if not described:
        return None
    out = os.path.join(top, 'redis')
    done = subprocess.run(['dpkg-source', '--no-check', '-x', described[0], out], cwd=top,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return out if done.returncode == 0 else None


# --- a unit ---


class Server:
    """A server for one unit."""

    def __init__(self, command, top):
        self.dir = tempfile.mkdtemp(prefix='server-', dir=top)
        self.port = free_ports(1)[0]
        with open(os.path.join(top, 'server.log'), 'ab') as log:
            self.process = subprocess.Popen(
                [*command, '--port', str(self.port), '--dir', self.dir], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log)
        for _ in range(4800):
            try:
                socket.create_connection(('127.0.0.1', self.port), 60).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    sys.exit('the server does not start: status %d' % self.process.returncode)
                time.sleep(0.05)
        sys.exit('the server does not answer')

    def call(self, *words):
        """The reply of a command: a line, or the text of a bulk string."""
        with socket.create_connection(('127.0.0.1', self.port), 60) as conn:
            conn.sendall(b'*%d\r\n' % len(words) +
                         b''.join(b'$%d\r\n%s\r\n' % (len(w), w.encode()) for w in words))
            with conn.makefile('rb') as file:
                line = file.readline().decode()
                return file.read(int(line[1:])).decode() if line[0] == '$' else line.strip()

    def keep_cold(self):
        reply = self.call('DEBUG', 'COLD', '1')
        if reply != '+OK':
            sys.exit('DEBUG COLD: ' + reply)

    def cold_reads(self):
        """Keys that were found in DRAM, and keys or elements that were read from flash."""
        fields = dict(line.split(':', 1) for line in self.call('INFO', 'tiering').splitlines()
                      if ':' in line)
        return [int(fields['hot_reads']), int(fields['cold_reads'])]

    def end(self):
        """Whether it was there to the end."""
        alive = self.process.poll() is None
        if alive:
            self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
        return alive


class Unit:
    """What the harness said of one unit."""

    def __init__(self):
        self.passed, self.failed, self.notes = [], [], []

    def read(self, text):
        why = None
        for line in text.replace('\r', '').split('\n'):
            m = re.match(r'(?:\x1b\[[0-9;]*m)*\[(ok|err|exception|TIMEOUT|skip|ignore|ready|testing'
                         r'|\d+/\d+ done)(?:\x1b\[[0-9;]*m)*\]:?\s*(.*)', line)
            if m is None:
                if why is not None and len(why[1]) < 300:
                    why[1] += ' ' + line.strip()
                continue
            kind, rest, why = m.group(1), m.group(2), None
            if kind == 'ok':
                self.passed.append(re.sub(r' \(\d+ ms\)$', '', rest))
            elif kind == 'err':
                name = re.match(r'(.*) in tests/\S+\.tcl$', rest)
                why = [name.group(1) if name else 'outside a test: ' + rest, '']
                self.failed.append(why)
            elif kind in ('exception', 'TIMEOUT'):
                self.notes.append('%s %s' % (kind, rest[:200]))


class OwnStarts:
    """A copy of the tests that starts `command` as its redis-server."""

    def __init__(self, suite, command, top, cold):
        self.dir = tempfile.mkdtemp(prefix='own-', dir=top)
        shutil.copytree(os.path.join(suite, 'tests'), os.path.join(self.dir, 'tests'),
                        ignore=shutil.ignore_patterns('tmp'))
        os.makedirs(os.path.join(self.dir, 'tests', 'tmp'))
        # Of redis-server's own debugging.
        conf = os.path.join(self.dir, 'tests', 'assets', 'default.conf')
        with open(conf, encoding='utf-8') as file:
            lines = [x for x in file if not x.startswith('propagation-error-behavior')]
        with open(conf, 'w', encoding='utf-8') as file:
            file.writelines(lines)
        os.mkdir(os.path.join(self.dir, 'src'))
        wrapper = os.path.join(self.dir, 'src', 'redis-server')
        with open(wrapper, 'w', encoding='utf-8') as file:
            file.write(WRAPPER % (COOL if cold else '', ' '.join(
                shlex.quote(os.path.abspath(word) if os.path.exists(word) else word)
                for word in command), ' '.join(DEBUG + COLD) if cold else ''))
        os.chmod(wrapper, 0o755)
        for tool in ('redis-cli', 'redis-benchmark'):
            os.symlink(shutil.which(tool) or '/nowhere', os.path.join(self.dir, 'src', tool))

    def end(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        return True


def own_ports():
    """The first of PORTS that no other test takes. The harness uses those 10,000 higher, too, which
    are below those that the kernel gives to whoever connects."""
    while True:
        first = free_ports(PORTS)[0]
        if first + PORTS + 10000 < 32768:
            return first


def run_unit(suite, unit, server, left_out):
    """One run of the harness, through a terminal so that nothing stays in its buffer."""
    # Its own server listens there.
    base = own_ports()
    own = isinstance(server, OwnStarts)
    place = [] if own else ['--host', '127.0.0.1', '--port', str(server.port)]
    command = ['tclsh', 'tests/test_helper.tcl', *place, '--baseport', str(base), '--portcount',
               str(PORTS), '--timeout', str(STALL_SECONDS), '--single', unit, *FLAGS]
    for test in left_out:
        command += ['--skiptest', test]
    suite = server.dir if own else suite
    master, slave = pty.openpty()
    process = subprocess.Popen(command, cwd=suite, stdin=subprocess.DEVNULL, stdout=slave,
                               stderr=slave, start_new_session=True,
                               env=dict(os.environ, TERM='dumb', LC_ALL='C.UTF-8'))
    os.close(slave)
    text, end, result = bytearray(), time.monotonic() + UNIT_SECONDS_MAX, Unit()
    result.failed += [[test, 'not run'] for test in left_out]
    while True:
        if time.monotonic() > end:
            result.notes.append('stopped after %d s' % UNIT_SECONDS_MAX)
            break
        if select.select([master], [], [], 1)[0]:
            try:
                data = os.read(master, 65536)
            except OSError:  # Its other end is closed.
                break
            text += data
        elif process.poll() is not None:
            break
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    os.close(master)
    result.read(text.decode('utf-8', 'replace'))
    return result, text


# --- what is expected ---


def table(name):
    """Lines of fields with tabs between them; # starts a comment."""
    with open(os.path.join(HERE, name), encoding='utf-8') as file:
        return [line.rstrip('\n').split('\t') for line in file
                if line.strip() and not line.startswith('#')]


def reason_of(known, unit, test):
    """A name may end in *; one that is * alone fits all."""
    for where, name, reason in known:
        if where in (unit, '*') and (name == test or
                                     (name.endswith('*') and test.startswith(name[:-1]))):
            return reason
    return None


def not_counted(unit, result, known):
    """Passed, but not with redis-server."""
    return sum((reason_of(known, unit, test) or '').startswith('fails with redis-server too')
               for test in result.passed)


def judge(unit, result, known, base):
    """Prints what was not expected; whether there is nothing."""
    wrong = [(test, why) for test, why in result.failed if reason_of(known, unit, test) is None]
    for test, why in wrong:
        print('  FAILED %s:%s' % (test, why[:300]))
    for note in result.notes:
        print('  NOTE   %s' % note)
    for test in result.passed:
        reason = reason_of(known, unit, test)
        if reason is not None and 'passes here' not in reason:
            print('  NOTE   passes now: %s (%s)' % (test, reason))
    reached = len(result.passed) + len(result.failed)
    if reason_of(known, unit, '*') is not None:
        reached = base
    if reached < base:
        print('  FAILED %d of %d tests were reached' % (reached, base))
    return not wrong and reached >= base


def run_units(args, suite, units, known, top):
    good, hit, total, reads = True, 0, 0, [0, 0]
    command = shlex.split(args.server) if not args.real else ['redis-server', '--save', '']
    for unit, base, _ in units:
        with_args = command + DEBUG + (COLD if args.cold else [])
        if unit in OWN_STARTS:
            server = OwnStarts(suite, command[:1], top, args.cold and unit not in OWN_WARM)
        else:
            server = Server(with_args, top)
        measured = args.cold and unit not in OWN_STARTS
        if measured:
            server.keep_cold()
        began = time.monotonic()
        left_out = [] if args.real else [test for where, test, reason in known
                                         if where == unit and reason.startswith('not run:')]
        result, text = run_unit(suite, unit, server, left_out)
        if measured and server.process.poll() is None:
            reads = [a + b for a, b in zip(reads, server.cold_reads())]
        alive = server.end()
        seconds = time.monotonic() - began
        if args.out:
            os.makedirs(args.out, exist_ok=True)
            with open(os.path.join(args.out, unit.replace('/', '_')), 'wb') as file:
                file.write(text)
        if args.real:
            print('%s\t%d\t%s' % (unit, len(result.passed), 'fast' if seconds < 8 else 'slow'),
                  flush=True)
            continue
        print('%-24s %4d of %4d, %.0f s' % (unit, len(result.passed), int(base), seconds),
              flush=True)
        if not alive:
            print('  FAILED the server died')
        good = judge(unit, result, known, int(base)) and alive and good
        hit += min(len(result.passed) - not_counted(unit, result, known), int(base))
        total += int(base)
    if not args.real:
        print('%d of %d tests that redis-server passes (%.1f %%)' %
              (hit, total, 100 * hit / max(total, 1)))
    if args.cold:
        print('%d keys were found in DRAM, %d keys or elements were read from flash' %
              tuple(reads))
    return good


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--server')
    p.add_argument('--real', action='store_true')
    p.add_argument('--units')
    p.add_argument('--fast', action='store_true', help='the units that take seconds')
    p.add_argument('--cold', action='store_true', help='what is not in use is on flash only')
    p.add_argument('--suite', help='an unpacked source tree of redis 7.0')
    p.add_argument('--out', help='a folder for what the harness prints')
    args = p.parse_args()
    if not args.real and not args.server:
        p.error('--server or --real')
    if shutil.which('tclsh') is None or shutil.which('dpkg-source') is None:
        print('skipped: no tclsh or no dpkg-source')
        return SKIPPED
    units = table('units')
    if args.units:
        wanted = args.units.split(',')
        counts = {unit[0]: unit for unit in units}
        units = [counts.get(name, [name, '0', 'slow']) for name in wanted]
    elif args.fast:
        units = [unit for unit in units if unit[2] == 'fast']
    with tempfile.TemporaryDirectory(prefix='redis-suite-') as top:
        suite = args.suite or fetch_suite(top)
        if suite is None:
            print('skipped: the source package redis is not to be had')
            return SKIPPED
        known = table('known') + (table('known_cold') if args.cold else [])
        return 0 if run_units(args, os.path.abspath(suite), units, known, top) else 1


if __name__ == '__main__':
    sys.exit(main())
