//! Known names that an unknown one may have been meant to be.

use std::fmt;

/// Names in `known` that `name` may have been meant to be, best first, at most three.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(score, _)| *score > 0.7)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored
        .into_iter()
        .take(3)
        .map(|(_, candidate)| candidate.to_owned())
        .collect()
}

/// The end of a message that offers known names: `; did you mean ...?`, or nothing.
pub(crate) fn did_you_mean(nearest: &[String]) -> String {
    Nearest(nearest).to_string()
}

pub(super) struct Nearest<'a>(pub(super) &'a [String]);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            names => write!(f, "; did you mean `{}`?", names.join("`, `")),
        }
    }
}
