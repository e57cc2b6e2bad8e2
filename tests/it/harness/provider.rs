//! An identity provider: a server that answers with its keys, or with whatever the test makes of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// What one fetch gets.
#[derive(Clone, Debug)]
pub enum Says {
    /// A set of these keys.
    Keys(Vec<Value>),
    /// 200 with this body.
    Body(Vec<u8>),
    /// 302 to `/elsewhere` at this server.
    Redirect,
    /// The connection is closed.
    Closes,
    /// No answer, ever.
    Hangs,
}

struct State {
    script: VecDeque<Says>,
    /// What the next connections are shown, the last one for ever; empty = plain HTTP.
    certificates: VecDeque<TlsAcceptor>,
    paths: Vec<String>,
}

/// Gone with its value.
pub struct Provider {
    scheme: &'static str,
    port: u16,
    state: Arc<Mutex<State>>,
    server: AbortHandle,
}

impl Provider {
    /// It says these in turn from now on, the last one for ever.
    pub async fn start(script: &[Says]) -> Self {
        Self::start_showing(script, Vec::new()).await
    }

    /// As [`Self::start`] over TLS, with these certificates in turn, the last one for ever.
    pub async fn start_showing(script: &[Says], certificates: Vec<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let scheme = if certificates.is_empty() { "http" } else { "https" };
        let script = script.iter().cloned().collect();
        let state = State { script, certificates: certificates.into(), paths: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let server = tokio::spawn(serve(listener, state.clone())).abort_handle();
        Self { scheme, port, state, server }
    }

    /// `auth.jwks_url`
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}/keys", self.scheme, self.port)
    }

    /// It says that from now on.
    pub fn says(&self, says: Says) {
        self.state.lock().expect("no holder panics").script = [says].into();
    }

    /// The paths that were asked for so far.
    pub fn fetched(&self) -> Vec<String> {
        self.state.lock().expect("no holder panics").paths.clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    // Dropped with the task, and every connection with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(connection(stream, state.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<Mutex<State>>) {
    let acceptor = next(&mut state.lock().expect("no holder panics").certificates);
    match acceptor {
        None => answer(stream, &state).await,
        Some(acceptor) => {
            // Who does not trust it says no more.
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, &state).await;
            }
        }
    }
}

/// The first, which stays if it is the last.
fn next<T: Clone>(script: &mut VecDeque<T>) -> Option<T> {
    if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
}

/// One request of one connection.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &Mutex<State>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let says = {
        let mut state = state.lock().expect("no holder panics");
        let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
        state.paths.push(path);
        next(&mut state.script).expect("a script")
    };
    let body = match says {
        Says::Keys(keys) => json!({ "keys": keys }).to_string().into_bytes(),
        Says::Body(body) => body,
        Says::Redirect => {
            let moved = "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(moved.as_bytes()).await;
            return;
        }
        Says::Closes => return,
        Says::Hangs => return std::future::pending().await,
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // Whoever asked may have heard enough.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
    let _ = stream.shutdown().await;
}
