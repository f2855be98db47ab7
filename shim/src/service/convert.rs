//! From our types to containerd's and back.

use std::time::{SystemTime, UNIX_EPOCH};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim_protos::protobuf::{self, CodedInputStream, Message, MessageField};
use containerd_shim_protos::shim::oci;
use containerd_shim_protos::ttrpc::{self, get_status};
use containerd_shim_protos::{api, cgroups, cgroups_v2, events::task as wire, topics};
use lighter::container::Resources;
use lighter::metrics::{Hierarchy, Usage};

use crate::events::Event;
use crate::mounts::Mount;
use crate::options::{Options, Source};
use crate::task::{Code, Error};

/// The nanoseconds in a microsecond.
const MICRO: u64 = 1000;

pub(super) fn status(error: Error) -> ttrpc::Error {
    let code = match error.code {
        Code::NotFound => ttrpc::Code::NOT_FOUND,
        Code::AlreadyExists => ttrpc::Code::ALREADY_EXISTS,
        Code::FailedPrecondition => ttrpc::Code::FAILED_PRECONDITION,
        Code::InvalidArgument => ttrpc::Code::INVALID_ARGUMENT,
        Code::Unimplemented => ttrpc::Code::UNIMPLEMENTED,
        Code::Unknown => ttrpc::Code::UNKNOWN,
    };
    ttrpc::Error::RpcStatus(get_status(code, error.message))
}

pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos().cast_signed(),
        ..Timestamp::default()
    }
}

/// `message` with its type's name as Go's containerd writes it: bare.
fn any(name: &str, message: &impl Message) -> protobuf::Result<Any> {
    Ok(Any { type_url: name.to_owned(), value: message.write_to_bytes()?, ..Any::default() })
}

pub(super) fn mount(mount: api::Mount) -> Mount {
    Mount { kind: mount.type_, source: mount.source, target: mount.target, options: mount.options }
}

/// What a Create request's options say.
pub(super) fn options(any: Option<&Any>) -> Result<Options, Error> {
    let Some(any) = any else {
        return Ok(Options::from_source(Source::Node));
    };
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let decoded = match name {
        "" => return Ok(Options::from_source(Source::Node)),
        // Those of runc's first shim, which `ctr` of 1.7 sends for a bundle of one's own; nothing in them is for us.
        "containerd.linux.runc.CreateOptions" => return Ok(Options::from_source(Source::Node)),
        "containerd.runc.v1.Options" => oci::Options::parse_from_bytes(&any.value)
            .map(|runc| Options { source: Source::Node, systemd_cgroup: runc.systemd_cgroup }),
        "runtimeoptions.v1.Options" | "cri.runtimeoptions.v1.Options" => {
            config_source(&any.value).map(Options::from_source)
        }
        _ => {
            return Err(Error::new(
                Code::InvalidArgument,
                format!(
                    "runtime options of type {name:?} are not known: use runtimeoptions.v1.Options"
                ),
            ));
        }
    };
    decoded.map_err(|error| {
        Error::new(Code::InvalidArgument, format!("decode runtime options {name}: {error}"))
    })
}

/// What an Update request asks for: JSON, as containerd packs the specification's types.
pub(super) fn resources(any: Option<&Any>) -> Result<Resources, Error> {
    let json = any.map(|any| any.value.as_slice()).unwrap_or_default();
    Ok(Resources::parse(json)?)
}

/// Reads `runtimeoptions.v1.Options`: 1 is the type, 2 the path of a configuration file, 3 its content.
fn config_source(bytes: &[u8]) -> protobuf::Result<Source> {
    let (mut path, mut body) = (String::new(), Vec::new());
    let mut input = CodedInputStream::from_bytes(bytes);
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        match tag {
            18 => path = input.read_string()?,
            26 => body = input.read_bytes()?,
            _ => protobuf::rt::skip_field_for_tag(tag, &mut input)?,
        }
    }
    Ok(match (path.is_empty(), body.is_empty()) {
        (false, _) => Source::File(path),
        (true, false) => Source::Text(String::from_utf8_lossy(&body).into_owned()),
        (true, true) => Source::Node,
    })
}

/// An event and the topic that containerd's subscribers know it by.
pub(super) fn topic_and_event(event: Event) -> protobuf::Result<(&'static str, Any)> {
    Ok(match event {
        Event::Create { id, bundle, rootfs, stdio, pid } => {
            let io = wire::TaskIO {
                stdin: stdio.stdin,
                stdout: stdio.stdout,
                stderr: stdio.stderr,
                terminal: stdio.terminal,
                ..wire::TaskIO::default()
            };
            let message = wire::TaskCreate {
                container_id: id,
                bundle,
                rootfs: rootfs.into_iter().map(wire_mount).collect(),
                io: MessageField::some(io),
                pid,
                ..wire::TaskCreate::default()
            };
            (topics::TASK_CREATE_EVENT_TOPIC, any("containerd.events.TaskCreate", &message)?)
        }
        Event::Start { id, pid } => {
            let message = wire::TaskStart { container_id: id, pid, ..wire::TaskStart::default() };
            (topics::TASK_START_EVENT_TOPIC, any("containerd.events.TaskStart", &message)?)
        }
        Event::Pause { id } => {
            let message = wire::TaskPaused { container_id: id, ..wire::TaskPaused::default() };
            (topics::TASK_PAUSED_EVENT_TOPIC, any("containerd.events.TaskPaused", &message)?)
        }
        Event::Resume { id } => {
            let message = wire::TaskResumed { container_id: id, ..wire::TaskResumed::default() };
            (topics::TASK_RESUMED_EVENT_TOPIC, any("containerd.events.TaskResumed", &message)?)
        }
        Event::OutOfMemory { id } => {
            let message = wire::TaskOOM { container_id: id, ..wire::TaskOOM::default() };
            (topics::TASK_OOM_EVENT_TOPIC, any("containerd.events.TaskOOM", &message)?)
        }
        Event::ExecAdded { container, id } => {
            let message = wire::TaskExecAdded {
                container_id: container,
                exec_id: id,
                ..wire::TaskExecAdded::default()
            };
            (topics::TASK_EXEC_ADDED_EVENT_TOPIC, any("containerd.events.TaskExecAdded", &message)?)
        }
        Event::ExecStarted { container, id, pid } => {
            let message = wire::TaskExecStarted {
                container_id: container,
                exec_id: id,
                pid,
                ..wire::TaskExecStarted::default()
            };
            let event = any("containerd.events.TaskExecStarted", &message)?;
            (topics::TASK_EXEC_STARTED_EVENT_TOPIC, event)
        }
        Event::Exit { container, id, pid, exit } => {
            let message = wire::TaskExit {
                container_id: container,
                id,
                pid,
                exit_status: exit.status,
                exited_at: MessageField::some(timestamp(exit.at)),
                ..wire::TaskExit::default()
            };
            (topics::TASK_EXIT_EVENT_TOPIC, any("containerd.events.TaskExit", &message)?)
        }
        Event::Delete { id, pid, exit } => {
            let message = wire::TaskDelete {
                container_id: id,
                pid,
                exit_status: exit.status,
                exited_at: MessageField::some(timestamp(exit.at)),
                ..wire::TaskDelete::default()
            };
            (topics::TASK_DELETE_EVENT_TOPIC, any("containerd.events.TaskDelete", &message)?)
        }
    })
}

fn wire_mount(mount: Mount) -> api::Mount {
    api::Mount {
        type_: mount.kind,
        source: mount.source,
        target: mount.target,
        options: mount.options,
        ..api::Mount::default()
    }
}

/// A process of a task; `exec_id` is of one beside the first.
pub(super) fn process_info(
    pid: u32,
    exec_id: Option<String>,
) -> protobuf::Result<api::ProcessInfo> {
    let details = exec_id.map(|exec_id| {
        let details = oci::ProcessDetails { exec_id, ..oci::ProcessDetails::default() };
        any("containerd.runc.v1.ProcessDetails", &details)
    });
    let info = details.transpose()?.into();
    Ok(api::ProcessInfo { pid, info, ..api::ProcessInfo::default() })
}

/// The metrics in the terms of the hierarchy that they come from.
pub(super) fn metrics(usage: &Usage) -> protobuf::Result<Any> {
    match usage.hierarchy {
        Hierarchy::V1 => any("io.containerd.cgroups.v1.Metrics", &metrics_v1(usage)),
        Hierarchy::V2 => any("io.containerd.cgroups.v2.Metrics", &metrics_v2(usage)),
    }
}

fn metrics_v1(usage: &Usage) -> cgroups::metrics::Metrics {
    use cgroups::metrics::{
        CPUStat, CPUUsage, MemoryEntry, MemoryStat, Metrics, PidsStat, Throttle,
    };
    let (cpu, memory) = (&usage.cpu, &usage.memory);
    let stat = |name: &str| memory.stat.get(name).copied().unwrap_or_default();
    let cpu = CPUStat {
        usage: MessageField::some(CPUUsage {
            total: cpu.total,
            kernel: cpu.system,
            user: cpu.user,
            ..CPUUsage::default()
        }),
        throttling: MessageField::some(Throttle {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled,
            ..Throttle::default()
        }),
        ..CPUStat::default()
    };
    let entry = |limit, usage, max, failcnt| {
        MessageField::some(MemoryEntry { limit, usage, max, failcnt, ..MemoryEntry::default() })
    };
    let memory = MemoryStat {
        cache: stat("cache"),
        rss: stat("rss"),
        rss_huge: stat("rss_huge"),
        mapped_file: stat("mapped_file"),
        dirty: stat("dirty"),
        writeback: stat("writeback"),
        pg_pg_in: stat("pgpgin"),
        pg_pg_out: stat("pgpgout"),
        pg_fault: stat("pgfault"),
        pg_maj_fault: stat("pgmajfault"),
        inactive_anon: stat("inactive_anon"),
        active_anon: stat("active_anon"),
        inactive_file: stat("inactive_file"),
        active_file: stat("active_file"),
        unevictable: stat("unevictable"),
        hierarchical_memory_limit: stat("hierarchical_memory_limit"),
        hierarchical_swap_limit: stat("hierarchical_memsw_limit"),
        total_cache: stat("total_cache"),
        total_rss: stat("total_rss"),
        total_rss_huge: stat("total_rss_huge"),
        total_mapped_file: stat("total_mapped_file"),
        total_dirty: stat("total_dirty"),
        total_writeback: stat("total_writeback"),
        total_pg_pg_in: stat("total_pgpgin"),
        total_pg_pg_out: stat("total_pgpgout"),
        total_pg_fault: stat("total_pgfault"),
        total_pg_maj_fault: stat("total_pgmajfault"),
        total_inactive_anon: stat("total_inactive_anon"),
        total_active_anon: stat("total_active_anon"),
        total_inactive_file: memory.inactive_file,
        total_active_file: stat("total_active_file"),
        total_unevictable: stat("total_unevictable"),
        usage: entry(memory.limit, memory.usage, memory.peak, memory.failures),
        swap: entry(memory.swap_limit, memory.swap_usage, 0, 0),
        ..MemoryStat::default()
    };
    let pids =
        PidsStat { current: usage.pids.current, limit: usage.pids.limit, ..PidsStat::default() };
    Metrics {
        pids: MessageField::some(pids),
        cpu: MessageField::some(cpu),
        memory: MessageField::some(memory),
        ..Metrics::default()
    }
}

fn metrics_v2(usage: &Usage) -> cgroups_v2::metrics::Metrics {
    use cgroups_v2::metrics::{CPUStat, MemoryStat, Metrics, PidsStat};
    let (cpu, memory) = (&usage.cpu, &usage.memory);
    let stat = |name: &str| memory.stat.get(name).copied().unwrap_or_default();
    let cpu = CPUStat {
        usage_usec: cpu.total / MICRO,
        user_usec: cpu.user / MICRO,
        system_usec: cpu.system / MICRO,
        nr_periods: cpu.periods,
        nr_throttled: cpu.throttled_periods,
        throttled_usec: cpu.throttled / MICRO,
        ..CPUStat::default()
    };
    let memory = MemoryStat {
        anon: stat("anon"),
        file: stat("file"),
        kernel_stack: stat("kernel_stack"),
        slab: stat("slab"),
        sock: stat("sock"),
        shmem: stat("shmem"),
        file_mapped: stat("file_mapped"),
        file_dirty: stat("file_dirty"),
        file_writeback: stat("file_writeback"),
        anon_thp: stat("anon_thp"),
        inactive_anon: stat("inactive_anon"),
        active_anon: stat("active_anon"),
        inactive_file: memory.inactive_file,
        active_file: stat("active_file"),
        unevictable: stat("unevictable"),
        slab_reclaimable: stat("slab_reclaimable"),
        slab_unreclaimable: stat("slab_unreclaimable"),
        pgfault: stat("pgfault"),
        pgmajfault: stat("pgmajfault"),
        workingset_refault: stat("workingset_refault"),
        workingset_activate: stat("workingset_activate"),
        workingset_nodereclaim: stat("workingset_nodereclaim"),
        pgrefill: stat("pgrefill"),
        pgscan: stat("pgscan"),
        pgsteal: stat("pgsteal"),
        pgactivate: stat("pgactivate"),
        pgdeactivate: stat("pgdeactivate"),
        pglazyfree: stat("pglazyfree"),
        pglazyfreed: stat("pglazyfreed"),
        thp_fault_alloc: stat("thp_fault_alloc"),
        thp_collapse_alloc: stat("thp_collapse_alloc"),
        usage: memory.usage,
        usage_limit: memory.limit,
        swap_usage: memory.swap_usage,
        swap_limit: memory.swap_limit,
        max_usage: memory.peak,
        ..MemoryStat::default()
    };
    let pids =
        PidsStat { current: usage.pids.current, limit: usage.pids.limit, ..PidsStat::default() };
    Metrics {
        pids: MessageField::some(pids),
        cpu: MessageField::some(cpu),
        memory: MessageField::some(memory),
        ..Metrics::default()
    }
}

#[cfg(test)]
mod tests {
    use lighter::metrics::{CpuUsage, MemoryUsage, PidsUsage};

    use super::*;

    fn of_type(type_url: &str, value: Vec<u8>) -> Any {
        Any { type_url: type_url.into(), value, ..Any::default() }
    }

    #[test]
    fn options_of_all_kinds() {
        let node = Options::from_source(Source::Node);
        assert_eq!(options(None).expect("none"), node);
        assert_eq!(options(Some(&of_type("", vec![]))).expect("empty"), node);
        let runc = oci::Options { systemd_cgroup: true, ..oci::Options::default() }
            .write_to_bytes()
            .expect("encodes");
        let runc = options(Some(&of_type("containerd.runc.v1.Options", runc))).expect("runc");
        assert_eq!(runc, Options { source: Source::Node, systemd_cgroup: true });
        let first = options(Some(&of_type("containerd.linux.runc.CreateOptions", vec![])));
        assert_eq!(first.expect("runc's first"), node);
        let name = "types.containerd.io/runtimeoptions.v1.Options";
        let body = options(Some(&of_type(name, b"\x0a\x01t\x1a\x03a=1".to_vec()))).expect("body");
        assert_eq!(body.source, Source::Text("a=1".into()));
        let path = options(Some(&of_type(name, b"\x12\x02/c\x1a\x03a=1".to_vec()))).expect("path");
        assert_eq!(path.source, Source::File("/c".into()));
        let unknown = options(Some(&of_type("some.other.Options", vec![]))).expect_err("refused");
        assert_eq!(unknown.code, Code::InvalidArgument);
        assert!(unknown.message.contains("some.other.Options"), "{}", unknown.message);
    }

    #[test]
    fn cpu_time_is_in_the_hierarchys_own_unit() {
        let mut usage = Usage {
            hierarchy: Hierarchy::V1,
            cpu: CpuUsage { total: 5_000_000, ..CpuUsage::default() },
            memory: MemoryUsage::default(),
            pids: PidsUsage::default(),
        };
        let v1 = metrics(&usage).expect("encodes");
        assert_eq!(v1.type_url, "io.containerd.cgroups.v1.Metrics");
        let v1 = cgroups::metrics::Metrics::parse_from_bytes(&v1.value).expect("decodes");
        assert_eq!(v1.cpu.usage.total, 5_000_000);
        usage.hierarchy = Hierarchy::V2;
        let v2 = metrics(&usage).expect("encodes");
        assert_eq!(v2.type_url, "io.containerd.cgroups.v2.Metrics");
        let v2 = cgroups_v2::metrics::Metrics::parse_from_bytes(&v2.value).expect("decodes");
        assert_eq!(v2.cpu.usage_usec, 5_000);
    }
}
