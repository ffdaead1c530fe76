//! Errors of ours travel through DataFusion's streams and through shared futures, and come back out as they were.

use datafusion::error::DataFusionError;

use super::{Error, ErrorKind};

/// Takes a shared failure back where nobody else holds it.
impl From<std::sync::Arc<Error>> for Error {
    fn from(error: std::sync::Arc<Error>) -> Self {
        std::sync::Arc::try_unwrap(error).unwrap_or_else(Self::Shared)
    }
}

/// An error of ours travels through DataFusion's streams as `External`.
impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

/// Finds the error of ours inside a DataFusion error, or keeps DataFusion's.
impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(other) => Self::Engine(Box::new(DataFusionError::External(other))),
            },
            DataFusionError::Shared(shared) => match std::sync::Arc::try_unwrap(shared) {
                Ok(inner) => Self::from(inner),
                Err(shared) => Self::Engine(Box::new(DataFusionError::Shared(shared))),
            },
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
                Self::from(*inner)
            }
            DataFusionError::ResourcesExhausted(message) => Self::MemoryExhausted { message },
            DataFusionError::ArrowError(inner, backtrace) => from_arrow(*inner, backtrace),
            other => Self::Engine(Box::new(other)),
        }
    }
}

/// The kind of an error that several streams share and that can therefore not be taken apart.
pub(super) fn engine_kind(error: &DataFusionError) -> ErrorKind {
    match error.find_root() {
        DataFusionError::External(inner) => inner
            .downcast_ref::<Error>()
            .map_or(ErrorKind::Internal, Error::kind),
        DataFusionError::ResourcesExhausted(_) => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Internal,
    }
}

fn from_arrow(error: arrow::error::ArrowError, backtrace: Option<String>) -> Error {
    match error {
        arrow::error::ArrowError::ExternalError(inner) => match inner.downcast::<DataFusionError>()
        {
            Ok(inner) => Error::from(*inner),
            Err(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(other) => Error::Engine(Box::new(DataFusionError::External(other))),
            },
        },
        other => Error::Engine(Box::new(DataFusionError::ArrowError(
            Box::new(other),
            backtrace,
        ))),
    }
}
