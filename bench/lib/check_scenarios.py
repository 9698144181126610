#!/usr/bin/env python3
"""Check that tierra-bench accepts the arguments of every scenario. Usage: check_scenarios.py BINARY

Nothing listens on the port: exit 2 (no connection) means that the command line was understood.
"""
import subprocess
import sys

import scenario

USAGE, NO_CONNECTION = 1, 2


def main():
    binary = sys.argv[1]
    wrong = 0
    for name, found in scenario.load_all().items():
        small = {key: max(1, value) for key, value in scenario.scale_to_dram(found, 1).items()}
        for overrides in (None, small):
            for step in scenario.steps(found, overrides, strict=True):
                words = [binary, "--host", "127.0.0.1", "--port", "1"] + step["args"]
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                if done.returncode != NO_CONNECTION:
                    print(f"{name}: {step['name']}: {done.stderr.strip()}")
                    wrong += 1
    return USAGE if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
