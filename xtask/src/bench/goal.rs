//! What is wanted of the figures, and whether they have it.

use serde::Serialize;

use crate::step::Outcome;

/// A figure and its limit.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    what: String,
    /// `None` where it was not measured.
    figure: Option<f64>,
    limit: f64,
    met: Option<bool>,
}

impl Goal {
    /// The figure is to be no more than the limit.
    pub(crate) fn at_most(what: &str, figure: Option<f64>, limit: f64) -> Self {
        let met = figure.map(|figure| figure <= limit);
        Self::new(format!("{what}: at most {limit}"), figure, limit, met)
    }

    /// The figure is to be no less than the limit.
    pub(crate) fn at_least(what: &str, figure: Option<f64>, limit: f64) -> Self {
        let met = figure.map(|figure| figure >= limit);
        Self::new(format!("{what}: at least {limit}"), figure, limit, met)
    }

    fn new(what: String, figure: Option<f64>, limit: f64, met: Option<bool>) -> Self {
        Self {
            what,
            figure,
            limit,
            met,
        }
    }
}

/// A line each.
pub(crate) fn lines(goals: &[Goal]) -> String {
    let line = |goal: &Goal| {
        let verdict = match goal.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        let figure = goal.figure.map(|figure| format!("{figure:.2}"));
        let figure = figure.unwrap_or_default();
        format!("{verdict:12} {figure:>8}  {}\n", goal.what)
    };
    goals.iter().map(line).collect()
}

/// With `--check`, what was missed is a failure.
pub(crate) fn outcome(goals: &[Goal], check: bool) -> Outcome {
    if check && goals.iter().any(|goal| goal.met == Some(false)) {
        return Outcome::Failed;
    }
    Outcome::Done
}
