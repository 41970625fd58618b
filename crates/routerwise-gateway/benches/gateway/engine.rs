//! An engine that answers at once, or, when it is asked to, not at all, and then says when its client was gone.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Events of a stream, without its end.
pub(crate) const N_EVENTS: usize = 20;
/// In a request that is to get no answer, and in one that is to get the first event alone.
pub(crate) const SILENT: &str = "\"user\":\"silent\"";
pub(crate) const HALF: &str = "\"user\":\"half\"";

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
pub(crate) const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"small","choices":[{"index":0,"message":{"role":"assistant","content":"The answer is forty-two, as everybody knows by now, and it has been so for a long time."},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":20,"total_tokens":32}}"#;

/// What happened to a request that is not answered to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Noticed {
    Arrived,
    Left(Instant),
}

pub(crate) struct Engine {
    pub(crate) at: SocketAddr,
    pub(crate) noticed: Receiver<Noticed>,
}

impl Engine {
    /// Starts it on a thread of its own.
    pub(crate) fn start() -> Self {
        let (told, started) = channel();
        let (tell, noticed) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    tokio::spawn(answer_all(stream, tell.clone()));
                }
            });
        });
        let at = started.recv().unwrap();
        Self { at, noticed }
    }
}

async fn answer_all(mut stream: TcpStream, tell: Sender<Noticed>) -> Option<()> {
    let whole = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    let events = events();
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = request_end(&bytes) {
                break end;
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let asks = |what: &str| memmem::find(&bytes[..end], what.as_bytes()).is_some();
        if asks(SILENT) || asks(HALF) {
            if asks(HALF) {
                stream.write_all(format!("{HEAD}{}", events[0]).as_bytes()).await.ok()?;
            }
            tell.send(Noticed::Arrived).ok()?;
            let mut byte = [0];
            let _ = stream.read(&mut byte).await;
            tell.send(Noticed::Left(Instant::now())).ok()?;
            return None;
        }
        if asks("\"stream\":true") {
            stream.write_all(HEAD.as_bytes()).await.ok()?;
            for event in &events {
                stream.write_all(event.as_bytes()).await.ok()?;
                // One after another, as tokens come.
                tokio::task::yield_now().await;
            }
        } else {
            stream.write_all(whole.as_bytes()).await.ok()?;
        }
        bytes.drain(..end);
    }
}

/// Events as vLLM writes them, the usage and the end, each in a chunk.
fn events() -> Vec<String> {
    let chunk = |data: &str| format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8);
    let mut events: Vec<String> = (0..N_EVENTS)
        .map(|nth| {
            chunk(&format!(
                "{{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1795471509,\"model\":\"small\",\
                 \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{nth}\"}},\"logprobs\":null,\"finish_reason\":null}}]}}"
            ))
        })
        .collect();
    events.push(chunk(
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":32,\"total_tokens\":52,\"completion_tokens\":20}}",
    ));
    events.push(format!("{}0\r\n\r\n", chunk("[DONE]")));
    events
}

/// Where the request ends that the bytes start with, once all of it is there.
fn request_end(bytes: &[u8]) -> Option<usize> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let length = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length
        .map(|(_, value)| value.trim().parse().unwrap())
        .next()
        .unwrap_or(0);
    (bytes.len() >= head + length).then_some(head + length)
}
