//! The same promises in Azure's words, by its emulator: conditions on a list of blocks, and the signature over them.

use super::s3::open;
use crate::support::{eventually, within_patience};
use bytes::Bytes;
use callspool::{
    adapters::storage::BucketOptions,
    domain::{
        failure::FailureCode,
        ports::{Storage, Upload},
        storage_url::UploadChecksum,
    },
};
use futures_util::TryStreamExt;
use std::{path::Path, process::Stdio, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// Where `.ci/setup.sh heavy` puts it.
const AZURITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.callspool/azurite/node_modules/.bin/azurite-blob");
/// The emulator's own, known to everybody.
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const FILE: &str = "42/2026/01/CA1.mp3";
const PART: usize = 8 << 20;

struct Azure {
    _dir: TempDir,
    _child: Child,
    options: BucketOptions,
}

impl Azure {
    async fn start() -> Self {
        assert!(Path::new(AZURITE).exists(), "Azurite is missing; `sh .ci/setup.sh heavy` installs it");
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(AZURITE);
        command
            .args(["--blobPort", "0", "--skipApiVersionCheck", "--disableTelemetry", "--location"])
            .arg(dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = within_patience("Azurite", async {
            loop {
                let line = lines.next_line().await.unwrap().expect("its address");
                if let Some((_, address)) =
                    line.split_once("listens on ").or_else(|| line.split_once("listening at "))
                {
                    break address.trim().trim_start_matches("http://").to_owned();
                }
            }
        });
        let address = address.await;
        // It goes on writing, and must not wait for a reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let vars = [
            ("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1".to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
            ("AZURE_STORAGE_ENDPOINT", format!("http://{address}/devstoreaccount1")),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
        ];
        let options = BucketOptions {
            vars: vars.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            needs_conditions: true,
            checksum: UploadChecksum::Sha256,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(20),
            retries: 0,
        };
        create_container(&address).await;
        Self { _dir: dir, _child: child, options }
    }

    fn storage(&self) -> Arc<dyn Storage> {
        open("az://calls/eu", &self.options)
    }
}

/// `object_store` makes none.
async fn create_container(address: &str) {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use hmac::{Hmac, KeyInit, Mac};
    let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    // Azure, "Authorize with Shared Key": the verb, eleven empty headers, those of x-ms-, and the resource.
    let signed = format!(
        "PUT{}x-ms-date:{date}\nx-ms-version:2021-12-02\n/devstoreaccount1/devstoreaccount1/calls\nrestype:container",
        "\n".repeat(12)
    );
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&BASE64_STANDARD.decode(KEY).unwrap()).unwrap();
    mac.update(signed.as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let url = format!("http://{address}/devstoreaccount1/calls?restype=container");
    let request = reqwest::Client::new().put(url).header("x-ms-date", date).header("x-ms-version", "2021-12-02");
    let request = request.header("Authorization", format!("SharedKey devstoreaccount1:{signature}"));
    let answer = request.header("Content-Length", "0").send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
}

fn content(seed: u8, length: usize) -> Bytes {
    let mut bytes = vec![seed; length];
    for (at, byte) in bytes.iter_mut().enumerate().step_by(4_093) {
        *byte = u8::try_from(at % 251).unwrap();
    }
    bytes.into()
}

async fn begin(storage: &dyn Storage, content: &Bytes) -> Box<dyn Upload> {
    let mut upload = storage.begin(FILE).await.unwrap();
    for chunk in content.chunks(1_000_003) {
        upload.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    upload
}

async fn read(storage: &dyn Storage, length: usize) -> Vec<u8> {
    let file = storage.read(FILE, 0..length as u64).await.unwrap().unwrap();
    file.stream.try_collect::<Vec<_>>().await.unwrap().concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_the_same_promises() {
    let azure = Azure::start().await;
    let storage = azure.storage();
    eventually("a check", async || storage.check().await.ok()).await;
    for (seed, length) in [(1, 1_000), (2, PART), (3, 2 * PART + 5), (4, 10)] {
        let whole = content(seed, length);
        assert_eq!(begin(storage.as_ref(), &whole).await.commit().await, Ok(()), "{length}");
        assert!(read(storage.as_ref(), length).await == whole, "{length}");
    }
    for late in [1_000, PART + 5] {
        for newer in [2_000, PART + 6] {
            for is_there in [false, true] {
                storage.remove(FILE).await.unwrap();
                if is_there {
                    begin(storage.as_ref(), &content(9, 50)).await.commit().await.unwrap();
                }
                let newer_content = content(6, newer);
                let sleeping = begin(storage.as_ref(), &content(5, late)).await;
                begin(storage.as_ref(), &newer_content).await.commit().await.unwrap();
                let refused = sleeping.commit().await.unwrap_err();
                assert_eq!((refused.code, refused.blame), (FailureCode::Superseded, None), "{late}, {newer}");
                assert!(read(storage.as_ref(), newer).await == newer_content);
            }
        }
    }
    storage.remove(FILE).await.unwrap();
    assert_eq!(storage.size(FILE).await, Ok(None));
    assert_eq!(storage.sweep(Duration::ZERO, 10).await, Ok(0));
}
