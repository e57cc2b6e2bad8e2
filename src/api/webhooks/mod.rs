//! The webhooks resource: [`rules`] checks what a client sends, [`handlers`] does it, [`view`] shows what there is.

pub mod handlers;
pub mod rules;
#[cfg(test)]
mod tests;
pub mod view;
