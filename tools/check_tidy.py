#!/usr/bin/env python3
"""Check what a compiler does not: banned calls, file heads, guards, lengths, names, blanks.

Usage: tools/check_tidy.py [root]

A ban that good sense overrules in one line is lifted there by a comment with the name of the call
and the reason: /* tidy: allow free, the library allocated it */
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("engine", "replication", "server", "tools", "bench", "tests", "cmake", ".ci")
TEXT_SUFFIXES = (".c", ".h", ".def", ".py", ".sh", ".cmake", ".txt", ".js", ".css", ".html")
COLUMNS_MAX = 100
LINES_MAX = 1000
SELF = "tools/check_tidy.py"  # Names what it looks for.

# Call -> what to use instead. The second table names files and folders where a call is at home.
BANNED = {
    "strcpy": "memcpy with a checked length",
    "strcat": "buf_append",
    "strncpy": "memcpy with a checked length",
    "sprintf": "snprintf or buf_printf",
    "vsprintf": "vsnprintf",
    "gets": "read",
    "atoi": "num_parse_i64",
    "atol": "num_parse_i64",
    "atoll": "num_parse_i64",
    "atof": "num_parse_double",
    "strtok": "bytes_find_u8",
    "strtod": "num_parse_double",
    "strtold": "num_parse_ldouble",
    "strerror": "err_str",
    "rand": "rng_u64",
    "srand": "rng_seed",
    "random": "rng_u64",
    "drand48": "rng_double",
    "getrandom": "rng_os_bytes",
    "malloc": "mem_alloc",
    "calloc": "mem_zalloc",
    "realloc": "mem_realloc",
    "free": "mem_free",
    "strdup": "mem_strdup",
    "asprintf": "buf_printf",
    "alloca": "a bounded array or mem_alloc",
    "assert": "CHECK",
    "time": "clock_wall_ms",
    "gettimeofday": "clock_wall_us",
    "clock_gettime": "clock_mono_ns",
    "usleep": "a timer of the reactor",
    "sleep": "a timer of the reactor",
    "nanosleep": "a timer of the reactor",
}
HOME = {
    "malloc": ["engine/base/mem.c"],
    "calloc": ["engine/base/mem.c"],
    "realloc": ["engine/base/mem.c"],
    "free": ["engine/base/mem.c"],
    "strtod": ["engine/base/num.c", "tests/"],
    "strtold": ["engine/base/num.c", "tests/"],
    "getrandom": ["engine/base/rng.c"],
    "clock_gettime": ["engine/base/clock.c", "tests/"],
    "usleep": ["tests/", "tools/", "bench/"],
    "nanosleep": ["tests/", "tools/", "bench/"],
}

CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")
ALLOW = re.compile(r"tidy: allow ([\w ,]+?)(?:,|\s*\*/|$)")
NOT_CODE = re.compile(r'/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'', re.S)


def source_files(root):
    for folder in FOLDERS:
        for base, folders, names in os.walk(os.path.join(root, folder)):
            folders[:] = [f for f in folders if f not in ("corpus", "__pycache__")]
            for name in sorted(names):
                yield os.path.relpath(os.path.join(base, name), root)


def code_lines(text):
    """The lines without what is in comments and strings."""
    return NOT_CODE.sub(lambda m: "\n" * m.group(0).count("\n"), text).split("\n")


def check_calls(path, text, lines):
    for number, line in enumerate(code_lines(text), 1):
        if line.lstrip().startswith("#include"):
            continue
        if "//" in line:
            yield number, "comments are /* */"
        for match in CALL.finditer(line):
            name = match.group(1)
            if any(path == home or home.endswith("/") and path.startswith(home)
                   for home in HOME.get(name, [])):
                continue
            allowed = ALLOW.search(lines[number - 1])
            if allowed and name in allowed.group(1).split():
                continue
            yield number, f"{name}() is banned, use {BANNED[name]}"


def guard_of(path):
    return "TIERRA_" + re.sub(r"[^A-Za-z0-9]", "_", path[:-2]).upper() + "_H"


def check_c(path, text, lines):
    if not lines[0].startswith("/*"):
        yield 1, "the file does not begin with a comment that says what it is"
    if len(lines) - 1 > LINES_MAX:
        yield LINES_MAX, f"more than {LINES_MAX} lines: split by verb"
    if path.endswith(".h"):
        guard = guard_of(path)
        if f"#ifndef {guard}\n#define {guard}\n" not in text:
            yield 1, f"the include guard is not {guard}"
    yield from check_calls(path, text, lines)


def check_text(path, text, lines):
    if text and not text.endswith("\n"):
        yield len(lines), "no end of line at the end of the file"
    if text.endswith("\n\n"):
        yield len(lines) - 1, "blank lines at the end of the file"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX and "http" not in line:
            yield number, f"{len(line)} columns, more than {COLUMNS_MAX}"
        if line != line.rstrip():
            yield number, "blanks at the end of the line"
        if "\t" in line:
            yield number, "a tab"
        if re.search(r"\b(FIXME|XXX)\b|TODO(?!\(\w+\):)", line) and path != SELF:
            yield number, "write TODO(name): what, when"


def check_names(paths):
    seen = {}
    for path in paths:
        name = os.path.basename(path)
        if not name.endswith((".c", ".h")):
            continue
        if not re.fullmatch(r"[a-z0-9_]+\.[ch]", name):
            yield path, f"{name}: file names are lower case with underscores"
        if name in seen and name != "main.c":
            yield path, f"{name} is a file name of {seen[name]} too"
        seen[name] = path


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else HERE
    complaints = []
    paths = list(source_files(root))
    for path in paths:
        if not path.endswith(TEXT_SUFFIXES):
            continue
        with open(os.path.join(root, path), encoding="utf-8") as source:
            text = source.read()
        lines = text.split("\n")
        found = list(check_text(path, text, lines))
        if path.endswith((".c", ".h")):
            found += check_c(path, text, lines)
        complaints += [f"{path}:{number}: {what}" for number, what in sorted(found)]
    complaints += [f"{path}: {what}" for path, what in check_names(paths)]
    print("\n".join(complaints) if complaints else f"tidy: {len(paths)} files are in order")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
