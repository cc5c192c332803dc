#!/bin/sh
# Everything that must hold before a change goes in: format, lints, documentation, tests.
set -eu
cd "$(dirname "$0")/.."
# RocksDB is the system's library; its header is read by libclang.
scripts/install-tools.sh librocksdb-dev libclang-14-dev
cargo fmt --check
cargo fmt --check --manifest-path fuzz/Cargo.toml
cargo clippy --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
# A sample of the places where a kill or a failing disk may strike.
cargo build --locked
scripts/strace-kill.py --seed 1 target/debug/kfs
for example in embed hook backend tiers mount; do
    cargo run --locked --quiet --example $example
done
# What reads bytes from outside, a little; scripts/fuzz.sh 600 does more.
scripts/fuzz.sh 10
# The storages that are not in a build by default.
: "${ROCKSDB_LIB_DIR:=/usr/lib/$(uname -m)-linux-gnu}"
export ROCKSDB_LIB_DIR
cargo clippy --all-targets --locked --features lmdb,rocksdb -- -D warnings
cargo test --locked --features lmdb,rocksdb --test backends --test mount -- lmdb rocksdb libraries histories reopen lock:: kill::
# Mounts are tested a few at a time: each test has daemons, editors and copies of its own.
exec cargo test --locked "$@" -- --test-threads=4
