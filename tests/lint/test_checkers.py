#!/usr/bin/env python3
"""The checkers of tools/ find what they are there for: small trees with one fault each."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEAD = "/*\n * A file.\n */\n"


def header(path, body=""):
    guard = "TIERRA_" + path[:-2].replace("/", "_").upper() + "_H"
    return f"{HEAD}#ifndef {guard}\n#define {guard}\n\n{body}\n#endif\n"


def run(checker, files):
    """Runs the checker on a tree of these files. Returns its exit status and its output."""
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as out:
                out.write(text)
        done = subprocess.run([sys.executable, os.path.join(ROOT, "tools", checker), root],
                              stdout=subprocess.PIPE, text=True, check=False)
        return done.returncode, done.stdout


class Layers(unittest.TestCase):
    def expect(self, files, want):
        status, output = run("check_layers.py", files)
        self.assertEqual(status, 1 if want else 0, output)
        self.assertIn(want, output)

    def test_downward_includes_are_allowed(self):
        self.expect({
            "engine/base/a.h": header("engine/base/a.h"),
            "engine/space/b.h": header("engine/space/b.h", '#include "engine/base/a.h"\n'),
            "replication/c.c": HEAD + '#include "engine/space/b.h"\n',
            "server/d.c": HEAD + '#include "engine/base/a.h"\n',
        }, "")

    def test_upward_includes_are_found(self):
        self.expect({
            "server/a.h": header("server/a.h"),
            "engine/base/b.c": HEAD + '#include "server/a.h"\n',
        }, 'engine/base/b.c:4: "server/a.h"')

    def test_sideways_includes_in_the_engine_are_found(self):
        self.expect({
            "engine/io/a.h": header("engine/io/a.h"),
            "engine/value/b.c": HEAD + '#include "engine/io/a.h"\n',
        }, "engine/value/b.c:4:")

    def test_nothing_includes_tests(self):
        self.expect({
            "tests/lib/a.h": header("tests/lib/a.h"),
            "server/b.c": HEAD + '#include "tests/lib/a.h"\n',
        }, "server/b.c:4:")

    def test_relative_includes_are_found(self):
        self.expect({
            "server/a.h": header("server/a.h"),
            "server/b.c": HEAD + '#include "a.h"\n',
        }, "not a path from the root")

    def test_foreign_headers_have_one_owner(self):
        self.expect({"engine/store/store_rocksdb.c": HEAD + "#include <rocksdb/c.h>\n"}, "")
        self.expect({"engine/store/other.c": HEAD + "#include <rocksdb/c.h>\n"}, "rocksdb/c.h")
        self.expect({"tools/inspect/a.c": HEAD + "#include <rocksdb/c.h>\n"}, "")
        self.expect({"tests/unit/a.c": HEAD + "#include <cmocka.h>\n"}, "cmocka.h")
        self.expect({"replication/link/mac.c": HEAD + "#include <openssl/evp.h>\n"}, "")
        self.expect({"replication/link/link.c": HEAD + "#include <openssl/evp.h>\n"},
                    "openssl/evp.h")

    def test_handlers_change_no_rows(self):
        body = HEAD + "void f(void)\n{\n    ks_apply_set(ks);\n}\n"
        self.expect({"replication/mut.c": body}, "")
        self.expect({"tests/unit/a.c": body}, "")
        self.expect({"server/cmd_a.c": body}, "server/cmd_a.c:6: ks_apply_set may be called only")

    def test_links_know_nothing_of_the_group(self):
        self.expect({
            "replication/group/a.h": header("replication/group/a.h"),
            "replication/link/b.c": HEAD + '#include "replication/group/a.h"\n',
        }, "replication/link/b.c:4:")
        self.expect({
            "replication/link/a.h": header("replication/link/a.h"),
            "replication/group/b.c": HEAD + '#include "replication/link/a.h"\n',
        }, "replication/group/b.c:4:")
        self.expect({
            "replication/link/a.h": header("replication/link/a.h"),
            "server/b.c": HEAD + '#include "replication/link/a.h"\n',
        }, "")

    def test_cycles_are_found(self):
        self.expect({
            "server/a.h": header("server/a.h", '#include "server/b.h"\n'),
            "server/b.h": header("server/b.h", '#include "server/c.h"\n'),
            "server/c.h": header("server/c.h", '#include "server/a.h"\n'),
        }, "include cycle: server/a.h -> server/b.h -> server/c.h -> server/a.h")

    def test_a_diamond_is_no_cycle(self):
        self.expect({
            "server/a.h": header("server/a.h", '#include "server/b.h"\n#include "server/c.h"\n'),
            "server/b.h": header("server/b.h", '#include "server/d.h"\n'),
            "server/c.h": header("server/c.h", '#include "server/d.h"\n'),
            "server/d.h": header("server/d.h"),
        }, "")


class Tidy(unittest.TestCase):
    def expect(self, path, text, want):
        status, output = run("check_tidy.py", {path: text})
        self.assertEqual(status, 1 if want else 0, output)
        self.assertIn(want, output)

    def test_a_clean_file_passes(self):
        self.expect("server/a.c", HEAD + "int a;\n", "")
        self.expect("server/a.h", header("server/a.h"), "")

    def test_banned_calls_are_found(self):
        self.expect("server/a.c", HEAD + "  x = malloc (3);\n", "server/a.c:4: malloc()")
        self.expect("server/a.c", HEAD + "  t = time(NULL);\n", "clock_wall_ms")
        self.expect("engine/base/mem.c", HEAD + "  x = malloc(3);\n", "")

    def test_words_that_only_look_banned_pass(self):
        self.expect("server/a.c", HEAD + '  mem_free(x); /* free(x) */ y = "free(x)";\n', "")
        self.expect("server/a.c", HEAD + "  vtable->free(x); api.time(y); strtok_r(z);\n", "")
        self.expect("server/a.c", HEAD + "/*\n * See http://example.org\n */\n", "")

    def test_a_ban_can_be_lifted_with_a_reason(self):
        self.expect("server/a.c", HEAD + "  free(x); /* tidy: allow free, not ours */\n", "")
        self.expect("server/a.c", HEAD + "  malloc(x); /* tidy: allow free, not ours */\n",
                    "malloc()")

    def test_the_shape_of_a_file_is_checked(self):
        self.expect("server/a.c", "int a;\n", "does not begin with a comment")
        self.expect("server/a.c", HEAD + "int a; // no\n", "comments are")
        self.expect("server/a.c", HEAD + "int a; \n", "blanks at the end")
        self.expect("server/a.c", HEAD + "\tint a;\n", "a tab")
        self.expect("server/a.c", HEAD + "int a;", "no end of line")
        self.expect("server/a.c", HEAD + "int a;\n\n", "blank lines at the end")
        self.expect("server/a.c", HEAD + "x" * 101 + "\n", "101 columns")
        self.expect("server/a.c", HEAD + "int a;\n" * 1000, "more than 1000 lines")
        self.expect("server/a.c", HEAD + "/* TO" + "DO: later */\n", "(name): what, when")

    def test_guards_and_names_are_checked(self):
        self.expect("server/a.h", header("server/b.h"), "is not TIERRA_SERVER_A_H")
        self.expect("server/Big.c", HEAD, "lower case")
        status, output = run("check_tidy.py", {"server/a.c": HEAD, "engine/io/a.c": HEAD})
        self.assertEqual(status, 1)
        self.assertIn("is a file name of", output)


class ClangTidy(unittest.TestCase):
    RULES = "Checks: '-*,bugprone-sizeof-expression,clang-analyzer-core.*'\nWarningsAsErrors: '*'\n"
    CLEAN = "int a(const int *p);\nint a(const int *p)\n{\n    return *p;\n}\n"
    SIZES = "unsigned long a(void);\nunsigned long a(void)\n{\n    return sizeof(sizeof(int));\n}\n"
    NULLS = ("int a(void);\nint a(void)\n{\n    int *p = 0;\n\n    return *p;\n}\n")

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = self.folder.name
        os.makedirs(os.path.join(self.root, "server"))
        os.makedirs(os.path.join(self.root, "build"))
        self.write(".clang-tidy", self.RULES)
        self.write("server/a.h", "int a(const int *p);\n")
        commands = [{"directory": self.root, "file": "server/a.c",
                     "command": f"cc -I{self.root} -o a.o -c server/a.c"}]
        self.write("build/compile_commands.json", json.dumps(commands))

    def write(self, path, text):
        with open(os.path.join(self.root, path), "w", encoding="utf-8") as out:
            out.write(text)

    def expect(self, want, status=0, *options):
        done = subprocess.run(
            [sys.executable, os.path.join(ROOT, "tools/check_clang_tidy.py"), "--root", self.root,
             "--build", os.path.join(self.root, "build"),
             "--memory", os.path.join(self.root, "memory"), *options],
            stdout=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, status, done.stdout)
        self.assertIn(want, done.stdout)

    def test_a_clean_file_is_looked_at_once(self):
        self.write("server/a.c", '#include "server/a.h"\n' + self.CLEAN)
        self.expect("rules: 1 files, 1 looked at")
        self.expect("rules: 1 files, 0 looked at")
        self.write("server/a.h", "int a(const int *q);\n")
        self.expect("rules: 1 files, 1 looked at")
        self.write(".clang-tidy", self.RULES + "# Another.\n")
        self.expect("paths: 1 files, 1 looked at")

    def test_marks_of_other_trees_stay_for_a_month(self):
        self.write("server/a.c", self.CLEAN)
        self.expect("rules: 1 files, 1 looked at")
        self.write("server/a.c", self.CLEAN + "\n")
        self.expect("rules: 1 files, 1 looked at")
        self.write("server/a.c", self.CLEAN)
        self.expect("rules: 1 files, 0 looked at")
        folder = os.path.join(self.root, "memory", "rules")
        for mark in os.listdir(folder):
            os.utime(os.path.join(folder, mark), (0, 0))
        self.expect("rules: 1 files, 0 looked at")
        self.write("server/a.c", self.CLEAN + "\n")
        self.expect("rules: 1 files, 1 looked at")

    def test_complaints_come_again(self):
        self.write("server/a.c", self.SIZES)
        for _ in range(2):
            self.expect("server/a.c:4", 1, "--part", "rules")
        self.expect("0 with complaints", 0, "--part", "paths")

    def test_paths_are_followed(self):
        self.write("server/a.c", self.NULLS)
        self.expect("0 with complaints", 0, "--part", "rules")
        self.expect("server/a.c:6", 1, "--part", "paths")

    def test_a_file_that_nothing_compiles_is_told(self):
        self.write("server/a.c", self.CLEAN)
        self.expect("server/b.c: no target", 1, "server/b.c")


class Headers(unittest.TestCase):
    def test_a_header_must_compile_alone(self):
        alone = run("check_headers.py", {"server/a.h": header("server/a.h", "int a(void);\n")})
        self.assertEqual(alone, (0, "headers: 1 compile alone\n"))
        status, output = run("check_headers.py",
                             {"server/a.h": header("server/a.h", "extern uint8_t a;\n")})
        self.assertEqual(status, 1)
        self.assertIn("server/a.h does not compile alone", output)


if __name__ == "__main__":
    unittest.main()
