//! S3: uploads in parts that were begun and never ended. Nobody sees them and they cost like files, until they are
//! aborted, by this or by a rule of the bucket. `object_store` does not list them; it signs the URL that does.

use super::trouble::{blamed, of_bucket};
use crate::domain::failure::Failure;
use chrono::{DateTime, Utc};
use object_store::{
    Error,
    aws::AmazonS3,
    multipart::MultipartStore,
    path::Path,
    signer::{SignedUrlOptions, Signer},
};
use reqwest::Method;
use serde::Deserialize;
use std::time::Duration;

/// How long a signed URL may be used, and the longest time of its request.
const LIMIT: Duration = Duration::from_secs(30);
/// Pages of 1,000 that one sweep looks at.
const MAX_PAGES: usize = 20;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Page {
    upload: Vec<Pending>,
    is_truncated: bool,
    next_key_marker: String,
    next_upload_id_marker: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pending {
    key: String,
    upload_id: String,
    initiated: DateTime<Utc>,
}

/// Aborts those below `prefix` that began before `before`; returns how many.
pub(super) async fn sweep(
    store: &AmazonS3,
    prefix: &str,
    before: DateTime<Utc>,
    limit: usize,
) -> Result<usize, Failure> {
    let client = reqwest::Client::builder().timeout(LIMIT).build().map_err(|_| blamed("the storage failed"))?;
    let (mut aborted, mut markers) = (0, Vec::new());
    for _ in 0..MAX_PAGES {
        let page = page(store, &client, prefix, &markers).await?;
        let old =
            page.upload.iter().filter(|pending| pending.initiated < before && pending.key.starts_with(prefix));
        for pending in old.take(limit - aborted) {
            let Ok(path) = Path::parse(&pending.key) else { continue };
            match store.abort_multipart(&path, &pending.upload_id).await {
                Ok(()) => aborted += 1,
                // Ended or swept by another process.
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(of_bucket(&error)),
            }
        }
        if !page.is_truncated || aborted >= limit {
            break;
        }
        markers = vec![("key-marker", page.next_key_marker), ("upload-id-marker", page.next_upload_id_marker)];
    }
    Ok(aborted)
}

/// The errors of this client name the URL, which is signed: they are told in words of our own.
async fn page(
    store: &AmazonS3,
    client: &reqwest::Client,
    prefix: &str,
    markers: &[(&str, String)],
) -> Result<Page, Failure> {
    let query = [("uploads", ""), ("prefix", prefix)].into_iter();
    let query = query.chain(markers.iter().map(|(name, value)| (*name, value.as_str())));
    let options = SignedUrlOptions::default().with_query(query);
    let url = store.signed_url_opts(Method::GET, &Path::default(), LIMIT, &options).await;
    let url = url.map_err(|error| of_bucket(&error))?;
    let unreachable = |_| blamed("the bucket's server does not list uploads that are under way");
    let answer = client.get(url).send().await.map_err(unreachable)?;
    let status = answer.status();
    if !status.is_success() {
        let status = status.as_u16();
        return Err(blamed(format!("uploads that are under way cannot be listed: the server answered {status}")));
    }
    let body = answer.bytes().await.map_err(unreachable)?;
    quick_xml::de::from_reader(&*body).map_err(|_| blamed("the list of uploads under way cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_uploads_is_read_as_s3_writes_it() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
            <ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
              <Bucket>calls</Bucket><KeyMarker/><UploadIdMarker/><MaxUploads>1000</MaxUploads>
              <NextKeyMarker>p/a.mp3</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>
              <IsTruncated>true</IsTruncated>
              <Upload><Key>p/a.mp3</Key><UploadId>1</UploadId><StorageClass>STANDARD</StorageClass>
                <Initiated>2026-01-02T03:04:05.000Z</Initiated></Upload>
              <Upload><Key>p/b.mp3</Key><UploadId>2</UploadId><Owner><ID>x</ID></Owner>
                <Initiated>2026-01-02T03:04:06.000Z</Initiated></Upload>
            </ListMultipartUploadsResult>"#;
        let page: Page = quick_xml::de::from_str(text).unwrap();
        assert_eq!(page.upload.len(), 2);
        assert_eq!((page.upload[1].key.as_str(), page.upload[1].upload_id.as_str()), ("p/b.mp3", "2"));
        assert!(page.is_truncated);
        assert_eq!(page.next_key_marker, "p/a.mp3");
        let none: Page = quick_xml::de::from_str("<ListMultipartUploadsResult/>").unwrap();
        assert!(none.upload.is_empty() && !none.is_truncated);
    }
}
