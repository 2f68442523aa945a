//! Where recordings go, as `CALLSPOOL_STORAGE_URL` says it.

use std::path::PathBuf;

/// A folder of this machine, or a part of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageUrl {
    Folder(PathBuf),
    Bucket {
        service: BucketService,
        /// A container, as Azure calls it.
        bucket: String,
        /// Without slashes at its ends; may be empty.
        prefix: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketService {
    /// Amazon's, and whatever speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gs,
    /// Azure Blob Storage.
    Az,
}

/// Of what is sent to an S3 bucket: the server counts it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadChecksum {
    Sha256,
    Crc64Nvme,
    None,
}

impl BucketService {
    /// The variables that say how it is reached begin with this.
    pub fn variables(self) -> &'static str {
        match self {
            Self::S3 => "AWS_",
            Self::Gs => "GOOGLE_",
            Self::Az => "AZURE_",
        }
    }
}

impl StorageUrl {
    pub const ALLOWED: &str = "file: and a path, as file:./data or file:///srv/data, or a bucket with or without a \
        prefix, as s3://bucket/prefix, gs://bucket/prefix or az://container/prefix, without user info, query and fragment \
        (keys and endpoints come by AWS_*, GOOGLE_* and AZURE_*)";

    /// `None`: not allowed.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("file:") {
            return folder(path).map(Self::Folder);
        }
        let (scheme, rest) = text.split_once("://")?;
        let service = match scheme {
            "s3" => BucketService::S3,
            "gs" => BucketService::Gs,
            "az" => BucketService::Az,
            _ => return None,
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let is_right = is_bucket(bucket) && (prefix.is_empty() || prefix.split('/').all(is_prefix_part));
        is_right.then(|| Self::Bucket { service, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

/// `file://host/path` is none: a folder of this machine was hardly meant by it.
fn folder(path: &str) -> Option<PathBuf> {
    if path.contains(char::is_control) {
        return None;
    }
    match path.strip_prefix("//") {
        Some(path) => path.starts_with(['/', '.']).then(|| path.into()),
        None => (!path.is_empty()).then(|| path.into()),
    }
}

/// What the three services allow together; which of it one of them takes it says itself.
fn is_bucket(name: &str) -> bool {
    (3..=222).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte))
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// A part that begins with a dot is reserved for what is not a recording.
fn is_prefix_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._=+".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_this_machine_is_named_by_file() {
        for (text, path) in [
            ("file:./data", "./data"),
            ("file:data", "data"),
            ("file:/srv/x", "/srv/x"),
            ("file:///srv/x", "/srv/x"),
            ("file://./data", "./data"),
        ] {
            assert_eq!(StorageUrl::parse(text), Some(StorageUrl::Folder(path.into())), "{text}");
        }
    }

    #[test]
    fn a_bucket_is_named_by_its_service_with_or_without_a_prefix() {
        for (text, service, bucket, prefix) in [
            ("s3://calls", BucketService::S3, "calls", ""),
            ("s3://calls/", BucketService::S3, "calls", ""),
            ("s3://my.calls-1/a/b=c/", BucketService::S3, "my.calls-1", "a/b=c"),
            ("gs://calls_eu/x", BucketService::Gs, "calls_eu", "x"),
            ("az://calls/x/y", BucketService::Az, "calls", "x/y"),
        ] {
            let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
            assert_eq!(StorageUrl::parse(text), Some(StorageUrl::Bucket { service, bucket, prefix }), "{text}");
        }
    }

    #[test]
    fn what_would_not_be_found_or_holds_a_secret_is_refused() {
        for wrong in [
            "",
            "file:",
            "file://",
            "file://host/x",
            "./data",
            "file:a\nb",
            "s3:",
            "s3://",
            "s3:///x",
            "s3:calls",
            "S3://calls",
            "ftp://calls",
            "https://s3.amazonaws.com/calls",
            "s3://key:secret@calls",
            "s3://calls?x=y",
            "s3://calls/a?token=x",
            "s3://calls/a#b",
            "s3://calls//a",
            "s3://calls/a//",
            "s3://calls/../a",
            "s3://calls/.hidden",
            "s3://calls/a b",
            "s3://Calls",
            "s3://ab",
            "s3://-calls",
            "s3://calls:9000/x",
        ] {
            assert_eq!(StorageUrl::parse(wrong), None, "{wrong:?}");
        }
    }
}
