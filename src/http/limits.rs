//! How often one client may ask. A limit lives in this process: a fleet of three lets through three times as much.

use super::{HttpDeps, problem::Problem};
use actix_web::{
    HttpRequest, ResponseError,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::HashMapStateStore,
};
use std::{
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Clients that are forgotten, where they have not asked for long, after this many requests.
const SWEEP_EVERY: u32 = 1_024;
/// Bulk requests of a process at a time; each has up to 100,000 jobs in memory.
const BULKS: usize = 2;

/// So many requests at once, and then so many a second, for each client.
struct Limiter<K: Hash + Eq + Clone> {
    clients: RateLimiter<K, HashMapStateStore<K>, DefaultClock>,
    clock: DefaultClock,
    asked: AtomicU32,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    fn new(quota: Quota) -> Self {
        let clock = DefaultClock::default();
        let clients = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Self { clients, clock, asked: AtomicU32::new(0) }
    }

    /// Counts one request of `client`, or refuses it and says when it may come again.
    fn check(&self, client: &K) -> Result<(), Problem> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            // Whose burst is whole again is as good as new: so no more clients are kept than ask within its time.
            self.clients.retain_recent();
            self.clients.shrink_to_fit();
        }
        let answer = self.clients.check_key(client);
        answer.map_err(|until| Problem::rate_limited(whole_seconds(until.wait_time_from(self.clock.now()))))
    }
}

fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

/// An IPv6 client has a whole /64 to send from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// What is counted in this process. Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Counted>);

struct Counted {
    refused_logins: Limiter<IpAddr>,
    /// `None`: not limited.
    requests: Option<Limiter<Client>>,
    bulks: Arc<Semaphore>,
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Client {
    /// By its token's name.
    Known(String),
    /// By its address, see [`network`].
    Unknown(IpAddr),
}

impl Limits {
    /// `rate`: requests a second of one client, `burst` of them at once; a rate of 0 is none.
    pub fn new(rate: u32, burst: u32) -> Self {
        let quota = NonZeroU32::new(rate).map(Quota::per_second);
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let requests = quota.map(|quota| Limiter::new(quota.allow_burst(burst)));
        let bulks = Arc::new(Semaphore::new(BULKS));
        Self(Arc::new(Counted { refused_logins: refused_logins(), requests, bulks }))
    }

    /// The right to have a bulk's jobs in memory, until it is dropped.
    pub(super) fn bulk(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.0.bulks).try_acquire_owned().map_err(|_| Problem::busy())
    }

    /// Counts a login with a wrong token. A right one is not counted and never refused: behind a proxy everybody has its
    /// address, and one who guesses would lock the others out.
    pub(super) fn refused_login(&self, address: IpAddr) -> Result<(), Problem> {
        self.0.refused_logins.check(&network(address))
    }
}

/// Paths whose callers are not counted: probes, a provider that would only come again, and the dashboard's own files,
/// which ask nobody.
const FREE: [&str; 6] =
    ["/", "/healthz", "/readyz", "/metrics", "/webhooks/twilio/recording", "/webhooks/telnyx/recording"];
const FREE_FOLDER: &str = "/assets/";

fn is_free(path: &str) -> bool {
    FREE.contains(&path) || path.starts_with(FREE_FOLDER)
}

/// Around every route.
pub(super) async fn by_client(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let deps = request.app_data::<web::Data<HttpDeps>>();
    let limiter = deps.and_then(|deps| Some((deps, deps.limits.0.requests.as_ref()?)));
    if let Some((deps, limiter)) = limiter.filter(|_| !is_free(request.path())) {
        let caller = deps.caller(request.request()).map(|caller| Client::Known(caller.name));
        if let Err(problem) =
            limiter.check(&caller.unwrap_or_else(|_| Client::Unknown(network(peer(request.request())))))
        {
            return Ok(request.into_response(problem.error_response()));
        }
    }
    next.call(request).await
}

/// Who holds the other end of the connection: a proxy, where there is one.
pub(super) fn peer(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.ip())
}

/// Refused logins of one address: twenty at once, then one in three seconds.
fn refused_logins() -> Limiter<IpAddr> {
    const BURST: NonZeroU32 = NonZeroU32::new(20).expect("a constant");
    let quota = Quota::with_period(Duration::from_secs(3)).expect("a constant");
    Limiter::new(quota.allow_burst(BURST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(burst: u32) -> Limiter<IpAddr> {
        let burst = NonZeroU32::new(burst).unwrap();
        Limiter::new(Quota::with_period(Duration::from_hours(1)).unwrap().allow_burst(burst))
    }

    #[test]
    fn each_client_has_a_limit_of_its_own() {
        let limiter = limiter(2);
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        assert!(limiter.check(&one).is_ok() && limiter.check(&one).is_ok());
        assert!(limiter.check(&one).is_err());
        assert!(limiter.check(&other).is_ok());
    }

    #[test]
    fn clients_that_are_gone_are_forgotten() {
        let fast = Quota::with_period(Duration::from_nanos(1)).unwrap();
        let limiter: Limiter<u32> = Limiter::new(fast);
        for client in 0..SWEEP_EVERY * 4 {
            assert!(limiter.check(&client).is_ok());
        }
        assert!(limiter.clients.len() <= SWEEP_EVERY as usize, "{}", limiter.clients.len());
    }

    #[test]
    fn an_address_stands_for_the_network_that_one_client_has() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(of("10.0.0.1"), "10.0.0.1");
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_as_none() {
        for (ms, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(ms)), seconds);
        }
    }
}
