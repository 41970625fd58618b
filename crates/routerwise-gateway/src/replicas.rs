//! Replicas of every model: those that the settings name, and those that are found, which come and go.
//!
//! A replica keeps its number for as long as it is there, because the router counts by it. One that is gone gets no further requests;
//! what is in flight on it may finish, and its number is given to another one only then.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use routerwise_route::event::Event;
use routerwise_types::plan::Plan;
use routerwise_types::serve::{Discover, Endpoint, Settings, Timeouts};

use crate::desk::Desk;
use crate::upstream::Upstream;

/// Replicas by model and number, as the router counts them; nothing where the plan has one that nobody gave an address.
pub(crate) type Slots = Vec<Vec<Option<Arc<Upstream>>>>;

/// Where replicas were found, by source; nothing where a source has not answered yet.
pub(crate) type Found = Vec<Option<BTreeSet<SocketAddr>>>;

/// Replicas of every model.
#[derive(Debug)]
pub(crate) struct Replicas {
    slots: ArcSwap<Slots>,
    timeouts: Timeouts,
    /// What each source found. Whoever holds it may change what there is.
    sources: Mutex<Vec<FoundBy>>,
    /// Numbers that the settings gave away, by model.
    named: Vec<BTreeSet<usize>>,
}

/// What one source found.
#[derive(Debug)]
struct FoundBy {
    model: usize,
    /// Numbers by address; nothing while it has not answered.
    numbers: Option<BTreeMap<SocketAddr, usize>>,
}

impl Replicas {
    /// Gives every replica its number: its own of the plan where it has one, the first free one of the plan, or a further one.
    ///
    /// # Errors
    /// Models that the plan does not have, wrong addresses, and no replica at all.
    pub(crate) fn new(settings: &Settings, plan: &Plan, found: &Found, before: Option<&Slots>) -> Result<Self, String> {
        let mut endpoints: Vec<Vec<Option<Endpoint>>> = plan
            .models
            .iter()
            .map(|model| vec![None; model.replicas.len()])
            .collect();
        let mut named = vec![BTreeSet::new(); plan.models.len()];
        for endpoint in &settings.replicas {
            let model = model_of(plan, endpoint)?;
            let slots = &mut endpoints[model];
            let own = endpoint.replica;
            let own = own.filter(|nth| slots.get(*nth).is_some_and(Option::is_none));
            let slot = put(slots, own, endpoint.clone());
            named[model].insert(slot);
        }
        let mut sources = Vec::with_capacity(settings.discover.len());
        for (nth, discover) in settings.discover.iter().enumerate() {
            let model = model_of(plan, &discover.like)?;
            // What is wrong with all of them is said before the first one is found.
            Upstream::new(discover.like.clone(), &settings.timeouts)?;
            let addresses = found.get(nth).and_then(Option::as_ref);
            let numbers = addresses.map(|addresses| {
                let slot = |at: &SocketAddr| (*at, put(&mut endpoints[model], None, found_at(discover, *at)));
                addresses.iter().map(slot).collect()
            });
            sources.push(FoundBy { model, numbers });
        }
        if settings.discover.is_empty() && endpoints.iter().flatten().all(Option::is_none) {
            return Err("no replica has an address".to_owned());
        }
        Ok(Self {
            slots: ArcSwap::from_pointee(upstreams(&endpoints, before, &settings.timeouts)?),
            timeouts: settings.timeouts,
            sources: Mutex::new(sources),
            named,
        })
    }

    /// All of them as they are now.
    pub(crate) fn all(&self) -> Arc<Slots> {
        self.slots.load_full()
    }

    /// One of them.
    pub(crate) fn get(&self, model: usize, replica: usize) -> Option<Arc<Upstream>> {
        self.slots.load().get(model)?.get(replica)?.clone()
    }

    /// Where each source found what is there now.
    pub(crate) fn found(&self) -> Found {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses = |numbers: &BTreeMap<SocketAddr, usize>| numbers.keys().copied().collect();
        sources
            .iter()
            .map(|source| source.numbers.as_ref().map(addresses))
            .collect()
    }

    /// Tells a new router which of the plan's replicas are there, and which are there beside them.
    pub(crate) fn introduce(&self, desk: &Desk, plan: &Plan) {
        for (model, slots) in self.all().iter().enumerate() {
            let planned = plan.models[model].replicas.len();
            for (replica, slot) in slots.iter().enumerate() {
                if replica >= planned {
                    desk.observe(Event::ReplicaThere { model });
                } else if slot.is_none() {
                    desk.observe(Event::ReplicaRemoved { model, replica });
                }
            }
        }
    }

    /// A source found its replicas here, and nowhere else: new ones are added, and get their share bit by bit; gone ones get no more.
    /// Says which came and which went.
    pub(crate) fn update(
        &self,
        desk: &Desk,
        nth: usize,
        discover: &Discover,
        addresses: &BTreeSet<SocketAddr>,
    ) -> Result<Changes, String> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let model = sources[nth].model;
        let known = sources[nth].numbers.get_or_insert_default();
        let gone: Vec<SocketAddr> = known.keys().filter(|at| !addresses.contains(at)).copied().collect();
        let new: Vec<SocketAddr> = addresses.iter().filter(|at| !known.contains_key(at)).copied().collect();
        for at in &gone {
            if let Some(replica) = known.remove(at) {
                desk.observe(Event::ReplicaRemoved { model, replica });
            }
        }
        let mut replaced = Vec::new();
        for at in &new {
            let upstream = Arc::new(Upstream::new(found_at(discover, *at), &self.timeouts)?);
            let of_model = sources.iter().filter(|source| source.model == model);
            let numbers = of_model.filter_map(|source| source.numbers.as_ref());
            let taken: BTreeSet<usize> = numbers.flat_map(BTreeMap::values).copied().collect();
            let (replica, last) = self.place(desk, model, &taken, upstream);
            replaced.extend(last.map(|last| last.name().to_owned()));
            sources[nth].numbers.get_or_insert_default().insert(*at, replica);
        }
        Ok(Changes { new, gone, replaced })
    }

    /// Puts a replica where no other one is, or is any more, and then tells the router.
    /// Gives its number, and who had it before.
    fn place(
        &self,
        desk: &Desk,
        model: usize,
        taken: &BTreeSet<usize>,
        upstream: Arc<Upstream>,
    ) -> (usize, Option<Arc<Upstream>>) {
        let mut slots = Slots::clone(&self.slots.load());
        let of_model = &mut slots[model];
        let free = |replica: &usize| !taken.contains(replica) && !self.named[model].contains(replica);
        let is_back = |replica: &usize| {
            let last = of_model[*replica].as_ref();
            last.is_some_and(|last| last.endpoint == upstream.endpoint)
        };
        let is_empty = |replica: &usize| of_model[*replica].is_none() || desk.outstanding(model, *replica) == 0;
        let mut free_ones = (0..of_model.len()).filter(free);
        let back = free_ones.clone().find(is_back);
        let replica = back.or_else(|| free_ones.find(is_empty));
        let mut last = None;
        let event = match replica {
            Some(replica) => {
                // Its connections may still be good.
                if back.is_none() {
                    last = of_model[replica].replace(upstream);
                }
                Event::ReplicaReturned { model, replica }
            }
            None => {
                of_model.push(Some(upstream));
                Event::ReplicaAdded { model }
            }
        };
        let replica = replica.unwrap_or(of_model.len() - 1);
        // First here: the router may choose it the moment that it knows.
        self.slots.store(Arc::new(slots));
        desk.observe(event);
        (replica, last)
    }
}

/// Replicas that came and went.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) new: Vec<SocketAddr>,
    pub(crate) gone: Vec<SocketAddr>,
    /// Names of those whose numbers others have now: nothing asks for them again.
    pub(crate) replaced: Vec<String>,
}

/// Its number in the plan.
pub(crate) fn model_of(plan: &Plan, endpoint: &Endpoint) -> Result<usize, String> {
    let model = plan.models.iter().position(|model| model.name == endpoint.model);
    model.ok_or_else(|| {
        let known: Vec<String> = plan.models.iter().map(|model| format!("`{}`", model.name)).collect();
        format!(
            "a replica is of `{}`, which is no model of the plan; it has {}",
            endpoint.model,
            known.join(", ")
        )
    })
}

fn found_at(discover: &Discover, at: SocketAddr) -> Endpoint {
    Endpoint {
        at: Some(at),
        ..discover.like.clone()
    }
}

/// Puts an endpoint at its own place, the first free one, or the end.
fn put(slots: &mut Vec<Option<Endpoint>>, own: Option<usize>, endpoint: Endpoint) -> usize {
    let slot = own.or_else(|| slots.iter().position(Option::is_none));
    match slot {
        Some(slot) => {
            slots[slot] = Some(endpoint);
            slot
        }
        None => {
            slots.push(Some(endpoint));
            slots.len() - 1
        }
    }
}

/// Those whose settings are the same keep their connections.
fn upstreams(
    endpoints: &[Vec<Option<Endpoint>>],
    before: Option<&Slots>,
    timeouts: &Timeouts,
) -> Result<Slots, String> {
    let old: Vec<&Arc<Upstream>> = before.map_or_else(Vec::new, |before| before.iter().flatten().flatten().collect());
    let one = |endpoint: &Endpoint| match old.iter().find(|old| old.fits(endpoint, timeouts)) {
        Some(kept) => Ok(Arc::clone(kept)),
        None => Upstream::new(endpoint.clone(), timeouts).map(Arc::new),
    };
    let of_model =
        |slots: &Vec<Option<Endpoint>>| slots.iter().map(|slot| slot.as_ref().map(one).transpose()).collect();
    endpoints.iter().map(of_model).collect()
}
