#!/bin/sh
# Builds kfs, mounts a store in memory and shows a session in it. The mount stays; `kfs umount` ends it.
set -eu
cd "$(dirname "$0")/.."
scripts/install-tools.sh
cargo build --release --locked
exec target/release/kfs demo --keep "$@"
