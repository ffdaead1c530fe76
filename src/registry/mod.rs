//! Placeholder until the registry is merged.
use crate::{config::RegistryConfig, error::Result, model::FeatureView};
use std::sync::Arc;
/// Placeholder.
#[async_trait::async_trait]
pub trait RegistryReader: std::fmt::Debug + Send + Sync {
    /// Placeholder.
    async fn current(&self) -> Result<Arc<Registry>>;
}
/// Placeholder.
#[derive(Debug, Default)]
pub struct Registry(Vec<Arc<FeatureView>>);
impl Registry {
    /// Placeholder.
    pub fn project(&self) -> &str {
        "placeholder"
    }
    /// Placeholder.
    pub fn feature_views(&self) -> impl Iterator<Item = &Arc<FeatureView>> {
        self.0.iter()
    }
}
#[derive(Debug)]
struct Nothing;
#[async_trait::async_trait]
impl RegistryReader for Nothing {
    async fn current(&self) -> Result<Arc<Registry>> {
        Ok(Arc::default())
    }
}
/// Placeholder.
///
/// # Errors
/// Never.
pub async fn open(_: &RegistryConfig) -> Result<Arc<dyn RegistryReader>> {
    Ok(Arc::new(Nothing))
}
