//! (in the making)

use std::future::Future;

use tokio::net::TcpListener;

use crate::config::Config;
use crate::error::{Error, Result};

/// (in the making)
#[derive(Debug, Default)]
pub struct Overrides {}

/// (in the making)
#[derive(Debug)]
pub struct App {
    config: Config,
}

impl App {
    /// (in the making)
    ///
    /// # Errors
    /// None.
    pub async fn build(config: Config, _: Overrides) -> Result<Self> {
        Ok(Self { config })
    }

    /// (in the making)
    ///
    /// # Errors
    /// If the address is taken.
    pub async fn bind(&self) -> Result<TcpListener> {
        let action = format!("listen on {}", self.config.server.listen);
        TcpListener::bind(self.config.server.listen)
            .await
            .map_err(|source| Error::Io { action, source })
    }

    /// (in the making)
    ///
    /// # Errors
    /// None.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<()> {
        tracing::info!(address = ?listener.local_addr(), "listening");
        shutdown.await;
        Ok(())
    }
}
