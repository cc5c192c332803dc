#!/bin/sh
# kill-loop.sh [KILLS]
#   Kills the daemon with SIGKILL under a mixed load, 300 times if not said, mounts the store again
#   each time and compares it with what was acknowledged. The last lines are the totals.
#   KFS_SEED=N repeats a run's choices (not its timing).
set -eu
cd "$(dirname "$0")/.."
KFS_KILLS=${1:-300}
export KFS_KILLS
exec cargo test --release --test mount -- --exact --nocapture \
    crash::killing_the_daemon_under_a_mixed_load_loses_and_tears_nothing
