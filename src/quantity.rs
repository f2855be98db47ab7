//! Amounts as people write them: quantities as Kubernetes has them, durations as Go has them.

/// A quantity, rounded up to a whole number: `64Mi`, `1G`, `1.5Gi`, `1e6`, `100`. See
/// "Resource quantities" in Kubernetes' reference.
///
/// # Errors
/// Half a sentence that goes on after the value.
pub(crate) fn amount(text: &str) -> Result<u64, String> {
    let malformed = || "it is not a quantity such as \"64Mi\", \"1G\" or \"100\"".to_owned();
    let (digits, places, suffix) = decimal(text).ok_or_else(malformed)?;
    let (multiplier, divisor) = match suffix {
        "" => (1, 1),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (10_u128.pow(6), 1),
        "G" => (10_u128.pow(9), 1),
        "T" => (10_u128.pow(12), 1),
        "P" => (10_u128.pow(15), 1),
        "E" => (10_u128.pow(18), 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        other => match other.strip_prefix(['e', 'E']).map(str::parse::<u8>) {
            Some(Ok(exponent @ ..=18)) => (10_u128.pow(exponent.into()), 1),
            _ => return Err(malformed()),
        },
    };
    scaled(digits, places, multiplier, divisor)
}

/// A duration in milliseconds, rounded up: `1h30m`, `1.5s`, `500ms`. See Go's `time.ParseDuration`.
///
/// # Errors
/// Half a sentence that goes on after the value.
pub(crate) fn milliseconds(text: &str) -> Result<u64, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("it has no unit; write \"{text}s\" for seconds"));
    }
    let malformed = || "it is not a duration such as \"30s\", \"500ms\" or \"1h30m\"".to_owned();
    let mut nanoseconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let (digits, places, after) = decimal(rest).ok_or_else(malformed)?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(malformed()),
        };
        nanoseconds =
            nanoseconds.checked_add(scaled(digits, places, unit, 1)?).ok_or_else(too_large)?;
        rest = next;
    }
    if text.is_empty() {
        return Err(malformed());
    }
    Ok(nanoseconds.div_ceil(1_000_000))
}

/// The decimal number that `text` begins with: its digits, how many of them are after the point, and the rest.
fn decimal(text: &str) -> Option<(u128, u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    // More digits than that are nobody's amount, and would not fit.
    if whole.len() + part.len() > 19 || part.contains('.') {
        return None;
    }
    let digits = format!("{whole}{part}").parse().ok()?;
    Some((digits, u32::try_from(part.len()).ok()?, rest))
}

fn scaled(digits: u128, places: u32, multiplier: u128, divisor: u128) -> Result<u64, String> {
    let divisor = divisor * 10_u128.pow(places);
    let product = digits.checked_mul(multiplier).ok_or_else(too_large)?;
    u64::try_from(product.div_ceil(divisor)).map_err(|_| too_large())
}

fn too_large() -> String {
    "it is too large".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        for (text, value) in [
            ("0", 0),
            ("100", 100),
            ("64Mi", 64 << 20),
            ("1.5Gi", 3 << 29),
            (".5Ki", 512),
            ("1G", 1_000_000_000),
            ("10k", 10_000),
            ("1e6", 1_000_000),
            ("2E3", 2000),
            ("1E", 1_000_000_000_000_000_000),
            ("128974848000m", 128_974_848),
            ("1500m", 2),
        ] {
            assert_eq!(amount(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "-1", "64MB", "64mi", "K", "1K", "Mi", "1.2.3", "1 Mi", "1e", "1e99", "x"]
        {
            assert!(amount(text).is_err(), "{text:?}");
        }
        assert_eq!(amount("100Ei").unwrap_err(), "it is too large");
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, value) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("1h0.5s", 3_600_500),
            ("1us", 1),
            ("0s", 0),
            ("100µs", 1),
        ] {
            assert_eq!(milliseconds(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "s", "-1s", "1d", "1 s", "1s2", "1..5s", "1sm"] {
            assert!(milliseconds(text).is_err(), "{text:?}");
        }
        assert_eq!(milliseconds("30").unwrap_err(), "it has no unit; write \"30s\" for seconds");
        assert_eq!(milliseconds("9999999999h").unwrap_err(), "it is too large");
    }
}
