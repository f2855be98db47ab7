//! Registries: what is pushed there, by whom it can be read, what is pulled from there, and what goes wrong.
//!
//! The registry is Debian's, with a store of its own; damage is done to that.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use libtest_mimic::Trial;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::command::{Output, eventually, run};
use crate::support::containerd::LIMIT;
use crate::support::guests;
use crate::support::prerequisites;
use crate::support::suite::Suite;
use crate::support::trials::plain_trials;

/// The tests of this module.
pub fn tests() -> Vec<Trial> {
    plain_trials![
        each_form_goes_there_and_back,
        others_images_are_read,
        what_was_pulled_needs_no_registry,
        a_registry_that_says_no_is_understood,
        a_damaged_image_is_refused,
        credentials_are_those_of_podman_and_docker,
    ]
}

/// A registry on this machine, and images pulled from it.
struct Registry {
    process: Child,
    port: u16,
    dir: TempDir,
}

impl Registry {
    fn start(auth: &str) -> Self {
        let dir = tempfile::tempdir_in(Suite::get().scratch()).unwrap();
        // Nobody else is given the number again at once.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let configuration = format!(
            "version: 0.1\nlog: {{level: error}}\n{auth}\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            dir.path().join("registry").display()
        );
        let file = dir.path().join("registry.yml");
        fs::write(&file, configuration).unwrap();
        let mut process = Command::new(prerequisites::registry().expect("a registry"));
        process.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let process = process.spawn().expect("start the registry");
        let up = eventually(LIMIT, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(up, "the registry does not answer");
        Self { process, port, dir }
    }

    /// The name of an image in it.
    fn name(&self, image: &str) -> String {
        format!("localhost:{}/{image}", self.port)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn lighter(&self, args: &[&str]) -> Output {
        let mut command = Command::new(Suite::get().program("lighter"));
        command
            .args(args)
            .env("LIGHTER_CONFIG", Suite::get().node_configuration())
            .env("LIGHTER_IMAGES", self.path("images"))
            .env("HOME", self.path("home"))
            .env_remove("REGISTRY_AUTH_FILE")
            .env_remove("XDG_RUNTIME_DIR");
        run(&mut command, b"", LIMIT)
    }

    #[track_caller]
    fn push(&self, image: &str, flags: &[&str]) -> String {
        let program = self.path("hello.wasm");
        fs::write(&program, guests::module("hello")).unwrap();
        let name = self.name(image);
        let mut args = vec!["build", program.to_str().unwrap(), "--push", "-t", &name];
        args.extend(flags);
        self.lighter(&args).expect_success().text().lines().next().unwrap().to_owned()
    }

    #[track_caller]
    fn inspect(&self, image: &str, flags: &[&str]) -> Value {
        let args: Vec<&str> = ["inspect", "--json", image].iter().chain(flags).copied().collect();
        serde_json::from_str(&self.lighter(&args).expect_success().text()).unwrap()
    }

    /// The file with the content of a blob.
    fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.path("registry/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

#[track_caller]
fn skopeo(args: &[&str]) -> Output {
    run(Command::new("skopeo").arg("copy").arg("--quiet").args(args), b"", LIMIT).expect_success()
}

fn each_form_goes_there_and_back() {
    let registry = Registry::start("");
    for form in ["rootfs", "layer", "artifact"] {
        let image = format!("team/hello:{form}");
        let digest = registry.push(&image, &["--form", form]);
        let name = registry.name(&image);
        let pulled = registry.lighter(&["pull", &name]).expect_success().text();
        assert_eq!(pulled, format!("{digest}\n{name}\n"));
        let seen = registry.inspect(&name, &["--pull", "never"]);
        assert_eq!(seen["image"]["digest"], digest.as_str());
        assert_eq!(seen["programs"][0]["exports"][0], "_start", "{form}: {seen}");
        assert_eq!(seen["programs"][0]["runs"], "yes");
        // Exactly what was pushed, by a digest.
        let by_digest = format!("{}@{digest}", registry.name("team/hello"));
        assert_eq!(registry.inspect(&by_digest, &[])["image"]["digest"], digest.as_str());
        // Others read it, too; theirs of 2022 know no artifacts but as blobs.
        if form != "artifact" {
            let source = format!("docker://{name}");
            let copy = format!("oci:{}:{form}", registry.path("copied").display());
            skopeo(&["--src-tls-verify=false", &source, &copy]);
            assert_eq!(registry.inspect(&copy, &[])["image"]["digest"], digest.as_str());
        }
    }
    // The store is a layout that others read.
    let stored =
        format!("oci:{}:{}", registry.path("images").display(), registry.name("team/hello:rootfs"));
    skopeo(&[&stored, &format!("dir:{}", registry.path("from-store").display())]);
}

fn others_images_are_read() {
    let registry = Registry::start("");
    let digest = registry.push("hello:1", &["-e", "A=b"]);
    let source = format!("docker://{}", registry.name("hello:1"));
    let at = |kind: &str, file: &str, name: &str| {
        format!("{kind}:{}:{name}", registry.path(file).display())
    };
    let docker = at("docker-archive", "docker.tar", "hello:1");
    let oci = at("oci-archive", "oci.tar", "one");
    for target in [&docker, &oci] {
        skopeo(&["--src-tls-verify=false", &source, target]);
    }
    let with_zstd = at("oci", "zstd", "one");
    skopeo(&["--dest-compress-format=zstd", &docker, &with_zstd]);
    let layers = registry.inspect(&with_zstd, &[])["image"]["layers"].clone();
    assert!(layers[0]["mediaType"].as_str().unwrap().ends_with("+zstd"), "{layers}");
    for image in [&docker, &oci, &with_zstd, registry.path("docker.tar").to_str().unwrap()] {
        let seen = registry.inspect(image, &[]);
        assert_eq!(seen["image"]["config"]["Env"][0], "A=b", "{image}: {seen}");
        assert_eq!(seen["programs"][0]["name"], "/hello.wasm", "{image}: {seen}");
    }
    assert_eq!(registry.inspect(&oci, &[])["image"]["digest"], digest.as_str());
    let error =
        registry.lighter(&["inspect", &at("oci-archive", "oci.tar", "two")]).expect_failure();
    assert!(error.contains("there is no image \"two\" in it, but these: one"), "{error}");
}

fn what_was_pulled_needs_no_registry() {
    let mut registry = Registry::start("");
    let old = registry.push("hello", &[]);
    let name = registry.name("hello");
    registry.inspect(&name, &[]);
    let new = registry.push("hello", &["-e", "NEW=1"]);
    // What is there is enough, unless one asks.
    assert_eq!(registry.inspect(&name, &[])["image"]["digest"], old.as_str());
    assert_eq!(registry.inspect(&name, &["--pull", "always"])["image"]["digest"], new.as_str());
    registry.stop();
    assert_eq!(registry.inspect(&name, &[])["image"]["digest"], new.as_str());
    let error = registry.lighter(&["pull", &name]).expect_status(1).errors();
    assert!(error.contains("cannot be reached") && error.contains("Connection refused"), "{error}");
    let other = registry.name("other");
    let error = registry.lighter(&["inspect", &other, "--pull", "never"]).expect_status(1).errors();
    assert!(error.contains("--pull never forbids"), "{error}");
}

fn a_registry_that_says_no_is_understood() {
    let registry = Registry::start("");
    registry.push("hello", &[]);
    for (image, words) in [
        ("hello:2", "has no tag \"2\" in the repository hello"),
        ("nothing", "has no tag \"latest\" in the repository nothing"),
        (&format!("hello@sha256:{}", "0".repeat(64)), "has no sha256:000"),
    ] {
        let name = registry.name(image);
        let error = registry.lighter(&["pull", &name]).expect_status(1).errors();
        assert!(error.contains(words) && error.contains(&name), "{image}: {error}");
    }
    // It has no certificate, and need not while it is this machine's own.
    let name = registry.name("hello");
    let error = registry.lighter(&["pull", "--tls-verify", &name]).expect_status(1).errors();
    assert!(error.contains("https://localhost"), "{error}");
}

fn a_damaged_image_is_refused() {
    let registry = Registry::start("");
    let digest = registry.push("hello", &["--form", "layer"]);
    let name = registry.name("hello");
    let manifest: Value =
        serde_json::from_slice(&fs::read(registry.blob(&digest)).unwrap()).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let whole = fs::read(registry.blob(layer)).unwrap();
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    let mut longer = whole.clone();
    longer.push(0);
    for (content, words) in [
        (&other[..], "is not what its digest says"),
        (&whole[..whole.len() / 2], "is cut short"),
        (&longer[..], "has more bytes than its manifest says"),
    ] {
        fs::write(registry.blob(layer), content).unwrap();
        let error = registry.lighter(&["pull", &name]).expect_status(1).errors();
        assert!(error.contains(words) && error.contains(layer), "{words}: {error}");
        assert!(nothing_kept(&registry.path("images"), layer), "{words}: it was kept");
    }
    fs::write(registry.blob(layer), &whole).unwrap();
    registry.lighter(&["pull", &name]).expect_success();

    // What is damaged after it was pulled is noticed when it is used.
    let kept = registry.path("images/blobs").join(layer.replacen(':', "/", 1));
    fs::write(kept, &other).unwrap();
    let error = registry.lighter(&["inspect", &name]).expect_status(1).errors();
    assert!(error.contains(layer) && error.contains("is not what its digest says"), "{error}");
}

/// Neither the blob nor a part of it.
fn nothing_kept(images: &Path, digest: &str) -> bool {
    let incoming = fs::read_dir(images.join("incoming")).unwrap().count();
    !images.join("blobs").join(digest.replacen(':', "/", 1)).exists() && incoming == 0
}

fn credentials_are_those_of_podman_and_docker() {
    // The password is "secret", of user "me", as `htpasswd -B` writes it.
    const USERS: &str = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
    let file = tempfile::NamedTempFile::new_in(Suite::get().scratch()).unwrap();
    fs::write(file.path(), USERS).unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.path().display());
    let registry = Registry::start(&auth);
    let name = registry.name("hello");
    let error = registry.lighter(&["pull", &name]).expect_status(1).errors();
    assert!(
        error.contains("not allowed without credentials") && error.contains("podman login"),
        "{error}"
    );

    // "me:secret" and "me:wrong".
    let auths = |auth: &str| {
        format!("{{\"auths\": {{\"localhost:{}\": {{\"auth\": \"{auth}\"}}}}}}", registry.port)
    };
    let home = registry.path("home/.docker");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("config.json"), auths("bWU6d3Jvbmc=")).unwrap();
    let error = registry.lighter(&["pull", &name]).expect_status(1).errors();
    assert!(error.contains("are refused") && !error.contains("wrong"), "{error}");
    fs::write(home.join("config.json"), auths("bWU6c2VjcmV0")).unwrap();
    registry.push("hello", &[]);
    registry.lighter(&["pull", &name]).expect_success();
    // Podman's come first, and those that are given before all.
    let podman = registry.path("home/.config/containers");
    fs::create_dir_all(&podman).unwrap();
    fs::write(podman.join("auth.json"), auths("bWU6d3Jvbmc=")).unwrap();
    registry.lighter(&["pull", &name]).expect_status(1);
    let given = home.join("config.json");
    registry.lighter(&["pull", "--authfile", given.to_str().unwrap(), &name]).expect_success();
}
