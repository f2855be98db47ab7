//! containerd's Sandbox service: pods without a pause container.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::sandbox_api as api;
use containerd_shim_protos::sandbox_async::{Sandbox as SandboxService, create_sandbox};
use containerd_shim_protos::ttrpc::Result;
use containerd_shim_protos::ttrpc::r#async::{Service as Methods, TtrpcContext};
use containerd_shim_protos::types::platform::Platform;
use serde_json::json;

use super::convert::{metrics, status, timestamp};
use super::pod::config;
use crate::sandbox::{NewSandbox, Sandbox};
use crate::task::{Code, Error};
use crate::tasks::Tasks;

/// How Kubernetes' container runtime interface writes the states of a sandbox.
const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";

/// The service of this server's sandbox.
pub(super) fn service(sandbox: &Arc<Sandbox>, tasks: &Arc<Tasks>) -> HashMap<String, Methods> {
    create_sandbox(Arc::new(Service { sandbox: sandbox.clone(), tasks: tasks.clone() }))
}

struct Service {
    sandbox: Arc<Sandbox>,
    tasks: Arc<Tasks>,
}

/// The processor, as Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[async_trait]
impl SandboxService for Service {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::CreateSandboxRequest,
    ) -> Result<api::CreateSandboxResponse> {
        if !request.rootfs.is_empty() {
            return Err(status(Error::unsupported("a sandbox with a root filesystem of its own")));
        }
        let new = NewSandbox {
            id: request.sandbox_id,
            bundle: request.bundle_path.into(),
            config: config(request.options.as_ref()).map_err(status)?,
            network: Some(request.netns_path).filter(|path| !path.is_empty()).map(Into::into),
        };
        self.sandbox.create(new).map_err(status)?;
        Ok(api::CreateSandboxResponse::default())
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::StartSandboxRequest,
    ) -> Result<api::StartSandboxResponse> {
        let (pid, created) = self.sandbox.start(&request.sandbox_id).await.map_err(status)?;
        let created_at = MessageField::some(timestamp(created));
        Ok(api::StartSandboxResponse { pid, created_at, ..Default::default() })
    }

    async fn platform(
        &self,
        _: &TtrpcContext,
        request: api::PlatformRequest,
    ) -> Result<api::PlatformResponse> {
        self.sandbox.check(&request.sandbox_id).map_err(status)?;
        // Of the containers' specifications; their modules are WebAssembly all the same.
        let platform = Platform {
            os: "linux".to_owned(),
            architecture: architecture().to_owned(),
            ..Platform::default()
        };
        Ok(api::PlatformResponse { platform: MessageField::some(platform), ..Default::default() })
    }

    async fn stop_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::StopSandboxRequest,
    ) -> Result<api::StopSandboxResponse> {
        self.sandbox.stop(&request.sandbox_id, &self.tasks).await.map_err(status)?;
        Ok(api::StopSandboxResponse::default())
    }

    async fn wait_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::WaitSandboxRequest,
    ) -> Result<api::WaitSandboxResponse> {
        let end = self.sandbox.wait(&request.sandbox_id).await.map_err(status)?;
        let exited_at = MessageField::some(timestamp(end.at));
        Ok(api::WaitSandboxResponse { exit_status: end.status, exited_at, ..Default::default() })
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        request: api::SandboxStatusRequest,
    ) -> Result<api::SandboxStatusResponse> {
        let known = self.sandbox.status(&request.sandbox_id).map_err(status)?;
        let mut info = HashMap::new();
        if request.verbose {
            let config = &known.config;
            let text = json!({
                "runtimeType": crate::RUNTIME,
                "pid": known.pid,
                "shimPid": std::process::id(),
                "hostname": config.hostname,
                "cgroup": config.cgroup,
            });
            info.insert("info".to_owned(), text.to_string());
        }
        Ok(api::SandboxStatusResponse {
            sandbox_id: request.sandbox_id,
            pid: known.pid,
            state: if known.pid == 0 { NOT_READY } else { READY }.to_owned(),
            info,
            created_at: MessageField::some(timestamp(known.created)),
            exited_at: known.end.map(|end| timestamp(end.at)).into(),
            ..Default::default()
        })
    }

    async fn ping_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::PingRequest,
    ) -> Result<api::PingResponse> {
        self.sandbox.check(&request.sandbox_id).map_err(status)?;
        Ok(api::PingResponse::default())
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        request: api::ShutdownSandboxRequest,
    ) -> Result<api::ShutdownSandboxResponse> {
        self.sandbox.shut_down(&request.sandbox_id, &self.tasks).await.map_err(status)?;
        Ok(api::ShutdownSandboxResponse::default())
    }

    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        request: api::SandboxMetricsRequest,
    ) -> Result<api::SandboxMetricsResponse> {
        let usage = self.sandbox.usage(&request.sandbox_id).await.map_err(status)?;
        let data = metrics(&usage).map_err(|error| {
            status(Error::new(Code::Unknown, format!("encode metrics: {error}")))
        })?;
        let mut response = api::SandboxMetricsResponse::default();
        let metric = response.mut_metrics();
        metric.id = request.sandbox_id;
        metric.timestamp = MessageField::some(timestamp(SystemTime::now()));
        metric.data = MessageField::some(data);
        Ok(response)
    }
}
