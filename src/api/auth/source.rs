//! Where the identity provider's keys are read from: a file, or a URL of the operator's.
//!
//! A fetch follows no redirect and no proxy, takes at most [`ANSWER`] in all and reads no more than a set may have. There
//! is no address guard: the provider is the operator's, and often at a private address. What was read is never logged.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, StatusCode, redirect, retry};
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
    File(PathBuf, KeySet),
    Url(Url),
}

impl Source {
    pub(super) fn of(configured: &config::Jwks) -> Self {
        match configured {
            config::Jwks::File(file, set) => Self::File(file.clone(), set.clone()),
            config::Jwks::Url(url) => Self::Url(url.clone()),
        }
    }

    /// The set as it is now.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn read(&self) -> Result<KeySet, Failure> {
        let text = match self {
            Self::File(file, _) => read_file(file.clone()).await.map_err(Failure::File)?,
            Self::Url(url) => fetch(url.clone()).await?,
        };
        Ok(KeySet::read(&text)?)
    }
}

/// On another thread, because a disk may be slow; one that hangs is a failure like any other.
async fn read_file(file: PathBuf) -> io::Result<Vec<u8>> {
    let read = tokio::task::spawn_blocking(move || keys::bytes_of(Path::new(&file)));
    match tokio::time::timeout(ANSWER, read).await {
        Ok(ended) => ended.map_err(io::Error::other)?,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
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
