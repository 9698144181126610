#!/usr/bin/env bash
# Check that all C sources are as clang-format 14 would write them. `tools/dev fmt` mends it.
set -euo pipefail
cd "$(dirname "$0")/.."

# The output of a release depends on its number: another one would only raise false alarms.
format=clang-format-14
if ! command -v "$format" >/dev/null; then
    format=clang-format
fi
if ! "$format" --version | grep -q 'version 14\.'; then
    echo "check_format: needs clang-format 14, found: $("$format" --version)" >&2
    exit 1
fi

find engine replication server tools bench tests -name '*.[ch]' -print0 |
    xargs -0 -r "$format" --dry-run -Werror
