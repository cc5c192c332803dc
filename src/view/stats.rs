//! How a store and its mount are doing, in numbers: one list of them, shown as JSON and as Prometheus
//! wants to read it.
//!
//! A number has a section and a name. In Prometheus' [text format] (0.0.4) it is
//! `kfs_SECTION_NAME`, in JSON the field NAME of the object SECTION, without the `_total` of what is
//! counted. Units are seconds and bytes. Counts begin when the store is connected.
//!
//! Whether memory is well used shows in `cache`, for decoded pages and for documents, and whether the
//! front's disk is in `front`: what was looked for there and found (`hits`) or not (`misses`), and how
//! large it is. What waits in it with `-o front=DIR,behind` is in `queue`. Of a store that is laid over
//! (`-o front=DIR,overlay`) what lies over it is in `overlay`.
//!
//! [text format]: https://prometheus.io/docs/instrumenting/exposition_formats/

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::View;
use crate::meter::{self, Group, LIMITS, Times};
use crate::store::{FrontUse, OverlayUse, Phase, Rounds};
use crate::tree::CacheUse;

/// Numbers in sections.
#[derive(Debug, Default)]
pub struct Stats {
    families: Vec<Family>,
}

/// Numbers of one name.
#[derive(Debug)]
struct Family {
    section: &'static str,
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug)]
struct Sample {
    /// A label and its value.
    label: Option<(&'static str, String)>,
    number: Number,
}

#[derive(Debug)]
enum Number {
    Whole(u64),
    Real(f64),
    Times(Box<Times>, u64),
}

impl Stats {
    fn add(
        &mut self,
        kind: Kind,
        (section, name): (&'static str, &'static str),
        help: &'static str,
        samples: Vec<Sample>,
    ) {
        self.families.push(Family {
            section,
            name,
            help,
            kind,
            samples,
        });
    }

    fn counter(&mut self, section: &'static str, name: &'static str, help: &'static str, n: u64) {
        let sample = vec![Sample::plain(Number::Whole(n))];
        self.add(Kind::Counter, (section, name), help, sample);
    }

    fn gauge(&mut self, section: &'static str, name: &'static str, help: &'static str, n: u64) {
        let sample = vec![Sample::plain(Number::Whole(n))];
        self.add(Kind::Gauge, (section, name), help, sample);
    }

    fn seconds(&mut self, section: &'static str, name: &'static str, help: &'static str, n: f64) {
        let sample = vec![Sample::plain(Number::Real(n))];
        self.add(Kind::Gauge, (section, name), help, sample);
    }

    /// Operations: how long they took, and how many failed.
    fn group(&mut self, section: &'static str, help: &'static str, group: &Group) {
        let label = |name: &str| Some(("operation", name.to_owned()));
        let (mut times, mut failed) = (Vec::new(), Vec::new());
        for (name, timed) in group.iter() {
            let errors = timed.failed.get();
            times.push(Sample {
                label: label(name),
                number: Number::Times(Box::new(timed.took.times()), errors),
            });
            failed.push(Sample {
                label: label(name),
                number: Number::Whole(errors),
            });
        }
        self.add(Kind::Histogram, (section, "operation_seconds"), help, times);
        let help = "Operations that failed, for whatever reason.";
        let name = (section, "operation_errors_total");
        self.add(Kind::Counter, name, help, failed);
    }

    /// One number for each cache.
    fn caches(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        caches: &[(&str, CacheUse)],
        number: impl Fn(&CacheUse) -> u64,
    ) {
        let samples = caches.iter().map(|(cache, of)| Sample {
            label: Some(("cache", (*cache).to_owned())),
            number: Number::Whole(number(of)),
        });
        self.add(kind, ("cache", name), help, samples.collect());
    }

    /// As one object.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut out = Map::new();
        for family in &self.families {
            let section = out
                .entry(family.section)
                .or_insert_with(|| Json::Object(Map::new()));
            let Json::Object(section) = section else {
                continue;
            };
            let name = match (family.kind, family.name) {
                (Kind::Histogram, "operation_seconds") => "operations",
                // Beside the times of each operation.
                (_, "operation_errors_total") => continue,
                (_, name) => name.strip_suffix("_total").unwrap_or(name),
            };
            section.insert(name.to_owned(), family.to_json());
        }
        Json::Object(out)
    }

    /// As Prometheus' text format has it.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut out = String::with_capacity(64 * 1024);
        for family in &self.families {
            family.print(&mut out);
        }
        out
    }
}

impl Family {
    fn to_json(&self) -> Json {
        let mut labelled = Map::new();
        for sample in &self.samples {
            match &sample.label {
                None => return sample.number.to_json(),
                Some((_, value)) => labelled.insert(value.clone(), sample.number.to_json()),
            };
        }
        Json::Object(labelled)
    }

    fn print(&self, out: &mut String) {
        let Self {
            section,
            name,
            help,
            kind,
            samples,
        } = self;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let name = format!("kfs_{section}_{name}");
        // Writing to a text cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for sample in samples {
            let label = sample
                .label
                .as_ref()
                .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
            let label = label.unwrap_or_default();
            let braced = if label.is_empty() {
                String::new()
            } else {
                format!("{{{label}}}")
            };
            let _ = match &sample.number {
                Number::Whole(n) => writeln!(out, "{name}{braced} {n}"),
                Number::Real(n) => writeln!(out, "{name}{braced} {n}"),
                Number::Times(times, _) => {
                    print_times(out, &name, &label, &braced, times);
                    Ok(())
                }
            };
        }
    }
}

/// The buckets of a histogram each hold those below, too.
fn print_times(out: &mut String, name: &str, label: &str, braced: &str, times: &Times) {
    let mut sum = 0;
    let comma = if label.is_empty() { "" } else { "," };
    for (at, count) in times.counts.iter().enumerate() {
        sum += count;
        let limit = if at < LIMITS {
            meter::limit(at).to_string()
        } else {
            "+Inf".to_owned()
        };
        let _ = writeln!(out, "{name}_bucket{{{label}{comma}le=\"{limit}\"}} {sum}");
    }
    let seconds = times.seconds;
    let _ = writeln!(
        out,
        "{name}_sum{braced} {seconds}\n{name}_count{braced} {sum}"
    );
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

impl Sample {
    fn plain(number: Number) -> Self {
        Self {
            label: None,
            number,
        }
    }
}

impl Number {
    fn to_json(&self) -> Json {
        match self {
            Self::Whole(n) => json!(n),
            Self::Real(n) => json!(n),
            Self::Times(times, errors) => json!({
                "count": times.count(),
                "errors": errors,
                "seconds": times.seconds,
                "p50": times.quantile(0.5),
                "p99": times.quantile(0.99),
            }),
        }
    }
}

impl View {
    /// How the store and the mount are doing.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.about(&mut stats);
        if let Some(operations) = self.operations.get() {
            let help = "Operations of the kernel, from their coming to their answer.";
            stats.group("fuse", help, operations);
        }
        self.of_files(&mut stats);
        self.of_store(&mut stats);
        let standing = self.store.standing();
        of_front(&mut stats, standing.front.as_ref());
        of_overlay(&mut stats, standing.overlay);
        self.of_space(&mut stats);
        of_process(&mut stats);
        stats
    }

    fn about(&self, stats: &mut Stats) {
        let info = |label, value: String| Sample {
            label: Some((label, value)),
            number: Number::Whole(1),
        };
        let version = vec![info("version", env!("CARGO_PKG_VERSION").to_owned())];
        let help = "The version of the program.";
        stats.add(Kind::Gauge, ("about", "program_info"), help, version);
        let id = vec![info("id", self.store.id().to_string())];
        let help = "The UUID of the store.";
        stats.add(Kind::Gauge, ("about", "store_info"), help, id);
    }

    fn of_files(&self, stats: &mut Stats) {
        let [inodes, pending, handles, dirty] = self.known().map(|n| n as u64);
        let section = "files";
        stats.gauge(section, "inodes", "Inodes that the kernel knows.", inodes);
        stats.gauge(section, "open_handles", "Open files.", handles);
        let help = "Names that are not committed yet.";
        stats.gauge(section, "pending_names", help, pending);
        let help = "Working copies with something to commit.";
        stats.gauge(section, "dirty", help, dirty);
        let help = "Bytes in these that are in memory only.";
        stats.gauge(section, "dirty_bytes", help, self.dirty.unsaved());
    }

    fn of_store(&self, stats: &mut Stats) {
        let (meters, now) = (self.store.meters(), self.store.standing());
        let section = "store";
        let help = "Operations of the store, those of the mount among them.";
        stats.group(section, help, &meters.operations);
        let help = "Transactions that ran again as another write came between.";
        let conflicts = meters.conflicts.get();
        stats.counter(section, "conflicts_total", help, conflicts);
        let help = "The number of the last record of the journal.";
        stats.gauge(section, "sequence", help, now.seq);
        stats.gauge(section, "snapshots", "Snapshots.", now.snapshots);
        let help = "Transactions under way that have a state of their own, as those in .kfs/tx.";
        stats.gauge(section, "open_transactions", help, now.forks);
        let help = "Keys evicted by sweeps.";
        stats.counter(section, "evicted_keys_total", help, meters.evicted.get());

        let section = "journal";
        let help = "Bytes of records appended.";
        let bytes = meters.journal_bytes.get();
        stats.counter(section, "appended_bytes_total", help, bytes);
        let help = "How often the journal was synced.";
        stats.counter(section, "syncs_total", help, now.syncs);
        let help = "How long each of them took: what an fsync waits for, beside others.";
        let sample = Sample::plain(Number::Times(Box::new(now.sync_times.clone()), 0));
        stats.add(
            Kind::Histogram,
            (section, "sync_seconds"),
            help,
            vec![sample],
        );
        let help = "What its records take on disk.";
        stats.gauge(section, "size_bytes", help, now.journal_bytes);
        let help = "Records that a loss of power may still take.";
        let unsynced = now
            .synced
            .map_or(0, |synced| now.seq.saturating_sub(synced));
        stats.gauge(section, "unsynced_records", help, unsynced);
        let help = "Records that wait to be folded.";
        let unfolded = now.seq.saturating_sub(meters.folded.get());
        stats.gauge(section, "unfolded_records", help, unfolded);
        let help = "Bytes of these.";
        stats.gauge(section, "unfolded_bytes", help, now.unfolded_bytes);
        let help = "Documents that these have changed.";
        stats.gauge(section, "unfolded_documents", help, now.unwritten);
        let help = "How long the oldest of these has waited.";
        stats.seconds(section, "fold_lag_seconds", help, now.fold_lag);

        let caches = [("pages", now.pages), ("documents", now.documents)];
        let (counter, gauge) = (Kind::Counter, Kind::Gauge);
        let help = "What was looked for and found in memory.";
        stats.caches(counter, "hits_total", help, &caches, |c| c.found);
        let help = "What was looked for and had to be read.";
        stats.caches(counter, "misses_total", help, &caches, |c| c.missed);
        let help = "Memory in use, about.";
        stats.caches(gauge, "size_bytes", help, &caches, |c| c.bytes);
        let help = "Memory that may be used.";
        stats.caches(gauge, "capacity_bytes", help, &caches, |c| c.capacity);
    }

    fn of_space(&self, stats: &mut Stats) {
        let (meters, now) = (self.store.meters(), self.store.standing());
        let section = "backend";
        let help = "Calls of the storage.";
        stats.group(section, help, &meters.backend.operations);
        let (read, written) = (meters.backend.read.get(), meters.backend.written.get());
        stats.counter(section, "read_bytes_total", "Bytes read from it.", read);
        let help = "Bytes written to it.";
        stats.counter(section, "written_bytes_total", help, written);

        let section = "garbage";
        let help = "Bytes of pages written since the last round: as much may be garbage by now.";
        stats.gauge(section, "written_bytes", help, now.written_since_round);
        let help = "Bytes of freed blobs whose space is not given back yet.";
        stats.gauge(section, "dead_bytes", help, now.dead_bytes);
        of_rounds(stats, &meters.rounds);
    }
}

/// A store without a front has none of these.
fn of_front(stats: &mut Stats, front: Option<&FrontUse>) {
    let Some(front) = front else {
        return;
    };
    let section = "front";
    let help = "Reads that the front answered.";
    stats.counter(section, "hits_total", help, front.hits);
    let help = "Reads that the storage behind it answered.";
    stats.counter(section, "misses_total", help, front.misses);
    let help = "Calls of the front that failed, and copies in it that were damaged.";
    stats.counter(section, "failures_total", help, front.failures);
    let help = "Blobs that are read past it, as it failed to take what was written.";
    stats.gauge(section, "stale_blobs", help, front.stale);
    let help = "Copies that went from it as it was full.";
    stats.counter(section, "evicted_copies_total", help, front.evicted);
    let help = "What its directory takes on disk.";
    stats.gauge(section, "size_bytes", help, front.bytes);
    let Some(queue) = &front.queue else {
        return;
    };
    let section = "queue";
    let help = "Bytes of writes that wait in the front for the storage behind it.";
    stats.gauge(section, "waiting_bytes", help, queue.bytes);
    let help = "Records of these: writes and batches of them.";
    stats.gauge(section, "waiting_records", help, queue.records);
    let help = "Records that it has taken.";
    stats.counter(section, "carried_records_total", help, queue.carried);
    let help = "How often it failed to take some; the log says why.";
    stats.counter(section, "failures_total", help, queue.failures);
    let help = "Whether it failed the last time.";
    let failing = u64::from(queue.failure.is_some());
    stats.gauge(section, "failing", help, failing);
}

/// Only a store that is laid over has these.
fn of_overlay(stats: &mut Stats, overlay: Option<OverlayUse>) {
    let Some(overlay) = overlay else {
        return;
    };
    let help = "What lies over the store, to which nothing is written, takes on disk.";
    stats.gauge("overlay", "size_bytes", help, overlay.bytes);
}

fn of_rounds(stats: &mut Stats, rounds: &Rounds) {
    let section = "garbage";
    let help = "Rounds of freeing that came to their end.";
    stats.counter(section, "rounds_total", help, rounds.ended.get());
    let help = "Rounds that failed; .kfs/last-error says why.";
    stats.counter(section, "failed_rounds_total", help, rounds.failed.get());
    let help = "Pages freed.";
    stats.counter(section, "freed_pages_total", help, rounds.freed.get());
    let phase = rounds.phase.get();
    let help = "Whether a round is under way.";
    let running = u64::from(phase != Phase::None);
    stats.gauge(section, "running", help, running);
    let phases = Phase::ALL.iter().map(|one| Sample {
        label: Some(("phase", one.name().to_owned())),
        number: Number::Whole(u64::from(*one == phase)),
    });
    let help = "What it does: mark what is in use, free the rest, have the storage tidy up.";
    stats.add(Kind::Gauge, (section, "phase"), help, phases.collect());
    let help = "Pages that it has dealt with in this phase.";
    stats.gauge(section, "done_pages", help, rounds.done.get());
    let help = "Pages that it will deal with, at most.";
    stats.gauge(section, "total_pages", help, rounds.total.get());
    let help = "When the last round ended, since 1970; 0 before the first.";
    let last = "last_round_timestamp_seconds";
    stats.gauge(section, last, help, rounds.last.get());
    let help = "How long it took.";
    let took = Duration::from_millis(rounds.last_millis.get()).as_secs_f64();
    stats.seconds(section, "last_round_seconds", help, took);
    let help = "Records that it read.";
    stats.gauge(
        section,
        "last_round_records",
        help,
        rounds.last_records.get(),
    );
    let help = "Pages that it freed.";
    let freed = rounds.last_freed.get();
    stats.gauge(section, "last_round_freed_pages", help, freed);
    let help = "Pages that it found in use.";
    stats.gauge(section, "live_pages", help, rounds.live_pages.get());
    let help = "Bytes of these, before compression.";
    stats.gauge(section, "live_bytes", help, rounds.live_bytes.get());
    let [before, after] = &rounds.last_space;
    let help = "Bytes of the store's files before it; 0 where there are none.";
    stats.gauge(section, "last_round_before_bytes", help, before.get());
    let help = "Bytes of the store's files after it.";
    stats.gauge(section, "last_round_after_bytes", help, after.get());
}

fn of_process(stats: &mut Stats) {
    let section = "process";
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let resident = field("VmRSS:").unwrap_or(0) * 1024;
    let help = "Memory of the daemon.";
    stats.gauge(section, "resident_memory_bytes", help, resident);
    let peak = field("VmHWM:").unwrap_or(0) * 1024;
    let help = "The most memory that it had.";
    stats.gauge(section, "peak_memory_bytes", help, peak);
    let help = "Its threads.";
    stats.gauge(section, "threads", help, field("Threads:").unwrap_or(0));
    let uptime = uptime().unwrap_or(0.0);
    let help = "How long it has been running.";
    stats.seconds(section, "uptime_seconds", help, uptime);
}

/// How long this process has been running, in seconds.
fn uptime() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold anything.
    let fields = stat.rsplit_once(')')?.1;
    let started: f64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let up = std::fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = up.split_whitespace().next()?.parse().ok()?;
    // The kernel counts in hundredths here, whatever its own clock does.
    Some(up - started / 100.0)
}
