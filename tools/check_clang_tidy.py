#!/usr/bin/env python3
"""Run clang-tidy over all sources, or over these, and remember which files were clean.

Usage: tools/check_clang_tidy.py [--build build/dev] [--part rules|paths] [--jobs N] [file...]

Two parts, each with a memory of its own, since the second takes four times as long: "rules" is all
of .clang-tidy but the static analyzer, "paths" is the analyzer alone. Without --part: both.

A file that was clean is not looked at again as long as nothing has changed that its result depends
on: its text and that of our files that it includes, its compile command, the .clang-tidy files, the
version of clang-tidy. The hash of these names an empty file, a mark, in the folder <part> of
--memory (~/.cache/tierra/clang-tidy, or below XDG_CACHE_HOME). Paths in the hash start at the root
of the tree, so that all trees of a user share the marks. One that no run has met for a month goes.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Behind the checks of .clang-tidy. The analyzer has no use for single checks of the rest.
PARTS = {
    "rules": "-clang-analyzer-*",
    "paths": "-bugprone-*,-cert-*,-concurrency-*,-google-*,-misc-*,-performance-*,-readability-*",
}
MARK_KEPT_SECONDS = 30 * 24 * 3600
NOTHING_TO_DO = "no checks enabled"
INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.M)
NOISE = re.compile(r"^\d+ warnings? (and \d+ errors? )?generated\.$|^Suppressed |^Use -header-f")


def fail(text):
    print(text)
    sys.exit(1)


def find_tidy():
    """The program and its version: another release has other opinions."""
    for name in ("clang-tidy-14", "clang-tidy"):
        try:
            text = subprocess.run([name, "--version"], stdout=subprocess.PIPE, text=True,
                                  check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        if re.search(r"version 14\.", text):
            return name, text
    return fail("needs clang-tidy 14: tools/install-deps")


def commands_of(build, root):
    """Source path from the root -> its compile command; of a file with several, the first."""
    try:
        with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
            entries = json.load(file)
    except OSError as err:
        fail(f"{err}: configure first, tools/dev build")
    commands = {}
    for entry in entries:
        path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), root)
        if not path.startswith(("..", "build")):
            words = shlex.split(entry["command"])
            # What is compiled, not by what and to where.
            words = [w.replace(root, ".") for w in words
                     if not w.endswith((".o", ".d", "ccache", "cc"))]
            commands.setdefault(path, " ".join(words))
    return commands


class Hashes:
    """Of files, and of all that a file includes with quotes, as paths from the root."""

    def __init__(self, root):
        self.root = root
        self.files = {}

    def file(self, path):
        """(hash, included paths), or None if there is no such file."""
        if path not in self.files:
            try:
                with open(os.path.join(self.root, path), "rb") as file:
                    text = file.read()
            except OSError:
                self.files[path] = None
            else:
                names = [name.decode() for name in INCLUDE.findall(text)]
                self.files[path] = (hashlib.sha256(text).hexdigest(), names)
        return self.files[path]

    def closure(self, path):
        """Name and hash of the file and of what it includes, sorted."""
        todo, seen = [path], {}
        while todo:
            at = todo.pop()
            if at in seen:
                continue
            known = self.file(at)
            seen[at] = known[0] if known else "none"
            todo += known[1] if known else []
        return sorted(seen.items())

    def configs(self, path):
        """The .clang-tidy files from the root down to the folder of the file."""
        parts = os.path.dirname(path).split("/")
        folders = [""] + ["/".join(parts[:n + 1]) for n in range(len(parts))]
        return [(f, (self.file(os.path.join(f, ".clang-tidy")) or ("none",))[0]) for f in folders]


def check(tidy, part, args, path):
    """The complaints about a file, or an empty text."""
    done = subprocess.run([tidy, "--quiet", f"--checks={PARTS[part]}", "-p", args.build, path],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          cwd=args.root, check=False)
    if done.returncode == 0 or NOTHING_TO_DO in done.stdout.lower():
        return ""
    lines = [line for line in done.stdout.splitlines() if not NOISE.match(line)]
    return "\n".join(lines) or f"{path}: clang-tidy failed"


def default_memory():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "tierra", "clang-tidy")


class Memory:
    """The marks of a part: empty files, as old as their last use."""

    def __init__(self, folder):
        self.folder = folder
        try:
            os.makedirs(folder, exist_ok=True)
            self.known = set(os.listdir(folder))
        except OSError as err:
            fail(f"no place for the names of clean files: {err}: name one with XDG_CACHE_HOME")

    def set(self, mark):
        with open(os.path.join(self.folder, mark), "wb"):
            pass

    def forget_unused(self, used):
        """Mark the used ones as used now; other trees may use the rest."""
        now = time.time()
        for mark in self.known:
            path = os.path.join(self.folder, mark)
            try:
                if mark in used:
                    os.utime(path)
                elif os.stat(path).st_mtime < now - MARK_KEPT_SECONDS:
                    os.unlink(path)
            except FileNotFoundError:  # Another run was faster.
                pass


def run_part(part, args, tidy, commands, files):
    """Returns the complaints about the files that are not known to be clean."""
    name, version = tidy
    memory = Memory(os.path.join(args.memory, part))
    hashes = Hashes(args.root)
    marks = {}
    for path in files:
        facts = (version, PARTS[part], commands[path], hashes.configs(path), hashes.closure(path))
        marks[path] = hashlib.sha256(repr(facts).encode()).hexdigest()
    todo = [path for path in files if marks[path] not in memory.known]
    complaints = []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for path, text in zip(todo, pool.map(lambda p: check(name, part, args, p), todo)):
            if text:
                complaints.append(text)
            else:
                memory.set(marks[path])
    memory.forget_unused(set(marks.values()))
    print(f"clang-tidy, {part}: {len(files)} files, {len(todo)} looked at, "
          f"{len(complaints)} with complaints")
    return complaints


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(HERE, "build/dev"))
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--root", default=HERE)
    parser.add_argument("--memory", default=default_memory())
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    args.root = os.path.abspath(args.root)
    args.build = os.path.abspath(args.build)
    commands = commands_of(args.build, args.root)
    files = [os.path.relpath(os.path.join(args.root, path), args.root) for path in args.files]
    for path in files:
        if path not in commands:
            fail(f"{path}: no target of {args.build} compiles it")
    tidy = find_tidy()
    complaints = []
    for part in [args.part] if args.part else PARTS:
        complaints += run_part(part, args, tidy, commands, files or sorted(commands))
    print("\n".join(complaints), end="\n" if complaints else "")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
