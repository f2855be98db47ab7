//! The guest's environment: the image's, then `--env-file`, then `--env`, the later ones winning.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// Variables in the order in which they came first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    /// What an image's configuration says, each `NAME=value`.
    pub(super) fn of_image(lines: &[String]) -> Self {
        let mut environment = Self::default();
        for line in lines {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            environment.set(name, value);
        }
        environment
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some(known) => value.clone_into(&mut known.1),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Sets it unless it is set.
    pub(super) fn set_default(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.set(name, value);
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `NAME=value`, or `NAME` for the value that it has here, if it has one.
    pub(super) fn add(&mut self, text: &str) -> Result<()> {
        match text.split_once('=') {
            Some(("", _)) => bail!("--env {text:?}: there is no name before the \"=\""),
            Some((name, value)) => self.set(name, value),
            None if text.is_empty() => bail!("--env \"\": it names nothing"),
            None => match std::env::var_os(text) {
                Some(value) => match value.to_str() {
                    Some(value) => self.set(text, value),
                    None => bail!("--env {text}: its value here, {value:?}, is not UTF-8 text"),
                },
                // As with Docker: one that is not set here is not set there, whatever the image says.
                None => self.0.retain(|(known, _)| known != text),
            },
        }
        Ok(())
    }

    /// Reads a file of such lines; those that are empty or begin with `#` are none. Nothing is quoted there.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<()> {
        let named = || format!("--env-file {}", path.display());
        let text = std::fs::read_to_string(path).with_context(named)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let name = line.split_once('=').map_or(line, |(name, _)| name);
            if name.is_empty() || name.contains(char::is_whitespace) {
                bail!("{}, line {}: {name:?} is not a name of a variable", named(), index + 1);
            }
            self.add(line).with_context(|| format!("{}, line {}", named(), index + 1))?;
        }
        Ok(())
    }

    /// Each `NAME=value`.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_wins_at_the_place_of_the_first() {
        let mut environment = Environment::of_image(&["A=1".into(), "B=2".into(), "C".into()]);
        environment.add("B=x=y").unwrap();
        environment.add("D=4").unwrap();
        environment.set_default("A", "9");
        environment.add("NO_SUCH_VARIABLE_HERE").unwrap();
        assert_eq!(environment.lines(), ["A=1", "B=x=y", "C=", "D=4"]);
        assert_eq!(environment.get("D"), Some("4"));
        assert!(environment.add("=x").is_err());
        environment.set("NO_SUCH_VARIABLE_HERE", "1");
        environment.add("NO_SUCH_VARIABLE_HERE").unwrap();
        assert_eq!(environment.get("NO_SUCH_VARIABLE_HERE"), None);
    }

    #[test]
    fn files_have_lines_and_remarks() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "# remark\n\n  A=1 # no remark\nB=\"2\"\n").unwrap();
        let mut environment = Environment::default();
        environment.add_file(&file).unwrap();
        assert_eq!(environment.lines(), ["A=1 # no remark", "B=\"2\""]);
        std::fs::write(&file, "A=1\nnot a name=2\n").unwrap();
        let error = format!("{:#}", environment.add_file(&file).unwrap_err());
        assert!(error.contains("line 2: \"not a name\""), "{error}");
        let error = environment.add_file(&dir.path().join("none")).unwrap_err();
        assert!(format!("{error:#}").contains("No such file"), "{error:#}");
    }
}
