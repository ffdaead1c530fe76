//! Entity dataframes as SQL: what is refused, what is not, and the limits.

use std::time::Duration;

use arrow::datatypes::DataType;
use bytesize::ByteSize;
use rstest::rstest;

use super::fixture::{Answer, Fixture, row, run};
use crate::error::{Error, Result};
use crate::historical::{Historical, HistoricalPlan};
use crate::model::{EntitySource, FeatureRef, FeatureSelection, HistoricalRequest, Principal};

async fn plan(historical: &Historical, query: &str) -> Result<HistoricalPlan> {
    let request = HistoricalRequest {
        project: None,
        features: FeatureSelection::Refs(vec![FeatureRef {
            view: "driver_stats".to_owned(),
            feature: "value".to_owned(),
        }]),
        full_feature_names: true,
        entity: EntitySource::Sql(query.to_owned()),
        ordered: true,
        pins: None,
    };
    historical
        .plan(&Principal::anonymous(), &request, None)
        .await
}

async fn answer(fixture: &Fixture, query: &str) -> Result<Answer> {
    run(&plan(&fixture.historical(), query).await?).await
}

async fn small() -> Fixture {
    Fixture::new(&[vec![row(1, 10, 1), row(2, 20, 2)]], Vec::new()).await
}

async fn large() -> Fixture {
    let rows = (0..20_000).map(|key| row(key, key, 1)).collect();
    Fixture::new(&[rows], Vec::new()).await
}

#[tokio::test]
async fn a_query_is_refused_unless_the_configuration_allows_it() {
    let mut fixture = small().await;
    fixture.entity_sql.enabled = false;
    let error = answer(&fixture, "SELECT * FROM t.stats").await.unwrap_err();
    assert!(matches!(error, Error::NotAllowed { .. }), "{error}");
    assert!(error.to_string().contains("entity_sql.enabled"), "{error}");
}

#[rstest]
#[case::qualified("SELECT driver_id, event_timestamp FROM t.stats")]
#[case::quoted(r#"SELECT "driver_id", "event_timestamp" FROM "t"."stats""#)]
#[case::backticks("SELECT `driver_id`, `event_timestamp` FROM `t.stats`")]
#[case::data_source("SELECT driver_id, event_timestamp FROM stats_source")]
#[case::view("SELECT s.driver_id, s.event_timestamp FROM driver_stats AS s;")]
#[case::time(
    "SELECT driver_id, event_timestamp FROM t.stats WHERE event_timestamp < TIMESTAMP '2026-01-01'"
)]
#[case::cte(
    "WITH s AS (SELECT * FROM t.stats) SELECT driver_id, max(event_timestamp) AS event_timestamp FROM s GROUP BY 1"
)]
#[case::join(
    "SELECT a.driver_id, b.event_timestamp FROM t.stats a JOIN driver_stats b USING (driver_id)"
)]
#[case::union(
    "SELECT driver_id, event_timestamp FROM t.stats UNION SELECT driver_id, event_timestamp FROM stats_source"
)]
#[case::window(
    "SELECT driver_id, event_timestamp FROM (SELECT *, row_number() OVER (PARTITION BY driver_id ORDER BY event_timestamp) AS n FROM t.stats) AS s WHERE n = 1"
)]
#[tokio::test]
async fn the_projects_tables_can_be_queried_by_each_of_their_names(#[case] query: &str) {
    let (columns, rows) = answer(&small().await, query).await.unwrap();
    assert_eq!(
        columns,
        ["driver_id", "event_timestamp", "driver_stats__value"]
    );
    let cells = |row: [&str; 3]| row.map(|cell| Some(cell.to_owned())).to_vec();
    assert_eq!(rows, [cells(["1", "10", "1"]), cells(["2", "20", "2"])]);
}

#[tokio::test]
async fn rows_come_with_plain_types_at_the_servers_time() {
    let query = "SELECT driver_id, arrow_cast(now(), 'Timestamp(Microsecond, Some(\"UTC\"))') AS event_timestamp, \
                 'x' AS label, CAST(driver_id AS VARCHAR) AS text, (SELECT count(*) FROM t.stats) AS n \
                 FROM t.stats ORDER BY driver_id DESC LIMIT 1";
    let fixture = small().await;
    let plan = plan(&fixture.historical(), query).await.unwrap();
    let schema = plan.schema();
    assert_eq!(schema.field(2).data_type(), &DataType::Utf8);
    assert_eq!(schema.field(3).data_type(), &DataType::Utf8);
    let (_, rows) = run(&plan).await.unwrap();
    let cells: Vec<&str> = rows[0]
        .iter()
        .map(|cell| cell.as_deref().unwrap())
        .collect();
    assert_eq!(cells, ["2", "1767355200000000", "x", "2", "2", "2"]);
}

#[tokio::test]
async fn comparisons_of_times_prune_files() {
    let commits: Vec<_> = (0..4).map(|n| vec![row(1, n * 10, n)]).collect();
    let fixture = Fixture::new(&commits, Vec::new()).await;
    let query = "SELECT driver_id, event_timestamp FROM t.stats \
                 WHERE event_timestamp > TIMESTAMP '1970-01-01 00:00:00.000005' AND event_timestamp <= to_timestamp_micros(20)";
    let (_, rows) = answer(&fixture, query).await.unwrap();
    assert_eq!(rows.len(), 2);
}

#[rstest]
#[case::nothing("")]
#[case::comment("-- nothing")]
#[case::garbage("SELEKT 1")]
#[case::two("SELECT * FROM t.stats; SELECT * FROM t.stats")]
#[case::hidden_second("SELECT * FROM t.stats; DROP TABLE t.stats")]
#[case::insert("INSERT INTO t.stats VALUES (1)")]
#[case::update("UPDATE t.stats SET value = 1")]
#[case::delete("DELETE FROM t.stats")]
#[case::truncate("TRUNCATE TABLE t.stats")]
#[case::merge("MERGE INTO t.stats USING t.stats AS s ON true WHEN MATCHED THEN DELETE")]
#[case::insert_in_cte("WITH x AS (INSERT INTO t.stats VALUES (1) RETURNING *) SELECT * FROM x")]
#[case::insert_after_cte("WITH x AS (SELECT 1) INSERT INTO t.stats SELECT * FROM x")]
#[case::create_table("CREATE TABLE x AS SELECT * FROM t.stats")]
#[case::create_view("CREATE VIEW x AS SELECT * FROM t.stats")]
#[case::create_external("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'")]
#[case::create_function("CREATE FUNCTION f() RETURNS INT RETURN 1")]
#[case::drop("DROP TABLE t.stats")]
#[case::select_into("SELECT * INTO x FROM t.stats")]
#[case::copy("COPY t.stats TO '/tmp/x.csv'")]
#[case::copy_query("COPY (SELECT * FROM t.stats) TO 's3://bucket/x.parquet'")]
#[case::set("SET datafusion.execution.batch_size = 1")]
#[case::show("SHOW TABLES")]
#[case::show_all("SHOW ALL")]
#[case::describe("DESCRIBE t.stats")]
#[case::explain("EXPLAIN SELECT * FROM t.stats")]
#[case::explain_analyze("EXPLAIN ANALYZE SELECT * FROM t.stats")]
#[case::begin("BEGIN")]
#[case::prepare("PREPARE p AS SELECT * FROM t.stats")]
#[case::execute("EXECUTE p")]
#[case::schema("SELECT * FROM information_schema.tables")]
#[case::settings("SELECT * FROM information_schema.df_settings")]
#[case::full_schema("SELECT * FROM datafusion.information_schema.columns")]
#[case::file("SELECT * FROM '/etc/passwd'")]
#[case::quoted_file(r#"SELECT * FROM "/data/files""#)]
#[case::url("SELECT * FROM 'https://example.com/x.parquet'")]
#[case::parquet_source("SELECT * FROM files")]
#[case::other_source("SELECT * FROM queue")]
#[case::other_catalog("SELECT * FROM default.t.stats")]
#[case::unlisted_table("SELECT * FROM t.secret")]
#[case::ambiguous("SELECT * FROM stats")]
#[case::table_function(
    "SELECT value AS driver_id, now() AS event_timestamp FROM generate_series(1, 1000000000000)"
)]
#[case::range_function("SELECT * FROM range(1, 10)")]
#[case::read_function("SELECT * FROM read_csv('/etc/passwd')")]
#[case::environment("SELECT getenv('HOME') AS driver_id, now() AS event_timestamp")]
#[case::file_function("SELECT pg_read_file('/etc/passwd') AS driver_id, now() AS event_timestamp")]
#[case::sleep("SELECT pg_sleep(1000) AS driver_id, now() AS event_timestamp")]
#[case::variable("SELECT @@version AS driver_id, now() AS event_timestamp")]
#[case::user_variable("SELECT @x AS driver_id, now() AS event_timestamp")]
#[case::placeholder("SELECT $1 AS driver_id, now() AS event_timestamp")]
#[case::amplifying("SELECT repeat('x', 1000000000) AS driver_id, now() AS event_timestamp")]
#[case::padding("SELECT lpad('x', 2000000000) AS driver_id, now() AS event_timestamp")]
#[case::recursive(
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT n AS driver_id, now() AS event_timestamp FROM r"
)]
#[case::hidden_in_subquery(
    "SELECT driver_id, event_timestamp FROM t.stats WHERE driver_id IN (SELECT id FROM secret)"
)]
#[case::unknown_column("SELECT secret, event_timestamp FROM t.stats")]
#[tokio::test]
async fn hostile_and_broken_statements_are_the_callers_fault(#[case] query: &str) {
    match answer(&small().await, query).await {
        Err(Error::InvalidRequest { .. } | Error::DataSourceNotFound { .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_query_without_end_is_stopped_at_the_time_limit() {
    let mut fixture = large().await;
    fixture.entity_sql.timeout = Duration::from_millis(300);
    let query = "SELECT a.driver_id, a.event_timestamp FROM t.stats a, t.stats b, t.stats c, t.stats d \
                 WHERE a.value + b.value + c.value + d.value < 0";
    match answer(&fixture, query).await {
        Err(Error::TimedOut { limit_ms, .. }) => assert_eq!(limit_ms, 300),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_over_the_engines_memory_is_refused_and_its_memory_is_freed() {
    let mut fixture = large().await;
    fixture.engine.memory_limit = ByteSize::mib(8);
    let historical = fixture.historical();
    let query = "SELECT a.driver_id, a.event_timestamp FROM t.stats a CROSS JOIN t.stats b";
    let error = plan(&historical, query).await.unwrap_err();
    assert!(matches!(error, Error::MemoryExhausted { .. }), "{error}");
    until_free(&historical, 8 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataframe_is_charged_until_its_plan_is_gone() {
    let mut fixture = large().await;
    fixture.engine.memory_limit = ByteSize::mib(64);
    let historical = fixture.historical();
    let planned = plan(
        &historical,
        "SELECT driver_id, event_timestamp FROM t.stats",
    )
    .await;
    let planned = planned.unwrap();
    let rest = historical.planner.engine.reserve("test");
    let bytes = 20_000 * 16;
    assert!(rest.try_grow((64 << 20) - bytes + 1).is_err());
    drop((planned, rest));
    until_free(&historical, 64 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_stops_its_query() {
    let mut fixture = large().await;
    fixture.engine.memory_limit = ByteSize::mib(512);
    let historical = fixture.historical();
    let query = "SELECT a.driver_id, a.event_timestamp FROM t.stats a, t.stats b WHERE a.value + b.value < 0";
    let call = plan(&historical, query);
    let started = tokio::time::timeout(Duration::from_millis(200), call).await;
    assert!(started.is_err(), "the query runs longer than this");
    until_free(&historical, 512 << 20).await;
}

/// Waits until nothing of the engine's memory is in use; forever if something leaks.
async fn until_free(historical: &Historical, limit: usize) {
    let free = || {
        historical
            .planner
            .engine
            .reserve("test")
            .try_grow(limit)
            .is_ok()
    };
    while !free() {
        tokio::task::yield_now().await;
    }
}

/// As deep as the limits allow: the planner is recursive, and must neither overflow a stack nor blow up.
#[rstest]
#[case::sum(format!("SELECT driver_id, event_timestamp FROM t.stats WHERE driver_id < {}", vec!["1"; 950].join(" + ")), true)]
#[case::conjunction(format!("SELECT driver_id, event_timestamp FROM t.stats WHERE {}", vec!["driver_id > 0"; 300].join(" AND ")), true)]
#[case::list(format!("SELECT driver_id, event_timestamp FROM t.stats WHERE driver_id IN (1, 2, {})", (0..20_000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ")), true)]
#[case::too_many_words(format!("SELECT driver_id FROM t.stats WHERE driver_id < {}", vec!["1"; 3_000].join(" + ")), false)]
#[case::parentheses(format!("SELECT driver_id FROM t.stats WHERE {}true{}", "(".repeat(400), ")".repeat(400)), false)]
#[case::nested_queries(format!("SELECT driver_id, event_timestamp FROM {}t.stats{}", "(SELECT * FROM ".repeat(200), ")".repeat(200)), false)]
#[case::doubling_tables(
    doubling("SELECT a.driver_id, a.event_timestamp FROM s{n} a, s{n} b"),
    false
)]
#[case::doubling_expressions(
    doubling("SELECT driver_id + driver_id AS driver_id, event_timestamp FROM s{n}"),
    false
)]
#[case::nested_withs(format!("{}SELECT * FROM t.stats{}", "WITH x AS (".repeat(20), ") SELECT * FROM x".repeat(20)), false)]
#[tokio::test]
async fn a_query_as_large_as_allowed_is_planned_and_a_larger_one_refused(
    #[case] query: String,
    #[case] is_allowed: bool,
) {
    let fixture = small().await;
    match (plan(&fixture.historical(), &query).await, is_allowed) {
        (Ok(_), true) | (Err(Error::InvalidRequest { .. }), false) => {}
        (other, _) => panic!("{other:?}"),
    }
}

/// A chain of common table expressions, each twice what the one before it is.
fn doubling(step: &str) -> String {
    let steps = (1..30).map(|n| format!("s{n} AS ({})", step.replace("{n}", &(n - 1).to_string())));
    let first = "s0 AS (SELECT driver_id, event_timestamp FROM t.stats)".to_owned();
    let ctes: Vec<String> = [first].into_iter().chain(steps).collect();
    format!(
        "WITH {} SELECT driver_id, event_timestamp FROM s29 WHERE driver_id > 1",
        ctes.join(", ")
    )
}
