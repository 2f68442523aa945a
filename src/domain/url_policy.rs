//! Which URL may be requested, and which address may be connected to.
//!
//! A recording's URL comes from outside, and a provider's answer may send us elsewhere. Neither may lead into our own
//! network. So the rule is asked three times: at the door ([`super::recording_url`]), of each URL that is about to be
//! requested ([`check`]), and of each address that its name resolves to ([`is_public`]): the address that was checked is
//! the one that is connected to. A configured base is trusted as it is configured.

use super::recording_url::ProviderBases;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::{Host, Url};

/// Why a URL is not requested. It repeats nothing of the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    #[error("a URL with user info is not requested")]
    UserInfo,
    #[error("only https is requested, apart from a configured base")]
    Scheme,
    #[error("a URL without a host is not requested")]
    NoHost,
    #[error("a name of this machine or of a local network is not requested")]
    LocalName,
    #[error("an address that is not public is not requested")]
    Address,
}

/// Where an allowed URL leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To a configured base, whose addresses are trusted.
    Base,
    /// To the public network: the addresses of its name are checked too.
    Public,
}

/// Names that are no public ones, with all below them (RFC 6761, RFC 6762, RFC 8375, ICANN on `internal`).
const LOCAL_NAMES: [&str; 5] = ["localhost", "local", "localdomain", "internal", "home.arpa"];

/// The URL is parsed, and so is its host: the parser has read every spelling of an IPv4 address (decimal, hexadecimal,
/// octal, shortened, percent-encoded, in full-width digits) as a browser would.
pub fn check(url: &Url, bases: &ProviderBases) -> Result<Destination, UrlRefused> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlRefused::UserInfo);
    }
    if bases.owner(url).is_some() {
        return Ok(Destination::Base);
    }
    check_public(url).map(|()| Destination::Public)
}

/// The same where no base is trusted: https, on the public network.
pub fn check_public(url: &Url) -> Result<(), UrlRefused> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlRefused::UserInfo);
    }
    if url.scheme() != "https" {
        return Err(UrlRefused::Scheme);
    }
    let is_public = match url.host() {
        None => return Err(UrlRefused::NoHost),
        Some(Host::Domain(name)) if is_local_name(name) => return Err(UrlRefused::LocalName),
        Some(Host::Domain(_)) => true,
        Some(Host::Ipv4(address)) => is_public(address.into()),
        Some(Host::Ipv6(address)) => is_public(address.into()),
    };
    if is_public { Ok(()) } else { Err(UrlRefused::Address) }
}

/// A name without a dot is looked up in the local domain.
fn is_local_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_below =
        |local: &str| name.strip_suffix(local).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    !name.contains('.') || LOCAL_NAMES.into_iter().any(is_below)
}

/// Whether the address belongs to the public network (IANA's registries of special-purpose addresses; what is not
/// reachable globally there, and what embeds such an address).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Blocks that are not public: network and length of its prefix.
const NOT_PUBLIC: [(Ipv4Addr, u32); 17] = [
    (Ipv4Addr::UNSPECIFIED, 8),            // this network, unspecified
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // shared by carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // metadata, of Azure: the one that lies in a public block
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local, metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // relays of 6to4, deprecated
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved
    (Ipv4Addr::BROADCAST, 32),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_within =
        |(network, length): (Ipv4Addr, u32)| (address.to_bits() ^ network.to_bits()) >> (32 - length) == 0;
    !NOT_PUBLIC.into_iter().any(is_within)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let groups = address.segments();
    let embedded = |high: u16, low: u16| is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match groups {
        // IPv4 mapped (::ffff:a.b.c.d), as resolvers give it, and NAT64 (RFC 6052), which a network without IPv4 needs.
        // Compatible (::a.b.c.d), unspecified and loopback are below.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // Only 2000::/3 is global unicast: no loopback, unique local (fd00:ec2::254 among them), link-local, multicast.
        [first, ..] if first & 0xe000 != 0x2000 => false,
        // Protocol assignments: Teredo, ORCHID, benchmarking.
        [0x2001, second, ..] if second < 0x200 => false,
        // Documentation.
        [0x2001, 0xdb8, ..] => false,
        [0x3fff, second, ..] if second < 0x1000 => false,
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        // ISATAP (RFC 5214) puts it into the interface's part.
        [.., middle, 0x5efe, high, low] if middle & 0xfcff == 0 => embedded(high, low),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases() -> ProviderBases {
        let base = |text: &str| Url::parse(text).expect("a constant");
        ProviderBases::new(base("https://api.twilio.com")).with(base("http://127.0.0.1:9000"))
    }

    fn checked(text: &str) -> Result<Destination, UrlRefused> {
        check(&Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")), &bases())
    }

    #[test]
    fn an_address_that_is_not_public_is_refused_in_every_spelling() {
        for text in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "017700000001",
            "127.1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "127%2e0%2e0%2e1",
            "１２７.０.０.１",
            "127。0。0。1",
            "①②⑦.⓪.⓪.①",
            "0",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2002:a00:1::1]",
            "[2001:0:53aa:64c:0:0:80ff:fffe]",
            "[2001:db8::1]",
            "[2001:2::1]",
            "[2001:10::1]",
            "[3fff::1]",
            "[fd00:ec2::254]",
            "[fc00::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[100::1]",
            "[5f00::1]",
            "[2a00:1450::5efe:10.0.0.1]",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "168.63.129.16",
            "100.64.0.1",
            "100.127.255.255",
            "100.100.100.200",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "192.88.99.1",
        ] {
            assert_eq!(checked(&format!("https://{text}/x")), Err(UrlRefused::Address), "{text}");
        }
    }

    #[test]
    fn names_of_this_machine_and_of_local_networks_are_refused() {
        for name in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "loc%61lhost",
            "ｌｏｃａｌｈｏｓｔ",
            "localhost.localdomain",
            "printer.local",
            "metadata.google.internal",
            "router.home.arpa",
            "intranet",
            "intranet.",
            "локалхост",
        ] {
            assert_eq!(checked(&format!("https://{name}/x")), Err(UrlRefused::LocalName), "{name}");
        }
    }

    #[test]
    fn public_names_and_addresses_are_allowed_over_https_only() {
        for host in [
            "media.twiliocdn.com",
            "media.twiliocdn.com.",
            "bücher.example",
            "notlocalhost.com",
            "internal.example.com",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "134744072",
            "[2a00:1450:4001:812::200e]",
            "[::ffff:8.8.8.8]",
            "[64:ff9b::8.8.8.8]",
            "[2002:808:808::1]",
            "[2001:4860:4860::8888]",
        ] {
            assert_eq!(checked(&format!("https://{host}/x")), Ok(Destination::Public), "{host}");
            assert_eq!(checked(&format!("http://{host}/x")), Err(UrlRefused::Scheme), "{host}");
        }
        for text in ["ftp://example.com/x", "file:///etc/passwd", "data:text/plain,x", "gopher://example.com:70/"] {
            assert_eq!(checked(text), Err(UrlRefused::Scheme), "{text}");
        }
        for text in ["https://me@example.com/", "https://:pw@example.com/", "http://me:pw@127.0.0.1:9000/"] {
            assert_eq!(checked(text), Err(UrlRefused::UserInfo), "{text}");
        }
    }

    #[test]
    fn a_configured_base_is_trusted_and_only_its_own_origin() {
        assert_eq!(checked("http://127.0.0.1:9000/x"), Ok(Destination::Base));
        assert_eq!(checked("http://2130706433:9000/x"), Ok(Destination::Base), "another spelling of the same");
        assert_eq!(checked("https://API.twilio.com:443/x"), Ok(Destination::Base));
        assert_eq!(checked("http://127.0.0.1:9001/x"), Err(UrlRefused::Scheme));
        assert_eq!(checked("https://127.0.0.1:9000/x"), Err(UrlRefused::Address));
        assert_eq!(checked("http://api.twilio.com/x"), Err(UrlRefused::Scheme));
    }

    #[test]
    fn what_is_no_host_at_all_does_not_become_one() {
        for text in [
            "https://",
            "https:///x y",
            "https://[::1/",
            "https://127.0.0.1:99999/",
            "https://256.0.0.1/",
            "https://0x7f.1.1.1.1/",
            "https://a b/",
            "https://[fe80::1%25eth0]/",
        ] {
            let parsed = Url::parse(text);
            let refused = parsed.is_err() || parsed.is_ok_and(|url| check(&url, &bases()).is_err());
            assert!(refused, "{text}");
        }
    }
}
