//! A container that calls are made to, and what was answered.

use std::time::Duration;

use serde_json::{Value, json};

use super::Subject;
use crate::support::command::eventually;
use crate::support::containerd::LIMIT;
use crate::support::grpc::{Answer, Client, Io};
use crate::support::guests;
use crate::support::image::Image;
use crate::support::namespace::{Namespace, RUNTIME, unique_id};
use crate::support::subscription::{Event, Subscription};

/// A call, and its answer: `Ok`, with what it says, or the status code; a message is never compared.
#[derive(Clone, Debug)]
pub struct Step {
    pub call: String,
    pub answer: String,
    pub message: String,
}

/// What a container runs: the same in both worlds.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// Sleeps until it is killed.
    Sleep,
    /// Exits with this status.
    Exit(u8),
}

/// One container's life, as one subject has it.
pub struct Life<'a> {
    namespace: &'a Namespace<'a>,
    subject: Subject,
    client: Client,
    events: Subscription,
    id: String,
    exec: &'static str,
    steps: Vec<Step>,
}

impl<'a> Life<'a> {
    pub fn new(namespace: &'a Namespace<'a>, subject: Subject) -> Self {
        Self {
            namespace,
            subject,
            client: Client::of(namespace),
            events: Subscription::to(namespace),
            id: unique_id(),
            exec: "beside",
            steps: Vec::new(),
        }
    }

    /// Makes the container, without a task.
    pub fn container(&self, program: Program) {
        let image = match self.subject {
            Subject::Wasm => guests(),
            _ => linux(),
        };
        let args = self.args(program);
        let runtime = match self.subject {
            Subject::Runc => "io.containerd.runc.v2",
            _ => RUNTIME,
        };
        self.namespace.create_container_under(
            runtime,
            &image,
            &self.id,
            &[],
            &args.each_ref().map(String::as_str),
        );
    }

    fn args(&self, program: Program) -> [String; 3] {
        let (name, number) = match program {
            Program::Sleep => ("sleep", 1000),
            Program::Exit(status) => ("exit", u32::from(status)),
        };
        match self.subject {
            // The third is for the shell, which wants one.
            Subject::Wasm => [format!("/{name}.wasm"), number.to_string(), String::new()],
            _ => ["/bin/sh".to_owned(), format!("/{name}"), number.to_string()],
        }
    }

    /// A container with a task that was created.
    pub fn created(&mut self, program: Program) {
        self.container(program);
        self.create();
    }

    /// A container with a task that was started.
    pub fn started(&mut self, program: Program) {
        self.created(program);
        self.start();
    }

    /// A container that has ended.
    pub fn stopped(&mut self, program: Program) {
        self.started(program);
        if matches!(program, Program::Sleep) {
            self.kill(9);
        }
        self.until_stopped();
    }

    /// From now on the calls name a container that there is not.
    pub fn of_another(&mut self) {
        self.id = format!("{}-unknown", self.id);
    }

    fn note<T>(&mut self, call: impl Into<String>, answer: Answer<T>, says: impl Fn(&T) -> String) {
        let call = call.into();
        let (answer, message) = match answer {
            Ok(value) => (format!("Ok {}", says(&value)).trim_end().to_owned(), String::new()),
            Err(failure) => (format!("{:?}", failure.code), failure.message),
        };
        self.steps.push(Step { call, answer, message });
    }

    fn note_done<T>(&mut self, call: impl Into<String>, answer: Answer<T>) {
        self.note(call, answer, |_| String::new());
    }

    pub fn create(&mut self) {
        let answer = self.client.create(&self.id, &Io::default());
        self.note_done("create", answer);
    }

    pub fn start(&mut self) {
        let answer = self.client.start(&self.id, "");
        self.note_done("start", answer);
    }

    pub fn state(&mut self) {
        let answer = self.client.status(&self.id, "");
        self.note("state", answer, |status| (*status).to_owned());
    }

    pub fn kill(&mut self, signal: u32) {
        let answer = self.client.kill(&self.id, "", signal, false);
        self.note_done(format!("kill {signal}"), answer);
    }

    pub fn kill_all(&mut self, signal: u32) {
        let answer = self.client.kill(&self.id, "", signal, true);
        self.note_done(format!("kill {signal} all"), answer);
    }

    pub fn wait(&mut self) {
        let answer = self.client.wait(&self.id, "");
        self.note("wait", answer, u32::to_string);
    }

    /// Waits on another thread while `meanwhile` is done.
    pub fn wait_while(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        let client = Client::of(self.namespace);
        let id = self.id.clone();
        let waiter = std::thread::spawn(move || client.wait(&id, ""));
        // It is most likely asked by then; if not, nothing is wrong, and nothing found.
        std::thread::sleep(Duration::from_millis(200));
        meanwhile(self);
        let answer = waiter.join().expect("the waiter");
        self.note("wait, begun before", answer, u32::to_string);
    }

    pub fn delete(&mut self) {
        let answer = self.client.delete(&self.id);
        self.note("delete", answer, u32::to_string);
    }

    pub fn pause(&mut self) {
        let answer = self.client.pause(&self.id);
        self.note_done("pause", answer);
    }

    pub fn resume(&mut self) {
        let answer = self.client.resume(&self.id);
        self.note_done("resume", answer);
    }

    pub fn update(&mut self, resources: &Value) {
        let answer = self.client.update(&self.id, resources);
        self.note_done(format!("update {resources}"), answer);
    }

    pub fn pids(&mut self) {
        let answer = self.client.pids(&self.id);
        self.note("pids", answer, |pids| format!("{} of them", pids.len()));
    }

    pub fn metrics(&mut self) {
        let answer = self.client.metrics(&self.id);
        self.note("metrics", answer, |sets| format!("{sets} of them"));
    }

    pub fn close_stdin(&mut self) {
        let answer = self.client.close_stdin(&self.id, "");
        self.note_done("close_io", answer);
    }

    pub fn resize(&mut self) {
        let answer = self.client.resize(&self.id, "", 80, 24);
        self.note_done("resize_pty", answer);
    }

    pub fn checkpoint(&mut self) {
        let answer = self.client.checkpoint(&self.id);
        self.note_done("checkpoint", answer);
    }

    /// Adds a process beside the first.
    pub fn exec(&mut self, program: Program) {
        let process = json!({
            "args": self.args(program),
            "env": ["PATH=/bin"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
        });
        let answer = self.client.exec(&self.id, self.exec, &process, &Io::default());
        self.note_done("exec", answer);
    }

    /// From now on the calls about processes beside the first name one that there is not.
    pub fn of_another_exec(&mut self) {
        self.exec = "unknown";
    }

    pub fn start_exec(&mut self) {
        let answer = self.client.start(&self.id, self.exec);
        self.note_done("start of exec", answer);
    }

    pub fn state_of_exec(&mut self) {
        let answer = self.client.status(&self.id, self.exec);
        self.note("state of exec", answer, |status| (*status).to_owned());
    }

    pub fn kill_exec(&mut self, signal: u32) {
        let answer = self.client.kill(&self.id, self.exec, signal, false);
        self.note_done(format!("kill {signal} of exec"), answer);
    }

    pub fn wait_for_exec(&mut self) {
        let answer = self.client.wait(&self.id, self.exec);
        self.note("wait for exec", answer, u32::to_string);
    }

    pub fn delete_exec(&mut self) {
        let answer = self.client.delete_process(&self.id, self.exec);
        self.note("delete of exec", answer, u32::to_string);
    }

    pub fn close_stdin_of_exec(&mut self) {
        let answer = self.client.close_stdin(&self.id, self.exec);
        self.note_done("close_io of exec", answer);
    }

    pub fn resize_exec(&mut self) {
        let answer = self.client.resize(&self.id, self.exec, 80, 24);
        self.note_done("resize_pty of exec", answer);
    }

    /// Waits until the task has ended.
    #[track_caller]
    pub fn until_stopped(&self) {
        let stopped = || self.client.status(&self.id, "").is_ok_and(|status| status == "STOPPED");
        assert!(eventually(LIMIT, stopped), "{:?} does not end", self.subject);
    }

    /// Removes what there still is; the last step is what subscribers heard.
    pub fn end(mut self) -> Vec<Step> {
        let id = self.id.strip_suffix("-unknown").unwrap_or(&self.id).to_owned();
        if self.client.state(&id, "").is_ok() {
            let _ = self.client.resume(&id);
            let _ = self.client.kill(&id, "", 9, true);
            let gone = || {
                let _ = self.client.delete(&id);
                self.client.state(&id, "").is_err()
            };
            assert!(eventually(LIMIT, gone), "{:?}: the task of {id} stays", self.subject);
        }
        self.namespace.ctr(&["containers", "delete", &id]).expect_success();
        let created = self.steps.iter().any(|step| step.call == "create" && step.answer == "Ok");
        let events = match created {
            true if self.subject == Subject::Runc => self.events.most_of(&id),
            true => self.events.until_deleted(&id),
            false => Vec::new(),
        };
        let show = |event: &Event| match event.exec.as_str() {
            "" => event.topic.clone(),
            exec => format!("{}({exec})", event.topic),
        };
        let answer = events.iter().map(show).collect::<Vec<_>>().join(" ");
        self.steps.push(Step { call: "events".to_owned(), answer, message: String::new() });
        self.steps
    }
}

fn linux() -> Image {
    Image::linux("linux").file("/sleep", b"exec /bin/sleep $1").file("/exit", b"exit $1")
}

fn guests() -> Image {
    let guest = |name| guests::module(name);
    Image::guest("sleep", &guest("sleep")).file("/exit.wasm", &guest("exit"))
}
