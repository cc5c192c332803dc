#!/bin/sh
# Prints a table of the storages side by side: scripts/engines.sh [DIR [RECORDS]]
# It takes several minutes and, with 1 000 000 records, 2 GB in DIR.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/engines.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cargo build --locked --release --example engines --features lmdb
target/release/examples/engines "$dir" "${2:-1000000}"
