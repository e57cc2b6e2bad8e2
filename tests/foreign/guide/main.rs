//! Serves the guide's `verify.rs` over just enough HTTP/1.1, in the way of the guide's complete programs.
//!
//! The headers pass through a `HeaderMap`, by the very line that the guide gives for it.

mod verify;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

fn main() -> io::Result<()> {
    let secret = std::env::var("WEBHOOK_SECRET").unwrap_or_default();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        // Who hangs up or sends no HTTP gets no answer.
        if let Err(error) = serve(&secret, stream?) {
            eprintln!("{error}");
        }
    }
    Ok(())
}

fn serve(secret: &str, mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let headers = read_headers(&mut reader)?;
    let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    reader.read_exact(&mut body)?;
    let pairs = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let status = match verify::verify(secret, pairs, &body, Duration::from_secs(300)) {
        Ok(()) => "204 No Content",
        Err(reason) => {
            eprintln!("{reason:?}");
            "401 Unauthorized"
        }
    };
    write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\n\r\n")
}

fn read_headers(reader: &mut impl BufRead) -> io::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    loop {
        line.clear();
        reader.read_until(b'\n', &mut line)?;
        let text = line.trim_ascii();
        let Some(colon) = text.iter().position(|byte| *byte == b':') else { return Ok(headers) };
        let (name, value) = (&text[..colon], text[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
}
