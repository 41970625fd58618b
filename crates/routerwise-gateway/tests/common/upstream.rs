//! Upstreams on raw sockets: they say what a test tells them to, byte for byte, and remember what they were asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What an upstream does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers with these bytes and keeps the connection.
    Say(Vec<u8>),
    /// Answers with these bytes and closes.
    SayAndClose(Vec<u8>),
    /// Answers with these bytes and then nothing more, until the gateway goes away.
    SayAndStall(Vec<u8>),
    /// Answers in pieces, so far apart.
    Pieces(Vec<Vec<u8>>, Duration),
    /// Closes at once.
    Close,
    /// Reads and never answers, until the gateway goes away.
    Hang,
}

#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) at: SocketAddr,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    /// Told when the gateway went away while the upstream was hanging or stalling.
    pub(crate) left: Arc<Notify>,
    pub(crate) n_connections: Arc<AtomicUsize>,
    /// What `/metrics` says; such questions are no requests.
    pub(crate) metrics: Arc<Mutex<Option<String>>>,
    acts: Arc<Mutex<Vec<Act>>>,
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Upstream {
    /// Does the acts one after another, and the last one ever after.
    pub(crate) async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            at: listener.local_addr().unwrap(),
            seen: Arc::default(),
            left: Arc::default(),
            n_connections: Arc::default(),
            metrics: Arc::default(),
            acts: Arc::new(Mutex::new(acts)),
        };
        let serving = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.n_connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        upstream
    }

    pub(crate) fn then(&self, acts: Vec<Act>) {
        *self.acts.lock().unwrap() = acts;
    }

    pub(crate) fn n_seen(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().unwrap().clone()
    }

    fn next(&self) -> Act {
        let mut acts = self.acts.lock().unwrap();
        if acts.len() > 1 {
            acts.remove(0)
        } else {
            acts[0].clone()
        }
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(seen) = read(&mut stream, &mut buffer).await {
            if seen.head.starts_with("GET /metrics") {
                let said = self.metrics.lock().unwrap().clone();
                let bytes = said.map_or_else(|| answer("404 Not Found", "", ""), |text| answer("200 OK", "", &text));
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
                continue;
            }
            self.seen.lock().unwrap().push(seen);
            match self.next() {
                Act::Say(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Act::SayAndClose(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    return;
                }
                Act::SayAndStall(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    return self.wait_for_end(stream).await;
                }
                Act::Pieces(pieces, apart) => {
                    for piece in pieces {
                        if stream.write_all(&piece).await.is_err() {
                            self.left.notify_one();
                            return;
                        }
                        tokio::time::sleep(apart).await;
                    }
                }
                Act::Close => return,
                Act::Hang => return self.wait_for_end(stream).await,
            }
        }
    }

    async fn wait_for_end(&self, mut stream: TcpStream) {
        let mut byte = [0; 1];
        let _ = stream.read(&mut byte).await;
        self.left.notify_one();
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let mut piece = vec![0; 16 << 10];
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0usize);
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Some(Seen { head, body });
            }
        }
        let n = stream.read(&mut piece).await.ok()?;
        if n == 0 {
            return None;
        }
        buffer.extend_from_slice(&piece[..n]);
    }
}

/// A whole answer.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

pub(crate) fn ok(body: &str) -> Act {
    Act::Say(answer("200 OK", "", body))
}

pub(crate) fn error(status: &str) -> Act {
    Act::Say(answer(
        status,
        "",
        r#"{"error":{"message":"engine says no","type":"x","param":null,"code":null}}"#,
    ))
}

/// The head of a stream in chunks.
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

pub(crate) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

pub(crate) fn token(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// A stream of tokens that comes to its end.
pub(crate) fn stream(tokens: &[&str]) -> Vec<u8> {
    let mut text = STREAM.to_owned();
    tokens.iter().for_each(|word| text.push_str(&chunk(&token(word))));
    text.push_str(&chunk(DONE));
    text.push_str("0\r\n\r\n");
    text.into_bytes()
}
