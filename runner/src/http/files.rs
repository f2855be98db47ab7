//! Files of a server's guest: one that may never open is not opened.
//!
//! A FIFO opens once somebody has its other end, which may be never, and nothing ends the thread that waits for it: a few requests
//! could keep all threads that there are for files. Guests could only append to one, as they read at an offset, which a FIFO has none of.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};

use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};

use crate::wasi::Host;

/// The interface as the engine's crate links it; guests of any 0.2 get this one.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// Links what opens a file, in place of the engine's.
pub(crate) fn link_files(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap_async("[method]descriptor.open-at", |store, asked| {
        Box::new(open(store, asked))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

type Asked = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);
type Opened = (Result<Resource<Descriptor>, ErrorCode>,);

async fn open(
    mut store: StoreContextMut<'_, Host>,
    (directory, follow, path, how, access): Asked,
) -> wasmtime::Result<Opened> {
    let mut files = store.data_mut().filesystem();
    let again = Resource::new_borrow(directory.rep());
    // What cannot be looked at cannot be opened either, which says why.
    if let Ok(known) = files.stat_at(again, follow, path.clone()).await
        // So the engine calls FIFOs and sockets; what has a name of its own is none of them.
        && known.type_ == DescriptorType::Unknown
    {
        return Ok((Err(ErrorCode::Unsupported),));
    }
    let opened = files.open_at(directory, follow, path, how, access).await;
    Ok((match opened {
        Ok(opened) => Ok(opened),
        Err(error) => Err(error.downcast()?),
    },))
}
