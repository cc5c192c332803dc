//! Work on the chunks of one content by several threads: hashing and compressing them takes longer
//! than everything else that is done with them.

use std::sync::OnceLock;
use std::thread;

/// No more threads than this, and for each at least so many items.
const MOST: usize = 4;
const LEAST: usize = 4;

/// Does `work` for every item and gives the results in order. Its panics are its caller's.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    let processors = *PROCESSORS
        .get_or_init(|| thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let threads = processors.min(MOST).min(items.len() / LEAST);
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let (mine, others) = items.split_at(items.len().div_ceil(threads));
    thread::scope(|scope| {
        let work = &work;
        let helpers: Vec<_> = others
            .chunks(mine.len())
            .map(|part| scope.spawn(move || part.iter().map(work).collect::<Vec<R>>()))
            .collect();
        let mut results: Vec<R> = mine.iter().map(work).collect();
        for helper in helpers {
            match helper.join() {
                Ok(part) => results.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_are_in_order() {
        for count in [0, 1, 3, 7, 8, 9, 31, 100] {
            let items: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = items.iter().map(|n| n * 2).collect();
            assert_eq!(map(&items, |n| n * 2), doubled);
        }
    }
}
