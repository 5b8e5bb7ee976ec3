//! Where a module comes from that is deployed or verified: a file, a registry, a
//! bundle, or a fog host. Its signatures come with it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use leeway_contract::Digest;
use leeway_contract::digest::Hasher;
use leeway_deploy::trust::{Envelope, statement};
use leeway_distribution::bundle::BundledModule;
use leeway_distribution::cosign::CosignKey;
use leeway_distribution::{Bundle, DistributionError, ModuleReference, Registry};
use tempfile::TempDir;

use crate::registry::{self, RegistryArguments};

/// Where a module is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleSource {
    /// In a file, with its signature beside it.
    File(PathBuf),
    /// In an OCI registry, with its signatures attached.
    Registry(ModuleReference),
    /// In a bundle, under this name where there are several.
    Bundle(PathBuf, Option<String>),
    /// On a fog host.
    Fog(Digest),
}

/// How a source is reached.
#[derive(Args)]
pub struct SourceArguments {
    /// The fog host that has the module, where that is a digest.
    #[arg(long, value_name = "http://HOST:PORT")]
    from: Option<String>,
    /// The file with the fog host's token.
    #[arg(long, value_name = "FILE", requires = "from")]
    from_token_file: Option<PathBuf>,
    /// A signature of the module, in place of those that come with it.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Refuse a module from a registry unless one of its cosign signatures is by this
    /// key (PEM); may be given more than once.
    #[arg(long = "cosign-key", value_name = "FILE.pub")]
    cosign_keys: Vec<PathBuf>,
    #[command(flatten)]
    registry: RegistryArguments,
}

/// A module that is here.
pub struct Fetched {
    /// The SHA-256 digest of its bytes.
    pub digest: Digest,
    /// The file with them.
    pub path: PathBuf,
    /// What was signed of it, the newest release first.
    pub envelopes: Vec<Envelope>,
    /// Holds the file where it is temporary.
    _folder: Option<TempDir>,
}

impl Fetched {
    /// The texts of its signatures' files.
    pub fn signatures(&self) -> Vec<String> {
        self.envelopes.iter().map(Envelope::to_json).collect()
    }
}

impl FromStr for ModuleSource {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text.starts_with("oci://") {
            return Ok(Self::Registry(text.parse()?));
        }
        if text.starts_with("sha256:") {
            return Ok(Self::Fog(text.parse()?));
        }
        let (path, name) = match text.rsplit_once('#') {
            Some((path, name)) if path.ends_with(".tar") => (path, Some(name.to_owned())),
            _ => (text, None),
        };
        match path.ends_with(".tar") {
            true => Ok(Self::Bundle(path.into(), name)),
            false => Ok(Self::File(path.into())),
        }
    }
}

impl SourceArguments {
    /// The cosign keys that are asked for.
    pub fn cosign_keys(&self) -> &[PathBuf] {
        &self.cosign_keys
    }

    /// Brings the module here. How far it is is drawn on standard error.
    pub fn fetch(&self, source: &ModuleSource) -> anyhow::Result<Fetched> {
        let is_registry = matches!(source, ModuleSource::Registry(_));
        ensure!(is_registry || self.cosign_keys.is_empty(), "--cosign-key is for oci:// only");
        let mut fetched = match source {
            ModuleSource::File(path) => in_file(path)?,
            ModuleSource::Registry(reference) => self.pull(reference)?,
            ModuleSource::Bundle(path, name) => in_bundle(path, name.as_deref())?,
            ModuleSource::Fog(digest) => self.download(*digest)?,
        };
        if let Some(path) = &self.signature {
            fetched.envelopes = vec![envelope_in(path)?];
        }
        Ok(fetched)
    }

    fn pull(&self, reference: &ModuleReference) -> anyhow::Result<Fetched> {
        let keys = cosign_keys(&self.cosign_keys)?;
        let folder = TempDir::new()?;
        let path = folder.path().join("module.wasm");
        let (digest, signatures) = registry::block_on(async {
            let registry = Registry::new(reference, self.registry.options()).await?;
            let resolved = registry.resolve(reference).await?;
            if !keys.is_empty() {
                registry.verify_cosign(reference, &resolved, &keys).await?;
            }
            let signatures = registry.signatures(reference, &resolved).await?;
            let bar = registry::bar(resolved.component.bytes);
            let seen = |bytes| bar.set_position(bytes);
            registry.fetch_file(reference, &resolved, &path, &seen).await?;
            bar.finish_and_clear();
            Ok::<_, DistributionError>((resolved.component.digest, signatures))
        })??;
        Ok(Fetched { digest, path, envelopes: readable(&signatures), _folder: Some(folder) })
    }

    fn download(&self, digest: Digest) -> anyhow::Result<Fetched> {
        let host = self.from.as_deref();
        let host = host.context("a module by digest is on a fog host: give it with --from")?;
        let url = format!("{}/v1/modules/{digest}", host.trim_end_matches('/'));
        let mut response = self.ask(&url)?;
        if !response.status().is_success() {
            let text = response.body_mut().read_to_string()?;
            let message = leeway_protocol::client::error_message(text.as_bytes());
            bail!("{url}: {}: {message}", response.status());
        }
        let bar = registry::bar(response.body().content_length().unwrap_or_default());
        let folder = TempDir::new()?;
        let path = folder.path().join("module.wasm");
        let (mut file, mut hash) = (File::create_new(&path)?, Hasher::default());
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = reader.read(&mut buffer).with_context(|| url.clone())?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
            file.write_all(&buffer[..count])?;
            bar.inc(count as u64);
        }
        bar.finish_and_clear();
        let seen = hash.finish();
        ensure!(seen == digest, "{url} has other bytes: their digest is {seen}");
        // A host that has none says so, and an older one knows of none.
        let mut signature = self.ask(&format!("{url}/signature"))?;
        let signatures = match signature.status().is_success() {
            true => vec![signature.body_mut().read_to_vec()?],
            false => vec![],
        };
        Ok(Fetched { digest, path, envelopes: readable(&signatures), _folder: Some(folder) })
    }

    /// The fog host's answer, whatever it is.
    fn ask(&self, url: &str) -> anyhow::Result<ureq::http::Response<ureq::Body>> {
        let mut request = ureq::get(url);
        if let Some(path) = &self.from_token_file {
            let token =
                std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            request = request.header("authorization", format!("Bearer {}", token.trim()));
        }
        let request = request.config().http_status_as_error(false).build();
        request.call().with_context(|| url.to_owned())
    }
}

/// Reads cosign's public keys.
pub fn cosign_keys(files: &[PathBuf]) -> anyhow::Result<Vec<CosignKey>> {
    let read = |path: &PathBuf| {
        let pem = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        CosignKey::from_pem(&pem).with_context(|| path.display().to_string())
    };
    files.iter().map(read).collect()
}

fn in_file(path: &Path) -> anyhow::Result<Fetched> {
    let context = || path.display().to_string();
    let digest = Digest::of_reader(File::open(path).with_context(context)?);
    let beside = registry::beside(path, 0);
    let envelopes = match beside.exists() {
        true => vec![envelope_in(&beside)?],
        false => vec![],
    };
    let digest = digest.with_context(context)?;
    Ok(Fetched { digest, path: path.to_owned(), envelopes, _folder: None })
}

fn in_bundle(path: &Path, name: Option<&str>) -> anyhow::Result<Fetched> {
    let bundle = Bundle::open(path)?;
    let module = chosen(bundle.modules(), name).with_context(|| path.display().to_string())?;
    let folder = TempDir::new()?;
    let file = folder.path().join("module.wasm");
    bundle.copy(&module.component, &mut File::create_new(&file)?)?;
    Ok(Fetched {
        digest: module.component.digest,
        path: file,
        envelopes: readable(&module.signatures),
        _folder: Some(folder),
    })
}

/// The module of a bundle that is meant: by `NAME:VERSION`, by `NAME` where it has one
/// version, or the only one.
fn chosen<'a>(
    modules: &'a [BundledModule],
    name: Option<&str>,
) -> anyhow::Result<&'a BundledModule> {
    let is_meant = |module: &&BundledModule| {
        let short = module.name.split_once(':').map(|(short, _)| short);
        name.is_none_or(|name| module.name == name || short == Some(name))
    };
    let meant: Vec<&BundledModule> = modules.iter().filter(is_meant).collect();
    if let [module] = meant[..] {
        return Ok(module);
    }
    let there: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    let wanted = name.map_or("it has no single module".into(), |name| {
        format!("{} of its modules are {name:?}", meant.len())
    });
    bail!("{wanted}: wanted FILE.tar#NAME:VERSION with one of {there:?}")
}

fn envelope_in(path: &Path) -> anyhow::Result<Envelope> {
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    Envelope::parse(&text).with_context(|| path.display().to_string())
}

/// The envelopes among what was attached to a module: others may attach what they like.
fn readable(signatures: &[Vec<u8>]) -> Vec<Envelope> {
    let read = |text: &Vec<u8>| match Envelope::parse(text) {
        Ok(envelope) => Some(envelope),
        Err(error) => {
            tracing::warn!(%error, "a signature is left out");
            None
        }
    };
    statement::merge(signatures.iter().filter_map(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_what_it_looks_like() {
        let parse = |text: &str| text.parse::<ModuleSource>();
        let digest = Digest::of(b"m");
        assert_eq!(parse("a#b.wasm").unwrap(), ModuleSource::File("a#b.wasm".into()));
        assert_eq!(parse(&digest.to_string()).unwrap(), ModuleSource::Fog(digest));
        let bundle =
            |name: Option<&str>| ModuleSource::Bundle("x.tar".into(), name.map(Into::into));
        assert_eq!(parse("x.tar").unwrap(), bundle(None));
        assert_eq!(parse("x.tar#digits:1").unwrap(), bundle(Some("digits:1")));
        assert!(matches!(parse("oci://localhost:5000/d:1").unwrap(), ModuleSource::Registry(_)));
        for bad in ["oci://localhost:5000/d", "sha256:12"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bundle_of_several_wants_a_name() {
        let module = |name: &str| BundledModule {
            name: name.into(),
            component: leeway_distribution::Descriptor::of(name.as_bytes(), ""),
            signatures: vec![],
        };
        let modules = ["a:1", "b:1", "b:2"].map(module);
        assert_eq!(chosen(&modules, Some("a")).unwrap().name, "a:1");
        assert_eq!(chosen(&modules, Some("b:2")).unwrap().name, "b:2");
        assert_eq!(chosen(&modules[..1], None).unwrap().name, "a:1");
        for name in [None, Some("b"), Some("c"), Some("a:2")] {
            let error = chosen(&modules, name).unwrap_err().to_string();
            assert!(error.contains("\"b:2\""), "{error}");
        }
    }
}
