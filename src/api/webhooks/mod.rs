//! The webhooks resource: [`rules`] checks what a client sends, [`handlers`] does it, [`view`] shows what there is, [`differences`] names
//! what has changed.

pub mod differences;
pub mod handlers;
pub mod rules;
#[cfg(test)]
mod tests;
pub mod view;
