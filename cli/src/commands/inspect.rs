//! `leeway inspect`: what a component's certificate says, as a table and as JSON.
//! Nothing of the component is run, unless a profile is asked for.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use comfy_table::{Cell, CellAlignment, LineStyle, Table, presets};
use leeway_contract::certificate::Layer;
use leeway_contract::{Certificate, Digest, TensorSpec, section};
use leeway_runtime::sandbox::EngineKind;
use serde::Serialize;

use super::{print, print_json};
use crate::profile::{self, StageTime};
use crate::units;

/// Show what a component's certificate says of it.
#[derive(Args)]
pub struct Arguments {
    /// The component.
    component: PathBuf,
    /// Run the stages one by one, and show where the time goes.
    #[arg(long)]
    profile: bool,
    /// What executes them then.
    #[arg(long, default_value = "native", value_name = "native|pulley", requires = "profile")]
    engine: EngineKind,
    /// Print the certificate as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Inspected<'a> {
    digest: Digest,
    component_bytes: usize,
    certified_fuel: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Vec<StageTime>>,
    certificate: &'a Certificate,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = arguments.component.display();
    let bytes =
        std::fs::read(&arguments.component).with_context(|| format!("cannot read {path}"))?;
    let certificate = section::read_certificate(&bytes).with_context(|| path.to_string())?;
    section::read_golden(&bytes, &certificate).with_context(|| path.to_string())?;
    let digest = Digest::of(&bytes);
    let profile =
        arguments.profile.then(|| profile::stages(&bytes, arguments.engine)).transpose()?;
    match arguments.json {
        true => print_json(&Inspected {
            digest,
            component_bytes: bytes.len(),
            certified_fuel: certificate.total_fuel().0,
            profile,
            certificate: &certificate,
        }),
        false => {
            let mut text = text(&certificate, digest, bytes.len());
            if let Some(profile) = &profile {
                text += &format!("\n\n{}", times(&certificate, profile));
            }
            print(&text)
        }
    }
}

fn text(certificate: &Certificate, digest: Digest, component_bytes: usize) -> String {
    let specs = |specs: &[TensorSpec]| {
        specs.iter().map(TensorSpec::to_string).collect::<Vec<_>>().join(", ")
    };
    let lines = [
        ("model", format!("{} {}", certificate.model.name, certificate.model.version)),
        ("digest", digest.to_string()),
        ("source", certificate.model.source.to_string()),
        ("compiler", format!("{} {}", certificate.compiler.name, certificate.compiler.version)),
        (
            "engine",
            format!(
                "wasmtime {}, fuel table {}",
                certificate.engine.wasmtime,
                certificate.engine.fuel_table.short()
            ),
        ),
        ("inputs", specs(certificate.inputs())),
        ("outputs", specs(certificate.outputs())),
        ("labels", certificate.labels.as_ref().map_or("none".into(), |l| l.join(", "))),
        (
            "fuel",
            format!("{} for each inference ({:?})", certificate.total_fuel(), certificate.bound())
                .to_lowercase(),
        ),
        (
            "memory",
            format!(
                "{} in all, {} of them activations",
                units::bytes(certificate.memory_bytes),
                units::bytes(certificate.activation_bytes)
            ),
        ),
        (
            "component",
            format!(
                "{}, {} golden vectors",
                units::bytes(component_bytes as u64),
                certificate.golden.len()
            ),
        ),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        text += &format!("{name:<10} {value}\n");
    }
    text + "\n" + &layers(certificate).to_string()
}

fn table(header: &[&str], right: &[usize], rows: Vec<Vec<Cell>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(header);
    table.add_rows(rows);
    for &column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn layers(certificate: &Certificate) -> Table {
    let header =
        ["stage", "layer", "operator", "kernel", "output", "MACs", "weights", "fuel", "share"];
    let total = certificate.total_fuel().0.max(1) as f64;
    let rows = certificate.stages.iter().enumerate().flat_map(|(number, stage)| {
        stage.layers.iter().map(move |layer| row(number, layer, total))
    });
    table(&header, &[0, 5, 6, 7, 8], rows.collect())
}

/// The profile, a row for each stage.
fn times(certificate: &Certificate, profile: &[StageTime]) -> Table {
    let rows = certificate.stages.iter().zip(profile).map(|(stage, time)| {
        let fuel = stage.fuel.compute.0.max(1);
        vec![
            Cell::new(time.stage),
            Cell::new(&stage.name),
            Cell::new(units::duration(Duration::from_nanos(time.median_ns))),
            Cell::new(format!("{:.1} %", 100.0 * time.share)),
            Cell::new(format!("{:.1}", 2.0 * stage.macs as f64 / time.median_ns.max(1) as f64)),
            Cell::new(format!("{:.4}", time.median_ns as f64 / fuel as f64)),
        ]
    });
    let header = ["stage", "up to", "time", "share", "GFLOP/s", "ns per fuel"];
    table(&header, &[0, 2, 3, 4, 5], rows.collect())
}

fn row(stage: usize, layer: &Layer, total_fuel: f64) -> Vec<Cell> {
    let shape: Vec<String> = layer.shape.iter().map(u32::to_string).collect();
    vec![
        Cell::new(stage),
        Cell::new(&layer.name),
        Cell::new(&layer.operator),
        Cell::new(&layer.kernel),
        Cell::new(shape.join("x")),
        Cell::new(units::count(layer.macs)),
        Cell::new(units::bytes(layer.weight_bytes)),
        Cell::new(layer.fuel),
        Cell::new(format!("{:.1} %", 100.0 * layer.fuel.0 as f64 / total_fuel)),
    ]
}
