//! What `leeway inspect` shows to people.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, presets};
use leeway_contract::certificate::Layer;
use leeway_contract::{Certificate, TensorSpec};

use super::Inspected;
use super::measured::{LayerTime, Measured};
use crate::units;

/// How many characters of a layer's name are shown.
const NAME: usize = 20;

/// How many of its operator and its kernel.
const KIND: usize = 14;

/// How many characters a full bar has.
const BAR: f64 = 8.0;

/// The head, and the table of layers.
pub fn text(inspected: &Inspected) -> String {
    let mut text = String::new();
    for (name, value) in head(inspected) {
        text += &format!("{name:<12} {value}\n");
    }
    let table = match &inspected.profile {
        Some(profile) => times(&inspected.certificate, profile),
        None => layers(&inspected.certificate),
    };
    text + "\n" + &table.to_string()
}

/// Whether machines agree to the bit.
fn bits(certificate: &Certificate) -> String {
    certificate.tolerance().map_or("the same on every machine".into(), |tolerance| {
        format!("relaxed SIMD: outputs of two machines differ by up to {tolerance:e}")
    })
}

fn head(inspected: &Inspected) -> Vec<(&'static str, String)> {
    let certificate = &inspected.certificate;
    let specs = |specs: &[TensorSpec]| {
        specs.iter().map(TensorSpec::to_string).collect::<Vec<_>>().join(", ")
    };
    let engine = &certificate.engine;
    let bound = format!("{:?}", certificate.bound()).to_lowercase();
    let mut lines = vec![
        ("model", format!("{} {}", certificate.model.name, certificate.model.version)),
        ("digest", inspected.digest.to_string()),
        ("source", certificate.model.source.to_string()),
        ("compiler", format!("{} {}", certificate.compiler.name, certificate.compiler.version)),
        (
            "engine",
            format!("wasmtime {}, fuel table {}", engine.wasmtime, engine.fuel_table.short()),
        ),
        ("inputs", specs(certificate.inputs())),
        ("outputs", specs(certificate.outputs())),
        ("labels", certificate.labels.as_ref().map_or("none".into(), |l| l.join(", "))),
        ("fuel", format!("{} for each inference ({bound})", certificate.total_fuel())),
        ("bits", bits(certificate)),
        ("memory", units::bytes(certificate.memory_bytes)),
        (
            "activations",
            format!(
                "{}; the fullest layer needs {}, the largest cut {}",
                units::bytes(certificate.activation_bytes),
                units::bytes(inspected.least_activation_bytes),
                units::bytes(inspected.live_bytes),
            ),
        ),
        (
            "component",
            format!(
                "{}, of that {} code; {} golden vectors",
                units::bytes(inspected.component_bytes as u64),
                units::bytes(inspected.code_bytes as u64),
                certificate.golden.len()
            ),
        ),
    ];
    if let Some(profile) = &inspected.profile {
        lines.extend(measured(profile));
    }
    lines
}

fn measured(profile: &Measured) -> [(&'static str, String); 2] {
    let time = |ns| units::duration(Duration::from_nanos(ns));
    [
        (
            "start",
            format!(
                "{} to compile to {} of machine code ({}), {} to instantiate",
                time(profile.compile_ns),
                units::bytes(profile.machine_code_bytes as u64),
                profile.engine,
                time(profile.instantiate_ns)
            ),
        ),
        (
            "time",
            format!(
                "{} for all layers, {} for a whole run with copies in and out (CPU, least of {})",
                time(profile.layers_ns),
                time(profile.whole_ns),
                profile.rounds
            ),
        ),
    ]
}

/// What the certificate says of each layer.
fn layers(certificate: &Certificate) -> Table {
    let header = [
        "#", "layer", "operator", "kernel", "output", "MACs", "weights", "in use", "fuel", "share",
        "",
    ];
    let total = certificate.layers().map(|(_, layer)| layer.fuel.0).sum::<u64>();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (first, number, layer) in numbered(certificate) {
        let share = layer.fuel.0 as f64 / total.max(1) as f64;
        let mut row = description(first, number, layer);
        row.extend([
            units::count(layer.macs),
            units::bytes(layer.weight_bytes),
            units::bytes(layer.activation_bytes),
            units::count(layer.fuel.0),
            percent(share),
            bar(share, certificate.layers().count()),
        ]);
        rows.push(row);
    }
    rows.push(total_row([
        units::count(certificate.macs()),
        units::bytes(certificate.layers().map(|(_, l)| l.weight_bytes).sum()),
        units::bytes(certificate.least_activation_bytes()),
        units::count(total),
        percent(1.0),
        String::new(),
    ]));
    table(&header, &[0, 5, 6, 7, 8, 9], rows)
}

/// The row below those of the layers, which has no [`description`] but its name.
fn total_row(totals: [String; 6]) -> Vec<String> {
    ["", "total", "", "", ""].map(String::from).into_iter().chain(totals).collect()
}

/// What each layer takes here.
fn times(certificate: &Certificate, profile: &Measured) -> Table {
    let header = [
        "#", "layer", "operator", "kernel", "output", "MACs", "fuel", "time", "GFLOP/s", "share",
        "",
    ];
    let gflops = |macs: u64, ns: u64| match macs {
        0 => String::new(),
        _ => format!("{:.1}", 2.0 * macs as f64 / ns.max(1) as f64),
    };
    let time = |ns| units::duration(Duration::from_nanos(ns));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for ((first, number, layer), &LayerTime { ns, share, .. }) in
        numbered(certificate).zip(&profile.layers)
    {
        let mut row = description(first, number, layer);
        row.extend([
            units::count(layer.macs),
            units::count(layer.fuel.0),
            time(ns),
            gflops(layer.macs, ns),
            percent(share),
            bar(share, profile.layers.len()),
        ]);
        rows.push(row);
    }
    rows.push(total_row([
        units::count(certificate.macs()),
        units::count(certificate.layers().map(|(_, l)| l.fuel.0).sum()),
        time(profile.layers_ns),
        gflops(certificate.macs(), profile.layers_ns),
        percent(1.0),
        String::new(),
    ]));
    table(&header, &[0, 5, 6, 7, 8, 9], rows)
}

/// The layers, whether each is the first of its stage, and the stage's number.
fn numbered(certificate: &Certificate) -> impl Iterator<Item = (bool, usize, &Layer)> {
    let stages = certificate.stages.iter().enumerate();
    stages.flat_map(|(number, stage)| {
        stage.layers.iter().enumerate().map(move |(i, layer)| (i == 0, number, layer))
    })
}

fn description(first: bool, stage: usize, layer: &Layer) -> Vec<String> {
    let shape: Vec<String> = layer.shape.iter().map(u32::to_string).collect();
    vec![
        if first { stage.to_string() } else { String::new() },
        short_name(layer),
        beginning(&layer.operator),
        beginning(&layer.kernel),
        shape.join("x"),
    ]
}

/// The end of a layer's name, which tells layers apart. Of the parts of a path,
/// those go that the next one repeats (`features/features.3`), and the operator's
/// name at the end.
fn short_name(layer: &Layer) -> String {
    let parts: Vec<&str> = layer.name.split('/').filter(|part| !part.is_empty()).collect();
    let last = parts.len().saturating_sub(1);
    let says_more = |&i: &usize| match parts.get(i + 1) {
        Some(next) => !next.strip_prefix(parts[i]).is_some_and(|rest| rest.starts_with('.')),
        None => i == 0 || parts[i] != layer.operator,
    };
    let kept: Vec<&str> =
        (0..=last).filter(says_more).filter_map(|i| parts.get(i).copied()).collect();
    let name = kept.join("/");
    let count = name.chars().count();
    match count <= NAME {
        true => name,
        false => format!("…{}", name.chars().skip(count + 1 - NAME).collect::<String>()),
    }
}

fn beginning(text: &str) -> String {
    match text.chars().count() <= KIND {
        true => text.to_owned(),
        false => format!("{}…", text.chars().take(KIND - 1).collect::<String>()),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A bar for a share of `layers` parts: full for a quarter, or for four times an
/// equal part if that is more.
fn bar(share: f64, layers: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let full = (4.0 / layers.max(1) as f64).clamp(0.1, 1.0);
    let eighths = (8.0 * BAR * (share / full).min(1.0)).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(header);
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(Cell::new)));
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_what_tells_them_apart() {
        let short = |name: &str, operator: &str| {
            let json = serde_json::json!({
                "name": name, "operator": operator, "kernel": "", "shape": [], "macs": 0,
                "fuel": 0, "weight_bytes": 0
            });
            short_name(&serde_json::from_value(json).unwrap())
        };
        assert_eq!(short("conv1", "Conv"), "conv1");
        assert_eq!(short("Conv", "Conv"), "Conv");
        assert_eq!(short("/features/features.1/conv/conv.0/Conv", "Conv"), "features.1/conv.0");
        assert_eq!(short("/layer1/layer1.0/Add_output_0", "Add"), "…yer1.0/Add_output_0");
        assert_eq!(short("a_name_of_thirty_characters_ab", "Add").chars().count(), NAME);
        assert_eq!(beginning("GlobalAveragePool"), "GlobalAverage…");
    }

    #[test]
    fn a_bar_is_full_and_never_longer() {
        assert_eq!(bar(1.0, 1), "████████");
        assert_eq!(bar(0.9, 60), "████████");
        assert_eq!(bar(0.05, 60), "████");
        assert_eq!(bar(0.0, 60), "");
    }
}
