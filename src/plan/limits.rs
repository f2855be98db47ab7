//! What a guest may use up, by the engine's own means; the control group's limits hold around them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The engine's limits for one guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The limits in force. What is absent is unlimited, or as the engine has it by itself.
    pub each: BTreeMap<LimitKind, Limit>,
    /// Bytes that the process may hold for the guest during one call of it, where the control group leaves
    /// only so much beside the guest's own memory. `None` is the engine's own bound, 128 MiB, and 64 MiB
    /// of random bytes.
    pub call_bytes: Option<u64>,
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Bytes of all linear memories and tables together.
    Memory,
    /// Milliseconds of time from start to end.
    Timeout,
    /// Milliseconds of processor time of the whole process from start on.
    CpuTime,
    /// Units of work, about one for each WebAssembly instruction.
    Fuel,
    /// Bytes of stack for WebAssembly.
    Stack,
    /// Instances of core modules.
    Instances,
    /// Linear memories.
    Memories,
    /// Tables.
    Tables,
    /// Elements of all tables together.
    TableElements,
    /// Descriptors that the guest may have open beyond its standard streams and directories.
    Handles,
    /// Threads that serve the guest's name lookups, and a server's files; the guest has one of its own.
    Threads,
}

/// One limit in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// How much, in the unit of its [`LimitKind`].
    pub value: u64,
    /// Where it is from.
    pub origin: Origin,
}

/// What a guest's limit on memory is changed to while the guest runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryChange {
    /// The limit; `None` for none.
    pub limit: Option<Limit>,
}

/// The fields of a bundle, or of what is asked of a running container, that limit the memory of its group.
pub const MEMORY_FIELDS: [&str; 2] =
    ["linux.resources.memory.limit", "linux.resources.unified \"memory.max\""];

/// Where a limit is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The container's annotation.
    Annotation,
    /// The node's configuration.
    Config,
    /// What a server's one request may have.
    Request,
    /// A limit of the process in the bundle, and what it is there.
    Bundle {
        /// Its name, such as `linux.resources.memory.limit`.
        field: String,
        /// What it says, in the same unit.
        value: u64,
    },
}

/// The unit of a limit.
enum Unit {
    Bytes,
    Milliseconds,
    Count,
}

impl LimitKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Memory,
        Self::Timeout,
        Self::CpuTime,
        Self::Fuel,
        Self::Stack,
        Self::Instances,
        Self::Memories,
        Self::Tables,
        Self::TableElements,
        Self::Handles,
        Self::Threads,
    ];

    /// Its name in annotations and messages, such as `cpu-time`. The configuration has `_` for `-`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Timeout => "timeout",
            Self::CpuTime => "cpu-time",
            Self::Fuel => "fuel",
            Self::Stack => "stack",
            Self::Instances => "instances",
            Self::Memories => "memories",
            Self::Tables => "tables",
            Self::TableElements => "table-elements",
            Self::Handles => "handles",
            Self::Threads => "threads",
        }
    }

    /// The annotation that sets it.
    pub fn annotation(self) -> String {
        format!("io.lighter.limits.{}", self.name())
    }

    fn unit(self) -> Unit {
        match self {
            Self::Memory | Self::Stack => Unit::Bytes,
            Self::Timeout | Self::CpuTime => Unit::Milliseconds,
            _ => Unit::Count,
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
        };
        // A guest can do without these two.
        if value == 0 && !matches!(self, Self::Handles | Self::Threads) {
            return Err("it must be more than nothing".to_owned());
        }
        Ok(value)
    }

    /// A byte that stands for it, never 0; see [`crate::report`].
    pub fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The kind that `code` stands for, if it stands for one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// `value` with its unit, as people write it: `64 MiB`, `1.5 s`, `10000`.
    pub fn show(self, value: u64) -> String {
        match self.unit() {
            Unit::Bytes => bytes(value),
            Unit::Milliseconds if value.is_multiple_of(1000) => format!("{} s", value / 1000),
            Unit::Milliseconds if value > 1000 => format!("{}.{:03} s", value / 1000, value % 1000),
            Unit::Milliseconds => format!("{value} ms"),
            Unit::Count => value.to_string(),
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Limits {
    /// How much of `kind` there may be.
    pub fn get(&self, kind: LimitKind) -> Option<u64> {
        self.each.get(&kind).map(|limit| limit.value)
    }

    /// How much of `kind` there may be and who says so, for a message:
    /// `1 s (annotation io.lighter.limits.timeout)`.
    pub fn describe(&self, kind: LimitKind) -> String {
        let Some(Limit { value, origin }) = self.each.get(&kind) else {
            return "unlimited".to_owned();
        };
        let shown = kind.show(*value);
        match origin {
            Origin::Default => {
                format!("{shown} (the default; annotation {} sets it)", kind.annotation())
            }
            Origin::Annotation => format!("{shown} (annotation {})", kind.annotation()),
            Origin::Request => format!(
                "{shown} for each request (annotation {} sets it)",
                super::HttpSetting::Memory.annotation()
            ),
            Origin::Config => {
                let key = kind.name().replace('-', "_");
                format!("{shown} (limits.{key} of the node's configuration)")
            }
            Origin::Bundle { field, value: whole } => {
                let (whole, rest) = (kind.show(*whole), kind.show(whole.saturating_sub(*value)));
                format!("{shown} ({field} is {whole}, of which {rest} are for the runtime)")
            }
        }
    }
}

/// A number of bytes in the largest unit that leaves a short number.
fn bytes(value: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in units {
        if value >= unit {
            let hundredths = u128::from(value) * 100 / u128::from(unit);
            let (whole, part) = (hundredths / 100, hundredths % 100);
            return match part {
                0 => format!("{whole} {name}"),
                part => format!("{whole}.{part:02} {name}"),
            };
        }
    }
    format!("{value} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_one_kind_each_and_not_zero() {
        for kind in LimitKind::ALL {
            assert_eq!(LimitKind::from_code(kind.code()), Some(kind));
        }
        assert_eq!(LimitKind::from_code(0), None);
        assert_eq!(LimitKind::from_code(200), None);
    }

    #[test]
    fn names_are_those_of_the_configuration() {
        for kind in LimitKind::ALL {
            let key = serde_json::to_string(&kind).unwrap();
            assert_eq!(key, format!("\"{}\"", kind.name().replace('-', "_")));
        }
    }

    #[test]
    fn values_are_shown_as_people_write_them() {
        for (kind, value, shown) in [
            (LimitKind::Memory, 64 << 20, "64 MiB"),
            (LimitKind::Memory, (59 << 20) + (256 << 10), "59.25 MiB"),
            (LimitKind::Memory, 1000, "1000 bytes"),
            (LimitKind::Timeout, 90_000, "90 s"),
            (LimitKind::Timeout, 1_250, "1.250 s"),
            (LimitKind::CpuTime, 50, "50 ms"),
            (LimitKind::Fuel, 10_000, "10000"),
        ] {
            assert_eq!(kind.show(value), shown);
        }
    }

    #[test]
    fn a_limit_says_where_it_is_from() {
        let described = |origin| {
            let each = BTreeMap::from([(LimitKind::Memory, Limit { value: 60 << 20, origin })]);
            Limits { each, call_bytes: None }.describe(LimitKind::Memory)
        };
        let bundle =
            Origin::Bundle { field: "linux.resources.memory.limit".into(), value: 64 << 20 };
        assert_eq!(
            described(bundle),
            "60 MiB (linux.resources.memory.limit is 64 MiB, of which 4 MiB are for the runtime)"
        );
        assert_eq!(described(Origin::Config), "60 MiB (limits.memory of the node's configuration)");
        assert_eq!(described(Origin::Annotation), "60 MiB (annotation io.lighter.limits.memory)");
        assert_eq!(Limits::default().describe(LimitKind::Fuel), "unlimited");
    }
}
