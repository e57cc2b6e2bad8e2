//! The keys of an identity provider change while the node runs.

use std::path::PathBuf;

use super::*;
use crate::config::keys::KeySet;
use crate::config::keys::testing::{Signer, set};

/// A set in a file that the test changes; gone with it.
struct Provider(PathBuf);

impl Provider {
    fn with(entries: &[Value]) -> Self {
        let name = format!("sw-jwks-{}-{:08x}.json", std::process::id(), rand::random::<u32>());
        let provider = Self(std::env::temp_dir().join(name));
        provider.publish(entries);
        provider
    }

    fn publish(&self, entries: &[Value]) {
        self.write(&set(entries));
    }

    fn write(&self, text: &[u8]) {
        std::fs::write(&self.0, text).unwrap();
    }

    /// A node that reads it again so often.
    fn node(&self, refresh: Duration) -> Authenticator {
        let now = KeySet::read(&std::fs::read(&self.0).unwrap()).unwrap();
        let jwks = Some(config::Jwks::File(self.0.clone(), now));
        Authenticator::new(&config::Auth { jwt_secret: None, jwks, jwks_refresh: refresh, ..settings() })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const NEVER: Duration = Duration::from_secs(86_400);

fn signed_by(signer: &Signer, kid: &str) -> String {
    signer.token(&json!({"alg": signer.alg(), "kid": kid}), &json!({"sub": "u1", "exp": seconds(60)}))
}

/// Does `work` while the node keeps its keys fresh.
async fn beside<T>(node: &Authenticator, work: impl Future<Output = T>) -> T {
    tokio::select! {
        () = node.keep_keys_fresh() => panic!("it ended"),
        done = work => done,
    }
}

fn readings(node: &Authenticator) -> u64 {
    node.jwks.as_ref().unwrap().current().readings()
}

#[tokio::test]
async fn a_new_name_is_taken_after_one_reading_and_the_withdrawn_key_s_tokens_die() {
    let (old, new) = (Signer::ec(), Signer::ed());
    let provider = Provider::with(&[old.jwk("old")]);
    let node = provider.node(NEVER);
    let (old_token, new_token) = (signed_by(&old, "old"), signed_by(&new, "new"));
    assert!(found(&node, &old_token).is_ok() && found(&node, &old_token).is_ok(), "remembered from now on");
    provider.publish(&[new.jwk("new")]);
    beside(&node, async {
        assert!(node.caller(&new_token).is_none());
        assert!(node.caller_by_newer_keys(&new_token).await.is_ok());
        assert!(node.caller(&old_token).is_none(), "it is remembered no more");
        let denied = node.caller_by_newer_keys(&old_token).await.unwrap_err();
        assert_eq!(denied.reason, Refusal::UnknownKey);
        assert_eq!(readings(&node), 1);
    })
    .await;
}

#[tokio::test]
async fn made_up_names_cause_one_reading_and_delay_nobody_whose_key_is_known() {
    let (known, next) = (Signer::ec(), Signer::ec());
    let provider = Provider::with(&[known.jwk("known")]);
    let node = provider.node(NEVER);
    beside(&node, async {
        let tokens: Vec<String> = (0..200).map(|n| signed_by(&next, &format!("made-up-{n}"))).collect();
        let all = tokens.iter().map(|token| node.caller_by_newer_keys(token));
        for answer in futures_util::future::join_all(all).await {
            assert_eq!(answer.unwrap_err().reason, Refusal::UnknownKey);
        }
        assert_eq!(readings(&node), 1);
        // Within that minute even a name that exists by now is not asked for.
        provider.publish(&[known.jwk("known"), next.jwk("next")]);
        let answer = node.caller_by_newer_keys(&signed_by(&next, "next")).await;
        assert_eq!((answer.unwrap_err().reason, readings(&node)), (Refusal::UnknownKey, 1));
        assert!(found(&node, &signed_by(&known, "known")).is_ok(), "at once");
    })
    .await;
}

#[tokio::test]
async fn a_key_is_not_called_unknown_where_the_keys_could_not_be_read() {
    let (known, new) = (Signer::ec(), Signer::ec());
    let provider = Provider::with(&[known.jwk("known")]);
    let node = provider.node(NEVER);
    provider.write(b"{\"keys\":[");
    beside(&node, async {
        let denied = node.caller_by_newer_keys(&signed_by(&new, "new")).await.unwrap_err();
        assert_eq!(denied, NOT_READ);
        assert!(found(&node, &signed_by(&known, "known")).is_ok());
        provider.publish(&[known.jwk("known")]);
        node.jwks.as_ref().unwrap().until(|current| !current.is_stale).await;
        let denied = node.caller_by_newer_keys(&signed_by(&new, "new")).await.unwrap_err();
        assert_eq!(denied.reason, Refusal::UnknownKey, "the keys are those of the provider");
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_keys_in_vain_is_told_to_try_again() {
    let (known, new) = (Signer::ec(), Signer::ec());
    let provider = Provider::with(&[known.jwk("known")]);
    let node = provider.node(NEVER);
    node.jwks.as_ref().unwrap().hang();
    let denied = node.caller_by_newer_keys(&signed_by(&new, "new")).await.unwrap_err();
    assert_eq!(denied, NOT_READ);
    assert!(matches!(Error::from(denied), Error::Busy(_, wait) if wait == KEYS_PAUSE));
}

#[tokio::test]
async fn the_set_is_read_again_by_itself_and_a_bad_one_changes_nothing() {
    let (first, second) = (Signer::ec(), Signer::ec());
    let provider = Provider::with(&[first.jwk("1")]);
    let node = provider.node(Duration::from_millis(1));
    let jwks = node.jwks.as_ref().unwrap();
    let token = signed_by(&first, "1");
    let read_again = async || {
        let seen = readings(&node);
        // Two more: the first may have begun before.
        jwks.until(|current| current.readings() >= seen + 2).await;
    };
    beside(&node, async {
        for bad in [&b"{\"keys\":["[..], b"", b"{\"keys\":[]}", &vec![b' '; 300_000]] {
            provider.write(bad);
            read_again().await;
            assert!(found(&node, &token).is_ok());
        }
        std::fs::remove_file(&provider.0).unwrap();
        read_again().await;
        assert!(found(&node, &token).is_ok());
        provider.publish(&[first.jwk("1")]);
        read_again().await;
        assert_eq!(jwks.current().generation, 1, "the same keys: nothing is forgotten");
        provider.publish(&[second.jwk("2")]);
        jwks.until(|current| current.generation == 2).await;
        assert!(found(&node, &signed_by(&second, "2")).is_ok());
        assert!(node.caller(&token).is_none(), "withdrawn");
    })
    .await;
}

#[tokio::test]
async fn until_a_set_was_fetched_only_the_node_s_own_keys_verify() {
    let url = "http://127.0.0.1:9/keys".parse().unwrap();
    let node = Authenticator::new(&config::Auth { jwks: Some(config::Jwks::Url(url)), ..settings() });
    let claims = json!({"sub": "u1", "exp": seconds(60)});
    assert!(found(&node, &token(claims.clone())).is_ok());
    for signer in Signer::all() {
        for header in [json!({"alg": signer.alg()}), json!({"alg": signer.alg(), "kid": "a"})] {
            let denied = node.caller_by_newer_keys(&signer.token(&header, &claims)).await.unwrap_err();
            assert_eq!(denied.reason, Refusal::KeysMissing);
            assert!(matches!(Error::from(denied), Error::Busy(_, wait) if wait == KEYS_PAUSE));
        }
    }
    let forged = signed(&Header::default(), &claims, "another secret of 32 bytes length");
    assert_eq!(found(&node, &forged).unwrap_err().reason, Refusal::Signature, "no provider could verify it");
}
