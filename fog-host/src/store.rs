//! Where modules and aliases are stored: a local directory, or a bucket of an
//! object store by its URL.
//!
//! An object store compares and writes in one request (`If-Match` on the ETag or
//! the generation). A directory cannot; there, whoever changes an alias holds a
//! lock on a file in it (`flock`), so hosts on one machine can share a directory.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, UpdateVersion};
use rustix::fs::{FlockOperation, flock};
use url::Url;

use crate::repository::RepositoryError;

const LOCK_FILE: &str = "lock";

/// A store, and how it compares and writes in one step.
pub(crate) struct Store {
    objects: Arc<dyn ObjectStore>,
    /// The file that is locked where the store itself cannot compare.
    lock: Option<PathBuf>,
}

impl Store {
    /// The store of an existing directory. What it says is stored is on the disk.
    pub(crate) fn directory(directory: &Path) -> Result<Self, RepositoryError> {
        let objects = LocalFileSystem::new_with_prefix(directory)?.with_fsync(true);
        Ok(Self { objects: Arc::new(objects), lock: Some(directory.join(LOCK_FILE)) })
    }

    /// The store of a URL: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or
    /// `az://CONTAINER/PREFIX`. Credentials, region and endpoint are those of the
    /// environment, by the names of the vendor's own tools (`AWS_*`, `GOOGLE_*`,
    /// `AZURE_*`), or of the machine's or the pod's identity.
    pub(crate) fn url(text: &str) -> Result<Self, RepositoryError> {
        let wrong = || RepositoryError::Url { seen: text.chars().take(200).collect() };
        let url: Url = text.parse().map_err(|_| wrong())?;
        let bucketed = matches!(url.scheme(), "s3" | "gs" | "az");
        if !bucketed || url.host_str().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        let objects = bucket(&url)?;
        let prefix = Location::from_url_path(url.path()).map_err(|_| wrong())?;
        let objects = match prefix.as_ref() {
            "" => objects,
            _ => Arc::new(PrefixStore::new(objects, prefix)),
        };
        Ok(Self { objects, lock: None })
    }

    /// The objects themselves, for all that needs no comparison.
    pub(crate) fn objects(&self) -> &dyn ObjectStore {
        &*self.objects
    }

    /// Writes an object if it is still the one that was `seen`, or, where none was
    /// seen, if there is still none. `false` if it is not: nothing was written then.
    pub(crate) async fn compare_and_put(
        &self,
        location: &Location,
        seen: Option<UpdateVersion>,
        payload: PutPayload,
    ) -> Result<bool, RepositoryError> {
        let mode = match (&self.lock, seen) {
            (_, None) => PutMode::Create,
            (None, Some(seen)) => PutMode::Update(seen),
            (Some(path), Some(seen)) => {
                let _lock = lock(path.clone()).await?;
                let now = self.objects.head(location).await?;
                if now.e_tag != seen.e_tag {
                    return Ok(false);
                }
                self.objects.put(location, payload).await?;
                return Ok(true);
            }
        };
        match self.objects.put_opts(location, payload, mode.into()).await {
            Ok(_) => Ok(true),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
                | object_store::Error::NotFound { .. },
            ) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The bucket of a URL, without the prefix.
fn bucket(url: &Url) -> Result<Arc<dyn ObjectStore>, RepositoryError> {
    // A process has one provider; whoever set it first is right.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(match url.scheme() {
        "s3" => Arc::new(AmazonS3Builder::from_env().with_url(url.as_str()).build()?),
        "gs" => Arc::new(GoogleCloudStorageBuilder::from_env().with_url(url.as_str()).build()?),
        _ => Arc::new(MicrosoftAzureBuilder::from_env().with_url(url.as_str()).build()?),
    })
}

/// Takes the lock, which the file's end releases. Waiting for it is no work for an
/// asynchronous thread.
async fn lock(path: PathBuf) -> Result<File, RepositoryError> {
    let take = move || {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&path);
        let locked = file.and_then(|file| {
            flock(&file, FlockOperation::LockExclusive)?;
            Ok(file)
        });
        locked.map_err(|source| RepositoryError::Lock { path, source })
    };
    tokio::task::spawn_blocking(take).await.map_err(|_| RepositoryError::Stopped)?
}
