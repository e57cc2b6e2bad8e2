//! A webhook's first page: how it does, why it failed last, what it is set to, and what can be done with it.

mod actions;
mod recent;
mod settings;
mod show;
#[cfg(test)]
mod tests;

pub use show::show;
