#!/bin/sh
# Everything that must hold before a change goes in: format, lints, documentation, tests.
set -eu
cd "$(dirname "$0")/.."
scripts/install-tools.sh
cargo fmt --check
cargo clippy --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
# A sample of the places where a kill or a failing disk may strike.
cargo build --locked
scripts/strace-kill.py --seed 1 target/debug/kfs
for example in embed hook backend mount; do
    cargo run --locked --quiet --example $example
done
# The storages that are not in a build by default.
cargo clippy --all-targets --locked --features lmdb -- -D warnings
cargo test --locked --features lmdb --test backends --test mount -- lmdb libraries reopen lock::
# Mounts are tested a few at a time: each test has daemons, editors and copies of its own.
exec cargo test --locked "$@" -- --test-threads=4
