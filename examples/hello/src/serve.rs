//! Just enough HTTP/1.1: GET and HEAD, keep-alive, one thread a connection.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const HEAD_LIMIT: u64 = 16 * 1024;
const IDLE: Duration = Duration::from_secs(60);

pub struct Server {
    page: String,
    healthy: bool,
    stopping: AtomicBool,
    in_flight: AtomicUsize,
}

impl Server {
    pub fn new(page: String, healthy: bool) -> Self {
        Server { page, healthy, stopping: AtomicBool::new(false), in_flight: AtomicUsize::new(0) }
    }

    /// Answers what has been asked, closes each connection after it, and returns when nothing has
    /// been in flight for a moment, at the latest after 10 s.
    pub fn finish(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let started = Instant::now();
        let mut quiet = Instant::now();
        while quiet.elapsed() < Duration::from_millis(100) && started.elapsed() < Duration::from_secs(10) {
            if self.in_flight.load(Ordering::SeqCst) > 0 {
                quiet = Instant::now();
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn connection(&self, stream: TcpStream) {
        let _ = stream.set_read_timeout(Some(IDLE));
        let _ = stream.set_nodelay(true);
        let Ok(mut writer) = stream.try_clone() else { return };
        let mut reader = BufReader::new(stream);
        loop {
            // Waiting for the next request is not being in flight.
            match reader.fill_buf() {
                Ok([]) | Err(_) => return,
                Ok(_) => {}
            }
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            let served = self.request(&mut reader, &mut writer);
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            if !matches!(served, Ok(true)) {
                return;
            }
        }
    }

    /// Whether the connection stays open.
    fn request(&self, reader: &mut BufReader<TcpStream>, writer: &mut TcpStream) -> io::Result<bool> {
        let started = Instant::now();
        let mut head = Vec::new();
        loop {
            let before = head.len();
            reader.by_ref().take(HEAD_LIMIT - before as u64).read_until(b'\n', &mut head)?;
            if head.len() == before {
                return Ok(false);
            }
            if head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n") {
                break;
            }
        }
        let head = String::from_utf8_lossy(&head);
        let mut words = head.lines().next().unwrap_or_default().split_whitespace();
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let version = words.next().unwrap_or_default();
        let header = |name: &str| {
            head.lines().skip(1).find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_ascii_lowercase())
            })
        };
        let path = target.split('?').next().unwrap_or_default();
        let (status, kind, body) = match (method, path) {
            ("GET" | "HEAD", "/" | "/index.html") => ("200 OK", "text/html; charset=utf-8", self.page.as_str()),
            ("GET" | "HEAD", "/healthz") if self.healthy => ("200 OK", "text/plain", "ok\n"),
            ("GET" | "HEAD", "/healthz") => ("500 Internal Server Error", "text/plain", "FAIL=health\n"),
            ("GET" | "HEAD", _) => ("404 Not Found", "text/plain", "not found\n"),
            _ => ("405 Method Not Allowed", "text/plain", "only GET and HEAD\n"),
        };
        // A body that was not read would be taken for the next request.
        let has_body = header("content-length").is_some_and(|length| length != "0") || header("transfer-encoding").is_some();
        let keep = match header("connection").as_deref() {
            Some("close") => false,
            Some("keep-alive") => true,
            _ => version == "HTTP/1.1",
        } && !has_body
            && !self.stopping.load(Ordering::SeqCst);
        let connection = if keep { "keep-alive" } else { "close" };
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            body.len()
        );
        if method != "HEAD" {
            answer.push_str(body);
        }
        writer.write_all(answer.as_bytes())?;
        if path != "/healthz" || !self.healthy {
            let microseconds = started.elapsed().as_micros().to_string();
            log("info", &[("method", method), ("path", target), ("status", &status[..3]), ("us", &microseconds)]);
        }
        Ok(keep)
    }
}

/// One line of JSON on stdout.
pub fn log(level: &str, members: &[(&str, &str)]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let mut line = format!("{{\"time\":{now},\"level\":\"{level}\"");
    for (name, value) in members {
        let _ = write!(line, ",\"{name}\":\"");
        for character in value.chars() {
            match character {
                '"' | '\\' => line.extend(['\\', character]),
                character if character.is_control() => {
                    let _ = write!(line, "\\u{:04x}", character as u32);
                }
                character => line.push(character),
            }
        }
        line.push('"');
    }
    line.push_str("}\n");
    let _ = io::stdout().lock().write_all(line.as_bytes());
}
