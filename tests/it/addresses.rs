//! Contract §8, addresses: whatever leads inside is refused in every spelling, when a webhook is saved or changed and,
//! should it have been saved all the same, when it is delivered to. With `--nocapture` the table of all cases is printed.

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::{Client, Listener, SOON, TestNode, TestRedis, eventually, text};

/// Ways to write 127.0.0.1 and [::1], which the listener would hear, and some that lead there through a translator.
const SPELLINGS: [&str; 30] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "0177.0.0.1",
    "0177.0x0.0.1",
    "127.0.0.1.",
    "127.1.",
    "１２７.0.０.１",
    "127。0。0。1",
    "①②⑦.0.0.1",
    "%31%32%37.0.0.1",
    "127%2E0.0.1",
    "0",
    "0.0.0.0",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0.0.0.1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7F00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
];

/// The first and the last address of every range that is refused.
const RANGES: [(&str, &str); 40] = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.31.196.0", "192.31.196.255"),
    ("192.52.193.0", "192.52.193.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("192.175.48.0", "192.175.48.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("240.0.0.0", "255.255.255.255"),
    ("[::]", "[::ffff:ffff]"),
    ("[::ffff:10.0.0.0]", "[::ffff:10.255.255.255]"),
    ("[::ffff:0:10.0.0.0]", "[::ffff:0:10.255.255.255]"),
    ("[64:ff9b::10.0.0.0]", "[64:ff9b::10.255.255.255]"),
    ("[64:ff9b:1::]", "[64:ff9b:1:ffff:ffff:ffff:ffff:ffff]"),
    ("[100::]", "[100::ffff:ffff:ffff:ffff]"),
    ("[100:0:0:1::]", "[100:0:0:1:ffff:ffff:ffff:ffff]"),
    ("[2001::]", "[2001:0:ffff:ffff:ffff:ffff:ffff:ffff]"),
    ("[2001:1::1]", "[2001:1::3]"),
    ("[2001:2::]", "[2001:2:0:ffff:ffff:ffff:ffff:ffff]"),
    ("[2001:20::]", "[2001:3f:ffff:ffff:ffff:ffff:ffff:ffff]"),
    ("[2001:1ff::]", "[2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff]"),
    ("[2001:db8::]", "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]"),
    ("[2002::]", "[2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff]"),
    ("[2002:7f00:1::]", "[2002:a00:1::]"),
    ("[2620:4f:8000::]", "[2620:4f:8000:ffff:ffff:ffff:ffff:ffff]"),
    ("[3fff::]", "[3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff]"),
    ("[4000::]", "[5f00:ffff::]"),
    ("[fc00::]", "[fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]"),
    ("[fe80::]", "[febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff]"),
    ("[fec0::]", "[feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]"),
    ("[ff00::]", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]"),
];

/// What is no address that anybody can be reached at, and no name either.
const NO_HOSTS: [&str; 8] = [
    "[fe80::1%25lo]",
    "[fe80::1%lo]",
    "[::1",
    "127.0.0.256",
    "127.0.0.0.1",
    "0x100000000",
    "127.0.0.1%00.example.com",
    "127.0.0.1\\@example.com",
];

/// Ports of services that answer to what an HTTP request happens to hold.
const PORTS: [u16; 13] = [22, 23, 25, 110, 143, 445, 1433, 1521, 3306, 5432, 6379, 11_211, 27_017];

const BLOCKED: &str = "url must not point to a private or reserved address";
/// Opens everything; the local prefix of NAT64 must be named itself.
const ALL: &str = "0.0.0.0/0,::/0,64:ff9b:1::/48";

/// One line of the table.
#[derive(Default)]
struct Row {
    posted: u16,
    patched: u16,
    attempted: String,
    connections: usize,
}

/// Posts and patches a URL that must be refused with these words.
async fn refused(user: &Client, webhook: &str, url: &str, words: &str) -> Row {
    let made = user.post("/api/webhooks", &json!({ "name": "test", "url": url, "events": ["*"] })).await;
    let changed = user.patch(&format!("/api/webhooks/{webhook}"), &json!({ "url": url })).await;
    assert_eq!(made.error(400), [words], "{url}");
    assert_eq!(changed.error(400), [words], "{url}");
    Row { posted: made.status, patched: changed.status, ..Row::default() }
}

fn print(table: &[(String, Row)]) {
    println!("{:<60} {:>4} {:>5} {:<16} {:>11}", "URL", "POST", "PATCH", "attempt", "connections");
    for (url, Row { posted, patched, attempted, connections }) in table {
        println!("{url:<60} {posted:>4} {patched:>5} {attempted:<16} {connections:>11}");
    }
}

#[tokio::test]
async fn what_leads_inside_is_refused_when_it_is_saved_and_when_it_is_delivered_to() {
    let (redis, inside) = (TestRedis::start(), Listener::start().await);
    let ranges = RANGES.iter().flat_map(|(first, last)| [*first, *last]);
    let urls: Vec<String> =
        SPELLINGS.into_iter().chain(ranges).map(|host| format!("http://{host}:{}/", inside.port)).collect();

    // Saved where everything is allowed, delivered where nothing is.
    let mut open = TestNode::start_with(&redis, &[("DELIVERY__ALLOWED_NETWORKS", ALL)]).await;
    let mut saved = BTreeMap::new();
    let once = json!({ "retryAttempts": 0 });
    for url in &urls {
        let made = open.user("ann", "acme").create(url, &["*"], &once).await;
        saved.insert(url.clone(), text(&made["id"]));
    }
    open.terminate();
    open.ended(SOON).await;
    let node = TestNode::start_with(&redis, &[("DELIVERY__ALLOWED_NETWORKS", "")]).await;
    let ann = node.user("ann", "acme");
    let other = json!({ "isActive": false });
    let other = text(&ann.create("https://93.184.215.14/", &["*"], &other).await["id"]);

    node.publisher("acme").publish("lead.created", &json!({})).await;
    let mut table = Vec::new();
    for url in urls {
        let mut row = refused(&ann, &other, &url, BLOCKED).await;
        let log = eventually(&url, SOON, async || ann.log(&saved[&url], "").await.into_iter().next());
        row.attempted = text(&log.await["errorKind"]);
        row.connections = inside.connections();
        table.push((url, row));
    }
    print(&table);
    let through = table.iter().filter(|(_, row)| row.attempted != "blocked_address" || row.connections > 0);
    assert_eq!((through.count(), inside.connections()), (0, 0));
}

#[tokio::test]
async fn what_is_no_host_and_what_is_no_port_of_a_receiver_is_refused_whatever_is_allowed() {
    let (redis, inside) = (TestRedis::start(), Listener::start().await);
    let node = TestNode::start_with(&redis, &[("DELIVERY__ALLOWED_NETWORKS", ALL)]).await;
    let ann = node.user("ann", "acme");
    let other = json!({ "isActive": false });
    let other = text(&ann.create("https://93.184.215.14/", &["*"], &other).await["id"]);
    let mut table = Vec::new();
    for host in NO_HOSTS {
        let url = format!("http://{host}:{}/", inside.port);
        table.push((url.clone(), refused(&ann, &other, &url, "url must be an http or https URL").await));
    }
    for port in PORTS {
        for host in ["127.0.0.1", "93.184.215.14", "[::1]", "example.com"] {
            let url = format!("https://{host}:{port}/");
            let words = format!("url must not use port {port}");
            table.push((url.clone(), refused(&ann, &other, &url, &words).await));
        }
    }
    let url = format!("http://ann:pw@93.184.215.14:{}/", inside.port);
    table.push((url.clone(), refused(&ann, &other, &url, "url must not hold credentials").await));
    print(&table);
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn an_allowed_network_of_ipv6_opens_no_way_to_ipv4() {
    let (redis, inside) = (TestRedis::start(), Listener::start().await);
    let node = TestNode::start_with(&redis, &[("DELIVERY__ALLOWED_NETWORKS", "::/0")]).await;
    let ann = node.user("ann", "acme");
    let other = json!({ "isActive": false });
    let other = text(&ann.create("https://93.184.215.14/", &["*"], &other).await["id"]);
    for host in [
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::127.0.0.1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::f7f7:f7f7]",
        "[2001:0:808:808::80ff:fffe]",
    ] {
        refused(&ann, &other, &format!("http://{host}:{}/", inside.port), BLOCKED).await;
    }
    assert_eq!(inside.connections(), 0);
}
