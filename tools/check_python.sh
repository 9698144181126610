#!/usr/bin/env bash
# Check that Python sources can be read, and use no name that is not there and import none in vain:
# what a script would only tell when it comes to that line.
set -euo pipefail
cd "$(dirname "$0")/.."

find tools bench tests -name '*.py' -print0 |
    xargs -0 -r flake8 --isolated --select E9,F
