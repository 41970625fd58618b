//! A server of a few lines that answers like an OpenAI-compatible engine, or as badly as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// What it is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers at once, token by token.
    Good,
    /// Answers everything with a web page.
    WebPage,
    /// Wants a key.
    Locked,
    /// Has a model of another name.
    OtherModel,
    /// Is gone after so many answers.
    Mortal(usize),
}

/// Starts it; its address. It lives as long as the test does.
pub(crate) fn start(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    serve(listener, manner);
    format!("http://{address}")
}

pub(crate) fn serve(listener: TcpListener, manner: Manner) {
    let n_answered = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            if dead(manner, &n_answered) {
                return;
            }
            let n_answered = Arc::clone(&n_answered);
            thread::spawn(move || while answer(&connection, manner, &n_answered).is_some() {});
        }
    });
}

fn dead(manner: Manner, n_answered: &AtomicUsize) -> bool {
    matches!(manner, Manner::Mortal(most) if n_answered.load(Ordering::Relaxed) >= most)
}

/// Reads one request and answers it; nothing when the connection is to end.
fn answer(connection: &TcpStream, manner: Manner, n_answered: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    if dead(manner, n_answered) {
        return None;
    }
    n_answered.fetch_add(1, Ordering::Relaxed);
    let mut connection = connection;
    let mut plain = |status: &str, kind: &str, text: &str| {
        let length = text.len();
        let all = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{text}");
        connection.write_all(all.as_bytes()).ok()
    };
    let json = "application/json";
    match manner {
        Manner::WebPage => plain("200 OK", "text/html", "<html>It works!</html>"),
        Manner::Locked => plain("401 Unauthorized", json, r#"{"error":{"message":"wrong key"}}"#),
        Manner::OtherModel if head.starts_with("GET") => plain("200 OK", json, r#"{"data":[{"id":"other"}]}"#),
        Manner::OtherModel => plain("404 Not Found", json, r#"{"error":{"message":"no such model"}}"#),
        _ if head.starts_with("GET") => plain("200 OK", json, r#"{"data":[{"id":"small"}]}"#),
        _ => stream(connection, &body),
    }
}

fn stream(mut connection: &TcpStream, body: &serde_json::Value) -> Option<()> {
    let n = body["max_tokens"].as_u64()?;
    let words = body["messages"][0]["content"].as_str()?.split(' ').count();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    connection.write_all(head.as_bytes()).ok()?;
    thread::sleep(Duration::from_millis(2));
    let mut text = String::new();
    for _ in 0..n {
        text.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a \"},\"finish_reason\":null}]}\n\n");
    }
    text.push_str("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n");
    text.push_str(&format!(
        "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":{words},\"completion_tokens\":{n}}}}}\n\ndata: [DONE]\n\n"
    ));
    connection.write_all(text.as_bytes()).ok()?;
    None
}
