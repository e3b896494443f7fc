//! The docker daemon's socket in place of `docker save`: a thread that answers stands for the daemon.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use steadystate::image::digest;
use steadystate::image::engine::{Engine, Held};

use super::Workshop;
use super::held::{docker, hold, new_docker, program, saves};

/// A docker whose daemon listens in the project and answers each request with this. Returns its requests' first lines.
fn daemon(workshop: &Workshop, answer: Vec<u8>) -> (Engine, Receiver<String>) {
    let listener = UnixListener::bind(workshop.path("project/d.sock")).unwrap();
    let (told, requests) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection: UnixStream = connection.unwrap();
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while !lines.next().unwrap().unwrap().is_empty() {}
            if told.send(first).is_err() {
                return;
            }
            match answer.is_empty() {
                // It says nothing until nobody listens any more.
                true => drop(connection.read(&mut [0])),
                false => drop(connection.write_all(&answer)),
            }
            let _ = told.send("ended".to_owned());
        }
    });
    (says(workshop, &format!("unix://{}", workshop.path("project/d.sock").display())), requests)
}

/// A docker that says its daemon is there.
fn says(workshop: &Workshop, endpoint: &str) -> Engine {
    let engine = docker(workshop);
    let script = std::fs::read_to_string(workshop.path("project/docker")).unwrap();
    let asked = format!(
        "case $1 in\n  context) [ \"$*\" = 'context inspect --format {{{{.Endpoints.docker.Host}}}}' ] && echo {endpoint} ;;"
    );
    program(workshop, &script.replace("case $1 in", &asked));
    engine
}

fn raw(body: &[u8]) -> Vec<u8> {
    [b"HTTP/1.0 200 OK\r\nContent-Type: application/x-tar\r\n\r\n", body].concat()
}

async fn layers(held: &Held) -> Result<usize, steadystate::error::Error> {
    Ok(held.fetched().await?.settled()?.layers().len())
}

#[tokio::test]
async fn the_daemon_gives_the_image_itself() {
    let workshop = Workshop::new();
    let id = digest::of(&new_docker(&workshop, &["one", "two"]));
    let archive = std::fs::read(workshop.path(&format!("project/saved-{id}"))).unwrap();
    let (docker, requests) = daemon(&workshop, raw(&archive));
    let held = hold(&workshop, &docker, &id).await;
    assert_eq!(layers(&held).await.unwrap(), 2);
    assert_eq!(requests.recv().unwrap(), format!("GET /images/{id}/get HTTP/1.0"));
    assert_eq!(saves(&workshop), 0, "docker's client is not asked for it");
}

#[tokio::test]
async fn a_daemon_that_gives_nothing_is_asked_by_dockers_client() {
    let refusals: [&[u8]; 4] = [
        b"HTTP/1.0 404 Not Found\r\nContent-Type: application/json\r\n\r\n{\"message\":\"No such image\"}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nhalf of",
    ];
    for refusal in refusals {
        let workshop = Workshop::new();
        let id = digest::of(&new_docker(&workshop, &["one", "two"]));
        let (docker, requests) = daemon(&workshop, refusal.to_vec());
        let held = hold(&workshop, &docker, &id).await;
        assert_eq!((layers(&held).await.unwrap(), saves(&workshop)), (2, 1));
        assert!(requests.recv().unwrap().starts_with("GET "));
    }
    for endpoint in
        ["tcp://127.0.0.1:2376", "ssh://build@elsewhere.test", "unix:///nowhere/d.sock", "unix://d.sock", ""]
    {
        let workshop = Workshop::new();
        let id = digest::of(&new_docker(&workshop, &["one", "two"]));
        let held = hold(&workshop, &says(&workshop, endpoint), &id).await;
        assert_eq!((layers(&held).await.unwrap(), saves(&workshop)), (2, 1), "{endpoint}");
    }
}

#[tokio::test]
async fn an_image_that_is_cut_short_is_none() {
    let workshop = Workshop::new();
    let id = digest::of(&new_docker(&workshop, &["one", "two"]));
    let archive = std::fs::read(workshop.path(&format!("project/saved-{id}"))).unwrap();
    let (docker, _requests) = daemon(&workshop, raw(&archive[..700]));
    let error = layers(&hold(&workshop, &docker, &id).await).await.unwrap_err();
    assert!(error.to_string().contains("was cut short"), "{error:?}");
}

#[tokio::test]
async fn nobody_waits_for_a_daemon_once_the_push_was_broken_off() {
    let workshop = Workshop::new();
    let id = digest::of(&new_docker(&workshop, &["one", "two"]));
    let (docker, requests) = daemon(&workshop, Vec::new());
    let held = hold(&workshop, &docker, &id).await;
    let fetching = tokio::spawn(async move { held.fetched().await.map(|_| ()) });
    let asked = |requests: Receiver<String>| {
        let next = requests.recv_timeout(Duration::from_secs(30)).unwrap();
        (next, requests)
    };
    let (first, requests) = tokio::task::spawn_blocking(move || asked(requests)).await.unwrap();
    assert!(first.starts_with("GET "));
    fetching.abort();
    let (next, _) = tokio::task::spawn_blocking(move || asked(requests)).await.unwrap();
    assert_eq!(next, "ended");
}
