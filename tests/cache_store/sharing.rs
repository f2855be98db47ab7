//! One compilation for the whole node, and no reading of what is known.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::{Command, Stdio};
use std::sync::Barrier;

use lighter::cache::{Origin, Payer, Wasm};
use lighter::engine::Settings;
use nix::mount::{MsFlags, mount};

use crate::world::*;

#[test]
pub fn the_second_get_is_a_hit() {
    let world = World::new();
    let path = world.file("app.wasm", &module(1));
    let first = get(&world.cache(), &path).unwrap();
    let second = get(&world.cache(), &path).unwrap();
    assert_eq!((first.origin, second.origin), (Origin::Compiled, Origin::Hit));
    assert_eq!(code(&first), code(&second));
    assert_eq!(first.kind, lighter::cache::Kind::Module);
    assert_eq!(second.kind, lighter::cache::Kind::Module);
    world.assert_tidy();
}

#[test]
pub fn settings_have_code_of_their_own() {
    let world = World::new();
    let path = world.file("app.wasm", &module(1));
    let cache = world.cache();
    get(&cache, &path).unwrap();
    let file = File::open(&path).unwrap();
    let wasm = Wasm { file: &file, name: "/app.wasm", root: None };
    let fuel = Settings { fuel: true, ..Settings::default() };
    assert_eq!(cache.get(&wasm, &fuel).unwrap().origin, Origin::Compiled);
    assert_eq!(cache.get(&wasm, &fuel).unwrap().origin, Origin::Hit);
}

#[test]
pub fn text_and_components_are_compiled() {
    let world = World::new();
    let text = world.file("a.wat", b";; text\n(module (func (export \"_start\")))");
    let component = world.file("c.wasm", &wat::parse_str("(component)").unwrap());
    assert_eq!(get(&world.cache(), &text).unwrap().kind, lighter::cache::Kind::Module);
    for _ in 0..2 {
        let kind = get(&world.cache(), &component).unwrap().kind;
        assert_eq!(kind, lighter::cache::Kind::Component);
    }
}

#[test]
pub fn thirty_two_threads_compile_once() {
    let mut world = World::new();
    let log = world.count_compilations("sleep 0.2");
    let path = world.file("app.wasm", &module(2));
    let barrier = Barrier::new(32);
    let codes: Vec<_> = std::thread::scope(|scope| {
        let one = || {
            let cache = world.cache();
            barrier.wait();
            code(&get(&cache, &path).unwrap())
        };
        let threads: Vec<_> = (0..32).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(codes.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(std::fs::read_to_string(log).unwrap(), "x\n");
    world.assert_tidy();
}

#[test]
pub fn thirty_two_processes_compile_once() {
    let world = World::new();
    let path = world.file("app.wasm", &module(3));
    let config = world.file("config.toml", &toml_of(&world));
    let processes: Vec<_> = (0..32)
        .map(|_| {
            let mut command = Command::new(LIGHTER);
            command.args(["cache", "--config"]).arg(&config).arg("warm").arg(&path);
            command.stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut compiled = 0;
    for process in processes {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success());
        let line = String::from_utf8(output.stdout).unwrap();
        assert!(line.ends_with("compiled\n") || line.ends_with("already there\n"), "{line}");
        compiled += usize::from(line.ends_with("compiled\n"));
    }
    assert_eq!(compiled, 1);
    world.only_object();
    world.assert_tidy();
}

pub fn toml_of(world: &World) -> Vec<u8> {
    format!("[cache]\ndir = {:?}\n", world.config.cache.dir).into_bytes()
}

#[test]
pub fn those_who_wait_for_a_failure_get_it_too() {
    let mut world = World::new();
    let log = world.count_compilations("sleep 1");
    let path = world.file("app.wasm", b"\0asm\x01\0\0\0garbage");
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                let error = get(&world.cache(), &path).unwrap_err().message;
                assert!(error.starts_with("\"/app.wasm\": "), "{error}");
                assert!(error.contains("at offset"), "{error}");
            });
        }
    });
    assert_eq!(std::fs::read_to_string(log).unwrap(), "x\n");
    world.assert_tidy();
}

/// Gets with a descriptor that cannot read: possible only for what is known.
fn get_unread(world: &World, path: &std::path::Path) -> Result<Origin, String> {
    let mut options = File::options();
    let file = options.read(true).custom_flags(libc::O_PATH).open(path).unwrap();
    let wasm = Wasm { file: &file, name: "/app.wasm", root: path.parent() };
    let artifact = world.cache().get(&wasm, &Settings::default());
    artifact.map(|artifact| artifact.origin).map_err(|e| e.message)
}

#[test]
pub fn a_known_file_is_not_read_again_until_it_changes() {
    let world = World::new();
    let path = world.file("app.wasm", &module(4));
    get(&world.cache(), &path).unwrap();
    assert!(get_unread(&world, &path).is_err(), "a file just written was remembered");
    settle();
    get(&world.cache(), &path).unwrap();
    assert_eq!(get_unread(&world, &path), Ok(Origin::Hit));

    // The same size and the same modification time, but other content.
    let mtime = path.metadata().unwrap().modified().unwrap();
    std::fs::write(&path, module(5)).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
    assert!(get_unread(&world, &path).is_err(), "a changed file was taken for the old one");
    assert_eq!(get(&world.cache(), &path).unwrap().origin, Origin::Compiled);
}

#[test]
pub fn a_file_outside_of_the_root_is_read_each_time() {
    let world = World::new();
    // On a filesystem of its own: that of the store is trusted, too.
    let memory = rustix::fs::memfd_create("app.wasm", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let file = File::from(memory);
    file.write_all_at(&module(6), 0).unwrap();
    settle();
    for root in [Some(std::path::Path::new("/proc")), None] {
        let wasm = Wasm { file: &file, name: "/app.wasm", root };
        world.cache().get(&wasm, &Settings::default()).unwrap();
        assert_eq!(world.names("memos"), [""; 0]);
    }
}

#[test]
pub fn containers_of_one_image_share_what_is_known() {
    let world = World::new();
    let base = world.dir.path();
    for name in ["image", "upper1", "upper2", "work1", "work2", "root1", "root2"] {
        std::fs::create_dir(base.join(name)).unwrap();
    }
    world.file("image/app.wasm", &module(7));
    settle();
    with_own_mounts(|| {
        for number in [1, 2] {
            let path = |name: &str| base.join(format!("{name}{number}"));
            let (image, upper, work) = (base.join("image"), path("upper"), path("work"));
            let options = format!(
                "lowerdir={},upperdir={},workdir={}",
                image.display(),
                upper.display(),
                work.display()
            );
            let flags = MsFlags::empty();
            mount(Some("overlay"), &path("root"), Some("overlay"), flags, Some(options.as_str()))
                .unwrap();
        }
        get(&world.cache(), &base.join("root1/app.wasm")).unwrap();
        assert_eq!(get_unread(&world, &base.join("root2/app.wasm")), Ok(Origin::Hit));

        // A container that changes its own copy changes nobody else's.
        std::fs::write(base.join("root1/app.wasm"), module(8)).unwrap();
        let changed = get(&world.cache(), &base.join("root1/app.wasm")).unwrap();
        assert_eq!(changed.digest, lighter::cache::Digest::of(&module(8)));
        let other = get(&world.cache(), &base.join("root2/app.wasm")).unwrap();
        assert_eq!(other.digest, lighter::cache::Digest::of(&module(7)));

        // Layers on several filesystems have inode numbers that mean nothing to others.
        std::fs::create_dir_all(base.join("other")).unwrap();
        mount(Some("t"), &base.join("other"), Some("tmpfs"), MsFlags::empty(), None::<&str>)
            .unwrap();
        std::fs::write(base.join("other/b.wasm"), module(9)).unwrap();
        std::fs::create_dir(base.join("mixed")).unwrap();
        let options = format!("lowerdir={0}/image:{0}/other", base.display());
        let mixed = base.join("mixed");
        mount(Some("overlay"), &mixed, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .unwrap();
        settle();
        let before = world.names("memos").len();
        get(&world.cache(), &base.join("mixed/b.wasm")).unwrap();
        assert_eq!(world.names("memos").len(), before);
    });
}

#[test]
pub fn who_waits_too_long_compiles_by_itself() {
    let mut world = World::new();
    world.config.compile.timeout_seconds = 2;
    let path = world.file("app.wasm", &module(10));
    // Another process has the lock and is stopped, or has next to nothing of a processor.
    let artifact = get(&world.cache(), &path).unwrap();
    world.cache().forget(&artifact);
    let lock = world.config.cache.dir.join("locks").join(artifact.key.to_string());
    let held = File::create(&lock).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let begin = std::time::Instant::now();
    assert_eq!(get(&world.cache(), &path).unwrap().origin, Origin::Compiled);
    assert!(begin.elapsed().as_secs_f64() >= 2.0, "it did not wait");
}

#[test]
pub fn the_poverty_of_one_is_not_the_failure_of_others() {
    let mut world = World::new();
    // The first compilation is killed, as by the limit of a container that pays for it.
    let marker = world.dir.path().join("killed");
    let kill_first =
        format!("if mkdir {} 2>/dev/null; then sleep 1; kill -9 $$; fi", marker.display());
    let log = world.count_compilations(&kill_first);
    let path = world.file("app.wasm", &module(11));
    let barrier = Barrier::new(4);
    let results: Vec<_> = std::thread::scope(|scope| {
        let one = || {
            let tasks = vec![world.file("tasks", b""), world.dir.path().join("no-such/tasks")];
            let cache = world.cache().paid_by(Payer::Tasks(tasks));
            barrier.wait();
            get(&cache, &path).map(|artifact| artifact.origin).map_err(|e| e.message)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let refused: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(refused.len(), 1, "{results:?}");
    assert!(refused[0].contains("linux.resources.memory.limit"), "{refused:?}");
    assert!(refused[0].contains("lighter cache warm"), "{refused:?}");
    assert_eq!(std::fs::read_to_string(log).unwrap(), "x\nx\n", "one failed, one did it for all");
    // The compiler went where it is paid for before anything else.
    assert_eq!(std::fs::read_to_string(world.dir.path().join("tasks")).unwrap(), "0");
    world.assert_tidy();
}
