//! Running hooks: the operator's programs at points of a container's life, see "POSIX-platform Hooks"
//! in config.md of the OCI runtime specification.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Refusal, Result};
use crate::plan::Hook;
use crate::wire::HookState;

/// Runs the hooks of one kind in order, with the container's state on their standard input.
///
/// # Errors
/// Names the first hook that cannot be run, fails or takes too long, and what it wrote.
pub fn run(kind: &str, hooks: &[Hook], state: &HookState, status: &str) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = HookState { status: status.to_owned(), ..state.clone() };
    let state = serde_json::to_vec(&state).map_err(|e| Refusal::system("hook state", e))?;
    hooks.iter().try_for_each(|hook| {
        run_one(hook, &state)
            .map_err(|e| Refusal::system(format!("{kind} hook {:?}", hook.path), e))
    })
}

fn run_one(hook: &Hook, state: &[u8]) -> Result<(), String> {
    let mut command = Command::new(&hook.path);
    if let [name, args @ ..] = hook.args.as_slice() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        command.args(args);
    }
    let mut child = command
        .env_clear()
        .envs(hook.env.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its input.
        let _ = stdin.write_all(state);
    }
    // Read aside, so that a hook which writes more than a pipe holds can still be timed out.
    let stderr = child.stderr.take();
    let written = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(stderr) = stderr {
            let _ = stderr.take(4096).read_to_string(&mut text);
        }
        text
    });
    let status = wait(&mut child, hook.timeout.map(Duration::from_secs))?;
    if status.success() {
        return Ok(());
    }
    let written = written.join().unwrap_or_default();
    Err(format!("{status}: {}", written.trim()))
}

fn wait(child: &mut Child, timeout: Option<Duration>) -> Result<std::process::ExitStatus, String> {
    let Some(timeout) = timeout else { return child.wait().map_err(|e| e.to_string()) };
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("killed after its timeout of {} s", timeout.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<u64>) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: ["sh", "-c", script].map(String::from).to_vec(),
            env: vec![("HOOK".into(), "yes".into())],
            timeout,
        }
    }

    fn state() -> HookState {
        HookState {
            oci_version: "1.2.0".into(),
            id: "c1".into(),
            status: String::new(),
            pid: 42,
            bundle: "/b".into(),
            annotations: Default::default(),
        }
    }

    #[test]
    fn a_hook_gets_state_and_only_its_environment() {
        let check =
            r#"grep -q '"status":"created".*"pid":42' && test "$HOOK" = yes && test -z "$HOME""#;
        run("poststart", &[hook(check, None)], &state(), "created").unwrap();
    }

    #[test]
    fn a_failing_hook_is_named_with_what_it_wrote() {
        let refusal =
            run("prestart", &[hook("echo no bridge >&2; exit 3", None)], &state(), "creating");
        let message = refusal.unwrap_err().message;
        assert!(message.contains("prestart") && message.contains("no bridge"), "{message}");
    }

    #[test]
    fn a_hook_that_hangs_is_killed() {
        let message =
            run("poststop", &[hook("exec sleep 60", Some(1))], &state(), "stopped").unwrap_err();
        assert!(message.message.contains("timeout of 1 s"), "{message}");
    }
}
