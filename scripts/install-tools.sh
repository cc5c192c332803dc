#!/bin/sh
# install-tools.sh [PACKAGE ...]
#   Installs what building, mounting and testing need on Debian, where this may be done; and these packages.
set -eu
tools="fuse3 attr acl rsync jq vim ed git perl python3 tar strace e2fsprogs moreutils inotify-tools util-linux mount openssl procps sudo gcc g++ libc6-dev lz4 zstd python3-cbor2 $*"
missing=""
for tool in $tools; do
    dpkg-query -W -f='${Status}' "$tool" 2>/dev/null | grep -q "install ok installed" || missing="$missing $tool"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "these packages are needed:$missing" >&2
        echo "install them as root: apt-get install$missing" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q -o DPkg::Lock::Timeout=300
    # shellcheck disable=SC2086 # a list of words
    apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 $missing
fi
# Emacs is looked at where it is to be had.
if [ "$(id -u)" = 0 ] && ! command -v emacs > /dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    [ -n "$missing" ] || apt-get update -q -o DPkg::Lock::Timeout=300 || true
    apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 emacs-nox ||
        echo "no emacs: what it does is not tested" >&2
fi
if [ "$(id -u)" = 0 ]; then
    # udev gives everybody /dev/fuse; in a container nobody has.
    [ ! -e /dev/fuse ] || chmod 666 /dev/fuse
    # fusermount3 reads it; an installed system has it, a bare image does not.
    [ -e /etc/mtab ] || ln -s /proc/self/mounts /etc/mtab
fi
