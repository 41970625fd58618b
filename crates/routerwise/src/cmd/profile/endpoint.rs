//! How an engine is asked: API, key, name of the model there.

use std::path::PathBuf;

use clap::ValueEnum;
use routerwise_measure::probe::CannotStart;
use routerwise_measure::target::{Api, BadTarget, Target};
use serde_json::{Map, Value};

use crate::failure::Failure;

/// How the engine is asked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Asking the engine")]
pub(super) struct AskArgs {
    /// Name under which the engine serves the model [default: its name in the scenario]
    #[arg(long, value_name = "NAME")]
    served_as: Option<String>,
    /// Which API to use
    #[arg(long, value_enum, default_value_t)]
    api: ApiName,
    /// Environment variable that holds the key
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Trust the certificates of this PEM file too
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
    /// Add these members to every request, as JSON
    #[arg(long, value_name = "JSON")]
    body: Option<String>,
    /// Let the model end its answers: without this they are as long as the workload's (`ignore_eos`)
    #[arg(long)]
    keep_eos: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ApiName {
    /// /v1/chat/completions
    #[default]
    Chat,
    /// /v1/completions
    Completions,
}

impl AskArgs {
    /// The endpoint of a model.
    pub(super) fn target(&self, url: &str, model: &str) -> Result<Target, Failure> {
        let api = match self.api {
            ApiName::Chat => Api::Chat,
            ApiName::Completions => Api::Completions,
        };
        let name = self.served_as.as_deref().unwrap_or(model);
        let mut target = Target::new(url, api, name).map_err(bad_target)?;
        if let Some(file) = &self.ca_cert {
            target = target.with_certificates(file).map_err(bad_target)?;
        }
        if let Some(name) = &self.api_key_env {
            let key = std::env::var(name).ok().filter(|key| !key.trim().is_empty());
            let key = key.ok_or_else(|| Failure::Request {
                what: format!("the environment variable `{name}` holds no key"),
                help: format!("set it, as in `{name}=… routerwise profile …`, or leave `--api-key-env` out"),
            })?;
            target = target.with_key(&key).map_err(bad_target)?;
        }
        Ok(target.with_body(&self.extra()?))
    }

    /// What every body has beside the question.
    fn extra(&self) -> Result<Map<String, Value>, Failure> {
        let mut extra = Map::new();
        if !self.keep_eos {
            extra.insert("ignore_eos".into(), true.into());
        }
        if let Some(body) = &self.body {
            let given: Result<Map<_, _>, _> = serde_json::from_str(body);
            extra.extend(given.map_err(|error| Failure::Request {
                what: format!("`--body` is no JSON object: {error}"),
                help: "write it as in `--body '{\"temperature\": 0}'`".into(),
            })?);
        }
        Ok(extra)
    }
}

fn bad_target(error: BadTarget) -> Failure {
    let help = match &error {
        BadTarget::Url { .. } => "write it as in `--endpoint http://127.0.0.1:8000`",
        BadTarget::Key => "keys are printable ASCII; check the variable for line breaks",
        BadTarget::Certificate { .. } => "give a PEM file with the certificate of the server or of who signed it",
    };
    Failure::Request {
        what: error.to_string(),
        help: help.into(),
    }
}

/// Why the first question got no answer.
pub(super) fn cannot_start(error: &CannotStart) -> Failure {
    let what = error.to_string();
    let help = match error {
        CannotStart::Unreachable { .. } => "start the engine, or check host and port".to_owned(),
        CannotStart::NotOpenAi { .. } => {
            "give the address under which `/v1/chat/completions` lies, or `--api completions` for a server that has only those".to_owned()
        }
        CannotStart::NoModel { there, .. } => {
            let names: Vec<String> = there.iter().map(|name| format!("`{name}`")).collect();
            format!("it has {}; say which with `--served-as`", names.join(", "))
        }
        CannotStart::Key { .. } => "name the environment variable that holds the key with `--api-key-env`".to_owned(),
        CannotStart::Refused { reason, .. } if reason.contains("ignore_eos") => {
            "leave `ignore_eos` out with `--keep-eos`; answers may then be shorter than the workload's".to_owned()
        }
        CannotStart::Refused { .. } => "check the workload's lengths against the engine's context, and `--body`".to_owned(),
        CannotStart::Broken { .. } => "look into the engine's log".to_owned(),
        CannotStart::Runtime(_) => "check the limits of open files and memory".to_owned(),
    };
    match error {
        CannotStart::Unreachable { .. } | CannotStart::Broken { .. } | CannotStart::Runtime(_) => {
            Failure::Stopped { what, help }
        }
        _ => Failure::Request { what, help },
    }
}
