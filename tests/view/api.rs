//! API writes while the mount has things open.
