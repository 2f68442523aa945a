//! Where a provider may send us, and what goes along.

use crate::support::{
    Answer, Provider,
    provider::recording,
    twilio::{Setup, account_sid, path},
};
use async_trait::async_trait;
use bytes::Bytes;
use callspool::{adapters::twilio::Names, domain::failure::FailureCode};
use std::{
    io,
    net::{IpAddr, TcpListener},
    sync::{Arc, Mutex},
};

fn to(location: &str) -> Answer {
    Answer::Status(302, vec![("Location", location.to_owned())], Bytes::new())
}

/// Every name has these addresses; who is asked for is kept.
#[derive(Clone, Default)]
struct Fixed {
    addresses: Vec<&'static str>,
    asked: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Names for Fixed {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().push(name.to_owned());
        if self.addresses.is_empty() {
            return Err(io::Error::other("no such name"));
        }
        Ok(self.addresses.iter().map(|address| address.parse().unwrap()).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_never_leads_to_an_address_that_is_not_public_however_it_is_spelled() {
    let (provider, inside) = (Provider::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    inside.set_nonblocking(true).unwrap();
    let port = inside.local_addr().unwrap().port();
    for (number, host) in (1..).zip([
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost",
        "LocalHost.",
        "a.localhost",
        "0.0.0.0",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "metadata.google.internal",
        "intranet",
    ]) {
        provider.tell(number, [to(&format!("https://{host}:{port}/x"))]);
        let failure = Setup::new(provider.base()).fetch(number).await.unwrap_err();
        assert_eq!((failure.code, failure.blame), (FailureCode::UrlRefused, None), "{host}");
    }
    assert!(inside.accept().is_err(), "nobody was connected to");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_inside_is_refused_after_its_resolution() {
    let (provider, inside) = (Provider::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    inside.set_nonblocking(true).unwrap();
    let port = inside.local_addr().unwrap().port();
    provider.tell(1, [to(&format!("https://media.example.com:{port}/x"))]);
    for addresses in
        [vec!["127.0.0.1"], vec!["::1", "10.0.0.1"], vec!["::ffff:169.254.169.254"], vec!["fd00:ec2::254"]]
    {
        let names = Fixed { addresses, ..Fixed::default() };
        let failure = Setup::new(provider.base()).names(names.clone()).fetch(1).await.unwrap_err();
        assert_eq!((failure.code, failure.can_pass()), (FailureCode::UrlRefused, false), "{failure}");
        assert_eq!(*names.asked.lock().unwrap(), ["media.example.com"], "once: nothing is asked a second time");
    }
    assert!(inside.accept().is_err(), "nobody was connected to");
    // A name that does not resolve is that host's trouble, and not the provider's.
    let failure = Setup::new(provider.base()).names(Fixed::default()).fetch(1).await.unwrap_err();
    let blamed = failure.blame.map(|blame| blame.key.to_string());
    assert_eq!((failure.code, blamed), (FailureCode::Network, Some(format!("host:media.example.com:{port}"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_base_is_trusted_by_its_name() {
    let provider = Provider::start();
    let base = provider.base().replace("127.0.0.1", "localhost");
    let names = Fixed::default();
    assert_eq!(Setup::new(&base).names(names.clone()).fetch(1).await.unwrap(), recording(1));
    assert!(names.asked.lock().unwrap().is_empty(), "only what is no base is looked up by the checked way");
    assert!(provider.asked()[0].authorization.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_base_is_followed_to_without_credentials_and_there_is_no_way_back_to_them() {
    let (provider, other) = (Provider::start(), Provider::start());
    let setup = Setup::new(provider.base()).config(|config| {
        let base = other.base().parse().unwrap();
        config.bases = config.bases.clone().with_account(account_sid("AC2"), base);
    });
    provider.tell(1, [to(&format!("{}/media/RE7", other.base()))]);
    assert_eq!(setup.fetch(1).await.unwrap(), recording(7));
    assert!(provider.asked()[0].authorization.is_some());
    assert!(other.asked()[0].authorization.is_none());
    // There and back again.
    provider.tell(2, [to(&format!("{}/media/RE8", other.base()))]);
    other.tell(8, [to(&format!("{}{}", provider.base(), path(9)))]);
    assert_eq!(setup.fetch(2).await.unwrap(), recording(9));
    let authorizations: Vec<bool> = provider.asked().iter().map(|asked| asked.authorization.is_some()).collect();
    assert_eq!(authorizations, [true, true, false]);
    // What the other host says of rights and rates is not about the account.
    for (number, status, blamed) in [(20, 401, None), (21, 429, Some(format!("host:{}", &other.base()[7..])))] {
        provider.tell(number, [to(&format!("{}/media/RE{number}", other.base()))]);
        other.tell(number, [Answer::status(status)]);
        let failure = setup.fetch(number).await.unwrap_err();
        assert_eq!(failure.blame.map(|blame| blame.key.to_string()), blamed, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_no_url_or_with_user_info_is_refused() {
    let provider = Provider::start();
    for (number, location) in
        (1..).zip(["https://", "https://me:pw@example.com/", "ftp://example.com/", "file:///x"])
    {
        provider.tell(number, [to(location)]);
        let failure = Setup::new(provider.base()).fetch(number).await.unwrap_err();
        assert_eq!(failure.code, FailureCode::UrlRefused, "{location}");
    }
}
