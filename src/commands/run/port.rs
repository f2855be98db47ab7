//! `--publish`: ports on which the guest may listen. It listens in the node's own network, so nothing is translated.

use std::str::FromStr;

use super::args::Network;

/// Ports of one protocol, first and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Published {
    first: u16,
    last: u16,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

impl FromStr for Published {
    type Err = String;

    /// Reads `[[IP:]HOST:]CONTAINER[/PROTOCOL]` as Docker does, and refuses what would have to be translated.
    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.split('/').next().unwrap_or(text), Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => {
                return Err(format!("{text:?}: the protocol {other:?} is neither tcp nor udp"));
            }
        };
        let (outside, inside) = match ports.rsplit_once(':') {
            None => (None, ports),
            Some((outside, inside)) => (Some(outside), inside),
        };
        let (address, outside) = match outside.map(|outside| outside.rsplit_once(':')) {
            None => (None, None),
            Some(None) => (None, outside),
            Some(Some((address, port))) => (Some(address), Some(port)),
        };
        if !matches!(address, None | Some("0.0.0.0" | "[::]" | "")) {
            return Err(format!(
                "{text:?}: the guest itself chooses the address it listens at, as nothing is translated for it; \
                 leave {:?} away",
                address.unwrap_or_default()
            ));
        }
        let (first, last) = range(text, inside)?;
        // Alone, it is the port at which the guest is reached: none is chosen in its place.
        let outside = outside.unwrap_or(inside);
        if range(text, outside)? != (first, last) {
            return Err(format!(
                "{text:?}: ports are not translated, as the guest is in the node's own network: have it listen on \
                 {outside} and write -p {outside}:{outside}"
            ));
        }
        Ok(Self { first, last, protocol })
    }
}

fn range(text: &str, ports: &str) -> Result<(u16, u16), String> {
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |port: &str| match port.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?}: {port:?} is not a port, 1 to 65535")),
        Ok(port) => Ok(port),
    };
    let (first, last) = (port(first)?, port(last)?);
    match first <= last {
        true => Ok((first, last)),
        false => Err(format!("{text:?}: {ports:?} ends before it begins")),
    }
}

/// The ports as an image's configuration lists them, `8080/tcp,53/udp`, if there are any.
pub(super) fn exposed(published: &[Published]) -> Option<String> {
    let list = published.iter().flat_map(|Published { first, last, protocol }| {
        let protocol = if *protocol == Protocol::Tcp { "tcp" } else { "udp" };
        (*first..=*last).map(move |port| format!("{port}/{protocol}"))
    });
    let list: Vec<_> = list.collect();
    (!list.is_empty()).then(|| list.join(","))
}

/// What the guest's sockets are limited to in `network`: annotations, and their values.
///
/// # Errors
/// When the network has no ports that anybody could come to.
pub(super) fn annotations(
    published: &[Published],
    network: Network,
) -> Result<Vec<(&'static str, String)>, String> {
    let list = |wanted: Protocol| {
        let of_it = published.iter().filter(|ports| ports.protocol == wanted);
        of_it
            .map(|Published { first, last, .. }| format!("{first}-{last}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    match network {
        Network::Default => Ok(vec![
            ("io.lighter.network.tcp-bind", list(Protocol::Tcp)),
            ("io.lighter.network.udp-bind", list(Protocol::Udp)),
        ]),
        Network::None if !published.is_empty() => {
            Err("--publish: with --network none nobody could come to the port".to_owned())
        }
        // All ports are open in either: the node's, and those of nobody.
        Network::Host | Network::None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Published, String> {
        text.parse()
    }

    #[test]
    fn what_needs_no_translation_is_published() {
        let published = ["8080:8080", "0.0.0.0:53:53/udp", "9000-9010:9000-9010/tcp", "81"];
        let published = published.map(|text| read(text).unwrap());
        assert_eq!(
            annotations(&published, Network::Default).unwrap(),
            [
                ("io.lighter.network.tcp-bind", "8080-8080,9000-9010,81-81".to_owned()),
                ("io.lighter.network.udp-bind", "53-53".to_owned())
            ]
        );
        assert_eq!(exposed(&published[..2]).as_deref(), Some("8080/tcp,53/udp"));
        assert_eq!(exposed(&[]), None);
        assert!(annotations(&published, Network::Host).unwrap().is_empty());
        assert!(annotations(&published, Network::None).is_err());
        assert!(annotations(&[], Network::None).is_ok());
    }

    #[test]
    fn what_needs_it_is_refused_with_what_to_type() {
        for (text, words) in [
            ("8080:80", "-p 8080:8080"),
            ("127.0.0.1:80:80", "leave \"127.0.0.1\" away"),
            ("0:0", "\"0\" is not a port"),
            ("http:http", "\"http\" is not a port"),
            ("9-8:9-8", "ends before it begins"),
            ("80:80/sctp", "\"sctp\""),
            ("", "\"\" is not a port"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words) && error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
