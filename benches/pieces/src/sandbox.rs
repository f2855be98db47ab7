//! Entering a sandbox, which a process does but once: so each time is taken in a process of its own, which says what it took.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lighter::bundle::Bundle;
use lighter::config::Config;
use lighter::host::Host;
use lighter::plan::{self, Guest, Limits};
use lighter::wire::{self, HookState};

use crate::enter;
use crate::given::Given;

/// This program enters the sandbox of the plan in the file that follows, and says how many nanoseconds that took.
pub(crate) const FLAG: &str = "--enter";

/// A plan that can be carried out here.
pub(crate) struct Plan {
    plan: plan::Plan,
    file: PathBuf,
}

/// That of a bundle of `ctr`, without what its author had on the host.
pub(crate) fn plan(given: &Given) -> Result<Plan> {
    let bundle = given.scratch().join("bundle");
    fs::create_dir_all(bundle.join("rootfs"))?;
    let config = fs::read(given.bundles().join("ctr/config.json"))?;
    let mut config: serde_json::Value = serde_json::from_slice(&config)?;
    config["root"]["path"] = bundle.join("rootfs").to_string_lossy().into();
    let mounts = config["mounts"].as_array_mut().context("a bundle has mounts")?;
    mounts.retain(|mount| mount["type"] != "bind");
    fs::write(bundle.join("config.json"), serde_json::to_vec(&config)?)?;
    let bundle = Bundle::load(&bundle)?;
    let plan = plan::plan("c1", &bundle, &Host::detect(), &Config::default())?;
    let file = given.scratch().join("plan.json");
    serde_json::to_writer(File::create(&file)?, &plan)?;
    Ok(Plan { plan, file })
}

impl Plan {
    /// What a guest may do that is loaded here, outside of any container.
    pub(crate) fn of_guest(&self) -> (Guest, &Limits) {
        (Guest { preopens: Vec::new(), ..self.plan.guest.clone() }, &self.plan.limits)
    }

    /// How long it takes to enter it so many times.
    pub(crate) fn time(&self, times: u64) -> Duration {
        (0..times).map(|_| self.time_once().expect("a sandbox is entered, as root")).sum()
    }

    fn time_once(&self) -> Result<Duration> {
        let output = Command::new(std::env::current_exe()?).arg(FLAG).arg(&self.file).output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Duration::from_nanos(String::from_utf8(output.stdout)?.trim().parse()?))
    }
}

/// What the process does that is timed.
#[allow(clippy::print_stdout, reason = "its answer")]
pub(crate) fn enter(file: &Path) -> Result<()> {
    let plan: plan::Plan = serde_json::from_slice(&fs::read(file)?)?;
    let (peer, _other) = wire::pair()?;
    let state = HookState {
        oci_version: "1.0.2".to_owned(),
        id: plan.id.clone(),
        status: "creating".to_owned(),
        pid: std::process::id(),
        bundle: String::new(),
        annotations: Default::default(),
    };
    let began = Instant::now();
    enter::enter(&plan.sandbox, &plan.guest.cwd, &state, &peer)?;
    println!("{}", began.elapsed().as_nanos());
    Ok(())
}
