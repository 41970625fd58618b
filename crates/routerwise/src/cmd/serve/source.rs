//! The files that a gateway is made from, read at the start and at every reload.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use routerwise_gateway::{Loaded, Scorer, Source};
use routerwise_inputs::serve::{load_endpoints, load_keys, load_settings};
use routerwise_inputs::{Paths, Problems, load, write_atomically};
use routerwise_route::curves::Curves;
use routerwise_types::Scenario;
use routerwise_types::plan::Plan;
use routerwise_types::serve::{DecisionLog, Endpoint, Exposure, Prices, Route, Settings};
use routerwise_types::workload::ALL_TRAFFIC;

use super::Args;
use crate::failure::Failure;
use crate::{plan_file, predictor_file};

/// Bytes at which a log that the command line names is put aside, and files kept.
const LOG_SIZE: u64 = 100_000_000;
const LOG_KEEP: u32 = 5;

#[derive(Debug)]
pub(super) struct Files {
    args: Args,
    plan: PathBuf,
    config: Option<PathBuf>,
    scenario: PathBuf,
    /// What was read before the gateway started, for its first load.
    first: Mutex<Option<Loaded>>,
}

impl Files {
    pub(super) fn of(args: &Args) -> Result<Self, Failure> {
        let plan = args.plan.clone().ok_or_else(|| Failure::Request {
            what: "no plan is given".to_owned(),
            help: "name the file that `routerwise plan` wrote".to_owned(),
        })?;
        let folder = match plan.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let beside = folder.join("serve.toml");
        Ok(Self {
            config: args.config.clone().or_else(|| beside.is_file().then_some(beside)),
            scenario: args.scenario.clone().unwrap_or(folder),
            args: args.clone(),
            plan,
            first: Mutex::default(),
        })
    }

    /// Keeps what was read for the first load of the gateway.
    pub(super) fn keep(&self, loaded: Loaded) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
    }

    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        let mut settings = self.settings()?;
        let plan = plan_file::read(&self.plan)?;
        match_routes(&mut settings.routes, &plan);
        let scenario = self.scenario(&plan)?;
        let curves = scenario.as_ref().and_then(|scenario| Curves::of(scenario, &plan));
        if curves.is_none() && settings.prices == Prices::Live {
            let folder = self.scenario.display();
            tracing::warn!(%folder, "no latency curves of the plan found there: prices stay the plan's");
        }
        let scorer = self.scorer(&plan, scenario.as_ref())?;
        let keys = match &settings.keys {
            Some(file) => load_keys(file)?,
            None => Vec::new(),
        };
        Ok(Loaded {
            settings,
            plan,
            curves,
            scorer,
            keys,
        })
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let args = &self.args;
        let mut settings = match &self.config {
            Some(file) => load_settings(file)?,
            None => Settings::usual(Vec::new()),
        };
        let given = args.upstream.iter().map(|(model, url)| Endpoint::new(model, url));
        settings.replicas.extend(given);
        if let Some(file) = &args.endpoints {
            settings.replicas.extend(load_endpoints(file)?);
        }
        if settings.replicas.is_empty() && settings.discover.is_empty() {
            return Err(Failure::Request {
                what: "nothing says where the plan's engines answer".to_owned(),
                help: "give `--upstream MODEL=URL`, `--endpoints FILE`, or `[[replica]]` in serve.toml".to_owned(),
            });
        }
        settings.listen = args.listen.unwrap_or(settings.listen);
        settings.admin = args.admin.or(settings.admin).filter(|_| !args.no_admin);
        settings.keys = args.keys.clone().or(settings.keys);
        if args.insecure {
            settings.exposure = Exposure::Insecure;
        }
        if args.static_prices {
            settings.prices = Prices::Static;
        }
        if let Some(file) = &args.log {
            settings.log = Some(DecisionLog {
                file: file.clone(),
                size: LOG_SIZE,
                keep: LOG_KEEP,
                prompts: false,
            });
        }
        if let Some(log) = settings.log.as_mut() {
            log.prompts |= args.log_prompts;
        }
        Ok(settings)
    }

    /// The scenario that the plan was made from. It may be missing, as on a machine that only serves, unless something asks for it.
    fn scenario(&self, plan: &Plan) -> Result<Option<Scenario>, Failure> {
        let needed = self.args.scenario.is_some() || self.args.scenario_scores;
        let read = || -> Result<Scenario, Failure> {
            let mut scenario = load(&Paths::in_folder(&self.scenario))?.scenario;
            plan_file::take_over(&mut scenario, plan, &self.scenario)?;
            Ok(scenario)
        };
        match read() {
            Ok(scenario) => Ok(Some(scenario)),
            Err(failure) if needed => Err(failure),
            Err(_) => Ok(None),
        }
    }

    fn scorer(&self, plan: &Plan, scenario: Option<&Scenario>) -> Result<Scorer, Failure> {
        let mut scorer = Scorer::none();
        if let Some(scenario) = scenario.filter(|_| self.args.scenario_scores) {
            scorer = scorer.with_known(&scenario.scores, plan);
        }
        let Some(path) = &self.args.predictor else {
            return Ok(scorer);
        };
        let predictor = predictor_file::read(path)?;
        if let Some(warning) = predictor_file::warning(&predictor) {
            tracing::warn!(predictor = %path.display(), "{warning}");
        }
        scorer.with_predictor(Box::new(predictor), plan).map_err(|unknown| {
            let unknown = unknown.join(", ");
            Failure::Request {
                what: format!(
                    "the predictor `{}` does not know models of the plan: {unknown}",
                    path.display()
                ),
                help: "train it on the scores that the plan was made from".to_owned(),
            }
        })
    }
}

impl Source for Files {
    fn load(&self) -> Result<Loaded, String> {
        if let Some(first) = self.first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(first);
        }
        Files::load(self).map_err(|failure| in_a_line(&failure))
    }

    fn files(&self) -> Vec<PathBuf> {
        let settings = self.settings().ok();
        let keys = settings.as_ref().and_then(|settings| settings.keys.clone());
        let tls = settings.and_then(|settings| settings.tls);
        let tls = tls
            .into_iter()
            .flat_map(|tls| [Some(tls.certificate), Some(tls.key), tls.client_ca]);
        let args = &self.args;
        let named = [
            Some(self.plan.clone()),
            self.config.clone(),
            args.endpoints.clone(),
            args.predictor.clone(),
            keys,
        ];
        named.into_iter().chain(tls).flatten().collect()
    }
}

/// A failure for a log: its problems one after another.
fn in_a_line(failure: &Failure) -> String {
    let Failure::Inputs(Problems(problems)) = failure else {
        return failure.to_string();
    };
    let mut text = String::new();
    for problem in problems.iter().filter(|problem| !problem.is_warning()) {
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{}: {}", problem.file().display(), problem.message());
    }
    text
}

/// Adds the entry of a new key to the file of keys.
pub(super) fn add_key(file: &Path, name: &str, entry: &str) -> Result<(), Failure> {
    let mut text = String::new();
    if file.exists() {
        let known = load_keys(file)?;
        if known.iter().any(|key| key.name == name) {
            return Err(Failure::Request {
                what: format!("`{}` has a key named `{name}` already", file.display()),
                help: "choose another name, or remove its entry".to_owned(),
            });
        }
        text = std::fs::read_to_string(file).map_err(Failure::environment(format!("reading `{}`", file.display())))?;
        text.push('\n');
    }
    text.push_str(entry);
    write_atomically(file, text.as_bytes()).map_err(Failure::environment(format!("writing `{}`", file.display())))
}

/// Routes of a plan with several: those that are not written anywhere are there by their names, beside `auto`, and who is called like one of
/// them takes its prices.
fn match_routes(routes: &mut Vec<Route>, plan: &Plan) {
    let of_plan = plan.routes();
    if of_plan.len() > 1 && *routes == [Route::usual()] {
        routes.extend(of_plan.iter().map(|name| Route {
            name: (*name).to_owned(),
            ..Route::usual()
        }));
    }
    for route in routes.iter_mut().filter(|route| route.of_plan == ALL_TRAFFIC) {
        if let Some(own) = of_plan.iter().find(|own| **own == route.name) {
            route.of_plan = (*own).to_owned();
        }
    }
}
