//! How an engine is started: a TOML file per engine, shipped or the user's own.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The files that ship with the program.
const SHIPPED: [(&str, &str); 4] = [
    ("vllm", include_str!("../../engines/vllm.toml")),
    ("sglang", include_str!("../../engines/sglang.toml")),
    ("llama.cpp", include_str!("../../engines/llama.cpp.toml")),
    ("emulated", include_str!("../../engines/emulated.toml")),
];

/// How an engine is started.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Template {
    /// Name of the engine.
    pub name: String,
    /// Program and arguments, with `{placeholders}`.
    pub command: Vec<String>,
    /// Environment variables that are set for it, with placeholders.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Values of placeholders of its own, which a user may replace.
    #[serde(default)]
    pub defaults: BTreeMap<String, String>,
    /// When it takes requests.
    pub ready: Ready,
    /// How it is stopped.
    #[serde(default)]
    pub stop: Stop,
    /// What usually helps, by what its log says.
    #[serde(default)]
    pub help: Vec<Hint>,
}

/// When an engine takes requests.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ready {
    /// Path that answers with status 200 then.
    pub path: String,
    /// Seconds until it counts as not starting.
    pub timeout_seconds: f64,
    /// Seconds between two looks.
    #[serde(default = "a_second")]
    pub every_seconds: f64,
}

fn a_second() -> f64 {
    1.0
}

/// How an engine is stopped: asked first (SIGTERM), then made to (SIGKILL).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Stop {
    /// Seconds between the two.
    pub grace_seconds: f64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { grace_seconds: 10.0 }
    }
}

/// What usually helps.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hint {
    /// Text in the log, in any case.
    pub pattern: String,
    /// What to do.
    pub help: String,
}

/// What is wrong with a template.
#[derive(Debug, thiserror::Error)]
pub enum BadTemplate {
    /// It is no such file.
    #[error("it is no engine template: {0}")]
    Syntax(String),
    /// It has no program.
    #[error("its `command` is empty")]
    NoCommand,
    /// A placeholder has no value.
    #[error("`{text}` has a placeholder `{{{name}}}` that has no value; there are {known}")]
    Unknown {
        /// Where.
        text: String,
        /// Its name.
        name: String,
        /// Those that have one.
        known: String,
    },
}

/// A command that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
}

impl Template {
    /// A shipped template.
    #[must_use]
    pub fn shipped(name: &str) -> Option<Self> {
        let (_, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
        Some(Self::parse(text).expect("the shipped templates are parsed by a test"))
    }

    /// Names of the shipped templates.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// Reads a template.
    ///
    /// # Errors
    /// [`BadTemplate`] when the text is none.
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let template: Self = toml::from_str(text).map_err(|error| BadTemplate::Syntax(error.to_string()))?;
        if template.command.is_empty() {
            return Err(BadTemplate::NoCommand);
        }
        Ok(template)
    }

    /// The command with values for its placeholders: `values`, over the template's own defaults.
    ///
    /// # Errors
    /// [`BadTemplate::Unknown`] when a placeholder has no value.
    pub fn fill(&self, values: &BTreeMap<String, String>) -> Result<Filled, BadTemplate> {
        let mut all = self.defaults.clone();
        all.extend(values.iter().map(|(name, value)| (name.clone(), value.clone())));
        let command = self
            .command
            .iter()
            .map(|text| fill(text, &all))
            .collect::<Result<_, _>>()?;
        let environment = self
            .environment
            .iter()
            .map(|(name, text)| Ok((name.clone(), fill(text, &all)?)))
            .collect::<Result<_, BadTemplate>>()?;
        Ok(Filled { command, environment })
    }

    /// What usually helps when the log says this; the first that fits.
    #[must_use]
    pub fn hint(&self, log: &str) -> Option<&str> {
        let log = log.to_lowercase();
        let fitting = self.help.iter().find(|hint| log.contains(&hint.pattern.to_lowercase()));
        fitting.map(|hint| hint.help.as_str())
    }
}

/// A text with its `{placeholders}` replaced.
fn fill(text: &str, values: &BTreeMap<String, String>) -> Result<String, BadTemplate> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else {
            break;
        };
        let value = values.get(name).ok_or_else(|| BadTemplate::Unknown {
            text: text.to_owned(),
            name: name.to_owned(),
            known: values
                .keys()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        filled.push_str(before);
        filled.push_str(value);
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_shipped_templates_can_be_read_and_know_their_names() {
        for name in Template::names() {
            let template = Template::shipped(name).unwrap();
            assert_eq!(template.name, name);
            assert!(!template.help.is_empty() && template.ready.timeout_seconds > 1.0);
        }
        assert!(Template::shipped("no such engine").is_none());
    }

    #[test]
    fn placeholders_are_filled_and_defaults_can_be_replaced() {
        let text = "name = \"x\"\ncommand = [\"run\", \"--port={port}\", \"{mode}\"]\n[environment]\nA = \"{port}\"\n\
                    [defaults]\nmode = \"slow\"\n[ready]\npath = \"/\"\ntimeout-seconds = 5";
        let template = Template::parse(text).unwrap();
        let filled = template.fill(&values(&[("port", "8000")])).unwrap();
        assert_eq!(filled.command, ["run", "--port=8000", "slow"]);
        assert_eq!(filled.environment["A"], "8000");
        let filled = template.fill(&values(&[("port", "8000"), ("mode", "fast")])).unwrap();
        assert_eq!(filled.command[2], "fast");
        let said = template.fill(&values(&[])).unwrap_err().to_string();
        assert!(said.contains("{port}") && said.contains("`mode`"), "{said}");
    }

    #[test]
    fn what_usually_helps_is_found_by_what_the_log_says() {
        let vllm = Template::shipped("vllm").unwrap();
        let log = "INFO start\ntorch.OutOfMemoryError: cuda OUT of memory. Tried to allocate 2 GiB";
        assert!(vllm.hint(log).unwrap().contains("nvidia-smi"));
        assert_eq!(vllm.hint("all is well"), None);
    }
}
