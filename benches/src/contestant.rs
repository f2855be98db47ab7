//! Who is measured.

use prost_types::Any;

/// A runtime below containerd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Contestant {
    /// A shim that runs nothing: the floor.
    Noop,
    /// Lighter.
    Ours,
    /// containerd-shim-runc-v2 with a static program of Linux.
    Runc,
    /// The same through crun.
    Crun,
    /// A shim of the crate `containerd-shim-wasm` with the same Wasmtime.
    Peer,
}

/// How the guest comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// WebAssembly as a file of the image.
    File,
    /// WebAssembly as a layer: the peer compiles files anew at every start, and keeps the code of layers.
    Layer,
    /// busybox.
    Native,
}

impl Contestant {
    /// All, the floor first.
    pub const ALL: [Self; 5] = [Self::Noop, Self::Ours, Self::Runc, Self::Crun, Self::Peer];

    /// As tables and files have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Ours => "ours",
            Self::Runc => "runc",
            Self::Crun => "crun",
            Self::Peer => "peer",
        }
    }

    /// As containerd has it.
    pub fn runtime(self) -> &'static str {
        match self {
            Self::Noop => "io.containerd.noop.v1",
            Self::Ours => "io.containerd.wasmtime.v1",
            Self::Runc | Self::Crun => "io.containerd.runc.v2",
            Self::Peer => "io.containerd.peer.v1",
        }
    }

    /// What the shim is told: `containerd.runc.v1.Options`, whose sixth field is the program to use.
    pub fn options(self) -> Option<Any> {
        (self == Self::Crun).then(|| Any {
            type_url: "containerd.runc.v1.Options".to_owned(),
            value: [&[6 << 3 | 2, 4], b"crun".as_slice()].concat(),
        })
    }

    /// How guests come to it.
    pub fn form(self) -> Form {
        match self {
            Self::Noop | Self::Ours => Form::File,
            Self::Runc | Self::Crun => Form::Native,
            Self::Peer => Form::Layer,
        }
    }
}
