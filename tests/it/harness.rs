//! A server in this process over tables in a temporary folder, and a client for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightClient, FlightDescriptor, Ticket};
use futures::{TryStreamExt, stream};
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use murre::catalog::Catalogs;
use murre::config::{Config, Flags};
use murre::model::TableName;
use murre::server::{App, Overrides};
use murre::table::commit::{NewTable, append, create_table};
use murre::table::layout::PartitionBy;
use murre::table::write::write;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

const DEFINITIONS: &str = r#"
project = "test"
[[entity]]
name = "driver"
join_keys = [{ name = "driver_id", type = "int64" }]
[[feature_view]]
name = "stats"
entities = ["driver"]
table = "t.stats"
timestamp_field = "event_timestamp"
ttl = "1d"
"#;

/// Microseconds of an hour.
pub(crate) const HOUR: i64 = 3_600_000_000;

/// A folder with a catalog, one table `t.stats` and its definitions.
pub(crate) struct Store {
    pub(crate) dir: TempDir,
}

impl Store {
    /// A store whose table has these batches, one commit each.
    pub(crate) async fn new(batches: &[RecordBatch], partition_by: Vec<PartitionBy>) -> Self {
        let store = Self::without_table();
        let catalogs = Catalogs::connect(&store.config().catalogs).unwrap();
        let name = TableName::parse("default", "t.stats").unwrap();
        let new = NewTable {
            schema: schema(),
            partition_by,
            sort_by: vec!["driver_id".to_owned()],
        };
        let table = create_table(&catalogs, &name, new).await.unwrap();
        for batch in batches {
            let files = write(&table, std::slice::from_ref(batch)).await.unwrap();
            append(&catalogs, &name, files).await.unwrap();
        }
        store
    }

    /// A store whose definitions name a table that does not exist.
    pub(crate) fn without_table() -> Self {
        let store = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::write(store.path().join("features.toml"), DEFINITIONS).unwrap();
        store
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A configuration for this store, listening on any free port.
    pub(crate) fn config(&self) -> Config {
        let dir = self.path().display();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[catalogs.default]\ntype = \"sql\"\n\
             uri = \"sqlite:///{dir}/catalog.db\"\nwarehouse = \"{dir}/warehouse\"\n\
             [registry]\npath = \"{dir}/features.toml\"\n[maintenance]\njournal = \"{dir}/journal\"\n"
        );
        let file = self.path().join("murre.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(Some(&file), BTreeMap::new(), &Flags::default())
            .unwrap()
            .into_config()
    }

    /// Serves the store.
    pub(crate) async fn serve(&self) -> TestServer {
        TestServer::start(self.config()).await
    }

    /// Serves the store, which goes with the server.
    pub(crate) async fn serve_kept(self) -> TestServer {
        let mut server = self.serve().await;
        server.store = Some(self);
        server
    }
}

/// A running server; stops when dropped.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<murre::error::Result<()>>,
    /// What it serves, if that is nobody else's.
    store: Option<Store>,
}

impl TestServer {
    /// Serves a configuration.
    pub(crate) async fn start(config: Config) -> Self {
        let app = App::build(config, Overrides::default()).await.unwrap();
        let listener = app.bind().await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(app.serve(listener, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop,
            serving,
            store: None,
        }
    }

    /// Drains; what serving ended with.
    pub(crate) async fn stop(self) -> murre::error::Result<()> {
        drop(self.stop);
        let ended = self.serving.await.unwrap();
        drop(self.store);
        ended
    }

    /// A new connection.
    pub(crate) async fn client(&self) -> FlightClient {
        FlightClient::new(self.channel().await)
    }

    /// A new connection, for a client without conveniences.
    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }
}

/// Uploads a frame and answers its id.
pub(crate) async fn upload(client: &mut FlightClient, frame: RecordBatch) -> String {
    let data = FlightDataEncoderBuilder::new()
        .with_schema(frame.schema())
        .with_flight_descriptor(Some(FlightDescriptor::new_cmd(
            r#"{"upload_entities": {}}"#,
        )))
        .build(stream::once(async { Ok::<_, FlightError>(frame) }));
    let reply = client
        .do_put(data)
        .await
        .unwrap()
        .try_next()
        .await
        .unwrap()
        .unwrap();
    let result: serde_json::Value = serde_json::from_slice(&reply.app_metadata).unwrap();
    result["upload"].as_str().unwrap().to_owned()
}

/// A historical request for an upload.
pub(crate) fn request(upload: &str, features: &[&str]) -> String {
    serde_json::json!({ "historical": { "features": features, "entity": { "upload": upload } } })
        .to_string()
}

/// All rows of a request, in one batch.
pub(crate) async fn get(
    client: &mut FlightClient,
    request: String,
) -> Result<RecordBatch, FlightError> {
    let mut stream = client.do_get(Ticket::new(request)).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        batches.push(batch);
    }
    let schema = stream.schema().cloned().unwrap();
    Ok(arrow::compute::concat_batches(&schema, &batches).unwrap())
}

/// Feature rows: driver, hour, value.
pub(crate) fn rows(rows: impl IntoIterator<Item = (i64, i64, f64)>) -> RecordBatch {
    let rows: Vec<(i64, i64, f64)> = rows.into_iter().collect();
    let value: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2)));
    let mut columns = keys_and_times(rows.iter().map(|row| (row.0, row.1)));
    columns.push(("value", value));
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Entity rows: driver, hour.
pub(crate) fn entities(rows: impl IntoIterator<Item = (i64, i64)>) -> RecordBatch {
    RecordBatch::try_from_iter(keys_and_times(rows)).unwrap()
}

fn keys_and_times(rows: impl IntoIterator<Item = (i64, i64)>) -> Vec<(&'static str, ArrayRef)> {
    let rows: Vec<(i64, i64)> = rows.into_iter().collect();
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1 * HOUR));
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    vec![
        ("driver_id", keys),
        ("event_timestamp", Arc::new(times.with_data_type(utc))),
    ]
}

fn schema() -> Schema {
    let columns = [
        ("driver_id", PrimitiveType::Long),
        ("event_timestamp", PrimitiveType::Timestamptz),
        ("value", PrimitiveType::Double),
    ];
    let fields = columns.into_iter().zip(1..).map(|((name, data_type), id)| {
        Arc::new(NestedField::optional(id, name, Type::Primitive(data_type)))
    });
    Schema::builder().with_fields(fields).build().unwrap()
}
