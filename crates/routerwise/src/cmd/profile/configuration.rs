//! `--configuration tp=2,share=50%`: which of the configurations that a scenario allows.

use routerwise_types::profile::ProfileKey;
use routerwise_types::units::GpuShare;

use crate::failure::Failure;

/// Parts of a configuration; what is not said may be anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Configuration {
    gpu_type: Option<String>,
    tensor_parallel: Option<u32>,
    share: Option<GpuShare>,
    text: String,
}

impl Configuration {
    /// `tp=2,share=50%,gpu=a100-80gb-sxm`, in any order.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut read = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` is not `name=value`"))?;
            match name {
                "gpu" => read.gpu_type = Some(value.to_owned()),
                "tp" => {
                    read.tensor_parallel = Some(value.parse().map_err(|_| format!("`{value}` is no number of shards"))?)
                }
                "share" => read.share = Some(share(value)?),
                _ => return Err(format!("`{name}` is none of tp, share and gpu")),
            }
        }
        Ok(read)
    }

    fn holds(&self, key: &ProfileKey) -> bool {
        let gpu = self.gpu_type.as_ref().is_none_or(|gpu| *gpu == key.gpu_type);
        let tp = self.tensor_parallel.is_none_or(|tp| tp == key.tensor_parallel);
        let near = |share: GpuShare| (share.value() - key.share.value()).abs() < 1e-6;
        gpu && tp && self.share.is_none_or(near)
    }
}

/// `50%` or `0.5`.
fn share(text: &str) -> Result<GpuShare, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let value: f64 = number
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is no share of a GPU"))?;
    GpuShare::new(value * scale).map_err(|error| error.to_string())
}

/// Those of the possible configurations that are asked for; all when none is.
pub(super) fn select(possible: Vec<ProfileKey>, asked: &[Configuration]) -> Result<Vec<ProfileKey>, Failure> {
    if asked.is_empty() {
        return Ok(possible);
    }
    if let Some(none) = asked.iter().find(|asked| !possible.iter().any(|key| asked.holds(key))) {
        return Err(Failure::Request {
            what: format!("the scenario allows no configuration `{}`", none.text),
            help: format!("it allows {}", listed(&possible)),
        });
    }
    Ok(possible
        .into_iter()
        .filter(|key| asked.iter().any(|asked| asked.holds(key)))
        .collect())
}

/// `llama-8b tp=1 share=50 % on a100-80gb-sxm`.
pub(super) fn in_words(key: &ProfileKey) -> String {
    format!(
        "{} tp={} share={} on {}",
        key.model, key.tensor_parallel, key.share, key.gpu_type
    )
}

/// Configurations as they are asked for, the first few.
pub(super) fn listed(keys: &[ProfileKey]) -> String {
    const SHOWN: usize = 8;
    let spelled = |key: &ProfileKey| {
        let share = (key.share.value() * 1e4).round() / 1e2;
        format!("`tp={},share={share}%,gpu={}`", key.tensor_parallel, key.gpu_type)
    };
    let mut all: Vec<String> = keys.iter().map(spelled).collect();
    all.dedup();
    let more = all.len().saturating_sub(SHOWN);
    all.truncate(SHOWN);
    match more {
        0 => all.join(", "),
        more => format!("{} and {more} more", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(tensor_parallel: u32, share: f64) -> ProfileKey {
        ProfileKey {
            model: "m".into(),
            gpu_type: "g".into(),
            tensor_parallel,
            share: GpuShare::new(share).unwrap(),
        }
    }

    #[test]
    fn what_is_not_said_may_be_anything() {
        let possible = vec![key(1, 0.5), key(1, 1.0), key(2, 1.0)];
        let asked = |text| [Configuration::parse(text).unwrap()];
        let chosen = |text| select(possible.clone(), &asked(text)).unwrap();
        assert_eq!(chosen("tp=1"), possible[..2]);
        assert_eq!(chosen("share=100%"), possible[1..]);
        assert_eq!(chosen("tp=1 share=0.5 gpu=g"), possible[..1]);
        assert!(select(possible.clone(), &asked("tp=4")).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (text, said) in [
            ("tp", "name=value"),
            ("tp=x", "shards"),
            ("mp=1", "none of"),
            ("share=0%", "above 0"),
        ] {
            let error = Configuration::parse(text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
