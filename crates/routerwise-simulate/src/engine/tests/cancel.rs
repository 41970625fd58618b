use std::collections::BTreeMap;

use super::*;

/// What a caller does, and when.
#[derive(Clone, Copy, Debug)]
enum Act {
    Submit(Lengths),
    /// Gives up the request of this number.
    Cancel(u64),
}

/// Submits and cancels, looking at the engine only then; events, and when each request was cancelled that was still there.
fn play_acts(engine: &mut Engine, acts: &[(u64, Act)]) -> (Vec<Event>, BTreeMap<u64, u64>) {
    let (mut events, mut tickets, mut cancelled) = (Vec::new(), Vec::new(), BTreeMap::new());
    for &(at, act) in acts {
        engine.advance(Timestamp(at), &mut events);
        match act {
            Act::Submit(lengths) => {
                let request = tickets.len() as u64;
                tickets.push(engine.submit(Timestamp(at), request, lengths).unwrap());
            }
            Act::Cancel(request) => {
                let ticket = tickets[usize::try_from(request).unwrap()];
                let there = engine.progress(ticket).is_some();
                assert_eq!(engine.cancel(ticket), there);
                assert!(!engine.cancel(ticket) && engine.progress(ticket).is_none());
                if there {
                    cancelled.insert(request, at);
                }
            }
        }
    }
    engine.advance(THE_END, &mut events);
    (events, cancelled)
}

/// Requests of which about a half are given up at some time after they came.
fn small_acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let patience = prop::option::of(0u64..400_000_000);
    let one = (0u64..60_000_000, 1u32..80, 1u32..60, patience);
    prop::collection::vec(one, 1..25).prop_map(|requests| {
        let (mut now, mut acts) = (0, Vec::new());
        for (number, (gap, input, output, patience)) in (0u64..).zip(requests) {
            now += gap;
            acts.push((now, Act::Submit(lengths(input, output))));
            acts.extend(patience.map(|patience| (now + patience, Act::Cancel(number))));
        }
        acts.sort_by_key(|(at, _)| *at);
        acts
    })
}

#[test]
fn what_waits_leaves_at_once() {
    let mut engine = engine(
        Limits {
            max_num_seqs: 1,
            ..LIMITS
        },
        0.001,
        Detail::Requests,
    );
    let acts = [
        (0, Act::Submit(lengths(100, 50))),
        (0, Act::Submit(lengths(100, 50))),
        (0, Act::Submit(lengths(100, 50))),
        (500_000, Act::Cancel(2)),
        (50_000_000, Act::Cancel(1)),
    ];
    let (events, _) = play_acts(&mut engine, &acts);
    assert!(events.iter().all(|event| event.request == 0), "{events:?}");
    let counts = engine.counts();
    assert_eq!((counts.finished, counts.cancelled, counts.made_tokens), (1, 2, 50));
}

#[test]
fn what_runs_leaves_when_its_iteration_ends_and_its_blocks_are_free() {
    let mut engine = engine(LIMITS, 0.0, Detail::Tokens);
    let mut events = Vec::new();
    let long = engine.submit(Timestamp::START, 0, lengths(5_000, 10)).unwrap();
    let short = engine.submit(Timestamp(1), 1, lengths(160, 100)).unwrap();
    engine.advance(Timestamp(1), &mut events);
    assert!(engine.cancel(long));
    assert_eq!((engine.running(), engine.outstanding()), (1, 2));
    // The iteration under way is not cut short.
    let end = engine.next_event().unwrap();
    engine.advance(end, &mut events);
    assert_eq!((engine.outstanding(), engine.kv_blocks_used()), (1, 10));
    // The short one has its first token with the next iteration, and is given up in the middle of its answer.
    while engine.progress(short) != Some(Progress::Decoding { made: 20 }) {
        engine.advance(engine.next_event().unwrap(), &mut events);
    }
    assert!(engine.cancel(short));
    engine.advance(THE_END, &mut events);
    assert_eq!((engine.outstanding(), engine.kv_blocks_used()), (0, 0));
    assert_eq!(engine.next_event(), None);
    assert_eq!(of_kind(&events, EventKind::Token).len(), 19);
    assert_eq!(of_kind(&events, EventKind::Finished), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn leaping_is_stepping_when_callers_go_away(limits in small_limits(), acts in small_acts(), front_end in 0.0f64..0.05) {
        let mut stepping = engine(limits, front_end, Detail::Tokens);
        let mut leaping = engine(limits, front_end, Detail::Requests);
        let (mut slow, _) = play_acts(&mut stepping, &acts);
        slow.retain(|event| !matches!(event.kind, EventKind::Token | EventKind::Started));
        let (fast, _) = play_acts(&mut leaping, &acts);
        prop_assert_eq!(slow, fast);
        prop_assert_eq!(stepping.counts(), leaping.counts());
    }

    #[test]
    fn who_is_given_up_hears_no_more_and_the_others_get_all_their_tokens(limits in small_limits(), acts in small_acts()) {
        let mut engine = engine(limits, 0.001, Detail::Tokens);
        let (events, cancelled) = play_acts(&mut engine, &acts);
        let submitted = acts.iter().filter_map(|(_, act)| match act {
            Act::Submit(lengths) => Some(lengths),
            Act::Cancel(_) => None,
        });
        for (request, lengths) in (0u64..).zip(submitted) {
            let mine: Vec<&Event> = events.iter().filter(|event| event.request == request).collect();
            match cancelled.get(&request) {
                Some(at) => prop_assert!(mine.iter().all(|event| event.at <= Timestamp(*at) && event.kind != EventKind::Finished)),
                None => {
                    let n_tokens = mine.iter().filter(|event| matches!(event.kind, EventKind::FirstToken | EventKind::Token)).count();
                    prop_assert_eq!(n_tokens, lengths.output as usize);
                    prop_assert_eq!(mine.last().unwrap().kind, EventKind::Finished);
                }
            }
        }
        let counts = engine.counts();
        prop_assert_eq!(counts.cancelled, cancelled.len() as u64);
        prop_assert_eq!(counts.finished + counts.cancelled, acts.iter().filter(|(_, act)| matches!(act, Act::Submit(_))).count() as u64);
        prop_assert_eq!((engine.kv_blocks_used(), engine.outstanding(), engine.next_event()), (0, 0, None));
    }
}
