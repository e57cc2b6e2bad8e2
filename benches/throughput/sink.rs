//! The endpoint that receives, a process of its own: answers 200 with nothing and notes when each event arrived, measured
//! from the time that its publisher wrote into it. Raw HTTP/1.1 on a socket, so that it costs little.
//!
//! Paths: `/slow` answers after ten seconds, `/hang` never; all others at once. `/aside` is not noted.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::percentiles::Percentiles;

/// What arrived since it was last asked to forget.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Arrived {
    /// Requests that are answered at once, those aside left out.
    pub count: u64,
    /// From publish to arrival, in ms, of those.
    pub times: Percentiles,
}

#[derive(Default)]
struct Seen {
    count: u64,
    times: Vec<u32>,
}

/// Serves until its standard input ends. Prints its address first, then a line for each line that it reads: `count`,
/// `report`, `forget`.
pub async fn run() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let seen = Rc::new(RefCell::new(Seen::default()));
    let of_connections = seen.clone();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(serve(stream, of_connections.clone()));
        }
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match line.as_str() {
            "forget" => {
                *seen.borrow_mut() = Seen::default();
                println!("{{}}");
            }
            "report" => {
                let seen = seen.borrow();
                let arrived = Arrived { count: seen.count, times: Percentiles::of(seen.times.clone()) };
                println!("{}", serde_json::to_string(&arrived).expect("plain data"));
            }
            _ => println!("{}", seen.borrow().count),
        }
    }
}

async fn serve(mut stream: TcpStream, seen: Rc<RefCell<Seen>>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16_384);
    loop {
        let Some((head, end)) = request_in(&buffer) else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let path = buffer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        match path {
            b"/hang" => std::future::pending().await,
            b"/aside" => {}
            b"/slow" => tokio::time::sleep(Duration::from_secs(10)).await,
            _ => note(&buffer[head..end], &mut seen.borrow_mut()),
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        buffer.drain(..end);
    }
}

/// Where the body of the first request begins and ends, when it is whole.
fn request_in(buffer: &[u8]) -> Option<(usize, usize)> {
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).unwrap_or_default();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let end = head + length.unwrap_or(0);
    (buffer.len() >= end).then_some((head, end))
}

fn note(body: &[u8], seen: &mut Seen) {
    seen.count += 1;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_micros();
    if let Some(then) = published_at(body) {
        seen.times.push(u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX));
    }
}

fn published_at(body: &[u8]) -> Option<u128> {
    const MARK: &[u8] = b"\"t\":";
    let place = body.windows(MARK.len()).position(|four| four == MARK)? + MARK.len();
    let digits = body[place..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&body[place..place + digits]).ok()?.parse().ok()
}
