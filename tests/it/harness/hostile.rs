//! Endpoints that treat their callers badly: a table of cases ([`cases`]), each with what must come of an attempt at it,
//! and a server for each.
//!
//! What an endpoint does is a [`Script`]: how much of the request it reads, what it says, and how it goes on. Its sleeps
//! are its behaviour and wait for nothing. Shared with `benches/hostile.rs`: it stands on nothing of the harness.

#[path = "hostile/cases.rs"]
mod cases;
#[path = "hostile/tls.rs"]
mod tls;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use cases::{Case, Family, cases};
pub use tls::{Authority, Certificate};

/// The most of a request that is looked at for its end. An event is smaller.
const MAX_REQUEST: usize = 16 << 20;
/// What a slow reader takes at once, ten times a second.
const SIP: usize = 256;

/// What lies between the endpoint and its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Nothing.
    Plain,
    /// TLS, which the endpoint shows that certificate for.
    Tls(Certificate),
    /// The URL says https, and nobody speaks TLS there.
    Pretended,
}

/// How much of the request the endpoint reads before it says anything.
#[derive(Clone, Copy, Debug)]
pub enum Reads {
    /// The whole.
    All,
    /// Some bytes: it has begun to come.
    Beginning,
    /// Nothing.
    Nothing,
}

/// How the endpoint goes on after what it said.
#[derive(Clone, Debug)]
pub enum Then {
    /// Does the same with more requests.
    Listens,
    /// Neither reads nor writes, and does not hang up.
    Freezes,
    /// Reads a little now and then.
    Sips,
    /// Hangs up; over TLS with a farewell.
    Closes,
    /// Hangs up; over TLS without one.
    Breaks,
    /// Resets the connection.
    Resets,
    /// Says a byte of that a second.
    Drips(Vec<u8>),
    /// Says that over and over: with that pause between, or as fast as it is taken.
    Repeats(Vec<u8>, Option<Duration>),
}

/// What an endpoint does with a connection.
#[derive(Clone, Debug)]
pub struct Script {
    /// First.
    pub reads: Reads,
    /// Then.
    pub says: Vec<u8>,
    /// At last.
    pub then: Then,
}

#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

/// One such endpoint, gone with its value.
#[derive(Debug)]
pub struct Hostile {
    /// Where it is.
    pub url: String,
    seen: Arc<Seen>,
    server: AbortHandle,
}

impl Hostile {
    /// The endpoint of a case, on a free port.
    pub async fn start(case: &Case, authority: &Authority) -> Self {
        let listener = listen(&case.script).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let scheme = if case.channel == Channel::Plain { "http" } else { "https" };
        let url = format!("{scheme}://{}:{port}{}", case.host, cases::PATH);
        let acceptor = match case.channel {
            Channel::Tls(certificate) => Some(authority.acceptor(certificate)),
            Channel::Plain | Channel::Pretended => None,
        };
        let seen = Arc::<Seen>::default();
        let server = serve(listener, acceptor, Arc::new(case.script.clone()), seen.clone());
        Self { url, seen, server: tokio::spawn(server).abort_handle() }
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Requests so far, as far as it reads any.
    pub fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Those that do not read have the kernel take as little as it can in their place.
fn listen(script: &Script) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    if !matches!(script.reads, Reads::All) {
        socket.set_recv_buffer_size(2048)?;
    }
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(1024)
}

async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, script: Arc<Script>, seen: Arc<Seen>) {
    // Dropped with the task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                seen.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(connection(stream, acceptor.clone(), script.clone(), seen.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Callers hang up in the middle: that is no failure here.
async fn connection(
    mut stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    script: Arc<Script>,
    seen: Arc<Seen>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match acceptor {
        Some(acceptor) => play(&mut acceptor.accept(stream).await?, &script, &seen).await,
        None => {
            play(&mut stream, &script, &seen).await?;
            if matches!(script.then, Then::Resets) { stream.set_zero_linger() } else { Ok(()) }
        }
    }
}

async fn play<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    script: &Script,
    seen: &Seen,
) -> io::Result<()> {
    match script.reads {
        Reads::All => read_request(stream).await?,
        Reads::Beginning => drop(stream.read_exact(&mut [0; 16]).await?),
        Reads::Nothing => {}
    }
    seen.requests.fetch_add(1, Ordering::Relaxed);
    stream.write_all(&script.says).await?;
    stream.flush().await?;
    match &script.then {
        Then::Listens => loop {
            read_request(stream).await?;
            seen.requests.fetch_add(1, Ordering::Relaxed);
            stream.write_all(&script.says).await?;
            stream.flush().await?;
        },
        Then::Freezes => std::future::pending().await,
        Then::Sips => loop {
            stream.read_exact(&mut [0; SIP]).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        },
        Then::Closes => stream.shutdown().await,
        Then::Breaks | Then::Resets => Ok(()),
        Then::Drips(bytes) => {
            for byte in bytes {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stream.write_all(&[*byte]).await?;
                stream.flush().await?;
            }
            Ok(())
        }
        Then::Repeats(piece, pause) => loop {
            stream.write_all(piece).await?;
            stream.flush().await?;
            if let Some(pause) = pause {
                tokio::time::sleep(*pause).await;
            }
        },
    }
}

/// Reads a request with a `Content-Length` to its end.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<()> {
    let mut request = Vec::new();
    let mut missing = None;
    while missing.is_none_or(|bytes: usize| bytes > request.len()) {
        if request.len() > MAX_REQUEST || stream.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if missing.is_none() {
            missing = whole_length(&request);
        }
    }
    Ok(())
}

/// The bytes of the whole request, once its head is there.
fn whole_length(request: &[u8]) -> Option<usize> {
    let head = request.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    Some(head + length.unwrap_or_default())
}
