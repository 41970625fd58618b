//! `serve.toml`: how the gateway runs. Everything in it has a usual value; what is written replaces it.

mod discover;
mod endpoints;
mod keys;
mod replica;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use routerwise_types::serve::{
    Balance, DecisionLog, EngineMetrics, Exposure, HealthChecks, Hedging, Limits, OutOfReach, Prices, Retries, Route,
    ServerTls, Settings, Timeouts,
};

use crate::file;
use crate::problem::Problems;
use crate::quantity::{FRACTION, MEMORY, TIME};
use crate::text::{Document, Table, Value};

use replica::Replica;

pub use endpoints::load_endpoints;
pub use keys::{key_entry, load_keys};

/// Reads the settings of the gateway. Paths in the file are relative to it.
///
/// # Errors
/// Every problem of the file.
pub fn load_settings(path: &Path) -> Result<Settings, Problems> {
    let text = file::text(path).map_err(|wrong| Problems(vec![wrong.at(path)]))?;
    let document = Document::new(path, text);
    let settings = read(&document);
    let (problems, _) = document.finish();
    match settings {
        Some(settings) => Ok(settings),
        None => Err(Problems(problems)),
    }
}

fn read(document: &Document) -> Option<Settings> {
    let mut root = document.root()?;
    let mut settings = Settings::usual(Vec::new());
    set(&mut root, "listen", &mut settings.listen, |value| address(value));
    match root.take("admin") {
        Some(value) if value.is_false() => settings.admin = None,
        Some(value) => settings.admin = address(&value).or(settings.admin),
        None => {}
    }
    set(&mut root, "insecure", &mut settings.exposure, |value| {
        let insecure = value.boolean()?;
        Some(if insecure {
            Exposure::Insecure
        } else {
            Exposure::Guarded
        })
    });
    set(&mut root, "prices", &mut settings.prices, |value| {
        value.choice(&[("live", Prices::Live), ("static", Prices::Static)])
    });
    set(&mut root, "balance", &mut settings.balance, |value| {
        value.choice(&[
            ("two-choices", Balance::TwoChoices),
            ("prefix", Balance::Prefix),
            ("least-wait", Balance::LeastWait),
        ])
    });
    set(&mut root, "keys", &mut settings.keys, |value| {
        Some(Some(path(document, value)?))
    });
    if let Some(table) = root.take("tls").and_then(Value::table) {
        settings.tls = tls(document, table);
    }
    if let Some(list) = root.take("route").and_then(Value::list) {
        settings.routes = list.into_iter().filter_map(|value| route(value.table()?)).collect();
    }
    let cluster = root.take("kubernetes").and_then(Value::table);
    let cluster = cluster
        .map(|table| discover::cluster(document, table))
        .unwrap_or_default();
    for value in root.take("replica").and_then(Value::list).unwrap_or_default() {
        match value.table().and_then(|table| replica::read(document, table, &cluster)) {
            Some(Replica::Named(endpoint)) => settings.replicas.push(endpoint),
            Some(Replica::Found(discover)) => settings.discover.push(discover),
            None => {}
        }
    }
    if let Some(table) = root.take("limits").and_then(Value::table) {
        limits(table, &mut settings.limits);
    }
    if let Some(table) = root.take("timeouts").and_then(Value::table) {
        timeouts(table, &mut settings.timeouts);
    }
    if let Some(table) = root.take("retries").and_then(Value::table) {
        retries(table, &mut settings.retries);
    }
    if let Some(table) = root.take("hedging").and_then(Value::table) {
        settings.hedging = Some(hedging(table));
    }
    if let Some(table) = root.take("health").and_then(Value::table) {
        health(table, &mut settings.health);
    }
    if let Some(table) = root.take("engine-metrics").and_then(Value::table) {
        engine_metrics(table, &mut settings.engine_metrics);
    }
    if let Some(table) = root.take("log").and_then(Value::table) {
        settings.log = log(document, table);
    }
    root.finish();
    (!document.has_errors()).then_some(settings)
}

/// Takes a key out and puts its value in the place of the usual one; what is wrong has been noted and changes nothing.
fn set<'d, T>(table: &mut Table<'d>, key: &'static str, place: &mut T, read: impl FnOnce(&Value<'d>) -> Option<T>) {
    if let Some(value) = table.take(key).and_then(|value| read(&value)) {
        *place = value;
    }
}

fn address(value: &Value<'_>) -> Option<SocketAddr> {
    let text = value.string()?;
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.or_else(|| {
        value.refuse(
            format!("`{text}` is no address to listen on"),
            "write address and port, such as \"127.0.0.1:8080\"",
        )
    })
}

fn path(document: &Document, value: &Value<'_>) -> Option<PathBuf> {
    let folder = document.path().parent().unwrap_or(Path::new(""));
    Some(folder.join(value.string()?))
}

pub(crate) fn time(value: &Value<'_>) -> Option<Duration> {
    value.quantity(&TIME).map(Duration::from_secs_f64)
}

fn count(value: &Value<'_>) -> Option<usize> {
    value
        .integer(1..=10_000_000)
        .and_then(|count| usize::try_from(count).ok())
}

fn bytes(value: &Value<'_>) -> Option<usize> {
    usize::try_from(routerwise_types::Bytes::ceil(value.quantity(&MEMORY)?).0).ok()
}

fn tls(document: &Document, mut table: Table<'_>) -> Option<ServerTls> {
    let certificate = table
        .require("certificate", "\"server.pem\"")
        .and_then(|value| path(document, &value));
    let key = table
        .require("key", "\"server-key.pem\"")
        .and_then(|value| path(document, &value));
    let client_ca = table.optional("client-ca", |value| path(document, value));
    table.finish();
    Some(ServerTls {
        certificate: certificate?,
        key: key?,
        client_ca: client_ca?,
    })
}

fn route(mut table: Table<'_>) -> Option<Route> {
    let name = table.name("route");
    let mut route = Route::usual();
    set(&mut table, "of-plan", &mut route.of_plan, |value| value.string());
    if let Some(list) = table.take("models").and_then(Value::list) {
        route.models = list.iter().filter_map(|value| value.string()).collect();
    }
    set(&mut table, "embeddings", &mut route.embeddings, |value| {
        Some(Some(value.string()?))
    });
    set(&mut table, "ttft-target", &mut route.ttft_target, |value| {
        Some(Some(time(value)?))
    });
    set(&mut table, "out-of-reach", &mut route.out_of_reach, |value| {
        value.choice(&[
            ("degrade", OutOfReach::Degrade),
            ("queue", OutOfReach::Queue),
            ("shed", OutOfReach::Shed),
        ])
    });
    table.finish();
    Some(Route { name: name?, ..route })
}

fn limits(mut table: Table<'_>, limits: &mut Limits) {
    set(&mut table, "body", &mut limits.body, bytes);
    set(&mut table, "buffered", &mut limits.buffered, bytes);
    set(&mut table, "headers", &mut limits.headers, bytes);
    set(&mut table, "connections", &mut limits.connections, count);
    set(&mut table, "in-flight", &mut limits.in_flight, count);
    set(&mut table, "queue", &mut limits.queue, count);
    table.finish();
}

fn timeouts(mut table: Table<'_>, timeouts: &mut Timeouts) {
    set(&mut table, "connect", &mut timeouts.connect, time);
    set(&mut table, "first-byte", &mut timeouts.first_byte, time);
    set(&mut table, "stall", &mut timeouts.stall, time);
    set(&mut table, "total", &mut timeouts.total, time);
    set(&mut table, "queue", &mut timeouts.queue, time);
    set(&mut table, "client", &mut timeouts.client, time);
    set(&mut table, "body", &mut timeouts.body, time);
    set(&mut table, "idle", &mut timeouts.idle, time);
    set(&mut table, "drain", &mut timeouts.drain, time);
    table.finish();
}

fn retries(mut table: Table<'_>, retries: &mut Retries) {
    set(&mut table, "most", &mut retries.most, |value| value.integer(1..=10));
    set(&mut table, "budget", &mut retries.budget, |value| {
        value.quantity(&FRACTION)
    });
    set(&mut table, "backoff", &mut retries.backoff, time);
    table.finish();
}

fn hedging(mut table: Table<'_>) -> Hedging {
    let mut hedging = Hedging::default();
    set(&mut table, "predicted", &mut hedging.predicted, |value| value.boolean());
    match table.take("quantile") {
        Some(value) if value.is_false() => hedging.quantile = None,
        Some(value) => hedging.quantile = value.quantity(&FRACTION).or(hedging.quantile),
        None => {}
    }
    table.finish();
    hedging
}

fn health(mut table: Table<'_>, health: &mut HealthChecks) {
    set(&mut table, "path", &mut health.path, |value| {
        url_path(value, "\"/health\"")
    });
    every(&mut table, &mut health.every);
    table.finish();
}

fn engine_metrics(mut table: Table<'_>, metrics: &mut EngineMetrics) {
    set(&mut table, "path", &mut metrics.path, |value| {
        url_path(value, "\"/metrics\"")
    });
    every(&mut table, &mut metrics.every);
    table.finish();
}

fn url_path(value: &Value<'_>, example: &str) -> Option<String> {
    let path = value.string()?;
    if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(path);
    }
    value.refuse(format!("`{path}` is no path"), format!("write it as in {example}"))
}

/// A time between two, or `false` for never.
fn every(table: &mut Table<'_>, place: &mut Option<Duration>) {
    match table.take("every") {
        Some(value) if value.is_false() => *place = None,
        Some(value) => *place = time(&value).or(*place),
        None => {}
    }
}

fn log(document: &Document, mut table: Table<'_>) -> Option<DecisionLog> {
    let file = table
        .require("file", "\"decisions.jsonl\"")
        .and_then(|value| path(document, &value));
    let mut log = DecisionLog {
        file: PathBuf::new(),
        size: 100_000_000,
        keep: 5,
        prompts: false,
    };
    set(&mut table, "size", &mut log.size, |value| {
        value
            .quantity(&MEMORY)
            .map(|size| routerwise_types::Bytes::ceil(size).0)
    });
    set(&mut table, "keep", &mut log.keep, |value| value.integer(0..=1000));
    set(&mut table, "prompts", &mut log.prompts, |value| value.boolean());
    table.finish();
    Some(DecisionLog { file: file?, ..log })
}

#[cfg(test)]
mod tests {
    use routerwise_types::serve::{Discover, DiscoverBy, EndpointSlices, ServicePort};

    use super::*;

    fn read_text(text: &str) -> Result<Settings, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serve.toml");
        std::fs::write(&path, text).unwrap();
        load_settings(&path).map_err(|problems| {
            let text = |problem: &crate::Problem| format!("{problem} {}", problem.help_text().unwrap_or_default());
            problems.0.iter().map(text).collect()
        })
    }

    #[test]
    fn an_empty_file_leaves_the_usual_settings() {
        let settings = read_text("").unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.routes, vec![Route::usual()]);
        assert_eq!(settings.limits, Limits::default());
    }

    #[test]
    fn everything_that_is_written_counts() {
        let settings = read_text(
            r#"
            listen = "127.0.0.1:9000"
            admin = false
            prices = "static"
            balance = "prefix"
            keys = "keys.toml"
            [tls]
            certificate = "a.pem"
            key = "b.pem"
            client-ca = "c.pem"
            [[route]]
            name = "fast"
            models = ["small"]
            embeddings = "bge"
            ttft-target = "300 ms"
            out-of-reach = "shed"
            [[replica]]
            model = "small"
            url = "http://10.0.0.1:8000"
            served-name = "org/small"
            http2 = true
            [limits]
            body = "1 MB"
            in-flight = 7
            [timeouts]
            stall = "5 s"
            [retries]
            most = 2
            budget = "10 %"
            [hedging]
            predicted = false
            quantile = "99 %"
            [health]
            every = false
            [engine-metrics]
            path = "/engine"
            every = "250 ms"
            [log]
            file = "log/decisions.jsonl"
            size = "1 MB"
            "#,
        )
        .unwrap();
        assert_eq!((settings.admin, settings.prices), (None, Prices::Static));
        assert_eq!(settings.balance, Balance::Prefix);
        assert!(settings.keys.unwrap().ends_with("keys.toml"));
        assert!(settings.tls.unwrap().client_ca.is_some());
        assert_eq!(settings.routes[0].ttft_target, Some(Duration::from_millis(300)));
        assert_eq!(settings.routes[0].embeddings.as_deref(), Some("bge"));
        assert!(settings.replicas[0].http2);
        assert_eq!(settings.replicas[0].served_as.as_deref(), Some("org/small"));
        assert_eq!((settings.limits.body, settings.limits.in_flight), (1_000_000, 7));
        assert_eq!(settings.timeouts.stall, Duration::from_secs(5));
        assert_eq!(settings.retries.most, 2);
        assert_eq!(settings.health.every, None);
        let hedging = settings.hedging.unwrap();
        assert!(!hedging.predicted && (hedging.quantile.unwrap() - 0.99).abs() < 1e-9);
        let metrics = &settings.engine_metrics;
        assert_eq!(metrics.path, "/engine");
        assert_eq!(metrics.every, Some(Duration::from_millis(250)));
        assert_eq!(settings.log.unwrap().size, 1_000_000);
    }

    #[test]
    fn credentials_come_from_the_environment_or_a_file_and_are_shown_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "from-a-file\n").unwrap();
        std::fs::write(folder.path().join("empty"), " \n").unwrap();
        let path = folder.path().join("serve.toml");
        let read = |credential: &str| {
            let entry = format!("[[replica]]\nmodel = \"small\"\nurl = \"http://10.0.0.1:8000\"\n{credential}\n");
            std::fs::write(&path, entry).unwrap();
            load_settings(&path).map_err(|problems| {
                let texts = problems.0.iter().map(|problem| format!("{problem}\n"));
                texts.collect::<String>()
            })
        };
        let credential = |settings: &Settings| settings.replicas[0].credential.clone().unwrap().0;
        // Whoever runs tests sets this one.
        let settings: Settings = read("key-env = \"CARGO_PKG_NAME\"")
            .map_err(|text: String| text)
            .unwrap();
        assert_eq!(credential(&settings), "routerwise-inputs");
        let settings = read("key-file = \"secret\"").unwrap();
        assert_eq!(credential(&settings), "from-a-file");
        assert!(!format!("{settings:?}").contains("from-a-file"));
        for (wrong, said) in [
            ("key-env = \"RW_NOBODY_SETS_THIS\"", "`RW_NOBODY_SETS_THIS` is not set"),
            ("key-file = \"missing\"", "missing"),
            ("key-file = \"empty\"", "is empty"),
            (
                "key-env = \"CARGO_PKG_NAME\"\nkey-file = \"secret\"",
                "`key-env` and `key-file`",
            ),
        ] {
            let problems = read(wrong).unwrap_err();
            assert!(problems.contains(said), "{problems}");
            assert!(!problems.contains("from-a-file"), "{problems}");
        }
    }

    #[test]
    fn replicas_may_be_looked_for() {
        let settings = read_text(
            r#"
            [kubernetes]
            api = "http://127.0.0.1:8001"
            namespace = "models"
            [[replica]]
            model = "small"
            url = "http://small-engines:8000"
            discover = "dns"
            every = "2 s"
            [[replica]]
            model = "large"
            discover = "endpoint-slices"
            service = "large-engines"
            port = "http"
            [[replica]]
            model = "large"
            discover = "endpoint-slices"
            service = "more"
            namespace = "elsewhere"
            port = 8000
            url = "https://more.elsewhere.svc/v1"
            "#,
        )
        .unwrap();
        assert!(settings.replicas.is_empty());
        let [dns, slices, more] = &settings.discover[..] else {
            panic!("{:?}", settings.discover)
        };
        let every = Duration::from_secs(2);
        assert_eq!(dns.by, DiscoverBy::Dns { every });
        assert_eq!(slices.like.url, "http://large-engines.models.svc");
        let by = |discover: &Discover| match &discover.by {
            DiscoverBy::EndpointSlices(slices) => slices.clone(),
            DiscoverBy::Dns { .. } => panic!("{discover:?}"),
        };
        assert_eq!(
            by(slices),
            EndpointSlices {
                service: "large-engines".to_owned(),
                namespace: "models".to_owned(),
                port: Some(ServicePort::Name("http".to_owned())),
                api: "http://127.0.0.1:8001".to_owned(),
                token: None,
                ca: None,
            }
        );
        assert_eq!(
            (by(more).namespace.as_str(), by(more).port),
            ("elsewhere", Some(ServicePort::Number(8000)))
        );
        let problems = read_text(
            "[[replica]]\nmodel = \"a\"\ndiscover = \"endpoint-slices\"\nservice = \"A/b\"\n\
             [[replica]]\nmodel = \"a\"\ndiscover = \"mdns\"\nurl = \"http://a\"\n\
             [[replica]]\nmodel = \"a\"\ndiscover = \"dns\"\nreplica = 1\nurl = \"http://a\"\n",
        )
        .unwrap_err()
        .join("\n");
        for part in ["no name in Kubernetes", "mdns", "`replica` is the number of one"] {
            assert!(problems.contains(part), "{part} is not in\n{problems}");
        }
    }

    #[test]
    fn the_file_that_the_guide_shows_is_right_and_shows_the_usual_values() {
        let guide = include_str!("../../../docs/guides/serve.md");
        let shown = guide
            .split("```toml")
            .find(|block| block.starts_with("\nlisten"))
            .unwrap();
        let shown = shown
            .split("```")
            .next()
            .unwrap()
            .replace("key-env = \"ENGINE_KEY\"", "");
        let settings = read_text(&shown).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!(settings.limits, Limits::default());
        assert_eq!(settings.timeouts, Timeouts::default());
        assert_eq!(settings.retries, Retries::default());
        let (shown, usual) = (settings.hedging.unwrap(), Hedging::default());
        let apart = shown.quantile.unwrap() - usual.quantile.unwrap();
        assert!(shown.predicted == usual.predicted && apart.abs() < 1e-9);
        assert_eq!(read_text("").unwrap().hedging, None);
        assert_eq!(settings.health, HealthChecks::default());
        assert_eq!(settings.engine_metrics, EngineMetrics::default());
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let problems = read_text(
            "listen = \"nowhere\"\nprice = \"live\"\n[timeouts]\nstall = 5\n[[replica]]\nmodel = \"small\"\n[log]\nsize = \"1 MB\"\n",
        )
        .unwrap_err();
        let all = problems.join("\n");
        assert_eq!(problems.len(), 5, "{all}");
        for part in [
            "no address to listen on",
            "did you mean `prices`",
            "\"1.5 s\"",
            "has no `url`",
            "has no `file`",
        ] {
            assert!(all.contains(part), "{part} is not in\n{all}");
        }
    }
}
