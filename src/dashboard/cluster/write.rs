//! The cluster in words and figures. Pure.

use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::api::cluster::{Answer, Node};
use crate::api::stats::OfCluster;
use crate::dashboard::figures::{NONE, figure, took_or_none};
use crate::dashboard::when::{ago, at, count, many};
use crate::domain::{Millis, NodeId};
use crate::store::overview::PartitionState;

/// Partitions named in a sentence.
const MOST_NAMED: usize = 10;

/// What of the page changes with time.
pub fn changing(cluster: &Answer, minute: Option<&OfCluster>, now: Millis) -> Markup {
    let live: BTreeSet<&NodeId> =
        cluster.nodes.iter().filter(|node| node.live).map(|node| &node.id).collect();
    let is_owned = |state: &PartitionState| state.owner.as_ref().is_some_and(|owner| live.contains(owner));
    let (owned, alone): (Vec<_>, Vec<_>) = cluster.partitions.iter().partition(|state| is_owned(state));
    html! {
        (verdict(cluster, &alone))
        (figures(cluster, minute))
        (nodes(&cluster.nodes, now))
        section.card aria-labelledby="partitions" {
            h2 #partitions { "Partitions" }
            p.muted { "The queue is cut into " (cluster.partitions.len()) " parts, each worked on by one node. "
                "“New” counts events that are not matched to webhooks yet, “waiting” deliveries that are queued or will be tried again." }
            ul.partitions {
                @for state in &alone { (partition(state, false)) }
                @for state in &owned { (partition(state, true)) }
            }
        }
        p.muted.small { "As of " (at(now)) }
    }
}

/// Whether all is well, in words.
fn verdict(cluster: &Answer, alone: &[&PartitionState]) -> Markup {
    let gone = cluster.nodes.iter().filter(|node| !node.live).count() as u64;
    html! {
        @if alone.is_empty() {
            p.notice { "Every partition has an owner." }
        } @else {
            p.problem {
                (many(alone.len() as u64, "partition has no owner", "partitions have no owner")) ": " (named(alone))
                ". What waits in them is safe and is taken over within seconds. If this stays, look at the nodes' logs."
            }
        }
        @if gone > 0 {
            p.advice { (many(gone, "node has not", "nodes have not")) " been heard of lately. It was stopped, or it cannot reach Redis." }
        }
    }
}

/// The numbers of the first few partitions.
fn named(states: &[&PartitionState]) -> String {
    let names: Vec<String> =
        states.iter().take(MOST_NAMED).map(|state| state.partition.to_string()).collect();
    let more = if states.len() > names.len() { " and others" } else { "" };
    names.join(", ") + more
}

fn figures(cluster: &Answer, minute: Option<&OfCluster>) -> Markup {
    let told = |value: fn(&OfCluster) -> String| minute.map_or_else(|| NONE.to_owned(), value);
    let live = cluster.nodes.iter().filter(|node| node.live).count() as u64;
    let new: u64 = cluster.partitions.iter().map(|state| state.undispatched).sum();
    html! {
        dl.grid.figures {
            (figure("Live nodes", count(live), &html! { "of " (cluster.nodes.len()) " known" }))
            (figure("Deliveries a second", told(|minute| format!("{:.1}", minute.deliveries_per_second)), &html! { "in the last minute" }))
            (figure("On their way", told(|minute| count(minute.in_flight)), &html! { "requests without an answer yet" }))
            (figure("Waiting", count(cluster.backlog), &html! { "deliveries, and " (count(new)) " new events" }))
            (figure("Held back", cluster.held_back.map_or_else(|| NONE.to_owned(), count), &html! { "webhooks that keep failing" }))
            (figure("Response time", told(|minute| took_or_none(minute.response_time_ms.p95)), &html! {
                "95 of 100 within; average " (told(|minute| took_or_none(minute.response_time_ms.avg))) }))
        }
    }
}

fn nodes(nodes: &[Node], now: Millis) -> Markup {
    html! {
        section.card aria-labelledby="nodes" {
            h2 #nodes { "Nodes" }
            table.cards {
                caption.unseen { "The nodes in the order of their joining" }
                thead { tr {
                    th scope="col" { "Node" } th scope="col" { "State" } th.number scope="col" { "Partitions" }
                    th.number scope="col" { "On their way" } th.number scope="col" { "Waiting" }
                    th.number scope="col" { "Held back" }
                    th scope="col" { "Version" } th scope="col" { "Started" }
                } }
                tbody { @for node in nodes { (node_row(node, now)) } }
            }
            @if nodes.is_empty() { p.empty { "No node has shown itself yet." } }
        }
    }
}

fn node_row(node: &Node, now: Millis) -> Markup {
    let (class, word) = match (node.live, node.draining) {
        (false, _) => ("badge fail", "Not heard of"),
        (true, true) => ("badge warn", "Leaving"),
        (true, false) => ("badge ok", "Live"),
    };
    html! {
        tr {
            td data-label="Node" { (node.id) }
            td data-label="State" { span class=(class) { (word) } }
            td.number data-label="Partitions" { (node.partitions.len()) }
            td.number data-label="On their way" { (count(node.in_flight)) }
            td.number data-label="Waiting" { (count(node.backlog)) }
            td.number data-label="Held back" { (node.held_back.map_or_else(|| NONE.to_owned(), count)) }
            td data-label="Version" { (node.version) }
            td.nowrap data-label="Started" { @match Millis::parse_rfc3339(&node.started_at) {
                Some(started) => { (ago(started, now)) }
                None => { (NONE) }
            } }
        }
    }
}

fn partition(state: &PartitionState, is_owned: bool) -> Markup {
    html! {
        li.alone[!is_owned] {
            strong { (state.partition) }
            span.owner {
                @match (&state.owner, is_owned) {
                    (Some(owner), true) => { (owner) }
                    (Some(owner), false) => { "no owner (was " (owner) ")" }
                    (None, _) => { "no owner" }
                }
            }
            span.small.muted { (count(state.undispatched)) " new, " (count(state.pending)) " waiting" }
        }
    }
}
