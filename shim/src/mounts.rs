//! Mounting a container's root filesystem from what containerd's snapshotter asks for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use lighter::error::{Refusal, Result};
use lighter::plan::IdMap;
use lighter::sandbox::{map_ids_of_mount, user_namespace_of};
use nix::sched::CloneFlags;
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, fstatfs, open, statvfs};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen, mount, mount_bind, mount_bind_recursive, mount_change, mount_remount, move_mount,
    open_tree, unmount as umount,
};

/// One mount, as containerd describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The filesystem's type, or `bind`.
    pub(crate) kind: String,
    /// What is mounted.
    pub(crate) source: String,
    /// Where below the root filesystem; mostly empty.
    pub(crate) target: String,
    /// Options as in fstab.
    pub(crate) options: Vec<String>,
}

/// Of linux/magic.h.
const OVERLAYFS_SUPER_MAGIC: u64 = 0x794c_7630;

/// The kernel takes a page of options, with a final NUL.
const MAX_DATA: usize = 4095;

/// A mount's options, sorted by how the kernel wants them.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    flags: MountFlags,
    /// A bind mount, and whether of the whole tree.
    bind: Option<bool>,
    propagation: MountPropagationFlags,
    /// Left to the filesystem.
    data: Vec<String>,
    /// How the owners of its files are translated, for users and for groups.
    id_map: IdMaps,
}

type IdMaps = (Vec<IdMap>, Vec<IdMap>);

impl Options {
    fn parse(options: &[String]) -> Result<Self> {
        let mut parsed = Self {
            flags: MountFlags::empty(),
            bind: None,
            propagation: MountPropagationFlags::empty(),
            data: Vec::new(),
            id_map: IdMaps::default(),
        };
        for option in options {
            if let Some((flag, on)) = flag(option) {
                parsed.flags.set(flag, on);
                continue;
            }
            if let Some(propagation) = propagation(option) {
                parsed.propagation = propagation;
                continue;
            }
            match option.as_str() {
                "" | "defaults" | "async" | "nomand" => {}
                "bind" => parsed.bind = parsed.bind.or(Some(false)),
                "rbind" => parsed.bind = Some(true),
                "loop" => {
                    return Err(Refusal::invalid(format!(
                        "mount option {option:?} of the root filesystem is not supported"
                    )));
                }
                other if other.starts_with("uidmap=") => parsed.id_map.0 = id_map(other)?,
                other if other.starts_with("gidmap=") => parsed.id_map.1 = id_map(other)?,
                // Notes to containerd itself.
                other if other.starts_with("X-containerd.") => {}
                other => parsed.data.push(other.to_owned()),
            }
        }
        if parsed.id_map.0.is_empty() != parsed.id_map.1.is_empty() {
            return Err(Refusal::invalid(
                "mount options of the root filesystem: uidmap and gidmap go together",
            ));
        }
        Ok(parsed)
    }
}

/// Reads `uidmap=CONTAINER:HOST:SIZE,…`.
fn id_map(option: &str) -> Result<Vec<IdMap>> {
    let (_, maps) = option.split_once('=').unwrap_or_default();
    let numbers = |map: &str| {
        let mut numbers = map.split(':').map(|number| number.parse().ok());
        let map =
            IdMap { container: numbers.next()??, host: numbers.next()??, size: numbers.next()?? };
        numbers.next().is_none().then_some(map)
    };
    maps.split(',').map(numbers).collect::<Option<_>>().ok_or_else(|| {
        Refusal::invalid(format!(
            "mount option {option:?} of the root filesystem: not of the form CONTAINER:HOST:SIZE"
        ))
    })
}

fn flag(option: &str) -> Option<(MountFlags, bool)> {
    Some(match option {
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "nosuid" => (MountFlags::NOSUID, true),
        "suid" => (MountFlags::NOSUID, false),
        "nodev" => (MountFlags::NODEV, true),
        "dev" => (MountFlags::NODEV, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "noatime" => (MountFlags::NOATIME, true),
        "atime" => (MountFlags::NOATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "nostrictatime" => (MountFlags::STRICTATIME, false),
        _ => return None,
    })
}

fn propagation(option: &str) -> Option<MountPropagationFlags> {
    let (kind, recursive) = match option.strip_prefix('r') {
        Some(kind) if !kind.is_empty() => (kind, MountPropagationFlags::REC),
        _ => (option, MountPropagationFlags::empty()),
    };
    let kind = match kind {
        "private" => MountPropagationFlags::PRIVATE,
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some(kind | recursive)
}

/// Mounts all of `mounts` on `target`, or nothing.
///
/// # Errors
/// Names the mount that failed and what it was to be.
pub(crate) fn mount_all(mounts: &[Mount], target: &Path) -> Result<()> {
    for one in mounts {
        if let Err(refusal) = mount_one(one, target) {
            if let Err(also) = unmount(target) {
                log::warn!("{also}");
            }
            return Err(refusal);
        }
    }
    Ok(())
}

fn mount_one(one: &Mount, target: &Path) -> Result<()> {
    let options = Options::parse(&one.options)?;
    let target = below(target, &one.target)?;
    let step = || format!("mount {} {:?} on {}", one.kind, one.source, target.display());
    let mounted = match options.id_map.0.is_empty() {
        true => attach(one, &options, &target),
        false => attach_mapped(one, &options, &target),
    };
    mounted.map_err(|error| Refusal::system(step(), error))?;
    if !options.propagation.is_empty() {
        mount_change(&target, options.propagation)
            .map_err(|error| Refusal::system(step(), error))?;
    }
    Ok(())
}

/// Mounts it on `target`, the owners of files as they are.
fn attach(one: &Mount, options: &Options, target: &Path) -> io::Result<()> {
    match options.bind {
        Some(recursive) => bind(one, options, recursive, target),
        None if options.data.join(",").len() <= MAX_DATA => mount(
            &*one.source,
            target,
            &*one.kind,
            options.flags,
            c_string(&options.data.join(",")).as_deref(),
        )
        .map_err(io::Error::from),
        None => mount_long(one, options, target),
    }
}

/// Mounts it on `target` with the owners of its files translated; an overlay's lower layers are, as its upper one is the
/// container's own.
fn attach_mapped(one: &Mount, options: &Options, target: &Path) -> io::Result<()> {
    let (uid_map, gid_map) = &options.id_map;
    let namespace = user_namespace_of(uid_map, gid_map)?;
    let made = || -> io::Result<OwnedFd> {
        // In mounts of this thread's own, where layers can be covered by their translations: then what is mounted is
        // told of the same paths, and what comes of it is all that is seen outside.
        nix::sched::unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
        let copy = |path: &Path| {
            open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        };
        let map = |tree: &OwnedFd| map_ids_of_mount(tree.as_fd(), namespace.as_fd(), false);
        if one.kind != "overlay" {
            attach(one, options, target)?;
            let tree = copy(target)?;
            map(&tree)?;
            return Ok(tree);
        }
        for layer in layers(&options.data) {
            let tree = copy(Path::new(layer))?;
            map(&tree)?;
            put(&tree, Path::new(layer))?;
        }
        attach(one, options, target)?;
        Ok(copy(target)?)
    };
    let tree = std::thread::scope(|scope| {
        let panicked = |_| Err(io::Error::other("the mounting thread panicked"));
        scope.spawn(made).join().unwrap_or_else(panicked)
    })?;
    put(&tree, target)
}

/// Attaches the detached `tree` at `target`.
fn put(tree: &OwnedFd, target: &Path) -> io::Result<()> {
    Ok(move_mount(tree.as_fd(), "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// An overlay's lower layers.
fn layers(data: &[String]) -> impl Iterator<Item = &str> {
    let lower = data.iter().find_map(|option| option.strip_prefix("lowerdir="));
    lower.into_iter().flat_map(|layers| layers.split(':'))
}

/// The mount's place: `target` within `root`, which the request may not leave.
fn below(root: &Path, target: &str) -> Result<PathBuf> {
    let inside = Path::new(target.trim_start_matches('/'));
    if inside
        .components()
        .any(|part| !matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir))
    {
        return Err(Refusal::invalid(format!(
            "mount target {target:?} leaves the root filesystem"
        )));
    }
    Ok(if inside.as_os_str().is_empty() { root.to_owned() } else { root.join(inside) })
}

fn c_string(data: &str) -> Option<std::ffi::CString> {
    // Options come as C strings from here on; one with a NUL in it is cut there by no one else either.
    (!data.is_empty()).then(|| std::ffi::CString::new(data).ok()).flatten()
}

fn bind(one: &Mount, options: &Options, recursive: bool, target: &Path) -> io::Result<()> {
    match recursive {
        true => mount_bind_recursive(&*one.source, target)?,
        false => mount_bind(&*one.source, target)?,
    }
    if !options.flags.is_empty() {
        // A bind mount takes its source's flags; ours need a second step.
        let remount = |flags| mount_remount(target, MountFlags::BIND | flags, c"");
        match remount(options.flags) {
            // In a user namespace those that the source came with cannot be taken away.
            Err(Errno::PERM) => remount(options.flags | flags_of(target)?)?,
            done => done?,
        }
    }
    Ok(())
}

/// What is mounted on `target` has these.
fn flags_of(target: &Path) -> io::Result<MountFlags> {
    let flags = statvfs(target)?.f_flag;
    Ok([
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ]
    .into_iter()
    .filter(|(has, _)| flags.contains(*has))
    .fold(MountFlags::empty(), |all, (_, flag)| all | flag))
}

/// Mounts what has more options than mount(2) takes: an overlay of many layers.
fn mount_long(one: &Mount, options: &Options, target: &Path) -> io::Result<()> {
    let filesystem = fsopen(&*one.kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(filesystem.as_fd(), "source", &*one.source)?;
    match configure(&filesystem, options) {
        Ok(()) => {}
        // Before Linux 6.8, layers cannot be given one by one.
        Err(Errno::INVAL) if one.kind == "overlay" => return mount_relative(one, options, target),
        Err(errno) => return Err(errno.into()),
    }
    let attributes = attributes(options.flags);
    let tree = fsmount(filesystem.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    put(&tree, target)
}

fn configure(filesystem: &impl AsFd, options: &Options) -> Result<(), Errno> {
    if options.flags.contains(MountFlags::RDONLY) {
        fsconfig_set_flag(filesystem.as_fd(), "ro")?;
    }
    for option in &options.data {
        match option.split_once('=') {
            Some(("lowerdir", layers)) => {
                for layer in layers.split(':') {
                    fsconfig_set_string(filesystem.as_fd(), "lowerdir+", layer)?;
                }
            }
            Some((key, value)) => fsconfig_set_string(filesystem.as_fd(), key, value)?,
            None => fsconfig_set_flag(filesystem.as_fd(), option.as_str())?,
        }
    }
    fsconfig_create(filesystem.as_fd())
}

fn attributes(flags: MountFlags) -> MountAttrFlags {
    [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (MountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    ]
    .into_iter()
    .filter(|(flag, _)| flags.contains(*flag))
    .fold(MountAttrFlags::empty(), |all, (_, attribute)| all | attribute)
}

/// Mounts an overlay from its layers' common directory, so that their names are short.
fn mount_relative(one: &Mount, options: &Options, target: &Path) -> io::Result<()> {
    let Some((dir, data)) = relative(&options.data) else {
        return Err(io::Error::other(format!("its options are longer than {MAX_DATA} bytes")));
    };
    let data = c_string(&data);
    std::thread::scope(|scope| {
        // A thread of its own, with a working directory of its own: nobody else may see it change.
        let mounter = scope.spawn(|| -> io::Result<()> {
            nix::sched::unshare(CloneFlags::CLONE_FS)?;
            std::env::set_current_dir(&dir)?;
            Ok(mount(&*one.source, target, &*one.kind, options.flags, data.as_deref())?)
        });
        mounter.join().unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))
    })
}

/// The common directory of all `lowerdir`s, and the options with them relative to it, if that is short enough.
fn relative(data: &[String]) -> Option<(PathBuf, String)> {
    let layers: Vec<&str> =
        data.iter().find_map(|o| o.strip_prefix("lowerdir="))?.split(':').collect();
    let mut dir = Path::new(layers.first()?).parent()?;
    while !layers.iter().all(|layer| Path::new(layer).starts_with(dir)) {
        dir = dir.parent()?;
    }
    let short: Vec<&str> =
        layers.iter().filter_map(|l| Path::new(l).strip_prefix(dir).ok()?.to_str()).collect();
    let lower = format!("lowerdir={}", short.join(":"));
    let data: Vec<&str> =
        data.iter().map(|o| if o.starts_with("lowerdir=") { &*lower } else { &**o }).collect();
    let data = data.join(",");
    (data.len() <= MAX_DATA).then(|| (dir.to_owned(), data))
}

/// Unmounts everything that is mounted on `target`. Nothing there is fine.
///
/// # Errors
/// Names `target` and the kernel's reason.
pub(crate) fn unmount(target: &Path) -> Result<()> {
    loop {
        let mut unmounted = umount(target, UnmountFlags::NOFOLLOW);
        if unmounted == Err(Errno::BUSY) {
            // Somebody still looks into it; it goes when they do.
            unmounted = umount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
        }
        match unmounted {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => {
                return Err(Refusal::system(
                    format_args!("unmount {}", target.display()),
                    io::Error::from(errno),
                ));
            }
        }
    }
}

/// Detaches all that is mounted on `target`, as [`unmount`] does. An overlay is kept by what is returned, though nobody finds it any
/// more: when that is dropped, the kernel writes out the file system that the upper layer is on, which may take milliseconds.
///
/// # Errors
/// As [`unmount`] has them.
pub(crate) fn detach(target: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Of other file systems, the one below may be wanted back at once: by a snapshotter with block devices.
    let overlay = open(target, flags, Mode::empty())
        .ok()
        .filter(|root| fstatfs(root).is_ok_and(|fs| fs.f_type as u64 == OVERLAYFS_SUPER_MAGIC));
    if overlay.is_some() {
        // Mounted here, or the directory of one that is mounted above: then there is nothing to be detached.
        let _ = umount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
    }
    unmount(target).map(|()| overlay)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(options: &[&str]) -> Options {
        Options::parse(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
            .expect("options")
    }

    #[test]
    fn a_snapshotters_bind_mount() {
        let parsed = options(&["rbind", "ro", "nosuid"]);
        assert_eq!(parsed.bind, Some(true));
        assert_eq!(parsed.flags, MountFlags::RDONLY | MountFlags::NOSUID);
        assert!(parsed.data.is_empty());
    }

    #[test]
    fn a_snapshotters_overlay() {
        let parsed = options(&[
            "index=off",
            "workdir=/w",
            "upperdir=/u",
            "lowerdir=/a:/b",
            "X-containerd.note=1",
        ]);
        assert_eq!(parsed.bind, None);
        assert_eq!(parsed.data, ["index=off", "workdir=/w", "upperdir=/u", "lowerdir=/a:/b"]);
    }

    #[test]
    fn the_last_of_opposite_options_counts() {
        assert_eq!(options(&["ro", "rw"]).flags, MountFlags::empty());
        assert_eq!(options(&["suid", "nosuid"]).flags, MountFlags::NOSUID);
    }

    #[test]
    fn propagation_is_a_step_of_its_own() {
        assert_eq!(
            options(&["rslave"]).propagation,
            MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC
        );
        assert_eq!(options(&["private"]).propagation, MountPropagationFlags::PRIVATE);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let refused = |option: &str| {
            let error = Options::parse(&[option.to_owned()]).expect_err("refused");
            assert!(error.message.contains(option.split('=').next().expect("a name")), "{error}");
        };
        for option in ["loop", "uidmap=0:1000:1", "uidmap=0:1000", "gidmap=0:1:2:3", "uidmap="] {
            refused(option);
        }
        assert!(below(Path::new("/r"), "../etc").is_err());
        assert_eq!(below(Path::new("/r"), "/etc").expect("inside"), Path::new("/r/etc"));
    }

    #[test]
    fn ids_are_mapped_for_users_and_groups() {
        let options = options(&["uidmap=0:65536:65536", "gidmap=0:100:1,1:5:2", "lowerdir=/a:/b"]);
        let map = |container, host, size| IdMap { container, host, size };
        assert_eq!(
            options.id_map,
            (vec![map(0, 65536, 65536)], vec![map(0, 100, 1), map(1, 5, 2)])
        );
        assert_eq!(layers(&options.data).collect::<Vec<_>>(), ["/a", "/b"]);
    }

    #[test]
    fn long_layers_become_relative() {
        let layers: Vec<String> =
            (0..100).map(|n| format!("/var/lib/{}/snapshots/{n}/fs", "x".repeat(60))).collect();
        let data = ["workdir=/w".to_owned(), format!("lowerdir={}", layers.join(":"))];
        let (dir, short) = relative(&data).expect("short enough");
        assert_eq!(dir, Path::new("/var/lib").join("x".repeat(60)).join("snapshots"));
        assert!(short.starts_with("workdir=/w,lowerdir=0/fs:1/fs:"), "{short}");
    }

    #[test]
    fn an_overlay_of_more_layers_than_mount_takes() {
        assert!(rustix::process::geteuid().is_root(), "this test mounts: run it as root");
        let dir = std::env::temp_dir().join(format!(
            "lighter-mounts-{}-{}",
            std::process::id(),
            "x".repeat(60)
        ));
        let layers: Vec<String> =
            (0..80).map(|n| dir.join(n.to_string()).display().to_string()).collect();
        for layer in &layers {
            std::fs::create_dir_all(layer).expect("layer");
        }
        std::fs::write(Path::new(&layers[79]).join("lowest"), "here").expect("file");
        let one = Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options: vec![format!("lowerdir={}", layers.join(":"))],
        };
        let target = dir.join("rootfs");
        std::fs::create_dir(&target).expect("target");
        mount_all(std::slice::from_ref(&one), &target).expect("mounted layer by layer");
        assert_eq!(std::fs::read_to_string(target.join("lowest")).expect("seen"), "here");
        unmount(&target).expect("unmounted");
        mount_relative(&one, &Options::parse(&one.options).expect("options"), &target)
            .expect("mounted relative");
        assert_eq!(std::fs::read_to_string(target.join("lowest")).expect("seen"), "here");
        unmount(&target).expect("unmounted");
        assert!(!target.join("lowest").exists());
        std::fs::remove_dir_all(dir).expect("clean up");
    }
}
