//! (in the making)

use std::path::PathBuf;

use crate::error::{Error, Result};

/// What `murre demo` does.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoOptions {
    /// Feature rows to make
    #[arg(long, default_value_t = 1_200_000, value_name = "N")]
    pub rows: u64,
    /// Directory that the sample store is made in; made again if it holds one of another size
    #[arg(long, default_value = "data/demo", value_name = "DIR")]
    pub dir: PathBuf,
    /// Keep serving the sample store afterwards, until interrupted
    #[arg(long)]
    pub serve: bool,
}

/// (in the making)
///
/// # Errors
/// Always.
pub async fn run(options: DemoOptions) -> Result<()> {
    Err(Error::Unsupported {
        what: format!("the demo in {}", options.dir.display()),
    })
}
