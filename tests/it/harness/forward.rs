//! A forward proxy that is scripted and goes nowhere: it notes what it is asked for and answers for the endpoint.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// What it was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The request line and the headers.
    pub head: String,
    /// The first byte that came through the tunnel.
    pub tunnelled: Option<u8>,
}

impl Asked {
    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The lines of a header, by its lower-case name.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let of_name = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}: "));
        self.head.lines().filter(of_name).filter_map(|line| Some(line.split_once(": ")?.1)).collect()
    }
}

#[derive(Debug, Default)]
struct Script {
    status_line: String,
    asked: Vec<Asked>,
}

/// The proxy, gone with its value.
#[derive(Debug)]
pub struct ForwardProxy {
    port: u16,
    script: Arc<Mutex<Script>>,
    server: AbortHandle,
}

impl ForwardProxy {
    /// Listens on a free port, and answers everything with 200.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let script = Arc::new(Mutex::new(Script { status_line: "HTTP/1.1 200 OK".into(), asked: vec![] }));
        let server = tokio::spawn(serve(listener, script.clone())).abort_handle();
        Self { port, script, server }
    }

    /// `host:port`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Answers with this line from now on.
    pub fn answers(&self, status_line: &str) {
        status_line.clone_into(&mut self.script.lock().expect("no holder panics").status_line);
    }

    /// What it was asked for so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.script.lock().expect("no holder panics").asked.clone()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, script: Arc<Mutex<Script>>) {
    // Dropped with the task, and every connection with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => drop(connections.spawn(connection(stream, script.clone()))),
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Answers one request after another; a tunnel holds until the other side closes it.
async fn connection(stream: TcpStream, script: Arc<Mutex<Script>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            (stream.read_line(&mut head).await.ok()? > 0).then_some(())?;
        }
        let asked = Asked { head, tunnelled: None };
        let is_tunnel = asked.line().starts_with("CONNECT ");
        let length =
            asked.headers("content-length").first().map_or(0, |length| length.parse().expect("a length"));
        stream.read_exact(&mut vec![0; length]).await.ok()?;
        let (place, status_line) = {
            let mut script = script.lock().expect("no holder panics");
            script.asked.push(asked);
            (script.asked.len() - 1, script.status_line.clone())
        };
        let end = if is_tunnel { "\r\n\r\n" } else { "\r\nContent-Length: 0\r\n\r\n" };
        stream.write_all(format!("{status_line}{end}").as_bytes()).await.ok()?;
        if is_tunnel {
            let first = stream.read_u8().await.ok()?;
            script.lock().expect("no holder panics").asked[place].tunnelled = Some(first);
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok()?;
        }
    }
}
