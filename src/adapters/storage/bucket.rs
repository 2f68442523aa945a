//! Recordings in a bucket of S3 (and what speaks its protocol), Google or Azure, by the crate `object_store`.
//!
//! A file of up to one part is sent in one request with its condition. A larger one is sent in parts, of which nothing
//! is seen, and published by one request with its condition (see [`super::conditional`]). Whether the server keeps
//! conditions is tried once, before anything is stored.

use super::{
    bucket_upload::BucketUpload,
    checked,
    cloud::Cloud,
    pending_uploads,
    trouble::{blamed, of_bucket},
};
use crate::domain::{
    failure::Failure,
    ports::{MediaStream, Storage, StoredFile, Upload},
};
use async_trait::async_trait;
use chrono::Utc;
use futures_util::TryStreamExt;
use object_store::{
    Error, GetOptions, GetRange, ObjectMeta, ObjectStoreExt, PutMode, PutPayload, UpdateVersion, path::Path,
};
use std::{ops::Range, sync::Arc, time::Duration};
use tokio::sync::OnceCell;

/// What is written aside, and what a check writes, lies below this.
const ASIDE: &str = ".callspool-aside";

#[derive(Clone)]
pub(super) struct Bucket(Arc<Inner>);

struct Inner {
    cloud: Cloud,
    /// Without slashes at its ends; may be empty.
    prefix: String,
    needs_conditions: bool,
    /// The server was seen to keep them. Nothing is stored before.
    keeps_conditions: OnceCell<()>,
}

impl Bucket {
    pub(super) fn new(cloud: Cloud, prefix: &str, needs_conditions: bool) -> Self {
        let keeps_conditions = OnceCell::new();
        Self(Arc::new(Inner { cloud, prefix: prefix.to_owned(), needs_conditions, keeps_conditions }))
    }

    pub(super) fn cloud(&self) -> &Cloud {
        &self.0.cloud
    }

    pub(super) fn needs_conditions(&self) -> bool {
        self.0.needs_conditions
    }

    fn below_prefix(&self, key: &str) -> Path {
        let prefix = &self.0.prefix;
        Path::from(if prefix.is_empty() { key.to_owned() } else { format!("{prefix}/{key}") })
    }

    fn path(&self, key: &str) -> Result<Path, Failure> {
        checked(key).map(|key| self.below_prefix(key))
    }

    /// A name that no other has.
    pub(super) fn aside(&self) -> Path {
        self.below_prefix(&format!("{ASIDE}/{:032x}", rand::random::<u128>()))
    }

    async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>, Failure> {
        match self.cloud().store().head(path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(of_bucket(&error)),
        }
    }

    /// A file, written, read back and removed.
    async fn works(&self) -> Result<(), Failure> {
        let (path, store) = (self.aside(), self.cloud().store());
        store.put(&path, PutPayload::from_static(b"callspool")).await.map_err(|error| of_bucket(&error))?;
        let read = async { store.get(&path).await?.bytes().await }.await;
        // Also where it cannot be read; what stays all the same is swept.
        let removed = store.delete(&path).await;
        read.map(|_| ()).and(removed).map_err(|error| of_bucket(&error))
    }

    /// Asked until it does; then it is known for the life of this process.
    async fn keeps_conditions(&self) -> Result<(), Failure> {
        if self.needs_conditions() {
            self.0.keeps_conditions.get_or_try_init(|| self.tries_conditions()).await?;
        }
        Ok(())
    }

    /// Tries each condition where it has to fail.
    async fn tries_conditions(&self) -> Result<(), Failure> {
        let (path, store) = (self.aside(), self.cloud().store());
        let first = store.put_opts(&path, PutPayload::from_static(b"first"), PutMode::Create.into()).await;
        first.map_err(|error| of_bucket(&error))?;
        let tried = self.refuses_all(&path).await;
        let removed = store.delete(&path).await.map_err(|error| of_bucket(&error));
        tried.and(removed)
    }

    async fn refuses_all(&self, path: &Path) -> Result<(), Failure> {
        let store = self.cloud().store();
        // As the services write them, and one that none of them gives.
        let other = UpdateVersion {
            e_tag: Some("\"00000000000000000000000000000000\"".to_owned()),
            version: Some("1".to_owned()),
        };
        for mode in [PutMode::Create, PutMode::Update(other.clone())] {
            let put = store.put_opts(path, PutPayload::from_static(b"second"), mode.into()).await;
            refused(put.map(|_| ()))?;
        }
        for seen in [None, Some(&other)] {
            refused(self.publishes(path, seen).await)?;
        }
        Ok(())
    }

    /// As a large file would be.
    async fn publishes(&self, path: &Path, seen: Option<&UpdateVersion>) -> object_store::Result<()> {
        let publisher = self.cloud().conditional(seen)?;
        if self.cloud().copies() {
            return publisher.copy(path, path).await;
        }
        let mut upload = publisher.put_multipart(path).await?;
        let done = async {
            upload.put_part(PutPayload::from_static(b"third")).await?;
            upload.complete().await
        };
        let done = done.await.map(|_| ());
        if done.is_err() {
            let _ = upload.abort().await;
        }
        done
    }
}

fn refused(tried: object_store::Result<()>) -> Result<(), Failure> {
    match tried {
        Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }) => Ok(()),
        Ok(()) => Err(blamed(
            "the bucket's server keeps no conditions on writes: a late attempt could replace a newer one's file \
             (storage.conditions=off allows it)",
        )),
        Err(error) => Err(of_bucket(&error)),
    }
}

#[async_trait]
impl Storage for Bucket {
    async fn begin(&self, key: &str) -> Result<Box<dyn Upload>, Failure> {
        let path = self.path(key)?;
        self.keeps_conditions().await?;
        let seen = self.head(&path).await?.map(|meta| UpdateVersion { e_tag: meta.e_tag, version: meta.version });
        Ok(Box::new(BucketUpload::new(self.clone(), path, seen)))
    }

    async fn size(&self, key: &str) -> Result<Option<u64>, Failure> {
        Ok(self.head(&self.path(key)?).await?.map(|meta| meta.size))
    }

    async fn read(&self, key: &str, part: Range<u64>) -> Result<Option<StoredFile>, Failure> {
        let options = GetOptions { range: Some(GetRange::Bounded(part.clone())), ..GetOptions::default() };
        match self.cloud().store().get_opts(&self.path(key)?, options).await {
            Ok(found) => {
                let size = found.meta.size;
                let stream: MediaStream = Box::pin(found.into_stream().map_err(|error| of_bucket(&error)));
                Ok(Some(StoredFile { size, stream }))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            // A part that begins behind the end is an error of its own in each service.
            Err(error) => match self.size(key).await? {
                Some(size) if size <= part.start => {
                    Ok(Some(StoredFile { size, stream: Box::pin(futures_util::stream::empty()) }))
                }
                _ => Err(of_bucket(&error)),
            },
        }
    }

    async fn remove(&self, key: &str) -> Result<(), Failure> {
        match self.cloud().store().delete(&self.path(key)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(of_bucket(&error)),
        }
    }

    async fn sweep(&self, age: Duration, limit: usize) -> Result<usize, Failure> {
        let (mut removed, before) = (0, Utc::now() - age);
        let aside = self.below_prefix(ASIDE);
        let mut found = self.cloud().store().list(Some(&aside));
        while let Some(meta) = found.try_next().await.map_err(|error| of_bucket(&error))? {
            if removed >= limit {
                return Ok(removed);
            }
            if meta.last_modified < before {
                match self.cloud().store().delete(&meta.location).await {
                    Ok(()) => removed += 1,
                    // Swept by another process.
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(of_bucket(&error)),
                }
            }
        }
        if let Cloud::S3 { store, .. } = self.cloud()
            && !self.0.prefix.is_empty()
        {
            // Without a prefix the bucket may be others' too, and so may be what is under way in it.
            removed +=
                pending_uploads::sweep(store, &format!("{}/", self.0.prefix), before, limit - removed).await?;
        }
        Ok(removed)
    }

    async fn check(&self) -> Result<(), Failure> {
        self.works().await?;
        self.keeps_conditions().await
    }
}
