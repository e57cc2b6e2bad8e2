//! Which keys are taken off the list of those in use, with nodes that write at the worst moment.

use super::*;
use crate::domain::EncryptionKey;
use crate::policy::sealing::id_of;
use crate::store::Keys;
use crate::store::testing::TestRedis;

#[tokio::test]
async fn a_key_that_a_node_writes_with_behind_the_walk_stays_on_the_list() {
    let server = TestRedis::start().await;
    let data = Data { redis: server.redis.clone(), keys: Keys::new("sw:"), partitions: 8 };
    let [present, unused, late] = [1, 2, 3].map(|byte| id_of(&EncryptionKey::new([byte; 32])));
    for id in [&present, &unused, &late] {
        encryption::note_id(&data.redis, &data.keys, id, clock::now()).await.unwrap();
    }
    let keyring = Keyring::new(Some(&EncryptionKey::new([1; 32])), &[]);
    let walk = Walk { data: &data, keyring: &keyring, mode: Mode::Encrypt, is_noted: false };
    let mut seen = walk.keys_of_records().await.unwrap();
    assert!(seen.is_empty());

    // Written after the walk went by.
    let text = format!("1 1 5 -\n{{}}\nx1 {late} AAAA");
    let mut set = redis::cmd("HSET");
    set.arg(data.keys.key(Partition(3), "webhooks")).arg("wh_00abcdefghijklmnopqrstuv").arg(text);
    data.redis.query::<()>(&set).await.unwrap();
    assert_eq!(walk.drop_unused(&mut seen).await.unwrap(), [unused]);
    assert_eq!(seen, BTreeSet::from([late.clone()]));
    let left: BTreeSet<KeyId> =
        encryption::in_use(&data.redis, &data.keys).await.unwrap().into_iter().collect();
    assert_eq!(left, BTreeSet::from([present, late]));
}

#[tokio::test]
async fn a_wrong_key_writes_nothing_and_is_not_put_on_the_list() {
    let server = TestRedis::start().await;
    let data = Data { redis: server.redis.clone(), keys: Keys::new("sw:"), partitions: 8 };
    let theirs = id_of(&EncryptionKey::new([3; 32]));
    encryption::note_id(&data.redis, &data.keys, &theirs, clock::now()).await.unwrap();
    let webhook: WebhookId = "wh_00abcdefghijklmnopqrstuv".parse().unwrap();
    let mut set = redis::cmd("HSET");
    set.arg(data.keys.key(Partition(3), "webhooks")).arg(webhook.as_str());
    set.arg(format!("1 1 5 -\n{{}}\nx1 {theirs} AAAA"));
    data.redis.query::<()>(&set).await.unwrap();

    let keyring = Keyring::new(Some(&EncryptionKey::new([1; 32])), &[]);
    let mut walk = Walk { data: &data, keyring: &keyring, mode: Mode::Encrypt, is_noted: false };
    let report = walk.all().await.unwrap();
    assert_eq!((report.records, report.unreadable, report.rewritten), (1, 1, 0));
    assert_eq!(report.missing, BTreeSet::from([theirs.clone()]));
    assert!(report.to_string().contains(&format!("not in the settings of this command: {theirs}")));
    assert_eq!(encryption::in_use(&data.redis, &data.keys).await.unwrap(), std::slice::from_ref(&theirs));

    let unknown: KeyId = "deadbeef".parse().unwrap();
    for (id, was_known) in [(unknown, false), (theirs, true)] {
        let lost = give_up(&data, &keyring, id.clone()).await.unwrap();
        assert_eq!(lost, (id.clone(), was_known));
        let said = Report { lost: Some(lost), ..Report::default() }.to_string();
        assert_eq!(said.contains("given up as lost"), was_known, "{said}");
        assert!(said.contains(id.as_str()), "{said}");
    }
    assert!(encryption::in_use(&data.redis, &data.keys).await.unwrap().is_empty());
}
