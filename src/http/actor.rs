//! The HTTP server as a child of the tree. It is the last to start and the first to stop: what was answered with 2xx
//! is committed, and after its drain nothing new comes in.

use super::{HttpDeps, server};
use crate::actors::supervision::{ChildContext, hooks_for_faults};
use actix::{Actor, ActorContext, Context};
use actix_web::dev::ServerHandle;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use std::{
    io,
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
};

#[cfg(target_os = "linux")]
const TAKES_WITHIN: std::time::Duration = std::time::Duration::from_mins(1);

pub struct HttpActor {
    child: ChildContext,
    deps: HttpDeps,
    socket: Socket,
    server: Option<StopOnDrop>,
}

/// The process's listening socket; each clone is the same. Bound before the tree starts, so that an address that is
/// taken is an error of the start, and kept over restarts of the actor, which so refuse no connection.
#[derive(Debug, Clone)]
pub struct Socket(Arc<Mutex<Option<TcpListener>>>);

impl Socket {
    pub fn new(listener: TcpListener) -> Self {
        #[cfg(target_os = "linux")]
        give_up_who_never_reads(&listener);
        Self(Arc::new(Mutex::new(Some(listener))))
    }

    fn listener(&self) -> io::Result<TcpListener> {
        let listener = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listener.as_ref().map_or_else(|| Err(io::Error::other("the process stops")), TcpListener::try_clone)
    }

    /// Without this the system would go on to accept connections that nobody answers: they have to be refused, so that
    /// whoever calls turns to another process.
    fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// For the connections that it accepts, which take it over: one whose other end takes nothing of an answer, or is gone,
/// ends after this time (`TCP_USER_TIMEOUT` in Linux's tcp(7)). A player that was paused asks for the rest anew.
#[cfg(target_os = "linux")]
fn give_up_who_never_reads(listener: &TcpListener) {
    if let Err(error) = SockRef::from(listener).set_tcp_user_timeout(Some(TAKES_WITHIN)) {
        tracing::warn!(%error, "connections that take nothing are kept");
    }
}

/// A server lives in threads of its own, which its future stops when it is told to; it must not outlive the actor.
struct StopOnDrop(ServerHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // Sends the command; the server's future carries it out, and the supervisor waits for that.
        drop(self.0.stop(false));
    }
}

impl HttpActor {
    pub fn new(child: ChildContext, deps: HttpDeps, socket: Socket) -> Self {
        Self { child, deps, socket, server: None }
    }

    fn serve(&mut self, ctx: &mut Context<Self>) -> io::Result<()> {
        let server = server::serve(self.deps.clone(), self.socket.listener()?)?;
        self.server = Some(StopOnDrop(server.handle()));
        self.child.spawn_here(ctx, server, |this, ended, ctx| match ended {
            // The drain's end, or a server that stopped by itself: the supervisor knows which.
            Ok(()) => ctx.stop(),
            Err(error) => this.child.clone().fail(ctx, error.to_string()),
        });
        Ok(())
    }
}

impl Actor for HttpActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if !self.child.survives("started", ctx) {
            return;
        }
        let child = self.child.clone();
        if let Err(error) = self.serve(ctx) {
            return child.fail(ctx, error.to_string());
        }
        child.on_drain(ctx, |this: &mut Self, ctx| {
            this.socket.close();
            // A stream has no end of its own.
            this.deps.live.end();
            match &this.server {
                // Requests under way are answered; the server's own end then stops the actor.
                Some(server) => drop(server.0.stop(true)),
                None => ctx.stop(),
            }
        });
    }

    hooks_for_faults!();
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn accepted_connections_take_over_how_long_one_may_take_nothing() {
        let socket = Socket::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let listener = socket.listener().unwrap();
        let _caller = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(SockRef::from(&accepted).tcp_user_timeout().unwrap(), Some(TAKES_WITHIN));
    }
}
