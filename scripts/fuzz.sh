#!/bin/sh
# Fuzzes everything that reads bytes from outside: scripts/fuzz.sh [SECONDS [TARGET…]]
#   SECONDS for each target (10), all targets unless some are named. What it finds is left in
#   fuzz/found/ and ends the run with 1; what covers more is kept in target/fuzz/corpus for the next one.
#   libFuzzer, on a stable compiler. The first run takes some minutes to build.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-10}
[ $# -eq 0 ] || shift
target=$(rustc -vV | sed -n 's/^host: //p')
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=16"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/fuzz"
RUSTFLAGS="$flags" cargo build --release --locked --target "$target" --manifest-path fuzz/Cargo.toml
binary=$CARGO_TARGET_DIR/$target/release/konserve-fs-fuzz
[ $# -gt 0 ] || set -- $(sed -n 's/^    ("\([a-z0-9]*\)",.*/\1/p' fuzz/src/targets.rs)
scratch=$(mktemp -d "${TMPDIR:-/dev/shm}/kfs-fuzz.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
failed=
for name in "$@"; do
  grown=$CARGO_TARGET_DIR/corpus/$name
  mkdir -p "$grown" fuzz/found "fuzz/corpus/$name"
  KFS_FUZZ=$name TMPDIR=$scratch "$binary" -max_total_time="$seconds" -max_len=8192 \
    -seed=1 -rss_limit_mb=2048 -timeout=20 -artifact_prefix="fuzz/found/$name-" \
    -print_final_stats=1 "$grown" "fuzz/corpus/$name" > "$scratch/log" 2>&1 || {
      failed="$failed $name"
      grep -a -m 20 'panicked\|ERROR\|SUMMARY\|left:\|right:' "$scratch/log" || tail -n 20 "$scratch/log"
    }
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/log")
  covered=$(grep -a -o 'cov: [0-9]*' "$scratch/log" | tail -n 1)
  printf '%-10s %10s runs, %s\n' "$name" "${runs:-?}" "${covered:-cov: ?}"
done
rmdir fuzz/found 2>/dev/null || true
[ -z "$failed" ] || { echo "found something in:$failed (fuzz/found)"; exit 1; }
