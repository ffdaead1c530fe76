//! What types cannot say about settings.

use bytesize::ByteSize;
use tracing_subscriber::EnvFilter;

use super::Config;
use crate::storage::Location;
use crate::strict_toml::{Document, Fault, quoted_key};

/// gRPC counts the bytes of a message in 32 bits.
const LARGEST_MESSAGE: ByteSize = ByteSize::b(u32::MAX as u64);

pub(super) fn faults(config: &Config, document: &Document) -> Vec<Fault> {
    let mut checks = Checks {
        document,
        faults: Vec::new(),
    };
    server(config, &mut checks);
    catalogs(config, &mut checks);
    engine(config, &mut checks);
    checks.refuse_if(
        config.registry.path.as_os_str().is_empty(),
        &["registry", "path"],
        "must name a file, or the folder of a Feast repository",
    );
    sources(config, &mut checks);
    online(config, &mut checks);
    maintenance(config, &mut checks);
    time_limits(config, &mut checks);
    staging(config, &mut checks);
    if let Err(error) = EnvFilter::builder().parse(&config.telemetry.log) {
        checks.refuse(
            &["telemetry", "log"],
            &format!("{error}; expected for example \"info\" or \"info,murre=debug\""),
        );
    }
    checks.faults
}

struct Checks<'a> {
    document: &'a Document,
    faults: Vec<Fault>,
}

impl Checks<'_> {
    fn refuse(&mut self, path: &[&str], message: &str) {
        let origin = self.document.origin(path);
        self.faults.push(Fault {
            origin,
            key: path
                .iter()
                .map(|key| quoted_key(key))
                .collect::<Vec<_>>()
                .join("."),
            message: message.to_owned(),
        });
    }

    fn refuse_if(&mut self, wrong: bool, path: &[&str], message: &str) {
        if wrong {
            self.refuse(path, message);
        }
    }
}

fn server(config: &Config, checks: &mut Checks<'_>) {
    let server = &config.server;
    let exposed = !server.listen.ip().to_canonical().is_loopback() && !server.insecure_allow_remote;
    let message = format!(
        "`{}` can be reached from other machines, and this server has neither TLS nor authentication yet; listen on \
         127.0.0.1, or set server.insecure_allow_remote if the network is trusted",
        server.listen
    );
    checks.refuse_if(exposed, &["server", "listen"], &message);
    let size = server.max_message_size;
    let message = format!("expected a size from 1 KiB to below 4 GiB, found {size}");
    let wrong = size < ByteSize::kib(1) || size > LARGEST_MESSAGE;
    checks.refuse_if(wrong, &["server", "max_message_size"], &message);
}

fn catalogs(config: &Config, checks: &mut Checks<'_>) {
    checks.refuse_if(
        config.catalogs.is_empty(),
        &["catalogs"],
        "at least one catalog is needed",
    );
    for (name, catalog) in &config.catalogs {
        let section = format!("catalogs.{}", quoted_key(name));
        for fault in catalog.faults(&section) {
            let (key, message) = fault.split_once(": ").unwrap_or((&section, &fault));
            let field = key
                .strip_prefix(&section)
                .map_or("", |rest| rest.trim_start_matches('.'));
            checks.refuse(&["catalogs", name, field], message);
        }
    }
}

fn engine(config: &Config, checks: &mut Checks<'_>) {
    let engine = &config.engine;
    let limit = engine.memory_limit;
    let message = format!("expected at least 16 MiB, or 0 for the default, found {limit}");
    let wrong = limit > ByteSize::b(0) && limit < ByteSize::mib(16);
    checks.refuse_if(wrong, &["engine", "memory_limit"], &message);
    let message = format!("expected at most 1024, found {}", engine.threads);
    checks.refuse_if(engine.threads > 1024, &["engine", "threads"], &message);
    for (key, count) in [
        ("max_running", engine.max_running),
        ("max_waiting", engine.max_waiting),
    ] {
        let message = format!("expected at most 65536, found {count}");
        checks.refuse_if(count > 65_536, &["engine", key], &message);
    }
    let message = format!("expected 1 to 1048576 rows, found {}", engine.batch_size);
    checks.refuse_if(
        !(1..=1 << 20).contains(&engine.batch_size),
        &["engine", "batch_size"],
        &message,
    );
}

fn sources(config: &Config, checks: &mut Checks<'_>) {
    let sources = &config.sources;
    for root in &sources.file_roots {
        let fault = match Location::parse(root) {
            Err(message) if root.contains("://") => Some(message),
            Err(_) if root.is_empty() => Some("must name a folder or an `s3://` prefix".to_owned()),
            _ => None,
        };
        if let Some(message) = fault {
            checks.refuse(&["sources", "file_roots"], &message);
        }
    }
    let unnamed = |uri: &&String| !uri.contains("://");
    if let Some(uri) = sources.catalog_uris.iter().find(unnamed) {
        let message = format!("expected addresses such as \"https://host/path\", found \"{uri}\"");
        checks.refuse(&["sources", "catalog_uris"], &message);
    }
    let broken = |namespace: &String| namespace.split('.').any(str::is_empty);
    checks.refuse_if(
        sources.dataset_namespaces.iter().any(broken),
        &["sources", "dataset_namespaces"],
        "expected namespaces such as \"saved\" or \"team.saved\"",
    );
}

fn online(config: &Config, checks: &mut Checks<'_>) {
    let online = &config.online;
    let unknown = !online.catalog.is_empty() && !config.catalogs.contains_key(&online.catalog);
    let known: Vec<&str> = config.catalogs.keys().map(String::as_str).collect();
    checks.refuse_if(
        unknown,
        &["online", "catalog"],
        &format!("must be one of the catalogs, [{}]", known.join(", ")),
    );
    for (key, message) in online.faults() {
        checks.refuse(&["online", key], &message);
    }
}

fn maintenance(config: &Config, checks: &mut Checks<'_>) {
    for (key, message) in config.maintenance.faults() {
        checks.refuse(&["maintenance", key], &message);
    }
}

fn time_limits(config: &Config, checks: &mut Checks<'_>) {
    let limits = [
        ("entity_sql", config.entity_sql.timeout),
        ("on_demand", config.on_demand.timeout),
    ];
    for (section, limit) in limits {
        let message = "must be more than 0, or everything would take too long";
        checks.refuse_if(limit.is_zero(), &[section, "timeout"], message);
    }
}

fn staging(config: &Config, checks: &mut Checks<'_>) {
    let message = "must be more than 0, or nothing could be uploaded";
    checks.refuse_if(
        config.staging.budget == ByteSize::b(0),
        &["staging", "budget"],
        message,
    );
    let message = "must be more than 0, or every upload would have expired";
    checks.refuse_if(config.staging.ttl.is_zero(), &["staging", "ttl"], message);
}
