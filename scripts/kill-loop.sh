#!/bin/sh
# kill-loop.sh [KILLS [KIND]]
#   Kills the daemon with SIGKILL under a mixed load, 300 times if not said, mounts the store again
#   each time and compares it with what was acknowledged. The last lines are the totals.
#   KIND is the kind of store: kfs (the default) or file.
#   KFS_SEED=N repeats a run's choices (not its timing).
set -eu
cd "$(dirname "$0")/.."
KFS_KILLS=${1:-300}
KFS_KIND=${2:-kfs}
export KFS_KILLS KFS_KIND
exec cargo test --release --test mount -- --exact --nocapture \
    crash::killing_the_daemon_under_a_mixed_load_loses_and_tears_nothing
