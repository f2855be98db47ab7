//! A Podman of a plain user's.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libtest_mimic::Trial;
use serde_json::json;

use super::node::{self, RUNTIME, environment};
use crate::frontends::client::{Client, answers, resting};
use crate::frontends::converse;
use crate::support::command;
use crate::support::containerd::LIMIT;
use crate::support::process::Process;
use crate::support::rootless::{RANGE, USER};
use crate::support::suite::Suite;
use crate::support::trials::plain;

static SHARED: OnceLock<Rootless> = OnceLock::new();

macro_rules! rootless_trials {
    ($($test:ident),* $(,)?) => {
        vec![$(plain(module_path!(), stringify!($test), || $test(Rootless::shared()))),*]
    };
}

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    rootless_trials![
        a_guest_runs_until_it_is_stopped,
        files_belong_to_the_user,
        a_published_port_leads_to_it,
        what_cannot_run_is_said_here_too,
    ]
}

/// Ends what tests shared, and says what is left of it.
pub fn stop_shared() -> Vec<String> {
    SHARED.get().map_or_else(Vec::new, Rootless::end)
}

/// A Podman that is not root; tests share it, and run in parallel in it.
#[derive(Debug)]
struct Rootless {
    client: Client,
    dir: PathBuf,
    runtime_dir: PathBuf,
}

impl Deref for Rootless {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Rootless {
    fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let dir = Suite::get().dir().join("rootless");
        fs::create_dir(&dir).unwrap();
        let mut environment = environment(&dir).to_vec();
        // Without it, the cache is where a user's is.
        let configuration = dir.join("containers.conf");
        let named = format!("\"LIGHTER_CONFIG={}\", ", dir.join("lighter.toml").display());
        let text = fs::read_to_string(&configuration).unwrap();
        assert!(text.contains(&named), "{text}");
        fs::write(&configuration, text.replace(&named, "")).unwrap();
        let runtime_dir = dir.join("xdg");
        fs::create_dir(&runtime_dir).unwrap();
        // What newuidmap asks of the user; only the command sees it.
        let name = "tester";
        let passwd =
            format!("root:x:0:0::/:/bin/sh\n{name}:x:{USER}:{USER}::{}:/bin/sh\n", dir.display());
        let group = format!("root:x:0:\n{name}:x:{USER}:\n");
        let range = format!("{name}:{RANGE}:65536\n");
        for (file, text) in
            [("passwd", &passwd), ("group", &group), ("subuid", &range), ("subgid", &range)]
        {
            fs::write(dir.join(file), text).unwrap();
        }
        give(&dir);
        environment.extend([
            ("HOME", dir.display().to_string()),
            ("USER", name.to_owned()),
            ("XDG_RUNTIME_DIR", runtime_dir.display().to_string()),
        ]);
        let user = USER.to_string();
        let dir_text = dir.display().to_string();
        let words = ["unshare", "--mount", "sh", "-ec", AS_USER, "sh", &dir_text, &user];
        let client = Client::new(&words, &environment, RUNTIME);
        client.call(&["info"]).expect_success();
        Self { client, dir, runtime_dir }
    }

    /// A new directory that belongs to the user.
    fn directory(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir_in(self.dir.join("scratch")).unwrap();
        chown(dir.path(), Some(USER), Some(USER)).unwrap();
        dir
    }

    fn end(&self) -> Vec<String> {
        self.call(&["pod", "rm", "--all", "--force", "--time", "0"]);
        self.call(&["rm", "--all", "--force", "--volumes", "--time", "0"]);
        // The process that keeps the user's namespaces.
        let pause = fs::read_to_string(self.dir.join("tmp/pause.pid"))
            .or_else(|_| fs::read_to_string(self.runtime_dir.join("libpod/tmp/pause.pid")));
        let pause = pause.ok().and_then(|pid| command::Process::open(pid.trim().parse().ok()?));
        if let Some(pause) = pause {
            pause.kill9();
            pause.ends_within(LIMIT);
        }
        node::records(&self.runtime_dir.join("lighter"), &self.dir)
    }
}

/// As root, in a mount namespace: gives the user a name, ids, and what many machines give everybody, the device of
/// networks; then becomes the user.
const AS_USER: &str = r#"
for file in passwd group subuid subgid; do
    [ -e /etc/$file ] || : >/etc/$file
    mount --bind "$1/$file" /etc/$file
done
if [ -e /dev/net/tun ]; then
    [ -e "$1/tun" ] || mknod -m 666 "$1/tun" c 10 200 || :
    mount --bind "$1/tun" /dev/net/tun
fi
user=$2
cd "$1"
shift 2
exec setpriv --reuid "$user" --regid "$user" --clear-groups podman "$@"
"#;

/// Gives all of `path` to the user.
fn give(path: &Path) {
    chown(path, Some(USER), Some(USER)).unwrap();
    if path.is_dir() {
        crate::support::leaks::entries(path).for_each(|entry| give(&entry));
    }
}

fn a_guest_runs_until_it_is_stopped(podman: &Rootless) {
    let output = podman.run(&["--rm", "--net", "none", &podman.guest("hello")]).expect_success();
    assert_eq!((output.text().as_str(), output.errors().as_str()), ("hello\n", ""));
    podman.run(&["--rm", "--net", "none", &podman.guest("exit"), "42"]).expect_status(42);
    assert!(podman.dir.join(".local/share/lighter/cache").is_dir());
    let image = podman.load(&resting("resting"));
    podman.run(&["-d", "--name", "resting", "--net", "none", &image]).expect_success();
    let process = Process::of(podman.pid("resting"));
    assert_eq!(process.status("Uid").split_whitespace().next(), Some(&USER.to_string()[..]));
    let requests = ["write /data/file text", "cat /data/file"];
    let exec = ["exec", "resting", "/probe.wasm"];
    let output = podman.call(&[&exec[..], &requests].concat()).expect_success();
    assert_eq!(answers(&output, &requests), ["ok", "text"]);
    podman.call(&["stop", "resting"]).expect_success();
    let state = podman.inspect("resting")["State"].clone();
    assert_eq!((&state["Status"], &state["ExitCode"]), (&json!("exited"), &json!(143)));
    podman.call(&["rm", "resting"]).expect_success();
}

fn files_belong_to_the_user(podman: &Rootless) {
    let dir = podman.directory();
    let volume = format!("{}:/its", dir.path().display());
    let user = USER.to_string();
    for (flags, name, owner) in [
        (&[][..], "as-root", USER),
        (&["--user", "1000"], "as-other", RANGE + 999),
        (&["--userns", "keep-id", "--user", &user], "kept", USER),
    ] {
        if name == "as-other" {
            fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
                .unwrap();
        }
        let flags = [&["--net", "none", "-v", &volume], flags].concat();
        assert_eq!(podman.ask(&flags, &[&format!("write /its/{name} text")]), ["ok"], "{name}");
        assert_eq!(fs::metadata(dir.path().join(name)).unwrap().uid(), owner, "{name}");
    }
    let flags = ["--net", "none", "--userns", "auto", "--read-only"];
    let [answer] = &podman.ask(&flags, &["write /data/file text"])[..] else { panic!() };
    assert!(answer.starts_with("error: "), "{answer}");
}

fn a_published_port_leads_to_it(podman: &Rootless) {
    let image = podman.probe();
    let serve = ["-d", "--name", "server", "-p", "127.0.0.1::7000", &image, "echo 0.0.0.0:7000"];
    podman.run(&serve).expect_success();
    podman.wait_for_log("server", "listening");
    let address = podman.call(&["port", "server", "7000"]).expect_success().text();
    assert_eq!(converse(address.trim(), "hello"), "hello");
    podman.remove("server");
}

fn what_cannot_run_is_said_here_too(podman: &Rootless) {
    let image = podman.guest("unknown-import");
    let output = podman.run(&["--rm", "--net", "none", &image]).expect_status(126);
    assert!(output.errors().contains("moon::phase"), "{output}");
    let args = ["--rm", "--net", "none", "--entrypoint", "/absent.wasm", &image];
    let output = podman.run(&args).expect_status(127);
    assert!(output.errors().contains("/absent.wasm"), "{output}");
}
