//! `murre demo`: from nothing to a joined training set in one command.
//!
//! Makes a catalog, a warehouse and definitions in a folder, serves them with the same [`App`] that `murre serve`
//! runs, and retrieves features over loopback as any client would.

mod client;
mod data;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use arrow::util::pretty::pretty_format_batches;
use indicatif::{ProgressBar, ProgressStyle};

use client::Retrieval;
use data::{DEFINITIONS, SLICES, SampleTable};

use crate::catalog::Catalogs;
use crate::config::{Config, Flags};
use crate::error::{Error, Result};
use crate::model::TableName;
use crate::server::{App, Overrides};
use crate::table::commit::{NewTable, append, create_table};
use crate::table::layout::PartitionBy;
use crate::table::write::write;

const CATALOG: &str = "default";
const BUCKETS: u32 = 16;
const FEATURES: [&str; 5] = [
    "driver_stats:conv_rate",
    "driver_stats:acc_rate",
    "driver_stats:avg_daily_trips",
    "customer_profile:segment",
    "customer_profile:lifetime_value",
];
/// Joined rows that are printed.
const ROWS_SHOWN: usize = 8;

/// What `murre demo` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoOptions {
    /// Feature rows to make
    #[arg(long, default_value_t = 1_200_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: u64,
    /// Rows of the entity dataframe to retrieve features for
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub entities: u64,
    /// Folder for the sample catalog and tables; made if missing, used again if it is there
    #[arg(long, default_value = "data/demo")]
    pub dir: PathBuf,
    /// Address to serve at
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8815")]
    pub listen: String,
    /// Keep the server running afterwards
    #[arg(long)]
    pub serve: bool,
}

/// Runs the demo; with `serve` until `shutdown` completes.
///
/// # Errors
/// Whatever making the tables, serving or retrieving meets.
pub async fn run(
    options: DemoOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let mut out = io::stdout();
    let config = prepare(&options, &mut out).await?;
    let app = App::build(config, Overrides::default()).await?;
    let listener = app.bind().await?;
    let address = listener
        .local_addr()
        .map_err(failed("read the demo server's address"))?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(app.serve(listener, async {
        let _ = stopped.await;
    }));
    let shown = show(&options, address, &mut out).await;
    if shown.is_ok() && options.serve {
        say(
            &mut out,
            &format!("\nserving on grpc://{address}; stop with Ctrl-C"),
        )?;
        shutdown.await;
    }
    let _ = stop.send(());
    server
        .await
        .map_err(|error| Error::internal("serve the demo", error))??;
    shown
}

async fn show(options: &DemoOptions, address: SocketAddr, out: &mut impl Write) -> Result<()> {
    let tables = data::tables(options.rows);
    let entities = data::trips(options.entities, &tables)?;
    let retrieval = client::retrieve(address, entities, &FEATURES).await?;
    say(out, &describe(&retrieval)?)?;
    say(out, &by_hand(address))
}

fn describe(retrieval: &Retrieval) -> Result<String> {
    let rows: usize = retrieval
        .batches
        .iter()
        .map(arrow::array::RecordBatch::num_rows)
        .sum();
    let first: Vec<_> = retrieval
        .batches
        .iter()
        .take(1)
        .map(|batch| batch.slice(0, batch.num_rows().min(ROWS_SHOWN)))
        .collect();
    let table = pretty_format_batches(&first).map_err(Error::arrow("print the joined rows"))?;
    Ok(format!(
        "\nthe first of {rows} rows, joined with the features known at each event_timestamp:\n{table}\n\
         upload, join and download took {} ms\n\nwhat was read (DoAction `explain`):\n{}",
        retrieval.took.as_millis(),
        retrieval.explained
    ))
}

fn by_hand(address: SocketAddr) -> String {
    let features = FEATURES
        .map(|feature| format!("{feature:?}"))
        .join(",\n              ");
    format!(
        r#"the same by hand, in Python (pip install pyarrow pandas; start the server with `murre demo --serve`):

  import json, datetime, pyarrow as pa, pyarrow.flight as flight
  client = flight.connect("grpc://{address}")
  entities = pa.table({{"driver_id": [1001, 1002], "customer_id": ["c0001001", "c0001002"],
                       "event_timestamp": [datetime.datetime(2026, 1, 28, tzinfo=datetime.timezone.utc)] * 2}})
  command = flight.FlightDescriptor.for_command(json.dumps({{"upload_entities": {{}}}}))
  writer, reader = client.do_put(command, entities.schema)
  writer.write_table(entities); writer.done_writing()
  upload = json.loads(reader.read().to_pybytes())["upload"]
  features = [{features}]
  request = {{"historical": {{"features": features, "entity": {{"upload": upload}}}}}}
  print(client.do_get(flight.Ticket(json.dumps(request))).read_all().to_pandas())
"#
    )
}

/// Makes the sample data where it is missing, and answers the configuration that serves it.
async fn prepare(options: &DemoOptions, out: &mut impl Write) -> Result<Config> {
    let dir = &options.dir;
    std::fs::create_dir_all(dir).map_err(failed(format!("create {}", dir.display())))?;
    let dir = dir
        .canonicalize()
        .map_err(failed(format!("open {}", dir.display())))?;
    let config_file = dir.join("murre.toml");
    let made = config_file.exists();
    if !made {
        make(&dir, options.rows, out).await?;
        write_file(&dir.join("features.toml"), DEFINITIONS)?;
        write_file(&config_file, &configuration(&dir))?;
    }
    let verb = if made { "found" } else { "made" };
    say(
        out,
        &format!("{verb} a sample feature store in {}", dir.display()),
    )?;
    let flags = Flags {
        listen: Some(options.listen.clone()),
        ..Flags::default()
    };
    Ok(Config::load(Some(&config_file), crate::config::environment(), &flags)?.into_config())
}

/// The last file to be written: where it exists, the sample data is complete.
fn configuration(dir: &Path) -> String {
    let quoted = |path: String| toml::Value::String(path).to_string();
    format!(
        "[catalogs.{CATALOG}]\ntype = \"sql\"\nuri = {}\nwarehouse = {}\n\n[registry]\npath = {}\n",
        quoted(format!("sqlite:///{}", dir.join("catalog.db").display())),
        quoted(dir.join("warehouse").display().to_string()),
        quoted(dir.join("features.toml").display().to_string()),
    )
}

async fn make(dir: &Path, rows: u64, out: &mut impl Write) -> Result<()> {
    remove_unfinished(dir)?;
    say(
        out,
        &format!("making {rows} feature rows in {}", dir.display()),
    )?;
    let config: Config = toml::from_str(&configuration(dir))
        .map_err(|error| Error::internal("configure the demo", error))?;
    let catalogs = Catalogs::connect(&config.catalogs)?;
    for table in data::tables(rows) {
        fill(&catalogs, &table).await?;
    }
    Ok(())
}

/// An interrupted run leaves tables behind that would be in the way.
fn remove_unfinished(dir: &Path) -> Result<()> {
    let _ = std::fs::remove_file(dir.join("catalog.db"));
    match std::fs::remove_dir_all(dir.join("warehouse")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove an unfinished demo")(error))
        }
        _ => Ok(()),
    }
}

async fn fill(catalogs: &Catalogs, sample: &SampleTable) -> Result<()> {
    let name = TableName::parse(CATALOG, &format!("demo.{}", sample.name))?;
    let new = NewTable {
        schema: sample.iceberg_schema()?,
        partition_by: vec![PartitionBy::Bucket {
            column: sample.key.to_owned(),
            buckets: BUCKETS,
        }],
        sort_by: vec![
            sample.key.to_owned(),
            crate::historical::EVENT_TIMESTAMP.to_owned(),
        ],
    };
    let table = create_table(catalogs, &name, new).await?;
    let progress = progress(sample);
    for slice in 0..SLICES {
        let batch = sample.batch(slice)?;
        let rows = batch.num_rows() as u64;
        append(catalogs, &name, write(&table, &[batch]).await?).await?;
        progress.inc(rows);
    }
    progress.finish();
    Ok(())
}

fn progress(sample: &SampleTable) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:18} {wide_bar} {human_pos}/{human_len} rows")
        .expect("the template is well-formed");
    ProgressBar::new(sample.rows)
        .with_style(style)
        .with_message(sample.name)
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(failed(format!("write {}", path.display())))
}

fn say(out: &mut impl Write, text: &str) -> Result<()> {
    writeln!(out, "{text}").map_err(failed("print"))
}

fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let action = action.into();
    move |source| Error::Io { action, source }
}
