//! `--volume`, `--mount` and `--tmpfs`: what of the node's files the guest may use, and where it finds them.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use oci_spec::runtime;

use super::amount;

/// A bind mount or a tmpfs, as the bundle has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    destination: PathBuf,
    /// A path of the node's; a tmpfs has none.
    source: Option<PathBuf>,
    options: Vec<String>,
}

/// What Docker has of any tmpfs.
const TMPFS: [&str; 3] = ["noexec", "nosuid", "nodev"];

impl Mount {
    /// A file or directory of the node's, read-only or not.
    pub(super) fn bind(source: &Path, destination: &str, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned());
        Self {
            destination: destination.into(),
            source: Some(source.to_owned()),
            options: std::iter::once("rbind".to_owned()).chain(options).collect(),
        }
    }

    /// As the runtime specification has it.
    pub(super) fn to_spec(&self) -> runtime::Mount {
        let mut mount = runtime::Mount::default();
        let kind = if self.source.is_some() { "bind" } else { "tmpfs" };
        mount
            .set_destination(self.destination.clone())
            .set_typ(Some(kind.to_owned()))
            .set_source(Some(self.source.clone().unwrap_or_else(|| "tmpfs".into())))
            .set_options(Some(self.options.clone()));
        mount
    }

    /// What is wrong with its source, if anything is.
    pub(super) fn check(&self) -> Result<(), String> {
        let Some(source) = &self.source else { return Ok(()) };
        match std::fs::metadata(source) {
            Ok(_) => Ok(()),
            Err(e) => Err(format!("the volume {}: {e}", source.display())),
        }
    }
}

/// `--volume HOST:CONTAINER[:OPTIONS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Volume(pub(super) Mount);

impl FromStr for Volume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (source, destination, options) = match (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            (Some(source), Some(destination), options, None) if !source.is_empty() => {
                (source, destination, options.unwrap_or_default())
            }
            (Some(only), None, ..) => {
                return Err(format!(
                    "{text:?}: there are no anonymous volumes; write DIRECTORY:{only}, or --tmpfs {only} for \
                         an empty one"
                ));
            }
            _ => return Err(format!("{text:?} is not of the form HOST:CONTAINER[:ro]")),
        };
        if !source.starts_with(['/', '.']) {
            return Err(format!(
                "{text:?}: there are no named volumes; for a directory write its path, ./{source}"
            ));
        }
        let mut mount =
            Mount::bind(&source_path(source)?, &destination_path(text, destination)?, &[]);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            mount.options.push(volume_option(text, option)?);
        }
        Ok(Self(mount))
    }
}

fn volume_option(text: &str, option: &str) -> Result<String, String> {
    match option {
        "ro" | "rw" => Ok(option.to_owned()),
        "nosuid" | "suid" | "nodev" | "dev" | "noexec" | "exec" | "rbind" | "bind" => {
            Ok(option.to_owned())
        }
        "z" | "Z" if !Path::new("/sys/fs/selinux/enforce").exists() => Ok(option.to_owned()),
        "z" | "Z" => Err(format!(
            "{text:?}: files are not relabelled for SELinux: do it with chcon -Rt container_file_t, and leave the \
             {option:?} away"
        )),
        _ => propagation(text, option),
    }
}

fn propagation(text: &str, option: &str) -> Result<String, String> {
    match option {
        "private" | "rprivate" | "slave" | "rslave" => Ok(option.to_owned()),
        "shared" | "rshared" => {
            Err(format!("{text:?}: a guest mounts nothing that could be shared"))
        }
        _ => Err(format!("{text:?}: {option:?} is not an option of a volume")),
    }
}

/// `--tmpfs CONTAINER[:OPTIONS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tmpfs(pub(super) Mount);

impl FromStr for Tmpfs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (destination, options) = text.split_once(':').unwrap_or((text, ""));
        let mut mount = tmpfs(destination_path(text, destination)?);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            mount.options.push(match option.split_once('=') {
                Some(("size", size)) => format!("size={}", percent_or_bytes(text, size)?),
                Some(("mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks", _)) => option.to_owned(),
                None if FLAGS.contains(&option) => option.to_owned(),
                _ => return Err(format!("{text:?}: {option:?} is not an option of a tmpfs")),
            });
        }
        Ok(Self(mount))
    }
}

const FLAGS: [&str; 10] =
    ["ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime"];

fn tmpfs(destination: String) -> Mount {
    let options = TMPFS.map(str::to_owned).into_iter().chain(["mode=1777".to_owned()]).collect();
    Mount { destination: destination.into(), source: None, options }
}

fn percent_or_bytes(text: &str, size: &str) -> Result<String, String> {
    match size.strip_suffix('%') {
        Some(percent) if percent.parse::<u8>().is_ok() => Ok(size.to_owned()),
        _ => amount::bytes(size).map(|b| b.to_string()).map_err(|why| format!("{text:?}: {why}")),
    }
}

/// `--mount type=bind|tmpfs,KEY=VALUE,…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described(pub(super) Mount);

impl FromStr for Described {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields: Vec<(&str, &str)> =
            text.split(',').map(|field| field.split_once('=').unwrap_or((field, ""))).collect();
        let kind = fields.iter().find(|(key, _)| *key == "type").map(|(_, value)| *value);
        match kind {
            Some("bind" | "tmpfs") => {}
            Some("volume") | None => {
                return Err(format!(
                    "{text:?}: there are no named volumes; write type=bind with the path of a directory as src"
                ));
            }
            Some(other) => {
                return Err(format!("{text:?}: the type {other:?} is neither bind nor tmpfs"));
            }
        }
        let (mut source, mut destination, mut options) = (None, None, Vec::new());
        for (key, value) in &fields {
            match (*key, kind) {
                ("type", _) => {}
                ("source" | "src", Some("bind")) => source = Some(*value),
                ("destination" | "dst" | "target", _) => destination = Some(*value),
                ("readonly" | "ro", _) => options.push(match *value {
                    "" | "true" | "1" => "ro".to_owned(),
                    "false" | "0" => "rw".to_owned(),
                    _ => return Err(format!("{text:?}: {key}={value} is neither true nor false")),
                }),
                ("bind-propagation", Some("bind")) => options.push(propagation(text, value)?),
                ("bind-nonrecursive", Some("bind")) if matches!(*value, "" | "true" | "1") => {
                    options.push("bind".to_owned());
                }
                ("tmpfs-size", Some("tmpfs")) => {
                    options.push(format!("size={}", percent_or_bytes(text, value)?));
                }
                ("tmpfs-mode", Some("tmpfs")) if u32::from_str_radix(value, 8).is_ok() => {
                    options.push(format!("mode={value}"));
                }
                _ => return Err(format!("{text:?}: {key}={value} is not of such a mount")),
            }
        }
        let destination = destination.ok_or_else(|| format!("{text:?}: dst=PATH is missing"))?;
        let destination = destination_path(text, destination)?;
        let mut mount = match (kind, source) {
            (Some("bind"), Some(source)) => Mount::bind(&source_path(source)?, &destination, &[]),
            (Some("bind"), None) => return Err(format!("{text:?}: src=PATH is missing")),
            (_, _) => tmpfs(destination),
        };
        if options.iter().any(|option| option == "bind") {
            mount.options.retain(|option| option != "rbind");
        }
        mount.options.append(&mut options);
        Ok(Self(mount))
    }
}

fn source_path(source: &str) -> Result<PathBuf, String> {
    std::path::absolute(source).map_err(|e| format!("{source:?}: {e}"))
}

fn destination_path(text: &str, destination: &str) -> Result<String, String> {
    match destination.starts_with('/') && !destination.trim_matches('/').is_empty() {
        true => Ok(destination.to_owned()),
        false => Err(format!(
            "{text:?}: the path in the container, {destination:?}, must be absolute, and not the root"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(text: &str) -> Result<Mount, String> {
        text.parse::<Volume>().map(|volume| volume.0)
    }

    fn described(text: &str) -> Result<Mount, String> {
        text.parse::<Described>().map(|described| described.0)
    }

    #[test]
    fn volumes_are_directories_of_the_node() {
        assert_eq!(
            volume("/srv:/data:ro").unwrap(),
            Mount::bind("/srv".as_ref(), "/data", &["ro"])
        );
        let here = std::env::current_dir().unwrap();
        assert_eq!(volume("./d:/data").unwrap().source, Some(here.join("d")));
        assert_eq!(volume(".:/data").unwrap().source, Some(here));
        for (text, words) in [
            ("data:/data", "./data"),
            ("/data", "--tmpfs /data"),
            ("/srv:data", "must be absolute"),
            ("/srv:/", "not the root"),
            ("/srv:/data:rshared", "shared"),
            ("/srv:/data:fast", "\"fast\""),
            ("/srv:/data:ro:x", "HOST:CONTAINER"),
            (":/data", "HOST:CONTAINER"),
        ] {
            assert!(volume(text).unwrap_err().contains(words), "{text}");
        }
    }

    #[test]
    fn mounts_are_described_by_keys() {
        let bind = described("type=bind,src=/srv,dst=/data,readonly").unwrap();
        assert_eq!(bind, Mount::bind("/srv".as_ref(), "/data", &["ro"]));
        let tmpfs = described("type=tmpfs,target=/t,tmpfs-size=64k,tmpfs-mode=700").unwrap();
        assert_eq!(tmpfs.options[3..], ["mode=1777", "size=65536", "mode=700"]);
        let options = "/t:size=1m,noexec".parse::<Tmpfs>().unwrap().0.options;
        assert_eq!(options[4..], ["size=1048576", "noexec"]);
        for (text, words) in [
            ("src=/a,dst=/b", "type=bind"),
            ("type=bind,dst=/b", "src=PATH"),
            ("type=bind,src=/a", "dst=PATH"),
            ("type=tmpfs,dst=/b,src=/a", "src=/a"),
            ("type=npipe,dst=/b", "\"npipe\""),
            ("type=bind,src=/a,dst=/b,tmpfs-size=1", "tmpfs-size=1"),
        ] {
            assert!(described(text).unwrap_err().contains(words), "{text}");
        }
        assert!("/t:size=many".parse::<Tmpfs>().is_err() && "t".parse::<Tmpfs>().is_err());
    }
}
