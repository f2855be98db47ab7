//! What goes wrong on a node, and what must come of it.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use lighter::cache::Origin;
use lighter::error::Cause;
use nix::mount::{MsFlags, mount};

use crate::sharing::toml_of;
use crate::world::*;

#[test]
pub fn a_flipped_bit_is_found() {
    let world = World::new();
    let path = world.file("app.wasm", &module(1));
    let good = code(&get(&world.cache(), &path).unwrap());
    for at in [0, good.len() / 2, good.len() - 1] {
        let object = world.only_object();
        let mtime = object.metadata().unwrap().modified().unwrap();
        std::fs::set_permissions(&object, PermissionsExt::from_mode(0o600)).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(&object).unwrap();
        file.write_all_at(&[good[at] ^ 0x10], at as u64).unwrap();
        file.set_modified(mtime).unwrap();
        std::fs::set_permissions(&object, PermissionsExt::from_mode(0o400)).unwrap();
        let again = get(&world.cache(), &path).unwrap();
        assert_eq!(again.origin, Origin::Compiled, "byte {at}");
        assert_eq!(code(&again), good);
    }
    assert_eq!(get(&world.cache(), &path).unwrap().origin, Origin::Hit);
}

#[test]
pub fn verified_again_after_a_boot() {
    let world = World::new();
    let path = world.file("app.wasm", &module(1));
    get(&world.cache(), &path).unwrap();
    // A seal of another boot is worth nothing: with it, only the checksum counts.
    let seal = world.config.cache.dir.join("seals").join(&world.names("seals")[0]);
    let target = std::fs::read_link(&seal).unwrap().into_os_string().into_string().unwrap();
    let words: Vec<_> = target.split(' ').collect();
    std::fs::remove_file(&seal).unwrap();
    let other = format!("{} 00000000-0000-0000-0000-000000000000 {}", words[0], words[2]);
    std::os::unix::fs::symlink(other, &seal).unwrap();
    assert_eq!(get(&world.cache(), &path).unwrap().origin, Origin::Hit);
    assert_eq!(std::fs::read_link(&seal).unwrap().to_str().unwrap(), target);
}

#[test]
pub fn planted_code_is_not_used() {
    let world = World::new();
    let path = world.file("app.wasm", &module(1));
    let good = code(&get(&world.cache(), &path).unwrap());
    let other = world.file("other.wasm", &module(2));
    let foreign = {
        let world = World::new();
        code(&get(&world.cache(), &other).unwrap())
    };

    type Plant<'a> = (&'static str, &'a dyn Fn(&Path));
    let plants: [Plant<'_>; 5] = [
        ("foreign code", &|object| write_as_ours(object, &foreign)),
        ("code without a note", &|object| {
            std::fs::remove_file(object.with_extension("json")).unwrap();
            // Its seal is of the same file, so change it too.
            write_as_ours(object, &good);
        }),
        ("another user's", &|object| nix::unistd::chown(object, Some(1.into()), None).unwrap()),
        ("writable by others", &|object| {
            std::fs::set_permissions(object, PermissionsExt::from_mode(0o666)).unwrap();
        }),
        ("a link", &|object| {
            let elsewhere = object.with_file_name("elsewhere");
            std::fs::rename(object, &elsewhere).unwrap();
            std::os::unix::fs::symlink(&elsewhere, object).unwrap();
        }),
    ];
    for (what, plant) in plants {
        plant(&world.only_object());
        let again = get(&world.cache(), &path).unwrap();
        assert_eq!(again.origin, Origin::Compiled, "{what}");
        assert_eq!(code(&again), good, "{what}");
    }

    // The whole entry of another module under this one's name.
    let object = world.only_object();
    get(&world.cache(), &other).unwrap();
    for name in world.names("objects") {
        let from = object.with_file_name(&name);
        let extension = from.extension().unwrap_or_default().to_owned();
        if from.file_stem() != object.file_stem() && !extension.is_empty() {
            std::fs::rename(&from, object.with_extension(extension)).unwrap();
        }
    }
    let again = get(&world.cache(), &path).unwrap();
    assert_eq!((again.origin, code(&again)), (Origin::Compiled, good));
}

fn write_as_ours(object: &Path, content: &[u8]) {
    std::fs::remove_file(object).unwrap();
    std::fs::write(object, content).unwrap();
    std::fs::set_permissions(object, PermissionsExt::from_mode(0o400)).unwrap();
}

#[test]
pub fn what_the_runner_cannot_load_is_made_anew() {
    let world = World::new();
    let path = world.file("app.wasm", &module(1));
    let first = get(&world.cache(), &path).unwrap();
    world.cache().forget(&first);
    let second = get(&world.cache(), &path).unwrap();
    assert_eq!(second.origin, Origin::Compiled);
    // The first is gone already; what replaced it stays.
    world.cache().forget(&first);
    assert_eq!(get(&world.cache(), &path).unwrap().origin, Origin::Hit);
    // And it can still be read by who has it.
    assert_eq!(code(&first), code(&second));
}

#[test]
pub fn a_directory_that_others_may_enter_is_not_used() {
    let world = World::new();
    let dir = &world.config.cache.dir;
    let path = world.file("app.wasm", &module(1));
    std::fs::create_dir(dir).unwrap();
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(get(&world.cache(), &path).unwrap().origin, Origin::Uncached);
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o700)).unwrap();
    nix::unistd::chown(dir, Some(1.into()), None).unwrap();
    let artifact = get(&world.cache(), &path).unwrap();
    assert_eq!(artifact.origin, Origin::Uncached);
    code(&artifact);
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0);
    nix::unistd::chown(dir, Some(0.into()), None).unwrap();
    assert_eq!(get(&world.cache(), &path).unwrap().origin, Origin::Compiled);
}

#[test]
pub fn a_full_disk_means_uncached() {
    let world = World::new();
    let dir = &world.config.cache.dir;
    std::fs::create_dir(dir).unwrap();
    let path = world.file("app.wasm", &module(1));
    with_own_mounts(|| {
        let options = Some("size=4k,mode=700");
        mount(Some("t"), dir, Some("tmpfs"), MsFlags::empty(), options).unwrap();
        let artifact = get(&world.cache(), &path).unwrap();
        assert_eq!(artifact.origin, Origin::Uncached);
        code(&artifact);
        world.assert_tidy();
        assert_eq!(world.names("objects"), [""; 0]);

        // Not even room for names.
        mount(Some("t"), dir, Some("tmpfs"), MsFlags::empty(), Some("nr_inodes=1,mode=700"))
            .unwrap();
        assert_eq!(get(&world.cache(), &path).unwrap().origin, Origin::Uncached);
    });
}

#[test]
pub fn a_read_only_store_serves_what_it_has() {
    let world = World::new();
    let dir = &world.config.cache.dir;
    let known = world.file("known.wasm", &module(1));
    let new = world.file("new.wasm", &module(2));
    get(&world.cache(), &known).unwrap();
    with_own_mounts(|| {
        let none = None::<&str>;
        mount(Some(dir), dir, none, MsFlags::MS_BIND, none).unwrap();
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, dir, none, flags, none).unwrap();
        assert_eq!(get(&world.cache(), &known).unwrap().origin, Origin::Hit);
        let artifact = get(&world.cache(), &new).unwrap();
        assert_eq!(artifact.origin, Origin::Uncached);
        code(&artifact);
    });
}

#[test]
pub fn a_killed_compiler_leaves_nothing() {
    let mut world = World::new();
    let path = world.file("app.wasm", &module(1));
    world.instead_of_compiler("echo half of the code; kill -9 $$");
    let refusal = get(&world.cache(), &path).unwrap_err();
    assert_eq!(refusal.cause, Cause::System);
    assert!(refusal.message.contains("SIGKILL"), "{refusal}");
    assert_eq!(world.names("objects"), [""; 0]);
    world.assert_tidy();
    world.lighter = LIGHTER.into();
    assert_eq!(get(&world.cache(), &path).unwrap().origin, Origin::Compiled);
}

#[test]
pub fn a_killed_supervisor_leaves_no_entry_and_blocks_nobody() {
    let world = World::new();
    let path = world.file("app.wasm", &large_module());
    let config = world.file("config.toml", &toml_of(&world));
    let mut warm = Command::new(LIGHTER);
    warm.args(["cache", "--config"]).arg(config).arg("warm").arg(&path).stdout(Stdio::null());
    let mut warm = warm.spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", warm.id());
    let mut child = String::new();
    eventually("the compiler runs", || {
        child = std::fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
        !child.is_empty()
            && std::fs::read_to_string(format!("/proc/{child}/oom_score_adj"))
                .is_ok_and(|text| text.trim() == "1000")
    });
    warm.kill().unwrap();
    warm.wait().unwrap();
    eventually("the compiler ends with its supervisor", || {
        std::fs::read_to_string(format!("/proc/{child}/stat"))
            .map_or(true, |stat| stat.contains(") Z "))
    });
    assert_eq!(world.names("objects"), [""; 0]);
    assert_eq!(get(&world.cache(), &path).unwrap().origin, Origin::Compiled);
    world.assert_tidy();
}

#[test]
pub fn what_a_crash_left_is_swept() {
    let world = World::new();
    get(&world.cache(), &world.file("a.wasm", &module(1))).unwrap();
    let left = world.config.cache.dir.join("tmp/left");
    std::fs::write(&left, "half").unwrap();
    std::os::unix::fs::symlink("x", world.config.cache.dir.join("tmp/link")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    get(&world.cache(), &world.file("b.wasm", &module(2))).unwrap();
    world.assert_tidy();
}

#[test]
pub fn the_least_recently_used_goes_first() {
    let mut world = World::new();
    let paths: Vec<_> = (0..4).map(|n| world.file(&format!("{n}.wasm"), &module(n))).collect();
    let size = code(&get(&world.cache(), &paths[0]).unwrap()).len() as u64;
    world.config.cache.max_bytes = 3 * size + size / 2;
    let pause = || std::thread::sleep(std::time::Duration::from_millis(20));
    for path in &paths[1..3] {
        pause();
        get(&world.cache(), path).unwrap();
    }
    pause();
    assert_eq!(get(&world.cache(), &paths[0]).unwrap().origin, Origin::Hit);
    pause();
    assert_eq!(get(&world.cache(), &paths[3]).unwrap().origin, Origin::Compiled);
    let there: Vec<_> = world.cache().store().unwrap().entries().unwrap();
    let there: Vec<_> = there.iter().map(|entry| entry.meta.as_ref().unwrap().digest).collect();
    let expected = [2, 0, 3].map(|n| lighter::cache::Digest::of(&module(n)));
    assert_eq!(there, expected);

    world.config.cache.max_bytes = size / 2;
    assert_eq!(get(&world.cache(), &paths[1]).unwrap().origin, Origin::Uncached);
}

#[test]
pub fn code_is_never_stored_under_the_name_of_other_content() {
    let mut world = World::new();
    let path = world.file("app.wasm", &module(1));
    let evil = world.file("evil.wasm", &module(666));
    // The file changes after its digest was taken and before the compiler reads it.
    let swap = format!("cat {} > {}", evil.display(), path.display());
    world.instead_of_compiler(&format!("{swap}\nexec $LIGHTER \"$@\""));
    let error = get(&world.cache(), &path).unwrap_err().message;
    assert!(error.contains("changed while it was being read"), "{error}");
    assert_eq!(world.names("objects"), [""; 0]);
}
