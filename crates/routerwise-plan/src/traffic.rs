//! How traffic is divided: load levels, and at each the same routes (classes of traffic).
//!
//! What stands for each policy (a level and a route) lies level after level, in each route after route. Models are what routes share: a
//! model's load is that of all routes together.

use routerwise_types::workload::Workload;

/// Levels, routes and what each counts for.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// What each policy counts for; sums to 1.
    pub weights: Vec<f64>,
    /// Part of a level's requests that each route has; sums to 1.
    pub parts: Vec<f64>,
    /// The route of each constraint row of a level; rising.
    pub row_routes: Vec<usize>,
}

impl Traffic {
    /// Of a workload; `row_routes` says whose each of a level's rows is.
    #[must_use]
    pub fn of(workload: &Workload, row_routes: Vec<usize>) -> Self {
        let levels = 0..workload.levels.len();
        let weights = levels.flat_map(|level| (0..workload.n_routes()).map(move |route| (level, route)));
        Self {
            weights: weights
                .map(|(level, route)| workload.policy_weight(level, route))
                .collect(),
            parts: (0..workload.n_routes()).map(|route| workload.part_of(route)).collect(),
            row_routes,
        }
    }

    /// One of its levels by itself.
    pub(crate) fn at_level(&self, level: usize) -> Self {
        let weights = &self.weights[level * self.n_routes()..][..self.n_routes()];
        let all: f64 = weights.iter().sum();
        Self {
            weights: weights.iter().map(|weight| weight / all).collect(),
            ..self.clone()
        }
    }

    /// Number of routes.
    #[must_use]
    pub fn n_routes(&self) -> usize {
        self.parts.len()
    }

    /// Number of load levels.
    #[must_use]
    pub fn n_levels(&self) -> usize {
        self.weights.len() / self.parts.len()
    }

    /// Number of policies.
    #[must_use]
    pub fn n_policies(&self) -> usize {
        self.weights.len()
    }

    /// Constraint rows of one level.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.row_routes.len()
    }

    /// Whether routes share models at all.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.parts.len() > 1
    }

    /// Route of a policy.
    pub(crate) fn route_of(&self, policy: usize) -> usize {
        policy % self.n_routes()
    }

    /// The policy that a row of a level belongs to.
    pub(crate) fn policy_of_row(&self, level: usize, row: usize) -> usize {
        level * self.n_routes() + self.row_routes[row]
    }

    /// What a row of a level counts for.
    pub(crate) fn weight_of_row(&self, level: usize, row: usize) -> f64 {
        self.weights[self.policy_of_row(level, row)]
    }

    /// Rows of a level that are a route's.
    pub(crate) fn rows_of(&self, route: usize) -> std::ops::Range<usize> {
        let start = self.row_routes.partition_point(|other| *other < route);
        start
            ..start
                + self.row_routes[start..]
                    .iter()
                    .take_while(|other| **other == route)
                    .count()
    }

    /// A policy's part of what stands for the rows of all levels.
    pub(crate) fn rows_of_policy<'a, T>(&self, all: &'a [T], policy: usize) -> &'a [T] {
        let level = policy / self.n_routes();
        let rows = self.rows_of(self.route_of(policy));
        &all[level * self.n_rows()..][..self.n_rows()][rows]
    }

    /// Part of all requests of a level that a model gets; `fractions` stand policy after policy, model after model.
    pub(crate) fn load(&self, fractions: &[f64], level: usize, model: usize, n_models: usize) -> f64 {
        if !self.is_shared() {
            return fractions[level * n_models + model];
        }
        let of_level = fractions[level * self.n_routes() * n_models..].chunks(n_models);
        let parts = self.parts.iter().zip(of_level);
        parts.map(|(part, fractions)| part * fractions[model]).sum()
    }

    /// [`Self::load`] of every model at every level.
    pub(crate) fn loads(&self, fractions: &[f64], n_models: usize) -> Vec<f64> {
        let levels = 0..self.n_levels();
        levels
            .flat_map(|level| (0..n_models).map(move |model| self.load(fractions, level, model, n_models)))
            .collect()
    }
}
