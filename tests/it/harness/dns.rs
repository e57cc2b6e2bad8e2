//! A name server with scripted answers: UDP on the loopback, one question a packet, nothing compressed but the name asked
//! for (RFC 1035, section 4).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

const A: u16 = 1;
const AAAA: u16 = 28;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// What a name is answered.
#[derive(Clone, Debug)]
pub enum Told {
    /// These addresses, each to the question for its family.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The name server cannot tell.
    Failure,
    /// Nothing, ever.
    Silence,
    /// These addresses to the question for IPv4, and nothing, ever, to the one for IPv6.
    HalfSilence(Vec<IpAddr>),
}

impl Told {
    /// These addresses.
    pub fn addresses(addresses: &[&str]) -> Self {
        Self::Addresses(parsed(addresses))
    }

    /// These addresses of IPv4 alone; the name server does not answer when it is asked for those of IPv6.
    pub fn half_silence(addresses: &[&str]) -> Self {
        Self::HalfSilence(parsed(addresses))
    }
}

fn parsed(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().expect("an address")).collect()
}

type Scripts = Arc<Mutex<HashMap<String, Told>>>;

/// The name server, gone with its value. Names that it was not told of do not exist.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    scripts: Scripts,
    unanswered: Arc<AtomicUsize>,
    server: AbortHandle,
}

impl NameServer {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let address = socket.local_addr().expect("it is bound");
        let (scripts, unanswered) = (Scripts::default(), Arc::default());
        let server = tokio::spawn(serve(socket, scripts.clone(), Arc::clone(&unanswered))).abort_handle();
        Self { address, scripts, unanswered, server }
    }

    /// `ip:port`, as `delivery.dns_servers` takes it.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The name is answered so from now on.
    pub fn tell(&self, name: &str, told: Told) {
        self.scripts.lock().expect("no holder panics").insert(name.to_owned(), told);
    }

    /// How many questions have got no answer so far.
    pub fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::SeqCst)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(socket: UdpSocket, scripts: Scripts, unanswered: Arc<AtomicUsize>) {
    let mut packet = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut packet).await {
        match answer(&packet[..length], &scripts) {
            // A packet that is lost is asked for again.
            Some(answer) => drop(socket.send_to(&answer, from).await),
            None => drop(unanswered.fetch_add(1, Ordering::SeqCst)),
        }
    }
}

/// The answer to one packet, if there is to be one.
fn answer(packet: &[u8], scripts: &Scripts) -> Option<Vec<u8>> {
    let (name, kind, question) = question(packet)?;
    let told = scripts.lock().expect("no holder panics").get(&name).cloned().unwrap_or(Told::NoSuchName);
    let of_kind = |address: &IpAddr| address.is_ipv4() == (kind == A);
    let (code, addresses) = match told {
        Told::Addresses(addresses) => (0, addresses.into_iter().filter(of_kind).collect()),
        Told::HalfSilence(addresses) if kind == A => (0, addresses),
        Told::NoSuchName => (NO_SUCH_NAME, Vec::new()),
        Told::Failure => (SERVER_FAILURE, Vec::new()),
        Told::Silence | Told::HalfSilence(_) => return None,
    };
    // Its id; an answer, recursion wanted and offered; one question, so many answers.
    let mut answer =
        vec![packet[0], packet[1], 0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0];
    answer.extend(question);
    addresses.iter().for_each(|address| record(&mut answer, kind, *address));
    Some(answer)
}

/// The name and the kind that a packet asks for, and the bytes of the question.
fn question(packet: &[u8]) -> Option<(String, u16, &[u8])> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*packet.get(at)?);
        let label = packet.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(label).to_lowercase());
    }
    let kind = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
    assert!([A, AAAA].contains(&kind), "addresses alone are asked for: {kind}");
    Some((labels.join("."), kind, packet.get(12..at + 4)?))
}

/// A record of the name asked for (a pointer to it), class IN, that may be kept for an hour: whoever keeps it is found out.
fn record(answer: &mut Vec<u8>, kind: u16, address: IpAddr) {
    answer.extend([0xc0, 12]);
    answer.extend(kind.to_be_bytes());
    answer.extend([0, 1]);
    answer.extend(3600_u32.to_be_bytes());
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    answer.extend((octets.len() as u16).to_be_bytes());
    answer.extend(octets);
}
