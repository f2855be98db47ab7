//! An image on disk: OCI's image layout, in a directory or a tar file, with Docker's older index beside it.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::form::{Blob, Image};
use crate::commands::images::Reference;

/// Writes `image` under the name `reference` to `output`.
pub(super) fn write(image: &Image, reference: &Reference, output: &Path) -> Result<()> {
    let files = files(image, reference);
    let writing = || format!("write {}", output.display());
    if output == Path::new("-") {
        return tar(&files, std::io::stdout().lock()).context("write to standard output");
    }
    if output.extension().is_some_and(|extension| extension == "tar") {
        // Aside first: what is there already stays whole until the new one is.
        let aside = output.with_extension("tar.new");
        let written = File::create(&aside)
            .map_err(Into::into)
            .and_then(|file| tar(&files, BufWriter::new(file)))
            .and_then(|()| Ok(fs::rename(&aside, output)?));
        if written.is_err() {
            let _ = fs::remove_file(&aside);
        }
        return written.with_context(writing);
    }
    if fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{}: is there already, and not empty", output.display());
    }
    for (path, bytes) in &files {
        let path = output.join(path);
        let dir = path.parent().unwrap_or(output);
        fs::create_dir_all(dir).and_then(|()| fs::write(&path, bytes)).with_context(writing)?;
    }
    Ok(())
}

/// All of the layout's files, those that name others first.
fn files<'a>(image: &'a Image, reference: &Reference) -> Vec<(String, std::borrow::Cow<'a, [u8]>)> {
    let name = reference.to_string();
    let mut root = image.manifest.descriptor();
    if let Some(platform) = &image.platform {
        root["platform"] = platform.clone();
    }
    // The first for containerd, which takes it for the image's name; the second is what OCI has for tags.
    root["annotations"] = json!({
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": reference.tag(),
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [root],
    });
    let docker = json!([{
        "Config": path(&image.config),
        "RepoTags": [name],
        "Layers": [path(&image.layer)],
    }]);
    let mut files = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice().into()),
        ("index.json".to_owned(), index.to_string().into_bytes().into()),
        ("manifest.json".to_owned(), docker.to_string().into_bytes().into()),
    ];
    files.extend(
        [&image.manifest, &image.config, &image.layer]
            .map(|blob| (path(blob), blob.bytes.as_slice().into())),
    );
    files
}

fn path(blob: &Blob) -> String {
    blob.digest().replacen("sha256:", "blobs/sha256/", 1)
}

fn tar(files: &[(String, std::borrow::Cow<'_, [u8]>)], to: impl Write) -> Result<()> {
    let mut tar = tar::Builder::new(to);
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes.as_ref())?;
    }
    Ok(tar.into_inner()?.flush()?)
}
