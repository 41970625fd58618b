//! As much of the API server of Kubernetes as a watch of `EndpointSlice` objects needs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

#[derive(Clone)]
pub(crate) struct ApiServer {
    pub(crate) at: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    version: u64,
    slices: Vec<Value>,
    /// Heads of requests, in order.
    asked: Vec<String>,
    watches: Vec<UnboundedSender<String>>,
    refuses: Option<&'static str>,
}

/// A slice with one endpoint.
pub(crate) fn slice(name: &str, at: SocketAddr, ready: bool) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "models"},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": at.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": [at.ip().to_string()], "conditions": {"ready": ready, "serving": ready}}],
    })
}

impl ApiServer {
    pub(crate) async fn start(slices: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            at: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        for slice in slices {
            server.change("ADDED", slice);
        }
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        server
    }

    /// Requests so far whose path has this in it.
    pub(crate) fn asked(&self, part: &str) -> Vec<String> {
        let asked = self.state.lock().unwrap().asked.clone();
        asked.into_iter().filter(|head| head.contains(part)).collect()
    }

    /// Answers everything with this status, or again as it should.
    pub(crate) fn refuse(&self, status: Option<&'static str>) {
        self.state.lock().unwrap().refuses = status;
    }

    /// Changes a slice and tells whoever watches.
    pub(crate) fn change(&self, kind: &str, mut slice: Value) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        slice["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let name = slice["metadata"]["name"].clone();
        state.slices.retain(|other| other["metadata"]["name"] != name);
        if kind != "DELETED" {
            state.slices.push(slice.clone());
        }
        state.tell(&json!({"type": kind, "object": slice}));
    }

    pub(crate) fn bookmark(&self) -> u64 {
        let mut state = self.state.lock().unwrap();
        state.version += 100;
        let version = state.version;
        state.tell(&json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version.to_string()}}}));
        version
    }

    /// Forgets where the watches were, and tells them so.
    pub(crate) fn forget(&self, slices: Vec<Value>) {
        let mut state = self.state.lock().unwrap();
        state.version += 100;
        state.slices = slices;
        state.tell(&json!({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}}));
        state.watches.clear();
    }

    /// Ends every watch without a word.
    pub(crate) fn cut(&self) {
        self.state.lock().unwrap().watches.clear();
    }

    pub(crate) fn n_watches(&self) -> usize {
        let mut state = self.state.lock().unwrap();
        state.watches.retain(|watch| !watch.is_closed());
        state.watches.len()
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        loop {
            let Some(head) = read_head(&mut stream, &mut buffer).await else {
                return;
            };
            let is_watch = head.contains("watch=1");
            let (refuses, list) = {
                let mut state = self.state.lock().unwrap();
                state.asked.push(head);
                let metadata = json!({"resourceVersion": state.version.to_string()});
                (
                    state.refuses,
                    json!({"metadata": metadata, "items": state.slices}).to_string(),
                )
            };
            let (status, body) = match refuses {
                Some(status) => (status, json!({"kind": "Status", "message": "no"}).to_string()),
                None => ("200 OK", list),
            };
            if is_watch && refuses.is_none() {
                return self.watch(stream).await;
            }
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    async fn watch(self, mut stream: TcpStream) {
        let (tell, mut told) = unbounded_channel();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        self.state.lock().unwrap().watches.push(tell);
        let mut byte = [0; 1];
        loop {
            let line = tokio::select! {
                line = told.recv() => line,
                // The watcher went away.
                _ = stream.read(&mut byte) => None,
            };
            let Some(line) = line else { return };
            // In two pieces, so that an event is not one frame.
            let (first, second) = line.split_at(line.len() / 2);
            for piece in [first, second] {
                let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
                if stream.write_all(chunk.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl State {
    fn tell(&mut self, event: &Value) {
        let line = format!("{event}\n");
        self.watches.retain(|watch| watch.send(line.clone()).is_ok());
    }
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 4);
            return Some(head);
        }
        let n = stream.read(&mut piece).await.ok()?;
        if n == 0 {
            return None;
        }
        buffer.extend_from_slice(&piece[..n]);
    }
}
