//! Clients that cost little: threads with a connection each, which send bytes made beforehand and look for the end of an answer.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem;
use routerwise_types::hash::{mix, uniform};

use crate::engine::{ANSWER, N_EVENTS};
use crate::{SEED, common};

/// Threads of the open loop: more than requests are ever under way.
const N_CLIENTS: usize = 8;
/// Part of the requests at the beginning that only warm up.
const WARM_UP: f64 = 0.1;

/// How an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Whole,
    Stream,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Whole, Self::Stream];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole answers"),
            Self::Stream => write!(f, "streams of {N_EVENTS} events"),
        }
    }
}

/// A prompt of about 200 tokens.
pub(crate) fn prompt() -> String {
    (0..150).map(|nth| format!("word{nth} ")).collect()
}

/// A request with what else stands in its body.
pub(crate) fn request(more: &str) -> Vec<u8> {
    let mut body = common::chat("auto", &prompt());
    body.truncate(body.len() - 1);
    body.push_str(r#","temperature":0.7,"max_tokens":64,"top_p":0.95,"seed":1,"stop":["\n\n"]"#);
    body.push_str(more);
    body.push('}');
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: gateway\r\naccept: application/json\r\nuser-agent: bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        common::CHAT,
        body.len()
    );
    format!("{head}{body}").into_bytes()
}

struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    kind: Kind,
    answer: Vec<u8>,
}

impl Client {
    fn new(to: SocketAddr, kind: Kind) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            request: request(match kind {
                Kind::Whole => "",
                Kind::Stream => ",\"stream\":true",
            }),
            kind,
            answer: Vec::with_capacity(16 << 10),
        }
    }

    /// Asks, and says when the first byte of the answer's body and the last one were there.
    fn ask(&mut self) -> (Instant, Instant) {
        self.stream.write_all(&self.request).unwrap();
        self.answer.clear();
        let mut piece = [0; 16 << 10];
        let mut first = None;
        let mut body = 0;
        loop {
            let n = self.stream.read(&mut piece).unwrap();
            assert!(n > 0, "the answer broke off: {}", String::from_utf8_lossy(&self.answer));
            self.answer.extend_from_slice(&piece[..n]);
            if first.is_none()
                && let Some(head) = memmem::find(&self.answer, b"\r\n\r\n")
                && self.answer.len() > head + 4
            {
                first = Some(Instant::now());
                body = head + 4;
            }
            let Some(first) = first else { continue };
            let ended = match self.kind {
                Kind::Whole => self.answer.len() - body >= ANSWER.len(),
                Kind::Stream => self.answer.ends_with(b"\r\n0\r\n\r\n"),
            };
            if ended {
                let last = Instant::now();
                self.check(&self.answer[body..]);
                return (first, last);
            }
        }
    }

    fn check(&self, body: &[u8]) {
        assert!(self.answer.starts_with(b"HTTP/1.1 200"));
        match self.kind {
            Kind::Whole => assert_eq!(body, ANSWER.as_bytes()),
            Kind::Stream => assert_eq!(memmem::find_iter(body, "data: ").count(), N_EVENTS + 2),
        }
    }
}

/// What a request took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) to: usize,
    pub(crate) first: Duration,
    pub(crate) last: Duration,
    /// No client was free when it was due.
    pub(crate) late: bool,
}

/// Requests at random times, to the one and to the other in turn, whether or not earlier ones are answered. A request that finds no
/// client free counts from when it was due; one that a client waited for counts from when it woke, because waking is not what is measured.
pub(crate) fn open_loop(to: [SocketAddr; 2], kind: Kind, rate: f64, lasting: Duration) -> Vec<Taken> {
    let mut due = Vec::new();
    let mut at = 0.0;
    for nth in 0.. {
        at += -(1.0 - uniform(mix(SEED ^ mix(nth)))).ln() / rate;
        if at > lasting.as_secs_f64() {
            break;
        }
        due.push(Duration::from_secs_f64(at));
    }
    let next = AtomicUsize::new(0);
    let mut clients: Vec<[Client; 2]> = (0..N_CLIENTS).map(|_| to.map(|to| Client::new(to, kind))).collect();
    let start = Instant::now();
    let mut all: Vec<(usize, Taken)> = thread::scope(|scope| {
        let worker = |mut clients: [Client; 2]| {
            let (due, next) = (&due, &next);
            move || {
                let mut taken = Vec::new();
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    let Some(due) = due.get(nth).map(|due| start + *due) else {
                        return taken;
                    };
                    let early = due.checked_duration_since(Instant::now());
                    let from = early.map_or(due, |early| {
                        thread::sleep(early);
                        Instant::now()
                    });
                    let to = nth % 2;
                    let (first, last) = clients[to].ask();
                    taken.push((
                        nth,
                        Taken {
                            to,
                            first: first - from,
                            last: last - from,
                            late: early.is_none(),
                        },
                    ));
                }
            }
        };
        let workers: Vec<_> = clients.drain(..).map(|clients| scope.spawn(worker(clients))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    all.sort_unstable_by_key(|(nth, _)| *nth);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a count"
    )]
    let warm = (all.len() as f64 * WARM_UP) as usize;
    all.drain(warm..).map(|(_, taken)| taken).collect()
}

/// What a closed loop saw.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) times: Vec<Duration>,
    pub(crate) lasted: Duration,
}

/// So many clients, each of which asks again as soon as it is answered.
pub(crate) fn closed_loop(to: SocketAddr, kind: Kind, at_once: usize, lasting: Duration) -> Load {
    let clients: Vec<Client> = (0..at_once).map(|_| Client::new(to, kind)).collect();
    let start = Instant::now();
    let until = start + lasting;
    let work = |mut client: Client| {
        move || {
            let mut times = Vec::new();
            loop {
                let before = Instant::now();
                if before >= until {
                    return times;
                }
                let (_, last) = client.ask();
                times.push(last - before);
            }
        }
    };
    let times = thread::scope(|scope| {
        let workers: Vec<_> = clients.into_iter().map(|client| scope.spawn(work(client))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    Load {
        times,
        lasted: start.elapsed(),
    }
}
