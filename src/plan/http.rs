//! How a component that exports `wasi:http/incoming-handler` is served.
//!
//! What the entrypoint is, is known only once it has been opened inside the container: every plan has this, and it
//! counts for those that turn out to be servers.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The port where nothing says another.
pub const DEFAULT_PORT: u16 = 8080;

/// What a server needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where it listens, or, as half a sentence, why that cannot be known.
    pub address: Result<HttpAddress, String>,
    /// Where its health and its metrics are asked for; `None`: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<HttpAddress>,
    /// What differs from [`HttpSetting::default_value`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<HttpSetting, u64>,
    /// Threads that run requests at most, where the bundle's limits on processors or processes say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processors: Option<u32>,
    /// Processes and threads that there may be, where the bundle says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
}

impl Default for Http {
    fn default() -> Self {
        let address = Ok(HttpAddress::default());
        let settings = BTreeMap::new();
        Self { address, admin: None, settings, processors: None, processes: None }
    }
}

impl Http {
    /// How much of `setting` there is, in its own unit.
    pub fn get(&self, setting: HttpSetting) -> u64 {
        self.settings.get(&setting).copied().unwrap_or(setting.default_value())
    }
}

/// Where a server listens: a port, and an address if not all of the container's are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpAddress {
    /// The address; `None` for all, of both versions of IP.
    pub ip: Option<IpAddr>,
    /// The port of TCP.
    pub port: u16,
}

impl Default for HttpAddress {
    fn default() -> Self {
        Self { ip: None, port: DEFAULT_PORT }
    }
}

impl HttpAddress {
    /// The address to bind a socket to.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.ip.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), self.port)
    }

    /// Reads an address, or `off`.
    ///
    /// # Errors
    /// Half a sentence that goes on after the value.
    pub fn parse_or_off(text: &str) -> Result<Option<Self>, String> {
        match text {
            "off" => Ok(None),
            _ => text.parse().map(Some),
        }
    }
}

impl FromStr for HttpAddress {
    type Err = String;

    /// Reads `8080`, `:8080`, `127.0.0.1:8080` or `[::1]:8080`.
    fn from_str(text: &str) -> Result<Self, String> {
        let read = match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
            Ok(port) => Some(Self { ip: None, port }),
            Err(_) => text
                .parse::<SocketAddr>()
                .ok()
                .map(|address| Self { ip: Some(address.ip()), port: address.port() }),
        };
        read.filter(|address| address.port != 0).ok_or_else(|| {
            "it is neither a port nor an address with one, such as \"8080\" or \"127.0.0.1:8080\""
                .to_owned()
        })
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => SocketAddr::new(ip, self.port).fmt(f),
            None => write!(f, ":{}", self.port),
        }
    }
}

impl TryFrom<String> for HttpAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HttpAddress> for String {
    fn from(address: HttpAddress) -> Self {
        address.to_string()
    }
}

/// What can be set of a server, each an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpSetting {
    /// Requests that run at the same time.
    Concurrency,
    /// Requests that wait for that.
    Queue,
    /// Milliseconds that a request may take, waiting included.
    RequestTimeout,
    /// Milliseconds that a connection may be silent while no request of it runs.
    IdleTimeout,
    /// Milliseconds that requests under way have to end when the container is stopped.
    Grace,
    /// Bytes of a request's head.
    HeaderBytes,
    /// Bytes of a request's body; 0 is any number.
    BodyBytes,
    /// Bytes of memories and tables that one request's instance may have.
    Memory,
    /// Requests that one instance serves, one after the other.
    RequestsPerInstance,
    /// Connections for requests of the guest's own at the same time; commands have them, too.
    Outgoing,
    /// Connections of clients that are open at the same time.
    Connections,
    /// Milliseconds of processor time that one request may take; 0 is any number.
    CpuTime,
    /// The access log has one of so many requests; 0: none.
    AccessLog,
    /// Whether components of WASI 0.3 are served: 0 or 1.
    P3,
    /// Requests that an instance of one of those serves at the same time.
    RequestsAtOnce,
}

/// The unit of a setting.
#[cfg(feature = "supervisor")]
enum Unit {
    Bytes,
    Milliseconds,
    Count,
    OneOf,
    Switch,
}

impl HttpSetting {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Concurrency,
        Self::Queue,
        Self::RequestTimeout,
        Self::IdleTimeout,
        Self::Grace,
        Self::HeaderBytes,
        Self::BodyBytes,
        Self::Memory,
        Self::RequestsPerInstance,
        Self::Outgoing,
        Self::Connections,
        Self::CpuTime,
        Self::AccessLog,
        Self::P3,
        Self::RequestsAtOnce,
    ];

    /// Its name in annotations and messages, such as `idle-timeout`. The configuration has `_` for `-`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Queue => "queue",
            Self::RequestTimeout => "request-timeout",
            Self::IdleTimeout => "idle-timeout",
            Self::Grace => "grace",
            Self::HeaderBytes => "header-bytes",
            Self::BodyBytes => "body-bytes",
            Self::Memory => "memory",
            Self::RequestsPerInstance => "requests-per-instance",
            Self::Outgoing => "outgoing",
            Self::Connections => "connections",
            Self::CpuTime => "cpu-time",
            Self::AccessLog => "access-log",
            Self::P3 => "p3",
            Self::RequestsAtOnce => "requests-at-once",
        }
    }

    /// The annotation that sets it.
    pub fn annotation(self) -> String {
        format!("io.lighter.http.{}", self.name())
    }

    /// What holds where nobody says anything.
    pub fn default_value(self) -> u64 {
        match self {
            Self::Concurrency => 64,
            Self::Queue => 256,
            Self::RequestTimeout => 60_000,
            Self::IdleTimeout => 60_000,
            Self::Grace => 10_000,
            Self::HeaderBytes => 64 << 10,
            Self::BodyBytes => 0,
            Self::Memory => 128 << 20,
            Self::RequestsPerInstance => 1,
            Self::Outgoing => 256,
            Self::Connections => 1024,
            Self::CpuTime => 30_000,
            Self::AccessLog | Self::P3 => 0,
            Self::RequestsAtOnce => 1,
        }
    }

    /// What it may be, in its own unit.
    #[cfg(feature = "supervisor")]
    fn range(self) -> std::ops::RangeInclusive<u64> {
        match self {
            // Each has 4 GiB of address space for each of its memories.
            Self::Concurrency => 1..=1000,
            Self::Queue => 0..=65_536,
            Self::RequestTimeout | Self::IdleTimeout => 1..=86_400_000,
            Self::Grace => 0..=3_600_000,
            // Less than the least is no request, and the most is what is read at once.
            Self::HeaderBytes => 8 << 10..=1 << 20,
            Self::BodyBytes => 0..=u64::MAX,
            Self::Memory => 64 << 10..=4 << 30,
            Self::RequestsPerInstance => 1..=u64::MAX,
            Self::Outgoing => 0..=65_536,
            Self::Connections => 1..=1_000_000,
            Self::CpuTime => 0..=86_400_000,
            Self::AccessLog => 0..=u64::from(u32::MAX),
            Self::P3 => 0..=1,
            Self::RequestsAtOnce => 1..=1000,
        }
    }

    #[cfg(feature = "supervisor")]
    fn unit(self) -> Unit {
        match self {
            Self::HeaderBytes | Self::BodyBytes | Self::Memory => Unit::Bytes,
            Self::RequestTimeout | Self::IdleTimeout | Self::Grace | Self::CpuTime => {
                Unit::Milliseconds
            }
            Self::Concurrency
            | Self::Queue
            | Self::RequestsPerInstance
            | Self::Connections
            | Self::Outgoing
            | Self::RequestsAtOnce => Unit::Count,
            Self::AccessLog => Unit::OneOf,
            Self::P3 => Unit::Switch,
        }
    }

    /// What `text` says: a quantity as Kubernetes has it, or a duration as Go has it.
    ///
    /// # Errors
    /// Half a sentence that goes on after the value.
    #[cfg(feature = "supervisor")]
    pub(crate) fn parse(self, text: &str) -> Result<u64, String> {
        let value = match self.unit() {
            Unit::Milliseconds => crate::quantity::milliseconds(text)?,
            Unit::Bytes | Unit::Count => crate::quantity::amount(text)?,
            Unit::OneOf => one_of(text)?,
            Unit::Switch => switch(text)?,
        };
        let range = self.range();
        if range.contains(&value) {
            return Ok(value);
        }
        let unit = match self.unit() {
            Unit::Bytes => " bytes",
            Unit::Milliseconds => " milliseconds",
            Unit::Count | Unit::OneOf | Unit::Switch => "",
        };
        Err(format!("it may be {} to {}{unit}", range.start(), range.end()))
    }
}

/// Reads `off`, `on` or `1/100`.
#[cfg(feature = "supervisor")]
fn one_of(text: &str) -> Result<u64, String> {
    let many = match text {
        "off" => Some(0),
        "on" => Some(1),
        _ => text.strip_prefix("1/").and_then(|many| many.parse().ok()).filter(|many| *many > 0),
    };
    many.ok_or_else(|| "it may be \"off\", \"on\", or a share such as \"1/100\"".to_owned())
}

/// Reads `off` or `on`.
#[cfg(feature = "supervisor")]
fn switch(text: &str) -> Result<u64, String> {
    match text {
        "off" => Ok(0),
        "on" => Ok(1),
        _ => Err("it may be \"off\" or \"on\"".to_owned()),
    }
}

#[cfg(all(test, feature = "supervisor"))]
mod tests {
    use super::*;

    #[test]
    fn shares_are_one_of_many() {
        for (text, many) in [("off", 0), ("on", 1), ("1/1", 1), ("1/100", 100)] {
            assert_eq!(HttpSetting::AccessLog.parse(text), Ok(many), "{text}");
        }
        for text in ["", "true", "2/3", "1/0", "1/x", "0.01", "1/99999999999"] {
            assert!(HttpSetting::AccessLog.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn switches_are_on_or_off() {
        assert_eq!(HttpSetting::P3.parse("on"), Ok(1));
        assert_eq!(HttpSetting::P3.parse("off"), Ok(0));
        for text in ["", "1", "true", "1/2"] {
            assert!(HttpSetting::P3.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_admin_address_may_be_none() {
        assert_eq!(HttpAddress::parse_or_off("off"), Ok(None));
        assert_eq!(HttpAddress::parse_or_off(":9090"), Ok(Some(":9090".parse().unwrap())));
        assert!(HttpAddress::parse_or_off("on").is_err());
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, ip, port) in [
            ("8080", None, 8080),
            (":80", None, 80),
            ("127.0.0.1:9000", Some("127.0.0.1"), 9000),
            ("[::1]:9000", Some("::1"), 9000),
        ] {
            let ip = ip.map(|ip| ip.parse().unwrap());
            let address: HttpAddress = text.parse().unwrap();
            assert_eq!(address, HttpAddress { ip, port }, "{text}");
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        for text in ["", "0", "70000", "localhost:80", "127.0.0.1", "tcp://10.0.0.1:80"] {
            assert!(text.parse::<HttpAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for setting in HttpSetting::ALL {
            let key = serde_json::to_string(&setting).unwrap();
            assert_eq!(key, format!("\"{}\"", setting.name().replace('-', "_")));
            assert!(setting.range().contains(&setting.default_value()), "{}", setting.name());
        }
    }
}
