//! The HTTP server as a child of the tree. It is the last to start and the first to stop: what was answered with 2xx
//! is committed, and after its drain nothing new comes in.

use super::{HttpDeps, server};
use crate::actors::supervision::{ChildContext, hooks_for_faults};
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, fut::wrap_future};
use actix_web::dev::ServerHandle;
use std::{io, net::TcpListener};

pub struct HttpActor {
    child: ChildContext,
    deps: HttpDeps,
    /// A clone of the process's listening socket; taken at the start.
    listener: Option<io::Result<TcpListener>>,
    server: Option<StopOnDrop>,
}

/// A server lives in threads of its own; it must not outlive the actor.
struct StopOnDrop(ServerHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // Sends the command; nobody waits for the end.
        drop(self.0.stop(false));
    }
}

impl HttpActor {
    pub fn new(child: ChildContext, deps: HttpDeps, listener: io::Result<TcpListener>) -> Self {
        Self { child, deps, listener: Some(listener), server: None }
    }

    fn serve(&mut self, ctx: &mut Context<Self>) -> io::Result<()> {
        let listener = self.listener.take().unwrap_or_else(|| Err(io::Error::other("started twice")))?;
        let server = server::serve(self.deps.clone(), listener)?;
        self.server = Some(StopOnDrop(server.handle()));
        ctx.spawn(wrap_future(server).map(|ended: io::Result<()>, this: &mut Self, ctx: &mut Context<Self>| {
            match ended {
                // The drain's end, or a server that stopped by itself: the supervisor knows which.
                Ok(()) => ctx.stop(),
                Err(error) => this.child.clone().fail(ctx, error.to_string()),
            }
        }));
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
            let Some(server) = &this.server else { return ctx.stop() };
            // Requests under way are answered; the server's own end then stops the actor.
            let stopped = server.0.stop(true);
            ctx.spawn(wrap_future(stopped).map(|(), _: &mut Self, _: &mut Context<Self>| ()));
        });
    }

    hooks_for_faults!();
}
