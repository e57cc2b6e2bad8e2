//! The webhooks resource: [`rules`] checks what a client sends, [`handlers`] does it, [`view`] shows what there is.

pub mod handlers;
pub mod rules;
pub mod view;
