//! The private Redis, with real ones.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of one test's own, gone with it. Short, because a socket lies in it.
pub(in crate::store) struct TempDir(pub PathBuf);

impl TempDir {
    pub(in crate::store) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sw test {}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(in crate::store) fn settings(data_dir: &Path) -> config::Redis {
    config::Redis {
        mode: config::RedisMode::Standalone,
        url: None,
        sentinel_urls: Vec::new(),
        sentinel_master: String::new(),
        cluster_urls: Vec::new(),
        tls_ca_file: None,
        prefix: "sw:".into(),
        data_dir: data_dir.to_owned(),
        require_persistence: true,
        connect_timeout: ANSWER,
        command_timeout: ANSWER,
    }
}

fn ask(private: &Private, words: &[&str]) -> String {
    let mut connection = Client::open(private.url()).unwrap().get_connection().unwrap();
    redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).unwrap()
}

fn setting(private: &Private, name: &str) -> String {
    let mut connection = Client::open(private.url()).unwrap().get_connection().unwrap();
    let pair: Vec<String> = redis::cmd("CONFIG").arg("GET").arg(name).query(&mut connection).unwrap();
    pair[1].clone()
}

#[test]
fn it_keeps_what_it_was_given_and_nobody_else_may_enter() {
    let dir = TempDir::new();
    let private = Private::start(&settings(&dir.0)).unwrap();
    let expected = [
        ("port", "0"),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "noeviction"),
        ("stream-node-max-bytes", "512"),
        ("auto-aof-rewrite-min-size", "536870912"),
        ("save", ""),
    ];
    for (name, value) in expected {
        assert_eq!(setting(&private, name), value, "{name}");
    }
    let rights = fs::metadata(dir.0.join("redis")).unwrap().permissions().mode();
    assert_eq!(rights & 0o777, 0o700);

    ask(&private, &["SET", "kept", "yes"]);
    private.stop(STOP).unwrap();
    assert!(!dir.0.join("redis").join(PID).exists(), "it ended in order");
    let again = Private::start(&settings(&dir.0)).unwrap();
    assert_eq!(ask(&again, &["GET", "kept"]), "yes");
}

#[test]
fn a_second_node_over_the_same_directory_is_refused_by_name() {
    let dir = TempDir::new();
    let first = Private::start(&settings(&dir.0)).unwrap();
    let refused = Private::start(&settings(&dir.0)).unwrap_err();
    assert!(matches!(refused, Error::InUse(_)));
    assert!(refused.to_string().starts_with("redis.data_dir: another node uses "), "{refused}");
    assert!(refused.to_string().contains("WEBHOOKS_REDIS__DATA_DIR"), "{refused}");
    first.stop(STOP).unwrap();
    Private::start(&settings(&dir.0)).unwrap();
}

#[test]
fn a_survivor_is_taken_over_with_its_data_and_stopped_in_the_end() {
    let dir = TempDir::new();
    let place = Place::prepare(&dir.0).unwrap();
    let mut survivor = place.spawn().unwrap();
    assert!(wait(APPEAR, || place.ping() == State::Ready));
    let heir = Private::start(&settings(&dir.0)).unwrap();
    assert!(heir.child.is_none(), "it started none of its own");
    assert_eq!(place.survivor(), Some(survivor.id()));
    // A survivor of a dead node would be reaped by init; here by its parent, this test.
    let reaper = std::thread::spawn(move || survivor.wait().unwrap());
    heir.stop(STOP).unwrap();
    assert!(reaper.join().unwrap().success());
}

fn kill(private: &Private) {
    let pid = private.place.survivor().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-s", "KILL", &pid]).status().unwrap().success());
}

#[test]
fn one_that_was_killed_is_started_again_with_its_data_and_given_up_the_second_time() {
    let dir = TempDir::new();
    let mut private = Private::start(&settings(&dir.0)).unwrap();
    assert!(!private.keep_running().unwrap(), "there is nothing to do");
    ask(&private, &["SET", "kept", "yes"]);
    kill(&private);
    assert!(wait(GRACE, || private.keep_running().unwrap()));
    assert!(wait(APPEAR, || private.place.ping() == State::Ready));
    assert_eq!(ask(&private, &["GET", "kept"]), "yes");
    kill(&private);
    let mut given_up = Ok(false);
    assert!(wait(GRACE, || {
        given_up = private.keep_running();
        given_up.is_err()
    }));
    assert!(matches!(given_up, Err(Error::EndsAgain(_))), "{given_up:?}");
}

#[test]
fn one_that_hangs_is_ended_within_the_limit() {
    let dir = TempDir::new();
    let private = Private::start(&settings(&dir.0)).unwrap();
    let pid = private.place.survivor().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-s", "STOP", &pid]).status().unwrap().success());
    let start = clock::monotonic();
    let ended = private.stop(Duration::from_millis(500));
    assert!(matches!(ended, Err(Error::Silent(_))), "{ended:?}");
    assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
    assert_eq!(Place::prepare(&dir.0).unwrap().survivor(), None, "it is gone all the same");
}

#[test]
fn a_pid_file_that_names_a_stranger_is_not_believed() {
    let dir = TempDir::new();
    let place = Place::prepare(&dir.0).unwrap();
    fs::write(place.file(PID), std::process::id().to_string()).unwrap();
    assert_eq!(place.survivor(), None);
    let private = Private::start(&settings(&dir.0)).unwrap();
    assert!(private.child.is_some());
}

#[test]
fn a_start_that_fails_says_where_to_look() {
    let dir = TempDir::new();
    fs::create_dir_all(dir.0.join("redis").join("appendonlydir").join("x")).unwrap();
    fs::write(dir.0.join("redis/appendonlydir/appendonly.aof.manifest"), "nonsense\n").unwrap();
    let failed = Private::start(&settings(&dir.0)).unwrap_err();
    assert!(matches!(failed, Error::Ended(_)), "{failed:?}");
    assert!(failed.to_string().contains("redis.log"), "{failed}");
}

#[test]
fn a_directory_too_deep_for_a_socket_is_refused_with_its_length() {
    let dir = TempDir::new();
    let deep = dir.0.join("d".repeat(100));
    let refused = Private::start(&settings(&deep)).unwrap_err();
    assert!(matches!(refused, Error::PathTooLong(_)));
    assert!(refused.to_string().contains("107"), "{refused}");
}

#[test]
fn old_versions_are_refused() {
    for (version, fits) in [("7.0.15", true), ("8.2.1", true), ("10.0", true), ("6.2.14", false), ("", false)]
    {
        assert_eq!(sufficient(version).is_ok(), fits, "{version}");
    }
}

#[test]
fn a_command_line_is_ours_only_if_program_and_directory_agree() {
    let dir = Path::new("/data/redis");
    let cases: [(&[u8], bool); 5] = [
        (b"redis-server\0--port\x000\0--dir\0/data/redis\0", true),
        (b"/usr/bin/redis-server\0--dir\0/data/redis\0", true),
        (b"redis-server\0--dir\0/data/redis2\0", false),
        (b"vim\0--dir\0/data/redis\0", false),
        (b"", false),
    ];
    for (command, ours) in cases {
        assert_eq!(is_ours(command, dir), ours, "{}", String::from_utf8_lossy(command));
    }
}
