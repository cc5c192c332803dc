#!/bin/sh
# Prints a table of the storages side by side: scripts/engines.sh [DIR [RECORDS]]
# It takes several minutes and, with 1 000 000 records, 2 GB in DIR.
set -eu
cd "$(dirname "$0")/.."
: "${ROCKSDB_LIB_DIR:=/usr/lib/$(uname -m)-linux-gnu}"
export ROCKSDB_LIB_DIR
dir=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/engines.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cargo build --locked --release --example engines --features lmdb,rocksdb
target/release/examples/engines "$dir" "${2:-1000000}"
