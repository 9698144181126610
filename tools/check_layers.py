#!/usr/bin/env python3
"""Check the direction of includes: server -> replication -> engine, and the table inside engine;
and that rows are changed by the write path alone, so that every change is an op of the log.

Usage: tools/check_layers.py [root]

Reads every .c and .h file below the folders of LAYERS and complains about an include that goes up,
that belongs to another module, that does not start at the root of the tree, or that closes a cycle.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Folder -> folders that its files may include. The longest matching prefix of a path is its layer.
LAYERS = {
    "engine/base": [],
    "engine/io": ["engine/base"],
    "engine/value": ["engine/base"],
    "engine/store": ["engine/base"],
    "engine/space": ["engine/store", "engine/value", "engine/io", "engine/base"],
    "replication/group": ["engine/value", "engine/base"],
    "replication/link": ["engine/io", "engine/base"],
    "replication": [
        "replication/group", "engine/space", "engine/store", "engine/value", "engine/io",
        "engine/base"],
    "server": [
        "replication", "replication/group", "replication/link", "engine/space", "engine/store",
        "engine/value", "engine/io", "engine/base"],
    "tools": None,  # None: any layer, itself included.
    "bench": None,
    "tests": None,
}

# Folders that nothing but themselves may include.
LEAVES = ("tools", "bench", "tests")

# System header prefix -> the files or folders that may include it, tools, bench and tests aside.
OWNERS = {
    "rocksdb/": ["engine/store/store_rocksdb.h", "engine/store/store_rocksdb.c"],
    "liburing": ["engine/io/uring.h"],
    "openssl/": ["replication/link/mac.c"],
    "xxhash": ["engine/base/sum.h"],
    "jemalloc/": ["engine/base/mem.c"],
    "zstd": ["replication"],
    "sys/epoll.h": ["engine/io/reactor_epoll.c"],
    "cmocka": ["tests/lib/tcase.h"],
}

# Owners bind these too: a test that needs cmocka gets it through tcase.h.
OWNERS_STRICT = ("cmocka", "xxhash")

# What puts rows in place -> the files or folders that may call it, tools, bench and tests aside.
# The commands of DEBUG that make members differ on purpose are an exception.
CALLERS = {
    r"ks_apply_\w+": ["engine/space", "replication"],
    r"ks_group_(?:apply|set_key|set_elem|drop_elem|coll)": [
        "engine/space", "replication", "server/cmd_debug.c"],
}

CALL = {re.compile(r"\b(" + name + r")\("): where for name, where in CALLERS.items()}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def layer_of(path):
    best = None
    for layer in LAYERS:
        if path.startswith(layer + "/") and (best is None or len(layer) > len(best)):
            best = layer
    return best


def source_files(root):
    for layer in sorted({layer.split("/")[0] for layer in LAYERS}):
        for folder, _, names in os.walk(os.path.join(root, layer)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    yield os.path.relpath(os.path.join(folder, name), root)


def includes_of(root, path):
    """Yields (line number, quoted, name)."""
    with open(os.path.join(root, path), encoding="utf-8") as source:
        for number, line in enumerate(source, 1):
            match = INCLUDE.match(line)
            if match:
                yield number, match.group(1) == '"', match.group(2)


def check_own(root, path, name):
    """The complaint about one include of a file of ours, or None."""
    if not os.path.isfile(os.path.join(root, name)):
        return f'"{name}" is not a path from the root of the tree'
    layer, target = layer_of(path), layer_of(name)
    if layer is None or target is None:
        return f'"{name}" belongs to no layer'
    allowed = LAYERS[layer]
    if target in LEAVES and target != layer:
        # Tests include what they test, and programs outside the layers share their helpers.
        if layer != "tests" and not (layer in LEAVES and name.startswith("tests/lib/")):
            return f'"{name}": nothing outside {target}/ may include it'
        return None
    if allowed is None or target == layer or target in allowed:
        return None
    return f'"{name}": {layer} may include only itself' + (
        f" and {', '.join(allowed)}" if allowed else "")


def check_system(path, name):
    for prefix, owners in OWNERS.items():
        if not name.startswith(prefix):
            continue
        if any(path == owner or path.startswith(owner + "/") for owner in owners):
            return None
        if layer_of(path) in LEAVES and prefix not in OWNERS_STRICT:
            return None
        return f"<{name}> may be included only by {', '.join(owners)}"
    return None


def check_calls(root, path):
    """Yields (line number, complaint)."""
    if layer_of(path) in LEAVES:
        return
    with open(os.path.join(root, path), encoding="utf-8") as source:
        for number, line in enumerate(source, 1):
            for call, where in CALL.items():
                found = call.search(line)
                if found and not any(path == w or path.startswith(w + "/") for w in where):
                    yield number, f"{found[1]} may be called only in {', '.join(where)}"


def find_cycle(graph):
    """A list of files that include each other in a circle, or None."""
    done = set()
    for start in sorted(graph):
        path, on_path, stack = [], set(), [(start, None)]
        while stack:
            node, edges = stack.pop()
            if edges is None:
                if node in done:
                    continue
                if node in on_path:
                    return path[path.index(node):] + [node]
                path.append(node)
                on_path.add(node)
                edges = iter(sorted(graph.get(node, ())))
            following = next(edges, None)
            if following is None:
                done.add(node)
                on_path.discard(path.pop())
            else:
                stack.append((node, edges))
                stack.append((following, None))
    return None


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else HERE
    complaints, graph, count = [], {}, 0
    for path in source_files(root):
        count += 1
        for number, quoted, name in includes_of(root, path):
            complaint = check_own(root, path, name) if quoted else check_system(path, name)
            if complaint:
                complaints.append(f"{path}:{number}: {complaint}")
            if quoted:
                graph.setdefault(path, set()).add(name)
        complaints += [f"{path}:{number}: {text}" for number, text in check_calls(root, path)]
    cycle = find_cycle(graph)
    if cycle:
        complaints.append("include cycle: " + " -> ".join(cycle))
    print("\n".join(complaints) if complaints else f"layers: {count} files are in order")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
