//! Which node owns which partition.

pub mod leases;
pub mod tenure;
