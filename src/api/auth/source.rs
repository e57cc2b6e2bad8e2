//! Where the identity provider's keys are read from: a file, or a URL of the operator's.
//!
//! A fetch follows no redirect and no proxy, takes at most [`ANSWER`] in all and reads no more than a set may have. There
//! is no address guard: the provider is the operator's, and often at a private address. What was read is never logged.
//!
//! A file is read on another thread, because a disk may be slow. A thread that a file system holds cannot be ended, so no
//! second one is begun while it lives: it costs one thread, however often the file is due.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, StatusCode, redirect, retry};
use tokio::task::AbortHandle;
use url::Url;

use crate::config;
use crate::config::keys::{self, KeySet, set};
use crate::domain::KeyReading;

/// The longest a fetch may take, to the last byte: less than requests wait.
const ANSWER: Duration = Duration::from_secs(4);
/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// A set that could not be read or used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The file cannot be read.
    #[error("the file of auth.jwks_file cannot be read")]
    File(#[source] io::Error),
    /// Nobody answered whole and in time.
    #[error("the server of auth.jwks_url does not answer")]
    Silent(#[source] reqwest::Error),
    /// An answer without keys.
    #[error("the server of auth.jwks_url answered {0}; expected 200")]
    Status(StatusCode),
    /// What was read is of no use.
    #[error("what was read cannot be used")]
    Unusable(#[from] set::Error),
}

impl Failure {
    pub(super) fn kind(&self) -> KeyReading {
        match self {
            Self::File(_) | Self::Silent(_) => KeyReading::Unreachable,
            Self::Status(_) => KeyReading::Status,
            Self::Unusable(_) => KeyReading::Unusable,
        }
    }

    /// For the log; names no URL.
    pub(super) fn cause(&self) -> String {
        let mut next = std::error::Error::source(self);
        let mut words = Vec::new();
        while let Some(cause) = next {
            words.push(cause.to_string());
            next = cause.source();
        }
        words.join(": ")
    }
}

/// Where a set is read from.
pub(super) enum Source {
    /// With the set that it held at the start.
    File(KeyFile, KeySet),
    Url(Url),
}

impl Source {
    pub(super) fn of(configured: &config::Jwks) -> Self {
        match configured {
            config::Jwks::File(file, set) => Self::File(KeyFile::at(file), set.clone()),
            config::Jwks::Url(url) => Self::Url(url.clone()),
        }
    }

    /// The set as it is now.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn read(&self) -> Result<KeySet, Failure> {
        let text = match self {
            Self::File(file, _) => file.read().await.map_err(Failure::File)?,
            Self::Url(url) => fetch(url.clone()).await?,
        };
        Ok(KeySet::read(&text)?)
    }
}

/// A file of keys.
pub(super) struct KeyFile {
    path: PathBuf,
    /// The reading that was begun last.
    last: Mutex<Option<AbortHandle>>,
}

impl KeyFile {
    fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), last: Mutex::default() }
    }

    /// A reading that hangs is a failure like any other, and so is one that finds an earlier one still hanging.
    async fn read(&self) -> io::Result<Vec<u8>> {
        if self.is_held() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let path = self.path.clone();
        let reading = tokio::task::spawn_blocking(move || keys::bytes_of(&path));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading.abort_handle());
        match tokio::time::timeout(ANSWER, reading).await {
            Ok(ended) => ended.map_err(io::Error::other)?,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn is_held(&self) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().is_some_and(|reading| !reading.is_finished())
    }
}

/// One more byte than a set may have is enough to refuse it. The client is made anew each time: a fetch is rare, and
/// certificates of authorities that were put in place meanwhile count.
async fn fetch(url: Url) -> Result<Vec<u8>, Failure> {
    let silent = |error: reqwest::Error| Failure::Silent(error.without_url());
    let mut response = client().map_err(silent)?.get(url).send().await.map_err(silent)?;
    if response.status() != StatusCode::OK {
        return Err(Failure::Status(response.status()));
    }
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(silent)? {
        let room = (set::MOST_BYTES + 1).saturating_sub(text.len());
        text.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if text.len() > set::MOST_BYTES {
            break;
        }
    }
    Ok(text)
}

fn client() -> reqwest::Result<Client> {
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .http1_only()
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        .build()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::pin::pin;
    use std::process::Command;
    use std::task::Poll;

    use futures_util::poll;

    use super::*;

    /// A pipe that nobody writes to: who opens it to read hangs, as on a dead file system. Let go with the end of the test.
    struct Hanging(PathBuf);

    impl Hanging {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("sw-keys-{:016x}", rand::random::<u64>()));
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            Self(path)
        }

        /// Puts a file of the same name in its place, and lets go who hangs.
        fn comes_back_with(&self, text: &str) {
            // Open for both it has a writer, and waits for none.
            let pipe = fs::OpenOptions::new().read(true).write(true).open(&self.0).unwrap();
            fs::remove_file(&self.0).unwrap();
            fs::write(&self.0, text).unwrap();
            drop(pipe);
        }
    }

    impl Drop for Hanging {
        fn drop(&mut self) {
            let _ = fs::OpenOptions::new().read(true).write(true).open(&self.0);
            let _ = fs::remove_file(&self.0);
        }
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_holds_one_thread_however_often_the_file_is_read() {
        let hanging = Hanging::new();
        let file = KeyFile::at(&hanging.0);
        let is_late =
            |read: &io::Result<_>| read.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::TimedOut);
        assert!(is_late(&file.read().await));
        for _ in 0..3 {
            let next = poll!(pin!(file.read()));
            assert!(matches!(next, Poll::Ready(read) if is_late(&read)), "no other is begun");
        }
        hanging.comes_back_with("keys");
        while file.is_held() {
            tokio::task::yield_now().await;
        }
        assert_eq!(file.read().await.unwrap(), b"keys");
    }
}
