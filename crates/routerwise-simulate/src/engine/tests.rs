mod cancel;

use proptest::prelude::*;
use routerwise_types::catalogue::{Architecture, Engine as EngineFlags, Model};
use routerwise_types::cluster::Interconnect;
use routerwise_types::{Bytes, GpuShare};

use super::*;
use crate::constants::Constants;
use crate::cost::StepCost;

/// A model of the size of Llama 3.1 8B.
pub(crate) fn model() -> Model {
    Model {
        name: "test".to_owned(),
        architecture: Some(Architecture {
            n_layers: 32,
            hidden_size: 4096,
            n_heads: 32,
            n_kv_heads: 8,
            head_dim: 128,
            intermediate_size: 14336,
            mlp_matrices: 3,
            vocab_size: 128_256,
            tied_embeddings: false,
            experts: None,
        }),
        weights: Bytes(16_060_000_000),
        bytes_per_weight: 2.0,
        bytes_per_kv: 2.0,
        tensor_parallel: vec![1, 2, 4],
        shares: vec![GpuShare::WHOLE],
        max_replicas: 1,
        may_be_off: false,
        kv_reserve: Bytes(8_000_000_000),
        overhead_per_shard: Bytes(2_000_000_000),
        engine: EngineFlags {
            name: "vllm-0.11".to_owned(),
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            block_size: 16,
            max_model_len: 8192,
        },
    }
}

pub(crate) fn cost() -> StepCost {
    let constants = Constants::shipped();
    let engine = constants.for_engine("vllm-0.11").unwrap();
    StepCost::new(&model(), &constants.gpus[0], engine, Interconnect::Nvswitch, 1, 1.0).unwrap()
}

const LIMITS: Limits = Limits {
    max_num_seqs: 256,
    max_num_batched_tokens: 2048,
    block_size: 16,
    max_model_len: 8192,
    kv_blocks: 4000,
};

fn lengths(input: u32, output: u32) -> Lengths {
    Lengths { input, output }
}

fn engine(limits: Limits, request_seconds: f64, detail: Detail) -> Engine {
    let spec = EngineSpec::with_limits(limits, &cost(), request_seconds);
    Engine::new(Arc::new(spec), detail)
}

const THE_END: Timestamp = Timestamp(u64::MAX);

/// Submits requests (nanosecond, lengths) one by one and returns all events; `watch` sees the engine at each arrival.
fn play(engine: &mut Engine, requests: &[(u64, Lengths)], mut watch: impl FnMut(&Engine)) -> Vec<Event> {
    let mut events = Vec::new();
    for (request, &(at, lengths)) in (0u64..).zip(requests) {
        engine.advance(Timestamp(at), &mut events);
        watch(engine);
        engine.submit(Timestamp(at), request, lengths).unwrap();
    }
    while let Some(at) = engine.next_event() {
        engine.advance(at, &mut events);
        watch(engine);
    }
    events
}

fn of_kind(events: &[Event], kind: EventKind) -> Vec<(u64, Timestamp)> {
    let of_kind = events.iter().filter(|event| event.kind == kind);
    of_kind.map(|event| (event.request, event.at)).collect()
}

#[test]
fn one_request_takes_its_prefill_and_an_iteration_for_every_further_token() {
    let mut engine = engine(LIMITS, 0.002, Detail::Tokens);
    let events = play(&mut engine, &[(1_000_000, lengths(100, 3))], |_| ());
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [
            EventKind::Started,
            EventKind::FirstToken,
            EventKind::Token,
            EventKind::Token,
            EventKind::Finished
        ]
    );
    let prefill = cost().seconds(&StepWork {
        prefill_tokens: 100.0,
        prefill_pairs: 5050.0,
        prefill_sequences: 1.0,
        ..StepWork::default()
    });
    let decode = |cached| {
        cost().seconds(&StepWork {
            decode_sequences: 1.0,
            decode_cached_tokens: cached,
            ..StepWork::default()
        })
    };
    let wanted = [0.003 + prefill, 0.003 + prefill + decode(100.0) + decode(101.0)];
    let found = [events[1].at.as_seconds(), events[4].at.as_seconds()];
    assert!(
        wanted
            .iter()
            .zip(found)
            .all(|(wanted, found)| (wanted - found).abs() < 3e-9),
        "{wanted:?} {found:?}"
    );
    assert_eq!(engine.counts().iterations, 3);
}

#[test]
fn a_long_prompt_is_cut_and_others_decode_meanwhile() {
    let mut engine = engine(LIMITS, 0.0, Detail::Requests);
    let events = play(&mut engine, &[(0, lengths(10, 50)), (1_000, lengths(5_000, 2))], |_| ());
    // 1 + 3 chunks of 2047 tokens beside one decoding sequence; then 1 and 46 more tokens.
    assert_eq!(engine.counts().iterations, 50);
    assert_eq!(of_kind(&events, EventKind::Finished).len(), 2);
}

#[test]
fn a_request_that_can_never_be_served_is_refused() {
    let mut engine = engine(
        Limits {
            kv_blocks: 100,
            ..LIMITS
        },
        0.0,
        Detail::Requests,
    );
    let mut refused = |input, output| engine.submit(Timestamp::START, 0, lengths(input, output)).unwrap_err();
    assert!(matches!(refused(8_000, 193), Refused::TooLong { tokens: 8_193, .. }));
    assert!(matches!(
        refused(1_600, 2),
        Refused::TooLargeForCache { kv_tokens: 1_600, .. }
    ));
    assert_eq!(refused(0, 1), Refused::Empty);
    assert_eq!(engine.next_event(), None);
}

#[test]
fn without_cache_for_two_the_younger_is_preempted_and_still_finishes() {
    let limits = Limits {
        kv_blocks: 20,
        ..LIMITS
    };
    let mut engine = engine(limits, 0.0, Detail::Requests);
    let requests = [(0, lengths(100, 150)), (0, lengths(100, 150))];
    let mut made = Vec::new();
    let mut events = Vec::new();
    let tickets: Vec<Ticket> = (0..)
        .zip(requests)
        .map(|(ix, (at, lengths))| engine.submit(Timestamp(at), ix, lengths).unwrap())
        .collect();
    while let Some(at) = engine.next_event() {
        engine.advance(at, &mut events);
        if let Some(Progress::Waiting { made: so_far }) = engine.progress(tickets[1]) {
            made.push(so_far);
        }
    }
    assert_eq!(
        of_kind(&events, EventKind::Preempted)
            .iter()
            .map(|(request, _)| *request)
            .collect::<Vec<_>>(),
        [1]
    );
    assert!(
        made.iter().all(|so_far| *so_far > 50),
        "what was made stays made: {made:?}"
    );
    assert_eq!(
        of_kind(&events, EventKind::Finished)
            .iter()
            .map(|(request, _)| *request)
            .collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(engine.counts().made_tokens, 300);
    assert_eq!(engine.progress(tickets[0]), None);
}

#[test]
fn a_finished_requests_ticket_does_not_name_the_next_one() {
    let mut engine = engine(LIMITS, 0.0, Detail::Requests);
    let first = engine.submit(Timestamp::START, 0, lengths(10, 1)).unwrap();
    engine.advance(Timestamp(1_000_000_000), &mut Vec::new());
    let second = engine.submit(Timestamp(1_000_000_000), 1, lengths(10, 1)).unwrap();
    assert_eq!(engine.progress(first), None);
    assert_eq!(engine.progress(second), Some(Progress::Waiting { made: 0 }));
}

fn small_limits() -> impl Strategy<Value = Limits> {
    (1u32..6, 1u32..60, 1u32..9, 1u64..30).prop_map(|(max_num_seqs, budget, block_size, spare)| Limits {
        max_num_seqs,
        max_num_batched_tokens: budget.max(max_num_seqs),
        block_size,
        max_model_len: 200,
        kv_blocks: u64::from(140_u32.div_ceil(block_size)) + spare,
    })
}

fn small_requests() -> impl Strategy<Value = Vec<(u64, Lengths)>> {
    let one = (0u64..60_000_000, 1u32..80, 1u32..60);
    prop::collection::vec(one, 1..25).prop_map(|gaps| {
        let mut now = 0;
        let requests = gaps.into_iter().map(|(gap, input, output)| {
            now += gap;
            (now, lengths(input, output))
        });
        requests.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn leaping_is_stepping(limits in small_limits(), requests in small_requests(), front_end in 0.0f64..0.05) {
        let mut stepping = engine(limits, front_end, Detail::Tokens);
        let mut leaping = engine(limits, front_end, Detail::Requests);
        let mut slow = play(&mut stepping, &requests, |_| ());
        slow.retain(|event| !matches!(event.kind, EventKind::Token | EventKind::Started));
        let fast = play(&mut leaping, &requests, |_| ());
        prop_assert_eq!(&slow, &fast);
        prop_assert_eq!(stepping.counts(), leaping.counts());
        // All at once, without being looked at in between, it is the same again.
        let mut unseen = engine(limits, front_end, Detail::Requests);
        let mut events = Vec::new();
        for (request, &(at, lengths)) in (0u64..).zip(&requests) {
            unseen.submit(Timestamp(at), request, lengths).unwrap();
        }
        unseen.advance(THE_END, &mut events);
        prop_assert_eq!(&slow, &events);
    }

    #[test]
    fn every_request_finishes_once_with_all_its_tokens(limits in small_limits(), requests in small_requests()) {
        let mut engine = engine(limits, 0.001, Detail::Tokens);
        let events = play(&mut engine, &requests, |engine| {
            assert!(engine.kv_blocks_used() <= limits.kv_blocks && engine.running() <= limits.max_num_seqs as usize);
        });
        for (request, (at, lengths)) in (0u64..).zip(&requests) {
            let mine: Vec<&Event> = events.iter().filter(|event| event.request == request).collect();
            let count = |kind| mine.iter().filter(|event| event.kind == kind).count();
            prop_assert_eq!((count(EventKind::Started), count(EventKind::FirstToken)), (1, 1));
            prop_assert_eq!(count(EventKind::Token) + 1, lengths.output as usize);
            prop_assert_eq!(count(EventKind::Finished), 1);
            prop_assert!(mine[0].at > Timestamp(*at) && mine.last().unwrap().kind == EventKind::Finished);
        }
        prop_assert!(events.windows(2).all(|pair| pair[0].at <= pair[1].at));
        prop_assert_eq!(engine.kv_blocks_used(), 0);
        prop_assert_eq!(engine.outstanding(), 0);
    }

    #[test]
    fn requests_come_to_their_first_token_in_order_of_arrival(requests in small_requests()) {
        let mut engine = engine(LIMITS, 0.0, Detail::Requests);
        let events = play(&mut engine, &requests, |_| ());
        let first: Vec<u64> = of_kind(&events, EventKind::FirstToken).iter().map(|(request, _)| *request).collect();
        prop_assert!(first.is_sorted());
    }
}
