//! Amounts as Docker's command line has them.

/// A number of bytes: `64m`, `1.5g`, `512kb`, `1GiB`, `1000000`; units are powers of 1024. See `RAMInBytes` of docker/go-units.
pub(super) fn bytes(text: &str) -> Result<i64, String> {
    let malformed = || format!("{text:?} is not a size such as \"64m\", \"1.5g\" or \"1000000\"");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(malformed()),
    };
    let number: f64 = number.parse().map_err(|_| malformed())?;
    let bytes = number * (1_i64 << shift) as f64;
    match bytes < i64::MAX as f64 {
        true => Ok(bytes as i64),
        false => Err(format!("{text:?} is too large")),
    }
}

/// What memory and swap may be together: a size, or −1 for no limit.
pub(super) fn memory_and_swap(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// Processors, `1.5` of them, as microseconds in each tenth of a second.
pub(super) fn cpus(text: &str) -> Result<i64, String> {
    let cpus: f64 = text.parse().ok().filter(|cpus: &f64| cpus.is_finite()).ok_or_else(|| {
        format!("{text:?} is not a number of processors such as \"0.5\" or \"2\"")
    })?;
    let quota = (cpus * CPU_PERIOD as f64).round() as i64;
    match quota {
        // Less than that the kernel does not take.
        1000.. => Ok(quota),
        _ => Err(format!("{text:?} is less than 0.01")),
    }
}

/// Microseconds over which processor time is counted.
pub(super) const CPU_PERIOD: u64 = 100_000;

/// How many processes there may be; −1 and 0 are no limit.
pub(super) fn pids(text: &str) -> Result<i64, String> {
    match text.parse() {
        Ok(-1 | 0) => Ok(-1),
        Ok(limit @ 1..) => Ok(limit),
        _ => Err(format!("{text:?} is neither a number of processes nor -1, which is no limit")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, value) in [
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("1.5g", 3 << 29),
            ("512kb", 512 << 10),
            ("1GiB", 1 << 30),
            ("1000000", 1_000_000),
            ("7b", 7),
            ("1 k", 1024),
        ] {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
        for text in ["", "m", "-1", "64x", "1..5m", "64 mm", "lots", "99999999p"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!(memory_and_swap("-1"), Ok(-1));
    }

    #[test]
    fn processors_are_quotas() {
        assert_eq!((cpus("1.5"), cpus("0.01")), (Ok(150_000), Ok(1000)));
        for text in ["0", "0.001", "-1", "inf", "two", ""] {
            assert!(cpus(text).is_err(), "{text}");
        }
        assert_eq!((pids("-1"), pids("0"), pids("7")), (Ok(-1), Ok(-1), Ok(7)));
        assert!(pids("-2").is_err() && pids("few").is_err());
    }
}
