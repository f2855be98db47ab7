//! Names of compiled code: which module, for which engine.

use std::fmt;

use crate::engine::{Settings, WASMTIME_VERSION};

use super::digest::Digest;

/// The name of compiled code in the store.
///
/// It covers what the compiled code depends on as far as a supervisor can see it, which has no Wasmtime linked. The
/// runner's own check when it loads the code is the backstop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Digest);

impl Key {
    /// The code of the module of this digest, compiled on this node with `settings`.
    pub fn new(module: &Digest, settings: &Settings) -> Self {
        Self(Digest::of(format!("{}\nmodule {module}", engine(settings)).as_bytes()))
    }

    /// From a file name in the store.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Digest::parse(text).map(Self)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key:{self}")
    }
}

/// All that compiled code depends on beside the module, as text.
pub(super) fn engine(settings: &Settings) -> String {
    // The rest follows from the module.
    let Settings { fuel, epochs, copies: _, concurrent: _ } = settings;
    format!(
        "lighter {}, wasmtime {WASMTIME_VERSION}, {} [{}], Settings {{ fuel: {fuel}, epochs: {epochs} }}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        cpu_features().join(" "),
    )
}

/// The CPU's features that Cranelift makes use of.
fn cpu_features() -> Vec<&'static str> {
    macro_rules! detected {
        ($is_detected:ident: $($name:tt)*) => {
            [$(($name, std::arch::$is_detected!($name))),*]
        };
    }
    #[cfg(target_arch = "x86_64")]
    let all = detected!(is_x86_feature_detected:
        "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "lzcnt" "bmi1" "bmi2" "avx" "avx2" "fma"
        "avx512bitalg" "avx512dq" "avx512f" "avx512vl" "avx512vbmi" "cmpxchg16b");
    #[cfg(target_arch = "aarch64")]
    let all = detected!(is_aarch64_feature_detected: "lse" "paca" "pacg" "fp16" "bti" "dotprod");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let all: [(&str, bool); 0] = [];
    all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_module_and_settings() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let plain = Settings::default();
        let fuel = Settings { fuel: true, ..Settings::default() };
        assert_eq!(Key::new(&a, &plain), Key::new(&a, &plain));
        assert_ne!(Key::new(&a, &plain), Key::new(&b, &plain));
        assert_ne!(Key::new(&a, &plain), Key::new(&a, &fuel));
    }
}
