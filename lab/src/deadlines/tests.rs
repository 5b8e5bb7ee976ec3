//! The study over made-up times: what it claims holds, whatever is drawn.

use std::time::Duration;

use super::*;
use crate::report;

/// A study of the smallest reference models that never measures anything.
fn study(seed: u64) -> DeadlineStudy {
    let models: Vec<Model> = crate::prepare::prepare_reference_models().unwrap();
    let config = Config { seed, seconds: 6, draws: 1, ..Config::new(models) };
    let sandbox = leeway_runtime::sandbox::Sandbox::new(Default::default()).unwrap();
    let timed = |(i, model): (usize, &Model)| {
        let module = sandbox.load(&model.component).unwrap();
        let device = 2_000_000 * (i as u64 + 1);
        Timed {
            name: model.name.clone(),
            digest: module.digest(),
            certificate: module.certificate().clone(),
            device_ns: (0..20).map(|k| device + k * device / 100).collect(),
            fog_ns: (0..20).map(|k| device / 50 + k * 1_000).collect(),
            wcet: Duration::from_nanos(device),
            shares: vec![0.25; 4],
        }
    };
    let timed: Vec<Timed> = config.models.iter().enumerate().map(timed).collect();
    of_timed(&config, &timed, Instant::now(), &mut |_, _| ()).unwrap()
}

#[test]
fn no_admitted_deadline_is_missed_and_each_policy_answers_the_same_inputs() {
    for seed in 0..2 {
        let study = study(seed);
        let of = |policy: &PolicyInfo| report::deadlines::of_policy(&study, &policy.name);
        let inputs = of(&study.policies[0]).inputs;
        assert!(inputs > 1_000);
        for policy in &study.policies {
            let sums = of(policy);
            assert_eq!(sums.inputs, inputs, "seed {seed}, {}", policy.name);
            if policy.compensated {
                assert_eq!(sums.missed, 0, "seed {seed}, {}", policy.name);
            }
        }
        // Waiting for a fog host that is gone misses deadlines.
        let named = |name: &str| report::deadlines::of_policy(&study, name);
        assert!(named("all-fog").missed > 0);
        // The oracle is about the best, and the policy is not far from it.
        let ratio = |name: &str| {
            let sums = named(name);
            sums.total_ns as f64 / sums.hindsight_ns as f64
        };
        assert_eq!(ratio("hindsight"), 1.0);
        for policy in &study.policies {
            assert!(
                ratio(&policy.name) > 0.97,
                "seed {seed}: {} {}",
                policy.name,
                ratio(&policy.name)
            );
        }
        let aware = ratio("deadline-aware");
        assert!(aware < 1.3 && aware < ratio("all-local"), "seed {seed}: {aware}");
    }
}

#[test]
fn the_same_seed_gives_the_same_study() {
    let json = |study: DeadlineStudy| serde_json::to_value(study.outcomes).unwrap();
    assert_eq!(json(study(3)), json(study(3)));
}

#[test]
fn the_page_is_well_formed_and_its_numbers_parse() {
    let study = study(1);
    let page = report::deadlines::html(&study);
    let text = page.replacen("<!DOCTYPE html>\n", "", 1);
    let document = roxmltree::Document::parse(&text).unwrap();
    let figures = document.descendants().filter(|node| node.has_tag_name("svg")).count();
    assert_eq!(figures, study.policies.len() + 3);
    let folder = tempfile::tempdir().unwrap();
    let index = report::deadlines::write(&study, folder.path()).unwrap();
    assert!(index.exists());
    let rows = csv::Reader::from_path(folder.path().join("outcomes.csv")).unwrap().into_records();
    assert_eq!(rows.count(), study.outcomes.len());
    let json = std::fs::read(folder.path().join("study.json")).unwrap();
    let back: DeadlineStudy = serde_json::from_slice(&json).unwrap();
    assert_eq!(back.outcomes.len(), study.outcomes.len());
}

#[test]
fn a_link_over_time_has_a_condition_at_every_time() {
    for scenario in scenarios(5, 60, 2, &[]) {
        assert!(scenario.conditions.is_sorted_by_key(|condition| condition.from));
        assert_eq!(scenario.conditions[0].from, Duration::ZERO, "{}", scenario.name);
        for second in 0..60 {
            let at = Duration::from_secs(second);
            let condition = scenario.at(at);
            assert!(condition.from <= at);
            let resumes = scenario.resumes(at);
            assert!(resumes.is_none_or(|later| scenario.at(later).profile.is_some()));
            assert_eq!(resumes == Some(at), condition.profile.is_some());
        }
    }
}
