//! What holds of every `If-Match`.

use actix_web::http::header::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::domain::arbitrary::config;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_condition_is_met_by_the_versions_that_it_names_and_by_no_others(
        versions in prop::collection::vec(any::<u64>(), 0..4), other: u64, odd in "[ -~]{0,20}", weak: bool,
    ) {
        let name = |version: &u64| format!("{}\"{version}\"", if weak { "W/" } else { "" });
        let mut headers = HeaderMap::new();
        for version in &versions {
            headers.append(IF_MATCH, HeaderValue::from_str(&name(version)).expect("visible"));
        }
        headers.append(IF_MATCH, HeaderValue::from_str(&odd).expect("visible"));
        let IfMatch::OneOf(tags) = IfMatch::of(&headers) else {
            prop_assert!(odd.split(',').any(|tag| tag.trim() == "*"));
            return Ok(());
        };
        let is_met = |version: u64| tags.contains(&format!("\"{version}\""));
        let said = odd.contains(&format!("\"{other}\""));
        prop_assert_eq!(is_met(other), (!weak && versions.contains(&other)) || said);
        prop_assert!(versions.iter().all(|version| is_met(*version) != weak || odd.contains(&version.to_string())));
    }

    #[test]
    fn bytes_that_are_no_text_meet_nothing(bytes in prop::collection::vec(0x80_u8.., 1..10)) {
        let mut headers = HeaderMap::new();
        headers.append(IF_MATCH, HeaderValue::from_bytes(&bytes).expect("legal in a header"));
        let IfMatch::OneOf(tags) = IfMatch::of(&headers) else {
            return Err(TestCaseError::fail("it would hold of everything"));
        };
        prop_assert!(tags.iter().all(String::is_empty));
    }
}
