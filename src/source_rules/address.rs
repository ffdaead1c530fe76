//! Whether an address is one that the operator listed, or a path below it. Parsers of addresses differ in their details, so
//! whatever they could read in two ways is not.

/// Characters that parsers drop, or take for `/`.
fn is_plain(text: &str) -> bool {
    text.chars()
        .all(|c| !c.is_control() && !c.is_whitespace() && c != '\\')
}

/// The address without what does not change where it leads.
struct Address {
    scheme: String,
    /// In lower case, without user and password.
    host: String,
    path: Vec<String>,
}

/// Whether `uri` is `allowed`, or below its path on the same host.
pub(super) fn is_within(uri: &str, allowed: &str) -> bool {
    if uri == allowed {
        return true;
    }
    match (parse(uri), parse(allowed)) {
        (Some(uri), Some(allowed)) => {
            uri.scheme == allowed.scheme
                && uri.host == allowed.host
                && uri.path.starts_with(&allowed.path)
        }
        _ => false,
    }
}

/// Whether a path may lead out of the folder that it begins in.
pub(super) fn climbs(path: &str) -> bool {
    let path = path.to_ascii_lowercase().replace("%2e", ".");
    !is_plain(&path)
        || path.contains("%2f")
        || path.contains("%5c")
        || path.split('/').any(|segment| segment == "..")
}

fn parse(uri: &str) -> Option<Address> {
    let (scheme, rest) = uri.split_once("://")?;
    let rest = match rest.split_once('?') {
        Some((rest, query)) if is_harmless(query) => rest,
        Some(_) => return None,
        None => rest,
    };
    if !is_plain(uri) || rest.contains('#') {
        return None;
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let scheme = scheme.split('+').next()?.to_ascii_lowercase();
    let is_web = matches!(scheme.as_str(), "http" | "https");
    let host = match authority.rsplit_once('@') {
        Some(_) if is_web => return None,
        Some((_, host)) => host,
        None => authority,
    };
    if host.is_empty() || climbs(path) {
        return None;
    }
    Some(Address {
        host: without_default_port(&scheme, host.to_ascii_lowercase()),
        scheme,
        path: path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}

/// Other parameters of a database can name another host.
fn is_harmless(query: &str) -> bool {
    query
        .split('&')
        .all(|parameter| parameter.starts_with("sslmode="))
}

fn without_default_port(scheme: &str, host: String) -> String {
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        "postgresql" | "postgres" => ":5432",
        _ => return host,
    };
    host.strip_suffix(port).map(str::to_owned).unwrap_or(host)
}
