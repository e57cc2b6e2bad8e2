//! The node's own `redis-server`, for when `redis.url` is not set.
//!
//! It listens on a unix socket only, in a directory that nobody else may enter (`<redis.data_dir>/redis`, 0700), and
//! keeps everything in its append-only file there. Everything else about it is an ordinary Redis: the node talks to it
//! through the same code as to any other.
//!
//! If it ends by itself (killed by hand, or by the kernel for want of memory), [`Private::keep_running`] starts it again
//! over the same file: every answer that it gave was in that file first, and the node reconnects to it as to any other.
//! One that cannot stay up ends the node: a full disk or a broken file does not mend itself.
//!
//! It ends with the node. In order: [`Private::stop`] asks it to. After `kill -9` of the node: the kernel sends it
//! SIGTERM, because it was started through `setpriv --pdeathsig TERM`. **That signal comes when the *thread* that
//! started it ends** (prctl(2), `PR_SET_PDEATHSIG`), so [`Private::start`] belongs on the process's main thread. Where
//! `setpriv` is missing it is started plainly, with a warning. It runs in a process group of its own, so that Ctrl-C in
//! a terminal reaches the node alone, which then stops it when the last outcome is recorded.
//!
//! Two processes must never write one append-only file. For correctness: a lock (flock) on `<dir>/node.lock` admits one
//! node, and a server that outlived its node is never started over: it is given two seconds to end (it may be dying
//! with its parent) and is then taken over as it is, with its data. The pid file tells who it is; that the process
//! really is a `redis-server` over this directory is read from `/proc/<pid>/cmdline`, because pids are used again.
//!
//! A unix socket's path holds at most 107 bytes (unix(7), `sun_path`). A longer one is refused by name: a socket in a
//! directory elsewhere would need a second place to protect, to find again and to clean up.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use redis::{Client, ErrorKind, RedisResult, ServerErrorKind};

use crate::clock;
use crate::config;

/// How often a condition is looked at again while it is waited for.
const POLL: Duration = Duration::from_millis(10);
/// What a survivor gets to end by itself.
const GRACE: Duration = Duration::from_secs(2);
/// The longest wait for its socket.
const APPEAR: Duration = Duration::from_secs(15);
/// The longest reading of its file, at some 100 MB a second.
const LOAD: Duration = Duration::from_secs(300);
/// The longest wait for one answer while starting and stopping.
const ANSWER: Duration = Duration::from_secs(5);
/// The longest orderly end: the file is written to disk.
const STOP: Duration = Duration::from_secs(10);
/// How often one that reads a long file is told of.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// One that ends again sooner than this after it was started again is given up.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
/// The longest path of a unix socket, in bytes.
const LONGEST_SOCKET_PATH: usize = 107;
/// The log file begins anew at a start once it is longer than this.
const LOG_BYTES: u64 = 1 << 20;
/// The first major version with everything that is used here.
const OLDEST_MAJOR: u32 = 7;

/// Why the private Redis does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none to start.
    #[error(
        "redis-server is not in PATH: install the package redis-server (Debian, Ubuntu) or redis (Fedora, Alpine, \
         Arch), or set redis.url"
    )]
    Missing,
    /// There is one, but too old.
    #[error(
        "redis-server in PATH is version {found}, and 7.0 or later is needed: upgrade it, or set redis.url"
    )]
    TooOld {
        /// What it says of itself.
        found: String,
    },
    /// The socket could not be named.
    #[error(
        "redis.data_dir: the socket's path {} is {} bytes long and a unix socket allows {LONGEST_SOCKET_PATH}: choose a \
         shorter directory, or set redis.url",
        .0.display(),
        .0.as_os_str().len()
    )]
    PathTooLong(PathBuf),
    /// Another node runs here.
    #[error("redis.data_dir: another node uses {dir}: stop it, give this one a directory of its own (WEBHOOKS_REDIS__DATA_DIR), or let both share its Redis (WEBHOOKS_REDIS__URL=unix://{dir}/redis.sock)", dir = .0.display())]
    InUse(PathBuf),
    /// It ended while starting.
    #[error("redis-server ended at its start: the reason is in {}", .0.display())]
    Ended(PathBuf),
    /// It was started again and did not stay up.
    #[error("the private redis-server ended and ended again when it was restarted: the reason is in {}", .0.display())]
    EndsAgain(PathBuf),
    /// It runs and says nothing.
    #[error("redis-server does not answer: see {}", .0.display())]
    Silent(PathBuf),
    /// The operating system refused something.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
}

/// A `redis-server` that belongs to this process. Ends with it.
#[derive(Debug)]
pub struct Private {
    place: Place,
    /// `None` when a survivor was taken over.
    child: Option<Child>,
    restarted: Option<Instant>,
    stopped: bool,
    lock: File,
}

impl Private {
    /// Starts it, or takes over one that outlived its node, and waits until it answers. Blocks; call it on the main
    /// thread (see the module's text).
    ///
    /// # Errors
    /// See [`Error`]; each says what to do about it.
    pub fn start(settings: &config::Redis) -> Result<Self, Error> {
        let place = Place::prepare(&settings.data_dir)?;
        let lock = place.lock()?;
        wait(GRACE, || !place.has_survivor());
        let child = if place.has_survivor() {
            tracing::warn!("a private redis-server outlived its node and is taken over");
            None
        } else {
            tracing::info!(directory = %place.dir.display(), "starting the private redis-server");
            Some(place.spawn()?)
        };
        let mut private = Self { place, child, restarted: None, stopped: false, lock };
        private.await_ready()?;
        Ok(private)
    }

    /// Where it listens, in the form that `redis.url` has.
    pub fn url(&self) -> String {
        self.place.url()
    }

    /// Starts it again if it has ended; tells whether it had. Does not wait until it answers. Call it on the thread that
    /// called [`Self::start`] (see the module's text).
    ///
    /// # Errors
    /// [`Error::EndsAgain`] when that did not help the last time, or it cannot be started at all.
    pub fn keep_running(&mut self) -> Result<bool, Error> {
        if self.is_running() {
            return Ok(false);
        }
        let now = clock::monotonic();
        let lived = self.restarted.map(|last| now.saturating_duration_since(last));
        if lived.is_some_and(|lived| lived < SHORTEST_LIFE) {
            return Err(Error::EndsAgain(self.place.file(LOG)));
        }
        self.restarted = Some(now);
        self.child = Some(self.place.spawn()?);
        Ok(true)
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => self.place.has_survivor(),
        }
    }

    /// Ends it in order: it writes its file to disk first. Blocks for at most `limit`, and no longer than some
    /// seconds.
    ///
    /// # Errors
    /// [`Error::Silent`] when it did not end in time; one that this process started is killed then, which loses
    /// nothing that the operating system was given.
    pub fn stop(mut self, limit: Duration) -> Result<(), Error> {
        self.shut_down(limit)
    }

    fn await_ready(&mut self) -> Result<(), Error> {
        let mut state = State::Absent;
        wait(APPEAR, || {
            state = self.place.ping();
            state != State::Absent || !self.is_running()
        });
        let mut waited = Duration::ZERO;
        while state == State::Loading && waited < LOAD {
            tracing::info!(waited_seconds = waited.as_secs(), "the private redis-server reads its file");
            wait(TELL_EVERY, || {
                state = self.place.ping();
                state != State::Loading
            });
            waited += TELL_EVERY;
        }
        match state {
            State::Ready => Ok(()),
            // It may be on its way out.
            _ if wait(GRACE, || !self.is_running()) => Err(Error::Ended(self.place.file(LOG))),
            _ => Err(Error::Silent(self.place.file(LOG))),
        }
    }

    fn shut_down(&mut self, limit: Duration) -> Result<(), Error> {
        self.stopped = true;
        let ended = self.end(limit);
        // Closing alone would not do: a process that is just being started may still share the open file.
        let _ = self.lock.unlock();
        ended
    }

    fn end(&mut self, limit: Duration) -> Result<(), Error> {
        // Open until it has ended: it hangs up instead of answering, and whether it obeyed shows in that it ends.
        let _asked = self.place.ask_to_end();
        if wait(limit.min(STOP), || !self.is_running()) {
            return Ok(());
        }
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        Err(Error::Silent(self.place.file(LOG)))
    }
}

/// Where the private server of `settings` listens, started by whichever process.
///
/// # Errors
/// There is no such directory: no node was ever started over it.
pub fn url_of(settings: &config::Redis) -> Result<String, Error> {
    let dir = settings.data_dir.join("redis");
    let place = Place { dir: dir.canonicalize().map_err(failed_to("open", &dir))? };
    let socket = place.file(SOCKET);
    // One that does not listen is found out by whoever connects.
    fs::metadata(&socket).map_err(failed_to("find", &socket))?;
    Ok(place.url())
}

/// Whether there is data of a private server of `settings` and nobody serves it.
pub fn is_at_rest(settings: &config::Redis) -> bool {
    let dir = settings.data_dir.join("redis");
    dir.canonicalize().is_ok_and(|dir| !Place { dir }.has_survivor())
}

impl Drop for Private {
    fn drop(&mut self) {
        if !self.stopped {
            let _ = self.shut_down(STOP);
        }
    }
}

const SOCKET: &str = "redis.sock";
const PID: &str = "redis.pid";
const LOG: &str = "redis.log";
const LOCK: &str = "node.lock";

/// The directory and the files in it.
#[derive(Debug)]
struct Place {
    /// Absolute, and no part of it is a link.
    dir: PathBuf,
}

/// What the server says when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is no socket, or nobody behind it.
    Absent,
    /// Somebody takes connections and answers nothing of use.
    Silent,
    /// It reads its file.
    Loading,
    Ready,
}

impl Place {
    fn prepare(data_dir: &Path) -> Result<Self, Error> {
        let dir = data_dir.join("redis");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(failed_to("make the directory", &dir))?;
        fs::set_permissions(&dir, Permissions::from_mode(0o700))
            .map_err(failed_to("set the rights of", &dir))?;
        let dir = dir.canonicalize().map_err(failed_to("open", &dir))?;
        let place = Self { dir };
        let socket = place.file(SOCKET);
        if socket.as_os_str().len() > LONGEST_SOCKET_PATH {
            return Err(Error::PathTooLong(socket));
        }
        place.shorten_log()?;
        Ok(place)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn url(&self) -> String {
        let url = url::Url::from_file_path(self.file(SOCKET)).expect("the path is absolute");
        format!("unix://{}", url.path())
    }

    fn shorten_log(&self) -> Result<(), Error> {
        let log = self.file(LOG);
        match fs::metadata(&log) {
            Ok(found) if found.len() > LOG_BYTES => fs::remove_file(&log).map_err(failed_to("remove", &log)),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> Result<File, Error> {
        let path = self.file(LOCK);
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = opened.map_err(failed_to("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Error::InUse(self.dir.clone())),
            Err(TryLockError::Error(source)) => Err(Error::Io { what: "lock", path, source }),
        }
    }

    /// Whether a server over this directory lives: by its pid file or, where there is no `/proc`, by its socket.
    fn has_survivor(&self) -> bool {
        self.survivor().is_some() || UnixStream::connect(self.file(SOCKET)).is_ok()
    }

    fn survivor(&self) -> Option<u32> {
        let pid: u32 = fs::read_to_string(self.file(PID)).ok()?.trim().parse().ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        is_ours(&command, &self.dir).then_some(pid)
    }

    fn spawn(&self) -> Result<Child, Error> {
        let mut command = launcher()?;
        command
            .args(["--port", "0", "--unixsocketperm", "700", "--daemonize", "no", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"])
            // A stream takes memory by the node: 765 bytes for a small one instead of 4 KB.
            .args(["--stream-node-max-bytes", "512"])
            // What passes through is soon deleted: with the default of 64 MB the file is rewritten every few seconds under
            // load, which took a third of the throughput.
            .args(["--auto-aof-rewrite-min-size", "512mb"])
            // Its command line stays as it is given here: that is how a survivor is known.
            .args(["--set-proc-title", "no", "--dir"])
            .arg(&self.dir);
        for (option, name) in [("--unixsocket", SOCKET), ("--pidfile", PID), ("--logfile", LOG)] {
            command.arg(option).arg(self.file(name));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.spawn().map_err(failed_to("start redis-server in", &self.dir))
    }

    fn ping(&self) -> State {
        if UnixStream::connect(self.file(SOCKET)).is_err() {
            return State::Absent;
        }
        match self.command("PING") {
            Ok(()) => State::Ready,
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading) => State::Loading,
            Err(error) if error.is_timeout() => State::Silent,
            Err(_) => State::Absent,
        }
    }

    /// Asks it to end, and waits for no answer: one that hangs gives none, and a client's greetings would wait for it.
    /// The inline form of a command is text and a line feed (Redis "RESP protocol specification", inline commands).
    fn ask_to_end(&self) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(self.file(SOCKET))?;
        stream.set_write_timeout(Some(ANSWER))?;
        stream.write_all(b"SHUTDOWN\r\n")?;
        Ok(stream)
    }

    fn command(&self, name: &str) -> RedisResult<()> {
        let mut connection = Client::open(self.url())?.get_connection_with_timeout(ANSWER)?;
        connection.set_read_timeout(Some(ANSWER))?;
        redis::cmd(name).exec(&mut connection)
    }
}

/// The start of the command line that runs a `redis-server` of a sufficient version: through `setpriv` if that works.
///
/// Asking for the version through it proves both at once (BusyBox has a `setpriv` without that option).
fn launcher() -> Result<Command, Error> {
    let tied = || {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "redis-server"]);
        command
    };
    if let Some(version) = version_of(tied()) {
        return sufficient(&version).map(|()| tied());
    }
    let version = version_of(Command::new("redis-server")).ok_or(Error::Missing)?;
    sufficient(&version)?;
    tracing::warn!(
        "no setpriv (util-linux) in PATH: the private redis-server outlives this node if it is killed"
    );
    Ok(Command::new("redis-server"))
}

fn version_of(mut server: Command) -> Option<String> {
    let output = server.arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().find_map(|word| word.strip_prefix("v=")).map(str::to_owned)
}

fn sufficient(version: &str) -> Result<(), Error> {
    let major = version.split('.').next().and_then(|number| number.parse::<u32>().ok());
    if major.is_some_and(|major| major >= OLDEST_MAJOR) {
        Ok(())
    } else {
        Err(Error::TooOld { found: version.to_owned() })
    }
}

/// Whether that command line (arguments end with NUL, proc(5)) is a `redis-server` over `dir`.
fn is_ours(command: &[u8], dir: &Path) -> bool {
    let arguments: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    let is_server = arguments.first().is_some_and(|first| first.ends_with(b"redis-server"));
    let dir = dir.as_os_str().as_encoded_bytes();
    is_server && arguments.windows(2).any(|pair| pair[0] == b"--dir" && pair[1] == dir)
}

/// Looks at `condition` until it holds, for at most `limit`; tells whether it did.
fn wait(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    for _ in 0..limit.as_millis() / POLL.as_millis() {
        if condition() {
            return true;
        }
        sleep(POLL);
    }
    condition()
}

fn failed_to(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { what, path, source }
}

#[cfg(test)]
pub(super) mod tests;
