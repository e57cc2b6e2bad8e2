//! What each route does, takes and answers, a file for each part of the API.

mod deliveries;
mod events;
mod webhooks;

use super::examples::Examples;
use super::operation::Operation;

/// Every operation, in the order in which people read them.
pub fn all(examples: Examples<'_>) -> Vec<Operation> {
    let parts =
        [webhooks::operations(examples), deliveries::operations(examples), events::operations(examples)];
    parts.into_iter().flatten().collect()
}
