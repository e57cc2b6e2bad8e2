//! Endpoints that are well and endpoints that are not, on sockets of the loopback.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// When each event arrived first.
pub type Arrivals = Arc<Mutex<HashMap<String, Instant>>>;

/// How an endpoint answers.
#[derive(Clone, Debug)]
pub enum Manner {
    /// At once, and notes when.
    Notes(Arrivals),
    /// Never.
    Hangs,
    /// With 200 after that long.
    After(Duration),
    /// With 200 at once and a body that goes on for ever, a byte now and then.
    Endless,
}

/// Between two bytes of a body without end.
const DRIP: Duration = Duration::from_millis(100);

/// Serves an endpoint until the process ends; its URL.
pub async fn serve(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, manner.clone()));
        }
    });
    format!("http://{address}/")
}

async fn answer_all(stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(id) = read_request(&mut stream).await? {
        match &manner {
            Manner::Notes(arrivals) => {
                let at = Instant::now();
                arrivals.lock().expect("no holder panics").entry(id).or_insert(at);
                answer(&mut stream).await?;
            }
            Manner::Hangs => drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?),
            Manner::After(delay) => {
                tokio::time::sleep(*delay).await;
                answer(&mut stream).await?;
            }
            Manner::Endless => drip(&mut stream).await?,
        }
    }
    Ok(())
}

async fn answer(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await
}

/// Until the other side has had enough.
async fn drip(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    loop {
        stream.write_all(b"1\r\n.\r\n").await?;
        tokio::time::sleep(DRIP).await;
    }
}

/// The event that the next request is about.
async fn read_request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let (mut line, mut id, mut length) = (String::new(), String::new(), 0);
    while stream.read_line(&mut line).await? > 0 {
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("webhook-id") => id = value.to_owned(),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap_or_default();
            }
            None if line.trim_end().is_empty() => {
                stream.read_exact(&mut vec![0; length]).await?;
                return Ok(Some(id));
            }
            _ => {}
        }
        line.clear();
    }
    Ok(None)
}
