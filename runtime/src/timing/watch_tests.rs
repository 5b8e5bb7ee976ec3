//! The bound at run time, on recorded times.

use super::*;
use crate::timing::bound::Basis;
use crate::timing::testing::{LONGEST, calibration};

const RULE: BoundRule = BoundRule { exceedance: 1e-9, margin: 0.1 };

#[test]
fn executions_within_the_bound_are_counted_and_change_nothing() {
    let watch = Watch::new(calibration(), RULE);
    let bound = watch.bound();
    assert_eq!((bound.time, bound.basis), (LONGEST * 11 / 10, Basis::Observed { margin: 0.1 }));
    assert_eq!(watch.quantile(0.5), None);
    for us in 1..=1_000 {
        assert!(!watch.observe(Duration::from_micros(us)));
    }
    assert!(!watch.observe(bound.time), "the bound itself is within it");
    assert_eq!((watch.bound(), watch.seen().runs, watch.seen().exceeded), (bound, 1_001, 0));
    let median = watch.quantile(0.5).unwrap().as_secs_f64();
    assert!((median / 500e-6 - 1.0).abs() < 0.02, "{median}");
}

#[test]
fn an_execution_over_the_bound_is_counted_and_raises_it() {
    let watch = Watch::new(calibration(), RULE);
    assert!(watch.observe(LONGEST * 2));
    assert_eq!(watch.bound().time, Duration::from_micros(2_200));
    assert_eq!(watch.bound().basis, Basis::Raised { margin: 0.1 });
    // Under the raised bound, so nothing.
    assert!(!watch.observe(Duration::from_micros(2_100)));
    assert!(watch.observe(LONGEST * 3));
    assert_eq!((watch.seen().runs, watch.seen().exceeded), (3, 2));
    assert_eq!(watch.seen().highest, LONGEST * 3);
    // An execution that takes for ever is a time like any other.
    assert!(watch.observe(Duration::MAX));
    assert!(watch.bound().time > Duration::from_secs(3_600));
}

#[test]
fn a_raised_bound_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path()).unwrap();
    let claims = calibration().claims;
    store.save(&calibration()).unwrap();
    let watch = Watch::kept(store.load(&claims).unwrap(), RULE, store.clone()).unwrap();
    watch.observe(LONGEST * 2);
    watch.observe(LONGEST);
    let raised = watch.bound();
    drop(watch);

    let again = Watch::new(store.load(&claims).unwrap(), RULE);
    assert_eq!((again.bound(), again.seen().runs, again.seen().exceeded), (raised, 2, 1));
}

#[test]
fn who_measures_anew_forgets_what_raised_the_bound() {
    let watch = Watch::new(calibration(), RULE);
    let bound = watch.bound();
    watch.observe(LONGEST * 2);
    assert_ne!(watch.bound(), bound);
    watch.renew(calibration());
    assert_eq!((watch.bound(), watch.seen().runs, watch.quantile(0.5)), (bound, 0, None));
}

#[test]
fn a_bound_is_raised_all_the_same_where_it_cannot_be_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path().join("gone")).unwrap();
    std::fs::remove_dir(directory.path().join("gone")).unwrap();
    let watch = Watch::kept(calibration(), RULE, store).unwrap();
    assert!(watch.observe(LONGEST * 2));
    assert_eq!(watch.bound().time, Duration::from_micros(2_200));
}
