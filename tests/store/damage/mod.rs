//! Damage of every kind to a small store: never other content, never a panic or a hang; and the
//! check finds whatever changed something.
//!
//! Each case damages a copy of the store, checks it, opens it for writing and reads all of it. The
//! cases run in processes of their own, so that one that aborts or hangs is counted. By default a
//! sample of them runs; `KFS_DAMAGE=all` (`scripts/damage.sh`) runs all.

mod cases;
mod fixture;
mod judge;
mod run;

use std::collections::BTreeMap;

use cases::{Case, all};
use fixture::{Fixture, Kind};

/// How many cases of each class are in the sample.
const SAMPLE: usize = 30;

#[test]
fn no_damage_is_returned_as_data_and_the_check_finds_it() {
    if run::is_worker() {
        return;
    }
    for kind in Kind::all() {
        every_case(*kind);
    }
}

/// What the parent starts; by itself it does nothing.
#[test]
fn worker() {
    if run::is_worker() {
        run::work();
    }
}

fn every_case(kind: Kind) {
    let dir = run::scratch();
    let fixture = Fixture::build(kind, dir.path());
    let cases = all(&fixture);
    let chosen = choose(&cases);
    let outcomes = run::run(&dir, kind, cases.len(), &chosen);
    let mut table: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (index, outcome) in &outcomes {
        let class = cases[*index].class();
        let row = table.entry(class).or_default();
        *row.entry(outcome.name()).or_default() += 1;
        if outcome.is_wrong(&cases[*index]) {
            wrong.push(format!("case {index}, {}: {outcome:?}", cases[*index]));
        }
    }
    print(kind, &table, &cases);
    let mut repairs: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, outcome) in &outcomes {
        *repairs.entry(outcome.repair_name()).or_default() += 1;
    }
    for name in judge::REPAIRS {
        let count = repairs.get(name).copied().unwrap_or(0);
        println!("repaired: {name:14} {count:>11}");
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        outcomes.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
    assert_eq!(outcomes.len(), chosen.len());
    // A sample in which nothing is noticed would show nothing.
    let noticed = outcomes.iter().filter(|(_, outcome)| outcome.found());
    assert!(noticed.count() * 2 > chosen.len(), "{table:?}");
}

/// All cases, or some of each class; `KFS_DAMAGE=2/10` is the second tenth, for a run in several
/// sittings, and `KFS_DAMAGE=5,17` are those cases.
fn choose(cases: &[Case]) -> Vec<usize> {
    let wanted = std::env::var("KFS_DAMAGE").unwrap_or_default();
    if wanted == "all" {
        return (0..cases.len()).collect();
    }
    if let Some((part, parts)) = wanted.split_once('/') {
        let (part, parts): (usize, usize) = (part.parse().unwrap(), parts.parse().unwrap());
        return (part - 1..cases.len()).step_by(parts).collect();
    }
    if !wanted.is_empty() {
        let number = |text: &str| text.parse().expect("KFS_DAMAGE: all, or numbers of cases");
        return wanted.split(',').map(number).collect();
    }
    let mut classes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, case) in cases.iter().enumerate() {
        classes.entry(case.class()).or_default().push(index);
    }
    let mut chosen = Vec::new();
    for members in classes.values() {
        let step = members.len().div_ceil(SAMPLE);
        chosen.extend(members.iter().step_by(step));
    }
    chosen
}

fn print(kind: Kind, table: &BTreeMap<&str, BTreeMap<&str, usize>>, cases: &[Case]) {
    println!("{kind:?}, {} cases in all", cases.len());
    print!("{:24}", "");
    for name in judge::NAMES {
        print!(" {name:>11}");
    }
    println!();
    let mut total: BTreeMap<&str, usize> = BTreeMap::new();
    for (class, row) in table {
        print!("{class:24}");
        for name in judge::NAMES {
            let count = row.get(name).copied().unwrap_or(0);
            *total.entry(name).or_default() += count;
            print!(" {count:>11}");
        }
        println!();
    }
    print!("{:24}", "total");
    for name in judge::NAMES {
        print!(" {:>11}", total[name]);
    }
    println!();
}
