//! The connections of clients: nobody holds one without sending requests on it.
//!
//! The framework bounds the first head of a connection and what lies idle between two requests, and nothing else: a
//! further head that never ends, a chunked body that goes on after its answer, and an answer that is never read would hold
//! a connection for ever. So each is watched from outside. While a request is being answered its handler's own bounds
//! hold ([`super::body`]); from its answer on, [`patience`] runs until the next request is there, and whoever has not sent it
//! is cut off, whatever else is going on. It begins anew with each [`PIECE`] of the answer that is taken, so a large answer
//! may take its time, and who reads nothing has none. Where connections run short, those that lie idle go first.
//!
//! [`UNREAD`] is the same for what the system still holds of a connection that is closed here: data that no client
//! takes would otherwise stay in its memory for many minutes.
//! Sources: tcp(7) (`TCP_USER_TIMEOUT`), RFC 9112 section 9.5 (idle connections may be closed at any time).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use rustix::net::sockopt::{set_socket_send_buffer_size, set_tcp_user_timeout};

use crate::clock;

/// The longest time from connecting to the end of the first request's head.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may lie idle.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// The same where connections run short.
const KEEP_ALIVE_IN_A_CROWD: Duration = Duration::from_secs(5);
/// How long what was sent may go without being taken.
const UNREAD: Duration = Duration::from_secs(30);
/// The most of an answer that the framework gets at once. It asks for the next piece when most of the one before has left.
const PIECE: usize = 64 * 1024;
/// What the system holds of an answer (it doubles the figure). Left alone it holds megabytes, which leave the framework at
/// once and then nothing for a long time, so that a slow client could not be told from one that reads nothing.
const SEND_BUFFER: usize = 128 * 1024;
/// How often connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How long a client has from the last piece of one answer to the next, or to the end of the next request's head, while `open`
/// of at most `most` connections are. They run short while fewer than a quarter are left, of a few the last one.
fn patience(open: usize, most: usize) -> Duration {
    let left = most.saturating_sub(open);
    if left < (most / 4).max(1) { KEEP_ALIVE_IN_A_CROWD } else { KEEP_ALIVE + HEAD_DEADLINE }
}

/// One connection, as its watch sees it.
#[derive(Debug)]
struct Connection {
    /// A second handle of the socket: closing it from here ends it for the framework too.
    socket: TcpStream,
    /// Whether a request came yet.
    is_new: Cell<bool>,
    /// Requests that are being answered.
    under_way: Cell<u32>,
    /// When it was opened, or the last piece of an answer was given.
    since: Cell<Instant>,
}

impl Connection {
    fn of(socket: &impl AsFd, now: Instant) -> std::io::Result<Self> {
        let socket = socket.as_fd().try_clone_to_owned()?;
        let unread = u32::try_from(UNREAD.as_millis()).expect("a few thousand");
        set_tcp_user_timeout(&socket, unread)?;
        set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
        Ok(Self {
            socket: socket.into(),
            is_new: Cell::new(true),
            under_way: Cell::new(0),
            since: Cell::new(now),
        })
    }

    /// The first head has its own time, in a crowd too.
    fn is_held(&self, now: Instant, patience: Duration) -> bool {
        let patience = if self.is_new.get() { patience.max(HEAD_DEADLINE) } else { patience };
        self.under_way.get() == 0 && now.saturating_duration_since(self.since.get()) >= patience
    }

    fn moves(&self) {
        self.since.set(clock::monotonic());
    }

    fn cut(&self) {
        // It may have ended by itself in this moment.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// The connections of one worker thread.
#[derive(Debug, Default)]
struct Watched {
    open: RefCell<Vec<Weak<Connection>>>,
    is_swept: Cell<bool>,
}

thread_local! {
    static WATCHED: Watched = Watched::default();
}

/// What a server does with each new connection of a worker that takes at most `most`.
pub fn watch(most: usize) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync + 'static {
    move |io, data| {
        let Some(socket) = io.downcast_ref::<tokio::net::TcpStream>() else { return };
        // One that is closed already needs no watch.
        let Ok(connection) = Connection::of(socket, clock::monotonic()) else { return };
        let connection = Rc::new(connection);
        WATCHED.with(|watched| {
            watched.open.borrow_mut().push(Rc::downgrade(&connection));
            if !watched.is_swept.replace(true) {
                actix_web::rt::spawn(sweep(most));
            }
        });
        data.insert(connection);
    }
}

async fn sweep(most: usize) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let now = clock::monotonic();
        WATCHED.with(|watched| {
            let mut open = watched.open.borrow_mut();
            open.retain(|connection| connection.strong_count() > 0);
            let patience = patience(open.len(), most);
            let held = open.iter().filter_map(Weak::upgrade).filter(|one| one.is_held(now, patience));
            held.for_each(|connection| connection.cut());
        });
    }
}

/// A request that is being answered on a connection.
struct UnderWay(Rc<Connection>);

impl UnderWay {
    fn on(connection: &Rc<Connection>) -> Self {
        connection.is_new.set(false);
        connection.under_way.set(connection.under_way.get() + 1);
        Self(connection.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
        self.0.moves();
    }
}

/// The body of an answer, given in pieces, so that the watch sees whether the client takes it.
#[derive(Debug)]
pub struct Pieces {
    body: BoxBody,
    /// What the body gave and nobody asked for yet.
    rest: Bytes,
    /// `None` = the connection is not watched.
    connection: Option<Rc<Connection>>,
}

impl MessageBody for Pieces {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_next(context)) {
                Some(Ok(bytes)) => this.rest = bytes,
                end => return Poll::Ready(end),
            }
        }
        if let Some(connection) = &this.connection {
            connection.moves();
        }
        let length = this.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(this.rest.split_to(length))))
    }
}

/// The layer that tells the watch which requests are being answered. It has to be the outermost.
///
/// # Errors
/// Those of the services inside.
pub async fn answering(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<Pieces>, actix_web::Error> {
    let connection = request.conn_data::<Rc<Connection>>().cloned();
    let _under_way = connection.as_ref().map(UnderWay::on);
    let response = next.call(request).await?;
    Ok(response.map_body(|_, body| Pieces { body: body.boxed(), rest: Bytes::new(), connection }))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn a_connection_is_held_by_who_sends_no_request_in_time() {
        let now = clock::monotonic();
        let (_client, socket) = pair();
        let connection = Rc::new(Connection::of(&socket, now).unwrap());
        let minute = Duration::from_secs(60);
        assert!(!connection.is_held(now + minute / 2, minute));
        assert!(connection.is_held(now + minute, minute));
        let (first, second) = (UnderWay::on(&connection), UnderWay::on(&connection));
        assert!(!connection.is_held(now + 100 * minute, minute));
        drop(first);
        assert!(!connection.is_held(now + 100 * minute, minute), "the second goes on");
        drop(second);
        assert!(connection.is_held(now + 100 * minute, minute));
        assert!(!connection.is_held(connection.since.get(), minute), "it begins anew with the answer");
    }

    #[test]
    fn a_crowd_leaves_the_first_head_its_time() {
        let now = clock::monotonic();
        let (_client, socket) = pair();
        let connection = Rc::new(Connection::of(&socket, now).unwrap());
        assert!(!connection.is_held(now + KEEP_ALIVE_IN_A_CROWD, KEEP_ALIVE_IN_A_CROWD));
        assert!(connection.is_held(now + HEAD_DEADLINE, KEEP_ALIVE_IN_A_CROWD));
        drop(UnderWay::on(&connection));
        let answered = connection.since.get();
        assert!(connection.is_held(answered + KEEP_ALIVE_IN_A_CROWD, KEEP_ALIVE_IN_A_CROWD));
    }

    #[actix_web::test]
    async fn a_large_answer_may_take_its_time_as_long_as_it_is_taken() {
        let (_client, socket) = pair();
        let connection = Rc::new(Connection::of(&socket, clock::monotonic()).unwrap());
        drop(UnderWay::on(&connection));
        let whole: Bytes = (0..=u8::MAX).cycle().take(2 * PIECE + 1).collect::<Vec<_>>().into();
        let answer = || Pieces {
            body: BoxBody::new(whole.clone()),
            rest: Bytes::new(),
            connection: Some(connection.clone()),
        };
        assert_eq!(answer().size(), BodySize::Sized(whole.len() as u64), "it is not chunked");
        assert!(answer().try_into_bytes().is_err(), "nobody gets it whole");
        let (mut answer, mut taken) = (answer(), Vec::new());
        let long_ago = clock::monotonic().checked_sub(KEEP_ALIVE_IN_A_CROWD).unwrap();
        for length in [PIECE, PIECE, 1] {
            connection.since.set(long_ago);
            assert!(connection.is_held(clock::monotonic(), KEEP_ALIVE_IN_A_CROWD), "nothing was taken");
            let piece = poll_fn(|context| Pin::new(&mut answer).poll_next(context)).await.unwrap().unwrap();
            assert_eq!(piece.len(), length);
            assert!(!connection.is_held(clock::monotonic(), KEEP_ALIVE_IN_A_CROWD));
            taken.extend_from_slice(&piece);
        }
        assert!(poll_fn(|context| Pin::new(&mut answer).poll_next(context)).await.is_none());
        assert_eq!(taken, whole);
    }

    #[test]
    fn what_is_cut_is_cut_for_every_handle_of_the_socket() {
        let (mut client, socket) = pair();
        Connection::of(&socket, clock::monotonic()).unwrap().cut();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "although the framework's handle lives");
        drop(socket);
    }

    #[test]
    fn in_a_crowd_patience_is_short() {
        for (open, most, expected) in [
            (0, 16, KEEP_ALIVE + HEAD_DEADLINE),
            (12, 16, KEEP_ALIVE + HEAD_DEADLINE),
            (13, 16, KEEP_ALIVE_IN_A_CROWD),
            (16, 16, KEEP_ALIVE_IN_A_CROWD),
            (17, 16, KEEP_ALIVE_IN_A_CROWD),
            (10, 13, KEEP_ALIVE + HEAD_DEADLINE),
            (11, 13, KEEP_ALIVE_IN_A_CROWD),
            (6, 7, KEEP_ALIVE + HEAD_DEADLINE),
            (7, 7, KEEP_ALIVE_IN_A_CROWD),
            (1, 3, KEEP_ALIVE + HEAD_DEADLINE),
            (2, 3, KEEP_ALIVE + HEAD_DEADLINE),
            (3, 3, KEEP_ALIVE_IN_A_CROWD),
            (1, 2, KEEP_ALIVE + HEAD_DEADLINE),
            (1, 1, KEEP_ALIVE_IN_A_CROWD),
        ] {
            assert_eq!(patience(open, most), expected, "{open} of {most}");
        }
    }
}
