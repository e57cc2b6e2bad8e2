//! What endpoints do, and what the log must say of an attempt at each.
//!
//! Sources: RFC 9112 (HTTP/1.1: messages, framing, incomplete answers), RFC 9110 (status codes), RFC 8446 (TLS records).

use std::time::Duration;

use super::{Certificate, Channel, Reads, Script, Then};

/// The path of every endpoint.
pub const PATH: &str = "/hook";

/// What cases have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// They let their callers wait.
    Slow,
    /// Their heads have no end.
    Head,
    /// Their bodies have none, or are not what they seem.
    Body,
    /// They hang up too early.
    Breaking,
    /// They announce an answer and announce it again.
    Interim,
    /// Their certificates are no good, or their TLS is not.
    Certificate,
    /// They speak something else.
    Garbage,
    /// They contradict themselves about where their answers end.
    Framing,
    /// They answer before they have read.
    Hasty,
}

/// One way to behave.
#[derive(Clone, Debug)]
pub struct Case {
    /// With what others it belongs.
    pub family: Family,
    /// What the endpoint does, in words.
    pub name: &'static str,
    /// How it is reached.
    pub channel: Channel,
    /// The host in its URL.
    pub host: &'static str,
    /// What it does.
    pub script: Script,
    /// The `errorKind` of the attempt; `None` = a success.
    pub kind: Option<&'static str>,
    /// Its `statusCode`.
    pub status: Option<u16>,
    /// Its `errorMessage`.
    pub message: &'static str,
}

impl Case {
    fn over(self, channel: Channel) -> Self {
        Self { channel, ..self }
    }
}

const BAD_HEAD: &str = "the head of the answer is not valid HTTP, or too long";
const BAD_BODY: &str = "the answer was not valid HTTP";
const CLOSED: &str = "the connection was closed before an answer";
const BROKEN_OFF: &str = "the answer broke off before its end";
const LATE: &str = "no complete answer within 2 s";

/// What an endless answer says at once: much, so that it is as fast as it can be.
const PIECE: usize = 65_536;

/// Every case. The timeout of those that are slow is taken to be 2 s.
pub fn cases() -> Vec<Case> {
    [slow(), head(), body(), breaking(), interim(), certificate(), garbage(), framing(), hasty()].concat()
}

type Told = (Option<&'static str>, Option<u16>, &'static str);

fn case(family: Family, name: &'static str, script: Script, told: Told) -> Case {
    let (kind, status, message) = told;
    Case { family, name, channel: Channel::Plain, host: "127.0.0.1", script, kind, status, message }
}

/// Reads the request and says something.
fn answers(says: impl Into<Vec<u8>>, then: Then) -> Script {
    Script { reads: Reads::All, says: says.into(), then }
}

fn endlessly(piece: &[u8]) -> Then {
    Then::Repeats(piece.repeat((PIECE / piece.len()).max(1)), None)
}

const fn fails(kind: &'static str, message: &'static str) -> Told {
    (Some(kind), None, message)
}

const SUCCEEDS: Told = (None, Some(200), "");
const OK: &str = "HTTP/1.1 200 OK\r\n";
const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn slow() -> Vec<Case> {
    use Then::{Drips, Freezes, Listens, Repeats, Sips};
    let late = fails("timeout", LATE);
    let nothing = |then| Script { reads: Reads::Nothing, says: Vec::new(), then };
    // A TLS record of 16 KiB, of a handshake message as long: begun, and never ended.
    let hello = b"\x16\x03\x03\x3f\x00\x02\x00\x3e\xfc\x03\x03".to_vec();
    let endless = Repeats(vec![0], Some(Duration::from_millis(100)));
    [
        case(Family::Slow, "takes the request and never answers", answers("", Listens), late),
        case(Family::Slow, "takes the connection and reads nothing", nothing(Freezes), late),
        case(Family::Slow, "reads a large request a little at a time", nothing(Sips), late),
        case(
            Family::Slow,
            "says a byte of its head a second",
            answers("", Drips(EMPTY.as_bytes().to_vec())),
            late,
        ),
        case(
            Family::Slow,
            "says a byte of its body a second",
            answers(format!("{OK}content-length: 100\r\n\r\n"), Drips(vec![b'x'; 100])),
            (Some("timeout"), Some(200), LATE),
        ),
        case(Family::Slow, "never begins the TLS handshake", nothing(Freezes), late).over(Channel::Pretended),
        case(
            Family::Slow,
            "never ends the TLS handshake",
            Script { reads: Reads::Beginning, says: hello, then: endless },
            late,
        )
        .over(Channel::Pretended),
        case(Family::Slow, "reads nothing after the TLS handshake", nothing(Freezes), late)
            .over(Channel::Tls(Certificate::Good)),
    ]
    .into()
}

fn head() -> Vec<Case> {
    let long = fails("protocol", BAD_HEAD);
    let large = format!("x-large: {}\r\n", "a".repeat(4096)).repeat(10);
    [
        case(
            Family::Head,
            "one header without an end",
            answers(format!("{OK}x-endless: "), endlessly(b"a")),
            long,
        ),
        case(Family::Head, "headers without an end", answers(OK, endlessly(b"x-one-more: 1\r\n")), long),
        case(
            Family::Head,
            "a status line without an end",
            answers("HTTP/1.1 200 ", endlessly(b"so good ")),
            long,
        ),
        case(
            Family::Head,
            "a few hundred headers",
            answers(format!("{OK}{}\r\n", "x-one-more: 1\r\n".repeat(300)), Then::Listens),
            long,
        ),
        case(
            Family::Head,
            "40 KiB of headers",
            answers(format!("{OK}{large}content-length: 0\r\n\r\n"), Then::Listens),
            SUCCEEDS,
        ),
    ]
    .into()
}

fn body() -> Vec<Case> {
    let bomb = zeros_as_gzip(60_000);
    let head = format!("{OK}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
    let latin = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=iso-8859-1\r\ncontent-length: 8\r\n\r\nM\xfcller\0\0";
    [
        case(
            Family::Body,
            "a body of 10 GB",
            answers(format!("{OK}content-length: {}\r\n\r\n", 10_u64 << 30), endlessly(b"x")),
            SUCCEEDS,
        ),
        case(
            Family::Body,
            "chunks without an end",
            answers(CHUNKED, endlessly(format!("4000\r\n{}\r\n", "x".repeat(0x4000)).as_bytes())),
            SUCCEEDS,
        ),
        case(
            Family::Body,
            "a body that ends with the connection, and never does",
            answers(format!("{OK}\r\n"), endlessly(b"x")),
            SUCCEEDS,
        ),
        case(
            Family::Body,
            "a gzip bomb",
            answers([head.as_bytes(), &bomb].concat(), Then::Listens),
            SUCCEEDS,
        ),
        case(Family::Body, "a body in Latin-1 with NULs", answers(&latin[..], Then::Listens), SUCCEEDS),
    ]
    .into()
}

fn breaking() -> Vec<Case> {
    use Then::{Breaks, Closes, Resets};
    let half = format!("{OK}content-length: 100\r\n\r\nhalf");
    let broken = (Some("protocol"), Some(200), BROKEN_OFF);
    let refused = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 100\r\n\r\nhalf";
    let nothing = Script { reads: Reads::Nothing, says: Vec::new(), then: Resets };
    [
        case(Family::Breaking, "hangs up without an answer", answers("", Closes), fails("connect", CLOSED)),
        case(
            Family::Breaking,
            "hangs up in the middle of its head",
            answers("HTTP/1.1 200 OK\r\ncontent-", Closes),
            fails("connect", CLOSED),
        ),
        case(Family::Breaking, "hangs up in the middle of its body", answers(half, Closes), broken),
        case(
            Family::Breaking,
            "hangs up in the middle of a chunk",
            answers(format!("{CHUNKED}40\r\nhalf"), Closes),
            broken,
        ),
        case(
            Family::Breaking,
            "hangs up in the middle of its refusal",
            answers(refused, Closes),
            (Some("http_status"), Some(500), "the endpoint answered 500 Internal Server Error"),
        ),
        case(
            Family::Breaking,
            "resets the connection after the request",
            answers("", Resets),
            fails("connect", "the connection was reset"),
        ),
        // Whether the reset or the end of the connection is seen first is chance.
        case(
            Family::Breaking,
            "resets the connection at once",
            nothing,
            fails("connect", "the connection was "),
        ),
        case(
            Family::Breaking,
            "cuts TLS off in a body without a length",
            answers(format!("{OK}\r\nhalf"), Breaks),
            broken,
        )
        .over(Channel::Tls(Certificate::Good)),
    ]
    .into()
}

fn interim() -> Vec<Case> {
    let hint = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n";
    let proceed = b"HTTP/1.1 100 Continue\r\n\r\n";
    let now_and_then = Then::Repeats(proceed.to_vec(), Some(Duration::from_millis(50)));
    let endless = fails("protocol", "the answer is too long");
    [
        case(Family::Interim, "100 Continue without an end", answers("", endlessly(proceed)), endless),
        case(Family::Interim, "103 Early Hints without an end", answers("", endlessly(hint)), endless),
        case(
            Family::Interim,
            "100 Continue now and then, and no answer",
            answers("", now_and_then),
            fails("timeout", LATE),
        ),
        case(
            Family::Interim,
            "103 Early Hints, then the answer",
            answers([&hint[..], EMPTY.as_bytes()].concat(), Then::Listens),
            SUCCEEDS,
        ),
        case(
            Family::Interim,
            "switches to another protocol",
            answers(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
                Then::Listens,
            ),
            (Some("http_status"), Some(101), "the endpoint answered 101 Switching Protocols"),
        ),
        case(
            Family::Interim,
            "redirects to itself",
            answers(
                format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {PATH}\r\ncontent-length: 0\r\n\r\n"),
                Then::Listens,
            ),
            (
                Some("redirect"),
                Some(307),
                "the endpoint answered 307 Temporary Redirect: redirects are not followed",
            ),
        ),
    ]
    .into()
}

fn certificate() -> Vec<Case> {
    let shows = |name, certificate, told| {
        case(Family::Certificate, name, answers(EMPTY, Then::Listens), told).over(Channel::Tls(certificate))
    };
    let unknown = fails("tls", "the certificate was issued by an unknown authority");
    let plain = fails("tls", "the endpoint does not speak TLS on this port");
    let pretends = |name, reads| {
        let says = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec();
        let script = Script { reads, says, then: Then::Freezes };
        case(Family::Certificate, name, script, plain).over(Channel::Pretended)
    };
    [
        shows("a good certificate", Certificate::Good, SUCCEEDS),
        Case {
            host: "localhost",
            ..shows("a good certificate for a host name", Certificate::Good, SUCCEEDS)
        },
        shows(
            "an expired certificate",
            Certificate::Expired,
            fails("tls", "the certificate expired on 2020-01-01"),
        ),
        shows(
            "a certificate of the future",
            Certificate::Early,
            fails("tls", "the certificate is not valid before 2999-01-01"),
        ),
        shows(
            "a certificate for another name",
            Certificate::OtherName,
            fails("tls", "the certificate is for another host name"),
        ),
        shows("a certificate of an unknown authority", Certificate::UnknownAuthority, unknown),
        shows("a self-signed certificate", Certificate::SelfSigned, unknown),
        pretends("plain text on the TLS port", Reads::Beginning),
        pretends("plain text on the TLS port, at once", Reads::Nothing),
    ]
    .into()
}

fn garbage() -> Vec<Case> {
    let bad = fails("protocol", BAD_HEAD);
    let says = |name, says: &'static [u8]| case(Family::Garbage, name, answers(says, Then::Closes), bad);
    [
        says("a page without a status line (HTTP/0.9)", b"<html>hello</html>\r\n\r\n"),
        says("HTTP/3.7", b"HTTP/3.7 200 OK\r\ncontent-length: 0\r\n\r\n"),
        says("HTTP/2 frames", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\x10\0\0\0\x06\0\0\x40\0"),
        says("an SSH banner", b"SSH-2.0-OpenSSH_9.6\r\n"),
        says("the status 099", b"HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n"),
        says("the status 1000", b"HTTP/1.1 1000 High\r\ncontent-length: 0\r\n\r\n"),
        says("the status -200", b"HTTP/1.1 -200 OK\r\ncontent-length: 0\r\n\r\n"),
        says("a header without a name", b"HTTP/1.1 200 OK\r\n: nobody\r\n\r\n"),
        case(
            Family::Garbage,
            "the status 999",
            answers("HTTP/1.1 999 Own\r\ncontent-length: 0\r\n\r\n", Then::Listens),
            (Some("http_status"), Some(999), "the endpoint answered 999"),
        ),
    ]
    .into()
}

fn framing() -> Vec<Case> {
    let bad = fails("protocol", BAD_HEAD);
    let bad_body = (Some("protocol"), Some(200), BAD_BODY);
    let headers = |name, headers: &str, told| {
        case(Family::Framing, name, answers(format!("{OK}{headers}\r\n\r\nabc"), Then::Listens), told)
    };
    let chunks = |name, chunks: &str| answers_chunks(name, chunks, Then::Listens, bad_body);
    [
        headers("two lengths that differ", "content-length: 3\r\ncontent-length: 30", bad),
        headers("a length below zero", "content-length: -3", bad),
        headers("a length that no number holds", "content-length: 99999999999999999999999", bad),
        chunks("a chunk whose size is no number", "zz\r\nabc\r\n"),
        chunks("a chunk whose size no number holds", "fffffffffffffffff\r\nabc\r\n"),
        chunks("a chunk longer than it says", "3\r\nabcdef\r\n0\r\n\r\n"),
        answers_chunks("a chunk extension without an end", "3;", endlessly(b"a"), bad_body),
        answers_chunks(
            "trailers without an end",
            "3\r\nabc\r\n0\r\n",
            endlessly(b"x-one-more: 1\r\n"),
            bad_body,
        ),
        // RFC 9112, section 6.3: the chunks count. The connection is not used again.
        case(
            Family::Framing,
            "a length, and chunks",
            answers(
                format!("{OK}content-length: 30\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
                Then::Listens,
            ),
            SUCCEEDS,
        ),
    ]
    .into()
}

fn answers_chunks(name: &'static str, chunks: &str, then: Then, told: Told) -> Case {
    case(Family::Framing, name, answers(format!("{CHUNKED}{chunks}"), then), told)
}

fn hasty() -> Vec<Case> {
    let early = |says: &str, then| Script { reads: Reads::Beginning, says: says.into(), then };
    let refuses = "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    [
        case(
            Family::Hasty,
            "answers before it has read the request, and reads no more",
            early(EMPTY, Then::Freezes),
            SUCCEEDS,
        ),
        case(
            Family::Hasty,
            "answers TLS before it has read the request, and reads no more",
            early(EMPTY, Then::Freezes),
            SUCCEEDS,
        )
        .over(Channel::Tls(Certificate::Good)),
        case(
            Family::Hasty,
            "refuses before it has read the request, and hangs up",
            early(refuses, Then::Closes),
            (Some("http_status"), Some(413), "the endpoint answered 413 Payload Too Large"),
        ),
        case(
            Family::Hasty,
            "answers before it has read the request, and resets the connection",
            early(EMPTY, Then::Resets),
            SUCCEEDS,
        ),
    ]
    .into()
}

/// Zeros, deflated: `length` bytes that unpack to 158 times as many. One block with the fixed codes (RFC 1951): a literal
/// 0, then copies of 258 bytes from one byte before. The checksum is wrong, which who unpacks learns at the end only.
fn zeros_as_gzip(length: usize) -> Vec<u8> {
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    const LITERAL_ZERO: &str = "00110000";
    const COPY: &str = "1100010100000";
    let copies = (length - HEADER.len() - 8) * 8 / COPY.len();
    let bits = ["1", "10", LITERAL_ZERO, &COPY.repeat(copies), "0000000"].concat();
    let byte = |bits: &[u8]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | (bit & 1));
    let deflated = bits.as_bytes().chunks(8).map(byte);
    HEADER.into_iter().chain(deflated).chain([0; 8]).collect()
}
