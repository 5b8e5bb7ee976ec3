//! `leeway keygen`: a pair of keys that releases are signed and verified with.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use leeway_deploy::trust::SecretKey;

use super::print;

/// Make a pair of Ed25519 keys: NAME.pem, which signs, and NAME.pub.pem, which devices
/// are given. Files that are there are not overwritten.
#[derive(Args)]
pub struct Arguments {
    /// The file of the key that signs, without `.pem`.
    #[arg(value_name = "NAME")]
    name: PathBuf,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let key = SecretKey::generate()?;
    let file = |ending: &str| {
        let mut name = arguments.name.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (secret, public) = (file(".pem"), file(".pub.pem"));
    write_new(&secret, 0o600, &key.to_pem())?;
    write_new(&public, 0o644, &key.public().to_pem())?;
    let id = key.public().id();
    print(&format!("{id}\n  signs     {}\n  verifies  {}", secret.display(), public.display()))
}

fn write_new(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let options = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).clone();
    let mut file = options.open(path).with_context(|| path.display().to_string())?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}
