//! On-demand feature views: features computed by Python code that the definitions carry. Worker processes evaluate them,
//! if the operator allows it.
//!
//! - `exec`: the plan node on top of a request's joined rows.
//! - `batches`: rows are gathered before they are sent, because pandas has a fixed cost a call; answers become columns of
//!   the declared types.
//! - `pool`, `worker`: a few processes, started when first needed and kept; one that dies or overstays is replaced.
//! - `protocol`: what server and worker say to each other.

mod batches;
mod exec;
mod pool;
mod protocol;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

pub use exec::OnDemandExec;

use crate::config::OnDemandConfig;
use crate::error::{Error, Result};
use crate::registry::ResolvedOnDemand;
use pool::Pool;
use protocol::Job;

/// Evaluates on-demand feature views.
#[derive(Debug)]
pub struct Evaluator {
    config: OnDemandConfig,
    pool: Pool,
}

impl Evaluator {
    /// An evaluator; starts nothing before it is needed.
    pub fn new(config: OnDemandConfig) -> Self {
        let pool = Pool::new(config.clone());
        Self { config, pool }
    }

    /// The rows with the columns of `views` appended, in order; batches may be joined to larger ones.
    ///
    /// # Errors
    /// [`Error::OnDemandFailed`] if no interpreter is configured, naming both ways out; later ones come in the stream.
    pub fn evaluate(
        self: &Arc<Self>,
        rows: SendableRecordBatchStream,
        views: &[ResolvedOnDemand],
        full_feature_names: bool,
    ) -> Result<SendableRecordBatchStream> {
        self.check_configured(views)?;
        let job = Arc::new(Job::new(views, full_feature_names));
        let schema = schema_with(&rows.schema(), &job.columns);
        let (evaluator, output) = (Arc::clone(self), Arc::clone(&schema));
        let evaluated = batches::gathered(rows).then(move |batch| {
            let (evaluator, job, output) = (
                Arc::clone(&evaluator),
                Arc::clone(&job),
                Arc::clone(&output),
            );
            async move {
                let batch = batch?;
                let answer = match batch.num_rows() {
                    0 => batches::no_rows(&job.columns),
                    _ => evaluator.pool.evaluate(&job, &batch).await?,
                };
                batches::appended(&batch, &answer, &job, &output).map_err(DataFusionError::from)
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, evaluated)))
    }

    /// The columns that [`Self::evaluate`] appends, in order.
    pub fn columns(views: &[ResolvedOnDemand], full_feature_names: bool) -> Vec<Field> {
        let columns = views.iter().flat_map(|view| {
            let declared = |feature: &String| column(view, feature, full_feature_names);
            view.features.iter().filter_map(declared)
        });
        columns.collect()
    }

    /// # Errors
    /// [`Error::OnDemandFailed`] if there are views and no interpreter is configured.
    pub fn check_configured(&self, views: &[ResolvedOnDemand]) -> Result<()> {
        match views.first() {
            Some(view) if self.config.python.is_empty() => Err(Error::OnDemandFailed {
                view: view.name.clone(),
                message: "this server does not run the code of on-demand feature views; let the client evaluate it \
                          (offline_store type `feast_murre.MurreOfflineStore`), or set on_demand.python on the server, \
                          which then runs code from the registry"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

fn column(view: &ResolvedOnDemand, feature: &str, full_feature_names: bool) -> Option<Field> {
    let declared = view.view.features.iter().find(|f| f.name() == feature)?;
    let name = match full_feature_names {
        true => format!("{}__{feature}", view.name),
        false => feature.to_owned(),
    };
    Some(declared.clone().with_name(name).with_nullable(true))
}

/// The schema of the rows before evaluation with the columns of `views` appended.
pub fn schema_with(base: &SchemaRef, columns: &[Field]) -> SchemaRef {
    let columns = columns.iter().cloned().map(Arc::new);
    let fields: Vec<_> = base.fields().iter().cloned().chain(columns).collect();
    Arc::new(Schema::new_with_metadata(fields, base.metadata().clone()))
}
