#!/bin/sh
# damage.sh [PART/PARTS]
#   Damages every byte of a small store and every pair of its parts in turn, and sees that nobody is
#   lied to and that the check finds it. Some 100 000 cases, which take about an hour; with 2/10 it
#   is the second tenth of them. Ends with one table.
set -eu
cd "$(dirname "$0")/.."
KFS_DAMAGE=${1:-all}
export KFS_DAMAGE
exec cargo test --release --test store -- --exact --nocapture \
    store::damage::no_damage_is_returned_as_data_and_the_check_finds_it
