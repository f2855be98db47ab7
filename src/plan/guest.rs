//! The guest's half of a plan: what the WebAssembly program sees.

use serde::{Deserialize, Serialize};

use super::{Http, Network};

/// What the WebAssembly program sees of the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// Where the program is found and which function of it runs.
    pub entrypoint: Entrypoint,
    /// WASI arguments, the program's own name first.
    pub args: Vec<String>,
    /// WASI environment, in the bundle's order.
    pub env: Vec<(String, String)>,
    /// Initial working directory, absolute.
    pub cwd: String,
    /// Directories the program may open, in the order in which it gets them.
    pub preopens: Vec<Preopen>,
    /// The ports that its sockets may use.
    pub network: Network,
    /// The file inside the container, absolute, in which it is to be said why the guest failed, unless the guest says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_message: Option<String>,
    /// How it is served, if it is an HTTP server.
    #[serde(default)]
    pub http: Http,
}

/// Where the program is found and which function of it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entrypoint {
    /// The name as the bundle gives it, for messages.
    pub name: String,
    /// Absolute paths inside the container, tried in order; the first that exists is it.
    pub candidates: Vec<String>,
    /// The exported function to call: `/app.wasm#export`. `None` is the command's own start.
    pub export: Option<String>,
}

/// A directory given to the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preopen {
    /// The name under which the guest sees it: `/`, `/data`, or `.` for the working directory.
    pub name: String,
    /// Where it is inside the container, absolute. Not a directory (a file mount): left out.
    pub path: String,
    /// What the guest may do below it.
    pub access: Access,
}

/// What a guest may do below a preopened directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Open and read.
    ReadOnly,
    /// Also create, write, rename and remove.
    ReadWrite,
}
