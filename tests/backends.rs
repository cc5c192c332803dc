//! One suite of small cases over every storage and every wrapper, and what only those in
//! a directory can be asked: to survive being killed, to keep others out, to notice damage.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

#[path = "backends/basics.rs"]
mod basics;
#[path = "backends/batches.rs"]
mod batches;
#[path = "backends/behind.rs"]
mod behind;
#[path = "backends/concurrency.rs"]
mod concurrency;
#[path = "backends/custom.rs"]
mod custom;
#[path = "backends/damage.rs"]
mod damage;
#[path = "backends/encrypted.rs"]
mod encrypted;
#[allow(dead_code, reason = "its main is for those who run it")]
#[path = "../examples/backend.rs"]
mod example;
#[path = "backends/faults.rs"]
mod faults;
#[path = "backends/files.rs"]
mod files;
#[path = "backends/kill.rs"]
mod kill;
#[path = "backends/libraries.rs"]
mod libraries;
#[path = "backends/limited.rs"]
mod limited;
#[path = "backends/listing.rs"]
mod listing;
#[path = "backends/lock.rs"]
mod lock;
#[path = "backends/losing.rs"]
mod losing;
#[path = "backends/overlays.rs"]
mod overlays;
#[path = "backends/packs.rs"]
mod packs;
#[path = "backends/planted.rs"]
mod planted;
#[path = "backends/preconditions.rs"]
mod preconditions;
#[path = "backends/reopen.rs"]
mod reopen;
#[path = "backends/settled.rs"]
mod settled;
#[path = "backends/storages.rs"]
mod storages;
#[path = "backends/tables.rs"]
mod tables;
#[path = "backends/tiers.rs"]
mod tiers;

/// Makes a test of each pair of a case and a storage, named `suite::CASE::STORAGE`.
macro_rules! suite {
    ($($module:ident :: $case:ident),* $(,)?) => {
        mod suite {
            $(mod $case {
                suite!(@storages $module $case
                    memory, embedded, file, settled_file, limited, metered_memory, faulty_memory, faulty_embedded, faulty_file, example,
                    written_through, written_around, bad_front, tiered_limited,
                    bounded_front, laid_over_memory, limited_over_memory, laid_over_full, encrypted_memory, encrypted_embedded, encrypted_limited, encrypted_queue, encrypted_layers, padded_memory, queued_memory, carried_memory, carried_limited, written_behind,
                    #[cfg(feature = "lmdb")] lmdb, #[cfg(feature = "lmdb")] faulty_lmdb, #[cfg(feature = "rocksdb")] rocksdb);
            })*
        }
    };
    (@storages $module:ident $case:ident $($(#[$built:meta])? $storage:ident),*) => {
        $(#[test]
        $(#[$built])?
        fn $storage() {
            crate::$module::$case(&*crate::storages::$storage().backend);
        })*
    };
}

suite![
    basics::an_absent_blob_is_none,
    basics::a_blob_is_read_back,
    basics::an_address_may_hold_any_bytes,
    basics::addresses_of_other_lengths_are_refused,
    basics::a_put_replaces_the_whole_blob,
    basics::a_delete_says_whether_there_was_a_blob,
    basics::reading_creates_nothing,
    basics::a_range_is_cut_off_at_the_end,
    basics::many_are_answered_in_order,
    basics::a_blob_above_the_limit_is_refused,
    basics::an_expired_deadline_is_an_error_and_writes_nothing,
    basics::sync_returns,
    preconditions::absent_holds_only_where_nothing_is,
    preconditions::a_version_holds_only_for_that_content,
    preconditions::a_written_version_can_be_used_at_once,
    preconditions::a_delete_takes_preconditions,
    batches::a_batch_is_done,
    batches::an_empty_batch_does_nothing,
    batches::a_conflict_anywhere_undoes_all,
    batches::preconditions_are_judged_before_the_batch,
    batches::the_last_write_to_an_address_counts,
    listing::a_list_is_sorted_by_bytes,
    listing::a_list_holds_only_the_prefix,
    listing::a_list_comes_in_pages,
    listing::a_list_may_begin_before_or_behind_the_prefix,
    listing::what_was_deleted_is_not_listed,
    concurrency::compare_and_swap_loses_no_increment,
    concurrency::only_one_creator_wins,
    concurrency::readers_see_whole_blobs,
];
