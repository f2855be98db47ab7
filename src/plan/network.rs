//! Which ports a guest's sockets may use.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Ports that a guest may use; `None` is all of them. Addresses are the network namespace's to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Local ports of TCP servers. The kernel holds these two as well, where it can: [`super::Landlock`].
    pub tcp_bind: Option<Ports>,
    /// Remote ports of TCP connections.
    pub tcp_connect: Option<Ports>,
    /// Local ports of UDP sockets.
    pub udp_bind: Option<Ports>,
    /// Remote ports that UDP datagrams may be sent to.
    pub udp_send: Option<Ports>,
}

impl Network {
    /// Whether any port of TCP is out of bounds.
    pub fn limits_tcp(&self) -> bool {
        self.tcp_bind.is_some() || self.tcp_connect.is_some()
    }
}

/// A set of ports: ranges, first and last, in order and apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports(Vec<(u16, u16)>);

impl Ports {
    /// The kernel has one rule for each port, so that a set has its price.
    const MOST: usize = 4096;

    /// Whether `port` is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// Every port of the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }
}

impl FromStr for Ports {
    type Err = String;

    /// Reads `8080,9000-9010`; nothing at all is the empty set.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.trim().parse() {
            Ok(0) | Err(_) => Err(format!("{text:?} is not a port, 1 to 65535")),
            Ok(port) => Ok(port),
        };
        let mut ranges = Vec::new();
        for part in text.split(',').filter(|_| !text.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u16, u16) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("{part:?} ends before it begins"));
            }
            ranges.push((first, last));
        }
        ranges.sort_unstable();
        let mut apart: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match apart.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => apart.push((first, last)),
            }
        }
        let ports = Self(apart);
        match ports.iter().count() {
            ..=Self::MOST => Ok(ports),
            count => Err(format!("it names {count} ports, more than {}", Self::MOST)),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_any_order() {
        let ports: Ports = "9000-9010, 8080,9005-9020,9021".parse().unwrap();
        assert_eq!(ports.to_string(), "8080,9000-9021");
        assert!(ports.contains(8080) && ports.contains(9000) && ports.contains(9021));
        assert!(!ports.contains(8081) && !ports.contains(9022) && !ports.contains(0));
        assert_eq!(ports.iter().count(), 23);
    }

    #[test]
    fn nothing_is_no_port() {
        let none: Ports = "".parse().unwrap();
        assert_eq!((none.iter().count(), none.to_string()), (0, String::new()));
    }

    #[test]
    fn what_is_no_port_is_named() {
        for (text, word) in [
            ("0", "\"0\""),
            ("65536", "\"65536\""),
            ("80,", "\"\""),
            ("http", "\"http\""),
            ("90-80", "\"90-80\""),
            ("1-65535", "65535 ports"),
        ] {
            let error = text.parse::<Ports>().unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert_eq!("65535".parse::<Ports>().unwrap().to_string(), "65535");
    }
}
