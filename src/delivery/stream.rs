//! Connections with the bounds that hyper's client lacks. They lie below TLS.
//!
//! An answer has an end ([`Metered`]). hyper skips interim answers (1xx) for as long as they come, and gives the thread
//! back only when its budget of reads is used up: one endpoint that sent nothing else held up every other attempt of its
//! thread for seconds, its own timeout too. What comes in answer to one request is counted, which also ends floods
//! below HTTP, of TLS records that carry no data. The bound is far above what an answer takes of which no more than the
//! captured part is read; hyper bounds the parts of an answer itself (head, chunk extensions, trailers).
//!
//! A connection does not outlive its attempt ([`Leash`]). hyper writes out what it holds before it closes: to an endpoint
//! that reads nothing never, so that the attempt ended and its socket and its copy of the body did not. That the kernel
//! does the same after a minute ([`super::client`]) is enough for requests so small that the kernel takes them at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use hyper::body::Body as _;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, Connection, capture_connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::client::Outgoing;

/// Bodies up to that many bytes are not watched, which costs something: the kernel has room for them.
const TAKEN_AT_ONCE: u64 = 8 << 10;

/// How much is read before the other tasks of the thread have a turn, give or take one read: what is there already is
/// parsed in one go, which takes milliseconds where it consists of interim answers.
const IN_A_ROW: usize = 16 << 10;

/// More came than an answer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is too long")]
pub struct TooLong;

/// The sending side of a connection, as its attempts see it.
#[derive(Clone, Debug, Default)]
struct Line(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Some of a request has been written, and not yet all.
    is_sending: AtomicBool,
    /// How many requests have been begun.
    requests: AtomicU64,
    is_cut: AtomicBool,
    writer: AtomicWaker,
}

impl Line {
    /// Ends the connection if it is in the middle of a request: of number `of`, where that is known.
    fn cut_if_sending(&self, of: Option<u64>) {
        // An attempt that has its answer may come to its end when another one has the connection already.
        let is_its_own = of.is_none_or(|number| number == self.requests());
        if is_its_own && self.0.is_sending.load(Ordering::Acquire) {
            self.0.is_cut.store(true, Ordering::Release);
            self.0.writer.wake();
        }
    }

    fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Acquire)
    }
}

/// Ends with an attempt, and with it the connection, unless the whole request has been written. Who answers before that
/// has read enough.
#[derive(Debug)]
pub struct Leash {
    connection: CaptureConnection,
    /// Which of the connection's requests this attempt's is, once there is an answer.
    request: Option<u64>,
}

impl Leash {
    /// For an attempt whose request may have to wait for the endpoint to read.
    pub fn of(request: &mut Outgoing) -> Option<Self> {
        let bytes = request.body().size_hint().lower();
        (bytes > TAKEN_AT_ONCE).then(|| Self { connection: capture_connection(request), request: None })
    }

    /// There is an answer: from now on the connection may be given to another attempt before this one ends.
    pub fn answered(&mut self) {
        self.request = self.line().map(|line| line.requests());
    }

    fn line(&self) -> Option<Line> {
        let mut extras = http::Extensions::new();
        self.connection.connection_metadata().as_ref()?.get_extras(&mut extras);
        extras.remove::<Line>()
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(line) = self.line() {
            line.cut_if_sending(self.request);
        }
    }
}

/// A TCP connection of which each answer has at most so many bytes.
#[derive(Debug)]
pub struct Metered {
    tcp: TcpStream,
    line: Line,
    most: usize,
    /// What came since the last request began.
    read: usize,
    /// What came since others had their turn.
    in_a_row: usize,
}

impl Metered {
    /// At most that many bytes an answer, and what one read finds beyond.
    pub fn new(tcp: TcpStream, most: usize) -> Self {
        Self { tcp, line: Line::default(), most, read: 0, in_a_row: 0 }
    }

    /// Something is to be written: of the next request, if all of the last one has been.
    fn begin(&mut self, cx: &mut Context<'_>) -> io::Result<&mut TcpStream> {
        let state = &self.line.0;
        state.writer.register(cx.waker());
        if state.is_cut.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if !state.is_sending.swap(true, Ordering::AcqRel) {
            self.read = 0;
            state.requests.fetch_add(1, Ordering::AcqRel);
        }
        Ok(&mut self.tcp)
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read > this.most {
            return Poll::Ready(Err(io::Error::other(TooLong)));
        }
        if this.in_a_row >= IN_A_ROW {
            this.in_a_row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.tcp).poll_read(cx, buf) else {
            this.in_a_row = 0;
            return Poll::Pending;
        };
        let count = buf.filled().len() - before;
        this.read = this.read.saturating_add(count);
        this.in_a_row = this.in_a_row.saturating_add(count);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().begin(cx)?).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().begin(cx)?).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    /// hyper, and TLS above it, come here once they have written everything.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.line.0.is_sending.store(false, Ordering::Release);
        Pin::new(&mut this.tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

impl Connection for Metered {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.line.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use crate::delivery::send::tests::{answering_and_counting, attempt, sender, settings};
    use crate::domain::ErrorKind;

    use super::*;

    fn seen(connections: &AtomicUsize) -> usize {
        connections.load(Ordering::SeqCst)
    }

    #[test]
    fn the_end_of_an_attempt_cuts_its_own_request_and_no_later_one() {
        for (of, requests, is_sending, cuts) in [
            (None, 1, true, true),
            (None, 1, false, false),
            (Some(1), 1, true, true),
            (Some(1), 1, false, false),
            (Some(1), 2, true, false),
        ] {
            let line = Line::default();
            line.0.is_sending.store(is_sending, Ordering::Release);
            line.0.requests.store(requests, Ordering::Release);
            line.cut_if_sending(of);
            assert_eq!(line.0.is_cut.load(Ordering::Acquire), cuts, "{of:?} of {requests}");
        }
    }

    #[tokio::test]
    async fn a_kept_connection_is_metered_anew_for_each_request() {
        let head =
            format!("HTTP/1.1 200 OK\r\nx-large: {}\r\ncontent-length: 2\r\n\r\nok", "a".repeat(30_000));
        let (url, _received, connections) = answering_and_counting(head).await;
        let (sender, settings) = (sender(), settings(&url));
        for number in 0..40 {
            let result = attempt(&sender, &settings).await;
            assert!(result.success(), "{number}: {result:?}");
        }
        assert_eq!(seen(&connections), 1);
    }

    #[tokio::test]
    async fn interim_answers_count_together_and_a_connection_that_ended_so_is_not_used_again() {
        let hint = format!("HTTP/1.1 103 Early Hints\r\nlink: {}\r\n\r\n", "a".repeat(1000));
        let end = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        for (hints, kind, used) in [(20, None, 1), (1000, Some(ErrorKind::Protocol), 2)] {
            let answer = format!("{}{end}", hint.repeat(hints));
            let (url, _received, connections) = answering_and_counting(answer).await;
            let (sender, settings) = (sender(), settings(&url));
            for _ in 0..2 {
                let result = attempt(&sender, &settings).await;
                assert_eq!(result.failure.map(|failure| failure.kind), kind, "{hints}");
            }
            assert_eq!(seen(&connections), used, "{hints}");
        }
    }
}
