//! What is said of an image.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Result;
use lighter::config::Config;
use serde_json::json;

use super::lines::{self, Lines, list};
use super::program::{self, harmless};
use super::{Args, images, plan};
use crate::commands::human_bytes;
use images::{Execution, Image};

pub(super) fn show(args: &Args, config: &Config) -> Result<ExitCode> {
    let image = images::find(&args.target, &args.find)?;
    let execution = image.execution();
    let mut programs = Vec::new();
    for found in image.programs(config.compile.max_module_bytes)? {
        let mut bytes = Vec::new();
        let mut file = found.file;
        std::io::Seek::rewind(&mut file)?;
        file.read_to_end(&mut bytes)?;
        // An image may have files of any kind that end in .wasm.
        match super::look(&found.name, &bytes, config) {
            Ok(program) => programs.push(program),
            Err(why) => log::warn!("{why:#}"),
        }
    }
    let planned = (!programs.is_empty()).then(|| {
        let name = programs.first().map_or("/", |program| program.name.as_str());
        let path = if name.starts_with('/') { name } else { "/module.wasm" };
        plan::of(path, &execution, config)
    });
    super::show(
        args.json,
        || {
            let plan = planned.as_ref().and_then(|planned| planned.as_ref().ok());
            Ok(json!({
                "image": {
                    "name": image.name,
                    "digest": image.digest,
                    "os": image.config.os,
                    "architecture": image.config.architecture,
                    "annotations": image.manifest.annotations,
                    "layers": image.layers.iter().map(|layer| &layer.descriptor).collect::<Vec<_>>(),
                    "config": execution,
                },
                "programs": programs,
                "plan": plan.map(|(plan, _)| json!(plan)).unwrap_or_default(),
            }))
        },
        |out, style| {
            lines::write(out, None, &lines(&image, &execution), style)?;
            for program in &programs {
                writeln!(out)?;
                lines::write(out, None, &program::lines(program), style)?;
            }
            match &planned {
                Some(planned) => super::write_plan(out, planned, style),
                None => writeln!(
                    out,
                    "\nThere is no WebAssembly in it: Lighter runs it as a Linux container."
                ),
            }
        },
    )
}

fn lines(image: &Image, execution: &Execution) -> Lines {
    let mut lines = vec![("image", harmless(&image.name)), ("digest", image.digest.clone())];
    let platform = format!("{}/{}", image.config.os, image.config.architecture);
    lines.push(match image.is_artifact() {
        true => ("form", "an artifact, which does not say how it is run".to_owned()),
        false => ("platform", harmless(&platform)),
    });
    let layers = image.layers.iter().map(|layer| {
        let descriptor = &layer.descriptor;
        let what = match (descriptor.is_wasm(), descriptor.title()) {
            (true, Some(title)) => format!("WebAssembly {title:?}"),
            (true, None) => "WebAssembly".to_owned(),
            (false, _) if descriptor.is_archive() => "an archive of files".to_owned(),
            (false, _) => format!("{:?}, which cannot be run", descriptor.media_type),
        };
        match descriptor.size {
            0 => harmless(&what),
            size => harmless(&format!("{what}, {}", human_bytes(size))),
        }
    });
    list(&mut lines, "layers", layers.collect());
    let words = |name, words: &Option<Vec<String>>| {
        let words = words.as_deref().filter(|words| !words.is_empty())?;
        let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
        Some((name, harmless(&quoted.join(" "))))
    };
    let text = |name, text: &Option<String>| {
        Some((name, harmless(text.as_deref().filter(|text| !text.is_empty())?)))
    };
    lines.extend(words("entrypoint", &execution.entrypoint));
    lines.extend(words("arguments", &execution.cmd));
    lines.extend(text("directory", &execution.working_dir));
    lines.extend(text("user", &execution.user));
    let env = execution.env.iter().flatten().map(|line| harmless(line)).collect();
    list(&mut lines, "environment", env);
    let keys = |map: &Option<std::collections::BTreeMap<String, serde_json::Value>>| {
        map.iter().flat_map(|map| map.keys()).map(|key| harmless(key)).collect::<Vec<_>>()
    };
    list(&mut lines, "ports", keys(&execution.exposed_ports));
    list(&mut lines, "volumes", keys(&execution.volumes));
    let labels = execution.labels.iter().flatten();
    list(&mut lines, "labels", labels.map(|(k, v)| harmless(&format!("{k}={v}"))).collect());
    let annotations = image.manifest.annotations.iter();
    list(
        &mut lines,
        "annotations",
        annotations.map(|(k, v)| harmless(&format!("{k}={v}"))).collect(),
    );
    lines
}
