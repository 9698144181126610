#!/usr/bin/env python3
"""Check that every header compiles alone, without warnings.

Usage: tools/check_headers.py [--cc compiler] [root]
"""
import argparse
import concurrent.futures
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("engine", "replication", "server", "tools", "bench", "tests")
FLAGS = ("-std=c17 -D_GNU_SOURCE -fsyntax-only -x c -Wall -Wextra -Wpedantic -Wshadow -Wconversion "
         "-Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes -Wundef -Werror").split()


def headers(root):
    for folder in FOLDERS:
        for base, _, names in os.walk(os.path.join(root, folder)):
            for name in sorted(names):
                if name.endswith(".h"):
                    yield os.path.relpath(os.path.join(base, name), root)


def check(cc, root, path):
    """The compiler's complaints, or an empty text."""
    # Twice: the guard has to work too.
    source = f'#include "{path}"\n#include "{path}"\n'
    done = subprocess.run([cc, *FLAGS, "-I", root, "-"], input=source, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return "" if done.returncode == 0 else f"{path} does not compile alone:\n{done.stdout}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cc", default="cc")
    parser.add_argument("root", nargs="?", default=HERE)
    args = parser.parse_args()
    paths = list(headers(args.root))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        complaints = [c for c in pool.map(lambda p: check(args.cc, args.root, p), paths) if c]
    print("\n".join(complaints) if complaints else f"headers: {len(paths)} compile alone")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
