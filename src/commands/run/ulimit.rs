//! `--ulimit`: limits of the process, see getrlimit(2).

use std::str::FromStr;

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ulimit(pub(super) PosixRlimit);

impl FromStr for Ulimit {
    type Err = String;

    /// Reads `nofile=1024:2048` or `nofile=1024`; −1 is no limit.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, limits) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is not of the form NAME=SOFT[:HARD]"))?;
        let kind = kind(name).ok_or_else(|| {
            format!(
                "{text:?}: there is no limit {name:?}; those that exist are {}",
                NAMES.join(", ")
            )
        })?;
        let amount = |amount: &str| match amount {
            "-1" | "unlimited" => Ok(u64::MAX),
            amount => amount.parse().map_err(|_| format!("{text:?}: {amount:?} is not a number")),
        };
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (soft, hard) = (amount(soft)?, amount(hard)?);
        if soft > hard {
            return Err(format!("{text:?}: the soft limit is above the hard one"));
        }
        let limit = PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build();
        limit.map(Self).map_err(|e| format!("{text:?}: {e}"))
    }
}

/// In the order of [`kind`].
const NAMES: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

fn kind(name: &str) -> Option<PosixRlimitType> {
    use PosixRlimitType::*;
    let kinds = [
        RlimitAs,
        RlimitCore,
        RlimitCpu,
        RlimitData,
        RlimitFsize,
        RlimitLocks,
        RlimitMemlock,
        RlimitMsgqueue,
        RlimitNice,
        RlimitNofile,
        RlimitNproc,
        RlimitRss,
        RlimitRtprio,
        RlimitRttime,
        RlimitSigpending,
        RlimitStack,
    ];
    NAMES.iter().position(|known| *known == name).map(|index| kinds[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_wrong_ones_named() {
        let Ulimit(limit) = "nofile=1024:2048".parse().unwrap();
        assert_eq!((limit.soft(), limit.hard()), (1024, 2048));
        assert_eq!(limit.typ(), PosixRlimitType::RlimitNofile);
        let Ulimit(limit) = "core=-1".parse().unwrap();
        assert_eq!((limit.soft(), limit.hard()), (u64::MAX, u64::MAX));
        for (text, words) in [
            ("nofile", "NAME=SOFT"),
            ("files=3", "there is no limit \"files\""),
            ("cpu=x", "\"x\" is not a number"),
            ("cpu=3:2", "above the hard one"),
        ] {
            assert!(text.parse::<Ulimit>().unwrap_err().contains(words), "{text}");
        }
    }
}
