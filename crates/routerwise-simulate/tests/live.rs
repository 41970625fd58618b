//! Prices that follow load and faults, played with engines whose answers come late.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]
#![expect(clippy::cast_possible_truncation, reason = "scores are f32")]

mod shared;

use std::sync::OnceLock;

use routerwise_route::policy::{Policy, mix, prompt_hash};
use routerwise_route::settings::Settings;
use routerwise_simulate::live::{Incident, LivePlayed, Outcome, Rule, Script, What, play_live};
use routerwise_simulate::sweep::{Sweep, profile};
use routerwise_types::cluster::{Cluster, Interconnect, Node};
use routerwise_types::hash::uniform;
use routerwise_types::plan::Plan;
use routerwise_types::quality::{Prompt, Scores};
use routerwise_types::scenario::Inputs;
use routerwise_types::workload::{Metric, Scope, Slo, Statistic};
use routerwise_types::{Fingerprint, GpuShare, RequestsPerSecond, Scenario, Seconds};
use shared::{constants, gpu, job, models, workload};

const TARGET: f64 = 0.3;
const N_PROMPTS: u32 = 2_000;

/// Two models on halves of two GPUs, at three quarters of what one replica of the one and two of the other can take.
fn planned() -> &'static (Scenario, Plan) {
    static PLANNED: OnceLock<(Scenario, Plan)> = OnceLock::new();
    PLANNED.get_or_init(|| {
        let none = || Fingerprint(String::new());
        let mut models: Vec<_> = models().into_iter().take(2).collect();
        for (model, max_replicas) in models.iter_mut().zip([2, 1]) {
            model.tensor_parallel = vec![1];
            model.shares = vec![GpuShare::new(0.5).unwrap()];
            model.max_replicas = max_replicas;
        }
        let (gpu, mut workload) = (gpu(), workload());
        let sweep = Sweep {
            seed: 1,
            n_requests: 1_000,
        };
        let swept = models.iter().map(|model| {
            profile(&job(model, &gpu, &workload, 1, 0.5), sweep, &constants())
                .unwrap()
                .profile
        });
        let profiles: Vec<_> = swept.collect();
        let capacity = 2.0 * profiles[0].capacity.value() + profiles[1].capacity.value();
        workload.rate = RequestsPerSecond::new(0.75 * capacity).unwrap();
        workload.slos = vec![Slo {
            route: None,
            metric: Metric::Ttft,
            statistic: Statistic::Mean,
            scope: Scope::Workload,
            target: Seconds::new(TARGET).unwrap(),
        }];
        let score = |model: u64, prompt: u32| {
            0.1 + 0.2 * model as f32 + 0.6 * uniform(mix(u64::from(prompt) * 2 + model)) as f32
        };
        let prompt = |i: u32| Prompt {
            id: format!("prompt {i}"),
            weight: 1.0,
            text: None,
            tokens: None,
        };
        let scenario = Scenario {
            cluster: Cluster {
                gpu_types: vec![gpu],
                nodes: vec![Node {
                    name: "node".to_owned(),
                    gpu_type_ix: 0,
                    n_gpus: 2,
                    interconnect: Interconnect::Nvswitch,
                }],
            },
            scores: Scores {
                routes: Vec::new(),
                models: models.iter().map(|model| model.name.clone()).collect(),
                prompts: (0..N_PROMPTS).map(prompt).collect(),
                columns: (0..2)
                    .map(|model| (0..N_PROMPTS).map(|i| score(model, i)).collect())
                    .collect(),
                output_tokens: vec![None, None],
            },
            models,
            workload,
            profiles,
            fingerprints: Inputs {
                cluster: none(),
                models: none(),
                workload: none(),
                scores: none(),
                profiles: none(),
            },
        };
        let outcome = routerwise_plan::plan(&scenario, None).unwrap();
        let plan = outcome
            .plan()
            .expect("three quarters of the capacity can be met")
            .clone();
        assert!(plan.models.iter().map(|model| model.replicas.len()).sum::<usize>() >= 2);
        (scenario, plan)
    })
}

fn play(script: &Script, settings: Settings) -> LivePlayed {
    let (scenario, plan) = planned();
    play_live(scenario, plan, script, &Rule::Gateway(settings), 3).unwrap()
}

#[test]
fn static_prices_decide_as_the_plan_says_for_every_request() {
    let (scenario, plan) = planned();
    let played = play(
        &Script::steady(plan.rate.value(), 60.0),
        Settings::default().with_static_prices(),
    );
    let running = plan.models.iter().map(|model| model.configuration.is_some()).collect();
    let policy = Policy::new(&plan.policies[0], running);
    for request in &played.requests {
        let scores: Vec<f32> = scenario
            .scores
            .columns
            .iter()
            .map(|column| column[request.prompt_ix])
            .collect();
        let hash = prompt_hash(&scenario.scores.prompts[request.prompt_ix].id);
        assert_eq!(request.to.map(|to| to.0), policy.choose(&scores, hash));
    }
}

#[test]
fn the_same_script_plays_the_same_bit_for_bit() {
    let (_, plan) = planned();
    let script = Script::drift(0.5 * plan.rate.value(), plan.rate.value(), 60.0);
    assert_eq!(play(&script, Settings::default()), play(&script, Settings::default()));
}

#[test]
fn prices_settle_at_a_steady_rate_and_after_a_step_and_meet_the_objective() {
    let (_, plan) = planned();
    let rate = plan.rate.value();
    let script = Script {
        rates: vec![(0.0, 0.6 * rate), (300.0, rate)],
        incidents: Vec::new(),
        end: 600.0,
    };
    let played = play(&script, Settings::default());
    for settled in [100.0..300.0, 400.0..600.0] {
        assert!(
            played.between(settled.clone()).ttft <= TARGET,
            "{:?}",
            played.between(settled)
        );
        let fractions = played
            .timeline
            .iter()
            .filter(|point| settled.contains(&point.at))
            .map(|point| point.fractions[0]);
        let fractions: Vec<f64> = fractions.collect();
        let mean = fractions.iter().sum::<f64>() / fractions.len() as f64;
        let worst = fractions
            .iter()
            .map(|fraction| (fraction - mean).abs())
            .fold(0.0, f64::max);
        assert!(worst < 0.15, "fractions swing by {worst} around {mean} in {settled:?}");
        // What answers come from does not swing either.
        let windows = (0..4)
            .map(|nth| settled.start + 50.0 * f64::from(nth))
            .map(|at| played.between(at..at + 50.0).fractions[0]);
        let windows: Vec<f64> = windows.collect();
        let (low, high) = windows
            .iter()
            .fold((1.0f64, 0.0f64), |(low, high), w| (low.min(*w), high.max(*w)));
        assert!(high - low < 0.15, "{windows:?}");
    }
}

#[test]
fn a_dead_replica_and_a_slow_one_are_followed_and_every_request_is_accounted_for() {
    let (_, plan) = planned();
    let model = (0..2).max_by_key(|ix| plan.models[*ix].replicas.len()).unwrap();
    for what in [What::Dies, What::Slows(3.0)] {
        let script = Script {
            rates: vec![(0.0, 0.6 * plan.rate.value())],
            incidents: vec![Incident {
                at: 100.0,
                model,
                replica: 0,
                what,
            }],
            end: 300.0,
        };
        let live = play(&script, Settings::default());
        let fixed = play(&script, Settings::default().with_static_prices());
        let after = |played: &LivePlayed| played.between(130.0..300.0);
        assert!(
            after(&live).ttft < after(&fixed).ttft,
            "{what:?}: {:?} {:?}",
            after(&live),
            after(&fixed)
        );
        let answered = |request: &&routerwise_simulate::live::LiveRequest| request.outcome == Outcome::Answered;
        let lost = live
            .requests
            .iter()
            .filter(|request| request.outcome == Outcome::Broken)
            .count();
        assert_eq!(
            live.requests.iter().filter(answered).count() + lost,
            live.requests.len(),
            "{what:?}"
        );
        assert!(lost < 100 && (what == What::Dies || lost == 0), "{lost}");
    }
}
