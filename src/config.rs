//! The node's own configuration: where things are kept and what may be spent on a module.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use crate::error::{Refusal, Result};
use crate::host;
use crate::plan::{HttpSetting, LimitKind, Wall};

/// Where the configuration is, unless [`VARIABLE`] or the caller says otherwise.
pub const DEFAULT_PATH: &str = "/etc/lighter/config.toml";

/// The environment variable that names another configuration file.
pub const VARIABLE: &str = "LIGHTER_CONFIG";

/// Node configuration, read from TOML; every field has a default, an unknown one is an error.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node's store of compiled code.
    pub cache: CacheConfig,
    /// What compiling one module may cost.
    pub compile: CompileConfig,
    /// The walls around a guest's process.
    pub isolation: IsolationConfig,
    /// How HTTP servers are served unless their annotations say otherwise.
    pub http: HttpConfig,
    /// What any guest may use up at most.
    pub limits: LimitsConfig,
    /// Certificates of authorities for guests whose image has none; `None`: where the host's usually are.
    pub ca_bundle: Option<PathBuf>,
    /// How much the shim logs; `None`: as much as containerd has it log.
    pub log_level: Option<LogLevel>,
    /// Control groups are made by systemd. Also under the name that runc's options have for it.
    #[serde(alias = "SystemdCgroup")]
    pub systemd_cgroup: bool,
}

impl Config {
    /// Reads the configuration: of `path` if given, else of the file that [`VARIABLE`] names, else of
    /// [`DEFAULT_PATH`]. Only the last of these may be missing, and then every field has its default.
    ///
    /// # Errors
    /// Names the file, and the line and key that are wrong in it.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let named = path.map(Path::to_path_buf).or_else(|| {
            std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from)
        });
        let path = named.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path).map(Self::of_user),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
                Ok(Self::default().of_user())
            }
            Err(e) => Err(Refusal::system(format!("read configuration {}", path.display()), e)),
        }
    }

    /// The same with a cache of the user's own, where no other is named and the machine's is not theirs to write to.
    fn of_user(mut self) -> Self {
        let there = self.cache.dir.ancestors().find(|dir| dir.is_dir());
        let is_ours = there.is_none_or(|dir| access(dir, Access::WRITE_OK).is_ok());
        if self.cache.dir == CacheConfig::default().dir
            && !is_ours
            && let Some(data) = host::user_data()
        {
            self.cache.dir = data.join("lighter/cache");
        }
        self
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| {
                text.bytes().take(span.start).filter(|&byte| byte == b'\n').count() + 1
            });
            let message = e.message().replace('\n', " ");
            Refusal::invalid(format!("configuration {}, line {line}: {message}", path.display()))
        })
    }
}

/// How much is logged: this, and all that is graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What keeps a container from running, or from being cleaned up.
    Error,
    /// What may be amiss.
    Warn,
    /// What happens seldom.
    Info,
    /// What happens.
    Debug,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
        }
    }
}

/// The node's store of compiled code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Directory, owned by root and closed to others; for users who may not write there, unless it is named,
    /// `lighter/cache` among [their data](host::user_data).
    pub dir: PathBuf,
    /// Bytes of compiled code kept; the least recently used goes first.
    pub max_bytes: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { dir: "/var/lib/lighter/cache".into(), max_bytes: 4 << 30 }
    }
}

/// What compiling one module may cost. The compiler is a process of its own, and these are its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompileConfig {
    /// Bytes of the largest module accepted.
    pub max_module_bytes: u64,
    /// Bytes of address space.
    pub max_memory_bytes: u64,
    /// Seconds of wall-clock time.
    pub timeout_seconds: u64,
    /// Seconds of CPU time, over all of the compiler's threads.
    pub cpu_seconds: u64,
    /// It is done in the control group of the container that needs it, at that container's cost; else in the shim's,
    /// at the node's.
    pub in_container: bool,
}

impl CompileConfig {
    /// [`CompileConfig::timeout_seconds`] as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}

impl Default for CompileConfig {
    fn default() -> Self {
        Self {
            max_module_bytes: 256 << 20,
            max_memory_bytes: 8 << 30,
            timeout_seconds: 300,
            cpu_seconds: 600,
            in_container: true,
        }
    }
}

/// The walls around a guest's process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IsolationConfig {
    /// Walls without which no guest runs here; a kernel that lacks another one is only warned about.
    pub require: Vec<Wall>,
}

/// What any guest may use up at most: for each limit a quantity (`"64Mi"`, `100`) or a duration (`"30s"`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<LimitKind, Amount>", into = "BTreeMap<LimitKind, Amount>")]
pub struct LimitsConfig(BTreeMap<LimitKind, (u64, Amount)>);

/// How HTTP servers are served: for each setting a quantity or a duration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<HttpSetting, Amount>", into = "BTreeMap<HttpSetting, Amount>")]
pub struct HttpConfig(BTreeMap<HttpSetting, (u64, Amount)>);

/// An amount as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number or a text such as \"64Mi\" or \"30s\"")]
enum Amount {
    Number(u64),
    Text(String),
}

impl LimitsConfig {
    /// At most this much of `kind`, in its own unit.
    pub fn get(&self, kind: LimitKind) -> Option<u64> {
        self.0.get(&kind).map(|(value, _)| *value)
    }
}

impl TryFrom<BTreeMap<LimitKind, Amount>> for LimitsConfig {
    type Error = String;

    fn try_from(written: BTreeMap<LimitKind, Amount>) -> Result<Self, String> {
        let read = |(kind, amount): (LimitKind, Amount)| {
            let text = amount.to_string();
            let key = kind.name().replace('-', "_");
            let value = kind.parse(&text).map_err(|why| format!("{key} is {text:?}: {why}"))?;
            Ok((kind, (value, amount)))
        };
        written.into_iter().map(read).collect::<Result<_, String>>().map(Self)
    }
}

impl HttpConfig {
    /// How much of `setting` there is, in its own unit.
    pub fn get(&self, setting: HttpSetting) -> Option<u64> {
        self.0.get(&setting).map(|(value, _)| *value)
    }
}

impl TryFrom<BTreeMap<HttpSetting, Amount>> for HttpConfig {
    type Error = String;

    fn try_from(written: BTreeMap<HttpSetting, Amount>) -> Result<Self, String> {
        let read = |(setting, amount): (HttpSetting, Amount)| {
            let text = amount.to_string();
            let key = setting.name().replace('-', "_");
            let value = setting.parse(&text).map_err(|why| format!("{key} is {text:?}: {why}"))?;
            Ok((setting, (value, amount)))
        };
        written.into_iter().map(read).collect::<Result<_, String>>().map(Self)
    }
}

impl From<HttpConfig> for BTreeMap<HttpSetting, Amount> {
    fn from(http: HttpConfig) -> Self {
        http.0.into_iter().map(|(setting, (_, amount))| (setting, amount)).collect()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<LimitsConfig> for BTreeMap<LimitKind, Amount> {
    fn from(limits: LimitsConfig) -> Self {
        limits.0.into_iter().map(|(kind, (_, amount))| (kind, amount)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse(text, Path::new("/x/config.toml")).unwrap_err().message
    }

    #[test]
    fn absent_fields_have_defaults() {
        let config =
            Config::parse("[compile]\ntimeout_seconds = 7\n", Path::new("c.toml")).unwrap();
        assert_eq!(config.compile.timeout(), Duration::from_secs(7));
        assert_eq!(config.compile.max_module_bytes, CompileConfig::default().max_module_bytes);
        assert_eq!(config.cache, CacheConfig::default());
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let unknown = error("[cache]\n\nsize = 3\n");
        assert!(unknown.starts_with("configuration /x/config.toml, line 3: "), "{unknown}");
        assert!(unknown.contains("`size`"), "{unknown}");
        let wrong = error("[compile]\ntimeout_seconds = \"x\"\n");
        assert!(
            wrong.contains("line 2") && wrong.contains("integer") || wrong.contains("u64"),
            "{wrong}"
        );
        assert!(error("[cache\n").contains("line 1"));
    }

    #[test]
    fn limits_are_quantities_and_durations() {
        let text = "[limits]\nmemory = \"1Gi\"\ncpu_time = \"1m\"\ninstances = 5\n";
        let config = Config::parse(text, Path::new("c.toml")).unwrap();
        assert_eq!(config.limits.get(LimitKind::Memory), Some(1 << 30));
        assert_eq!(config.limits.get(LimitKind::CpuTime), Some(60_000));
        assert_eq!(config.limits.get(LimitKind::Instances), Some(5));
        assert_eq!(config.limits.get(LimitKind::Fuel), None);
        // What is written is what was read.
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&json).unwrap(), config);
    }

    #[test]
    fn a_limit_that_is_none_is_named() {
        for (text, expected) in [
            ("timeout = \"30\"", "timeout is \"30\": it has no unit; write \"30s\""),
            ("timeout = 30", "timeout is \"30\": it has no unit; write \"30s\""),
            ("memory = \"lots\"", "memory is \"lots\": it is not a quantity"),
            ("memory = true", "expected a number or a text"),
            ("cpu-time = \"1s\"", "unknown variant `cpu-time`"),
        ] {
            let error = error(&format!("[cache]\n[limits]\n{text}\n"));
            assert!(error.starts_with("configuration /x/config.toml, line "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let path = Path::new("/nonexistent/config.toml");
        assert!(Config::load(Some(path)).unwrap_err().message.contains("/nonexistent/config.toml"));
    }
}
