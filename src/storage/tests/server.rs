//! A store that answers by script and remembers what it was asked. Speaks as much HTTP as clients of stores need.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::clock;

#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Request line and headers.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    /// The key that it was signed with.
    pub(super) fn key(&self) -> &str {
        let authorization = self.header("authorization").unwrap_or_default();
        let credential = authorization.split_once("Credential=");
        credential.map_or("", |(_, rest)| rest.split('/').next().unwrap())
    }
}

pub(super) enum Answer {
    Now {
        status: &'static str,
        headers: String,
        body: &'static str,
    },
    Never,
}

impl Answer {
    pub(super) fn of(status: &'static str, body: &'static str) -> Self {
        Self::Now {
            status,
            headers: String::new(),
            body,
        }
    }

    /// A whole file.
    pub(super) fn found(body: &'static str) -> Self {
        Self::Now {
            status: "200 OK",
            headers: "etag: \"1\"\r\nlast-modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n".to_owned(),
            body,
        }
    }

    /// Three bytes of a file.
    pub(super) fn range(request: &Request) -> Self {
        let range = request.header("range").unwrap().replace('=', " ");
        Self::Now {
            status: "206 Partial Content",
            headers: format!("etag: \"1\"\r\ncontent-range: {range}/100\r\n"),
            body: "abc",
        }
    }
}

pub(super) struct Server {
    pub(super) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(super) async fn start(
        answer: impl Fn(&Request) -> Answer + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let requests = Arc::clone(&server.requests);
        let connections = Arc::clone(&server.connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, Arc::clone(&requests), answer.clone()));
            }
        });
        server
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The keys that requests were signed with, in their order.
    pub(super) fn keys(&self) -> Vec<String> {
        let requests = self.requests();
        requests
            .iter()
            .map(|request| request.key().to_owned())
            .collect()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(
    mut stream: TcpStream,
    requests: Arc<Mutex<Vec<Request>>>,
    answer: impl Fn(&Request) -> Answer,
) {
    let mut read = Vec::new();
    while let Some(request) = next(&mut stream, &mut read).await {
        let answered = answer(&request);
        let is_head = request.head.starts_with("HEAD ");
        requests.lock().unwrap().push(request);
        let Answer::Now {
            status,
            headers,
            body,
        } = answered
        else {
            clock::sleep(Duration::from_secs(60)).await;
            return;
        };
        let length = body.len();
        let body = if is_head { "" } else { body };
        let text = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}");
        stream.write_all(text.as_bytes()).await.unwrap();
    }
}

async fn next(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        match read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None if stream.read_buf(read).await.ok()? == 0 => return None,
            None => {}
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let mut request = Request {
        head,
        body: Vec::new(),
    };
    let length = request.header("content-length").unwrap_or("0");
    let length: usize = length.parse().unwrap();
    while read.len() < end + length {
        stream.read_buf(read).await.ok()?;
    }
    request.body = read[end..end + length].to_vec();
    read.drain(..end + length);
    Some(request)
}
