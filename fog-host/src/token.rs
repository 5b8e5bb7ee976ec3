//! `leeway-fog token`: a new client's token.

use std::fs::File;
use std::io::Read as _;

use anyhow::Context as _;
use clap::Args;
use leeway_contract::Digest;
use leeway_fog_host::Scope;

const TOKEN_BYTES: usize = 32;

/// Make a token.
#[derive(Args)]
pub struct Token {
    /// The client's name, for logs and metrics.
    name: String,
    /// What it may do: infer, view, push, admin.
    #[arg(long, value_delimiter = ',', default_value = "infer", value_parser = scope)]
    scopes: Vec<Scope>,
}

fn scope(text: &str) -> Result<Scope, String> {
    [Scope::Infer, Scope::View, Scope::Push, Scope::Admin]
        .into_iter()
        .find(|scope| scope.name() == text)
        .ok_or_else(|| "wanted infer, view, push or admin".to_owned())
}

impl Token {
    /// Prints the token, and the entry that has its hash.
    pub fn make(&self) -> anyhow::Result<()> {
        let mut bytes = [0; TOKEN_BYTES];
        let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
        random.context("cannot read /dev/urandom")?;
        // Hexadecimal digits, as a digest has them, of the random bytes themselves.
        let token = Digest::from_bytes(bytes).to_hex();
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.name()).collect();
        println!("# The token, which is kept nowhere else: {token}");
        println!("[[token]]\nname = {:?}", self.name);
        println!("sha256 = {:?}\nscopes = {scopes:?}", Digest::of(token.as_bytes()).to_hex());
        Ok(())
    }
}
