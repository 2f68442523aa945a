//! The three services' clients, made from the variables that their own tools read.

use super::conditional::{Conditional, Publishing, SharedClient};
use crate::domain::storage_url::{BucketService, UploadChecksum};
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, Result, RetryConfig, UpdateVersion,
    aws::{AmazonS3, AmazonS3Builder, Checksum},
    azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder},
};
use secrecy::{ExposeSecret, SecretString};
use std::{sync::Arc, time::Duration};

/// What belongs to a bucket only.
#[derive(Debug, Clone)]
pub struct BucketOptions {
    /// `AWS_…`, `GOOGLE_…`, `AZURE_…`: names and values. Those that the client does not know are passed over, as its
    /// service's tools do.
    pub vars: Vec<(String, SecretString)>,
    /// Whether the server has to keep conditions.
    pub needs_conditions: bool,
    pub checksum: UploadChecksum,
    pub connect_timeout: Duration,
    /// Of a whole request that sends; of one that reads, the longest silence.
    pub request_timeout: Duration,
    pub retries: usize,
}

impl BucketOptions {
    fn client(&self) -> ClientOptions {
        // A limit of the whole request would cut a long recording that somebody hears.
        ClientOptions::new()
            .with_timeout_disabled()
            .with_connect_timeout(self.connect_timeout)
            .with_read_timeout(self.request_timeout)
    }

    fn retry(&self) -> RetryConfig {
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(5),
            base: 2.,
        };
        RetryConfig { backoff, max_retries: self.retries, retry_timeout: self.request_timeout * 2 }
    }

    fn known<K: std::str::FromStr>(&self) -> impl Iterator<Item = (K, &str)> {
        self.vars
            .iter()
            .filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.expose_secret())))
    }
}

/// A bucket's client, and how a like one is made for one upload. Not to be shown: the builders hold keys.
pub(super) enum Cloud {
    S3 { store: Arc<AmazonS3>, builder: Box<AmazonS3Builder>, client: SharedClient },
    Gs { store: Arc<GoogleCloudStorage>, builder: Box<GoogleCloudStorageBuilder>, client: SharedClient },
    Az { store: Arc<MicrosoftAzure>, builder: Box<MicrosoftAzureBuilder>, client: SharedClient },
}

impl Cloud {
    pub(super) fn open(service: BucketService, bucket: &str, options: &BucketOptions) -> Result<Self> {
        let client = SharedClient::default();
        match service {
            BucketService::S3 => {
                let builder = AmazonS3Builder::new().with_client_options(options.client());
                let builder =
                    options.known().fold(builder, |builder, (key, value)| builder.with_config(key, value));
                let builder = builder.with_bucket_name(bucket).with_retry(options.retry());
                let builder = match options.checksum {
                    UploadChecksum::Sha256 => builder.with_checksum_algorithm(Checksum::SHA256),
                    UploadChecksum::Crc64Nvme => builder.with_checksum_algorithm(Checksum::CRC64NVME),
                    UploadChecksum::None => builder,
                };
                let store = Arc::new(builder.clone().build()?);
                Ok(Self::S3 { store, builder: Box::new(builder), client })
            }
            BucketService::Gs => {
                let builder = GoogleCloudStorageBuilder::new().with_client_options(options.client());
                let builder =
                    options.known().fold(builder, |builder, (key, value)| builder.with_config(key, value));
                let builder = builder.with_bucket_name(bucket).with_retry(options.retry());
                let store = Arc::new(builder.clone().build()?);
                Ok(Self::Gs { store, builder: Box::new(builder), client })
            }
            BucketService::Az => {
                let builder = MicrosoftAzureBuilder::new().with_client_options(options.client());
                let builder =
                    options.known().fold(builder, |builder, (key, value)| builder.with_config(key, value));
                let builder = builder.with_container_name(bucket).with_retry(options.retry());
                let store = Arc::new(builder.clone().build()?);
                Ok(Self::Az { store, builder: Box::new(builder), client })
            }
        }
    }

    pub(super) fn store(&self) -> &dyn ObjectStore {
        match self {
            Self::S3 { store, .. } => store.as_ref(),
            Self::Gs { store, .. } => store.as_ref(),
            Self::Az { store, .. } => store.as_ref(),
        }
    }

    /// Google completes a multipart upload whatever stands under its name (Cloud Storage, "XML API multipart uploads"),
    /// so a large file is completed aside, and copied.
    pub(super) fn copies(&self) -> bool {
        matches!(self, Self::Gs { .. })
    }

    /// Azure may take blocks that were sent for a name and never listed for a file that stands there, where a whole file
    /// is put on the condition that there is none (its emulator does). A list of blocks is not refused so: every file is
    /// sent as one.
    pub(super) fn sends_blocks(&self) -> bool {
        matches!(self, Self::Az { .. })
    }

    /// A client for one large upload, which publishes only while `seen` stands there.
    pub(super) fn conditional(&self, seen: Option<&UpdateVersion>) -> Result<Box<dyn ObjectStore>> {
        let untold = || Error::NotSupported { source: "the server names no version of this file".into() };
        match self {
            Self::S3 { store, builder, client } => {
                let connector = Conditional::new(client, Publishing::Completion, seen).ok_or_else(untold)?;
                let builder = (**builder).clone().with_credentials(Arc::clone(store.credentials()));
                Ok(Box::new(builder.with_http_connector(connector).build()?))
            }
            Self::Gs { store, builder, client } => {
                let connector = Conditional::new(client, Publishing::Copy, seen).ok_or_else(untold)?;
                let builder = (**builder).clone().with_credentials(Arc::clone(store.credentials()));
                Ok(Box::new(builder.with_http_connector(connector).build()?))
            }
            Self::Az { store, builder, client } => {
                let account = builder.get_config_value(&AzureConfigKey::AccountName);
                let account = account.unwrap_or_else(|| EMULATED_ACCOUNT.to_owned());
                let credentials = Arc::clone(store.credentials());
                let publishing = Publishing::BlockList { account, credentials: Arc::clone(&credentials) };
                let connector = Conditional::new(client, publishing, seen).ok_or_else(untold)?;
                let builder = (**builder).clone().with_credentials(credentials);
                Ok(Box::new(builder.with_http_connector(connector).build()?))
            }
        }
    }
}

/// Of Azure's emulator, which has this one where none is named.
const EMULATED_ACCOUNT: &str = "devstoreaccount1";
