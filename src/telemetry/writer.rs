//! Writes log lines on a thread of its own, so that a reader of the log that stalls holds nobody up.
//!
//! A pipe that nobody empties makes whoever writes into it wait: in the API that would be every request, in an arbiter
//! every delivery of its partitions, with leases that go on being renewed. Here lines wait in a queue of [`MOST_LINES`]; what does
//! not fit is dropped and counted. What a killed process had not written yet is lost.
//!
//! After what it wrote the thread rests for [`REST`], in which nobody needs to wake it: lines that come one by one would
//! cost a wake-up and a `write` each, on both sides.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::metrics::METRICS;

/// Lines that wait to be written.
const MOST_LINES: usize = 8192;
/// Bytes that are written at once, but for a line that is longer.
const AT_ONCE: usize = 64 * 1024;

/// How long lines may wait for others. Far shorter than what fills the queue.
const REST: Duration = Duration::from_millis(5);

enum Order {
    Write(Vec<u8>),
    /// Told when everything before it has been written.
    Tell(SyncSender<()>),
}

/// Takes lines, each in one call of `write`; never waits.
#[derive(Clone, Debug)]
pub(super) struct Lines(SyncSender<Order>);

impl Lines {
    /// Starts the thread that writes into `sink`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn into_sink(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, orders) = sync_channel(MOST_LINES);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&orders, sink))?;
        Ok(Self(sender))
    }

    /// Waits, at most for `limit`, until everything has been written that was taken so far.
    pub(super) fn flush_within(&self, limit: Duration) {
        let (sender, written) = sync_channel(1);
        // A queue that is full of lines that nobody reads is not waited for.
        if self.0.try_send(Order::Tell(sender)).is_ok() {
            let _ = written.recv_timeout(limit);
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Order::Write(line.to_vec())).is_err() {
            METRICS.log_lines_dropped.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes until nobody can send any more. What cannot be written (a closed pipe) is lost, and the next is tried.
fn write_all(orders: &Receiver<Order>, mut sink: impl Write) {
    let mut bytes = Vec::with_capacity(AT_ONCE);
    while let Ok(first) = orders.recv() {
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Write(line) => bytes.extend_from_slice(&line),
                Order::Tell(waiting) => {
                    write(&mut sink, &mut bytes);
                    // Who waits may have given up.
                    let _ = waiting.try_send(());
                }
            }
            if bytes.len() >= AT_ONCE {
                write(&mut sink, &mut bytes);
            }
            next = orders.try_recv().ok();
        }
        write(&mut sink, &mut bytes);
        std::thread::sleep(REST);
    }
}

fn write(sink: &mut impl Write, bytes: &mut Vec<u8>) {
    // There is nowhere else to tell it.
    let _ = sink.write_all(bytes);
    bytes.clear();
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Takes nothing until its gate is open.
    struct Sink {
        gate: Receiver<()>,
        open: bool,
        page: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.open {
                self.gate.recv().expect("the test opens it");
                self.open = true;
            }
            self.page.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_holds_nobody_up() {
        let (key, gate) = sync_channel(1);
        let page = Arc::new(Mutex::new(Vec::new()));
        let mut lines = Lines::into_sink(Sink { gate, open: false, page: page.clone() }).unwrap();
        let before = METRICS.log_lines_dropped.get();
        for number in 0..3 * MOST_LINES {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        assert!(METRICS.log_lines_dropped.get() > before, "what does not fit is counted");
        key.send(()).unwrap();
        // Room comes as lines are written.
        loop {
            let dropped = METRICS.log_lines_dropped.get();
            lines.write_all(b"the last\n").unwrap();
            if METRICS.log_lines_dropped.get() == dropped {
                break;
            }
            std::thread::yield_now();
        }
        // The last may have taken the last room, and left none for the question whether it has been written.
        while !page.lock().unwrap().ends_with(b"\nthe last\n") {
            lines.flush_within(Duration::from_secs(10));
        }
        let text = String::from_utf8(page.lock().unwrap().clone()).unwrap();
        assert!(text.starts_with("0\n1\n2\n"), "in their order");
        let numbers: Vec<usize> = text.lines().filter_map(|line| line.parse().ok()).collect();
        assert!(numbers.is_sorted() && numbers.len() >= MOST_LINES);
    }
}
