//! Which prompts are one: the same question in other capitals or spacing must never be in training and in test at once.

use std::collections::{BTreeMap, BTreeSet};

use routerwise_types::hash::{mix, prompt_hash, uniform};

/// Identity of a prompt: a hash of its letters and digits in lower case. Texts that differ in nothing else are the same prompt.
#[must_use]
pub fn identity(text: &str) -> u64 {
    let letters = text
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase);
    let hash = letters.fold((0xcbf2_9ce4_8422_2325_u64, 0_u64), |(hash, n), c| {
        ((hash ^ u64::from(c)).wrapping_mul(0x0000_0100_0000_01b3), n + 1)
    });
    // Symbols alone are told apart as they are.
    if hash.1 == 0 {
        prompt_hash(text.trim())
    } else {
        mix(hash.0)
    }
}

/// Groups of rows that stay together, by a hash for each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups(Vec<u64>);

impl Groups {
    /// By what prompts say.
    #[must_use]
    pub fn by_prompt(texts: &[String]) -> Self {
        Self(texts.iter().map(|text| identity(text)).collect())
    }

    /// By a name, such as the source of each prompt.
    #[must_use]
    pub fn by_name<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().map(prompt_hash).collect())
    }

    /// How many rows there are.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.0.len()
    }

    /// How many groups there are.
    #[must_use]
    pub fn n_groups(&self) -> usize {
        self.0.iter().collect::<BTreeSet<_>>().len()
    }

    /// Of some of the rows.
    #[must_use]
    pub fn of(&self, rows: &[usize]) -> Self {
        Self(rows.iter().map(|row| self.0[*row]).collect())
    }

    /// The fold of each row, the same for all rows of a group.
    #[must_use]
    pub fn folds(&self, n_folds: usize, seed: u64) -> Vec<usize> {
        let fold =
            |hash: &u64| usize::try_from(mix(hash ^ mix(seed)) % n_folds as u64).expect("below the number of folds");
        self.0.iter().map(fold).collect()
    }

    /// Groups dealt out to folds of about equal size, the largest groups first; the fold of each row.
    #[must_use]
    pub fn dealt(&self, n_folds: usize) -> Vec<usize> {
        let mut sizes = BTreeMap::<u64, usize>::new();
        for hash in &self.0 {
            *sizes.entry(*hash).or_default() += 1;
        }
        let mut order: Vec<(usize, u64)> = sizes.into_iter().map(|(hash, size)| (size, hash)).collect();
        order.sort_by(|a, b| b.cmp(a));
        let mut filled = vec![0; n_folds.max(1)];
        let mut fold_of = BTreeMap::new();
        for (size, hash) in order {
            let fold = (0..filled.len()).min_by_key(|fold| filled[*fold]).unwrap_or(0);
            filled[fold] += size;
            fold_of.insert(hash, fold);
        }
        self.0.iter().map(|hash| fold_of[hash]).collect()
    }

    /// Rows to learn from and rows to test on; about this part of the groups is for the test.
    #[must_use]
    pub fn split(&self, test: f64, seed: u64) -> Split {
        // Another stream than that of the folds.
        let is_test = |hash: u64| uniform(mix(hash ^ mix(seed ^ 0x7465_7374))) < test;
        let (test, train) = (0..self.0.len()).partition(|row| is_test(self.0[*row]));
        Split { train, test }
    }

    /// At most this many rows, drawn by chance, whole groups before others as far as the number allows; in rising order.
    #[must_use]
    pub fn sample(&self, n_rows: usize, seed: u64) -> Vec<usize> {
        // A third stream.
        let drawn = |row: &usize| (mix(self.0[*row] ^ mix(seed ^ 0x7361_6d70)), *row);
        let mut rows: Vec<usize> = (0..self.0.len()).collect();
        rows.sort_by_key(drawn);
        rows.truncate(n_rows);
        rows.sort_unstable();
        rows
    }

    /// Rows whose group is also among the others': a leak, when one side was learned from and the other judges.
    #[must_use]
    pub fn shared_with(&self, others: &[u64]) -> Vec<usize> {
        let others: BTreeSet<u64> = others.iter().copied().collect();
        (0..self.0.len()).filter(|row| others.contains(&self.0[*row])).collect()
    }

    /// The hash of each group, once, in rising order.
    #[must_use]
    pub fn hashes(&self) -> Vec<u64> {
        self.0.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Rows to learn from and rows to test on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// To learn from.
    pub train: Vec<usize>,
    /// To test on.
    pub test: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_in_other_dress_is_the_same_prompt() {
        assert_eq!(identity("What is 2 + 2?"), identity(" what  IS 2+2 "));
        assert_ne!(identity("What is 2 + 2?"), identity("What is 2 + 3?"));
        assert_ne!(identity("???"), identity("!!!"));
    }

    #[test]
    fn the_same_prompt_is_never_on_both_sides() {
        let texts: Vec<String> = (0..200)
            .map(|i| format!("Question {}{}", i % 90, if i < 90 { "" } else { "?" }))
            .collect();
        let groups = Groups::by_prompt(&texts);
        let split = groups.split(0.3, 5);
        let trained = groups.of(&split.train).hashes();
        assert!(groups.of(&split.test).shared_with(&trained).is_empty());
        assert_eq!(groups.n_groups(), 90);
        assert!((30..90).contains(&split.test.len()), "{}", split.test.len());
        let folds = groups.folds(4, 1);
        assert!((0..110).all(|row| folds[row] == folds[row + 90]));
    }

    #[test]
    fn a_larger_sample_holds_the_smaller_one() {
        let texts: Vec<String> = (0..200).map(|i| format!("Question {i}")).collect();
        let groups = Groups::by_prompt(&texts);
        let [small, large] = [30, 90].map(|n| groups.sample(n, 3));
        assert_eq!((small.len(), large.len()), (30, 90));
        assert!(small.iter().all(|row| large.contains(row)) && large.is_sorted());
        assert_eq!(groups.sample(500, 3).len(), 200);
        assert_ne!(small, groups.sample(30, 4));
    }
}
