//! The commands with side effects. Each is done, or has failed, before its call ends.

use std::future::Future;
use std::time::Duration;

use super::command::{Described, Destination, Persist, Write, WriteBatch, WriteLogs};
use super::read;
use super::request::{check_readable, source_name};
use super::upload::Upload;
use crate::error::{Error, ErrorKind, Result, nearest};
use crate::model::{Principal, SourceLocation};
use crate::registry::feast::{SentSource, sent_source};
use crate::server::Services;

pub(super) async fn run(
    services: &Services,
    principal: &Principal,
    write: &Write,
    upload: &Upload,
) -> Result<()> {
    match write {
        Write::Batch(command) => append(services, command, upload).await,
        Write::Logs(command) => log(services, command, upload).await,
        Write::Persist(command) => persist(services, principal, command, upload).await,
        Write::Validate(described) => validate(services, described).await,
    }
}

async fn append(services: &Services, command: &WriteBatch, upload: &Upload) -> Result<()> {
    let [name] = command.feature_view_names.as_slice() else {
        let message = "expected exactly one feature view";
        return Err(Error::invalid("command.feature_view_names", message));
    };
    let registry = services.registry.current().await?;
    let source = &registry.feature_view(name)?.source;
    check_readable(source_name(&registry, name, source), source)?;
    let rows = upload.rows().await?;
    let key = command.idempotency_key.clone();
    let written = services.ingest.append_once(name, source, key, rows);
    let rows = written.await?;
    tracing::info!(view = name, rows, "rows appended");
    Ok(())
}

async fn log(services: &Services, command: &WriteLogs, upload: &Upload) -> Result<()> {
    let name = &command.feature_service_name;
    let registry = services.registry.current().await?;
    let found = registry
        .feature_services()
        .find(|service| service.name == *name);
    let service = found.ok_or_else(|| Error::FeatureServiceNotFound {
        service: name.clone(),
        nearest: nearest(
            name,
            registry
                .feature_services()
                .map(|service| service.name.as_str()),
        ),
    })?;
    let destination = service.logging.as_ref().ok_or_else(|| {
        let message = format!("feature service `{name}` has no logging_config");
        Error::invalid("command.feature_service_name", message)
    })?;
    let key = command.idempotency_key.clone();
    let rows = upload.rows().await?;
    let rows = services.ingest.log_once(destination, key, rows).await?;
    tracing::info!(service = name, rows, "served features logged");
    Ok(())
}

async fn persist(
    services: &Services,
    principal: &Principal,
    command: &Persist,
    upload: &Upload,
) -> Result<()> {
    let Destination {
        data_source_name: name,
        allow_overwrite,
        timeout,
    } = &command.to;
    let work = async {
        let registry = services.registry.current().await?;
        let destination = registry.data_source(name)?;
        check_readable(name, &destination)?;
        let (frame, memory) = upload.frame(services, &command.read).await?;
        let rows = read::rows(services, principal, &command.read, frame).await?;
        drop(memory);
        services
            .ingest
            .save(&destination.location, *allow_overwrite, rows)
            .await
    };
    let rows = limited(*timeout, work).await?;
    tracing::info!(source = name, rows, "saved dataset written");
    Ok(())
}

/// `seconds` as the client gave them; none is no limit.
async fn limited<T>(
    seconds: Option<f64>,
    work: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    let Some(seconds) = seconds else {
        return work.await;
    };
    let limit = Duration::try_from_secs_f64(seconds)
        .map_err(|error| Error::invalid("command.timeout", error.to_string()))?;
    let done = tokio::time::timeout(limit, work).await;
    done.unwrap_or_else(|_| {
        Err(Error::TimedOut {
            what: "persist".to_owned(),
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            hint: "give it more time, or none",
        })
    })
}

async fn validate(services: &Services, described: &Described) -> Result<()> {
    let catalogs = services.tables.catalogs();
    let sent = sent_source(&described.data_source_proto, &services.rules, catalogs)?;
    check_readable(&sent.name, &sent.source)?;
    match services
        .tables
        .pin_source(&sent.source.location, None)
        .await
    {
        Ok(_) => Ok(()),
        Err(error) => invalid_source(&sent, error),
    }
}

/// As Feast's own sources say it: a table that cannot be opened is a `ValueError`, files that are not there yet are none.
fn invalid_source(sent: &SentSource, error: Error) -> Result<()> {
    match (error.kind(), &sent.source.location) {
        (ErrorKind::NotFound, SourceLocation::Parquet(_)) => {
            tracing::warn!(source = sent.name, %error, "a data source without files");
            Ok(())
        }
        (ErrorKind::NotFound | ErrorKind::Unavailable, _) => Err(Error::invalid(
            format!("data source `{}`", sent.name),
            error.to_string(),
        )),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_time_limit_is_kept() {
        let done = || std::future::ready(Ok(7));
        assert_eq!(limited(None, done()).await.unwrap(), 7);
        assert_eq!(limited(Some(60.0), done()).await.unwrap(), 7);
        let never = std::future::pending::<Result<u64>>();
        let error = limited(Some(0.004), never).await.unwrap_err().to_string();
        assert_eq!(
            error,
            "persist took longer than 4 ms; give it more time, or none"
        );
        assert!(limited(Some(-1.0), done()).await.is_err());
        assert!(limited(Some(f64::MAX), done()).await.is_err());
    }
}
