//! The reference of all metrics, as `docs/metrics.md` has it: written from what the code registers.

use std::fmt::Write;

use super::METRICS;
use super::set::{Described, Kind, Label};

const HEAD: &str = "\
# Metrics

Every node answers `GET /metrics` on its management port (`server.management_port`, 9464) in the Prometheus text format
0.0.4. This page is written by the program: `salesos-webhooks metrics > docs/metrics.md`.

Every counter stands at 0 for each of its label values from the start, so that a rate exists before the first error. All
numbers are of one node's process: sum them over nodes, and expect a node that starts again to begin at 0. No label
holds anything of a customer's, and none grows: the size of `/metrics` does not depend on how many webhooks, events or
organizations there are. Gauges of what waits are kept in memory from what each step in Redis answers; nothing is
scanned for a scrape.

";

const TAIL: &str = "
## Of the process

`process_cpu_seconds_total`, `process_open_fds`, `process_max_fds`, `process_resident_memory_bytes`,
`process_virtual_memory_bytes`, `process_start_time_seconds`, `process_threads`: as every Prometheus client gives them
(Linux).
";

/// The page, as Markdown.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for (title, is_of) in SECTIONS {
        let _ = writeln!(page, "## {title}\n\n| metric | labels | meaning |\n|---|---|---|");
        let mut metrics: Vec<&Described> =
            METRICS.described.iter().filter(|metric| is_of(metric.kind)).collect();
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        metrics.into_iter().for_each(|metric| row(&mut page, metric));
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page + TAIL
}

type Section = (&'static str, fn(Kind) -> bool);

const SECTIONS: [Section; 3] = [
    ("Counters", |kind| matches!(kind, Kind::Counter)),
    ("Gauges", |kind| matches!(kind, Kind::Gauge)),
    ("Histograms", |kind| matches!(kind, Kind::Histogram(_))),
];

fn row(page: &mut String, Described { name, kind, labels, help }: &Described) {
    let labels: Vec<String> = labels.iter().map(label).collect();
    let bounds = match kind {
        Kind::Histogram(bounds) => format!(" Buckets (s): {}.", list(bounds.iter())),
        Kind::Counter | Kind::Gauge => String::new(),
    };
    // Writing to a string does not fail.
    let _ = writeln!(page, "| `{name}` | {} | {help}{bounds} |", labels.join("<br>"));
}

fn list<T: ToString>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn label(Label { name, values, otherwise }: &Label) -> String {
    if values.is_empty() {
        return format!("`{name}`: {otherwise}");
    }
    format!("`{name}`: {}", list(values.iter().map(|value| format!("`{value}`"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_docs_is_what_the_program_writes() {
        let kept = include_str!("../../../docs/metrics.md");
        assert!(
            kept == markdown(),
            "docs/metrics.md is out of date: salesos-webhooks metrics > docs/metrics.md"
        );
    }
}
