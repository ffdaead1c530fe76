//! Sockets and the transport: who may reach the server, how connections are kept, how it stops.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};

use crate::clock;
use crate::config::ServerConfig;
use crate::error::{Error, Result};

/// Silence after which a connection is asked whether it is alive; planning can take longer than proxies wait.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that a client may send before the server has taken them; with less, large uploads wait for the server's word.
const WINDOW_BYTES: u32 = 4 << 20;
/// Large messages come in frames of this size; each costs the transport a turn.
const FRAME_BYTES: u32 = 256 << 10;
/// Time that running calls get when the server stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Binds the configured address.
pub(super) async fn bind(config: &ServerConfig) -> Result<TcpListener> {
    check_reach(config, config.listen)?;
    TcpListener::bind(config.listen)
        .await
        .map_err(io_error(format!(
            "listen on {}; another address can be set by --listen",
            config.listen
        )))
}

/// Serves Flight and health until `shutdown` resolves, then drains.
pub(super) async fn serve<S: FlightService>(
    config: &ServerConfig,
    flight: S,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<()> {
    let address = listener
        .local_addr()
        .map_err(io_error("read the listener's address".to_owned()))?;
    check_reach(config, address)?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let (stopping, stopped) = oneshot::channel();
    let announced = async move {
        shutdown.await;
        tracing::info!(limit_seconds = DRAIN_LIMIT.as_secs(), "draining");
        let _ = stopping.send(());
    };
    let router = router(config, flight).await;
    tracing::info!(%address, "listening");
    tokio::select! {
        served = router.serve_with_incoming_shutdown(incoming, announced) => {
            served.map_err(|error| Error::internal("serve", error))
        }
        () = drained(stopped) => {
            tracing::warn!("calls still running at the end of the drain are cut off");
            Ok(())
        }
    }
}

async fn router<S: FlightService>(config: &ServerConfig, flight: S) -> Router {
    let flight =
        FlightServiceServer::new(flight).max_decoding_message_size(max_message_bytes(config));
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<FlightServiceServer<S>>().await;
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .add_service(health_service)
        .add_service(flight)
}

fn max_message_bytes(config: &ServerConfig) -> usize {
    usize::try_from(config.max_message_size.as_u64()).unwrap_or(usize::MAX)
}

async fn drained(stopped: oneshot::Receiver<()>) {
    match stopped.await {
        Ok(()) => clock::sleep(DRAIN_LIMIT).await,
        Err(_) => std::future::pending().await,
    }
}

/// There is no authentication yet, so only this machine may connect unless the operator insists.
fn check_reach(config: &ServerConfig, address: SocketAddr) -> Result<()> {
    if config.insecure_allow_remote || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    let fault = format!(
        "server.listen: {address} can be reached from other machines and the server has no authentication; listen on \
         127.0.0.1, or set server.insecure_allow_remote = true (--insecure-allow-remote)"
    );
    Err(Error::InvalidConfig {
        faults: vec![fault],
    })
}

fn io_error(action: String) -> impl FnOnce(std::io::Error) -> Error {
    |source| Error::Io { action, source }
}

#[cfg(test)]
mod tests;
