//! A small Glue over HTTP, with the real one's check of versions, that can be told to fail.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::http::read;

/// Status and body.
pub(super) type Answer = (u16, Value);

#[derive(Default)]
pub(super) struct State {
    databases: BTreeMap<String, Value>,
    pub(super) tables: BTreeMap<String, Value>,
    /// Answers to the next requests of an action instead of its own, and whether the action is done all the same.
    pub(super) scripted: VecDeque<(&'static str, bool, Answer)>,
    /// Actions in order.
    pub(super) seen: Vec<String>,
    pub(super) bodies: Vec<Value>,
}

#[derive(Clone, Default)]
pub(super) struct Server(pub(super) Arc<Mutex<State>>);

pub(super) fn failure(status: u16, code: &str, message: &str) -> Answer {
    (status, json!({"__type": code, "Message": message}))
}

fn missing() -> Answer {
    failure(400, "EntityNotFoundException", "not there")
}

impl Server {
    /// Its address.
    pub(super) async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.serve(stream).await;
            }
        });
        format!("http://{address}")
    }

    pub(super) fn next(&self, action: &'static str, answer: Answer) {
        let mut state = self.0.lock().unwrap();
        state.scripted.push_back((action, false, answer));
    }

    /// The action is done, but nobody learns of it.
    pub(super) fn next_after_doing(&self, action: &'static str, answer: Answer) {
        let mut state = self.0.lock().unwrap();
        state.scripted.push_back((action, true, answer));
    }

    pub(super) fn count(&self, action: &str) -> usize {
        let state = self.0.lock().unwrap();
        state.seen.iter().filter(|seen| *seen == action).count()
    }

    async fn serve(&self, mut stream: TcpStream) {
        let (action, body) = read_action(&mut stream).await;
        let (status, body) = self.0.lock().unwrap().answer(&action, &body);
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-type: application/x-amz-json-1.1\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn read_action(stream: &mut TcpStream) -> (String, Value) {
    let request = read(stream).await;
    let action = request.header("x-amz-target").unwrap_or_default();
    let action = action.rsplit('.').next().unwrap_or_default().to_owned();
    (action, serde_json::from_str(&request.body).unwrap())
}

impl State {
    fn answer(&mut self, action: &str, body: &Value) -> Answer {
        self.seen.push(action.to_owned());
        self.bodies.push(body.clone());
        let scripted = self.scripted.iter().position(|(of, ..)| *of == action);
        match scripted.and_then(|index| self.scripted.remove(index)) {
            Some((_, false, answer)) => answer,
            Some((_, true, answer)) => {
                self.own_answer(action, body);
                answer
            }
            None => self.own_answer(action, body),
        }
    }

    fn own_answer(&mut self, action: &str, body: &Value) -> Answer {
        let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let input = &body["TableInput"];
        match action {
            "CreateDatabase" => {
                let database = body["DatabaseInput"].clone();
                match self.databases.insert(name(&database["Name"]), database) {
                    Some(_) => failure(400, "AlreadyExistsException", "there already"),
                    None => (200, json!({})),
                }
            }
            "GetDatabase" => match self.databases.get(&name(&body["Name"])) {
                Some(database) => (200, json!({"Database": database})),
                None => missing(),
            },
            "GetDatabases" => page("DatabaseList", &self.databases, body),
            "CreateTable" if !self.databases.contains_key(&name(&body["DatabaseName"])) => {
                missing()
            }
            "CreateTable" => self.store(input, 0),
            "GetTables" => page("TableList", &self.tables, body),
            "GetTable" => match self.tables.get(&name(&body["Name"])) {
                Some(table) => (200, json!({"Table": table})),
                None => missing(),
            },
            "UpdateTable" => match self.tables.get(&name(&input["Name"])) {
                Some(table) if table["VersionId"] == body["VersionId"] => {
                    let version = name(&table["VersionId"]).parse::<u64>().unwrap();
                    self.store(input, version + 1)
                }
                Some(_) => failure(400, "ConcurrentModificationException", "another version"),
                None => missing(),
            },
            "DeleteTable" => match self.tables.remove(&name(&body["Name"])) {
                Some(_) => (200, json!({})),
                None => missing(),
            },
            _ => failure(400, "UnknownOperationException", action),
        }
    }

    fn store(&mut self, input: &Value, version: u64) -> Answer {
        let mut table = input.clone();
        table["VersionId"] = json!(version.to_string());
        let name = table["Name"].as_str().unwrap().to_owned();
        self.tables.insert(name, table);
        (200, json!({}))
    }
}

/// One entry.
fn page(list: &str, all: &BTreeMap<String, Value>, body: &Value) -> Answer {
    let from: usize = body["NextToken"]
        .as_str()
        .map_or(0, |token| token.parse().unwrap());
    let mut answer = json!({list: all.values().skip(from).take(1).collect::<Vec<_>>()});
    if from + 1 < all.len() {
        answer["NextToken"] = json!((from + 1).to_string());
    }
    (200, answer)
}
