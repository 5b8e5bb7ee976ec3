//! Calibrations on disk: kept, refused and corrupt.

use super::*;
use crate::timing::device::Device;
use crate::timing::testing::calibration;

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::new(directory.path().join("calibrations")).unwrap();
    (directory, store)
}

#[test]
fn what_was_saved_is_loaded_and_replaced_as_a_whole() {
    let (_directory, store) = store();
    let mut one = calibration();
    let path = store.save(&one).unwrap();
    let loaded = store.load(&one.claims).unwrap();
    assert!(loaded.claims == one.claims && loaded.samples == one.samples);
    assert_eq!(loaded.real_time, one.real_time);
    assert_eq!(loaded.warm.whole.quantiles, one.warm.whole.quantiles);
    let rule = crate::timing::BoundRule::default();
    assert_eq!(loaded.bound(&rule), one.bound(&rule));
    assert_eq!(loaded.stage_bounds(&rule), one.stage_bounds(&rule));
    one.seen.runs = 7;
    assert_eq!(store.save(&one).unwrap(), path);
    assert_eq!(store.load(&one.claims).unwrap().seen.runs, 7);
    assert_eq!(read_file(&path).unwrap().seen.runs, 7);
    // Nothing of the first one, and no temporary file, is left.
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn another_module_device_or_engine_is_refused_by_the_claim() {
    let (_directory, store) = store();
    let one = calibration();
    store.save(&one).unwrap();
    let claims = |change: &dyn Fn(&mut Claims)| {
        let mut claims = one.claims.clone();
        change(&mut claims);
        claims
    };
    let refused = |change: &dyn Fn(&mut Claims)| store.load(&claims(change)).unwrap_err();

    let error = refused(&|c| c.module = Digest::of(b"another"));
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    for (change, claim, wanted, seen) in [
        (
            &(|c: &mut Claims| c.device.governor = Some("powersave".into()))
                as &dyn Fn(&mut Claims),
            "governor",
            "powersave",
            "unknown",
        ),
        (&|c| c.engine_hash = "ffff".into(), "engine hash", "ffff", "0123456789abcdef"),
        (&|c| c.engine = crate::sandbox::EngineKind::Pulley, "engine", "pulley", "native"),
        (&|c| c.device = Device { core: Some(3), ..c.device.clone() }, "core", "3", "1"),
    ] {
        let text = refused(change).to_string();
        assert!([claim, wanted, seen].iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn a_file_of_another_module_under_this_ones_name_is_refused() {
    let (_directory, store) = store();
    let mut one = calibration();
    let path = store.save(&one).unwrap();
    let claims = one.claims.clone();
    one.claims.module = Digest::of(b"another");
    fs::write(&path, serde_json::to_vec(&one).unwrap()).unwrap();
    let error = store.load(&claims).unwrap_err();
    assert!(matches!(error, StoreError::Claim { claim: "module", .. }), "{error}");
}

#[test]
fn torn_and_decayed_files_are_refused_and_say_what_to_do() {
    let (_directory, store) = store();
    let one = calibration();
    let path = store.save(&one).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len() - 2).step_by(97) {
        fs::write(&path, &whole[..length]).unwrap();
        let error = store.load(&one.claims).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{length}: {error}");
        assert!(error.to_string().contains("calibrate again"), "{error}");
    }
    let text = String::from_utf8(whole).unwrap();
    for (from, to, reason) in [
        ("\"format\":1", "\"format\":2", "format 2"),
        ("\"highest_observed_ns\":1000000", "\"highest_observed_ns\":5", "highest"),
        ("\"upper_ns\":null", "\"upper_ns\":true", "true"),
        ("\"runs\":60", "\"runs\":-60", "-60"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        fs::write(&path, changed).unwrap();
        let error = store.load(&one.claims).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_calibration_without_its_stages_is_refused() {
    let (_directory, store) = store();
    let mut one = calibration();
    one.cold = Some(one.warm.clone());
    one.cold.as_mut().unwrap().stages.pop();
    fs::write(store.path(&one.claims), serde_json::to_vec(&one).unwrap()).unwrap();
    let error = store.load(&one.claims).unwrap_err().to_string();
    assert!(error.contains("stages"), "{error}");
}

#[test]
fn every_field_is_in_the_schema_and_the_other_way_round() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../calibration.schema.json")).unwrap();
    let mut one = calibration();
    one.cold = Some(one.warm.clone());
    one.samples[0].causes = crate::timing::Cause::ALL.to_vec();
    one.speed = Some(crate::thermal::SpeedSeen { lowest_khz: 1, highest_khz: 2, throttled: 3 });
    one.energy = Some(crate::power::PerInference {
        joules: 0.5,
        basis: crate::power::Basis::MeasuredWithIdle,
        busy_watts: 2.5,
        idle_watts: None,
        execution: super::super::testing::LONGEST,
        runs: 7,
        window: 7 * super::super::testing::LONGEST,
        domain: Some(crate::power::Domain::Processor),
        sensors: vec!["rapl:package-0".into()],
        instead: None,
    });
    let value = serde_json::to_value(&one).unwrap();
    assert_fits(&value, &schema, &schema, "");
}

/// A small part of JSON Schema: types, properties without others, items, choices
/// and references.
fn assert_fits(
    value: &serde_json::Value,
    schema: &serde_json::Value,
    root: &serde_json::Value,
    at: &str,
) {
    use serde_json::Value;
    if let Some(name) = schema["$ref"].as_str() {
        let definition = root.pointer(name.trim_start_matches('#'));
        return assert_fits(value, definition.expect(name), root, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if let Some(choices) = schema["anyOf"].as_array() {
        let of_kind = choices.iter().find(|c| match c["type"].as_str() {
            Some(wanted) => wanted == kind,
            // A reference; all of them are to objects.
            None => kind == "object",
        });
        return assert_fits(value, of_kind.unwrap_or_else(|| panic!("{at}: {kind}")), root, at);
    }
    let wanted = &schema["type"];
    let fits = |wanted: &str| wanted == kind || (wanted == "number" && kind == "integer");
    let types = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
    assert!(types.iter().any(|t| t.as_str().is_some_and(fits)), "{at}: {kind}, wanted {wanted}");
    match value {
        Value::Object(fields) => {
            let properties = schema["properties"].as_object().expect(at);
            for (name, field) in fields {
                let property = properties.get(name).unwrap_or_else(|| panic!("{at}.{name}"));
                assert_fits(field, property, root, &format!("{at}.{name}"));
            }
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(fields.contains_key(name.as_str().unwrap()), "{at} lacks {name}");
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| assert_fits(item, &schema["items"], root, at));
        }
        Value::String(text) => {
            let choices = schema["enum"].as_array();
            assert!(choices.is_none_or(|all| all.iter().any(|c| c == text)), "{at}: {text}");
        }
        _ => {}
    }
}
