//! The engine's limits, from the bundle's resources and annotations and the node's configuration.
//!
//! Of all that is said of a limit the smallest counts; the defaults are for when neither an annotation nor the
//! configuration says anything.

use oci_spec::runtime::{LinuxResources, Spec};
use serde::{Deserialize, Serialize};

use crate::annotations::Requests;
use crate::config::Config;
use crate::error::{Refusal, Result};
use crate::plan::{Limit, LimitKind, Limits, MEMORY_FIELDS, MemoryChange, Origin};

const MIB: u64 = 1 << 20;

/// Bytes of WebAssembly's stack: Wasmtime's own default.
const STACK: u64 = 512 << 10;

/// What a stack may be: less runs nothing, and more is a mistake.
const STACKS: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;

/// Threads for name lookups, which is all that they are for.
const THREADS: u64 = 16;

/// Bytes of the group's memory that are kept for the process around the guest, whatever its stack and page
/// tables.
///
/// Measured (4 KiB pages, one processor, a module and a component that sleep or grow to 400 MiB): 0.5 to
/// 0.8 MiB beside the guest's memory, of which 0.3 are the engine, WASI, the heap and the plan, 0.2 are the
/// kernel's (page tables, inodes, mounts) and the rest its way of charging in batches; 0.2 % of the guest's
/// memory are its page tables. What is above that is for what calls of the guest make the process hold
/// ([`Limits::call_bytes`]), for threads of name lookups (below 0.1 MiB each), and for the batches of a
/// kernel with more processors.
const RUNNER: u64 = 4 * MIB;

/// The part of a memory limit that is kept for page tables: twice what they take.
const PAGE_TABLES: u64 = 256;

/// Bytes below which no guest does anything.
const LEAST_MEMORY: u64 = MIB;

pub(super) fn limits(spec: &Spec, requests: &Requests, config: &Config) -> Result<Limits> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let mut limits = Limits::default();
    // The stack comes out of the memory.
    let stack = smallest(LimitKind::Stack, requests, config, None);
    let stack_size = stack.as_ref().map_or(STACK, |limit| limit.value);
    if !STACKS.contains(&stack_size) {
        let show = |bytes| LimitKind::Stack.show(bytes);
        limits.each.extend(stack.map(|stack| (LimitKind::Stack, stack)));
        return Err(Refusal::invalid(format!(
            "the stack of {} is out of range: it may be {} to {}",
            limits.describe(LimitKind::Stack),
            show(*STACKS.start()),
            show(*STACKS.end())
        )));
    }
    let memory_limit = memory_limit(resources);
    let reserve = memory_limit.and_then(|(_, limit)| limit).map(|limit| reserve(limit, stack_size));
    for kind in LimitKind::ALL {
        let derived = match kind {
            LimitKind::Memory => memory(memory_limit, stack_size)?,
            LimitKind::Threads => threads(resources),
            _ => None,
        };
        let limit = smallest(kind, requests, config, derived);
        limits.each.extend(limit.map(|limit| (kind, limit)));
    }
    limits.call_bytes = reserve.map(|reserve| reserve / 2);
    Ok(limits)
}

fn smallest(
    kind: LimitKind,
    requests: &Requests,
    config: &Config,
    derived: Option<Limit>,
) -> Option<Limit> {
    let asked = requests.limits.get(&kind);
    let asked = asked.map(|value| Limit { value: *value, origin: Origin::Annotation });
    let ceiling = config.limits.get(kind).map(|value| Limit { value, origin: Origin::Config });
    let default = match kind {
        _ if asked.is_some() || ceiling.is_some() => None,
        LimitKind::Stack => Some(STACK),
        LimitKind::Threads => Some(THREADS),
        _ => None,
    };
    let default = default.map(|value| Limit { value, origin: Origin::Default });
    [asked, ceiling, derived, default].into_iter().flatten().min_by_key(|limit| limit.value)
}

/// What a guest's memory follows from beside its group's limit, for when that is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryRule {
    /// What the annotation and the configuration allow, whatever the group's limit.
    ceiling: Option<Limit>,
    /// Bytes of WebAssembly's stack.
    stack: u64,
}

impl MemoryRule {
    /// The rule of a container that was created with `limits`.
    pub fn new(requests: &Requests, config: &Config, limits: &Limits) -> Self {
        Self {
            ceiling: smallest(LimitKind::Memory, requests, config, None),
            stack: limits.get(LimitKind::Stack).unwrap_or(STACK),
        }
    }

    /// The limit once the container's resources are changed as `resources` says; `None` if that changes nothing.
    ///
    /// # Errors
    /// When too little is left for the guest.
    pub fn after(&self, resources: &LinuxResources) -> Result<Option<MemoryChange>> {
        let asked = memory_limit(Some(resources));
        if asked.is_none() {
            return Ok(None);
        }
        let derived = memory(asked, self.stack)?;
        let limits = [self.ceiling.clone(), derived];
        Ok(Some(MemoryChange {
            limit: limits.into_iter().flatten().min_by_key(|limit| limit.value),
        }))
    }
}

/// The field that says how much memory the group may have, and how much that is; `None` is as much as there is.
///
/// `memory.high` is none: above it the kernel slows the guest down, as whoever set it wants. Nor does swap count:
/// it is the kernel's to use, and the node may have none.
fn memory_limit(resources: Option<&LinuxResources>) -> Option<(&'static str, Option<u64>)> {
    let [limit_field, max_field] = MEMORY_FIELDS;
    let resources = resources?;
    // Written last, it is the one that stays.
    let unified = resources.unified().as_ref().and_then(|files| files.get("memory.max"));
    if let Some(value) = unified {
        return Some((max_field, value.trim().parse().ok()));
    }
    // Zero is as good as not given.
    let limit = resources.memory().as_ref()?.limit().filter(|limit| *limit != 0)?;
    Some((limit_field, u64::try_from(limit).ok()))
}

/// What is kept of a group's memory, `limit`, for the process around the guest.
fn reserve(limit: u64, stack: u64) -> u64 {
    RUNNER + stack + limit / PAGE_TABLES
}

/// What is left of the group's memory for the guest's own, so that its `memory.grow` fails before the kernel kills it.
fn memory(limit: Option<(&'static str, Option<u64>)>, stack: u64) -> Result<Option<Limit>> {
    let Some((field, Some(whole))) = limit else { return Ok(None) };
    let reserve = reserve(whole, stack);
    let value = whole.saturating_sub(reserve);
    if value < LEAST_MEMORY {
        let show = |bytes| LimitKind::Memory.show(bytes);
        // The share of the page tables is the only part of the reserve that grows with the limit.
        let least =
            (reserve - whole / PAGE_TABLES + LEAST_MEMORY) * PAGE_TABLES / (PAGE_TABLES - 1);
        return Err(Refusal::invalid(format!(
            "{field} {whole}: too little for a WebAssembly guest: the runtime needs {} of it, and the guest \
             at least {}; {} will do",
            show(reserve),
            show(LEAST_MEMORY),
            show(least.next_multiple_of(MIB))
        )));
    }
    Ok(Some(Limit { value, origin: Origin::Bundle { field: field.to_owned(), value: whole } }))
}

/// What the group's limit on processes leaves beside the thread that runs the guest.
fn threads(resources: Option<&LinuxResources>) -> Option<Limit> {
    let limit = resources?.pids().as_ref()?.limit();
    let whole = u64::try_from(limit).ok().filter(|limit| *limit > 0)?;
    let origin = Origin::Bundle { field: "linux.resources.pids.limit".to_owned(), value: whole };
    Some(Limit { value: whole - 1, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(resources: &str, annotations: &[(&str, &str)], config: &str) -> Result<Limits> {
        let spec = format!(r#"{{"ociVersion":"1.0.2","linux":{{"resources":{resources}}}}}"#);
        let spec = serde_json::from_str(&spec).expect("a spec");
        let annotations = annotations
            .iter()
            .map(|(name, value)| (format!("io.lighter.limits.{name}"), (*value).to_owned()));
        let requests = Requests::read(&annotations.collect()).expect("annotations");
        let config = toml::from_str(config).expect("a configuration");
        limits(&spec, &requests, &config)
    }

    fn limit(limits: &Limits, kind: LimitKind) -> Option<(u64, &Origin)> {
        limits.each.get(&kind).map(|limit| (limit.value, &limit.origin))
    }

    #[test]
    fn nothing_said_is_nothing_but_the_defaults() {
        let limits = decided("{}", &[], "").unwrap();
        assert_eq!(limit(&limits, LimitKind::Stack), Some((512 << 10, &Origin::Default)));
        assert_eq!(limit(&limits, LimitKind::Threads), Some((16, &Origin::Default)));
        assert_eq!(limits.each.len(), 2, "{limits:?}");
        assert_eq!(limits.call_bytes, None);
    }

    #[test]
    fn the_smallest_counts() {
        let resources = format!(r#"{{"memory":{{"limit":{}}}}}"#, 64 * MIB);
        let of_group = 64 * MIB - 4 * MIB - (512 << 10) - 64 * MIB / 256;
        for (resources, annotation, config, value) in [
            (resources.as_str(), None, "", of_group),
            (&resources, Some("1Gi"), "", of_group),
            (&resources, Some("16Mi"), "", 16 * MIB),
            (&resources, Some("16Mi"), "[limits]\nmemory = \"8Mi\"", 8 * MIB),
            (&resources, None, "[limits]\nmemory = 4194304", 4 * MIB),
            ("{}", None, "[limits]\nmemory = \"1G\"", 1_000_000_000),
        ] {
            let annotations: Vec<_> =
                annotation.map(|value| ("memory", value)).into_iter().collect();
            let limits = decided(resources, &annotations, config).unwrap();
            assert_eq!(limits.get(LimitKind::Memory), Some(value), "{annotation:?} {config:?}");
        }
    }

    #[test]
    fn only_limits_of_memory_count_as_such() {
        for (resources, expected) in [
            (r#"{"memory":{"limit":-1}}"#, None),
            (r#"{"memory":{"limit":0}}"#, None),
            (r#"{"memory":{"reservation":67108864}}"#, None),
            (r#"{"memory":{"swap":67108864}}"#, None),
            (r#"{"unified":{"memory.high":"67108864"}}"#, None),
            (r#"{"unified":{"memory.max":"max"},"memory":{"limit":67108864}}"#, None),
            (r#"{"unified":{"memory.max":"67108864"}}"#, Some(64)),
            (r#"{"memory":{"limit":67108864,"swap":134217728}}"#, Some(64)),
            (r#"{"memory":{"limit":67108864,"swap":-1}}"#, Some(64)),
        ] {
            let limits = decided(resources, &[], "").unwrap();
            let limit = limits.get(LimitKind::Memory);
            assert_eq!(limit.is_some(), expected.is_some(), "{resources}");
            assert!(limit.is_none_or(|limit| limit < 64 * MIB && limit > 56 * MIB), "{resources}");
            assert_eq!(limits.call_bytes.is_some(), expected.is_some(), "{resources}");
        }
    }

    #[test]
    fn too_little_memory_is_refused_and_the_least_is_not() {
        let refused = |limit: u64| {
            decided(&format!(r#"{{"memory":{{"limit":{limit}}}}}"#), &[], "").map(drop)
        };
        let message = refused(4 * MIB).unwrap_err().message;
        assert!(message.starts_with("linux.resources.memory.limit 4194304: "), "{message}");
        assert!(message.ends_with("6 MiB will do"), "{message}");
        assert_eq!(refused(6 * MIB), Ok(()));
        // A larger stack needs more.
        let message = decided(r#"{"memory":{"limit":6291456}}"#, &[("stack", "8Mi")], "")
            .unwrap_err()
            .message;
        assert!(message.ends_with("14 MiB will do"), "{message}");
        let resources = r#"{"memory":{"limit":14680064}}"#;
        assert!(decided(resources, &[("stack", "8Mi")], "").is_ok());
    }

    #[test]
    fn a_changed_limit_is_judged_by_the_same_rule() {
        let after = |change: &str, annotation: &[(&str, &str)], config: &str| {
            let limits = decided("{}", annotation, config).unwrap();
            let annotations = annotation
                .iter()
                .map(|(name, value)| (format!("io.lighter.limits.{name}"), (*value).to_owned()));
            let requests = Requests::read(&annotations.collect()).unwrap();
            let rule = MemoryRule::new(&requests, &toml::from_str(config).unwrap(), &limits);
            rule.after(&serde_json::from_str(change).unwrap())
                .map(|change| change.map(|change| change.limit.map(|limit| limit.value)))
        };
        let of_group = 64 * MIB - 4 * MIB - (512 << 10) - 64 * MIB / 256;
        let limit = |limit: i64| format!("{{\"memory\":{{\"limit\":{limit}}}}}");
        let to_64 = limit(64 << 20);
        assert_eq!(after(&to_64, &[], ""), Ok(Some(Some(of_group))));
        assert_eq!(after(&to_64, &[("memory", "1Gi")], ""), Ok(Some(Some(of_group))));
        assert_eq!(after(&to_64, &[("memory", "16Mi")], ""), Ok(Some(Some(16 * MIB))));
        assert_eq!(after(&to_64, &[], "[limits]\nmemory = \"8Mi\""), Ok(Some(Some(8 * MIB))));
        assert_eq!(after(&limit(-1), &[], ""), Ok(Some(None)));
        assert_eq!(after(&limit(-1), &[("memory", "16Mi")], ""), Ok(Some(Some(16 * MIB))));
        let larger_stack = of_group - (8 << 20) + (512 << 10);
        assert_eq!(after(&to_64, &[("stack", "8Mi")], ""), Ok(Some(Some(larger_stack))));
        for nothing in ["{}", r#"{"memory":{"limit":0}}"#, r#"{"memory":{"swap":67108864}}"#] {
            assert_eq!(after(nothing, &[("memory", "16Mi")], ""), Ok(None), "{nothing}");
        }
        let max = r#"{"unified":{"memory.max":"max"},"memory":{"limit":67108864}}"#;
        assert_eq!(after(max, &[], ""), Ok(Some(None)));
        let message = after(&limit(4 << 20), &[], "").unwrap_err().message;
        assert!(message.starts_with("linux.resources.memory.limit 4194304: "), "{message}");
    }

    #[test]
    fn the_stack_has_bounds() {
        for (value, bytes) in [("64Ki", 64 << 10), ("8Mi", 8 << 20)] {
            let limits = decided("{}", &[("stack", value)], "").unwrap();
            assert_eq!(limit(&limits, LimitKind::Stack), Some((bytes, &Origin::Annotation)));
        }
        for value in ["1", "4Gi"] {
            let message = decided("{}", &[("stack", value)], "").unwrap_err().message;
            assert!(message.contains("annotation io.lighter.limits.stack"), "{message}");
        }
        let limits = decided("{}", &[("stack", "8Mi")], "[limits]\nstack = \"1Mi\"").unwrap();
        assert_eq!(limit(&limits, LimitKind::Stack), Some((MIB, &Origin::Config)));
    }

    #[test]
    fn threads_leave_room_for_the_guest() {
        for (pids, annotations, threads) in [
            (1, &[][..], 0),
            (5, &[], 4),
            (1000, &[], 16),
            (1000, &[("threads", "64")], 64),
            (40, &[("threads", "64")], 39),
            (-1, &[], 16),
            (0, &[], 16),
        ] {
            let resources = format!(r#"{{"pids":{{"limit":{pids}}}}}"#);
            let limits = decided(&resources, annotations, "").unwrap();
            assert_eq!(limits.get(LimitKind::Threads), Some(threads), "{pids} {annotations:?}");
        }
    }

    #[test]
    fn every_limit_can_be_set_by_annotation_and_configuration() {
        for kind in LimitKind::ALL {
            let (small, large) = match kind {
                LimitKind::Timeout | LimitKind::CpuTime => ("100s", "200s"),
                _ => ("100k", "200k"),
            };
            let key = kind.name().replace('-', "_");
            for (annotation, config, origin) in
                [(small, large, Origin::Annotation), (large, small, Origin::Config)]
            {
                let config = format!("[limits]\n{key} = {config:?}");
                let limits = decided("{}", &[(kind.name(), annotation)], &config).unwrap();
                assert_eq!(limit(&limits, kind), Some((100_000, &origin)), "{kind}");
            }
        }
    }
}
