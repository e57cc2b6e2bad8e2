//! The Prometheus text of this node.

/// Every metric in the Prometheus text format, version 0.0.4.
pub fn render() -> String {
    String::new()
}
