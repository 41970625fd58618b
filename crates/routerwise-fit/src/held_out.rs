//! What is never fitted on.
//!
//! Sets with several models or experiments keep whole ones aside, so that the error on them is that of a model or load nobody
//! tuned for; sets that are one grid keep aside one row in five by a hash of its key. Each fit states which rule it uses.

/// Which side of the fence a measurement is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The constants may follow it.
    Fitted,
    /// Only errors are computed on it.
    HeldOut,
}

impl Part {
    /// One in `one_in` by a hash of the row's key: the same on every machine, independent of the order of rows.
    #[must_use]
    pub fn by_hash(key: &str, one_in: u64) -> Self {
        if fnv1a(key).is_multiple_of(one_in) {
            Self::HeldOut
        } else {
            Self::Fitted
        }
    }

    /// Held out when the condition holds.
    #[must_use]
    pub fn held_out_if(condition: bool) -> Self {
        if condition { Self::HeldOut } else { Self::Fitted }
    }

    /// In words, for the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fitted => "fitted",
            Self::HeldOut => "held out",
        }
    }
}

/// FNV-1a with 64 bits, mixed once more because its low bits follow the key's last character.
fn fnv1a(key: &str) -> u64 {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 17
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_in_five_is_held_out_and_always_the_same() {
        let keys: Vec<String> = (0..5000).map(|ix| format!("row {ix}")).collect();
        let held_out = keys.iter().filter(|key| Part::by_hash(key, 5) == Part::HeldOut).count();
        assert!((900..1100).contains(&held_out), "{held_out}");
        assert_eq!(
            Part::by_hash("llama-7b/1/8/128", 5),
            Part::by_hash("llama-7b/1/8/128", 5)
        );
    }
}
