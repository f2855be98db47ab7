//! The one binary of integration tests: drives the real programs under a real containerd.
//!
//! It has its own `main`, so that all tests share one containerd, run in parallel in it, and are followed by a search for
//! what they left. Each module lists its tests in `tests()`; add a new module to `main`.
//!
//! `cargo test --test tests -- [--list] [PART OF A NAME…]` as with any test binary. `LIGHTER_BIN` names the
//! directory of the programs under test, by default what `make build` fills. What a machine has is for the caller to say:
//!
//! | variable | adds |
//! |---|---|
//! | `LIGHTER_CGROUP=v2` | tests of cgroup v2 |
//! | `LIGHTER_CGROUP=full` | of controllers that few machines have all of, and several processors |
//! | `LIGHTER_CGROUP=systemd` | of systemd's scopes |
//! | `LIGHTER_LSM=apparmor` | of AppArmor |
//! | `LIGHTER_LANDLOCK=none` | of the absence of Landlock, in place of those of Landlock |
//! | `LIGHTER_FRONTENDS=docker,nerdctl` | of these front ends |
//! | `LIGHTER_FRONTENDS=nat` | of their networks as they are where the kernel can translate addresses |
//! | `LIGHTER_GUESTS=more` | of guests whose tools are large |
//! | `LIGHTER_SOAK=600` | of one server that is asked for so many seconds |
//! | `LIGHTER_TESTS=special` | nothing, and leaves out those that any machine can run |
//! | `LIGHTER_TESTS=frontends` | nothing, and leaves out all but those of `LIGHTER_FRONTENDS` |
//! | `LIGHTER_TESTS=machine` | nothing, and leaves out those to which the machine is all the same |
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "a test program: panics are its errors, and its support is for tests to come too"
)]

mod apparmor;
mod bad_input;
mod bad_settings;
mod birth;
mod cache;
mod counts;
mod covers;
mod crashes;
mod cri;
mod differential;
mod doctor;
mod effects;
mod events;
mod exec;
mod exit_codes;
mod files;
mod frontends;
mod hooks;
mod hostile;
mod http;
mod idmapped;
mod images;
mod inside;
mod inspect;
mod landlock;
mod last_words;
mod lifecycle;
mod limits;
mod limits_of_the_engine;
mod logging;
mod network;
mod oci;
mod packing;
mod pause;
mod podman;
mod pods;
mod programs;
mod registry;
mod resources;
mod restart;
mod rootless;
mod run;
mod sandbox;
mod sandbox_api;
mod seccomp;
mod shells;
mod signals;
mod smoke;
mod streams;
mod support;
mod systemd;
mod terminal;
mod update;
mod walls;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Conclusion, Trial};
use support::{leaks, prerequisites, trials};

/// Those that need a security module which few kernels have switched on.
fn security_modules() -> Vec<Trial> {
    match std::env::var("LIGHTER_LSM").as_deref() {
        Ok("apparmor") => apparmor::tests(),
        _ => Vec::new(),
    }
}

/// Those that any machine can run.
fn of_any_machine() -> Vec<Trial> {
    [
        support::guests::tests(),
        smoke::tests(),
        exit_codes::tests(),
        limits_of_the_engine::tests(),
        signals::tests(),
        last_words::tests(),
        lifecycle::tests(),
        events::tests(),
        exec::tests(),
        streams::tests(),
        terminal::tests(),
        logging::tests(),
        inside::tests(),
        inspect::tests(),
        restart::tests(),
        bad_input::tests(),
        bad_settings::tests(),
        programs::tests(),
        cache::tests(),
        images::tests(),
        images::layers(),
        packing::tests(),
        doctor::tests(),
        crashes::tests(),
        differential::tests(),
        sandbox::tests(),
        files::tests(),
        covers::tests(),
        counts::tests(),
        idmapped::tests(),
        landlock::tests(),
        security_modules(),
        hostile::tests(),
        hooks::tests(),
        oci::tests(),
        pods::tests(),
        network::tests(),
        http::tests(),
        pause::tests(),
        frontends::of_any_machine(),
        rootless::tests(),
        run::tests(),
        podman::tests(),
        update::tests(),
        walls::tests(),
        seccomp::tests(),
        cri::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Those that start no containers: once is enough, and what they need is not in virtual machines.
fn of_the_command_alone() -> Vec<Trial> {
    [registry::tests(), shells::tests()].into_iter().flatten().collect()
}

/// Those that depend on what the kernel has, beside a few that show that the machine works.
fn of_this_kernel() -> Vec<Trial> {
    // One machine of them all is enough for pods, for what containerd does with images, and for another Podman.
    let of_one = match std::env::var("LIGHTER_CGROUP").as_deref() {
        Ok("v2") => vec![cri::of_this_kernel(), images::layers(), podman::of_this_kernel()],
        _ => Vec::new(),
    };
    [smoke::tests(), exec::of_this_kernel(), landlock::tests(), security_modules()]
        .into_iter()
        .chain(of_one)
        .flatten()
        .collect()
}

/// Those that need control groups of some kind, or have to be alone to measure.
fn alone() -> Vec<Trial> {
    let of_control_groups = match std::env::var("LIGHTER_CGROUP").as_deref() {
        _ if only_front_ends() => Vec::new(),
        Ok("v2") => [
            birth::tests(),
            limits::tests(),
            resources::tests(),
            rootless::delegated(),
            run::of_cgroup_v2(),
            podman::of_cgroup_v2(),
            sandbox_api::tests(),
        ]
        .into_iter()
        .flatten()
        .collect(),
        Ok("full") => effects::tests(),
        Ok("systemd") => systemd::tests(),
        _ => Vec::new(),
    };
    [of_control_groups, frontends::asked_for()].into_iter().flatten().collect()
}

fn only_front_ends() -> bool {
    std::env::var("LIGHTER_TESTS").is_ok_and(|tests| tests == "frontends")
}

/// All tests that there are, whatever a machine has.
fn every() -> Vec<Trial> {
    let of_some = [
        apparmor::tests(),
        birth::tests(),
        limits::tests(),
        resources::tests(),
        rootless::delegated(),
        run::of_cgroup_v2(),
        podman::of_cgroup_v2(),
        effects::tests(),
        systemd::tests(),
        cri::of_this_kernel(),
        frontends::every(),
        of_the_command_alone(),
    ];
    of_some.into_iter().flatten().chain(of_any_machine()).collect()
}

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let tests = match std::env::var("LIGHTER_TESTS").as_deref() {
        Ok("special") => of_this_kernel(),
        Ok("frontends") => Vec::new(),
        Ok("machine") => of_any_machine(),
        _ => [of_any_machine(), of_the_command_alone()].into_iter().flatten().collect(),
    };
    let alone = alone();
    if args.list {
        return libtest_mimic::run(&args, tests.into_iter().chain(alone).collect()).exit_code();
    }
    let missing = prerequisites::missing();
    if !missing.is_empty() {
        eprintln!("{}", missing.join("\n"));
        return ExitCode::FAILURE;
    }

    trials::keep_panics();
    leaks::note_what_was_there();
    let tested = [
        libtest_mimic::run(&args, tests),
        libtest_mimic::run(&Arguments { test_threads: Some(1), ..args.clone() }, alone),
    ];
    let leaks = vec![trials::plain("tests::leaks", "nothing_is_left", leaks::nothing_is_left)];
    let unfiltered = Arguments { filter: None, skip: Vec::new(), exact: false, ..args };
    let searched = libtest_mimic::run(&unfiltered, leaks);
    let failed = tested.iter().chain([&searched]).any(Conclusion::has_failed);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
