//! Messages of OTLP, written as protobuf or as JSON: one description for both.
//!
//! What is sent is one kind of message with some twenty fields, so that it is written here rather than by generated code.

use serde_json::{Map, Value as Json};

use super::super::context::Hex;

/// A field: its number, its name in JSON, and what is in it.
pub(super) struct Field(pub(super) u32, pub(super) &'static str, pub(super) Value);

/// What a field holds.
pub(super) enum Value {
    Text(String),
    /// Hexadecimal in JSON, as the protocol has it for identifiers.
    Bytes(Vec<u8>),
    /// 64 bits, of which JSON has a text.
    Fixed(u64),
    /// The same of variable length.
    Integer(u64),
    Enum(u64),
    Message(Vec<Field>),
    /// The field is there as often.
    Repeated(Vec<Vec<Field>>),
}

/// As protobuf.
pub(super) fn protobuf(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field(number, _, value) in fields {
        match value {
            Value::Text(text) => delimited(&mut bytes, *number, text.as_bytes()),
            Value::Bytes(inner) => delimited(&mut bytes, *number, inner),
            Value::Fixed(value) => {
                tag(&mut bytes, *number, 1);
                bytes.extend(value.to_le_bytes());
            }
            Value::Integer(value) | Value::Enum(value) => {
                tag(&mut bytes, *number, 0);
                varint(&mut bytes, *value);
            }
            Value::Message(inner) => delimited(&mut bytes, *number, &protobuf(inner)),
            Value::Repeated(all) => {
                all.iter().for_each(|inner| delimited(&mut bytes, *number, &protobuf(inner)));
            }
        }
    }
    bytes
}

fn delimited(bytes: &mut Vec<u8>, number: u32, inner: &[u8]) {
    tag(bytes, number, 2);
    varint(bytes, inner.len() as u64);
    bytes.extend(inner);
}

fn tag(bytes: &mut Vec<u8>, number: u32, kind: u64) {
    varint(bytes, u64::from(number) << 3 | kind);
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// As JSON.
pub(super) fn json(fields: Vec<Field>) -> Json {
    let object = fields.into_iter().map(|Field(_, name, value)| {
        let value = match value {
            Value::Text(text) => Json::String(text),
            Value::Bytes(bytes) => Json::String(Hex(&bytes).to_string()),
            Value::Fixed(value) | Value::Integer(value) => Json::String(value.to_string()),
            Value::Enum(value) => value.into(),
            Value::Message(inner) => json(inner),
            Value::Repeated(all) => all.into_iter().map(json).collect(),
        };
        (name.to_owned(), value)
    });
    Json::Object(object.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<Field> {
        vec![
            Field(1, "id", Value::Bytes(vec![0xab, 1])),
            Field(2, "n", Value::Integer(300)),
            Field(16, "many", Value::Repeated(vec![vec![Field(1, "a", Value::Text("b".into()))]])),
            Field(7, "at", Value::Fixed(258)),
        ]
    }

    #[test]
    fn bytes_are_those_of_protobuf() {
        // By the description of the encoding: each has its number and kind, then its length or its value.
        let expected = [
            &[0x0a, 2, 0xab, 1][..],
            &[0x10, 0xac, 2],
            &[0x82, 1, 3, 0x0a, 1, b'b'],
            &[0x39, 2, 1, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(protobuf(&example()), expected.concat());
    }

    #[test]
    fn json_has_names_and_texts() {
        let expected = r#"{"at":"258","id":"ab01","many":[{"a":"b"}],"n":"300"}"#;
        assert_eq!(json(example()).to_string(), expected);
    }
}
