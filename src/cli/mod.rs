//! Commands, and what the daemon behind a mount needs from the system.

pub mod background;
pub mod frame;
pub mod log;
pub mod places;
pub mod signals;
pub mod socket;
