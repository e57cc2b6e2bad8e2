//! An identity provider: a server that answers with its keys, or with whatever the test makes of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

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

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Says>,
    paths: Vec<String>,
}

/// Gone with its value.
#[derive(Debug)]
pub struct Provider {
    port: u16,
    state: Arc<Mutex<State>>,
    server: AbortHandle,
}

impl Provider {
    /// It says these in turn from now on, the last one for ever.
    pub async fn start(script: &[Says]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let state =
            Arc::new(Mutex::new(State { script: script.iter().cloned().collect(), paths: Vec::new() }));
        let server = tokio::spawn(serve(listener, state.clone())).abort_handle();
        Self { port, state, server }
    }

    /// `auth.jwks_url`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/keys", self.port)
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
                connections.spawn(answer(stream, state.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request of one connection.
async fn answer(mut stream: TcpStream, state: Arc<Mutex<State>>) {
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
        let next = state.script.front().cloned().expect("a script");
        if state.script.len() > 1 {
            state.script.pop_front();
        }
        next
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
}
