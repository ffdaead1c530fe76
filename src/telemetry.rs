//! Logging set-up: one line an event, to standard error, so that standard output stays free for results.

use std::io;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, TelemetryConfig};
use crate::error::{Error, Result};

/// Sends the log of this process to standard error, as configured. To be called once.
///
/// # Errors
/// [`Error::InvalidConfig`] if the filter cannot be read, [`Error::Internal`] if logging was set up before.
pub fn init(config: &TelemetryConfig) -> Result<()> {
    subscriber(config, io::stderr)?
        .try_init()
        .map_err(|error| Error::internal("set up logging", error))
}

fn subscriber<W>(
    config: &TelemetryConfig,
    writer: W,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(&config.log)
        .map_err(|error| Error::InvalidConfig {
            faults: vec![format!("telemetry.log: {error}")],
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    Ok(match config.format {
        LogFormat::Text => {
            let lines = builder.with_ansi(false).finish();
            Box::new(lines.with(filter_fn(tells_no_secret)))
        }
        LogFormat::Json => {
            let lines = builder.json().flatten_event(true).finish();
            Box::new(lines.with(filter_fn(tells_no_secret)))
        }
    })
}

/// Amazon's SDK logs whole answers, which may repeat what was sent.
fn tells_no_secret(event: &Metadata<'_>) -> bool {
    *event.level() <= Level::INFO || !event.target().starts_with("aws_")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(log: &str, format: LogFormat) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let config = TelemetryConfig {
            log: log.to_owned(),
            format,
        };
        let subscriber = subscriber(&config, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(rows = 3, "hello");
            tracing::debug!("hidden");
            tracing::debug!(target: "aws_smithy_runtime", "an answer with a secret");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn text_lines_are_filtered_and_plain() {
        let log = logged("info", LogFormat::Text);
        assert!(
            log.ends_with("INFO murre::telemetry::tests: hello rows=3\n"),
            "{log}"
        );
        assert_eq!(log.lines().count(), 1);
        assert_eq!(
            logged("warn,murre=debug", LogFormat::Text).lines().count(),
            2
        );
    }

    #[test]
    fn answers_to_amazons_sdk_are_never_logged() {
        let log = logged("trace", LogFormat::Text);
        assert!(log.contains("hidden") && !log.contains("secret"), "{log}");
    }

    #[test]
    fn json_lines_hold_the_fields() {
        let log = logged("info", LogFormat::Json);
        let event: serde_json::Value = serde_json::from_str(log.trim()).unwrap();
        assert_eq!(
            (&event["message"], &event["rows"], &event["level"]),
            (&"hello".into(), &3.into(), &"INFO".into())
        );
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_a_fault() {
        let config = TelemetryConfig {
            log: "a=b=c".to_owned(),
            ..TelemetryConfig::default()
        };
        let error = subscriber(&config, io::stderr).err().unwrap();
        assert!(error.to_string().contains("telemetry.log"), "{error}");
    }
}
