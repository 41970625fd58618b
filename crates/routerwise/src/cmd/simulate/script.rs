//! What happens in a simulation with live prices, as it is written on the command line.

use std::str::FromStr;

use routerwise_inputs::quantity;
use routerwise_simulate::live::{Incident, Script, What};
use routerwise_types::plan::Plan;
use routerwise_types::{RequestsPerSecond, Seconds};

use crate::failure::Failure;

/// Rates of a script may not be 0: time would stand still between two requests.
const RATE_LEAST: f64 = 1e-6;

/// What happens with `--live-prices`.
#[derive(Debug, clap::Args)]
pub(super) struct ScriptArgs {
    /// Requests/s from the start, instead of the plan's rate
    #[arg(long, value_name = "RATE", value_parser = quantity::rate, help_heading = "Live prices", requires = "live_prices", conflicts_with = "stage")]
    rate: Option<RequestsPerSecond>,
    /// A stage of the traffic: RATE:TIME, or FROM..TO:TIME for a ramp (repeat for more)
    #[arg(long, value_name = "STAGE", help_heading = "Live prices", requires = "live_prices")]
    stage: Vec<Stage>,
    /// Part of the requests that comes by a route of the plan, instead of as planned: ROUTE=PART (name every route)
    #[arg(
        long,
        value_name = "ROUTE=PART",
        help_heading = "Live prices",
        requires = "live_prices"
    )]
    mix: Vec<Part>,
    /// A replica's process dies: MODEL/REPLICA@TIME, replicas counted from 0 (repeat for more)
    #[arg(
        long,
        value_name = "REPLICA@TIME",
        help_heading = "Live prices",
        requires = "live_prices"
    )]
    kill: Vec<Moment>,
    /// A fresh process takes its place (repeat for more)
    #[arg(
        long,
        value_name = "REPLICA@TIME",
        help_heading = "Live prices",
        requires = "live_prices"
    )]
    restart: Vec<Moment>,
    /// A replica takes so many times as long for everything: MODEL/REPLICA@TIME=FACTOR; 1 ends it (repeat for more)
    #[arg(
        long,
        value_name = "REPLICA@TIME=FACTOR",
        help_heading = "Live prices",
        requires = "live_prices"
    )]
    slow: Vec<Slower>,
}

/// A time in which the rate stays or goes evenly from one to another.
#[derive(Clone, Copy, Debug)]
struct Stage {
    from: f64,
    to: f64,
    lasts: f64,
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rates, lasts) = text
            .split_once(':')
            .ok_or("expected is RATE:TIME or FROM..TO:TIME, such as 10..20:60s")?;
        let rate = |text: &str| quantity::rate(text).map(|rate| rate.value().max(RATE_LEAST));
        let (from, to) = match rates.split_once("..") {
            Some((from, to)) => (rate(from)?, rate(to)?),
            None => (rate(rates)?, rate(rates)?),
        };
        let lasts = quantity::time(lasts)?.value();
        Ok(Self { from, to, lasts })
    }
}

/// A route and its part of the requests.
#[derive(Clone, Debug)]
struct Part {
    route: String,
    part: f64,
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected is ROUTE=PART with a part of at least 0, such as chat=80 %";
        let (route, part) = text.rsplit_once('=').ok_or(expected)?;
        let (number, unit) = part.trim().strip_suffix('%').map_or((part, 1.0), |part| (part, 100.0));
        let part = number.trim().parse::<f64>().map_err(|_| expected)? / unit;
        if !(0.0..=1e6).contains(&part) {
            return Err(expected.into());
        }
        Ok(Self {
            route: route.to_owned(),
            part,
        })
    }
}

/// A replica and a time.
#[derive(Clone, Debug)]
struct Moment {
    model: String,
    replica: usize,
    at: Seconds,
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected is MODEL/REPLICA@TIME with replicas counted from 0, such as phi-3-mini/0@60s";
        let (replica, at) = text.rsplit_once('@').ok_or(expected)?;
        let (model, replica) = replica.rsplit_once('/').ok_or(expected)?;
        Ok(Self {
            model: model.to_owned(),
            replica: replica.parse().map_err(|_| expected)?,
            at: quantity::time(at)?,
        })
    }
}

/// A replica, a time, and how much slower it is from then on.
#[derive(Clone, Debug)]
struct Slower {
    moment: Moment,
    factor: f64,
}

impl FromStr for Slower {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            "expected is MODEL/REPLICA@TIME=FACTOR with a factor from 0.01 to 1000, such as phi-3-mini/0@60s=3";
        let (moment, factor) = text.rsplit_once('=').ok_or(expected)?;
        let factor = factor.parse().ok().filter(|factor| (0.01..=1e3).contains(factor));
        Ok(Self {
            moment: moment.parse()?,
            factor: factor.ok_or(expected)?,
        })
    }
}

impl ScriptArgs {
    /// The script; without stages it takes so many requests.
    pub(super) fn script(&self, plan: &Plan, n_requests: usize) -> Result<Script, Failure> {
        let (rates, end) = self.rates(plan, n_requests);
        let kills = self.kill.iter().map(|moment| (moment, What::Dies));
        let restarts = self.restart.iter().map(|moment| (moment, What::Returns));
        let slower = self.slow.iter().map(|slow| (&slow.moment, What::Slows(slow.factor)));
        let all = kills.chain(restarts).chain(slower);
        let incidents = all.map(|(moment, what)| incident(plan, moment, what, end));
        let mut incidents = incidents.collect::<Result<Vec<_>, _>>()?;
        incidents.sort_by(|a, b| a.at.total_cmp(&b.at));
        Ok(Script {
            rates,
            incidents,
            end,
            apply_after: 0.0,
            mix: self.mix(plan)?,
        })
    }

    /// Part of each route; none where it is as planned.
    fn mix(&self, plan: &Plan) -> Result<Vec<f64>, Failure> {
        if self.mix.is_empty() {
            return Ok(Vec::new());
        }
        let routes = plan.routes();
        let of = |route: &&str| self.mix.iter().filter(|part| part.route == **route).count();
        let all: f64 = self.mix.iter().map(|part| part.part).sum();
        if routes.iter().any(|route| of(route) != 1) || self.mix.len() != routes.len() || all <= 0.0 {
            return Err(Failure::Request {
                what: "`--mix` must give every route of the plan one part, and some of them more than 0".into(),
                help: format!("the plan's routes are {}", routes.join(", ")),
            });
        }
        let part = |route: &&str| {
            self.mix
                .iter()
                .filter(|part| part.route == **route)
                .map(|part| part.part / all)
                .sum()
        };
        Ok(routes.iter().map(part).collect())
    }

    /// Rates from times on, and the end; a ramp goes in steps of a second.
    fn rates(&self, plan: &Plan, n_requests: usize) -> (Vec<(f64, f64)>, f64) {
        if self.stage.is_empty() {
            let rate = self.rate.unwrap_or(plan.rate).value().max(RATE_LEAST);
            #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
            return (vec![(0.0, rate)], n_requests as f64 / rate);
        }
        let (mut rates, mut now) = (Vec::new(), 0.0);
        for stage in &self.stage {
            let mut passed = 0.0;
            while passed < stage.lasts {
                let step = if (stage.from - stage.to).abs() < 1e-12 {
                    stage.lasts
                } else {
                    (stage.lasts - passed).min(1.0)
                };
                let part = (passed + 0.5 * step) / stage.lasts;
                rates.push((now + passed, stage.from + part * (stage.to - stage.from)));
                passed += step;
            }
            now += stage.lasts;
        }
        (rates, now)
    }

    /// When something changes, from 0 on, without the end.
    pub(super) fn edges(&self, script: &Script) -> Vec<f64> {
        let stages = self.stage.iter().scan(0.0, |now, stage| {
            let from = *now;
            *now += stage.lasts;
            Some(from)
        });
        let mut edges: Vec<f64> = stages
            .chain([0.0])
            .chain(script.incidents.iter().map(|incident| incident.at))
            .collect();
        edges.sort_by(f64::total_cmp);
        edges.dedup();
        edges
    }
}

fn incident(plan: &Plan, moment: &Moment, what: What, end: f64) -> Result<Incident, Failure> {
    let Moment { model, replica, at } = moment;
    let named = plan.models.iter().position(|planned| planned.name == *model);
    let there = named.filter(|ix| *replica < plan.models[*ix].replicas.len());
    let Some(there) = there else {
        let running = plan.models.iter().filter(|planned| !planned.replicas.is_empty());
        let running: Vec<String> = running
            .map(|planned| format!("{}/0 to {}", planned.name, planned.replicas.len() - 1))
            .collect();
        return Err(Failure::Request {
            what: format!("the plan runs no replica `{model}/{replica}`"),
            help: format!("it runs {}", running.join(", ")),
        });
    };
    if at.value() >= end {
        return Err(Failure::Request {
            what: format!("`{model}/{replica}` would change at {at}, after the end at {end:.0} s"),
            help: "name an earlier time, or make the simulation longer with `--requests` or `--stage`".into(),
        });
    }
    Ok(Incident {
        at: at.value(),
        model: there,
        replica: *replica,
        what,
    })
}

/// An incident in words.
pub(super) fn in_words(plan: &Plan, incident: &Incident) -> String {
    let replica = format!("{}/{}", plan.models[incident.model].name, incident.replica);
    match incident.what {
        What::Dies => format!("{replica} dies"),
        What::Returns => format!("{replica} is there again"),
        What::Slows(factor) if (factor - 1.0).abs() < 1e-9 => format!("{replica} is as fast as before"),
        What::Slows(factor) => format!("{replica} takes {factor} times as long for everything"),
    }
}

/// Mean rate between two times.
pub(super) fn mean_rate(script: &Script, from: f64, to: f64) -> f64 {
    let ends = script.rates.iter().skip(1).map(|(at, _)| *at).chain([script.end]);
    let within = |((at, rate), end): (&(f64, f64), f64)| rate * (end.min(to) - at.max(from)).max(0.0);
    script.rates.iter().zip(ends).map(within).sum::<f64>() / (to - from).max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_and_moments_are_read_and_what_is_wrong_says_what_is_right() {
        let stage: Stage = "10..20:2min".parse().unwrap();
        assert!(
            (stage.from - 10.0).abs() < 1e-9 && (stage.to - 20.0).abs() < 1e-9 && (stage.lasts - 120.0).abs() < 1e-9
        );
        let slow: Slower = "org/model/1@90s=2.5".parse().unwrap();
        assert_eq!((slow.moment.model.as_str(), slow.moment.replica), ("org/model", 1));
        assert!((slow.factor - 2.5).abs() < 1e-12);
        assert!(
            "model@60s"
                .parse::<Moment>()
                .unwrap_err()
                .contains("MODEL/REPLICA@TIME")
        );
        assert!("model/0@60s=0".parse::<Slower>().unwrap_err().contains("FACTOR"));
        let part: Part = "chat=80 %".parse().unwrap();
        assert!(part.route == "chat" && (part.part - 0.8).abs() < 1e-12);
        assert!("chat".parse::<Part>().unwrap_err().contains("ROUTE=PART"));
        assert!("chat=-1".parse::<Part>().unwrap_err().contains("at least 0"));
        assert!("10".parse::<Stage>().unwrap_err().contains("RATE:TIME"));
    }
}
