//! The page of those who run the service: which nodes there are, who works on which part of the queue, and whether all is
//! well. For administrators alone; it names no addresses and no customers.

mod show;
#[cfg(test)]
mod tests;
mod write;

pub use show::show;
