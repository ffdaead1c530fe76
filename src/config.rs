//! Placeholder until the configuration is merged.
use bytesize::ByteSize;
/// Placeholder.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Placeholder.
    pub server: ServerConfig,
    /// Placeholder.
    pub registry: RegistryConfig,
    /// Placeholder.
    pub staging: crate::staging::StagingConfig,
}
/// Placeholder.
#[derive(Clone, Debug, Default)]
pub struct RegistryConfig;
/// Placeholder.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Placeholder.
    pub listen: std::net::SocketAddr,
    /// Placeholder.
    pub max_message_size: ByteSize,
    /// Placeholder.
    pub insecure_allow_remote: bool,
}
impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 8815)),
            max_message_size: ByteSize::gib(1),
            insecure_allow_remote: false,
        }
    }
}
