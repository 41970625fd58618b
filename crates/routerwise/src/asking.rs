//! How a server is asked, by `bench` and by `profile`: API, key, certificates, what every body holds; and what to do where it cannot be.

use std::path::PathBuf;

use clap::ValueEnum;
use routerwise_measure::probe::CannotStart;
use routerwise_measure::target::{Api, BadTarget, Target};
use serde_json::{Map, Value};

use crate::failure::Failure;

/// How a server is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct AskArgs {
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
    /// Let the model end its answers: without this, answers to filler are as long as asked (`ignore_eos`)
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
    /// A model at an address; `filler` is asked for answers of a given length.
    pub(crate) fn target(&self, url: &str, model: &str, filler: bool) -> Result<Target, Failure> {
        let api = match self.api {
            ApiName::Chat => Api::Chat,
            ApiName::Completions => Api::Completions,
        };
        let mut target = Target::new(url, api, model).map_err(bad_target)?;
        if let Some(file) = &self.ca_cert {
            target = target.with_certificates(file).map_err(bad_target)?;
        }
        if let Some(name) = &self.api_key_env {
            let key = std::env::var(name).ok().filter(|key| !key.trim().is_empty());
            let key = key.ok_or_else(|| Failure::Request {
                what: format!("the environment variable `{name}` holds no key"),
                help: format!("set it, as in `{name}=… routerwise …`, or leave `--api-key-env` out"),
            })?;
            target = target.with_key(&key).map_err(bad_target)?;
        }
        Ok(target.with_body(&self.extra(filler)?))
    }

    /// What every body has beside the question.
    fn extra(&self, filler: bool) -> Result<Map<String, Value>, Failure> {
        let mut extra = Map::new();
        if filler && !self.keep_eos {
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

/// Why the first question got no answer. `name_flag` says which model is asked for.
pub(crate) fn cannot_start(error: &CannotStart, name_flag: &str) -> Failure {
    let what = error.to_string();
    let help = match error {
        CannotStart::Unreachable { .. } => "start the server, or check host and port".to_owned(),
        CannotStart::NotOpenAi { .. } => {
            "give the address under which `/v1/chat/completions` lies, or `--api completions` for a server that has only those".to_owned()
        }
        CannotStart::NoModel { there, .. } => {
            let names: Vec<String> = there.iter().map(|name| format!("`{name}`")).collect();
            format!("it has {}; say which with `{name_flag}`", names.join(", "))
        }
        CannotStart::Key { .. } => "name the environment variable that holds the key with `--api-key-env`".to_owned(),
        CannotStart::Refused { reason, .. } if reason.contains("ignore_eos") => {
            "leave `ignore_eos` out with `--keep-eos`; answers may then be shorter than asked".to_owned()
        }
        CannotStart::Refused { .. } => "check the lengths against the model's context, and `--body`".to_owned(),
        CannotStart::Broken { .. } => "look into the server's log".to_owned(),
        CannotStart::Runtime(_) => "check the limits of open files and memory".to_owned(),
    };
    match error {
        CannotStart::Unreachable { .. } | CannotStart::Broken { .. } | CannotStart::Runtime(_) => {
            Failure::Stopped { what, help }
        }
        _ => Failure::Request { what, help },
    }
}
