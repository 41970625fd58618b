//! Exact match, but for what nobody means by a difference.

/// 1 where the answer says what the reference says, else 0.
pub(super) fn score(answer: &str, reference: &str) -> f64 {
    f64::from(u8::from(same(answer, reference)))
}

/// Equal but for case, space, quotes, a final stop, and the way a number is written.
pub(super) fn same(answer: &str, reference: &str) -> bool {
    let (answer, reference) = (plain(answer), plain(reference));
    if let (Some(answer), Some(reference)) = (number(&answer), number(&reference)) {
        return (answer - reference).abs() <= 1e-9 * reference.abs().max(1.0);
    }
    answer == reference
}

fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let joined = words.join(" ").to_lowercase();
    let bare = |c: char| matches!(c, '"' | '\'' | '`' | '*' | '“' | '”');
    let inner = joined.trim_matches(bare).trim_end_matches(['.', '!']);
    inner.trim_matches(bare).trim().to_owned()
}

/// `1,234.50`, `$12`, `12 %` as numbers; other units are not guessed.
fn number(text: &str) -> Option<f64> {
    let bare: String = text
        .chars()
        .filter(|c| !matches!(c, ',' | '$' | '€' | '£' | ' '))
        .collect();
    let digits = bare.trim_end_matches('%');
    digits
        .starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
        .then(|| digits.parse().ok().filter(|number: &f64| number.is_finite()))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_means_by_a_difference_makes_none() {
        for (answer, reference) in [
            ("Paris.", "paris"),
            (" \"The  Louvre\" ", "the louvre"),
            ("**42**", "42.0"),
            ("$1,234.50", "1234.5"),
            ("-3", "-3"),
            ("12 %", "12%"),
        ] {
            assert!(same(answer, reference), "{answer} | {reference}");
        }
        for (answer, reference) in [
            ("Paris, France", "Paris"),
            ("43", "42"),
            ("", "x"),
            ("inf", "infinity"),
            ("1e400", "2e400"),
        ] {
            assert!(!same(answer, reference), "{answer} | {reference}");
        }
    }
}
