//! Requests as scripted servers read them.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Method and address.
    pub(super) line: String,
    pub(super) head: String,
    pub(super) body: String,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut lines = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        lines.next().map(|(_, value)| value)
    }

    pub(super) fn is(&self, line: &str) -> bool {
        self.line == line
    }
}

/// The one request of a connection.
pub(super) async fn read(stream: &mut TcpStream) -> Request {
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let request = Request {
            line: head.split(' ').take(2).collect::<Vec<_>>().join(" "),
            head: head.to_owned(),
            body: body.to_owned(),
        };
        let length = request
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            return request;
        }
    }
}
