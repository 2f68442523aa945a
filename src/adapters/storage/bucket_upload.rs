//! One file on its way into a bucket.
//!
//! At most one part of it is in memory. The object carries a random mark: where the answer to the publishing request is
//! lost, or comes from its repetition, the mark says whether the file that stands there is this one.

use super::{
    bucket::Bucket,
    trouble::{of_bucket, superseded},
};
use crate::domain::{failure::Failure, ports::Upload};
use async_trait::async_trait;
use bytes::Bytes;
use object_store::{
    Attribute, Attributes, Error, GetOptions, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, UpdateVersion, path::Path,
};
use std::{borrow::Cow, collections::VecDeque, mem};

/// Bytes of a part, all alike but the last one (Cloudflare asks for that; S3 for 5 MiB at least, and 10,000 parts at
/// most). A file of no more than this is sent in one request.
const PART: usize = 8 << 20;
/// Where the mark stands in the object's metadata: a name that Azure takes too.
const MARK: Attribute = Attribute::Metadata(Cow::Borrowed("callspoolupload"));

pub(super) struct BucketUpload {
    bucket: Bucket,
    path: Path,
    /// What stood under the final name when this began.
    seen: Option<UpdateVersion>,
    mark: String,
    gathered: VecDeque<Bytes>,
    gathered_len: usize,
    parts: Option<Parts>,
}

/// A file that is larger than a part.
struct Parts {
    upload: Box<dyn MultipartUpload>,
    /// Publishes under the condition; `None`: whatever stands there.
    publisher: Option<Box<dyn ObjectStore>>,
    /// Where it is completed before it is copied, where that is needed.
    aside: Option<Path>,
}

impl BucketUpload {
    pub(super) fn new(bucket: Bucket, path: Path, seen: Option<UpdateVersion>) -> Self {
        let mark = format!("{:032x}", rand::random::<u128>());
        Self { bucket, path, seen, mark, gathered: VecDeque::new(), gathered_len: 0, parts: None }
    }

    fn attributes(&self) -> Attributes {
        let content_type = match self.path.extension() {
            Some("mp3") => "audio/mpeg",
            Some("wav") => "audio/wav",
            _ => "application/octet-stream",
        };
        [(Attribute::ContentType, content_type.to_owned()), (MARK, self.mark.clone())].into_iter().collect()
    }

    /// The next so many bytes, or as many as there are.
    fn take(&mut self, wanted: usize) -> PutPayload {
        let mut part = Vec::new();
        let mut missing = wanted.min(self.gathered_len);
        self.gathered_len -= missing;
        while missing > 0
            && let Some(mut chunk) = self.gathered.pop_front()
        {
            if chunk.len() > missing {
                self.gathered.push_front(chunk.split_off(missing));
            }
            missing -= chunk.len();
            part.push(chunk);
        }
        part.into_iter().collect()
    }

    /// Begins the upload in parts where it has not begun.
    async fn begin_parts(&mut self) -> object_store::Result<()> {
        if self.parts.is_some() {
            return Ok(());
        }
        let cloud = self.bucket.cloud();
        let publisher =
            if self.bucket.needs_conditions() { Some(cloud.conditional(self.seen.as_ref())?) } else { None };
        let aside = (cloud.copies() && publisher.is_some()).then(|| self.bucket.aside());
        let store = publisher.as_deref().unwrap_or_else(|| cloud.store());
        let options = PutMultipartOptions { attributes: self.attributes(), ..PutMultipartOptions::default() };
        let upload = store.put_multipart_opts(aside.as_ref().unwrap_or(&self.path), options).await?;
        self.parts = Some(Parts { upload, publisher, aside });
        Ok(())
    }

    async fn send_part(&mut self) -> object_store::Result<()> {
        self.begin_parts().await?;
        let payload = self.take(PART);
        match &mut self.parts {
            Some(parts) => parts.upload.put_part(payload).await,
            None => Ok(()),
        }
    }

    async fn publish(&mut self) -> object_store::Result<()> {
        let in_parts =
            self.parts.is_some() || (self.bucket.needs_conditions() && self.bucket.cloud().sends_blocks());
        if !in_parts {
            return self.put_whole().await;
        }
        if self.gathered_len > 0 {
            self.send_part().await?;
        }
        let Some(parts) = &mut self.parts else { return Ok(()) };
        parts.upload.complete().await?;
        if let (Some(aside), Some(publisher)) = (&parts.aside, &parts.publisher) {
            let copied = publisher.copy(aside, &self.path).await;
            // Where this fails, the file aside is swept.
            let _ = publisher.delete(aside).await;
            copied?;
        }
        Ok(())
    }

    async fn put_whole(&mut self) -> object_store::Result<()> {
        let mode = match self.seen.clone() {
            _ if !self.bucket.needs_conditions() => PutMode::Overwrite,
            None => PutMode::Create,
            Some(seen) => PutMode::Update(seen),
        };
        let options = PutOptions { mode, attributes: self.attributes(), ..PutOptions::default() };
        let payload = self.take(PART);
        self.bucket.cloud().store().put_opts(&self.path, payload, options).await.map(|_| ())
    }

    /// Whether the file under the final name is this one.
    async fn stands_there(&mut self) -> bool {
        let head = GetOptions { head: true, ..GetOptions::default() };
        let found = self.bucket.cloud().store().get_opts(&self.path, head).await;
        found.is_ok_and(|found| found.attributes.get(&MARK).is_some_and(|mark| mark.as_ref() == self.mark))
    }

    fn failure(&self, error: &Error) -> Failure {
        match error {
            // What was to be replaced is gone, as S3 says it when an upload is completed.
            Error::NotFound { .. } if self.seen.is_some() => superseded(),
            // Azure: whoever puts a list of blocks ends what others have sent for the same name.
            error if error.to_string().contains("InvalidBlockList") => superseded(),
            error => of_bucket(error),
        }
    }
}

#[async_trait]
impl Upload for BucketUpload {
    fn replaces(&self) -> bool {
        self.seen.is_some()
    }

    async fn write(&mut self, chunk: Bytes) -> Result<(), Failure> {
        self.gathered_len += chunk.len();
        self.gathered.push_back(chunk);
        while self.gathered_len > PART {
            self.send_part().await.map_err(|error| of_bucket(&error))?;
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), Failure> {
        if let Err(error) = self.publish().await
            && !self.stands_there().await
        {
            return Err(self.failure(&error));
        }
        // It is published: there is nothing to abort.
        self.parts = None;
        Ok(())
    }

    async fn abort(mut self: Box<Self>) {
        if let Some(parts) = mem::take(&mut self.parts) {
            parts.abort().await;
        }
    }
}

impl Parts {
    async fn abort(mut self) {
        if let Err(error) = self.upload.abort().await {
            tracing::warn!(failure = %of_bucket(&error), "an upload that was begun is left behind");
        }
    }
}

impl Drop for BucketUpload {
    /// An attempt that was interrupted: its parts cost until they are removed.
    fn drop(&mut self) {
        if let (Some(parts), Ok(runtime)) = (self.parts.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(parts.abort());
        }
    }
}
