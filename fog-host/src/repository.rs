//! What the host stores, and where: modules by digest, and one document of
//! versions for each model name, in an object store.
//!
//! ```text
//! modules/<64 hexadecimal digits>.wasm
//! modules/<64 hexadecimal digits>.sig
//! models/<name>.json
//! ```
//!
//! Each object is written whole, under its final name, or not at all.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use leeway_contract::Digest;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path as Location};

use crate::catalog::{ModelName, Versions};

/// Why something could not be stored or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The store itself failed.
    #[error("the store failed: {0}")]
    Store(#[from] object_store::Error),
    /// A stored document is not what was written.
    #[error("the stored document {location} is not valid: {source}")]
    Document {
        /// Which one.
        location: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// The store of modules and aliases.
pub(crate) struct Repository {
    store: Arc<dyn ObjectStore>,
}

impl Repository {
    /// A repository in an existing local directory. What it says is stored is
    /// on the disk.
    pub(crate) fn local(directory: &Path) -> Result<Self, RepositoryError> {
        let store = LocalFileSystem::new_with_prefix(directory)?.with_fsync(true);
        Ok(Self { store: Arc::new(store) })
    }

    /// The digests of all modules.
    pub(crate) async fn modules(&self) -> Result<Vec<Digest>, RepositoryError> {
        let objects = self.store.list_with_delimiter(Some(&"modules".into())).await?.objects;
        let digest = |object: object_store::ObjectMeta| {
            let name = object.location.filename()?.strip_suffix(".wasm")?;
            format!("sha256:{name}").parse().ok()
        };
        Ok(objects.into_iter().filter_map(digest).collect())
    }

    /// Whether the module is there.
    pub(crate) async fn has_module(&self, digest: Digest) -> Result<bool, RepositoryError> {
        found(self.store.head(&module(digest)).await).map(|meta| meta.is_some())
    }

    /// A module's bytes.
    pub(crate) async fn module(&self, digest: Digest) -> Result<Option<Bytes>, RepositoryError> {
        self.get(&module(digest)).await
    }

    /// Stores a module.
    pub(crate) async fn put_module(
        &self,
        digest: Digest,
        bytes: Bytes,
    ) -> Result<(), RepositoryError> {
        self.store.put(&module(digest), bytes.into()).await?;
        Ok(())
    }

    /// The envelope with a module's signatures.
    pub(crate) async fn signature(&self, digest: Digest) -> Result<Option<Bytes>, RepositoryError> {
        self.get(&signature(digest)).await
    }

    /// Stores the envelope with a module's signatures.
    pub(crate) async fn put_signature(
        &self,
        digest: Digest,
        envelope: Bytes,
    ) -> Result<(), RepositoryError> {
        self.store.put(&signature(digest), envelope.into()).await?;
        Ok(())
    }

    /// Removes a module, with its signatures; `false` if there was none.
    pub(crate) async fn delete_module(&self, digest: Digest) -> Result<bool, RepositoryError> {
        found(self.store.delete(&signature(digest)).await)?;
        found(self.store.delete(&module(digest)).await).map(|deleted| deleted.is_some())
    }

    /// All names with their versions.
    pub(crate) async fn models(&self) -> Result<Vec<(ModelName, Versions)>, RepositoryError> {
        let objects = self.store.list_with_delimiter(Some(&"models".into())).await?.objects;
        let mut models = Vec::with_capacity(objects.len());
        for object in objects {
            let name = object.location.filename().and_then(|name| name.strip_suffix(".json"));
            let Some(name) = name.and_then(|name| name.parse().ok()) else { continue };
            let Some(json) = self.get(&object.location).await? else { continue };
            let versions = serde_json::from_slice(&json).map_err(|source| {
                RepositoryError::Document { location: object.location.to_string(), source }
            })?;
            models.push((name, versions));
        }
        Ok(models)
    }

    /// Stores the versions of a name, all at once.
    pub(crate) async fn put_model(
        &self,
        name: &ModelName,
        versions: &Versions,
    ) -> Result<(), RepositoryError> {
        let json = serde_json::to_vec(versions).expect("versions have only string keys");
        self.store.put(&model(name), json.into()).await?;
        Ok(())
    }

    /// Removes a name.
    pub(crate) async fn delete_model(&self, name: &ModelName) -> Result<(), RepositoryError> {
        found(self.store.delete(&model(name)).await).map(drop)
    }

    async fn get(&self, location: &Location) -> Result<Option<Bytes>, RepositoryError> {
        match found(self.store.get(location).await)? {
            Some(object) => Ok(Some(object.bytes().await?)),
            None => Ok(None),
        }
    }
}

fn module(digest: Digest) -> Location {
    Location::from_iter(["modules".to_owned(), format!("{}.wasm", digest.to_hex())])
}

fn signature(digest: Digest) -> Location {
    Location::from_iter(["modules".to_owned(), format!("{}.sig", digest.to_hex())])
}

fn model(name: &ModelName) -> Location {
    Location::from_iter(["models".to_owned(), format!("{name}.json")])
}

/// `None` where the object does not exist.
fn found<T>(result: object_store::Result<T>) -> Result<Option<T>, RepositoryError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
