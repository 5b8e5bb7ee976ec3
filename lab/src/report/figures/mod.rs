//! The figures of the page, as SVG that takes its colours from the page's style:
//! light or dark, and the same colour for a policy everywhere.

mod calibration;
pub(super) mod deadlines;
mod decision;
mod latency;
mod offloaded;
mod scale;
mod svg;
mod timing;
mod total;

use crate::study::{ALL_FOG, ALL_LOCAL, THRESHOLD};

pub(super) use calibration::calibration;
pub(super) use decision::decision;
pub(super) use latency::latency;
pub(super) use offloaded::offloaded;
pub(super) use svg::escape;
pub use timing::timing;
pub(super) use total::total;

/// The class that gives a policy its colour: the talk's three policies always have
/// the same, others follow in the study's order.
pub(super) fn policy_class(policies: &[String], policy: &str) -> String {
    /// The talk's policies, then other colours, in the page's style.
    const COLOURS: usize = 7;
    let known = [ALL_LOCAL, ALL_FOG, THRESHOLD];
    if let Some(place) = known.iter().position(|p| *p == policy) {
        return format!("p{place}");
    }
    let mut others = policies.iter().filter(|p| !known.contains(&p.as_str()));
    let place = others.position(|p| p == policy).unwrap_or(0);
    format!("p{}", known.len() + place % (COLOURS - known.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_keeps_its_colour_whatever_the_order() {
        let policies = ["greedy", "threshold", "oracle", "all-local"].map(String::from);
        let classes = policies.each_ref().map(|p| policy_class(&policies, p));
        assert_eq!(classes, ["p3", "p2", "p4", "p0"]);
    }
}
