//! Recordings in storage: a folder of this machine ([`disk`]), or a bucket ([`bucket`]).
//!
//! Both keep the same promises. A file is written aside and gets its final name in one step, when it is whole. That step
//! succeeds only while the version that stood under the name at the beginning stands there still (none, or one that an
//! attempt left whose report was lost): an attempt that lost its lease and comes late cannot replace what a newer one
//! has stored. What a `kill -9` leaves aside is seen by nobody, and is swept when it is old.

mod bucket;
mod bucket_upload;
mod cloud;
mod conditional;
mod disk;
mod pending_uploads;
mod publish;
mod trouble;

pub use cloud::BucketOptions;
pub(super) use pending_uploads::listed as listed_uploads;

use crate::domain::{
    failure::{Failure, FailureCode},
    ports::Storage,
    storage_url::StorageUrl,
};
use bucket::Bucket;
use cloud::Cloud;
use disk::Disk;
use std::{io, path::PathBuf, sync::Arc};

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the storage folder {folder} cannot be made: {kind}")]
    Folder { folder: String, kind: io::ErrorKind },
    /// The client's own words may repeat a value of a variable.
    #[error("the bucket's client cannot be made: {variables}* are wrong or miss something")]
    Client { variables: &'static str },
}

/// Opens what `url` names. A folder is made; a bucket has to be there, which [`Storage::check`] finds out.
pub fn open(url: &StorageUrl, disk: DiskOptions, bucket: &BucketOptions) -> Result<Arc<dyn Storage>, OpenError> {
    match url {
        StorageUrl::Folder(folder) => Ok(Arc::new(Disk::open(folder.clone(), disk)?)),
        StorageUrl::Bucket { service, bucket: name, prefix } => {
            let cloud = Cloud::open(*service, name, bucket)
                .map_err(|_| OpenError::Client { variables: service.variables() })?;
            Ok(Arc::new(Bucket::new(cloud, prefix, bucket.needs_conditions)))
        }
    }
}

/// What belongs to a folder only.
#[derive(Debug, Clone, Copy)]
pub struct DiskOptions {
    pub fsync: bool,
    /// In bytes; see [`disk`].
    pub min_free: u64,
    /// Made where it is missing. A process that only takes webhooks stores and reads nothing, and may have no right to.
    pub make: bool,
}

/// The folder that holds the files, where it is one.
pub fn folder(url: &StorageUrl) -> Option<PathBuf> {
    match url {
        StorageUrl::Folder(folder) => Some(folder.clone()),
        StorageUrl::Bucket { .. } => None,
    }
}

/// Keys are made of checked identifiers; one that is not must not leave the storage, nor be taken for what was written
/// aside.
fn checked(key: &str) -> Result<&str, Failure> {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.contains(|c: char| c == '#' || c == '\\' || c.is_control())
    };
    if key.split('/').all(is_part) {
        Ok(key)
    } else {
        Err(Failure::new(FailureCode::StorageError, "the storage key is not a plain relative path"))
    }
}
