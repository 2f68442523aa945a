//! A database's URL that names several hosts, as libpq has it (PostgreSQL documentation, "Connection Strings"): taken
//! apart into one URL for each host, in their order.

use std::{borrow::Cow, fmt};

/// Hosts of one URL.
const MAX_HOSTS: usize = 16;
const DEFAULT_PORT: u16 = 5432;

/// What is wrong with a URL of several hosts. It quotes nothing but a host's place and a key's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostsFault {
    #[error("host {0} is empty; allowed are host[:port], separated by commas, an IPv6 address in brackets")]
    NoHost(usize),
    #[error(
        "host {0} is none; allowed are a name, an address, an IPv6 address in brackets, each with :port or without"
    )]
    Host(usize),
    #[error("the port of host {0} is none; allowed is a number from 1 to 65535")]
    Port(usize),
    #[error("it names {ports} ports for {hosts} hosts; allowed are one for all, or one for each")]
    Ports { hosts: usize, ports: usize },
    #[error("it names {0} hosts; allowed are up to {MAX_HOSTS}")]
    TooMany(usize),
    #[error("hostaddr is allowed with a single host only; several stand before the / or in host")]
    HostAddr,
    #[error("target_session_attrs asks for what cannot be written to; allowed are read-write, primary and any")]
    Target,
}

/// The hosts that a URL names.
#[derive(Clone, PartialEq, Eq)]
pub struct Hosts {
    /// A URL for each, without `target_session_attrs`. Passwords are in them.
    pub urls: Vec<String>,
    /// `target_session_attrs` asks for a primary, so that also a single host is looked at.
    pub primary_only: bool,
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hosts", self.urls.len())
    }
}

impl Hosts {
    /// Whether it has to be found out which of them is the primary.
    pub fn are_looked_at(&self) -> bool {
        self.primary_only || self.urls.len() > 1
    }

    /// Takes `url` apart; one that names a single host stays as it is but for `target_session_attrs`.
    pub fn of(url: &str) -> Result<Self, HostsFault> {
        let Some(parts) = Parts::of(url) else {
            // No URL at all: the driver says so.
            return Ok(Self { urls: vec![url.to_owned()], primary_only: false });
        };
        let primary_only = parts.primary_only()?;
        let several = parts.hosts.contains(',') || parts.lists("host") || parts.lists("port");
        if parts.lists("hostaddr") || (several && parts.value("hostaddr").is_some()) {
            return Err(HostsFault::HostAddr);
        }
        let urls = if several { parts.each()? } else { vec![parts.single()] };
        Ok(Self { urls, primary_only })
    }
}

/// `scheme://user:password@hosts/database?query`, as it is written.
struct Parts<'a> {
    /// With its `://`.
    scheme: &'a str,
    /// With its `@`; empty where there is none.
    user: &'a str,
    hosts: &'a str,
    /// With its `/`; may be empty.
    path: &'a str,
    query: Vec<(&'a str, &'a str)>,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_at(url.find("://")? + "://".len());
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // The last one: a name or a password may have others, and a driver takes it so, too.
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        Some(Self { scheme, user, hosts, path, query })
    }

    /// The last of that name counts.
    fn value(&self, key: &str) -> Option<Cow<'a, str>> {
        let found = self.query.iter().rev().find(|(name, _)| *name == key);
        found.map(|(_, value)| decoded_commas(value))
    }

    fn lists(&self, key: &str) -> bool {
        self.value(key).is_some_and(|value| value.contains(','))
    }

    fn primary_only(&self) -> Result<bool, HostsFault> {
        match self.value("target_session_attrs").as_deref() {
            None | Some("any") => Ok(false),
            Some("read-write" | "primary") => Ok(true),
            Some(_) => Err(HostsFault::Target),
        }
    }

    fn single(&self) -> String {
        self.url(self.hosts, &["target_session_attrs"], None)
    }

    fn each(&self) -> Result<Vec<String>, HostsFault> {
        let named = self.value("host");
        let hosts: Vec<&str> = named.as_deref().unwrap_or(self.hosts).split(',').collect();
        if hosts.len() > MAX_HOSTS {
            return Err(HostsFault::TooMany(hosts.len()));
        }
        let ports = self.value("port");
        let ports: Vec<&str> = ports.as_deref().map(|ports| ports.split(',').collect()).unwrap_or_default();
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err(HostsFault::Ports { hosts: hosts.len(), ports: ports.len() });
        }
        let url = |(at, host): (usize, &&str)| {
            let place = at + 1;
            let of_list = ports.get(if ports.len() == 1 { 0 } else { at }).copied();
            if host.starts_with('/') {
                let port = port(of_list, place)?;
                return Ok(self.without_hosts(&format!("localhost:{port}"), Some(host)));
            }
            // In `host` it stands alone.
            let (host, own) = if named.is_some() { (*host, None) } else { split_port(host) };
            let port = port(of_list.or(own), place)?;
            match host {
                "" => Err(HostsFault::NoHost(place)),
                host if is_host(host) => Ok(self.without_hosts(&format!("{host}:{port}"), None)),
                _ => Err(HostsFault::Host(place)),
            }
        };
        hosts.iter().enumerate().map(url).collect()
    }

    fn without_hosts(&self, host: &str, socket: Option<&str>) -> String {
        self.url(host, &["target_session_attrs", "host", "port"], socket)
    }

    fn url(&self, hosts: &str, left_out: &[&str], socket: Option<&str>) -> String {
        let kept = self.query.iter().filter(|(name, _)| !left_out.contains(name));
        let mut query: Vec<String> = kept
            .map(|(name, value)| if value.is_empty() { (*name).to_owned() } else { format!("{name}={value}") })
            .collect();
        query.extend(socket.map(|folder| format!("host={folder}")));
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        format!("{}{}{hosts}{}{query}", self.scheme, self.user, self.path)
    }
}

/// A list may be written with `%2C`, and a folder with `%2F`; what else is encoded stays so.
fn decoded_commas(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let mut text = value.to_owned();
    for (code, letter) in [("%2C", ","), ("%2c", ","), ("%2F", "/"), ("%2f", "/"), ("%3A", ":"), ("%3a", ":")] {
        text = text.replace(code, letter);
    }
    Cow::Owned(text)
}

/// An IPv6 address has colons of its own, within its brackets.
fn split_port(host: &str) -> (&str, Option<&str>) {
    let behind = host.rfind(']').map_or(0, |end| end + 1);
    match host[behind..].rfind(':') {
        Some(colon) => (&host[..behind + colon], Some(&host[behind + colon + 1..])),
        None => (host, None),
    }
}

fn port(text: Option<&str>, place: usize) -> Result<u16, HostsFault> {
    match text {
        None | Some("") => Ok(DEFAULT_PORT),
        Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or(HostsFault::Port(place)),
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(address) => address.is_some_and(|address| address.parse::<core::net::Ipv6Addr>().is_ok()),
        None => host.chars().all(|c| c.is_alphanumeric() || ".-_".contains(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(url: &str) -> Vec<String> {
        Hosts::of(url).unwrap().urls
    }

    #[test]
    fn a_url_of_one_host_stays_as_it_is() {
        for url in [
            "postgres://u:p@h/db",
            "postgres://h:6543/db?sslmode=require&pgbouncer",
            "postgres://u@[::1]:5433/db",
            "postgres://u@localhost/db?host=/run/postgresql",
            "postgres:///db?host=%2Frun%2Fpostgresql&port=5433",
            "postgres://user@name:p,w@h:5432/db",
            "postgres",
        ] {
            assert_eq!(urls(url), [url]);
            assert!(!Hosts::of(url).unwrap().are_looked_at(), "{url}");
        }
        let asked = Hosts::of("postgres://h/db?target_session_attrs=read-write&sslmode=require").unwrap();
        assert_eq!(asked.urls, ["postgres://h/db?sslmode=require"]);
        assert!(asked.are_looked_at());
    }

    #[test]
    fn each_host_has_a_url_with_its_own_port_and_all_the_rest() {
        assert_eq!(
            urls("postgres://u:p%40,x@a:5433,b,[fe80::1]:7,[::1]/db?target_session_attrs=primary&sslmode=require"),
            [
                "postgres://u:p%40,x@a:5433/db?sslmode=require",
                "postgres://u:p%40,x@b:5432/db?sslmode=require",
                "postgres://u:p%40,x@[fe80::1]:7/db?sslmode=require",
                "postgres://u:p%40,x@[::1]:5432/db?sslmode=require",
            ]
        );
        assert_eq!(
            urls("postgresql://u@/db?host=/run/a,/run/b%2Cdb3&port=5433%2C5434,5435"),
            [
                "postgresql://u@localhost:5433/db?host=/run/a",
                "postgresql://u@localhost:5434/db?host=/run/b",
                "postgresql://u@db3:5435/db",
            ]
        );
        assert_eq!(urls("postgres://a,b?port=5433"), ["postgres://a:5433", "postgres://b:5433"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_hosts_place_and_without_the_url() {
        for (url, fault) in [
            ("postgres://u:secret@a,,b/db", HostsFault::NoHost(2)),
            ("postgres://u:secret@a,b:x/db", HostsFault::Port(2)),
            ("postgres://u:secret@a,b:70000/db", HostsFault::Port(2)),
            ("postgres://u:secret@a:0,b/db", HostsFault::Port(1)),
            ("postgres://u:secret@a,[::1/db", HostsFault::Host(2)),
            ("postgres://u:secret@::1,a/db", HostsFault::Host(1)),
            ("postgres://u:secret@a,b/db?port=1,2,3", HostsFault::Ports { hosts: 2, ports: 3 }),
            ("postgres://u:secret@a/db?hostaddr=10.0.0.1,10.0.0.2", HostsFault::HostAddr),
            ("postgres://u:secret@a,b/db?hostaddr=10.0.0.1", HostsFault::HostAddr),
            ("postgres://u:secret@a,b/db?target_session_attrs=standby", HostsFault::Target),
            ("postgres://u:secret@a/db?target_session_attrs=prefer-standby", HostsFault::Target),
        ] {
            let said = Hosts::of(url).unwrap_err();
            assert_eq!(said, fault, "{url}");
            assert!(!said.to_string().contains("secret"), "{said}");
        }
        assert_eq!(Hosts::of(&format!("postgres://{}/db", ["h"; 17].join(","))), Err(HostsFault::TooMany(17)));
        assert_eq!(format!("{:?}", Hosts::of("postgres://u:secret@a,b/db").unwrap()), "2 hosts");
    }
}
