//! `leeway bundle`: modules in one file, for devices without a network.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use leeway_contract::section;
use leeway_distribution::{Artifact, Bundle, BundleWriter};

use super::print;
use crate::registry;

/// Put modules with their signatures into one file (an OCI image layout), or take
/// them out.
#[derive(Args)]
pub struct Arguments {
    /// The components to put in; or one bundle, with --list or --extract.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The bundle to write. A signature MODEL.wasm.sig goes with its module.
    #[arg(short, long, value_name = "FILE.tar", required_unless_present_any = ["list", "extract"])]
    output: Option<PathBuf>,
    /// Show what is in a bundle.
    #[arg(long, conflicts_with_all = ["output", "extract"])]
    list: bool,
    /// Take the modules of a bundle out, as NAME-VERSION.wasm.
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    extract: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(output) = &arguments.output {
        return write(&arguments.files, output);
    }
    let [bundle] = &arguments.files[..] else {
        bail!("wanted one bundle, seen {} files", arguments.files.len());
    };
    let bundle = Bundle::open(bundle)?;
    match &arguments.extract {
        Some(folder) => extract(&bundle, folder),
        None => list(&bundle),
    }
}

fn write(files: &[PathBuf], output: &Path) -> anyhow::Result<()> {
    let mut writer = BundleWriter::default();
    for path in files {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let certificate = section::read_certificate(&bytes);
        let model = certificate.with_context(|| path.display().to_string())?.model;
        let signatures = registry::signatures(path, &[])?;
        let artifact = Artifact::of_component(bytes)?;
        writer.add(&format!("{}:{}", model.name, model.version), &artifact, &signatures)?;
    }
    // Under its name only once all of it is there: the stick may be pulled out.
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))
        .with_context(|| output.display().to_string())?;
    writer.write(std::io::BufWriter::new(&mut file))?;
    file.as_file().sync_all()?;
    file.persist(output).with_context(|| output.display().to_string())?;
    print(&format!("{}: {} modules", output.display(), files.len()))
}

fn list(bundle: &Bundle) -> anyhow::Result<()> {
    for module in bundle.modules() {
        print(&format!(
            "{}\n  component   {}\n  bytes       {}\n  signatures  {}",
            module.name,
            module.component.digest,
            module.component.bytes,
            module.signatures.len()
        ))?;
    }
    Ok(())
}

fn extract(bundle: &Bundle, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for module in bundle.modules() {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        bundle.copy(&module.component, &mut file)?;
        // The name in the certificate, and not what the bundle's index says.
        let certificate = section::read_certificate(&std::fs::read(file.path())?)?;
        let name = format!("{}-{}.wasm", certificate.model.name, certificate.model.version);
        if name.contains(['/', '\\']) || name.starts_with('.') {
            bail!("a module's name is no file name: {name:?}");
        }
        let path = folder.join(name);
        file.persist(&path).with_context(|| path.display().to_string())?;
        registry::write_signatures(&path, &module.signatures)?;
        print(&path.display().to_string())?;
    }
    Ok(())
}
