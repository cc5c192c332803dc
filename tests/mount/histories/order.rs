//! Whether what several did with one value at the same time could have been done one after the
//! other: the search of Wing and Gong (1993), with Lowe's memory of what was tried (2017).

use std::collections::HashSet;

/// What stands there; `None` is nothing.
pub type State = Option<u32>;

/// What somebody did, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// This was read.
    Read(State),
    /// This was put there, or what was there was removed.
    Put(State),
    /// `new` was put in the place of `old`, in one step.
    Swap { old: State, new: u32 },
    /// It was removed, if there was something.
    Remove { existed: bool },
}

impl Action {
    /// What stands there after it; `None` if it could not have been done with this before.
    fn after(self, before: State) -> Option<State> {
        match self {
            Self::Read(seen) => (seen == before).then_some(before),
            Self::Put(new) => Some(new),
            Self::Swap { old, new } => (old == before).then_some(Some(new)),
            Self::Remove { existed } => (existed == before.is_some()).then_some(None),
        }
    }
}

impl Action {
    /// What it does, whatever came of it.
    pub fn blind(self) -> Option<Self> {
        match self {
            Self::Read(_) | Self::Remove { existed: false } => None,
            Self::Put(_) => Some(self),
            Self::Swap { new, .. } => Some(Self::Put(Some(new))),
            Self::Remove { existed: true } => Some(Self::Put(None)),
        }
    }
}

/// An action in a history. Of two actions that one clock says were not at the same time, the one
/// that ended first came first.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// By whom.
    pub actor: usize,
    /// When it was begun.
    pub begun: u64,
    /// When it was over.
    pub ended: u64,
    pub action: Action,
}

/// Whether there is an order, beginning with nothing. Up to 64 events.
pub fn has_order(events: &[Event]) -> bool {
    assert!(events.len() <= 64, "{} events", events.len());
    search(events, 0, None, &mut HashSet::new())
}

fn search(events: &[Event], done: u64, state: State, tried: &mut HashSet<(u64, State)>) -> bool {
    let open = || (0..events.len()).filter(|at| done & (1 << at) == 0);
    let Some(first_end) = open().map(|at| events[at].ended).min() else {
        return true;
    };
    if !tried.insert((done, state)) {
        return false;
    }
    // Whatever begins after another's end comes after it.
    open().filter(|at| events[*at].begun < first_end).any(|at| {
        match events[at].action.after(state) {
            Some(next) => search(events, done | 1 << at, next, tried),
            None => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn event(begun: u64, ended: u64, action: Action) -> Event {
        Event {
            actor: 0,
            begun,
            ended,
            action,
        }
    }

    #[test]
    fn an_order_is_found_where_there_is_one() {
        use Action::{Put, Read, Remove, Swap};
        let orders = [
            vec![],
            vec![event(0, 1, Read(None))],
            // Two writes at the same time, and readers who saw one after the other.
            vec![
                event(0, 9, Put(Some(1))),
                event(1, 8, Put(Some(2))),
                event(2, 3, Read(Some(2))),
                event(4, 5, Read(Some(1))),
            ],
            // What has not ended yet may have been done, or not.
            vec![
                event(0, 9, Put(Some(1))),
                event(1, 2, Read(None)),
                event(
                    3,
                    4,
                    Swap {
                        old: Some(1),
                        new: 2,
                    },
                ),
                event(5, 6, Remove { existed: true }),
            ],
        ];
        for events in orders {
            assert!(has_order(&events), "{events:?}");
        }
        let none = [
            // An old value after a new one.
            vec![
                event(0, 9, Put(Some(1))),
                event(1, 2, Read(Some(1))),
                event(3, 4, Read(None)),
            ],
            // A lost update.
            vec![
                event(0, 1, Put(Some(1))),
                event(
                    2,
                    5,
                    Swap {
                        old: Some(1),
                        new: 2,
                    },
                ),
                event(
                    3,
                    4,
                    Swap {
                        old: Some(1),
                        new: 3,
                    },
                ),
            ],
            // A write that was over is not seen.
            vec![event(0, 1, Put(Some(1))), event(2, 3, Read(None))],
            vec![
                event(0, 1, Put(Some(1))),
                event(2, 3, Remove { existed: false }),
            ],
            // Something that nobody wrote.
            vec![event(0, 9, Put(Some(1))), event(2, 3, Read(Some(2)))],
        ];
        for events in none {
            assert!(!has_order(&events), "{events:?}");
        }
    }

    /// Whether one of all orders will do.
    fn some_order(events: &[Event], done: &mut Vec<usize>, state: State) -> bool {
        if done.len() == events.len() {
            return true;
        }
        (0..events.len()).any(|at| {
            let open = |other: &usize| !done.contains(other) && *other != at;
            let in_time = (0..events.len())
                .filter(open)
                .all(|other| events[other].ended > events[at].begun);
            if done.contains(&at) || !in_time {
                return false;
            }
            let Some(next) = events[at].action.after(state) else {
                return false;
            };
            done.push(at);
            let found = some_order(events, done, next);
            done.pop();
            found
        })
    }

    #[test]
    fn it_says_what_a_search_of_all_orders_says() {
        let mut random = Random::new(1);
        let mut found = [0; 2];
        for _ in 0..20_000 {
            let count = 1 + random.below(6);
            let mut state = || [None, Some(1), Some(2)][random.below(3)];
            let states: Vec<[State; 2]> = (0..count).map(|_| [state(), state()]).collect();
            let events: Vec<Event> = states
                .into_iter()
                .map(|[one, other]| {
                    let begun = random.below(12) as u64;
                    let action = match random.below(4) {
                        0 => Action::Read(one),
                        1 => Action::Put(one),
                        2 => Action::Swap {
                            old: one,
                            new: other.unwrap_or(2),
                        },
                        _ => Action::Remove {
                            existed: one.is_some(),
                        },
                    };
                    event(begun, begun + 1 + random.below(6) as u64, action)
                })
                .collect();
            let expected = some_order(&events, &mut Vec::new(), None);
            assert_eq!(has_order(&events), expected, "{events:?}");
            found[usize::from(expected)] += 1;
        }
        assert!(found.iter().all(|count| *count > 2_000), "{found:?}");
    }
}
