//! The engine with real guests: each test compiles its guest, runs it in a process of its own (the example
//! `bare`) and looks at what a user would see.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::SystemTime;

use lighter::plan::{
    Access, Entrypoint, Guest, Limit, LimitKind, Limits, Network, Origin, Preopen,
};
use tempfile::TempDir;

mod component;
mod files;
mod last_words;
mod limits;
mod lookup;
mod module;
mod refusal;
mod signals;
mod stdio;

/// A guest to run, and the directory that its compiled code is in.
struct Run {
    dir: TempDir,
    guest: Guest,
    limits: Limits,
    proc_self: bool,
    root: Option<PathBuf>,
}

impl Run {
    /// A core module in the text format.
    fn module(text: &str) -> Self {
        let wasm = wat::parse_str(text).expect("valid text format");
        Self::wasm(&wasm)
    }

    /// A core module, or a component, in the binary format.
    fn wasm(wasm: &[u8]) -> Self {
        Self::compiled(wasm, &[])
    }

    /// The same, compiled with `options` of `lighter compile`.
    fn compiled(wasm: &[u8], options: &[&str]) -> Self {
        let run = Self::code(b"");
        let file = run.dir.path().join("app.wasm");
        std::fs::write(&file, wasm).expect("write the program");
        let mut compile = Command::new(lighter());
        compile.arg("compile").arg(&file).arg("--output").arg(run.dir.path().join("code"));
        let output = compile.args(options).output().expect("run lighter compile");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        run
    }

    /// Compiled code as it is.
    fn code(code: &[u8]) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::write(dir.path().join("code"), code).expect("write the artifact");
        std::fs::write(dir.path().join("report"), [0; lighter::report::SIZE]).expect("write");
        let guest = Guest {
            entrypoint: Entrypoint {
                name: "/app.wasm".into(),
                candidates: vec!["/app.wasm".into()],
                export: None,
            },
            args: vec!["/app.wasm".into()],
            env: Vec::new(),
            cwd: "/".into(),
            preopens: Vec::new(),
            network: Network::default(),
            termination_message: None,
            http: Default::default(),
        };
        Self { dir, guest, limits: Limits::default(), proc_self: false, root: None }
    }

    fn export(mut self, export: &str) -> Self {
        self.guest.entrypoint.name = format!("/app.wasm#{export}");
        self.guest.entrypoint.export = Some(export.into());
        self
    }

    fn args(mut self, args: &[&str]) -> Self {
        self.guest.args = args.iter().map(|arg| (*arg).into()).collect();
        self
    }

    fn preopen(mut self, name: &str, path: impl Into<PathBuf>, access: Access) -> Self {
        let path = path.into().into_os_string().into_string().expect("UTF-8");
        self.guest.preopens.push(Preopen { name: name.into(), path, access });
        self
    }

    /// With at most `value` of `kind`, by annotation.
    fn limit(mut self, kind: LimitKind, value: u64) -> Self {
        self.limits.each.insert(kind, Limit { value, origin: Origin::Annotation });
        self
    }

    /// Which limit ended it, by its own account.
    fn blamed(&self) -> Option<LimitKind> {
        let report = std::fs::read(self.dir.path().join("report")).expect("read the report");
        LimitKind::from_code(report[0])
    }

    fn command(&self) -> Command {
        let mut command = Command::new(bare());
        command.arg(self.dir.path().join("code"));
        command.arg(serde_json::to_string(&self.guest).expect("JSON"));
        command.arg(serde_json::to_string(&self.limits).expect("JSON"));
        command.arg(self.dir.path().join("report"));
        command.arg(if self.proc_self { "fd" } else { "path" });
        command.args(&self.root);
        command
    }

    /// Runs it with nothing on its standard input.
    fn output(&self) -> Output {
        self.command().stdin(Stdio::null()).output().expect("run the guest")
    }

    /// Starts it with pipes for its standard streams.
    fn spawn(&self) -> Child {
        let mut command = self.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("start the guest")
    }
}

/// The command that compiles: that of the tests would need the compiler, and Wasmtime a second time.
fn lighter() -> PathBuf {
    let lighter = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/stage/lighter");
    assert!(lighter.exists(), "{}: build it with: make build", lighter.display());
    lighter
}

/// The example that runs a guest; cargo builds it with the tests, but not with `--test engine`.
fn bare() -> PathBuf {
    const ADVICE: &str = "build it with: cargo build -p lighter-runner --examples";
    let tests = std::env::current_exe().expect("path of the tests");
    let target = tests.parent().and_then(Path::parent);
    let bare = target.expect("target directory").join("examples/bare");
    let built = bare.metadata().and_then(|bare| bare.modified());
    let built = built.unwrap_or_else(|error| panic!("{}: {error}; {ADVICE}", bare.display()));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(
        newest(&sources.join("src")).max(newest(&sources.join("examples"))) <= built,
        "{} is older than its sources; {ADVICE}",
        bare.display()
    );
    bare
}

/// When the newest file below `dir` was changed.
fn newest(dir: &Path) -> SystemTime {
    let entries = std::fs::read_dir(dir).expect("sources");
    let times = entries.map(|entry| {
        let entry = entry.expect("entry");
        match entry.metadata().expect("metadata") {
            dir if dir.is_dir() => newest(&entry.path()),
            file => file.modified().expect("time"),
        }
    });
    times.max().expect("a file")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// The status that `bare` exits with when its guest is refused, and when its code is stale.
const REFUSED: i32 = 98;
const STALE: i32 = 99;

/// A module that writes `text` to descriptor `fd` in one call, and then does `then`.
fn writing(fd: u32, text: &str, then: &str) -> String {
    let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 4)
            (data (i32.const 0) "\10\00\00\00")
            (data (i32.const 16) "{escaped}")
            (func (export "_start")
                (i32.store (i32.const 4) (i32.const {len}))
                (if (call $write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8))
                    (then (call $exit (i32.const 99))))
                {then}))"#,
        len = text.len()
    )
}

/// Makes the component of a preview 1 command.
fn adapted(module: &[u8]) -> Vec<u8> {
    wit_component::ComponentEncoder::default()
        .module(module)
        .expect("module")
        .adapter(
            "wasi_snapshot_preview1",
            wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        )
        .expect("adapter")
        .encode()
        .expect("component")
}

/// Everything that can still be read from `from`.
fn drain(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("read");
    bytes
}

/// A pipe: what is written to the second comes out of the first.
fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe")
}

/// Writes `bytes` and closes.
fn feed(mut to: impl Write, bytes: &[u8]) {
    to.write_all(bytes).expect("write");
}
