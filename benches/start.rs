//! From exec to `/readyz` 200: a cold `callspool run` on a database that is ready.

use callspool::adapters::embedded_postgres::{EmbeddedOptions, EmbeddedPostgres};
use criterion::{Criterion, criterion_group, criterion_main};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A process, killed at the end of its measurement.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended by itself, which the measurement has found out then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(url: &str, folder: &Path, address: SocketAddr) -> Started {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callspool"));
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).arg("run");
    command.env("CALLSPOOL_ENV", "test").env("RUN_MIGRATIONS", "1").env("DATABASE_URL", url);
    command.env("CALLSPOOL_HTTP_BIND", address.to_string());
    Started(command.spawn().expect("the binary is built with the benchmark"))
}

fn is_ready(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

fn until_ready(url: &str, folder: &Path) -> Duration {
    // A port that is free now.
    let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("loopback has ports");
    let begun = Instant::now();
    let _started = start(url, folder, address);
    while !is_ready(address).unwrap_or(false) {
        assert!(begun.elapsed() < Duration::from_mins(1), "it does not become ready");
        std::thread::sleep(Duration::from_millis(1));
    }
    begun.elapsed()
}

fn cold_start(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder for logs and recordings");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime for the database");
    let options = EmbeddedOptions { stop_when_killed: true, ..EmbeddedOptions::default() };
    let cluster = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-postgres");
    let embedded =
        runtime.block_on(EmbeddedPostgres::start_with(&cluster, options)).expect("PostgreSQL's binaries");
    let url = runtime.block_on(embedded.database("start")).expect("a database");
    // Migrates it.
    until_ready(&url, folder.path());
    let mut group = c.benchmark_group("start");
    group.sample_size(10);
    group.bench_function("a cold run on a ready database", |b| {
        b.iter_custom(|starts| (0..starts).map(|_| until_ready(&url, folder.path())).sum());
    });
    group.finish();
    runtime.block_on(embedded.stop());
}

criterion_group!(benches, cold_start);
criterion_main!(benches);
