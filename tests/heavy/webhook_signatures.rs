//! Thousands of callbacks signed by Twilio's own library: the right ones are believed, the altered ones are not.

use crate::{
    api_fuzz::tool,
    support::{Database, http::raw, process::Setup, within_patience},
};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use std::collections::BTreeMap;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/heavy/twilio_signed.py");
const COUNT: &str = "6000";
/// Another one finds other cases; a failure names it.
const SEED: &str = "20260225";
const TOKENS: [(&str, &str, &str); 2] =
    [("AC1", "TWILIO_AUTH_TOKEN", "new-token,old-token"), ("AC2", "TWILIO_AUTH_TOKEN_AC2", "other-token")];

#[tokio::test(flavor = "multi_thread")]
async fn what_twilios_own_library_signs_is_believed_and_nothing_else_is() {
    let mut setup = Setup::new(&Database::migrated().await)
        .var("CALLSPOOL_ROLES", "webhooks")
        .var("TWILIO_ACCOUNT_SID", "AC1")
        .config("[twilio.accounts.AC2]\n");
    let mut python = tool("python");
    python.args([SCRIPT, COUNT, SEED]);
    for (account, variable, tokens) in TOKENS {
        setup = setup.var(variable, tokens);
        python.arg(format!("{account}={tokens}"));
    }
    let process = setup.run().await;
    let made = within_patience("the callbacks", python.output()).await.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let callbacks: Vec<Value> =
        String::from_utf8(made.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(callbacks.len().to_string(), COUNT);

    let process = &process;
    let answers = callbacks.iter().map(async |callback| (callback, raw(process, &request(callback)).await.status));
    let answers: Vec<_> = stream::iter(answers).buffer_unordered(8).collect().await;
    let mut seen = BTreeMap::<&str, u32>::new();
    for (callback, status) in answers {
        let expected = if callback["right"] == true { 204 } else { 403 };
        assert_eq!(status, expected, "seed {SEED}: {callback:#}");
        *seen.entry(callback["what"].as_str().unwrap()).or_default() += 1;
    }
    assert!(seen.len() > 10 && seen.values().all(|count| *count > 100), "{seen:?}");
}

/// As a proxy hands it on: byte for byte, with what it was asked.
fn request(callback: &Value) -> Vec<u8> {
    let text = |name: &str| callback[name].as_str().unwrap();
    let mut head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nX-Forwarded-Proto: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
        text("target"),
        text("host"),
        text("scheme"),
        text("body").len()
    );
    for (name, value) in callback["headers"].as_object().unwrap() {
        head = format!("{head}{name}: {}\r\n", value.as_str().unwrap());
    }
    format!("{head}\r\n{}", text("body")).into_bytes()
}
