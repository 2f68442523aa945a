//! How a bucket is reached: `AWS_*`, `GOOGLE_*` or `AZURE_*`, as the service's own tools read them.
//!
//! They are passed on as they are and shown nowhere, since some are keys. Only what would be misread, or would send keys
//! in the open, is refused here.

use super::layers::Vars;
use crate::domain::storage_url::BucketService;
use secrecy::SecretString;
use url::Url;

/// Those of this service; what is wrong with them goes to `faults`, without their values.
pub(super) fn gather(service: BucketService, vars: &Vars, faults: &mut Vec<String>) -> Vec<(String, SecretString)> {
    let set = vars.beginning_with(service.variables());
    match service {
        BucketService::S3 => s3_rules(vars, faults),
        BucketService::Az => azure_rules(vars, faults),
        BucketService::Gs => {}
    }
    set.map(|(name, _, value)| (name.to_owned(), value.into())).collect()
}

fn s3_rules(vars: &Vars, faults: &mut Vec<String>) {
    if vars.get("AWS_ACCESS_KEY_ID").is_some() != vars.get("AWS_SECRET_ACCESS_KEY").is_some() {
        faults.push(
            "storage.url: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together; set both, or none for the role \
             of the machine"
                .to_owned(),
        );
    }
    let may_be_http = switch("AWS_ALLOW_HTTP", vars, faults);
    for name in ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"] {
        endpoint(name, may_be_http, "AWS_ALLOW_HTTP", vars, faults);
    }
}

fn azure_rules(vars: &Vars, faults: &mut Vec<String>) {
    let emulated = switch("AZURE_STORAGE_USE_EMULATOR", vars, faults);
    if !emulated && vars.get("AZURE_STORAGE_ACCOUNT_NAME").is_none() {
        faults.push("storage.url: az:// needs AZURE_STORAGE_ACCOUNT_NAME".to_owned());
    }
    let may_be_http = switch("AZURE_ALLOW_HTTP", vars, faults) || emulated;
    for name in ["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"] {
        endpoint(name, may_be_http, "AZURE_ALLOW_HTTP", vars, faults);
    }
}

fn endpoint(name: &str, may_be_http: bool, switch: &str, vars: &Vars, faults: &mut Vec<String>) {
    let Some(text) = vars.get(name) else { return };
    let url = Url::parse(text).ok().filter(|url| {
        url.has_host() && url.username().is_empty() && url.password().is_none() && url.query().is_none()
    });
    match url.as_ref().map(Url::scheme) {
        Some("https") => {}
        Some("http") if may_be_http => {}
        Some("http") => faults.push(format!("storage.url: {name} is an http URL, which needs {switch}=true")),
        _ => faults.push(format!("storage.url: {name}: allowed is an https URL without user info and query")),
    }
}

fn switch(name: &str, vars: &Vars, faults: &mut Vec<String>) -> bool {
    match vars.get(name) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            faults.push(format!("storage.url: {name}: allowed is true or false"));
            false
        }
    }
}
