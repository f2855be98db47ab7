//! W3C trace context: <https://www.w3.org/TR/trace-context/>.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::local;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

const SAMPLED: u8 = 1;
/// What is known of the flags: sampled, and that the trace's identifier is random.
const KNOWN_FLAGS: u8 = 3;
/// Members of a `tracestate`.
const MOST_MEMBERS: usize = 32;

/// One operation of a trace: of its identifiers none is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    flags: u8,
}

/// What the sender of a request says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) context: Context,
    /// Its `traceparent`, as it came.
    pub(super) parent: HeaderValue,
    pub(super) state: Option<HeaderValue>,
}

impl Context {
    /// The beginning of a trace.
    pub(super) fn random() -> Self {
        let mut trace = [0; 16];
        trace[..8].copy_from_slice(&local::random().to_be_bytes());
        trace[8..].copy_from_slice(&local::random().to_be_bytes());
        Self { trace, span: local::random().to_be_bytes(), flags: 0 }
    }

    /// Another operation of the same trace.
    pub(super) fn child(self) -> Self {
        Self { span: local::random().to_be_bytes(), ..self }
    }

    pub(super) fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    pub(super) fn sampled(self, sampled: bool) -> Self {
        Self { flags: self.flags & !SAMPLED | u8::from(sampled), ..self }
    }

    /// Reads a `traceparent`: of version 00, or what a later one has of it.
    fn parse(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(55)?;
        let fields: Vec<_> = head.split(|byte| *byte == b'-').collect();
        let [version, trace, span, flags] = fields[..] else { return None };
        let [version] = hex(version)?;
        let well_ended = rest.is_empty() || version > 0 && rest.first() == Some(&b'-');
        let [flags] = hex(flags)?;
        let context = Self { trace: hex(trace)?, span: hex(span)?, flags: flags & KNOWN_FLAGS };
        let zero = context.trace == [0; 16] || context.span == [0; 8];
        (version != 0xff && well_ended && !zero).then_some(context)
    }

    /// As the value of a `traceparent`.
    pub(super) fn header(self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.to_string()).ok()
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", Hex(&self.trace), Hex(&self.span), self.flags)
    }
}

/// Bytes, as they are written in traces.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What `headers` say of the sender, if that is as it should be. A state without a parent says nothing.
pub(super) fn received(headers: &HeaderMap) -> Option<Received> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
    let context = Context::parse(parent.as_bytes())?;
    Some(Received { context, parent: parent.clone(), state: state(headers) })
}

/// All of the `tracestate`, in one line; `None` if there is none, or if it is not as it should be.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines: Vec<_> = headers.get_all(TRACESTATE).iter().map(HeaderValue::as_bytes).collect();
    let joined = lines.join(&b","[..]);
    let members = joined.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let members: Vec<_> = members.filter(|member| !member.is_empty()).collect();
    let well_formed = members.iter().all(|member| is_member(member));
    let fits = (1..=MOST_MEMBERS).contains(&members.len());
    (well_formed && fits).then(|| HeaderValue::from_bytes(&members.join(&b","[..])).ok()).flatten()
}

/// Whether it is `key=value`.
fn is_member(member: &[u8]) -> bool {
    let Some(equals) = member.iter().position(|byte| *byte == b'=') else { return false };
    let (key, value) = (&member[..equals], &member[equals + 1..]);
    let of_key =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(byte);
    let of_value = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'=';
    let begins = key.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    begins
        && key.len() <= 256
        && key.iter().all(of_key)
        && (1..=256).contains(&value.len())
        && value.iter().all(of_value)
}

/// Exactly `N` bytes in small hexadecimal digits.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_parent_is_read_and_written() {
        let context = Context::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(context.to_string(), GOOD);
        assert!(context.is_sampled());
        let child = context.child().sampled(false);
        assert_eq!((child.trace, child.is_sampled()), (context.trace, false));
        assert_ne!(child.span, context.span);
        assert_eq!(child.to_string().len(), 55);
        // A later version may go on, and has flags that this one does not know.
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-what.will-be";
        assert_eq!(Context::parse(later.as_bytes()).unwrap().flags, 3);
    }

    #[test]
    fn what_is_no_parent_is_none() {
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            assert_eq!(Context::parse(text.as_bytes()), None, "{text}");
        }
        let twice = headers(&[("traceparent", GOOD), ("traceparent", GOOD)]);
        assert_eq!(received(&twice), None);
        assert_eq!(received(&headers(&[("tracestate", "a=1")])), None);
    }

    #[test]
    fn the_state_goes_with_its_parent() {
        let state = |values: &[&'static str]| {
            let values = values.iter().map(|value| ("tracestate", *value));
            let all: Vec<_> = [("traceparent", GOOD)].into_iter().chain(values).collect();
            received(&headers(&all)).unwrap().state
        };
        let is = |text: &'static str| Some(HeaderValue::from_static(text));
        assert_eq!(state(&[]), None);
        assert_eq!(state(&["a=1, b@c=x y"]), is("a=1,b@c=x y"));
        assert_eq!(state(&["a=1,,", "b=2"]), is("a=1,b=2"));
        for malformed in ["a", "=1", "A=1", "a=", "a=b=c", "a b=1"] {
            assert_eq!(state(&[malformed]), None, "{malformed}");
        }
        let many: String = (0..33).map(|n| format!("k{n}=v,")).collect();
        assert_eq!(state(&[String::leak(many)]), None);
    }
}
