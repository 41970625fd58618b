//! One question, asked of many clusters and targets: is there a plan of at least this quality?

use routerwise_types::Fingerprint;
use routerwise_types::cluster::Cluster;
use routerwise_types::plan::{ClusterLimit, Plan};
use routerwise_types::scenario::Scenario;
use routerwise_types::setup::Setup;
use routerwise_types::units::Seconds;
use routerwise_types::workload::{Aim, Metric, Scope, Slo, Statistic};

use super::clusters::{Counts, cut, is_exact, per_node, pooled, renumber, within};
use crate::assemble::dual_points;
use crate::problem::{Problem, Unplannable};
use crate::search::{Effort, Found, Goal, search_from};
use crate::watch::Watch;

/// What came of a question.
pub(crate) enum Answer {
    /// There is one.
    Reached(Box<Plan>),
    /// Proven that there is none; [`Hunt::limits`] has the proof.
    Below,
    /// The search ran out of work before it knew.
    Open,
}

/// Where is it to be found?
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) counts: Counts,
    /// Limit on the latency that is minimised.
    pub(crate) target: Option<Seconds>,
}

/// Keeps what the questions so far have shown.
pub(crate) struct Hunt<'a> {
    pub(crate) scenario: &'a Scenario,
    parent: Option<&'a Plan>,
    pub(crate) limits: Vec<ClusterLimit>,
    pub(crate) n_searches: u64,
    pub(crate) n_undecided: u64,
    /// Setup of the last plan found: a good start for the next.
    pub(crate) seed: Option<Setup>,
    /// For each plan; questions get at most as much as is usual for them.
    effort: Effort,
    pub(crate) watch: Watch<'a>,
}

impl<'a> Hunt<'a> {
    pub(crate) fn new(scenario: &'a Scenario, parent: Option<&'a Plan>, effort: Effort, watch: Watch<'a>) -> Self {
        Self {
            scenario,
            parent,
            limits: Vec::new(),
            n_searches: 0,
            n_undecided: 0,
            seed: None,
            effort,
            watch,
        }
    }

    /// Whether a plan of at least this quality exists at a place.
    pub(crate) fn ask(&mut self, place: &Place, floor: f64) -> Result<Answer, Unplannable> {
        if self.is_known_below(place, floor) {
            return Ok(Answer::Below);
        }
        let exact = is_exact(&self.scenario.cluster, &place.counts);
        if !exact {
            let cluster = pooled(&self.scenario.cluster, &place.counts);
            let Some((_, problem, found)) =
                self.search(place, cluster, Goal::Reach(floor), Effort::of_a_part(self.scenario))?
            else {
                return Ok(Answer::Below);
            };
            if self.refutes(place, &problem, &found, floor) {
                return Ok(Answer::Below);
            }
        }
        let Some((scenario, problem, found)) = self.search(
            place,
            self.part(place),
            Goal::Reach(floor),
            Effort::of_a_part(self.scenario),
        )?
        else {
            return Ok(Answer::Below);
        };
        if exact && self.refutes(place, &problem, &found, floor) {
            return Ok(Answer::Below);
        }
        if found.best.as_ref().is_some_and(|best| best.quality >= floor) {
            // Playing the prices prompt by prompt may cost the little that was above the floor.
            let plan = match self.finish(place, &scenario, &problem, found) {
                Some(plan) if plan.quality().value() >= floor => Some(plan),
                _ => self.best(place)?.0,
            };
            if let Some(plan) = plan.filter(|plan| plan.quality().value() >= floor) {
                return Ok(Answer::Reached(Box::new(plan)));
            }
        }
        self.n_undecided += 1;
        Ok(Answer::Open)
    }

    /// The best plan at a place, and a bound on all plans with so many GPUs, which becomes a limit.
    pub(crate) fn best(&mut self, place: &Place) -> Result<(Option<Plan>, Option<f64>), Unplannable> {
        let effort = self.effort;
        let exact = is_exact(&self.scenario.cluster, &place.counts);
        let Some((scenario, problem, found)) = self.search(place, self.part(place), Goal::Best, effort)? else {
            return Ok((None, None));
        };
        let is_empty = found.best.is_none() && !found.cut_short;
        let mut bound = (!is_empty || found.upper_bound >= 0.0).then_some(found.upper_bound);
        if exact {
            self.limit(place, bound, dual_points(&problem, &found.pool));
        } else {
            let cluster = pooled(&self.scenario.cluster, &place.counts);
            let least = found.best.as_ref().map_or(0.0, |best| best.quality + problem.tolerance);
            if let Some((_, problem, wide)) = self.search(place, cluster, Goal::Reach(least), effort)? {
                let reached = wide.best.as_ref().is_some_and(|best| best.quality >= least);
                let wide = if reached {
                    let cluster = pooled(&self.scenario.cluster, &place.counts);
                    self.search(place, cluster, Goal::Best, effort)?
                        .map_or(wide, |(.., found)| found)
                } else {
                    wide
                };
                bound = (wide.upper_bound >= 0.0).then_some(wide.upper_bound);
                self.limit(place, bound, dual_points(&problem, &wide.pool));
            }
        }
        Ok((self.finish(place, &scenario, &problem, found), bound))
    }

    /// The scenario at a place: cut to size, with the latency's limit among its objectives.
    fn variant(&self, place: &Place, cluster: Cluster) -> Scenario {
        let mut scenario = Scenario {
            cluster,
            ..self.scenario.clone()
        };
        if let (Some(target), Aim::MinimiseLatency { metric, .. }) =
            (place.target, self.scenario.workload.objective.aim)
        {
            limit_mean(&mut scenario.workload.slos, metric, target);
            scenario.fingerprints.workload = Fingerprint::of(&scenario.workload);
        }
        scenario
    }

    fn part(&self, place: &Place) -> Cluster {
        cut(&self.scenario.cluster, &per_node(&self.scenario.cluster, &place.counts))
    }

    /// Nothing where no model can run on these GPUs, which is noted as a limit.
    fn search(
        &mut self,
        place: &Place,
        cluster: Cluster,
        goal: Goal,
        effort: Effort,
    ) -> Result<Option<(Scenario, Problem, Found)>, Unplannable> {
        let scenario = self.variant(place, cluster);
        let problem = match Problem::new(&scenario) {
            Ok(problem) => problem,
            Err(Unplannable::NothingRuns | Unplannable::NoConfiguration { .. }) => {
                self.limit(place, None, Vec::new());
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        self.n_searches += 1;
        let seed = self.seed.as_ref().and_then(|setup| candidates_of(&problem, setup));
        let seeds: Vec<Vec<usize>> = seed.into_iter().collect();
        let found = search_from(&problem, goal, effort, &seeds, self.watch);
        Ok(Some((scenario, problem, found)))
    }

    fn finish(&mut self, place: &Place, scenario: &Scenario, problem: &Problem, found: Found) -> Option<Plan> {
        let mut plan = crate::finish(scenario, problem, found, self.parent)?;
        self.seed = Some(plan.models.iter().map(|model| model.configuration).collect());
        renumber(
            &mut plan,
            &self.scenario.cluster,
            &per_node(&self.scenario.cluster, &place.counts),
        );
        Some(plan)
    }

    /// Whether a search has proven that nothing reaches the floor; the proof is kept.
    fn refutes(&mut self, place: &Place, problem: &Problem, found: &Found, floor: f64) -> bool {
        let below = found.upper_bound < floor;
        if below {
            let bound = (found.upper_bound >= 0.0).then_some(found.upper_bound);
            self.limit(place, bound, dual_points(problem, &found.pool));
        }
        below
    }

    fn limit(&mut self, place: &Place, upper_bound: Option<f64>, dual_points: Vec<routerwise_types::plan::DualPoint>) {
        self.limits.push(ClusterLimit {
            gpus: place.counts.clone(),
            target: place.target,
            upper_bound,
            dual_points,
        });
    }

    /// Fewer GPUs and a tighter target can do no better.
    fn is_known_below(&self, place: &Place, floor: f64) -> bool {
        self.limits.iter().any(|limit| {
            let tighter = match (place.target, limit.target) {
                (Some(here), Some(there)) => here <= there,
                (_, None) => true,
                (None, Some(_)) => false,
            };
            tighter && within(&place.counts, &limit.gpus) && is_below(limit, floor)
        })
    }
}

/// Whether a limit says that nothing reaches a quality.
pub(crate) fn is_below(limit: &ClusterLimit, floor: f64) -> bool {
    limit.upper_bound.is_none_or(|bound| bound < floor)
}

/// Tightens the limit on a latency's mean over the workload, or adds one.
pub(crate) fn limit_mean(slos: &mut Vec<Slo>, metric: Metric, target: Seconds) {
    match slos.iter_mut().find(|slo| is_mean_of(slo, metric)) {
        Some(slo) => slo.target = target,
        None => slos.push(Slo {
            metric,
            statistic: Statistic::Mean,
            scope: Scope::Workload,
            target,
            route: None,
        }),
    }
}

/// Whether an objective is about a latency's mean over the workload.
pub(crate) fn is_mean_of(slo: &Slo, metric: Metric) -> bool {
    slo.metric == metric && slo.statistic == Statistic::Mean && slo.scope == Scope::Workload && slo.route.is_none()
}

/// A setup in the numbers of a problem; nothing when the problem does not have one of its configurations.
pub(crate) fn candidates_of(problem: &Problem, setup: &Setup) -> Option<Vec<usize>> {
    let pairs = problem.models.iter().zip(setup);
    pairs
        .map(|(model, configuration)| model.candidates.iter().position(|c| c.configuration == *configuration))
        .collect()
}
