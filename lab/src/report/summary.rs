//! The numbers of a study: by link, model and policy, and by link and policy over
//! all models.

use std::collections::HashMap;

use crate::study::{ALL_FOG, ALL_LOCAL, DecisionRow, FALLBACK, FOG, ModelInfo, Study};

use super::quantile::{nearest_rank, nearest_rank_of};

/// How far a policy's total time may lie above the better of all-local and
/// all-fog to count as no worse.
pub const TOLERANCE: f64 = 0.05;

/// The numbers of some decisions. Times are in nanoseconds; quantiles are by
/// nearest rank, so each is the time of one of the inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Inputs that were decided.
    pub inputs: usize,
    /// Inputs whose answer is the label of the data set.
    pub right: usize,
    /// Inputs that were sent to the fog host, answered or not.
    pub offloaded: usize,
    /// Of these, inputs that the device had to answer in the end.
    pub fallbacks: usize,
    /// Inputs that were answered after their deadline.
    pub misses: usize,
    /// The sum of all latencies.
    pub total_ns: u64,
    /// Half of the latencies are no longer.
    pub median_ns: Option<u64>,
    /// 99 % of the latencies are no longer.
    pub p99_ns: Option<u64>,
    /// The longest latency.
    pub max_ns: Option<u64>,
    /// Median of T_L as measured.
    pub tl_ns: Option<u64>,
    /// Median of T_F as the fog host reported it.
    pub tf_ns: Option<u64>,
}

impl Figures {
    /// The numbers of `decisions`.
    pub fn of(decisions: &[&DecisionRow]) -> Self {
        let count = |test: fn(&DecisionRow) -> bool| decisions.iter().filter(|d| test(d)).count();
        let median = |time: fn(&DecisionRow) -> Option<u64>| {
            nearest_rank_of(decisions.iter().filter_map(|d| time(d)).collect(), 0.5)
        };
        let mut latencies: Vec<u64> = decisions.iter().map(|d| d.latency_ns).collect();
        latencies.sort_unstable();
        Self {
            inputs: decisions.len(),
            right: count(|d| d.predicted == d.label),
            offloaded: count(|d| d.placement == FOG || d.placement == FALLBACK),
            fallbacks: count(|d| d.placement == FALLBACK),
            misses: count(|d| d.missed),
            total_ns: latencies.iter().fold(0, |sum, &ns| sum.saturating_add(ns)),
            median_ns: nearest_rank(&latencies, 0.5),
            p99_ns: nearest_rank(&latencies, 0.99),
            max_ns: latencies.last().copied(),
            tl_ns: median(|d| d.tl_ns),
            tf_ns: median(|d| d.tf_ns),
        }
    }
}

/// One model under one policy over one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRow {
    /// Name of the link.
    pub link: String,
    /// Name of the model.
    pub model: String,
    /// Name of the policy.
    pub policy: String,
    /// Its numbers.
    pub figures: Figures,
    /// The model's WCET on the device; `None` for a model that the study does
    /// not list.
    pub wcet_ns: Option<u64>,
    /// The model's deadline, likewise.
    pub deadline_ns: Option<u64>,
}

/// All models under one policy over one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyTotal {
    /// Name of the link.
    pub link: String,
    /// Name of the policy.
    pub policy: String,
    /// Its numbers over all models.
    pub figures: Figures,
}

/// One policy that decides, held against the two that do not, over one link.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Name of the link.
    pub link: String,
    /// Name of the policy.
    pub policy: String,
    /// Its total time over all models.
    pub total_ns: u64,
    /// The faster of all-local and all-fog.
    pub best: String,
    /// That policy's total time.
    pub best_ns: u64,
    /// Whether the policy took at most [`TOLERANCE`] longer.
    pub within: bool,
}

/// All numbers of a study. Rows without a decision are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// By link, then model, then policy, in the study's order.
    pub rows: Vec<ModelRow>,
    /// By link, then policy.
    pub totals: Vec<PolicyTotal>,
    /// By link, then policy; none where a link lacks all-local and all-fog.
    pub verdicts: Vec<Verdict>,
    /// The links, models and policies in order: the study's, then those that only
    /// its decisions name.
    pub links: Vec<String>,
    /// The models, likewise.
    pub models: Vec<String>,
    /// The policies, likewise.
    pub policies: Vec<String>,
}

impl Summary {
    /// Sums a study up.
    pub fn of(study: &Study) -> Self {
        let mut summary = Summary {
            links: names(study.links.iter().map(|l| &l.name), study, |d| &d.link),
            models: names(study.models.iter().map(|m| &m.name), study, |d| &d.model),
            policies: names(study.policies.iter(), study, |d| &d.policy),
            ..Summary::default()
        };
        let mut groups: HashMap<[&str; 3], Vec<&DecisionRow>> = HashMap::new();
        for d in &study.decisions {
            groups.entry([&d.link, &d.model, &d.policy]).or_default().push(d);
        }
        for link in &summary.links {
            for model in &summary.models {
                let info = model_info(study, model);
                for policy in &summary.policies {
                    let Some(decisions) = groups.get(&[link.as_str(), model, policy]) else {
                        continue;
                    };
                    summary.rows.push(ModelRow {
                        link: link.clone(),
                        model: model.clone(),
                        policy: policy.clone(),
                        figures: Figures::of(decisions),
                        wcet_ns: info.map(|m| m.wcet_ns),
                        deadline_ns: info.map(|m| m.deadline_ns),
                    });
                }
            }
            for policy in &summary.policies {
                let of_models = summary.models.iter().filter_map(|m| {
                    let key: [&str; 3] = [link, m, policy];
                    groups.get(&key)
                });
                let all: Vec<&DecisionRow> = of_models.flatten().copied().collect();
                if !all.is_empty() {
                    let figures = Figures::of(&all);
                    let (link, policy) = (link.clone(), policy.clone());
                    summary.totals.push(PolicyTotal { link, policy, figures });
                }
            }
        }
        summary.verdicts = summary.verdicts();
        summary
    }

    /// The numbers of one model under one policy over one link.
    pub fn row(&self, link: &str, model: &str, policy: &str) -> Option<&ModelRow> {
        self.rows.iter().find(|r| r.link == link && r.model == model && r.policy == policy)
    }

    /// The numbers of one policy over one link.
    pub fn total(&self, link: &str, policy: &str) -> Option<&Figures> {
        let found = self.totals.iter().find(|t| t.link == link && t.policy == policy);
        found.map(|t| &t.figures)
    }

    /// The policies that decide: neither all-local nor all-fog.
    pub fn deciding(&self) -> impl Iterator<Item = &String> {
        self.policies.iter().filter(|p| *p != ALL_LOCAL && *p != ALL_FOG)
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let judge = |total: &PolicyTotal| {
            let fixed = [ALL_LOCAL, ALL_FOG];
            let other = |p| Some((p, self.total(&total.link, p)?.total_ns));
            let (best, best_ns) = fixed.iter().filter_map(|&p| other(p)).min_by_key(|o| o.1)?;
            let total_ns = total.figures.total_ns;
            let deciding = !fixed.contains(&total.policy.as_str());
            deciding.then(|| Verdict {
                link: total.link.clone(),
                policy: total.policy.clone(),
                total_ns,
                best: best.to_owned(),
                best_ns,
                within: total_ns as f64 <= best_ns as f64 * (1.0 + TOLERANCE),
            })
        };
        self.totals.iter().filter_map(judge).collect()
    }
}

/// What the study says of a model.
pub(super) fn model_info<'a>(study: &'a Study, name: &str) -> Option<&'a ModelInfo> {
    study.models.iter().find(|m| m.name == name)
}

/// `listed`, then what only the decisions name, each once.
fn names<'a>(
    listed: impl Iterator<Item = &'a String>,
    study: &'a Study,
    of: fn(&DecisionRow) -> &String,
) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in listed.chain(study.decisions.iter().map(of)) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::synthetic;
    use super::*;

    #[test]
    fn the_numbers_equal_those_computed_by_hand() {
        // See `synthetic::by_hand`: one link, one model, 4 inputs a policy.
        let summary = Summary::of(&synthetic::by_hand());
        let threshold = &summary.row("wifi", "cnn", "threshold").unwrap().figures;
        assert_eq!(
            threshold,
            &Figures {
                inputs: 4,
                right: 3,
                offloaded: 3,
                fallbacks: 1,
                misses: 1,
                total_ns: 4_000_000 + 5_000_000 + 10_000_000 + 31_000_000,
                median_ns: Some(5_000_000),
                p99_ns: Some(31_000_000),
                max_ns: Some(31_000_000),
                tl_ns: Some(3_000_000),
                tf_ns: Some(1_000_000),
            }
        );
        let row = summary.row("wifi", "cnn", "all-local").unwrap();
        assert_eq!((row.wcet_ns, row.deadline_ns), (Some(12_000_000), Some(30_000_000)));
        assert_eq!(row.figures.total_ns, 40_000_000);
        assert_eq!((row.figures.tl_ns, row.figures.offloaded), (None, 0));
    }

    #[test]
    fn a_policy_is_held_against_the_better_of_the_two_that_do_not_decide() {
        let summary = Summary::of(&synthetic::by_hand());
        assert_eq!(
            summary.verdicts,
            [Verdict {
                link: "wifi".into(),
                policy: "threshold".into(),
                total_ns: 50_000_000,
                best: "all-fog".into(),
                best_ns: 20_000_000,
                within: false,
            }]
        );
    }

    #[test]
    fn five_percent_above_the_best_is_within_and_a_nanosecond_more_is_not() {
        let mut study = synthetic::by_hand();
        study.decisions.retain(|d| d.sequence == 0);
        let set = |study: &mut Study, policy: &str, ns| {
            study.decisions.iter_mut().find(|d| d.policy == policy).unwrap().latency_ns = ns;
        };
        set(&mut study, ALL_LOCAL, 1_000);
        set(&mut study, ALL_FOG, 2_000);
        set(&mut study, "threshold", 1_050);
        assert!(Summary::of(&study).verdicts[0].within);
        set(&mut study, "threshold", 1_051);
        assert!(!Summary::of(&study).verdicts[0].within);
    }

    #[test]
    fn totals_are_over_all_models() {
        let study = synthetic::study(3);
        let summary = Summary::of(&study);
        for total in &summary.totals {
            let rows =
                summary.rows.iter().filter(|r| r.link == total.link && r.policy == total.policy);
            assert_eq!(total.figures.total_ns, rows.map(|r| r.figures.total_ns).sum::<u64>());
        }
        let inputs: usize = summary.totals.iter().map(|t| t.figures.inputs).sum();
        assert_eq!(inputs, study.decisions.len());
    }

    #[test]
    fn an_empty_study_has_an_empty_summary() {
        assert_eq!(Summary::of(&synthetic::empty()), Summary::default());
    }

    #[test]
    fn decisions_that_name_what_the_study_does_not_list_are_kept() {
        let mut study = synthetic::by_hand();
        study.models.clear();
        study.links.clear();
        study.policies.clear();
        let summary = Summary::of(&study);
        assert_eq!(summary.rows.len(), 3);
        assert_eq!(summary.rows[0].wcet_ns, None);
    }
}
