//! The command line, in the manner of Go's `flag` package, which containerd writes it for.

use std::path::PathBuf;

use anyhow::bail;

/// What the shim is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Find or make the server of a container's group and print its address.
    Start,
    /// Clean up after a container whose server is gone.
    Delete,
    /// Print the version.
    Version,
    /// Print what the runtime can do.
    Info,
}

/// The command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    /// What to do.
    pub(crate) action: Action,
    /// containerd's namespace.
    pub(crate) namespace: String,
    /// The container's id.
    pub(crate) id: String,
    /// Address of containerd's gRPC socket.
    pub(crate) address: String,
    /// The bundle; otherwise it is the working directory.
    pub(crate) bundle: Option<PathBuf>,
    /// Where to listen; otherwise it is worked out.
    pub(crate) socket: Option<String>,
    /// Log more.
    pub(crate) debug: bool,
}

impl Flags {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    /// Names the flag or the action that is unknown, incomplete or missing.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let (mut namespace, mut id, mut address) = (String::new(), String::new(), String::new());
        let (mut bundle, mut socket) = (None, None);
        let (mut debug, mut version, mut info) = (false, false, false);
        let mut action = None;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Some(flag) = flag_of(&arg) else {
                action = Some(arg);
                break;
            };
            if flag.is_empty() {
                action = args.next();
                break;
            }
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            match name {
                "debug" => debug = switch(name, value)?,
                "v" | "version" => version = switch(name, value)?,
                "info" => info = switch(name, value)?,
                "namespace" | "id" | "address" | "publish-binary" | "bundle" | "socket" => {
                    let Some(value) = value.or_else(|| args.next()) else {
                        bail!("flag -{name} needs a value");
                    };
                    match name {
                        "namespace" => namespace = value,
                        "id" => id = value,
                        "address" => address = value,
                        "bundle" => {
                            bundle = Some(value.into()).filter(|p: &PathBuf| *p != PathBuf::new())
                        }
                        "socket" => socket = Some(value).filter(|s| !s.is_empty()),
                        // Events go over ttrpc; there is no program to run for them.
                        _ => {}
                    }
                }
                _ => bail!("unknown flag {arg:?}"),
            }
        }
        let action = match action.as_deref() {
            _ if version => Action::Version,
            _ if info => Action::Info,
            Some("start") => Action::Start,
            Some("delete") => Action::Delete,
            Some(other) => {
                bail!("unknown action {other:?}: this shim knows \"start\" and \"delete\"")
            }
            None => bail!(
                "an action is missing: containerd runs this program with \"start\" or \"delete\""
            ),
        };
        if matches!(action, Action::Start | Action::Delete) {
            if namespace.is_empty() {
                bail!("flag -namespace is missing");
            }
            if id.is_empty() {
                bail!("flag -id is missing");
            }
        }
        Ok(Self { action, namespace, id, address, bundle, socket, debug })
    }
}

/// The argument without its one or two dashes, if it is a flag: `--` is the empty flag, `-` is none.
fn flag_of(arg: &str) -> Option<&str> {
    match arg.strip_prefix("--") {
        Some(flag) => Some(flag),
        None => arg.strip_prefix('-').filter(|flag| !flag.is_empty()),
    }
}

fn switch(name: &str, value: Option<String>) -> anyhow::Result<bool> {
    Ok(match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some(other) => bail!("flag -{name} is {other:?}, which is neither true nor false"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> anyhow::Result<Flags> {
        Flags::parse(args.iter().map(|a| (*a).to_owned()))
    }

    #[test]
    fn containerds_own_command_line() {
        let flags = parse(&[
            "-namespace",
            "default",
            "-address",
            "/run/c.sock",
            "-publish-binary",
            "/usr/bin/containerd",
            "-id",
            "x",
            "-debug",
            "start",
        ])
        .expect("parses");
        assert_eq!(
            flags,
            Flags {
                action: Action::Start,
                namespace: "default".into(),
                id: "x".into(),
                address: "/run/c.sock".into(),
                bundle: None,
                socket: None,
                debug: true,
            }
        );
    }

    #[test]
    fn all_spellings_of_go() {
        let flags =
            parse(&["--namespace=n", "-id=a=b", "--bundle", "/b", "-debug=false", "delete"])
                .expect("parses");
        assert_eq!((flags.namespace.as_str(), flags.id.as_str()), ("n", "a=b"));
        assert_eq!(
            (flags.bundle, flags.debug, flags.action),
            (Some("/b".into()), false, Action::Delete)
        );
        assert_eq!(
            parse(&["-id", "i", "-namespace", "n", "--", "start"]).expect("parses").action,
            Action::Start
        );
    }

    #[test]
    fn version_and_info_need_nothing_else() {
        assert_eq!(parse(&["-v"]).expect("parses").action, Action::Version);
        assert_eq!(parse(&["-info"]).expect("parses").action, Action::Info);
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (args, part) in [
            (&["-frobnicate", "start"][..], "frobnicate"),
            (&["-namespace", "n", "-id"], "-id"),
            (&["-namespace", "n", "start"], "-id is missing"),
            (&["-id", "n", "start"], "-namespace is missing"),
            (&["-id", "i", "-namespace", "n", "stop"], "\"stop\""),
            (&["-id", "i", "-namespace", "n"], "action is missing"),
            (&["-debug=perhaps", "start"], "perhaps"),
        ] {
            let error = parse(args).expect_err("refused").to_string();
            assert!(error.contains(part), "{args:?}: {error}");
        }
    }
}
