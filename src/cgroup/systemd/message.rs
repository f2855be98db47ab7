//! D-Bus messages: as much of the wire format as talking to systemd takes. See "Message Protocol" and "Type System" in
//! the D-Bus specification, <https://dbus.freedesktop.org/doc/dbus-specification.html>.
//!
//! Both ends are on one machine: messages are in its own byte order.

use std::io;

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call = 1,
    Return = 2,
    Error = 3,
    Signal = 4,
}

/// A value of a unit's property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    U64(u64),
    Text(String),
    Bytes(Vec<u8>),
    U32s(Vec<u32>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::U64(_) => "t",
            Self::Text(_) => "s",
            Self::Bytes(_) => "ay",
            Self::U32s(_) => "au",
        }
    }
}

/// What is sent, or was received.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) serial: u32,
    /// The serial of the call that this answers.
    pub(super) reply_to: Option<u32>,
    pub(super) path: String,
    pub(super) interface: String,
    pub(super) member: String,
    pub(super) destination: String,
    pub(super) error_name: String,
    /// The types of what is in the body.
    pub(super) signature: String,
    pub(super) body: Vec<u8>,
}

/// The length of a header's part that is always there.
pub(super) const FIXED: usize = 16;
const VERSION: u8 = 1;
const ENDIAN: u8 = if cfg!(target_endian = "little") { b'l' } else { b'B' };
/// The specification's limit on a message.
const LARGEST: usize = 128 << 20;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

impl Message {
    pub(super) fn new(kind: Kind, serial: u32) -> Self {
        Self {
            kind,
            serial,
            reply_to: None,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            destination: String::new(),
            error_name: String::new(),
            signature: String::new(),
            body: Vec::new(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.bytes.extend([ENDIAN, self.kind as u8, 0, VERSION]);
        out.u32(self.body.len() as u32);
        out.u32(self.serial);
        out.array(8, |fields| {
            for (code, of_type, text) in [
                (PATH, "o", &self.path),
                (INTERFACE, "s", &self.interface),
                (MEMBER, "s", &self.member),
                (ERROR_NAME, "s", &self.error_name),
                (DESTINATION, "s", &self.destination),
                (SIGNATURE, "g", &self.signature),
            ] {
                if text.is_empty() {
                    continue;
                }
                fields.align(8);
                fields.bytes.push(code);
                fields.signature(of_type);
                match code {
                    SIGNATURE => fields.signature(text),
                    _ => fields.text(text),
                }
            }
            if let Some(serial) = self.reply_to {
                fields.align(8);
                fields.bytes.push(REPLY_SERIAL);
                fields.signature("u");
                fields.u32(serial);
            }
        });
        out.align(8);
        out.bytes.extend(&self.body);
        out.bytes
    }

    /// How long a message with these first bytes is in all.
    ///
    /// # Errors
    /// When they do not begin a message.
    pub(super) fn length(fixed: &[u8; FIXED]) -> io::Result<usize> {
        if fixed[0] != ENDIAN || fixed[3] != VERSION {
            return Err(malformed());
        }
        let mut rest = Reader { bytes: fixed, at: 4 };
        let body = rest.u32()? as usize;
        let _serial = rest.u32()?;
        let fields = rest.u32()? as usize;
        match FIXED.checked_add(fields).map(|end| end.next_multiple_of(8)) {
            Some(header) if header.saturating_add(body) <= LARGEST => Ok(header + body),
            _ => Err(malformed()),
        }
    }

    /// # Errors
    /// When `bytes` are not a message, or one of a kind that is not known here.
    pub(super) fn decode(bytes: &[u8]) -> io::Result<Self> {
        let kind = match bytes.get(1) {
            Some(1) => Kind::Call,
            Some(2) => Kind::Return,
            Some(3) => Kind::Error,
            Some(4) => Kind::Signal,
            _ => return Err(malformed()),
        };
        let mut reader = Reader { bytes, at: 8 };
        let mut message = Self::new(kind, reader.u32()?);
        let end = reader.u32()? as usize + FIXED;
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            match (code, reader.signature()?.as_str()) {
                (PATH, "o") => message.path = reader.text()?,
                (INTERFACE, "s") => message.interface = reader.text()?,
                (MEMBER, "s") => message.member = reader.text()?,
                (ERROR_NAME, "s") => message.error_name = reader.text()?,
                (DESTINATION, "s") => message.destination = reader.text()?,
                (SIGNATURE, "g") => message.signature = reader.signature()?,
                (REPLY_SERIAL, "u") => message.reply_to = Some(reader.u32()?),
                // Others there are: the sender's name, a number of descriptors.
                (_, "o" | "s") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.u32()?),
                _ => return Err(malformed()),
            }
        }
        reader.align(8);
        message.body = bytes.get(reader.at..).ok_or_else(malformed)?.to_vec();
        Ok(message)
    }

    /// The arguments.
    pub(super) fn arguments(&self) -> Reader<'_> {
        Reader { bytes: &self.body, at: 0 }
    }
}

/// Lays values out, each aligned to its size from where a message or its body begins.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_ne_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.u32(value.into());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(text.len() as u8);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    /// The length in bytes, which does not count the padding before the first element.
    fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length = self.bytes.len() - 4;
        self.align(alignment);
        let begin = self.bytes.len();
        elements(self);
        let written = (self.bytes.len() - begin) as u32;
        self.bytes[length..length + 4].copy_from_slice(&written.to_ne_bytes());
    }

    /// Properties by name: `a(sv)`.
    pub(super) fn properties<'a>(
        &mut self,
        properties: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) {
        self.array(8, |out| {
            for (name, value) in properties {
                out.align(8);
                out.text(name);
                out.variant(value);
            }
        });
    }

    /// An array of structures without any element: `a(…)`.
    pub(super) fn no_structures(&mut self) {
        self.array(8, |_| {});
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.bool(*value),
            Value::U64(value) => {
                self.align(8);
                self.bytes.extend(value.to_ne_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::Bytes(bytes) => self.array(1, |out| out.bytes.extend(bytes)),
            Value::U32s(values) => self.array(4, |out| values.iter().for_each(|v| out.u32(*v))),
        }
    }
}

/// Reads values in the order in which they were written.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> io::Result<&[u8]> {
        let end = self.at.checked_add(length).ok_or_else(malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or_else(malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> io::Result<u8> {
        self.take(1).map(|byte| byte[0])
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        self.align(4);
        self.take(4)?.try_into().map(u32::from_ne_bytes).map_err(|_| malformed())
    }

    /// A string, or the path of an object.
    pub(super) fn text(&mut self) -> io::Result<String> {
        let length = self.u32()? as usize;
        self.terminated(length)
    }

    pub(super) fn signature(&mut self) -> io::Result<String> {
        let length = self.byte()?.into();
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> io::Result<String> {
        let text = String::from_utf8(self.take(length)?.to_vec()).map_err(|_| malformed())?;
        self.byte()?;
        Ok(text)
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not a D-Bus message of this machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let mut body = Writer::default();
        body.text("a.scope");
        body.u32(7);
        let sent = Message {
            reply_to: Some(3),
            path: "/a/b".to_owned(),
            interface: "a.B".to_owned(),
            member: "Done".to_owned(),
            destination: ":1.2".to_owned(),
            error_name: "a.Error".to_owned(),
            signature: "su".to_owned(),
            body: body.bytes,
            ..Message::new(Kind::Error, 9)
        };
        let bytes = sent.encode();
        assert_eq!(Message::length(bytes.first_chunk().unwrap()).unwrap(), bytes.len());
        let read = Message::decode(&bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{sent:?}"));
        let mut arguments = read.arguments();
        assert_eq!(arguments.text().unwrap(), "a.scope");
        assert_eq!(arguments.u32().unwrap(), 7);
        assert!(arguments.u32().is_err(), "there is no third argument");
    }

    /// Worked out by hand from the specification.
    #[test]
    #[cfg(target_endian = "little")]
    fn properties_are_laid_out_as_specified() {
        let mut out = Writer::default();
        let (pids, slice) = (Value::U32s(vec![5]), Value::Text("s".to_owned()));
        out.properties([("PIDs", &pids), ("S", &slice)]);
        out.no_structures();
        let mut expected = vec![42, 0, 0, 0, 0, 0, 0, 0]; // the length in bytes; padding to 8
        expected.extend(b"\x04\0\0\0PIDs\0"); // a name
        expected.extend(b"\x02au\0\0\0\0"); // its type; padding to 4, at 24
        expected.extend([4, 0, 0, 0, 5, 0, 0, 0]); // an array of 4 bytes, and those
        expected.extend(b"\x01\0\0\0S\0"); // at 32, a multiple of 8: the next name
        expected.extend(b"\x01s\0\0\0\0"); // its type; padding to 4, at 44
        expected.extend(b"\x01\0\0\0s\0");
        expected.extend([0, 0]); // padding to 4, at 52
        expected.extend([0, 0, 0, 0]); // no structures, and no padding, at 56
        assert_eq!(out.bytes, expected);
    }

    #[test]
    fn what_is_cut_short_or_foreign_is_refused() {
        let message = Message { path: "/".to_owned(), ..Message::new(Kind::Signal, 1) };
        let bytes = message.encode();
        for end in 1..bytes.len() {
            assert!(Message::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        let mut foreign = bytes.clone();
        foreign[0] ^= b'l' ^ b'B';
        assert!(Message::length(foreign.first_chunk().unwrap()).is_err());
        let mut large = bytes;
        large[4..8].fill(0xff);
        assert!(Message::length(large.first_chunk().unwrap()).is_err());
    }
}
