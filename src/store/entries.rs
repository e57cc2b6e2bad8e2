//! Entries of a Redis stream, as `XRANGE` and its kin give them.
//!
//! redis-rs turns every entry into a map of values; a log is read by the ten thousand rows, so here the parts are moved
//! out of the answer instead, and an entry that has none of the fields asked for is simply without them.
//! Source: Redis command page `XRANGE`, "Return value".

use redis::{FromRedisValue, ParsingError, Value};

use crate::domain::EntryId;

/// One entry.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// Names and values, one after the other.
    fields: Vec<Value>,
}

impl Entry {
    /// Moves the value of field `name` out, as text. `None` when there is no such field or it is not UTF-8.
    pub fn text(&mut self, name: &str) -> Option<String> {
        String::from_utf8(self.bytes(name)?).ok()
    }

    /// Moves the value of field `name` out. `None` when there is no such field.
    pub fn bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        let is_it = |field: &Value| matches!(field, Value::BulkString(bytes) if bytes == name.as_bytes());
        let at = self.fields.iter().step_by(2).position(is_it)? * 2 + 1;
        match std::mem::replace(self.fields.get_mut(at)?, Value::Nil) {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl FromRedisValue for Entry {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let Value::Array(parts) = value else { return Err("a stream entry is an array".into()) };
        let mut parts = parts.into_iter();
        let (Some(Value::BulkString(id)), Some(Value::Array(fields)), None) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err("a stream entry is an id and an array of fields".into());
        };
        let id = std::str::from_utf8(&id).ok().and_then(|text| text.parse().ok());
        Ok(Self { id: id.ok_or("a stream entry has an id")?, fields })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn an_entry_gives_its_fields_once() {
        let fields = Value::Array(vec![text("a"), text("1"), text("b"), text("a")]);
        let mut entry = Entry::from_redis_value(Value::Array(vec![text("7-2"), fields])).unwrap();
        assert_eq!(entry.id, EntryId { ms: 7, seq: 2 });
        assert_eq!(entry.text("b").as_deref(), Some("a"), "a value is not taken for a name");
        assert_eq!(entry.text("a").as_deref(), Some("1"));
        assert_eq!(entry.text("a"), None);
        assert_eq!(entry.text("c"), None);
    }

    #[test]
    fn anything_else_is_refused() {
        let no_id = Value::Array(vec![text("x"), Value::Array(vec![])]);
        for bad in [Value::Nil, Value::Array(vec![text("1-1")]), no_id] {
            assert!(Entry::from_redis_value(bad).is_err());
        }
    }
}
