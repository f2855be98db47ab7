//! Names are looked up without loading code from the container's file system.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Run, stderr};

/// A resolver module as a hostile image would carry it: loading it is enough for it to run.
const MODULE: &str = r#"
#include <fcntl.h>
__attribute__((constructor)) static void loaded(void) { open("/loaded", O_CREAT | O_WRONLY, 0600); }
"#;

/// A program that looks a name up in the root given to it, the ordinary way.
const NAIVE: &str = r#"
#include <netdb.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct addrinfo *found;
    if (argc != 2 || chroot(argv[1]) || chdir("/")) return 2;
    return getaddrinfo("probe.test", 0, 0, &found) != 0;
}
"#;

/// Compiles C; Rust programs are linked by the same compiler, so that it is there.
fn cc(source: &str, into: &Path, flags: &[&str]) {
    let file = into.with_extension("c");
    fs::write(&file, source).expect("write");
    let status = Command::new("cc").args(flags).arg(&file).arg("-o").arg(into).status();
    assert!(status.expect("a C compiler named cc must be installed").success());
}

#[test]
fn hostile_resolver_module_is_not_loaded() {
    let root = tempfile::tempdir().expect("directory");
    let image = root.path();
    fs::create_dir(image.join("etc")).expect("create");
    fs::write(image.join("etc/nsswitch.conf"), "hosts: hostile files\n").expect("write");
    fs::write(image.join("etc/hosts"), "192.0.2.77 probe.test\n").expect("write");
    for dir in
        ["lib", "lib64", "usr/lib", "usr/lib64", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"]
    {
        fs::create_dir_all(image.join(dir)).expect("create");
        cc(MODULE, &image.join(dir).join("libnss_hostile.so.2"), &["-shared", "-fPIC"]);
    }
    // The trap works: a program that does nothing about it falls into it.
    let tools = tempfile::tempdir().expect("directory");
    cc(NAIVE, &tools.path().join("naive"), &[]);
    let naive = Command::new(tools.path().join("naive")).arg(image).status().expect("run");
    assert_eq!(naive.code(), Some(0), "changing the root takes root's rights");
    assert!(image.join("loaded").exists(), "this C library does not load resolver modules");
    fs::remove_file(image.join("loaded")).expect("remove");
    // The guest does not, and finds the address.
    let component = wat::parse_str(include_str!("lookup.wat")).expect("valid");
    let mut run = Run::wasm(&component).export("f");
    run.root = Some(image.to_owned());
    run.proc_self = true;
    let output = run.output();
    assert!(!image.join("loaded").exists(), "code of the image was run");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
