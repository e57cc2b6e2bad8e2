//! JSON objects as they are written: members in order, names that come twice included, values unparsed.
//!
//! Source: RFC 8259, section 4: names should be unique; which of two counts is not defined, so whoever reads an object of a
//! client's must see both.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object, in order, values unparsed.
pub type Members<'a> = Vec<(String, &'a RawValue)>;

/// Splits an object into its members. Takes time in proportion to the text; values are walked without recursion.
///
/// # Errors
/// The text is not JSON, or not an object.
pub fn members(text: &[u8]) -> Result<Members<'_>, serde_json::Error> {
    struct InOrder;

    impl<'de> Visitor<'de> for InOrder {
        type Value = Members<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }

    let mut parser = serde_json::Deserializer::from_slice(text);
    let members = parser.deserialize_map(InOrder)?;
    parser.end().map(|()| members)
}

/// The unparsed elements of an array; `None` when it is none.
pub fn elements(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}
