//! The webhooks resource: [`rules`] checks what a client sends, [`handlers`] and [`secrets`] do it, [`view`] shows what
//! there is, [`differences`] names what has changed.

pub mod differences;
pub mod handlers;
pub mod rules;
pub mod secrets;
#[cfg(test)]
mod tests;
pub mod view;
