//! The node's store of compiled code: wasm in, a read-only descriptor of its compiled code out.
//!
//! The way of a module: [`source`] looks at what the file is, [`memo`] knows its digest without
//! reading it if it has been read before, [`key`] names the compiled code that this node wants of it,
//! [`store`] has that code or not, and [`compile`] has it made by a limited child process.
//!
//! Architecture invariants: only the child compiles; a name in the store is the digest of what the
//! child itself read, so a file that changes under our hands cannot get another's name; nothing in the
//! store is used before its checksum has been verified in this boot.

use std::fs::File;

use crate::config::{CompileConfig, Config};
use crate::engine::Settings;
use crate::error::Result;
use crate::programs::Programs;

mod compile;
mod digest;
mod key;
mod lock;
mod memo;
mod source;
mod store;

pub use compile::{Compiled, Order, Payer, Report, compile, exit};
pub use digest::{Digest, Hasher};
pub use key::Key;
pub use source::{Form, Wasm, form_of};
pub use store::{Described, Entry, Layer, Meta, Store, Writer};

/// Which kind of program compiled code is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A core module.
    Module,
    /// A component.
    Component,
}

impl Kind {
    /// The lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Component => "component",
        }
    }
}

/// How an [`Artifact`] was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was in the store.
    Hit,
    /// It was compiled now, and is in the store.
    Compiled,
    /// It was compiled now and could not be stored; it is gone with its last descriptor.
    Uncached,
}

/// Compiled code, ready for the runner to map.
#[derive(Debug)]
pub struct Artifact {
    /// The code: read-only, never written again.
    pub file: File,
    /// Of the WebAssembly that it was compiled from.
    pub digest: Digest,
    /// Its name in the store.
    pub key: Key,
    /// Module or component.
    pub kind: Kind,
    /// How it was come by.
    pub origin: Origin,
}

/// The store, and the compiler that fills it.
#[derive(Debug)]
pub struct Cache {
    /// `None`: the store cannot be used, and everything runs uncached.
    store: Option<Store>,
    program: std::path::PathBuf,
    limits: CompileConfig,
    payer: Payer,
}

impl Cache {
    /// Opens the store, creating it if needed. A directory that cannot be used is logged and done without.
    pub fn open(config: &Config, programs: &Programs) -> Self {
        let store = Store::open(&config.cache)
            .map_err(|e| log::warn!("modules are compiled for each container: {e}"))
            .ok();
        Self {
            store,
            program: programs.lighter.clone(),
            limits: config.compile.clone(),
            payer: Payer::Caller,
        }
    }

    /// The same store; compilations are paid by `payer`.
    pub fn paid_by(self, payer: Payer) -> Self {
        Self { payer, ..self }
    }

    /// The compiled code of `wasm`, compiled now if the store does not have it.
    ///
    /// # Errors
    /// Says what is wrong with the module, or which limit compiling it exceeds, or what failed here.
    pub fn get(&self, wasm: &Wasm<'_>, settings: &Settings) -> Result<Artifact> {
        let facts = source::check(wasm, &self.limits)?;
        let Some(store) = &self.store else {
            let digest = source::read(wasm, &facts)?;
            let key = Key::new(&digest, settings);
            let compiled = self.compile(wasm, settings, digest).map_err(|f| f.refusal)?;
            return Ok(uncached(compiled, key));
        };

        let digest = match memo::recall(store, wasm, &facts) {
            Some(digest) => digest,
            None => {
                let digest = source::read(wasm, &facts)?;
                memo::remember(store, wasm, &facts, &digest);
                digest
            }
        };
        let key = Key::new(&digest, settings);
        if let Some(artifact) = store.look_up(&key, digest) {
            return Ok(artifact);
        }

        // One process compiles, the others wait for what comes of it.
        let lock = match lock::acquire(store, key, self.limits.timeout()) {
            lock::Acquired::Held(lock) => Some(lock),
            lock::Acquired::Failed(refusal) => return Err(wasm.rename(refusal)),
            lock::Acquired::Busy => {
                log::info!("another process takes long to compile {:?}", wasm.name);
                None
            }
            lock::Acquired::Impossible(e) => {
                log::debug!("cannot lock the entry for {:?}: {e}", wasm.name);
                None
            }
        };
        if let Some(artifact) = store.look_up(&key, digest) {
            return Ok(artifact);
        }
        let compiled = self.compile(wasm, settings, digest).map_err(|failure| {
            if let Some(lock) = lock.as_ref().filter(|_| failure.of_module) {
                lock.publish_failure(&failure.refusal);
            }
            failure.refusal
        })?;
        match store.insert(&key, settings, wasm.name, &compiled) {
            Ok(file) => {
                let kind = compiled.report.kind;
                Ok(Artifact { file, digest, key, kind, origin: Origin::Compiled })
            }
            Err(e) => {
                log::warn!("{:?} runs uncached: {e}", wasm.name);
                Ok(uncached(compiled, key))
            }
        }
    }

    /// Removes what the runner could not load (compiled on another CPU, by another Wasmtime), so that the
    /// next [`Cache::get`] compiles anew. What another process has put in its place meanwhile stays.
    pub fn forget(&self, artifact: &Artifact) {
        if let Some(store) = &self.store {
            store.forget(&artifact.key, &artifact.file);
        }
    }

    /// The store, if it can be used.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    fn compile(
        &self,
        wasm: &Wasm<'_>,
        settings: &Settings,
        digest: Digest,
    ) -> Result<Compiled, compile::Failure> {
        let order = Order {
            name: wasm.name.to_owned(),
            settings: settings.clone(),
            limits: self.limits.clone(),
            digest: Some(digest),
        };
        compile::carry_out(&self.program, &order, &self.payer, wasm)
    }
}

fn uncached(compiled: Compiled, key: Key) -> Artifact {
    let Compiled { file, report } = compiled;
    Artifact { file, digest: report.digest, key, kind: report.kind, origin: Origin::Uncached }
}
