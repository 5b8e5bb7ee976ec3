//! The rules in simulated time.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::recorded::{JETSON_ORIN, RASPBERRY_PI_4, Tree};

fn rules() -> Rules {
    Rules {
        soft_celsius: 70.0,
        hard_celsius: 80.0,
        throttled_khz: None,
        hysteresis_celsius: 5.0,
        hold_seconds: 10.0,
        step_seconds: 5.0,
        degrade: vec!["camera".into(), "sound".into(), "vibration".into()],
    }
}

/// Feeds a temperature each second, and tells the advice after each.
fn play(machine: &mut Machine, from: u64, celsius: &[f64]) -> Vec<(Level, usize)> {
    let seconds = celsius.iter().enumerate();
    let advice = seconds.map(|(i, celsius)| {
        let now = Duration::from_secs(from + i as u64);
        let advice = machine.observe(now, Some((celsius * 1e3) as i64));
        (advice.level, advice.degraded)
    });
    advice.collect()
}

#[test]
fn the_soft_limit_prefers_the_fog_until_it_has_been_cool_for_a_while() {
    let mut machine = Machine::new(rules()).unwrap();
    let seen = play(&mut machine, 0, &[60.0, 69.9, 70.0, 66.0, 69.0]);
    assert_eq!(seen.map_levels(), "nnwww");
    assert!(machine.advice().prefers_fog());
    // 64 °C is below by the hysteresis: after ten seconds it is over.
    let seen = play(&mut machine, 5, &[64.0; 12]);
    assert_eq!(seen.map_levels(), "wwwwwwwwwwnn");
    // One warm second in between begins it anew.
    let mut machine = Machine::new(rules()).unwrap();
    let mut celsius = [64.0; 18];
    (celsius[0], celsius[8]) = (71.0, 66.0);
    assert_eq!(play(&mut machine, 0, &celsius).map_levels(), "w".repeat(18));
}

#[test]
fn the_hard_limit_degrades_streams_in_order_and_brings_them_back_in_reverse() {
    let mut machine = Machine::new(rules()).unwrap();
    let seen = play(&mut machine, 0, &[82.0; 20]);
    let degraded: Vec<usize> = seen.iter().map(|&(_, degraded)| degraded).collect();
    assert_eq!(degraded[..12], [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3]);
    assert_eq!(machine.degraded(), ["camera", "sound", "vibration"]);
    // Between the limit less the hysteresis and the limit, nothing changes.
    assert_eq!(play(&mut machine, 20, &[77.0; 60]).last(), Some(&(Level::Hot, 3)));
    let seen = play(&mut machine, 80, &[72.0; 40]);
    let degraded: Vec<usize> = seen.iter().map(|&(_, degraded)| degraded).collect();
    assert_eq!((degraded[9], degraded[10], degraded[20], degraded[30]), (3, 2, 1, 0));
    assert_eq!(seen[30].0, Level::Warm);
    assert_eq!(seen[39].0, Level::Warm);
    assert!(machine.degraded().is_empty());
}

#[test]
fn without_a_sensor_it_counts_as_warm_after_a_while() {
    let mut machine = Machine::new(rules()).unwrap();
    let mut blind = |at| machine.observe(Duration::from_secs(at), None).level;
    assert_eq!((blind(1), blind(29), blind(30)), (Level::Normal, Level::Normal, Level::Warm));
    let seen = play(&mut machine, 31, &[50.0; 12]);
    assert_eq!(seen.last().unwrap().0, Level::Normal);
}

#[test]
fn whatever_the_temperature_does_limits_act_at_once_and_nothing_flaps() {
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut machine = Machine::new(rules()).unwrap();
        let (mut celsius, mut before) = (60.0, Advice::default());
        let mut lowered = None;
        for second in 0..2_000u64 {
            celsius = (celsius + rng.random_range(-3.0..3.0_f64)).clamp(40.0, 95.0);
            let now = Duration::from_secs(second);
            let advice = machine.observe(now, Some((celsius * 1e3) as i64));
            assert!(celsius < 70.0 || advice.level >= Level::Warm, "seed {seed}, {second} s");
            assert!(celsius < 80.0 || advice.level == Level::Hot, "seed {seed}, {second} s");
            assert!(celsius < 80.0 || advice.degraded > 0, "seed {seed}, {second} s");
            assert!(advice.degraded == 0 || advice.level == Level::Hot, "seed {seed}");
            assert!(advice.degraded <= 3 && advice.degraded.abs_diff(before.degraded) <= 1);
            let down = advice.level < before.level || advice.degraded < before.degraded;
            if down {
                assert!(celsius < 75.0, "seed {seed}, {second} s: {celsius}");
                assert!(lowered.is_none_or(|at| second - at >= 10), "seed {seed}, {second} s");
                lowered = Some(second);
            }
            before = advice;
        }
        let end = play(&mut machine, 2_000, &[45.0; 60]);
        assert_eq!(end.last(), Some(&(Level::Normal, 0)), "seed {seed}");
    }
}

#[test]
fn limits_follow_from_a_machines_trip_points() {
    let rules = |text| Rules::for_zones(&Zone::all(&Tree::parse(text).root()));
    let jetson = rules(JETSON_ORIN);
    assert_eq!((jetson.soft_celsius, jetson.hard_celsius), (87.5, 97.5));
    let raspberry = rules(RASPBERRY_PI_4);
    assert_eq!((raspberry.soft_celsius, raspberry.hard_celsius), (75.0, 85.0));
    assert_eq!((jetson.check(), raspberry.check()), (Ok(()), Ok(())));
}

#[test]
fn rules_that_contradict_themselves_are_refused() {
    let refused = |change: fn(&mut Rules)| {
        let mut rules = rules();
        change(&mut rules);
        Machine::new(rules).unwrap_err().name
    };
    assert_eq!(refused(|rules| rules.hard_celsius = 60.0), "hard_celsius");
    assert_eq!(refused(|rules| rules.soft_celsius = f64::NAN), "soft_celsius");
    assert_eq!(refused(|rules| rules.hysteresis_celsius = -1.0), "hysteresis_celsius");
    assert_eq!(refused(|rules| rules.hold_seconds = f64::INFINITY), "hold_seconds");
    assert_eq!(refused(|rules| rules.step_seconds = -0.5), "step_seconds");
}

/// Levels as letters.
trait Levels {
    fn map_levels(&self) -> String;
}

impl Levels for Vec<(Level, usize)> {
    fn map_levels(&self) -> String {
        let letter = |&(level, _): &(Level, usize)| match level {
            Level::Normal => 'n',
            Level::Warm => 'w',
            Level::Hot => 'h',
        };
        self.iter().map(letter).collect()
    }
}
