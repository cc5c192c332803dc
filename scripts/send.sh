#!/bin/bash
# usage: scripts/send.sh [MB]     64 MB unless given; 1024 is what the README has figures of
#   Measures the streams of a store with so many megabytes that do not compress: of all of it, and after
#   one hundredth of it was overwritten in one piece, from a mounted store into one of another storage.
set -euo pipefail
cd "$(dirname "$0")/.."
mb=${1:-64}
cargo build --release --locked
kfs=$PWD/target/release/kfs
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/kfs-send.XXXXXX")
cleanup() {
    "$kfs" umount "$dir/mnt" 2>/dev/null || umount -l "$dir/mnt" 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT
export TIMEFORMAT='%R s, %U + %S s of CPU'
mkdir "$dir/mnt"
"$kfs" init "$dir/store" >/dev/null
"$kfs" mount "$dir/store" "$dir/mnt"
# Half of it in one file, half in files of 64 KiB.
head -c "$((mb / 2))M" /dev/urandom > "$dir/mnt/large"
mkdir "$dir/mnt/many"
head -c "$((mb / 2))M" /dev/urandom | split -a 6 -d -b 64K - "$dir/mnt/many/"
mkdir "$dir/mnt/.kfs/snapshot/one"
bytes() { stat -c %s "$1"; }
share() { awk -v a="$1" -v b="$((mb << 20))" 'BEGIN { printf "%d bytes, %.2f %% of the content\n", a, 100 * a / b }'; }
echo -n "send all: "; time "$kfs" send "$dir/mnt" one > "$dir/all"
share "$(bytes "$dir/all")"
echo -n "receive it: "; time "$kfs" receive "file:$dir/replica" < "$dir/all"
dd if=/dev/urandom of="$dir/mnt/large" bs=1K count="$((mb * 10))" seek="$((mb * 100))" conv=notrunc status=none
mkdir "$dir/mnt/.kfs/snapshot/two"
echo -n "send what changed: "; time "$kfs" send "$dir/mnt" one..two > "$dir/changed"
share "$(bytes "$dir/changed")"
echo -n "receive it: "; time "$kfs" receive "file:$dir/replica" < "$dir/changed"
"$kfs" gc "$dir/replica"
"$kfs" fsck "$dir/replica"
"$kfs" export "$dir/replica" / "$dir/out"
diff -r "$dir/mnt/.kfs/snapshot/two" "$dir/out" && echo "the same"
