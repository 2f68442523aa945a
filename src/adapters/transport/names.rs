//! Names and their addresses. For a host that no setting names, only public addresses reach the connector: those that
//! were checked here, and not what a second look-up would say (DNS rebinding).

use crate::domain::url_policy;
use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Looks names up.
#[async_trait]
pub trait Names: Send + Sync {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// As this machine is configured to.
#[derive(Debug, Clone, Copy)]
pub struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        // The port is the URL's; none is asked for here.
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// The name leads to addresses that are not public, and to no other.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to an address that is not public")]
pub(in crate::adapters) struct AddressRefused;

impl AddressRefused {
    /// Whether this is why nothing was connected to.
    pub(in crate::adapters) fn behind(error: &reqwest::Error) -> Option<&Self> {
        let mut source = error.source();
        while let Some(error) = source {
            if let Some(refused) = error.downcast_ref() {
                return Some(refused);
            }
            source = error.source();
        }
        None
    }
}

/// Only addresses of the public network.
pub(in crate::adapters) struct PublicNames(Arc<dyn Names>);

impl PublicNames {
    pub(in crate::adapters) fn new(names: Arc<dyn Names>) -> Arc<Self> {
        Arc::new(Self(names))
    }
}

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        let names = Arc::clone(&self.0);
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await?;
            let public: Vec<SocketAddr> = found
                .iter()
                .filter(|address| url_policy::is_public(**address))
                .map(|address| SocketAddr::new(*address, 0))
                .collect();
            if public.is_empty() && !found.is_empty() {
                return Err(AddressRefused.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<IpAddr>);

    #[async_trait]
    impl Names for Fixed {
        async fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.clone())
        }
    }

    async fn resolved(addresses: &[&str]) -> Result<Vec<IpAddr>, String> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let names = PublicNames(Arc::new(Fixed(addresses)));
        let found = names.resolve("media.example.com".parse().unwrap()).await;
        found.map(|found| found.map(|address| address.ip()).collect()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_connector_gets_the_public_addresses_and_no_other() {
        let public: Vec<IpAddr> = ["8.8.8.8", "2001:4860:4860::8888"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(resolved(&["127.0.0.1", "8.8.8.8", "::1", "2001:4860:4860::8888"]).await, Ok(public));
        for private in ["127.0.0.1", "::ffff:10.0.0.1", "fd00:ec2::254", "169.254.169.254"] {
            let refused = resolved(&[private]).await.unwrap_err();
            assert!(refused.contains("not public"), "{private}: {refused}");
        }
    }
}
