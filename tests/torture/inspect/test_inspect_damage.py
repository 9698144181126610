#!/usr/bin/env python3
"""Plant damage in a data directory: tierra-inspect verify must find each, and name the file.

Usage: test_inspect_damage.py tierra-server tierra-inspect [--seed N] [--flips N]

A server is filled, saved, written to again and killed, so that there are tables, several segments
of the log, and a part of the log that the tables do not cover. Each case damages a copy.
"""
import argparse
import glob
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

CLEAN, DAMAGE, USAGE, UNREADABLE = 0, 1, 2, 3
START_SECONDS_MAX = 120
VALUE = b"v" * 300
COVERED_KEY = b"\xff\x01"


def command(*words):
    words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Server:
    """A server on a Unix socket."""

    def __init__(self, program, directory):
        self.path = os.path.join(directory, "..", "socket")
        self.process = subprocess.Popen(
            [program, "--port", "0", "--unixsocket", self.path, "--dir", directory,
             "--oplog-segment-bytes", "1mb", "--appendfsync", "everysec",
             "--key-checkpoint-changes", "500"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                self.link = socket.socket(socket.AF_UNIX)
                self.link.settimeout(START_SECONDS_MAX)
                self.link.connect(self.path)
                break
            except OSError:
                self.link.close()
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)
        self.file = self.link.makefile("rb")

    def run(self, commands):
        """Sends all, reads as many one-line replies; none may be an error."""
        for start in range(0, len(commands), 500):
            part = commands[start:start + 500]
            self.link.sendall(b"".join(part))
            for _ in part:
                line = self.file.readline()
                assert line[:1] in (b"+", b":"), line

    def end(self, sig):
        self.link.close()
        self.process.send_signal(sig)
        self.process.wait(START_SECONDS_MAX)


def wait_for_checkpoint(directory):
    """Of the key table: what SAVE has made persistent gets into one soon."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while os.path.getsize(find(directory, "keys-*[0-9]")[0]) < 20000:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def fill(server):
    server.run([command("SET", f"key:{i}", VALUE + b"%d" % i) for i in range(6000)])
    server.run([command("SET", f"ttl:{i}", VALUE, "EX", 1000 + i) for i in range(200)])
    server.run([command("HSET", f"hash:{i % 20}", f"field:{i}", VALUE) for i in range(2000)])
    server.run([command("SADD", f"set:{i % 10}", f"member:{i}") for i in range(1000)])
    server.run([command("DEL", f"hash:{i}") for i in range(5)])
    server.run([command("HSET", "hash:0", "again", "1"), command("INCR", "counter")])
    server.run([command("SAVE")])
    server.run([command("SET", f"late:{i}", VALUE + b"%d" % i) for i in range(12000)])
    server.run([command("HSET", "hash:7", f"late:{i}", VALUE) for i in range(500)])
    server.run([command("HDEL", "hash:7", f"late:{i}") for i in range(0, 500, 2)])
    server.run([command("DEL", "set:3"), command("SADD", "set:3", "new"),
                command("DEL", "hash:9"), command("SET", "hash:9", "a string now")])
    # From here on each write is synced before it is answered, and the watermark follows: that of
    # the first is on its way before the second is written.
    server.run([command("CONFIG", "SET", "appendfsync", "always")])
    for i in range(2):
        server.run([command("SET", "last", i)])


class Case:
    """Copies of the data directory, damaged and looked at."""

    def __init__(self, inspect, clean, scratch):
        self.inspect = inspect
        self.clean = clean
        self.scratch = scratch
        self.failures = 0

    def copy(self):
        shutil.rmtree(self.scratch, ignore_errors=True)
        shutil.copytree(self.clean, self.scratch)
        return self.scratch

    def verify(self, *options):
        done = subprocess.run([self.inspect, "--dir", self.scratch, "verify", *options],
                              capture_output=True, timeout=600, check=False)
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def expect(self, what, codes, name=None, *options):
        code, text = self.verify(*options)
        good = code in codes and (name is None or name in text)
        if not good:
            self.failures += 1
            print(f"FAILED: {what}: exit {code}, want {codes}, and {name} in:\n{text}")
        return good


def find(directory, pattern):
    return sorted(glob.glob(os.path.join(directory, "shard-000", pattern)))


def flip(path, offset, bit=0):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def used_segments(directory):
    """Segments with a header of their own: spares have zeros, or an older number."""
    used = []
    for path in find(directory, "oplog/*.log"):
        with open(path, "rb") as file:
            head = file.read(32)
        if head[:8] == b"TIERRALG" and \
                int.from_bytes(head[24:32], "little") == int(os.path.basename(path)[:16], 16):
            used.append(path)
    return used


def records_end(segment, after):
    """Where the successor says that the records end."""
    with open(after, "rb") as file:
        return int.from_bytes(file.read(64)[48:56], "little")


def flip_tables(case, rng, flips):
    missed = []
    for _ in range(flips):
        directory = case.copy()
        path = rng.choice(find(directory, "store-*/*.sst"))
        offset = rng.randrange(os.path.getsize(path))
        flip(path, offset, rng.randrange(8))
        code, text = case.verify("--deep")
        if code == CLEAN:
            missed.append((os.path.basename(path), offset, os.path.getsize(path)))
        elif code not in (DAMAGE, UNREADABLE) or os.path.basename(path) not in text:
            case.failures += 1
            print(f"FAILED: flip in {path} at {offset}: exit {code}:\n{text}")
    return missed


def damage_covered(case):
    """Whichever block it is in: the row is the last of all, hence at the end of a table's data."""
    found = 0
    for number in range(len(find(case.copy(), "store-*/*.sst"))):
        path = find(case.copy(), "store-*/*.sst")[number]
        with open(path, "rb") as table:
            at = table.read().find(COVERED_KEY)
        if at < 0:
            continue
        found += 1
        flip(path, at)
        case.expect("a flip at the covered position", (DAMAGE,), os.path.basename(path))
    if found == 0:
        case.failures += 1
        print("FAILED: no table has the covered position")


def damage_tables(case):
    for cut in (0.5, 0.99):
        path = find(case.copy(), "store-*/*.sst")[0]
        os.truncate(path, int(os.path.getsize(path) * cut))
        case.expect(f"a table cut to {cut}", (DAMAGE, UNREADABLE), os.path.basename(path))
    for path in find(case.copy(), "store-*/*.sst"):
        directory = case.copy()
        os.unlink(path)
        case.expect("a table missing", (DAMAGE, UNREADABLE), os.path.basename(path))
    path = find(case.copy(), "store-*/*.sst")[0]
    flip(path, 1000)
    case.expect("a flip in a block of data", (DAMAGE,), os.path.basename(path))
    for name in ("CURRENT", "FORMAT"):
        directory = case.copy()
        os.unlink(find(directory, f"store-*/{name}")[0])
        case.expect(f"the store's {name} missing", (DAMAGE, UNREADABLE), name)
    manifest = find(case.copy(), "store-*/MANIFEST-*")[0]
    flip(manifest, os.path.getsize(manifest) // 2)
    case.expect("a flip in the manifest", (DAMAGE, UNREADABLE), "store-")
    os.unlink(find(case.copy(), "CURRENT")[0])
    case.expect("the shard's CURRENT missing", (DAMAGE, UNREADABLE), "CURRENT")


def damage_checkpoint(case, rng):
    name = os.path.basename(find(case.copy(), "keys-*")[0])
    size = os.path.getsize(find(case.copy(), "keys-*")[0])
    # Else there is nothing in it to damage.
    assert size > 20000, size
    for offset in [3, 9, 17, 25, 60, 64, 70, size - 1] + [rng.randrange(size) for _ in range(12)]:
        flip(find(case.copy(), "keys-*")[0], offset, rng.randrange(8))
        case.expect(f"a flip in the checkpoint at {offset}", (DAMAGE,), name)
    for cut in (10, size // 2, size - 1):
        os.truncate(find(case.copy(), "keys-*")[0], cut)
        case.expect(f"the checkpoint cut to {cut}", (DAMAGE,), name)
    with open(find(case.copy(), "keys-*")[0], "ab") as file:
        file.write(b"x")
    case.expect("something behind the checkpoint", (DAMAGE,), name)


def damage_log(case, rng):
    segments = used_segments(case.clean)
    assert len(segments) >= 4, segments
    names = [os.path.basename(s) for s in segments]
    for i, name in enumerate(names):
        last = i + 1 == len(names)
        end = records_end(segments[i], segments[i + 1]) if not last else 8192
        for _ in range(3):
            path = os.path.join(case.copy(), "shard-000", "oplog", name)
            flip(path, rng.randrange(4096, end), rng.randrange(8))
            case.expect(f"a flip in segment {i}", (DAMAGE,), name)
        path = os.path.join(case.copy(), "shard-000", "oplog", name)
        flip(path, rng.randrange(80, 4088))
        case.expect(f"a flip in the header of segment {i}", (DAMAGE,), name)
        path = os.path.join(case.copy(), "shard-000", "oplog", name)
        os.truncate(path, end - 4000)
        case.expect(f"segment {i} cut", (DAMAGE,), name)
    for i in range(1, len(names)):
        path = os.path.join(case.copy(), "shard-000", "oplog", names[i])
        os.unlink(path)
        case.expect(f"segment {i} missing", (DAMAGE,), names[i] if i + 1 < len(names) else "oplog")
    for name in names:
        os.unlink(os.path.join(case.scratch, "shard-000", "oplog", name)) \
            if os.path.exists(os.path.join(case.scratch, "shard-000", "oplog", name)) else None
    case.expect("all segments missing", (DAMAGE,), "oplog")
    shutil.rmtree(os.path.join(case.copy(), "shard-000", "oplog"))
    case.expect("the log missing", (DAMAGE, UNREADABLE), "oplog")


def damage_watermark(case, rng):
    for slot in (0, 4096):
        path = os.path.join(case.copy(), "shard-000", "oplog", "watermark")
        flip(path, slot + rng.randrange(64))
        case.expect(f"a flip in the watermark at {slot}", (DAMAGE,), "watermark")
    path = os.path.join(case.copy(), "shard-000", "oplog", "watermark")
    os.unlink(path)
    case.expect("the watermark missing", (DAMAGE, UNREADABLE), "watermark")


def tree_state(directory):
    state = {}
    for base, folders, files in os.walk(directory):
        for name in folders + files:
            info = os.lstat(os.path.join(base, name))
            state[os.path.join(base, name)] = (info.st_ino, info.st_size, info.st_mtime_ns,
                                               info.st_ctime_ns)
    return state


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("inspect")
    drawn = int.from_bytes(os.urandom(4), "little")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("TIERRA_SEED", drawn)))
    parser.add_argument("--flips", type=int, default=20)
    args = parser.parse_args()
    print(f"seed {args.seed} (repeat with --seed or TIERRA_SEED)")
    rng = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as base:
        clean = os.path.join(base, "clean")
        os.mkdir(clean)
        server = Server(args.server, clean)
        try:
            fill(server)
            wait_for_checkpoint(clean)
            case = Case(args.inspect, clean, os.path.join(base, "copy"))
            case.scratch = clean
            case.expect("clean, with the server running", (CLEAN,), "result=clean", "--deep")
        finally:
            server.end(signal.SIGKILL)
        before = tree_state(clean)
        case.expect("clean, after a kill", (CLEAN,), "result=clean", "--deep")
        if tree_state(clean) != before:
            case.failures += 1
            print("FAILED: verify changed the data directory")
        case.scratch = os.path.join(base, "copy")
        damage_log(case, rng)
        damage_watermark(case, rng)
        damage_checkpoint(case, rng)
        damage_tables(case)
        damage_covered(case)
        missed = flip_tables(case, rng, args.flips)
        # A server that starts, replays and ends cleanly leaves nothing to find.
        server = Server(args.server, clean)
        server.end(signal.SIGTERM)
        case.copy()
        case.expect("clean, after a clean end", (CLEAN,), "result=clean", "--deep")
    print(f"{args.flips} flips in tables, {len(missed)} not found: {missed}")
    print(f"{case.failures} failures")
    return 1 if case.failures else 0


if __name__ == "__main__":
    sys.exit(main())
