//! Where keys come from: what must be there, what excludes what, and what is said of the files.

use std::path::PathBuf;

use super::*;
use crate::config::keys::testing::{Signer, set};

/// A file that is gone with its value.
struct File(PathBuf);

impl File {
    fn with(text: &[u8]) -> Self {
        let name = format!("sw-keys-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn setting(&self, key: &str) -> String {
        format!("{key} = {:?}", self.0.to_str().unwrap())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// With the files read, as at a start.
fn loaded(lines: &str) -> Result<Auth, String> {
    let mut layers = Layers::default();
    layers.put_text("my.toml", &format!("[auth]\n{lines}"));
    layers.check().map(|config| config.auth).map_err(|faults| faults.to_string())
}

#[test]
fn any_one_source_of_keys_is_enough_and_none_is_refused() {
    let signer = Signer::ed();
    let (pem, jwks) = (File::with(signer.pem().as_bytes()), File::with(&set(&[signer.jwk("a")])));
    let secret = "jwt_secret = \"0123456789abcdef0123456789abcdef\"".to_owned();
    let url = "jwks_url = \"https://login.example/keys\"".to_owned();
    let (pem, jwks) = (&pem.setting("jwt_public_key_file"), &jwks.setting("jwks_file"));
    for (lines, expected) in [
        (secret.clone(), [true, false, false]),
        (pem.clone(), [false, true, false]),
        (jwks.clone(), [false, false, true]),
        (url.clone(), [false, false, true]),
        ([secret.as_str(), pem, jwks].join("\n"), [true, true, true]),
        ([secret.as_str(), pem, &url].join("\n"), [true, true, true]),
    ] {
        let auth = loaded(&lines).unwrap();
        let found = [auth.jwt_secret.is_some(), auth.jwt_public_key.is_some(), auth.jwks.is_some()];
        assert_eq!(found, expected, "{lines}");
        assert!(!format!("{auth:?}").contains("0123456789"), "{auth:?}");
    }
    let none = loaded("").unwrap_err();
    for key in ["auth.jwt_secret", "auth.jwt_public_key_file", "auth.jwks_file", "auth.jwks_url", "1 fault"] {
        assert!(none.contains(key), "{none}");
    }
    let both = loaded(&format!("{jwks}\n{url}")).unwrap_err();
    assert!(both.contains("auth.jwks_file (my.toml)") && both.contains("auth.jwks_url is set"), "{both}");
}

#[test]
fn a_file_of_keys_that_cannot_be_used_stops_the_start_and_is_named() {
    let signer = Signer::ec();
    let (pem, jwks) = (File::with(signer.pem().as_bytes()), File::with(&set(&[signer.jwk("a")])));
    let empty = File::with(b"{\"keys\": []}");
    for (lines, words) in [
        (
            "jwks_file = \"nowhere.json\"".to_owned(),
            "auth.jwks_file (my.toml): is \"nowhere.json\", which cannot be read",
        ),
        (
            "jwt_public_key_file = \"/\"".to_owned(),
            "auth.jwt_public_key_file (my.toml): is \"/\", which cannot be read",
        ),
        (pem.setting("jwks_file"), "which is not a JWK set"),
        (jwks.setting("jwt_public_key_file"), "which holds no PEM section"),
        (empty.setting("jwks_file"), "which holds no key that can be used, of 0"),
    ] {
        let found = loaded(&lines).unwrap_err();
        assert!(found.contains(words) && found.contains("1 fault"), "{found}");
    }
}

#[test]
fn a_set_is_fetched_only_where_nobody_can_change_it_on_its_way() {
    for url in [
        "https://login.example.com/.well-known/jwks.json",
        "https://login.example.com:8443/keys?tenant=a",
        "https://10.0.0.7/keys",
        "http://localhost:8080/keys",
        "http://127.0.0.1/keys",
        "http://[::1]:80/keys",
    ] {
        let auth = loaded(&format!("jwks_url = \"{url}\"")).unwrap();
        assert_eq!(auth.jwks, Some(Jwks::Url(url.parse().unwrap())), "{url}");
    }
    for url in [
        "http://login.example.com/keys",
        "http://10.0.0.7/keys",
        "http://localhost.example.com/keys",
        "https://user:hunter2@login.example.com/keys",
        "https://hunter2@login.example.com/keys",
        "https://login.example.com/keys#a",
        "https://login.example.com:0/keys",
        "ftp://login.example.com/keys",
        "file:///etc/keys",
        "login.example.com/keys",
        "https://",
    ] {
        let found = loaded(&format!("jwks_url = \"{url}\"")).unwrap_err();
        assert!(
            found.contains("auth.jwks_url (my.toml): is ") && found.contains("expected an https URL"),
            "{found}"
        );
        assert!(found.contains("1 fault"), "{found}");
    }
    let hidden = loaded("jwks_url = \"https://user:hunter2@login.example.com/keys\"").unwrap_err();
    assert!(!hidden.contains("hunter2"), "{hidden}");
}

#[test]
fn the_time_between_readings_has_a_range() {
    for (seconds, fits) in [(4, false), (5, true), (86_400, true), (86_401, false)] {
        let found = faults("auth", &format!("jwks_refresh_seconds = {seconds}"));
        assert_eq!(found.is_empty(), fits, "{found:?}");
    }
}
