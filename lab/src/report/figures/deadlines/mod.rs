//! The figures of a study of deadlines.

mod energy;
mod regret;
mod responses;
mod timeline;

pub(in super::super) use energy::energy;
pub(in super::super) use regret::regret;
pub(in super::super) use responses::{responses, total};
pub(in super::super) use timeline::timeline;

use crate::deadlines::DeadlineStudy;

/// The class that gives a policy of the study its colour.
fn class(study: &DeadlineStudy, policy: &str) -> String {
    let names: Vec<String> = study.policies.iter().map(|policy| policy.name.clone()).collect();
    super::policy_class(&names, policy)
}
