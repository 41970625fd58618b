//! What people do today, on scenarios whose answers are known.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod support;

use routerwise_plan::baselines::{Allocation, Contest, Entry, NEAR_QUALITY, RULES, Rule, TunedFor};
use routerwise_types::Scenario;
use routerwise_types::comparison::{AllocationRule, RoutingRule};
use routerwise_types::workload::{Scope, Statistic};
use support::{PAPER_MODELS, Shape, Size, continuous_scores, scenario};

/// Models of the synthetic world on four GPUs; everything may be off.
fn world(sizes: &[Size], rate: f64, target: f64, columns: Vec<Vec<f32>>) -> Scenario {
    scenario(&Shape {
        sizes,
        n_gpus: 4,
        tensor_parallel: &[1, 2],
        shares: &[0.25, 0.5, 0.75, 1.0],
        max_replicas: 4,
        may_be_off: true,
        floor: 0.0,
        rate,
        target,
        columns,
    })
}

fn allocation(contest: &Contest, rule: AllocationRule) -> Allocation {
    contest.allocate(rule).unwrap()
}

fn entry(entries: &[Entry], routing: RoutingRule) -> &Entry {
    entries.iter().find(|entry| entry.routing == routing).unwrap()
}

/// The small model answers two thirds of the prompts, the large one all of them.
fn labels() -> Vec<Vec<f32>> {
    let small = (0..3_000).map(|i| if i % 3 == 0 { 0.0 } else { 1.0 }).collect();
    vec![small, vec![1.0; 3_000]]
}

#[test]
fn a_threshold_router_sends_the_strong_model_what_the_weak_one_cannot_do() {
    let contest = Contest::new(&world(&PAPER_MODELS[..2], 4.0, 5.0, labels()), 1.0).unwrap();
    let equal = allocation(&contest, AllocationRule::EqualSplit);
    let entries = contest.entries(&equal, TunedFor::Objectives);
    let threshold = entry(&entries, RoutingRule::Threshold);
    assert!(threshold.training.met && threshold.test.met);
    assert!((threshold.training.quality - 1.0).abs() < 1e-6, "{threshold:?}");
    let Rule::Threshold { weak, strong, .. } = threshold.rule else {
        panic!("a threshold")
    };
    assert_eq!((weak, strong), (0, 1));
    // Cheapest answers two thirds, random something between.
    let cheapest = entry(&entries, RoutingRule::Cheapest);
    assert!((cheapest.test.quality - 2.0 / 3.0).abs() < 0.03);
    let random = entry(&entries, RoutingRule::Random).test.quality;
    assert!(cheapest.test.quality < random && random < 1.0, "{random}");
}

#[test]
fn prices_for_fixed_latencies_overload_the_good_model() {
    // Idle, the 70B meets the target; it cannot take all prompts.
    let sizes = [&PAPER_MODELS[0], &PAPER_MODELS[3]].map(|size| Size { ..*size });
    let contest = Contest::new(&world(&sizes, 30.0, 0.6, labels()), 1.0).unwrap();
    let equal = allocation(&contest, AllocationRule::EqualSplit);
    let entries = contest.entries(&equal, TunedFor::Objectives);
    let fixed = entry(&entries, RoutingRule::FixedLatency);
    assert!(fixed.test.utilisation.unwrap() > 1.0 && !fixed.test.met, "{fixed:?}");
    assert_eq!(fixed.test.ttft_mean, None);
    let ours = entry(&entries, RoutingRule::OurPrices);
    assert!(ours.training.met && ours.test.utilisation.unwrap() < 1.0, "{ours:?}");
    let tuned = entry(&entries, RoutingRule::FixedLatencyTuned);
    assert!(
        tuned.training.met && tuned.training.quality <= ours.training.quality + 1e-4,
        "{tuned:?}"
    );
}

#[test]
fn a_cascade_waits_for_the_whole_answer_that_it_rejects() {
    let contest = Contest::new(&world(&PAPER_MODELS[..2], 2.0, 50.0, labels()), 1.0).unwrap();
    let equal = allocation(&contest, AllocationRule::EqualSplit);
    let entries = contest.entries(&equal, TunedFor::Objectives);
    let cascade = entry(&entries, RoutingRule::Cascade);
    let threshold = entry(&entries, RoutingRule::Threshold);
    assert!((cascade.training.quality - 1.0).abs() < 1e-6, "{cascade:?}");
    // Both models get their part, and the small one everything.
    assert!((cascade.training.visits[0] - 1.0).abs() < 1e-9);
    assert!((cascade.training.visits[1] - threshold.training.visits[1]).abs() < 0.02);
    // One third waits for the small model's whole answer, which takes 2 s and ten times the TTFT.
    let extra = cascade.training.ttft_mean.unwrap() - threshold.training.ttft_mean.unwrap();
    assert!((0.6..1.2).contains(&extra), "{extra}");
}

#[test]
fn nothing_that_meets_the_objectives_is_better_than_joint_planning_on_the_training_prompts() {
    let (mean, p90) = (Statistic::Mean, Statistic::Quantile { q: 0.9 });
    for (rate, target, statistic, scope) in [
        (10.0, 0.3, mean, Scope::Workload),
        (40.0, 0.25, mean, Scope::Workload),
        (70.0, 0.4, mean, Scope::Workload),
        (40.0, 0.5, p90, Scope::Workload),
        (40.0, 0.5, mean, Scope::EachModel),
    ] {
        let mut world = world(&PAPER_MODELS, rate, target, continuous_scores(&PAPER_MODELS, 1_000, 3));
        (world.workload.slos[0].statistic, world.workload.slos[0].scope) = (statistic, scope);
        let contest = Contest::new(&world, 1.0).unwrap();
        let mut best = 0.0f64;
        let mut ours = None;
        for rule in RULES {
            for (allocation, entry) in contest.compete(rule, TunedFor::Objectives).unwrap() {
                if entry.routing == RoutingRule::Oracle || !entry.training.met {
                    continue;
                }
                if allocation.rule == AllocationRule::Joint && entry.routing == RoutingRule::OurPrices {
                    ours = Some(entry.training.quality);
                } else {
                    best = best.max(entry.training.quality);
                }
            }
        }
        assert!(ours.unwrap() >= best - 3e-4, "{ours:?} {best}");
        assert!(best > 0.0);
    }
}

#[test]
fn tuned_for_a_quality_rules_reach_it_with_less_latency() {
    let world = world(&PAPER_MODELS, 30.0, 0.4, continuous_scores(&PAPER_MODELS, 2_000, 3));
    let contest = Contest::new(&world, 1.0).unwrap();
    let equal = allocation(&contest, AllocationRule::EqualSplit);
    let best = contest.entries(&equal, TunedFor::Objectives);
    let wanted = entry(&best, RoutingRule::Threshold).training.quality;
    let tuned = contest.entries(&equal, TunedFor::Quality(wanted));
    for routing in [RoutingRule::Threshold, RoutingRule::QueuePenalty] {
        let (tuned, best) = (&entry(&tuned, routing).training, &entry(&best, routing).training);
        assert!(
            tuned.quality >= wanted - NEAR_QUALITY - 1e-9,
            "{routing}: {} {wanted}",
            tuned.quality
        );
        assert!(tuned.ttft_mean <= best.ttft_mean, "{routing}");
    }
}

#[test]
fn allocations_are_what_their_names_say() {
    let mut world = world(&PAPER_MODELS, 20.0, 0.4, continuous_scores(&PAPER_MODELS, 500, 3));
    world.models.iter_mut().for_each(|model| model.may_be_off = false);
    let contest = Contest::new(&world, 1.0).unwrap();
    let compute = |rule| -> Vec<f64> {
        let setup = contest.setup(&allocation(&contest, rule));
        let of = |c: &Option<routerwise_types::setup::Configuration>| {
            c.map_or(0.0, |c| f64::from(c.tensor_parallel * c.n_replicas) * c.share.value())
        };
        setup.iter().map(of).collect()
    };
    assert_eq!(compute(AllocationRule::EqualSplit), [1.0; 4]);
    assert_eq!(compute(AllocationRule::Isolated), [1.0; 4]);
    // 7 : 13 : 34 : 70 of four GPUs is 0.23 : 0.42 : 1.1 : 2.25, rounded down to quarters; the first has no smaller one.
    assert_eq!(compute(AllocationRule::SizeProportional), [0.25, 0.25, 1.0, 2.25]);
    let single = compute(AllocationRule::SingleModel);
    assert_eq!(single.iter().filter(|compute| **compute > 0.0).count(), 1);
}

#[test]
fn the_same_inputs_give_the_same_comparison() {
    let world = world(
        &PAPER_MODELS[..3],
        20.0,
        0.4,
        continuous_scores(&PAPER_MODELS[..3], 500, 3),
    );
    let all = || -> Vec<Entry> {
        let contest = Contest::new(&world, 1.0).unwrap();
        let entries = RULES
            .iter()
            .flat_map(|rule| contest.compete(*rule, TunedFor::Objectives).unwrap());
        entries.map(|(_, entry)| entry).collect()
    };
    assert_eq!(all(), all());
}
