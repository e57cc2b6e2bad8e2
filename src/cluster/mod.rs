//! Which node owns which partition.

pub mod leases;
