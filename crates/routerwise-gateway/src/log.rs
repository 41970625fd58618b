//! The decision log: JSON lines in a file that is put aside when it has grown.
//!
//! A thread of its own writes, from a queue with an end. A disk that is slow or full loses lines of the log, which are counted, and never
//! a request.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use routerwise_types::decisions::DecisionRecord;
use routerwise_types::serve::DecisionLog;

use crate::metrics::Metrics;

/// Lines that may wait for the disk.
const MOST_WAITING: usize = 8192;
/// How long a line may stay in memory.
const FLUSH_EVERY: Duration = Duration::from_millis(200);
/// How long a disk that refused a write is left alone.
const PAUSE: Duration = Duration::from_secs(1);

enum Message {
    Line(Box<DecisionRecord>),
    Flush(SyncSender<()>),
}

/// Takes decisions to the log.
#[derive(Debug)]
pub(crate) struct Log {
    queue: SyncSender<Message>,
    metrics: Arc<Metrics>,
    pub(crate) settings: DecisionLog,
    writer: Option<JoinHandle<()>>,
}

impl Log {
    /// Starts the log.
    ///
    /// # Errors
    /// When the file cannot be opened now: later failures are counted, one at the start is a mistake.
    pub(crate) fn open(settings: &DecisionLog, metrics: &Arc<Metrics>) -> io::Result<Self> {
        let mut writer = Writer {
            settings: settings.clone(),
            file: None,
            size: 0,
            pending: 0,
            left_alone_until: None,
            metrics: Arc::clone(metrics),
        };
        writer.open()?;
        let (queue, lines) = sync_channel(MOST_WAITING);
        let thread = std::thread::Builder::new()
            .name("decision-log".to_owned())
            .spawn(move || writer.run(&lines))?;
        Ok(Self {
            queue,
            metrics: Arc::clone(metrics),
            settings: settings.clone(),
            writer: Some(thread),
        })
    }

    /// Hands a decision over; never waits.
    pub(crate) fn write(&self, record: DecisionRecord) {
        match self.queue.try_send(Message::Line(Box::new(record))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.metrics.log_lost.inc();
            }
        }
    }

    /// Waits until all that was handed over is on its way to the disk, or a second is over.
    pub(crate) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(1));
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Closing the queue ends the thread; what is in it is written first.
        let (closed, _) = sync_channel(1);
        self.queue = closed;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct Writer {
    settings: DecisionLog,
    file: Option<BufWriter<File>>,
    size: u64,
    /// Lines since the last flush.
    pending: u64,
    /// Until then lines are counted as lost and the disk is not asked.
    left_alone_until: Option<Instant>,
    metrics: Arc<Metrics>,
}

impl Writer {
    fn run(mut self, lines: &Receiver<Message>) {
        let mut text = Vec::new();
        let mut flushed = Instant::now();
        loop {
            if flushed.elapsed() >= FLUSH_EVERY {
                self.flush();
                flushed = Instant::now();
            }
            match lines.recv_timeout(FLUSH_EVERY) {
                Ok(Message::Line(_)) if self.is_left_alone() => {
                    self.metrics.log_lost.inc();
                }
                Ok(Message::Line(record)) => {
                    text.clear();
                    serde_json::to_writer(&mut text, &record).expect("a record holds only what JSON holds");
                    text.push(b'\n');
                    match self.append(&text) {
                        Ok(()) => self.pending += 1,
                        Err(_) => self.fail(1),
                    }
                }
                Ok(Message::Flush(done)) => {
                    self.flush();
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.flush();
    }

    fn is_left_alone(&mut self) -> bool {
        self.left_alone_until = self.left_alone_until.filter(|until| Instant::now() < *until);
        self.left_alone_until.is_some()
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > self.settings.size {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.open()?;
        }
        let file = self.file.as_mut().expect("opened above");
        file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn flush(&mut self) {
        if self.file.as_mut().is_some_and(|file| file.flush().is_err()) {
            self.fail(0);
        } else {
            self.metrics.log_written.inc_by(self.pending);
            self.pending = 0;
        }
    }

    /// Forgets what the disk refused: keeping it would grow without end.
    fn fail(&mut self, more: u64) {
        self.metrics.log_errors.inc();
        self.metrics.log_lost.inc_by(self.pending + more);
        self.pending = 0;
        if let Some(file) = self.file.take() {
            // Dropping it otherwise would try to write once more.
            let _ = file.into_parts();
        }
        self.left_alone_until = Some(Instant::now() + PAUSE);
    }

    fn open(&mut self) -> io::Result<()> {
        let path = &self.settings.file;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let file = private(OpenOptions::new().create(true).append(true)).open(path)?;
        self.size = file.metadata()?.len();
        let torn = self.size > 0 && !ends_a_line(path);
        let file = self.file.insert(BufWriter::with_capacity(64 << 10, file));
        if torn {
            file.write_all(b"\n")?;
            self.size += 1;
        }
        Ok(())
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`, and so on; the last one goes.
    fn rotate(&mut self) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.flush()?;
        }
        self.metrics.log_written.inc_by(self.pending);
        self.pending = 0;
        let path = &self.settings.file;
        for nth in (1..self.settings.keep).rev() {
            rename(&numbered(path, nth), &numbered(path, nth + 1))?;
        }
        if self.settings.keep == 0 {
            fs::remove_file(path)?;
        } else {
            rename(path, &numbered(path, 1))?;
        }
        self.size = 0;
        Ok(())
    }
}

/// Whether a file ends with a line's end: a disk that became full, or a process that was killed, leaves half a line, and what is
/// written behind it could not be read. One that cannot be read counts as whole.
fn ends_a_line(path: &Path) -> bool {
    let last = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        io::Result::Ok(byte[0])
    };
    last().map_or(true, |last| last == b'\n')
}

/// What was asked concerns nobody else on the machine.
#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

fn numbered(path: &Path, nth: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{nth}"));
    name.into()
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(file: PathBuf, size: u64) -> DecisionLog {
        DecisionLog {
            file,
            size,
            keep: 2,
            prompts: false,
        }
    }

    fn record(id: &str) -> DecisionRecord {
        DecisionRecord {
            id: id.to_owned(),
            ..DecisionRecord::default()
        }
    }

    #[test]
    fn a_log_that_has_grown_is_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.jsonl");
        let metrics = Metrics::new();
        let log = Log::open(&settings(path.clone(), 700), &metrics).unwrap();
        (0..10).for_each(|nth| log.write(record(&format!("request-{nth}"))));
        drop(log);
        assert_eq!(metrics.log_written.get(), 10);
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 3);
        let last = fs::read_to_string(&path).unwrap();
        assert!(last.contains("request-9"));
        let kept: DecisionRecord = serde_json::from_str(last.lines().next().unwrap()).unwrap();
        assert!(kept.id.starts_with("request-"));
    }

    #[test]
    fn a_full_disk_loses_lines_and_nothing_else() {
        let metrics = Metrics::new();
        let log = Log::open(&settings("/dev/full".into(), 1 << 20), &metrics).unwrap();
        log.write(record("a"));
        log.flush();
        assert!(metrics.log_errors.get() >= 1);
    }

    #[test]
    fn half_a_line_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.jsonl");
        fs::write(&path, "{\"id\":\"whole\"}\n{\"id\":\"ha").unwrap();
        let log = Log::open(&settings(path.clone(), 1 << 20), &Metrics::new()).unwrap();
        log.write(record("next"));
        drop(log);
        let text = fs::read_to_string(&path).unwrap();
        let last: DecisionRecord = serde_json::from_str(text.lines().nth(2).unwrap()).unwrap();
        assert_eq!((last.id.as_str(), text.lines().count()), ("next", 3));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_refused_at_the_start() {
        assert!(Log::open(&settings("/proc/nowhere/log".into(), 1), &Metrics::new()).is_err());
    }
}
