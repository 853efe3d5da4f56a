use std::convert::Infallible;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Action;
use crate::call::{Call, Reply, Surface};
use crate::dispatch::Asked;
use crate::fault::{Aim, Fault};
use crate::world::Service;

/// An address that is listened on, and what is served there.
pub(crate) struct Listener {
    pub(crate) tcp: TcpListener,
    /// None for plain HTTP.
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) surface: Surface,
    /// `https://host:port`, for requests that name no host.
    pub(crate) origin: String,
    /// How long a client may take to send a request it has begun.
    pub(crate) read_timeout: Option<Duration>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("origin", &self.origin)
            .field("surface", &self.surface)
            .finish_non_exhaustive()
    }
}

/// How far the emulator is: starting, running, stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Running,
    Stopping,
}

/// Serves connections until told to stop, then lets requests in flight finish. Dropping the future
/// closes every connection.
pub(crate) async fn serve(
    listener: Arc<Listener>,
    service: Arc<Service>,
    mut phase: watch::Receiver<Phase>,
) {
    // Connections that come before the keys are made wait in the system's queue.
    let _ = phase.wait_for(|phase| *phase != Phase::Starting).await;
    let mut connections = JoinSet::new();
    let phases = phase.clone();
    loop {
        tokio::select! {
            tcp = accept(&listener.tcp) => {
                let connection = Connection {
                    listener: Arc::clone(&listener),
                    service: Arc::clone(&service),
                };
                connections.spawn(connection.run(tcp, phases.clone()));
            }
            _ = phase.wait_for(|phase| *phase == Phase::Stopping) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Lets the next client in. When that fails, as a rule for want of file descriptors, asking again at once
/// would only spin.
async fn accept(tcp: &TcpListener) -> TcpStream {
    loop {
        match tcp.accept().await {
            Ok((tcp, _)) => return tcp,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

struct Connection {
    listener: Arc<Listener>,
    service: Arc<Service>,
}

impl Connection {
    /// What goes wrong on a connection concerns its client alone.
    async fn run(self, tcp: TcpStream, phase: watch::Receiver<Phase>) {
        let _ = tcp.set_nodelay(true);
        let reset = Arc::new(AtomicBool::new(false));
        let wire = Wire {
            tcp,
            reset: Arc::clone(&reset),
        };
        let handshake = {
            let world = &mut *self.service.world();
            let aim = Aim {
                route: None,
                client_id: None,
                path: "",
            };
            world.faults.strike(&aim, &mut world.draws)
        };
        if let Some(fault) = handshake {
            tokio::time::sleep(fault.wait()).await;
        }
        let Some(tls) = self.listener.tls.clone() else {
            return self.speak(wire, reset, phase).await;
        };
        let mut stopping = phase.clone();
        let accepted = tokio::select! {
            accepted = self.in_time(tls.accept(wire)) => accepted,
            _ = stopping.wait_for(|phase| *phase == Phase::Stopping) => return,
        };
        if let Ok(Ok(stream)) = accepted {
            self.speak(stream, reset, phase).await;
        }
    }

    /// Waits for what the client must send, for as long as it is given.
    async fn in_time<T>(&self, sent: impl Future<Output = T>) -> Result<T, Cut> {
        match self.listener.read_timeout {
            Some(limit) => tokio::time::timeout(limit, sent).await.map_err(|_| Cut),
            None => Ok(sent.await),
        }
    }

    async fn speak<S>(self, stream: S, reset: Arc<AtomicBool>, mut phase: watch::Receiver<Phase>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let this = &self;
        let reset = &reset;
        let service = service_fn(move |request| this.exchange(request, reset));
        let mut http = http1::Builder::new();
        if let Some(limit) = self.listener.read_timeout {
            http.timer(TokioTimer::new()).header_read_timeout(limit);
        }
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = phase.wait_for(|phase| *phase == Phase::Stopping) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }

    async fn exchange(
        &self,
        request: hyper::Request<Incoming>,
        reset: &AtomicBool,
    ) -> Result<hyper::Response<Answer>, Cut> {
        let (parts, body) = request.into_parts();
        let read = self.read(body).await?;
        let origin = &self.listener.origin;
        let call = Call::new(
            &parts,
            read.clone().unwrap_or_default(),
            origin,
            self.listener.surface,
        );
        let asked = Asked::new(&self.service, call);
        if read.is_none() {
            return Ok(Answer::whole(asked.too_large(&self.service)));
        }
        let fault = asked.fault(&self.service);
        if let Some(fault) = &fault {
            tokio::time::sleep(fault.wait()).await;
        }
        let answer = self.strike(&asked, fault.as_ref());
        if matches!(fault.as_ref().map(|it| &it.action), Some(Action::Reset)) {
            reset.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// Reads a request's body; nothing when it is too large.
    async fn read(&self, body: Incoming) -> Result<Option<Bytes>, Cut> {
        let whole = Limited::new(body, LARGEST_BODY).collect();
        match self.in_time(whole).await? {
            Ok(body) => Ok(Some(body.to_bytes())),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Ok(None),
            Err(_gone) => Err(Cut),
        }
    }

    /// Carries a request out as far as its fault lets it, and logs it.
    fn strike(&self, asked: &Asked, fault: Option<&Fault>) -> Result<hyper::Response<Answer>, Cut> {
        let service = &self.service;
        let instead = fault.and_then(|fault| asked.respond(service, &fault.action));
        let prevented = fault.is_some_and(|fault| {
            !fault.after_effect && matches!(fault.action, Action::Close | Action::Reset)
        });
        let replaced = fault.is_some_and(|fault| !fault.after_effect) && instead.is_some();
        let reply = (!prevented && !replaced).then(|| asked.answer(service));
        asked.record(service, reply.as_ref().or(instead.as_ref()), fault);
        match fault.map(|fault| &fault.action) {
            Some(Action::Close | Action::Reset) => Err(Cut),
            Some(Action::Stall(bytes)) => Ok(Answer::part(reply.ok_or(Cut)?, *bytes, End::Stall)),
            Some(Action::Truncate(bytes)) => Ok(Answer::part(reply.ok_or(Cut)?, *bytes, End::Cut)),
            _ => Ok(Answer::whole(instead.or(reply).ok_or(Cut)?)),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// The connection is given up without an answer.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is given up")
    }
}

impl std::error::Error for Cut {}

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// An answer's body, which may end before its time.
#[derive(Debug)]
struct Answer {
    left: Bytes,
    announced: usize,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Cut,
    Proper,
    Stall,
}

impl Answer {
    fn whole(reply: Reply) -> hyper::Response<Self> {
        let bytes = reply.body.len();
        Self::part(reply, bytes, End::Proper)
    }

    fn part(reply: Reply, bytes: usize, end: End) -> hyper::Response<Self> {
        let announced = reply.body.len();
        let mut response = hyper::Response::new(Self {
            left: reply.body.slice(..bytes.min(announced)),
            announced,
            end,
        });
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        response
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if !self.left.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.left)))));
        }
        match self.end {
            End::Cut => Poll::Ready(Some(Err(Cut))),
            End::Proper => Poll::Ready(None),
            // Nothing will wake this: the client's patience ends it, or the emulator's stop.
            End::Stall => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.end == End::Proper
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.announced).unwrap_or(u64::MAX))
    }
}

/// A TCP connection that can end in a reset instead of a farewell.
struct Wire {
    tcp: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(context)
    }
}

/// How long nobody is let in after accepting failed.
const PAUSE: Duration = Duration::from_millis(50);
/// What Graph takes.
const LARGEST_BODY: usize = 4 * 1024 * 1024;
