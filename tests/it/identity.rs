//! Contract §1 with an identity provider: public keys in files and behind a URL, rotation, and what a provider in trouble
//! costs.

use std::fmt::Write as _;

use jsonwebtoken::{EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::signer::{base64url, message, set};
use crate::harness::{
    Answer, Authority, Certificate, Provider, SECRET, SOON, Says, Signer, TempDir, TestNode, TestRedis,
    Token, eventually,
};

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn claims() -> Value {
    json!({"sub": "ann", "organizationId": "acme", "exp": now() + 3600})
}

fn named(signer: &Signer, kid: &str) -> String {
    signer.token(&json!({"alg": signer.alg(), "kid": kid}), &claims())
}

async fn get(node: &TestNode, token: &str) -> Answer {
    node.bearer(token).get("/api/webhooks").await
}

/// A node that takes the tokens of that provider and no others.
async fn follower(redis: &TestRedis, provider: &Provider) -> TestNode {
    TestNode::start_with(redis, &[("AUTH__JWT_SECRET", ""), ("AUTH__JWKS_URL", &provider.url())]).await
}

/// The first answer that is not 503: the provider's keys are there.
async fn first_answer(node: &TestNode, token: &str) -> Answer {
    eventually("the keys are there", SOON, async || {
        Some(get(node, token).await).filter(|answer| answer.status != 503)
    })
    .await
}

#[tokio::test]
async fn a_new_key_is_taken_after_one_fetch_and_a_withdrawn_one_refused() {
    let redis = TestRedis::start();
    let [rsa, ec, ed] = Signer::all();
    let provider = Provider::start(&[Says::Keys(vec![rsa.jwk("2026-01"), ec.jwk("ec")])]).await;
    let node = follower(&redis, &provider).await;
    for token in [named(&rsa, "2026-01"), named(&ec, "ec"), ec.token(&json!({"alg": "ES256"}), &claims())] {
        first_answer(&node, &token).await.expect(200);
    }
    assert_eq!(provider.fetched().len(), 1);
    get(&node, &Token::user("ann").sign()).await.error(401);

    provider.says(Says::Keys(vec![ed.jwk("2026-02"), ec.jwk("ec")]));
    get(&node, &named(&rsa, "2026-01")).await.expect(200);
    get(&node, &named(&ed, "2026-02")).await.expect(200);
    assert_eq!(provider.fetched().len(), 2);
    get(&node, &named(&rsa, "2026-01")).await.error(401);
    get(&node, &named(&ec, "ec")).await.expect(200);
    let metrics = node.metrics().await;
    assert_eq!(metrics.sum("jwks_readings_total", &["changed"]), 2.0);
    assert_eq!(metrics.sum("authentications_failed_total", &["unknown_key"]), 1.0);
    assert_eq!(provider.fetched().len(), 2);
}

#[tokio::test]
async fn a_withdrawn_key_is_refused_without_anybody_asking_for_another() {
    let redis = TestRedis::start();
    let [_, old, new] = Signer::all();
    let provider = Provider::start(&[Says::Keys(vec![old.jwk("old"), new.jwk("new")])]).await;
    let settings =
        [("AUTH__JWT_SECRET", ""), ("AUTH__JWKS_URL", &*provider.url()), ("AUTH__JWKS_REFRESH_SECONDS", "5")];
    let node = TestNode::start_with(&redis, &settings).await;
    let token = named(&old, "old");
    first_answer(&node, &token).await.expect(200);
    provider.says(Says::Keys(vec![new.jwk("new")]));
    eventually("the withdrawn key is refused", SOON, async || {
        (get(&node, &token).await.status == 401).then_some(())
    })
    .await;
    get(&node, &named(&new, "new")).await.expect(200);
}

#[tokio::test]
async fn two_hundred_made_up_names_cause_one_fetch_and_disturb_nobody() {
    let redis = TestRedis::start();
    let [_, known, stranger] = Signer::all();
    let provider = Provider::start(&[Says::Keys(vec![known.jwk("known")])]).await;
    let node = follower(&redis, &provider).await;
    first_answer(&node, &named(&known, "known")).await.expect(200);
    let tokens: Vec<String> = (0..200).map(|n| named(&stranger, &format!("made-up-{n}"))).collect();
    let all = futures_util::future::join_all(tokens.iter().map(|token| get(&node, token))).await;
    // Failed authentication has a limit for each source.
    assert!(all.iter().all(|answer| [401, 429].contains(&answer.status)), "{all:?}");
    get(&node, &named(&known, "known")).await.expect(200);
    assert_eq!(provider.fetched().len(), 2, "one at the start, one for all of them");
}

#[tokio::test]
async fn while_a_provider_hangs_known_keys_are_taken_and_unknown_ones_told_to_try_again() {
    let redis = TestRedis::start();
    let [_, known, stranger] = Signer::all();
    let provider = Provider::start(&[Says::Keys(vec![known.jwk("known")])]).await;
    let node = follower(&redis, &provider).await;
    first_answer(&node, &named(&known, "known")).await.expect(200);
    provider.says(Says::Hangs);
    let unknown = node.bearer(&named(&stranger, "unknown"));
    let waiting = tokio::spawn(async move { unknown.get("/api/webhooks").await });
    eventually("it is asked", SOON, async || (provider.fetched().len() == 2).then_some(())).await;
    get(&node, &named(&known, "known")).await.expect(200);
    let words = "the keys that verify tokens could not be read, try again";
    assert_eq!(waiting.await.unwrap().error(503), [words]);
    get(&node, &named(&known, "known")).await.expect(200);
    let metrics = node.metrics().await;
    assert!(metrics.sum("jwks_readings_total", &["unreachable"]) >= 1.0);
    assert_eq!(metrics.sum("authentications_failed_total", &["unknown_key"]), 0.0);
}

#[tokio::test]
async fn a_change_whose_token_waited_for_its_key_is_in_the_audit_log() {
    let redis = TestRedis::start();
    let [_, old, new] = Signer::all();
    let provider = Provider::start(&[Says::Keys(vec![old.jwk("old")])]).await;
    let node = follower(&redis, &provider).await;
    first_answer(&node, &named(&old, "old")).await.expect(200);
    provider.says(Says::Keys(vec![new.jwk("new")]));
    let webhook = json!({"name": "x", "url": "http://127.0.0.1:9/", "events": ["*"]});
    node.bearer(&named(&new, "new")).post("/api/webhooks", &webhook).await.expect(201);
    assert_eq!(provider.fetched().len(), 2, "it waited for this");
    let line = eventually("the change is told", SOON, async || {
        node.log().into_iter().find(|line| line["target"] == "salesos_webhooks::audit")
    })
    .await;
    assert_eq!((&line["action"], &line["user"]), (&json!("create_webhook"), &json!("ann")), "{line}");
}

#[tokio::test]
async fn of_a_request_whose_token_waits_in_vain_nothing_else_is_looked_at() {
    let redis = TestRedis::start();
    let [_, known, stranger] = Signer::all();
    let provider = Provider::start(&[Says::Keys(vec![known.jwk("known")])]).await;
    let node = follower(&redis, &provider).await;
    first_answer(&node, &named(&known, "known")).await.expect(200);
    let unknown = node.bearer(&named(&stranger, "unknown"));
    unknown.call(Method::POST, "/api/events").raw("text/plain", "no JSON").send().await.error(401);
    assert_eq!(provider.fetched().len(), 2, "it waited for this");
    assert_eq!(node.metrics().await.sum("authentications_failed_total", &["unknown_key"]), 1.0);
}

#[tokio::test]
async fn a_node_starts_without_its_provider_and_says_so_until_it_has_keys() {
    let redis = TestRedis::start();
    let key = Signer::ed();
    let garbage = "<html>not-to-be-logged</html>".as_bytes().to_vec();
    let script = [
        Says::Closes,
        Says::Redirect,
        Says::Body(vec![b' '; 10 << 20]),
        Says::Body(garbage),
        Says::Keys(vec![key.jwk("a")]),
    ];
    let provider = Provider::start(&script).await;
    // The harness keeps the last lines: those of the requests below would push out all others.
    let settings = [
        ("AUTH__JWKS_URL", &*provider.url()),
        ("AUTH__JWKS_REFRESH_SECONDS", "5"),
        ("TELEMETRY__LOG_LEVEL", "info,salesos_webhooks::requests=off"),
    ];
    let node = TestNode::start_with(&redis, &settings).await;
    let token = named(&key, "a");
    eventually("it was refused for a while", SOON, async || {
        let answer = get(&node, &token).await;
        answer.header("retry-after")?;
        assert_eq!(answer.error(503), ["the keys that verify tokens have not been fetched yet, try again"]);
        Some(())
    })
    .await;
    // What needs no provider goes on.
    node.user("ann", "acme").get("/api/webhooks").await.expect(200);
    first_answer(&node, &token).await.expect(200);
    assert!(provider.fetched().iter().all(|path| path == "/keys"), "a redirect is not followed");
    let metrics = node.metrics().await;
    for (result, times) in [("unreachable", 1.0), ("status", 1.0), ("unusable", 2.0), ("changed", 1.0)] {
        assert_eq!(metrics.sum("jwks_readings_total", &[&format!("result=\"{result}\"")]), times, "{result}");
    }
    let log = node.log_text();
    assert!(log.contains("keys could not be read") && !log.contains("not-to-be-logged"), "{log}");
    assert!(!log.contains(&token), "{log}");
}

#[tokio::test]
async fn keys_are_fetched_only_from_a_server_whose_certificate_is_good() {
    let redis = TestRedis::start();
    let authority = Authority::new();
    let shown =
        [Certificate::Expired, Certificate::OtherName, Certificate::UnknownAuthority, Certificate::Good];
    let certificates = shown.map(|certificate| authority.acceptor(certificate)).into();
    let key = Signer::ec();
    let provider = Provider::start_showing(&[Says::Keys(vec![key.jwk("a")])], certificates).await;
    let settings = [("AUTH__JWT_SECRET", ""), ("AUTH__JWKS_URL", &*provider.url())];
    let node = TestNode::start_trusting(&redis, authority.file(), &settings).await;
    first_answer(&node, &named(&key, "a")).await.expect(200);
    assert_eq!(provider.fetched(), ["/keys"]);
    let metrics = node.metrics().await;
    assert_eq!(metrics.sum("jwks_readings_total", &["unreachable"]), 3.0);
}

#[tokio::test]
async fn keys_in_files_verify_beside_the_secret_and_bad_ones_stop_the_start() {
    let redis = TestRedis::start();
    let dir = TempDir::new();
    let file = |name: &str, text: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let [rsa, ec, ed] = Signer::all();
    let (pem, jwks) = (file("key.pem", rsa.pem().as_bytes()), file("keys.json", &set(&[ec.jwk("a")])));
    let settings = [("AUTH__JWT_PUBLIC_KEY_FILE", pem.as_str()), ("AUTH__JWKS_FILE", &jwks)];
    let node = TestNode::start_with(&redis, &settings).await;
    let unnamed = |signer: &Signer| signer.token(&json!({"alg": signer.alg()}), &claims());
    for token in [unnamed(&rsa), unnamed(&ec), named(&ec, "a"), Token::user("ann").sign()] {
        get(&node, &token).await.expect(200);
    }
    get(&node, &unnamed(&ed)).await.error(401);
    file("keys.json", &set(&[ed.jwk("b")]));
    get(&node, &named(&ed, "b")).await.expect(200);
    get(&node, &named(&ec, "a")).await.error(401);

    let refused =
        TestNode::refused(&[("AUTH__JWT_PUBLIC_KEY_FILE", jwks.clone()), ("AUTH__JWKS_FILE", pem.clone())])
            .await;
    for words in ["auth.jwt_public_key_file (WEBHOOKS_AUTH__JWT_PUBLIC_KEY_FILE)", "no PEM", "not a JWK set"]
    {
        assert!(refused.contains(words), "{refused}");
    }
    let refused = TestNode::refused(&[("AUTH__JWT_SECRET", String::new())]).await;
    assert!(refused.contains("nobody's token could be verified"), "{refused}");
}

#[tokio::test]
async fn without_a_secret_the_commands_that_sign_say_what_they_lack() {
    for words in [&["token", "--sub", "ann"][..], &["smoke-test"]] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_salesos-webhooks"))
            .args(words)
            .env_clear()
            .env("WEBHOOKS_AUTH__JWKS_URL", "https://login.example/keys")
            .current_dir(std::env::temp_dir())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{said}");
        assert!(said.contains("auth.jwt_secret (WEBHOOKS_AUTH__JWT_SECRET) is not set"), "{said}");
    }
}

/// Sends a request with that token as it is, however long, and gives status line and body.
async fn raw(node: &TestNode, token: &str) -> (u16, String) {
    let stream = tokio::net::TcpStream::connect(node.address().get()).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let request = format!("GET /api/webhooks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    let sending = tokio::spawn(async move {
        // The server may have heard enough before the end.
        let _ = to.write_all(request.as_bytes()).await;
        to
    });
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    let whole = |answer: &[u8]| {
        let text = String::from_utf8_lossy(answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length: usize =
            head.to_ascii_lowercase().split_once("content-length: ")?.1.lines().next()?.parse().ok()?;
        (body.len() >= length).then(|| (head.to_owned(), body.to_owned()))
    };
    let (head, body) = loop {
        if let Some(found) = whole(&answer) {
            break found;
        }
        let read = from.read(&mut part).await.unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..read]);
    };
    drop(sending.await.unwrap());
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

/// What the holder of each token is told; `--nocapture` prints the table.
#[tokio::test]
async fn hostile_and_outdated_tokens_get_a_clear_answer() {
    let redis = TestRedis::start();
    let dir = TempDir::new();
    let [old, ec, new] = Signer::all();
    let pem = dir.path().join("key.pem");
    std::fs::write(&pem, ec.pem()).unwrap();
    let provider = Provider::start(&[Says::Keys(vec![old.jwk("old")])]).await;
    let settings = [
        ("AUTH__JWT_PUBLIC_KEY_FILE", pem.to_str().unwrap()),
        ("AUTH__JWKS_URL", &provider.url()),
        ("AUTH__ISSUER", "https://login.example"),
        ("AUTH__AUDIENCE", "webhooks"),
    ];
    let node = TestNode::start_with(&redis, &settings).await;
    let with = |name: &str, value: Value| {
        let mut all = claims();
        all["iss"] = json!("https://login.example");
        all["aud"] = json!("webhooks");
        all[name] = value;
        all
    };
    let good = with("sub", json!("ann"));
    let es256 = |claims: &Value| ec.token(&json!({"alg": "ES256"}), claims);
    let kid = |signer: &Signer, kid: &str| signer.token(&json!({"alg": signer.alg(), "kid": kid}), &good);
    let hmac = |secret: &[u8]| {
        jsonwebtoken::encode(&Header::default(), &good, &EncodingKey::from_secret(secret)).unwrap()
    };
    first_answer(&node, &kid(&old, "old")).await.expect(200);

    let unsigned = |alg: &str| format!("{}.", message(&json!({ "alg": alg }), &good));
    let text = message(&json!({"alg": "ES256"}), &good);
    let as_der = format!("{text}.{}", base64url(&ec.sign_as_der(text.as_bytes())));
    let rows = [
        ("good, ES256 by the PEM key", es256(&good), 200),
        ("good, HS256 by the secret", hmac(SECRET.as_bytes()), 200),
        ("good, RS256 by the JWKS key", kid(&old, "old"), 200),
        ("HS256 made with the PEM text", hmac(ec.pem().as_bytes()), 401),
        ("HS256 made with the key's DER", hmac(&ec.spki()), 401),
        ("HS256 made with the JWK's text", hmac(old.jwk("old").to_string().as_bytes()), 401),
        ("RS256 key, named ES256", old.token(&json!({"alg": "ES256", "kid": "old"}), &good), 401),
        ("alg none", unsigned("none"), 401),
        ("alg NONE", unsigned("NONE"), 401),
        ("PS256", old.token(&json!({"alg": "PS256", "kid": "old"}), &good), 401),
        ("signature left out", format!("{text}."), 401),
        ("ES256 signature as DER", as_der, 401),
        ("another key of the same algorithm", Signer::ec().token(&json!({"alg": "ES256"}), &good), 401),
        ("expired", es256(&with("exp", json!(now() - 60))), 401),
        ("exp missing", es256(&with("exp", Value::Null)), 401),
        ("exp as text", es256(&with("exp", json!("tomorrow"))), 401),
        ("nbf in the future", es256(&with("nbf", json!(now() + 60))), 401),
        ("wrong audience", es256(&with("aud", json!(["crm", "billing"]))), 401),
        ("wrong issuer", es256(&with("iss", json!("https://elsewhere.example"))), 401),
        ("crit", ec.token(&json!({"alg": "ES256", "crit": ["x"]}), &good), 401),
        ("9 KB token", format!("{text}.{}", "A".repeat(9 << 10)), 401),
    ];
    let mut table = String::new();
    let mut note =
        |what: &str, status: u16, said: &str| writeln!(table, "{what:<36} {status}  {said}").unwrap();
    let said = |body: &str| {
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        body["message"].as_str().unwrap_or_default().to_owned()
    };
    for (what, token, expected) in rows {
        let answer = get(&node, &token).await;
        note(what, answer.status, &said(&answer.body));
        assert_eq!(answer.status, expected, "{what}: {}", answer.body);
    }
    let (status, body) = raw(&node, &format!("{text}.{}", "A".repeat(1 << 20))).await;
    note("1 MB token", status, &said(&body));
    note("old key, before the rotation", get(&node, &kid(&old, "old")).await.status, "");
    provider.says(Says::Keys(vec![new.jwk("new")]));
    for (what, token, expected) in
        [("new key, after it", kid(&new, "new"), 200), ("old key, after it", kid(&old, "old"), 401)]
    {
        let answer = get(&node, &token).await;
        note(what, answer.status, &said(&answer.body));
        assert_eq!(answer.status, expected, "{what}: {}", answer.body);
    }
    println!("{table}");
    assert!([400, 401, 431].contains(&status), "{status} {body}");
}
