//! A server that speaks S3, whose process may be killed.

use crate::support::within_patience;
use callspool::{
    adapters::storage::{self, BucketOptions, DiskOptions},
    domain::{
        ports::Storage,
        storage_url::{StorageUrl, UploadChecksum},
    },
};
use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// Where `.ci/setup.sh heavy` puts it.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.callspool/python/bin/python");
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/heavy/s3_server.py");
pub const BUCKET: &str = "calls";
/// Of the one that may do everything.
pub const SECRET: &str = "s3-secret-canary";

pub struct S3 {
    dir: TempDir,
    child: Child,
    pub port: u16,
    http: reqwest::Client,
}

impl S3 {
    /// With one bucket.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (child, port) = spawn(&dir, 0).await;
        let s3 = Self { dir, child, port, http: reqwest::Client::new() };
        s3.ask(reqwest::Method::PUT, BUCKET).await;
        s3
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// At the same address, with what it had answered.
    pub async fn start_again(&mut self) {
        (self.child, _) = spawn(&self.dir, self.port).await;
    }

    pub async fn begin_fault(&self, name: &str) {
        self.ask(reqwest::Method::PUT, &format!("_fault/{name}")).await;
    }

    pub async fn end_fault(&self, name: &str) {
        self.ask(reqwest::Method::DELETE, &format!("_fault/{name}")).await;
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What a process needs to find it.
    pub fn vars(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    pub fn options(&self) -> BucketOptions {
        BucketOptions {
            vars: self.vars().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            needs_conditions: true,
            checksum: UploadChecksum::Sha256,
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(20),
            retries: 0,
        }
    }

    pub fn open(&self, options: &BucketOptions) -> Arc<dyn Storage> {
        self.open_at("s3://calls/eu/recordings", options)
    }

    pub fn open_at(&self, url: &str, options: &BucketOptions) -> Arc<dyn Storage> {
        open(url, options)
    }

    /// Keys of objects and of uploads under way, as the server lists them.
    pub async fn keys(&self, query: &str) -> Vec<String> {
        let text = self.ask(reqwest::Method::GET, &format!("{BUCKET}?{query}")).await;
        let keys = text.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap().to_owned());
        keys.collect()
    }

    pub async fn objects(&self) -> Vec<String> {
        self.keys("list-type=2").await
    }

    /// Without what is aside.
    pub async fn recordings(&self) -> Vec<String> {
        self.objects().await.into_iter().filter(|key| !key.contains("/.callspool-aside/")).collect()
    }

    pub async fn under_way(&self) -> Vec<String> {
        self.keys("uploads").await
    }

    /// The server does not look at signatures.
    pub async fn ask(&self, method: reqwest::Method, path: &str) -> String {
        let request = self.http.request(method, format!("{}/{path}", self.endpoint()));
        let scope = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request";
        let request = request.header("Authorization", format!("{scope}, SignedHeaders=host, Signature=0"));
        let answer = request.send().await.unwrap();
        answer.text().await.unwrap()
    }
}

pub fn open(url: &str, options: &BucketOptions) -> Arc<dyn Storage> {
    let disk = DiskOptions { fsync: true, min_free: 0, make: true };
    storage::open(&StorageUrl::parse(url).unwrap(), disk, options).unwrap()
}

/// `port`: 0 picks one.
async fn spawn(dir: &TempDir, port: u16) -> (Child, u16) {
    assert!(PathBuf::from(PYTHON).exists(), "Python's tools are missing; `sh .ci/setup.sh heavy` installs them");
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let mut command = Command::new(PYTHON);
    command.arg(SERVER).arg(dir.path()).arg(port.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within_patience("the S3 server", lines.next_line()).await.unwrap();
    let line = line.unwrap_or_else(|| panic!("{}", std::fs::read_to_string(dir.path().join("log")).unwrap()));
    let port = line.rsplit(' ').next().unwrap().parse().unwrap();
    (child, port)
}
