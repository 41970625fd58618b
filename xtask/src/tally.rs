//! Counts of tests, read from what the test runners print.

use std::fmt;
use std::ops::AddAssign;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Ignored, filtered out, or not started after a failure.
    pub(crate) skipped: u64,
}

impl Tally {
    /// Reads the last summary of nextest:
    /// `Summary [   0.123s] 5/9 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 2 skipped`.
    pub(crate) fn of_nextest(text: &str) -> Option<Self> {
        let text = without_colour(text);
        let line = text
            .lines()
            .rev()
            .find(|line| line.trim_start().starts_with("Summary ["))?;
        let (run, ends) = line.split_once(']')?.1.split_once(" run:")?;
        let mut tally = Self::default();
        for (count, how) in counts(&without_brackets(ends), ',') {
            match how.as_str() {
                "passed" => tally.passed += count,
                "skipped" => tally.skipped += count,
                _ => tally.failed += count, // failed, timed out, exec failed
            }
        }
        if let Some((ran, all)) = run.split_whitespace().next()?.split_once('/') {
            tally.skipped += all.parse::<u64>().ok()?.saturating_sub(ran.parse().ok()?);
        }
        Some(tally)
    }

    /// Sums all lines of the standard harness: `test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; …`.
    pub(crate) fn of_harness(text: &str) -> Option<Self> {
        let text = without_colour(text);
        let mut sum = None;
        for line in text.lines() {
            let Some((_, ends)) = line
                .trim_start()
                .strip_prefix("test result: ")
                .and_then(|l| l.split_once(". "))
            else {
                continue;
            };
            let tally = sum.get_or_insert_with(Self::default);
            for (count, how) in counts(ends, ';') {
                match how.as_str() {
                    "passed" => tally.passed += count,
                    "failed" => tally.failed += count,
                    "ignored" | "filtered out" => tally.skipped += count,
                    _ => {}
                }
            }
        }
        sum
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// `3 passed, 1 timed out` as (3, "passed"), (1, "timed out"); anything else is left out.
fn counts(text: &str, separator: char) -> Vec<(u64, String)> {
    let pairs = text.split(separator).filter_map(|part| {
        let (count, how) = part.trim().split_once(' ')?;
        Some((count.parse().ok()?, how.trim().to_owned()))
    });
    pairs.collect()
}

fn without_brackets(text: &str) -> String {
    let mut depth = 0_u32;
    let outside = text.chars().filter(|&c| {
        if c == '(' {
            depth += 1;
        }
        let keep = depth == 0;
        if c == ')' {
            depth = depth.saturating_sub(1);
        }
        keep
    });
    outside.collect()
}

/// Drops the escape sequences that colour text: from ESC to the letter that ends the sequence.
fn without_colour(text: &str) -> String {
    let mut inside = false;
    let plain = text.chars().filter(|&c| {
        if c == '\u{1b}' {
            inside = true;
        }
        let keep = !inside;
        if c.is_ascii_alphabetic() {
            inside = false;
        }
        keep
    });
    plain.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_of_nextest_is_counted() {
        let text = "   PASS [0.1s] a\n     Summary [   0.123s] 12 tests run: 12 passed, 3 skipped\n";
        assert_eq!(
            Tally::of_nextest(text),
            Some(Tally {
                passed: 12,
                failed: 0,
                skipped: 3
            })
        );
    }

    #[test]
    fn slow_timed_out_and_unstarted_tests_are_counted() {
        let text = "Summary [ 9.1s] 6/10 tests run: 4 passed (1 slow, 1 leaky), 1 failed, 1 timed out, 2 skipped";
        assert_eq!(
            Tally::of_nextest(text),
            Some(Tally {
                passed: 4,
                failed: 2,
                skipped: 6
            })
        );
    }

    #[test]
    fn colour_does_not_hide_a_summary() {
        let text = "\u{1b}[32;1m     Summary\u{1b}[0m [ 0.1s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m \
                    \u{1b}[32;1mpassed\u{1b}[0m, \u{1b}[1m0\u{1b}[0m \u{1b}[33;1mskipped\u{1b}[0m";
        assert_eq!(
            Tally::of_nextest(text),
            Some(Tally {
                passed: 2,
                failed: 0,
                skipped: 0
            })
        );
    }

    #[test]
    fn the_harness_is_summed_over_crates() {
        let text = "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.00s\n\
                    test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        assert_eq!(
            Tally::of_harness(text),
            Some(Tally {
                passed: 5,
                failed: 1,
                skipped: 5
            })
        );
    }

    #[test]
    fn no_summary_is_no_count() {
        assert_eq!(Tally::of_nextest("error: could not compile"), None);
        assert_eq!(Tally::of_harness("error: could not compile"), None);
    }
}
