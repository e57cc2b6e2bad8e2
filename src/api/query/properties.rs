//! What holds of every query: pages stay within bounds, and a fault names its parameter.

use proptest::prelude::*;

use super::*;
use crate::domain::arbitrary::{config, texts};

fn queries() -> impl Strategy<Value = String> {
    let name = prop::sample::select(&["page", "limit", "isActive", "since", "other", "%70age"][..]);
    let value = prop_oneof![
        3 => any::<u64>().prop_map(|number| number.to_string()),
        3 => (0..200_u32).prop_map(|number| number.to_string()),
        1 => prop::sample::select(&["true", "false", "", "-1", "%2B1", "1e2", "2026-01-15T10:30:00Z", "%00", "%ff"][..]).prop_map(str::to_owned),
        1 => texts(),
    ];
    let pairs = prop::collection::vec((name, value), 0..6);
    let built = pairs.prop_map(|pairs| {
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    });
    prop_oneof![5 => built, 1 => texts()]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_page_lies_within_its_bounds_and_within_any_list(text in queries(), rows in 0..300_usize) {
        let mut query = Query::parse(&text);
        let (page, flag, since) = (query.page(), query.boolean("isActive"), query.time("since"));
        prop_assert!(page.page >= 1 && (1..=MAX_LIMIT).contains(&page.limit));
        let list: Vec<usize> = (0..rows).collect();
        let shown = page.slice(&list);
        prop_assert!(shown.len() <= page.limit as usize);
        prop_assert!(shown.iter().all(|row| *row as u64 >= page.offset()));
        match query.finish() {
            Ok(()) => {
                let said = |name: &str| form_urlencoded::parse(text.as_bytes()).any(|(given, _)| given == name);
                prop_assert_eq!((flag.is_some(), since.is_some()), (said("isActive"), said("since")));
            }
            Err(Error::Invalid(faults)) => {
                let known = ["page ", "limit ", "isActive ", "since "];
                prop_assert!(faults.iter().all(|fault| known.iter().any(|name| fault.starts_with(name))), "{faults:?}");
            }
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn pages_one_after_another_are_the_whole_list(limit in 1..=MAX_LIMIT, rows in 0..400_u32) {
        let list: Vec<u32> = (0..rows).collect();
        let pages = (1..=rows / limit + 1).flat_map(|page| Page { page, limit }.slice(&list).to_vec());
        prop_assert_eq!(pages.collect::<Vec<_>>(), list);
    }
}
