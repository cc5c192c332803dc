#!/usr/bin/env python3
"""usage: mutants.py [NAME...]
Takes the guards of durability and integrity out of the code, one at a time, each in a copy, and shows
that the test named with it turns red. Ends with 1 unless all do. A guard that is not found in the
source any more is an error: the table must be kept in step with the code."""
import os, re, shutil, subprocess, sys, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COPY = os.path.join(ROOT, 'target', 'mutants')
LIB, CRASH, STORE, MOUNT = ['--lib'], ['--test', 'crash'], ['--test', 'store'], ['--test', 'mount']
EVERY = 'cases::every_crash_leaves_a_state_that_was'
TABLE = 'cases::a_table_that_is_being_made_is_not_needed_before_it_is_whole'
FREED = 'cases::recovery_does_not_ask_for_pages_that_were_freed'
SWEEP = 'cases::a_sweep_that_was_cut_short_has_evicted_the_keys_it_came_to'
BACK = 'cases::what_a_snapshot_has_is_brought_back_in_one_write'
RECEIVE = 'receive::a_store_that_was_receiving_changes_is_the_old_or_the_new'
ORDER = 'snapshot::tests::what_is_received_is_whole_or_not_there_in_whatever_order_it_became_durable'
SNAPSHOTS, TRANSACTIONS = 'store::snapshots::', 'store::transactions::'
CREATION = 'cases::a_creation_that_was_cut_short_leaves_a_new_store_or_room_for_one'

# name, file, what stands there, what the mutant has, target, test and its environment
MUTANTS = [
    ('no fsync of the journal', 'src/journal/segment.rs',
     '.and_then(|()| self.file.sync_data())', '', CRASH, EVERY),
    ('no directory sync for a segment', 'src/journal/segment.rs',
     '    file.sync()?;\n    sync_dir(dir)?;\n    Ok(reserved)',
     '    file.sync()?;\n    let _ = dir;\n    Ok(reserved)', CRASH, EVERY),
    ('no fsync of a segment\'s header', 'src/journal/segment.rs',
     '    file.sync()?;\n    sync_dir(dir)?;\n    Ok(reserved)',
     '    sync_dir(dir)?;\n    Ok(reserved)', LIB,
     'journal::tests::a_segment_is_durable_with_its_name_before_its_first_record'),
    ('no fsync of the header that the spare segment gets', 'src/journal/segment.rs',
     '    file.sync()?;\n    let path', '    let path', LIB,
     'journal::tests::a_segment_made_of_the_spare_one_shows_nothing_of_it'),
    ('no directory sync for the spare segment\'s new name', 'src/journal/segment.rs',
     'if let Err(error) = sync_dir(dir) {', 'if let Err(error) = Ok::<(), JournalError>(()) {', LIB,
     'journal::tests::a_segment_made_of_the_spare_one_shows_nothing_of_it'),
    ('frames over old ones without an end', 'src/journal/segment.rs',
     'self.buffer.resize(self.buffer.len() + FRAME_HEADER, 0);', '', LIB,
     'journal::tests::a_segment_made_of_the_spare_one_shows_nothing_of_it'),
    ('an old record of the spare segment taken for the next', 'src/journal/frame.rs',
     '''        if !expected.contains(&u64::from_le_bytes(*seq)) {
            return None;
        }
        let payload = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        if key.check([&place.bytes()[..], length, seq, synced, payload]) != *check {
            return None;
        }
        let (seq, synced) = (u64::from_le_bytes(*seq), u64::from_le_bytes(*synced));
''',
     '''        let payload = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let _ = (key, place, check);
        let seq = u64::from_le_bytes(*seq).max(*expected.start());
        if *length == [0; 4] || !expected.contains(&seq) {
            return None;
        }
        let synced = u64::from_le_bytes(*synced).min(seq - 1);
''', LIB, 'journal::tests::what_a_power_loss_leaves_of_the_spare_segment_is_no_record'),
    ('no append to the journal', 'src/store/commit.rs',
     'journal.append(seq, &payload)?;', 'let _ = (journal, &payload);', CRASH, EVERY),
    ('published though the append failed', 'src/store/commit.rs',
     'journal.append(seq, &payload)?;', 'let _ = journal.append(seq, &payload);', LIB,
     'store::tests::what_the_journal_did_not_take_is_not_seen'),
    ('pages not synced before the journal', 'src/store/commit.rs',
     '        self.sync_pages()?;\n', '', CRASH, EVERY),
    ('records before the journal is durable', 'src/store/fold.rs',
     '            self.sync_to(seq)?;\n', '', LIB,
     'store::tests::records_are_folded_only_once_the_journal_is_durable'),
    ('journal released before the records are durable', 'src/store/fold.rs',
     '            backend.sync(pager.deadline())?;\n', '', LIB,
     'store::tests::the_journal_is_kept_until_the_records_are_durable'),
    ('records and header in two batches', 'src/store/fold.rs',
     '        batch.put(HEADER, header.seal()?, Precondition::Any);\n        backend.apply(batch, pager.deadline())?;',
     '''        backend.apply(batch, pager.deadline())?;
        backend.put(HEADER, &header.seal()?, Precondition::Any, pager.deadline())?;''', CRASH, EVERY),
    ('a lost page is not looked for in recovery', 'src/store/lifecycle.rs',
     '            if misses_page(op, &mut presence)? {', '            if misses_page(op, &mut presence)? && false {',
     CRASH, EVERY),
    ('a failed sync forgotten', 'src/journal/mod.rs',
     '            syncing.failed = Some(error.to_string());', '            let _ = error;', LIB,
     'journal::tests::after_a_failed_sync_nothing_succeeds_until_reopened'),
    ('a failed append leaves its bytes', 'src/journal/segment.rs',
     '            return Err(self.cut_back(error));', '            return Err(error);', LIB,
     'journal::tests::a_failed_append_leaves_nothing_and_can_be_repeated'),
    ('missing synced records are no damage', 'src/journal/recover.rs',
     '    if claimed >= next {', '    if claimed >= next && false {', LIB,
     'journal::tests::every_truncation_gives_a_prefix_or_damage'),
    ('no lock', 'src/backend/lock.rs', '    file.try_lock()?;\n', '', ['--test', 'backends'],
     'lock::a_second_opener_is_told_the_holder'),
    ('blobs in files whose names the engine does not sync', 'src/backend/embedded/tree.rs',
     '.with_kv_separation(None)',
     '.with_kv_separation(Some(lsm_tree::KvSeparationOptions::default().separation_threshold(4096)))',
     CRASH, TABLE),
    ('packs not synced before the log', 'src/backend/embedded/ops.rs',
     '    packs.sync()?;\n    log.sync_to(last)', '    let _ = packs;\n    log.sync_to(last)', CRASH, FREED),
    ('the identity before what it stands for', 'src/backend/identity.rs',
     '    // What is whole once the identity is there must be durable before.\n    File::open(dir)?.sync_all()?;\n', '',
     CRASH, CREATION),
    ('the rest of a creation is refused', 'src/store/storage.rs',
     'if !unfinished::is_rest(location, dir) {', 'if !false {', CRASH, CREATION),
    ('what was written since the round began is freed', 'src/store/round.rs',
     'is_some_and(|set| !set.contains(addr))', 'is_some()', LIB,
     'gc::tests::what_is_written_again_while_it_is_being_freed_is_kept'),
    ('what moved during the round is not marked', 'src/store/round.rs',
     'state.moves = Some(Vec::new());', 'state.moves = None;', LIB,
     'gc::tests::what_moves_to_where_the_round_has_been_is_kept'),
    ('freed before what no longer refers to it is durable', 'src/gc/mod.rs',
     '    round.fold()?;\n', '', LIB, 'gc::tests::the_journal_that_a_crash_leaves_asks_for_no_page_that_was_freed'),
    ('a manifest is believed', 'src/backend/embedded/tree.rs',
     '        manifest::verify(dir)?;\n', '', ['--test', 'backends'],
     'damage::a_manifest_with_a_flipped_bit_is_not_believed'),
    ('a commit does not look whether another came between', 'src/store/commit.rs',
     'if moved || !tx', 'if !tx', STORE, 'store::api::eight_threads_lose_no_update'),
    ('a sweep ends before the evictions are durable', 'src/gc/sweep.rs', '        store.sync()?;\n', '', CRASH, SWEEP),
    ('evicted though it was written meanwhile', 'src/gc/sweep.rs',
     'if kept || last_write >= sweep.cutoff ||', 'if kept ||', CRASH, SWEEP),
    ('evicted though it is to be kept', 'src/gc/sweep.rs',
     'if kept || last_write', 'let _ = kept;\n        if last_write', CRASH, SWEEP),
    ('evicted though somebody began to work on it', 'src/gc/sweep.rs',
     'tx.require(move || !store.is_in_use(&key));', 'let _ = (store, key);', STORE,
     'store::sweep::what_somebody_begins_to_work_on_before_it_goes_stays'),
    ('received pages are not synced before it is said that all is there', 'src/store/incoming.rs',
     'pager.backend().sync(pager.deadline())?;\n        self.stage(', 'self.stage(', LIB, ORDER),
    ('what came is put in place before it is known that it is', 'src/store/incoming.rs',
     'pager.backend().sync(pager.deadline())?;\n        self.finish', 'self.finish', LIB, ORDER),
    ('a half received store is shown', 'src/store/incoming.rs',
     'if self.is_read_only() {\n            let location', 'if self.is_read_only() {\n            return Ok(());\n            #[allow(unreachable_code)]\n            let location',
     CRASH, RECEIVE),
    ('putting in place is not gone on with', 'src/store/lifecycle.rs', 'store.finish_incoming()?;', '', CRASH, RECEIVE),
    ('what snapshots need is not kept', 'src/store/epochs.rs',
     'if epochs.taken.is_empty() {\n            return Ok(());',
     'if epochs.taken.len() < usize::MAX {\n            return Ok(());', STORE,
     SNAPSHOTS + 'snapshots_show_what_a_model_says'),
    ('of what is in no record yet only the last version is kept', 'src/store/epochs.rs',
     'if let Some(epoch) = epochs.needing(slot.seq, next.seq) {',
     'if let Some(epoch) = epochs.needing(slot.seq, next.seq).filter(|_| false) {', STORE,
     SNAPSHOTS + 'snapshots_show_what_a_model_says'),
    ('what an older snapshot needs goes with the newer one', 'src/store/epochs.rs',
     'let older = epochs.before(epoch);', 'let older = epochs.before(epoch).filter(|_| false);', STORE,
     SNAPSHOTS + 'snapshots_show_what_a_model_says'),
    ('a dropped snapshot is read', 'src/store/epochs.rs',
     'Err(_) => Err(no_snapshot(&format!("number {epoch}"))),', 'Err(_) => Ok(()),', STORE,
     SNAPSHOTS + 'a_dropped_snapshot_is_read_by_nobody'),
    ('what only a snapshot holds is freed', 'src/gc/mod.rs',
     'for (_, record) in records {',
     'for (_, record) in records.into_iter().filter(|(at, _)| at.get(1..9) == Some(&[0; 8])) {', STORE,
     SNAPSHOTS + 'what_a_snapshot_needs_stays_and_what_it_alone_needed_goes_with_it'),
    ('what is restored is removed first', 'src/snapshot/restore.rs',
     '    store.transact(|tx| {\n        if !above', '    store.unsynced().dissoc_in(path)?;\n    store.transact(|tx| {\n        if !above',
     CRASH, BACK),
    ('rolled back document by document', 'src/snapshot/restore.rs',
     'false => put_back(tx, changed)?,',
     'false => store.transact(|tx| put_back(tx, changed.clone()))?,', CRASH, BACK),
    ('names that are rolled back are counted twice', 'src/snapshot/restore.rs',
     '        tx.all_put_back();\n', '', STORE,
     'store::history::a_store_is_rolled_back_with_its_root_and_its_links'),
    ('names that a transaction made are counted twice', 'src/snapshot/transaction.rs',
     '    tx.all_put_back();\n', '', MOUNT,
     'transactions::a_directory_is_a_private_copy_until_it_is_moved_to_commit'),
    ('no look for conflicts', 'src/snapshot/transaction.rs',
     'conflicts.extend(clash(tx, step)?);', 'let _ = clash(tx, step)?;', STORE,
     TRANSACTIONS + 'what_others_have_changed_is_not_overwritten'),
    ('what is below is not compared', 'src/snapshot/transaction.rs',
     'false => is_same(tx, step, old, now)?,', 'false => is_same(tx, step, old, now)? || old.is_dir(),', STORE,
     TRANSACTIONS + 'what_others_have_changed_is_not_overwritten'),
    ('a transaction is committed and goes on', 'src/snapshot/transaction.rs',
     '                tx.end_fork(&self.private)?;\n', '', STORE,
     TRANSACTIONS + 'a_transaction_is_seen_by_nobody_until_it_is_committed'),
    ('a transaction takes changes while it is committed', 'src/store/fork.rs',
     '            changes.sealed = true;\n', '', STORE,
     TRANSACTIONS + 'a_transaction_takes_no_changes_while_it_is_committed'),
    ('what was cut off is not ended', 'src/store/lifecycle.rs', '        store.drop_forks()?;\n', '', STORE,
     TRANSACTIONS + 'nothing_is_left_of_a_transaction_that_was_given_up_or_cut_off'),
    ('pollers are not woken', 'src/fuse/poll.rs',
     '            seen = last;\n            self.tell();\n', '            seen = last;\n', MOUNT,
     'watching::poll_waits_for_the_next_event_and_holds_up_nobody'),
    ('a killed daemon and who waits for it are left alone', 'src/cli/dying.rs',
     'if let Err(error) = abort(&entry) {', 'if let Err(error) = Ok::<(), std::io::Error>(()) {', MOUNT,
     'dying::a_killed_daemon_that_was_telling_the_kernel_ends_with_the_next_unmount'),
]


def prepare():
    """Brings the copy to what stands here, touching only what differs, so that little is built again."""
    files = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT,
                           check=True, capture_output=True).stdout.decode().split('\0')
    for name in filter(None, files):
        source, target = os.path.join(ROOT, name), os.path.join(COPY, 'src', name)
        if not os.path.isfile(source):
            continue
        content = open(source, 'rb').read()
        if os.path.isfile(target) and open(target, 'rb').read() == content:
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, 'wb') as f:
            f.write(content)
        shutil.copymode(source, target)


def test(target, name):
    """Runs one test: None if it is green, else how it failed."""
    name, *settings = name.split()
    env = dict(os.environ, CARGO_TARGET_DIR=os.path.join(COPY, 'target'), KFS_SEED='1', KFS_WAYS='6',
               KFS_SEQUENCES='8', RUST_BACKTRACE='0')
    env.update(setting.split('=') for setting in settings)
    command = ['cargo', 'test', '--locked', *target, '--', '--exact', name]
    if shutil.which('mold'):
        command = ['mold', '-run'] + command
    run = subprocess.run(command, cwd=os.path.join(COPY, 'src'), env=env, capture_output=True, text=True,
                         timeout=1800)
    out = run.stdout + run.stderr
    if 'running 1 test' not in out:
        raise SystemExit(f'{name} did not run:\n{out[-3000:]}')
    if run.returncode == 0:
        return None
    said = re.findall(r'^(?:.*panicked at .*\n.*|  crash at .*)$', out, re.M)
    return (said[0].replace('\n', ' ') if said else f'status {run.returncode}')[:110]


def main():
    wanted = sys.argv[1:]
    mutants = [m for m in MUTANTS if not wanted or any(w in m[0] for w in wanted)]
    prepare()
    stale = [f'mutant "{name}": what it changes is not once in {path}' for name, path, old, *_ in MUTANTS
             if not os.path.exists(os.path.join(ROOT, path)) or open(os.path.join(ROOT, path)).read().count(old) != 1]
    if stale:
        raise SystemExit('\n'.join(stale))
    print(f'{len(mutants)} mutants', flush=True)
    for target, name in sorted({(tuple(m[4]), m[5]) for m in mutants}):
        failed = test(list(target), name)
        if failed:
            raise SystemExit(f'{name} is red without a mutant: {failed}')
    survived = 0
    for name, path, old, new, target, test_name in mutants:
        file = os.path.join(COPY, 'src', path)
        original = open(file).read()
        start = time.time()
        try:
            with open(file, 'w') as f:
                f.write(original.replace(old, new))
            how = test(target, test_name)
        finally:
            with open(file, 'w') as f:
                f.write(original)
        survived += how is None
        print(f'{"RED" if how else "GREEN":5} {time.time() - start:4.0f} s  {name}: {test_name}\n'
              f'               {how or "the mutant lives"}', flush=True)
    print(f'{len(mutants)} mutants, {len(mutants) - survived} red, {survived} alive')
    sys.exit(1 if survived else 0)


main()
