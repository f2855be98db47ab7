//! The bundle's `config.json`, of what was typed and what there is to run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use oci_spec::runtime::{
    BoxBuilder, Linux, LinuxCpuBuilder, LinuxMemoryBuilder, LinuxNamespace, LinuxNamespaceType,
    LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, PosixRlimit, Process, Root, Spec,
    User as SpecUser,
};

use rustix::stdio::{stdin, stdout};
use rustix::termios::{Winsize, tcgetwinsize};

use super::args::{Args, Network};
use super::mount::Mount;
use super::program::Program;
use super::rootless::Caller;
use super::{amount, environment, port, user};

/// A container as it is wanted, but for its name.
#[derive(Debug)]
pub(super) struct Wanted {
    args: Vec<String>,
    environment: environment::Environment,
    cwd: PathBuf,
    user: user::User,
    rlimits: Vec<PosixRlimit>,
    is_terminal: bool,
    read_only: bool,
    mounts: Vec<Mount>,
    network: Network,
    hostname: Option<String>,
    resources: Option<LinuxResources>,
    cgroup_parent: Option<PathBuf>,
    annotations: HashMap<String, String>,
    has_docker_variables: bool,
}

/// What `args` want of `program`.
pub(super) fn wanted(args: &Args, program: &Program, caller: Caller) -> Result<Wanted> {
    let user = program.user(args)?;
    caller.check(&user)?;
    let mut environment = program.environment(&user);
    if args.tty {
        environment.set_default("TERM", "xterm");
    }
    for file in &args.env_file {
        environment.add_file(file)?;
    }
    for variable in &args.env {
        environment.add(variable)?;
    }
    Ok(Wanted {
        args: program.arguments(args)?,
        environment,
        cwd: working_directory(args, program)?,
        user,
        rlimits: args.ulimit.iter().map(|limit| limit.0).collect(),
        is_terminal: args.tty,
        // There is nothing to write to in the root of a file.
        read_only: args.read_only || !program.is_image(),
        mounts: mounts(args, program),
        network: args.network,
        hostname: args.hostname.clone(),
        resources: resources(args)?,
        cgroup_parent: args.cgroup_parent.clone(),
        annotations: annotations(args, program)?,
        has_docker_variables: program.is_image(),
    })
}

fn working_directory(args: &Args, program: &Program) -> Result<PathBuf> {
    let dir = args.workdir.as_deref().unwrap_or(program.working_directory());
    match dir.is_absolute() {
        true => Ok(dir.to_owned()),
        false => bail!("--workdir {}: is not an absolute path in the container", dir.display()),
    }
}

/// The program's own mounts, then those that were asked for, which may lie upon them.
fn mounts(args: &Args, program: &Program) -> Vec<Mount> {
    let asked = args
        .mount
        .iter()
        .map(|mount| &mount.0)
        .chain(args.volume.iter().map(|volume| &volume.0))
        .chain(args.tmpfs.iter().map(|tmpfs| &tmpfs.0));
    let names = match args.network {
        Network::None => Vec::new(),
        Network::Default | Network::Host if program.may_look_up_names() => NAMES
            .iter()
            .filter(|path| Path::new(path).is_file())
            .map(|path| Mount::bind(path.as_ref(), path, &["ro", "nosuid", "nodev", "noexec"]))
            .collect(),
        Network::Default | Network::Host => Vec::new(),
    };
    names.into_iter().chain(program.mounts()).chain(asked.cloned()).collect()
}

/// By which names are looked up, as the machine itself does in the network that they share.
const NAMES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

fn annotations(args: &Args, program: &Program) -> Result<HashMap<String, String>> {
    let mut annotations = HashMap::from([("io.lighter.handler".to_owned(), "wasm".to_owned())]);
    let ports = port::annotations(&args.publish, args.network).map_err(anyhow::Error::msg)?;
    annotations.extend(ports.into_iter().map(|(name, value)| (name.to_owned(), value)));
    // By the image specification's name for them: a server that leaves its port to others finds it there.
    let exposed = port::exposed(&args.publish).or_else(|| program.exposed_ports());
    if let Some(ports) = exposed {
        annotations.insert("org.opencontainers.image.exposedPorts".to_owned(), ports);
    }
    if let Some(seconds @ 1..) = args.timeout {
        annotations.insert("io.lighter.limits.timeout".to_owned(), format!("{seconds}s"));
    }
    if let Some(signal) = program.stop_signal_name(args) {
        annotations.insert("org.opencontainers.image.stopSignal".to_owned(), signal.to_owned());
    }
    for annotation in &args.annotation {
        match annotation.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                annotations.insert(name.to_owned(), value.to_owned());
            }
            _ => bail!("--annotation {annotation:?}: is not of the form NAME=VALUE"),
        }
    }
    Ok(annotations)
}

fn resources(args: &Args) -> Result<Option<LinuxResources>> {
    let mut resources = LinuxResourcesBuilder::default();
    let mut is_limited = false;
    if let Some(limit) = args.memory {
        let mut memory = LinuxMemoryBuilder::default().limit(limit);
        if let Some(swap) = args.memory_swap {
            memory = memory.swap(swap);
        }
        resources = resources.memory(memory.build()?);
        is_limited = true;
    }
    if args.cpus.is_some() || args.cpu_shares.is_some() || args.cpuset_cpus.is_some() {
        let mut cpu = LinuxCpuBuilder::default();
        if let Some(quota) = args.cpus {
            cpu = cpu.quota(quota).period(amount::CPU_PERIOD);
        }
        if let Some(shares @ 1..) = args.cpu_shares {
            cpu = cpu.shares(shares);
        }
        if let Some(list) = &args.cpuset_cpus {
            cpu = cpu.cpus(list.clone());
        }
        resources = resources.cpu(cpu.build()?);
        is_limited = true;
    }
    if let Some(limit) = args.pids_limit {
        resources = resources.pids(LinuxPidsBuilder::default().limit(limit).build()?);
        is_limited = true;
    }
    Ok(is_limited.then(|| resources.build()).transpose()?)
}

impl Wanted {
    /// The bundle's configuration, of a container with this id.
    pub(super) fn into_spec(mut self, id: &str) -> Result<Spec> {
        let hostname = self.hostname.take().unwrap_or_else(|| id.chars().take(63).collect());
        if self.has_docker_variables {
            self.environment.set_default("HOSTNAME", &hostname);
        }
        let mut user = SpecUser::default();
        user.set_uid(self.user.uid).set_gid(self.user.gid);
        if !self.user.groups.is_empty() {
            user.set_additional_gids(Some(self.user.groups));
        }
        let mut process = Process::default();
        process
            .set_args(Some(self.args))
            .set_env(Some(self.environment.lines()))
            .set_cwd(self.cwd)
            .set_user(user)
            .set_capabilities(None)
            .set_rlimits(Some(self.rlimits))
            .set_no_new_privileges(Some(true))
            .set_terminal(Some(self.is_terminal));
        if let Some(size) = terminal_size().filter(|_| self.is_terminal) {
            let (width, height) = (u64::from(size.ws_col), u64::from(size.ws_row));
            let characters = BoxBuilder::default().width(width).height(height).build()?;
            process.set_console_size(Some(characters));
        }
        let mut root = Root::default();
        root.set_path(super::place::ROOT.into()).set_readonly(Some(self.read_only));
        let mut linux = Linux::default();
        let parent = self.cgroup_parent.map(|parent| Path::new("/").join(parent).join(id));
        linux
            .set_namespaces(Some(namespaces(self.network)))
            .set_resources(self.resources)
            .set_cgroups_path(parent)
            .set_devices(None)
            .set_masked_paths(None)
            .set_readonly_paths(None);
        let mut spec = Spec::default();
        spec.set_process(Some(process))
            .set_root(Some(root))
            .set_hostname(Some(hostname))
            .set_mounts(Some(self.mounts.iter().map(Mount::to_spec).collect()))
            .set_annotations(Some(self.annotations))
            .set_linux(Some(linux));
        Ok(spec)
    }
}

/// The size of the terminal that this command is called at, if there is one.
fn terminal_size() -> Option<Winsize> {
    [stdout(), stdin()].into_iter().find_map(|fd| tcgetwinsize(fd).ok())
}

fn namespaces(network: Network) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType::{Ipc, Mount, Network as Net, Pid, Uts};
    let of_its_own = (network == Network::None).then_some(Net);
    let kinds = [Mount, Pid, Ipc, Uts].into_iter().chain(of_its_own);
    kinds
        .map(|kind| {
            let mut namespace = LinuxNamespace::default();
            namespace.set_typ(kind);
            namespace
        })
        .collect()
}
