#!/bin/bash
# usage: scripts/bench.sh [ROUNDS] [GROUP ...]     groups: small large fsync par work scale
#   Measures a mounted store beside the file system below it and bindfs, client and daemons on one CPU
#   (PIN=, empty for all). Needs root, gcc, rsync, git, python3 and bindfs. A further peer that is
#   mounted already: PEERS="name=/dir=PID …".
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}; shift || true
groups=${*:-small fsync par work}
cargo build --release --locked
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/kfs-bench.XXXXXX")
kfs=$PWD/target/release/kfs
cleanup() {
    umount -l "$dir/kfs" 2>/dev/null || true
    umount -l "$dir/bindfs" 2>/dev/null || true
    rm -rf "$dir"
}
trap cleanup EXIT
mkdir "$dir"/{kfs,bindfs,below,local}
gcc -O2 -o "$dir/fsb" scripts/bench/fsb.c -lpthread
# A source tree of some thousand files: what cargo has fetched to build this.
mkdir "$dir/tree"
registry=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/ | head -1)
cp -r "$registry"/{proptest,regex-syntax,serde,clap,nix,libc,syn,lsm-tree,jiff,rustix}-[0-9]* "$dir/tree/" 2>/dev/null || true
tar cf "$dir/tree.tar" -C "$dir" tree
"$kfs" init "$dir/store" >/dev/null
"$kfs" mount "$dir/store" "$dir/kfs"
bindfs "$dir/below" "$dir/bindfs"
pid=$("$kfs" status "$dir/store" --json | sed 's/.*"pid":\([0-9]*\).*/\1/')
bindpid=$(pgrep -n -f "bindfs $dir/below")
echo "$(find "$dir/tree" -type f | wc -l) files in the source tree; $(git rev-parse --short HEAD)"
# shellcheck disable=SC2086 # lists of words
PIN=${PIN-0} FSB=$dir/fsb SRC=$dir/tree TAR=$dir/tree.tar ROUNDS=$rounds GROUPS_="$groups" \
    scripts/bench/fsbench.sh "$dir/out.tsv" ext4="$dir/local" bindfs="$dir/bindfs=$bindpid" kfs="$dir/kfs=$pid" ${PEERS:-}
