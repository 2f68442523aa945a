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
use reqwest::{Method, redirect::Policy};
use serde::Deserialize;
use std::time::Duration;

/// How long a signed URL may be used, and the longest time of its request.
const LIMIT: Duration = Duration::from_secs(30);
/// Pages of 1,000 that one sweep looks at.
const MAX_PAGES: usize = 20;
/// Bytes of one page: a thousand uploads with keys of a thousand bytes each, and what belongs to them.
const MAX_PAGE: usize = 4 << 20;

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
    let client = client().map_err(|_| blamed("the storage failed"))?;
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

/// It follows no redirect: what is signed is for the bucket's server only.
fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().timeout(LIMIT).redirect(Policy::none()).build()
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
    let mut answer = client.get(url).send().await.map_err(unreachable)?;
    let status = answer.status();
    if !status.is_success() {
        let status = status.as_u16();
        return Err(blamed(format!("uploads that are under way cannot be listed: the server answered {status}")));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_PAGE {
            return Err(blamed(format!("the list of uploads under way is longer than {MAX_PAGE} bytes")));
        }
    }
    read(&body)
}

/// A document type is none of a list: entities of its own are known here by no name.
fn read(body: &[u8]) -> Result<Page, Failure> {
    quick_xml::de::from_reader(body).map_err(|_| blamed("the list of uploads under way cannot be read"))
}

/// Keys and ids of an answer, and whether it says that there are more: see [`crate::adapters::tried`].
pub(in crate::adapters) fn listed(body: &[u8]) -> Result<(Vec<(String, String)>, bool), Failure> {
    let page = read(body)?;
    Ok((page.upload.into_iter().map(|pending| (pending.key, pending.upload_id)).collect(), page.is_truncated))
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::aws::AmazonS3Builder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
        let page = read(text.as_bytes()).unwrap();
        assert_eq!(page.upload.len(), 2);
        assert_eq!((page.upload[1].key.as_str(), page.upload[1].upload_id.as_str()), ("p/b.mp3", "2"));
        assert!(page.is_truncated);
        assert_eq!(page.next_key_marker, "p/a.mp3");
        let none = read(b"<ListMultipartUploadsResult/>").unwrap();
        assert!(none.upload.is_empty() && !none.is_truncated);
    }

    #[test]
    fn a_list_with_entities_of_its_own_is_refused_and_none_is_opened() {
        let upload = |key: &str| {
            format!(
                "<Upload><Key>{key}</Key><UploadId>1</UploadId><Initiated>2026-01-02T03:04:05Z</Initiated></Upload>"
            )
        };
        let list = |head: &str, key: &str| format!("{head}<L>{}</L>", upload(key)).into_bytes();
        assert_eq!(read(&list("", "a&amp;b")).unwrap().upload[0].key, "a&b");
        for (entities, key) in [
            ("<!ENTITY a \"aaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">", "&b;"),
            ("<!ENTITY x SYSTEM \"file:///etc/passwd\">", "&x;"),
            ("", "&nosuch;"),
        ] {
            assert!(read(&list(&format!("<!DOCTYPE L [{entities}]>"), key)).is_err(), "{entities}");
        }
        for junk in [&b""[..], b"<L>", b"\xff\xfe", b"{}", &b"<L>".repeat(10_000)] {
            assert!(read(junk).map_or(true, |page| page.upload.is_empty()), "{junk:?}");
        }
    }

    /// One answer, then the end of the connection.
    async fn answered(answer: &'static [u8], body: usize) -> Result<Page, Failure> {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut asked = [0; 4_096];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(answer).await;
            let chunk = vec![b' '; 64 << 10];
            for _ in 0..body / chunk.len() {
                if stream.write_all(&chunk).await.is_err() {
                    break;
                }
            }
        });
        let builder = AmazonS3Builder::new().with_bucket_name("b").with_region("us-east-1").with_allow_http(true);
        let builder = builder.with_access_key_id("id").with_secret_access_key("canary");
        let store = builder.with_endpoint(format!("http://{address}")).build().unwrap();
        let page = page(&store, &client().unwrap(), "p", &[]).await;
        serving.abort();
        page
    }

    #[tokio::test]
    async fn a_list_without_an_end_is_given_up_and_a_redirect_is_not_followed() {
        let endless = answered(b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n\r\n<L>", 64 << 20).await;
        assert!(endless.unwrap_err().message.contains("longer than 4194304 bytes"));
        let moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        let refused = answered(moved, 0).await.unwrap_err().message;
        assert!(refused.contains("answered 302") && !refused.contains("canary"), "{refused}");
        let good = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<L/>", 0).await.unwrap();
        assert!(good.upload.is_empty());
    }
}
