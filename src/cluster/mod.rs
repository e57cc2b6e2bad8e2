//! Which nodes there are, and which of them owns which partition.

pub mod figures;
pub mod fitness;
pub mod leases;
pub mod membership;
pub mod tenure;
