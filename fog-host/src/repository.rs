//! What the host stores: modules by digest, one document of versions for each model
//! name, and one for each client of what it keeps (`quota`), by its name in hexadecimal
//! digits.
//!
//! ```text
//! modules/<64 hexadecimal digits>.wasm
//! modules/<64 hexadecimal digits>.sig
//! models/<name>.json
//! kept/<client>.json
//! ```
//!
//! Each object is written whole, under its final name, or not at all. A document
//! is changed by comparing and writing in one step, so any number of hosts can
//! share a store. One that was there once stays, without versions: an object store
//! can make nothing but writing conditional.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use leeway_contract::Digest;
use object_store::{ObjectMeta, ObjectStoreExt as _, UpdateVersion, path::Path as Location};
use rand::Rng as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::catalog::{ModelName, Versions};
use crate::quota::{Kept, Stored};
use crate::store::Store;

/// How often a change is tried again that another host's change got ahead of.
const ATTEMPTS: u32 = 24;
/// The longest pause before the second attempt; doubled with each, up to 16 times.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Why something could not be stored or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The store itself failed.
    #[error("the store failed: {0}")]
    Store(#[from] object_store::Error),
    /// A URL that names no store.
    #[error(
        "not the URL of a store: {seen:?} (wanted s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX)"
    )]
    Url {
        /// The URL.
        seen: String,
    },
    /// The lock of a directory cannot be taken.
    #[error("cannot lock {}: {source}", path.display())]
    Lock {
        /// The lock's file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Other hosts changed the same document again and again.
    #[error("other hosts change {name} all the time: {attempts} attempts failed")]
    Contended {
        /// The document.
        name: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// A stored document is not what was written.
    #[error("the stored document {location} is not valid: {source}")]
    Document {
        /// Which one.
        location: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The host stops.
    #[error("the host stops")]
    Stopped,
}

/// A document as it was read.
struct Document<T> {
    content: T,
    seen: UpdateVersion,
}

/// The store of modules and aliases.
pub(crate) struct Repository {
    store: Store,
}

impl Repository {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// The digests of all modules.
    pub(crate) async fn modules(&self) -> Result<Vec<Digest>, RepositoryError> {
        let digest = |object: ObjectMeta| {
            let name = object.location.filename()?.strip_suffix(".wasm")?;
            format!("sha256:{name}").parse().ok()
        };
        Ok(self.list("modules").await?.into_iter().filter_map(digest).collect())
    }

    /// Whether the module is there.
    pub(crate) async fn has_module(&self, digest: Digest) -> Result<bool, RepositoryError> {
        found(self.store.objects().head(&module(digest)).await).map(|meta| meta.is_some())
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
        self.store.objects().put(&module(digest), bytes.into()).await?;
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
        self.store.objects().put(&signature(digest), envelope.into()).await?;
        Ok(())
    }

    /// Removes a module, if it is there, with its signatures.
    pub(crate) async fn delete_module(&self, digest: Digest) -> Result<(), RepositoryError> {
        found(self.store.objects().delete(&signature(digest)).await)?;
        found(self.store.objects().delete(&module(digest)).await).map(drop)
    }

    /// All names that have a document, with what changes when the document does.
    pub(crate) async fn models(&self) -> Result<Vec<(ModelName, Revision)>, RepositoryError> {
        let model = |object: ObjectMeta| {
            let name = object.location.filename()?.strip_suffix(".json")?.parse().ok()?;
            Some((name, Revision(object.e_tag, object.last_modified.timestamp_micros())))
        };
        Ok(self.list("models").await?.into_iter().filter_map(model).collect())
    }

    /// The versions of a name, as they are stored now.
    pub(crate) async fn model(
        &self,
        name: &ModelName,
    ) -> Result<Option<Versions>, RepositoryError> {
        Ok(self.document(&model(name)).await?.map(|document| document.content))
    }

    /// Changes the versions of a name, all at once, and returns what is stored now.
    /// `change` gets what is stored, again where another host was faster, and says
    /// what shall be, or why all stays as it is.
    pub(crate) async fn change_model<R>(
        &self,
        name: &ModelName,
        change: impl Fn(Versions) -> Result<Versions, R>,
    ) -> Result<Result<Versions, R>, RepositoryError> {
        self.change(&model(name), change).await
    }

    /// What a client keeps here.
    pub(crate) async fn kept(&self, client: &str) -> Result<Kept, RepositoryError> {
        let document = self.document(&kept(client)).await?;
        Ok(document.map(|document| document.content).unwrap_or_default())
    }

    /// Changes what a client keeps, in the same way.
    pub(crate) async fn change_kept<R>(
        &self,
        client: &str,
        change: impl Fn(Kept) -> Result<Kept, R>,
    ) -> Result<Result<Kept, R>, RepositoryError> {
        self.change(&kept(client), change).await
    }

    /// The clients that have kept something here.
    pub(crate) async fn keepers(&self) -> Result<Vec<String>, RepositoryError> {
        let client = |object: ObjectMeta| {
            let name = object.location.filename()?.strip_suffix(".json")?;
            String::from_utf8(hex::decode(name).ok()?).ok()
        };
        Ok(self.list("kept").await?.into_iter().filter_map(client).collect())
    }

    /// What there is of all that clients can keep.
    pub(crate) async fn stored(&self) -> Result<Stored, RepositoryError> {
        let digest = |object: ObjectMeta| {
            let name = object.location.filename()?;
            let name = name.strip_suffix(".wasm").or_else(|| name.strip_suffix(".sig"))?;
            format!("sha256:{name}").parse().ok()
        };
        let modules = self.list("modules").await?.into_iter().filter_map(digest).collect();
        let mut names = BTreeSet::new();
        for (name, _) in self.models().await? {
            if self.model(&name).await?.is_some_and(|model| !model.versions.is_empty()) {
                names.insert(name);
            }
        }
        Ok(Stored { modules, names })
    }

    async fn change<T: Default + Serialize + DeserializeOwned, R>(
        &self,
        location: &Location,
        change: impl Fn(T) -> Result<T, R>,
    ) -> Result<Result<T, R>, RepositoryError> {
        for attempt in 0..ATTEMPTS {
            let (content, seen) = match self.document(location).await? {
                Some(Document { content, seen }) => (content, Some(seen)),
                None => (T::default(), None),
            };
            let changed = match change(content) {
                Ok(changed) => changed,
                Err(why) => return Ok(Err(why)),
            };
            let json = serde_json::to_vec(&changed).expect("documents have only string keys");
            if self.store.compare_and_put(location, seen, json.into()).await? {
                return Ok(Ok(changed));
            }
            // By chance, so that two hosts do not meet again.
            let chance: f64 = rand::rng().random();
            let longest = FIRST_PAUSE * (1 << attempt.min(4));
            tokio::time::sleep(longest.mul_f64(chance)).await;
        }
        Err(RepositoryError::Contended { name: location.to_string(), attempts: ATTEMPTS })
    }

    async fn document<T: DeserializeOwned>(
        &self,
        location: &Location,
    ) -> Result<Option<Document<T>>, RepositoryError> {
        let Some(object) = found(self.store.objects().get(location).await)? else {
            return Ok(None);
        };
        let (e_tag, version) = (object.meta.e_tag.clone(), object.meta.version.clone());
        let content = serde_json::from_slice(&object.bytes().await?).map_err(|source| {
            RepositoryError::Document { location: location.to_string(), source }
        })?;
        Ok(Some(Document { content, seen: UpdateVersion { e_tag, version } }))
    }

    async fn get(&self, location: &Location) -> Result<Option<Bytes>, RepositoryError> {
        match found(self.store.objects().get(location).await)? {
            Some(object) => Ok(Some(object.bytes().await?)),
            None => Ok(None),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectMeta>, RepositoryError> {
        Ok(self.store.objects().list_with_delimiter(Some(&folder.into())).await?.objects)
    }
}

/// What is another one whenever a document has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revision(Option<String>, i64);

fn module(digest: Digest) -> Location {
    Location::from_iter(["modules".to_owned(), format!("{}.wasm", digest.to_hex())])
}

fn signature(digest: Digest) -> Location {
    Location::from_iter(["modules".to_owned(), format!("{}.sig", digest.to_hex())])
}

fn model(name: &ModelName) -> Location {
    Location::from_iter(["models".to_owned(), format!("{name}.json")])
}

/// A client may have any name.
fn kept(client: &str) -> Location {
    Location::from_iter(["kept".to_owned(), format!("{}.json", hex::encode(client))])
}

/// `None` where the object does not exist.
fn found<T>(result: object_store::Result<T>) -> Result<Option<T>, RepositoryError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::Release;

    fn name(text: &str) -> ModelName {
        text.parse().unwrap()
    }

    /// Two hosts on one directory, each with changes under way at the same time.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_change_is_lost_between_hosts_that_share_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let host = || Arc::new(Repository::new(Store::directory(folder.path()).unwrap()));
        let hosts = [host(), host()];
        let digest = Digest::of(b"module");
        let changes = (0..16).map(|number| {
            let (host, version) = (hosts[number % 2].clone(), name(&format!("v{number}")));
            tokio::spawn(async move {
                let release = Release::unsigned(version, digest);
                let change = |versions: Versions| versions.with(&release);
                host.change_model(&name("m"), change).await.unwrap().unwrap();
            })
        });
        for change in changes.collect::<Vec<_>>() {
            change.await.unwrap();
        }
        let stored = hosts[0].model(&name("m")).await.unwrap().unwrap();
        assert_eq!(stored.versions.len(), 16, "{stored:?}");
    }

    #[tokio::test]
    async fn a_document_of_former_times_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"module");
        std::fs::create_dir(folder.path().join("models")).unwrap();
        let json = format!(r#"{{"current": "1", "versions": {{"1": "{digest}"}}}}"#);
        std::fs::write(folder.path().join("models/m.json"), json).unwrap();
        let repository = Repository::new(Store::directory(folder.path()).unwrap());
        let stored = repository.model(&name("m")).await.unwrap().unwrap();
        assert_eq!(stored.resolve(None), Some((&name("1"), digest)));
    }

    #[tokio::test]
    async fn clients_of_any_name_keep_what_is_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::new(Store::directory(folder.path()).unwrap());
        assert!(repository.keepers().await.unwrap().is_empty());
        let names = ["gateway-7", "../../x", "192.0.2.1", "\u{e4} \u{2603}/"];
        for client in names {
            let kept: Result<_, ()> = repository.change_kept(client, Ok).await.unwrap();
            assert_eq!(kept.unwrap(), Kept::default());
        }
        let mut keepers = repository.keepers().await.unwrap();
        keepers.sort();
        let mut wanted = names.map(str::to_owned);
        wanted.sort();
        assert_eq!(keepers, wanted);
    }

    #[test]
    fn a_url_that_names_no_store_says_what_would() {
        for url in ["", "bucket", "ftp://host/x", "s3:/x", "s3:///x", "file:///tmp"] {
            let error = Store::url(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("s3://BUCKET/PREFIX"), "{url}: {error}");
        }
    }
}
