//! What `lighter --help` shows: clap has no groups of verbs.

/// Verbs by who needs them, each with what it does; then options, and some first steps.
pub(crate) const TEMPLATE: &str = "\
Lighter runs WebAssembly in containers, on Wasmtime.

Usage: lighter [OPTIONS] VERB [ARGUMENTS]

Run
  run        Run a .wasm file, an image, or a bundle
  exec       Run a program in a container that runs
  inspect    Show what a program, an image or a bundle gets on this node

Images
  build      Pack a .wasm file into an image
  pull       Fetch an image from a registry
  compile    Compile ahead of time, to look at the code or to measure

Containers
  list       List containers
  ps         List the processes of a container
  events     Show what a container uses
  update     Change its limits
  pause      Stop it where it is
  resume     Let it go on
  kill       Send it a signal
  delete     Delete it when it has ended

Node
  doctor     Say what this node offers, and what to do where it falls short
  cache      Look after the compiled code
  completions  Write what a shell needs to complete command lines

For Podman, Docker and other callers of an OCI runtime
  create     Create a container from a bundle
  start      Let it run
  state      Show its state
  spec       Write a config.json for a bundle
  features   Show what of the specification is known

Options
{options}

Examples
  lighter run ./app.wasm --name=value
  lighter run -p 8080 -v ./site:/site registry.example/web:1
  lighter build app.wasm -t web:1
  podman --runtime /usr/bin/lighter run --rm web:1

`lighter VERB --help` says more about one.
";

/// The verbs in the help.
#[cfg(test)]
pub(crate) fn verbs() -> impl Iterator<Item = &'static str> {
    let groups = TEMPLATE.split("Options\n").next().unwrap_or_default();
    groups.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
}
