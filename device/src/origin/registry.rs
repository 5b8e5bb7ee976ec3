//! Modules of OCI registries, by tag or by digest, with the signatures that are attached
//! to them.
//!
//! A registry is spoken to asynchronously, and an attempt waits on its own thread: what is
//! asked runs there to its end, and a module's bytes come from a thread that fetches them
//! as fast as they are read.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use leeway_deploy::desired::{DesiredModel, Resolved};
use leeway_deploy::transaction::{Opened, Source};
use leeway_deploy::trust::{Envelope, statement};
use leeway_distribution::{Descriptor, ModuleReference, Registry, RegistryOptions};
use tokio::runtime::{Builder, Runtime};

use super::{failed, resolved};

/// Chunks on their way from the network to the disk.
const CHUNKS: usize = 8;

/// Looks a module up, and what was signed of it.
pub(super) fn resolve(place: &str, wanted: &DesiredModel) -> io::Result<Resolved> {
    let reference: ModuleReference = place.parse().map_err(failed)?;
    let found = runtime()?.block_on(async {
        let registry = Registry::new(&reference, RegistryOptions::default()).await?;
        let found = registry.resolve(&reference).await?;
        let signatures = registry.signatures(&reference, &found).await?;
        Ok::<_, leeway_distribution::DistributionError>((found.component, signatures))
    });
    let (component, signatures) = found.map_err(failed)?;
    if let Some(digest) = wanted.digest.filter(|digest| *digest != component.digest) {
        let seen = component.digest;
        return Err(failed(format!("it has the module {seen}, wanted {digest}")));
    }
    // What others attached that is no envelope is nobody's signature.
    let envelopes = signatures.iter().filter_map(|text| Envelope::parse(text).ok());
    let envelopes = statement::merge(envelopes).iter().map(|e| e.to_json().into_bytes()).collect();
    Ok(resolved(component.digest, envelopes, Module { reference, component }))
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// One module of a registry.
struct Module {
    reference: ModuleReference,
    component: Descriptor,
}

impl Source for Module {
    fn open(&mut self, offset: u64) -> io::Result<Opened<'_>> {
        let (sender, chunks) = sync_channel(CHUNKS);
        let (reference, component) = (self.reference.clone(), self.component.clone());
        let total = component.bytes;
        std::thread::Builder::new()
            .name("registry".into())
            .spawn(move || fetch(&reference, &component, offset, sender))?;
        let reader = Box::new(Chunks { chunks, here: Vec::new(), at: 0 });
        Ok(Opened { offset, total: Some(total), reader })
    }
}

type Chunk = io::Result<Vec<u8>>;

/// Fetches until all is there, or nobody reads any more.
fn fetch(reference: &ModuleReference, blob: &Descriptor, offset: u64, to: SyncSender<Chunk>) {
    let fetched = runtime().and_then(|runtime| {
        let mut sink = Sink(to.clone());
        let fetched = runtime.block_on(async {
            let registry = Registry::new(reference, RegistryOptions::default()).await?;
            registry.fetch(reference, blob, offset, &mut sink).await
        });
        fetched.map_err(failed)
    });
    if let Err(error) = fetched {
        to.send(Err(error)).ok();
    }
}

/// The writing end: it waits until somebody reads.
struct Sink(SyncSender<Chunk>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.send(Ok(bytes.to_vec())).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reading end.
struct Chunks {
    chunks: Receiver<Chunk>,
    here: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.here.len() {
            // Nobody sends any more: that was all.
            let Ok(chunk) = self.chunks.recv() else { return Ok(0) };
            (self.here, self.at) = (chunk?, 0);
        }
        let read = (&self.here[self.at..]).read(buffer)?;
        self.at += read;
        Ok(read)
    }
}
