//! Kernel parameters of namespaces.

use crate::error::{Refusal, Result};

/// Sets kernel parameters through `/proc/sys`, which shows those of the calling thread's namespaces.
///
/// # Errors
/// Names the parameter that is not one of a container's own namespaces, or that the kernel refuses.
pub fn set(parameters: &[(String, String)]) -> Result<()> {
    for (name, value) in parameters {
        // `net/ipv4/conf/eth0.1` keeps its dot: a name with a slash is taken as it is, as sysctl(8) does.
        let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        let field = || format!("linux.sysctl {name:?}={value:?}");
        if path.split('/').any(|part| part == "..") {
            return Err(Refusal::invalid(format!("{}: not the name of a parameter", field())));
        }
        if !is_namespaced(&path) {
            return Err(Refusal::invalid(format!(
                "{}: not a parameter of a container's own namespaces",
                field()
            )));
        }
        std::fs::write(format!("/proc/sys/{path}"), value)
            .map_err(|e| Refusal::system(field(), e))?;
    }
    Ok(())
}

/// Parameters that belong to a namespace, the list of runc: others would change the host.
fn is_namespaced(path: &str) -> bool {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    path.starts_with("net/")
        || path.starts_with("fs/mqueue/")
        || path == "kernel/domainname"
        || path == "kernel/hostname"
        || IPC.contains(&path)
}
