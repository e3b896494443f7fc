//! my-service: one page over HTTP. Replace it with a program of your own, in any language.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::{env, fs, io, thread};

fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let release = env::var("RELEASE").unwrap_or_else(|_| "unnamed".to_owned());
    let page = fs::read_to_string("/public/index.html")?.replace("{{release}}", &release);
    let listener = TcpListener::bind(format!("0.0.0.0:{port}"))?;
    println!("release {release} listens on port {port}");
    for connection in listener.incoming().flatten() {
        let page = page.clone();
        thread::spawn(move || answer(connection, &page));
    }
    Ok(())
}

fn answer(mut connection: TcpStream, page: &str) -> io::Result<()> {
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let Some(request) = lines.next().transpose()? else { return Ok(()) };
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, body) = match request.split(' ').nth(1) {
        Some("/") => ("200 OK", page),
        Some("/healthz") => ("200 OK", "ok\n"),
        _ => ("404 Not Found", "not found\n"),
    };
    if !request.contains(" /healthz ") {
        println!("{request}: {status}");
    }
    let length = body.len();
    write!(connection, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}
