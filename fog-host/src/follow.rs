//! Following the other hosts of a shared store: a task that looks there in an even
//! rhythm and takes over what they changed.
//!
//! A change is seen here at the latest after one interval, the time of the requests
//! to the store, and the time to load the module if it is new here: until it is
//! loaded, the name stands for the old one, so no request waits for a compilation.

use std::collections::HashSet;
use std::time::Duration;

use leeway_contract::Digest;

use crate::catalog::ModelName;
use crate::host::Host;
use crate::repository::{RepositoryError, Revision};

/// Looks for as long as it is polled.
pub(crate) async fn follow(host: &Host, interval: Duration) {
    let mut failing = false;
    loop {
        tokio::time::sleep(interval).await;
        match look(host).await {
            Ok(()) => failing = false,
            // Once, and not in each interval of an outage.
            Err(error) if !failing => {
                tracing::error!(%error, "the store cannot be read; what is known is served");
                failing = true;
            }
            Err(_) => {}
        }
    }
}

/// Looks once.
async fn look(host: &Host) -> Result<(), RepositoryError> {
    for (name, revision) in host.catalog.stale(&host.repository).await? {
        take_over(host, &name, revision).await?;
    }
    // In this order: a module that is pushed meanwhile is no candidate.
    let loaded = host.modules.digests();
    let stored: HashSet<Digest> = host.repository.modules().await?.into_iter().collect();
    for digest in loaded.into_iter().filter(|digest| !stored.contains(digest)) {
        host.modules.forget(digest);
        host.pool.retire(digest);
        tracing::info!(%digest, "another host removed a module");
    }
    Ok(())
}

async fn take_over(
    host: &Host,
    name: &ModelName,
    revision: Revision,
) -> Result<(), RepositoryError> {
    let stored = host.repository.model(name).await?.unwrap_or_default();
    if host.catalog.get(name).unwrap_or_default() != stored {
        for digest in stored.versions.values() {
            // An error is in the log; the other versions can serve all the same.
            let _ = host.module(*digest).await;
        }
        tracing::info!(%name, current = ?stored.current, "another host changed a model");
    }
    let changing = host.catalog.changing().await;
    host.catalog.refresh(&changing, &host.repository, name, revision).await
}
