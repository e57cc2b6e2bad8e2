//! What a node reads of a recovery: whatever lies there, nothing panics, and what lacks a field is none.

use proptest::prelude::*;

use super::*;
use crate::domain::arbitrary::{config, damaged, damaged_text};

const GOOD: [(&str, &str); 9] = [
    ("id", "rec_1"),
    ("status", "running"),
    ("since", "1"),
    ("until", "9"),
    ("event", "lead.*"),
    ("total", "5"),
    ("requeued", "3"),
    ("skipped", "0"),
    ("started", "2"),
];
const NEEDED: [&str; 7] = ["id", "status", "since", "total", "requeued", "skipped", "started"];

fn records() -> impl Strategy<Value = BTreeMap<String, String>> {
    let value = |(name, value): &(&'static str, &'static str)| {
        let value = prop_oneof![6 => Just((*value).to_owned()), 1 => damaged_text((*value).to_owned())];
        (Just((*name).to_owned()), prop::option::weighted(0.95, value))
    };
    let fields: Vec<_> = GOOD.iter().map(value).collect();
    fields.prop_map(|pairs| pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_recovery_is_read_whole_or_not_at_all(record in records()) {
        let whole = NEEDED.iter().all(|name| record.contains_key(*name));
        match read(&record) {
            Some(recovery) => {
                prop_assert!(whole);
                prop_assert_eq!(recovery.status.as_str(), &record["status"]);
                prop_assert_eq!(&recovery.id, &record["id"]);
            }
            None => {
                let number = |name: &str| record.get(name).is_some_and(|text| text.parse::<u64>().is_ok());
                let is_good = ["since", "total", "requeued", "skipped", "started"].into_iter().all(number)
                    && record.get("status").is_some_and(|status| status == "running") && record.contains_key("id");
                prop_assert!(!is_good, "{record:?}");
            }
        }
    }

    #[test]
    fn a_dead_delivery_names_its_event_or_is_passed_by(
        ms: u64, event in damaged(b"evt_1".to_vec()), kind in damaged(b"lead.created".to_vec()), at in damaged(b"17".to_vec()),
    ) {
        let fields = [("e", &event), ("t", &kind), ("a", &at)].map(|(name, value)| (name.as_bytes().to_vec(), value.clone()));
        if let Some(dead) = dead_of((EntryId { ms, seq: 0 }, fields.into())) {
            prop_assert_eq!(dead.event.as_str().as_bytes(), &event[..]);
            prop_assert_eq!(dead.event_type.as_bytes(), &kind[..]);
            let said = std::str::from_utf8(&at).ok().and_then(|at| at.parse().ok());
            prop_assert_eq!(dead.at.0, said.unwrap_or(ms));
        }
    }
}
