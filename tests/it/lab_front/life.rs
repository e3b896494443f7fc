use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use steadystate::lab::clock::Pace;
use steadystate::lab::lifecycle::{self, Options, Status};
use steadystate::lab::runtime::Level;
use tokio::net::TcpListener;

use super::{TestLab, options};
use crate::ports::free_port;

#[tokio::test]
async fn state_blobs_and_logins_outlive_the_process() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    let digest = lab.push("there", "v1", b"layer").await;
    let login = lab.login().await;
    let before = lab.ecr("DescribeImages", json!({ "repositoryName": "there" })).await;
    let folder = lab.end().await;
    assert!(!folder.path().join("lab.json").exists());
    // A member of a newer version, and one that is missing.
    let path = folder.path().join("state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    state["newer"] = json!({ "x": 1 });
    state["ecr"]["repositories"]["there"]["newer"] = json!(1);
    state["ecr"]["repositories"]["there"].as_object_mut().unwrap().remove("scan_on_push");
    state.as_object_mut().unwrap().remove("discovery");
    std::fs::write(&path, state.to_string()).unwrap();

    let lab = TestLab::start_in(folder).await;
    assert_eq!(lab.ecr("DescribeImages", json!({ "repositoryName": "there" })).await, before);
    let path = format!("/v2/there/manifests/{digest}");
    assert_eq!(lab.send("GET", &path, &[("authorization", &login)], "").await.status, 200);
    lab.end().await;
}

#[tokio::test]
async fn a_reply_means_that_it_is_on_disk() {
    let lab = TestLab::start().await;
    for n in 0..5 {
        lab.create(&format!("repository-{n}")).await;
        assert!(on_disk(lab.folder.path()).contains(&format!("repository-{n}")));
    }
    lab.push("repository-1", "tagged", b"x").await;
    assert!(on_disk(lab.folder.path()).contains("tagged"));
    lab.end().await;
}

fn on_disk(folder: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    read("state.json") + &read("changes.jsonl")
}

#[tokio::test]
async fn what_a_killed_lab_left_behind_is_cleared() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    lab.push("there", "v1", b"kept").await;
    let login = lab.login().await;
    lab.send("POST", "/v2/there/blobs/uploads/", &[("authorization", &login)], "").await;
    let folder = lab.end().await;
    let blobs = folder.path().join("blobs/sha256");
    let orphan = blobs.join("0".repeat(64));
    std::fs::write(&orphan, "orphan").unwrap();
    assert_eq!(std::fs::read_dir(folder.path().join("uploads")).unwrap().count(), 1);
    let lab = TestLab::start_in(folder).await;
    lab.login().await;
    assert!(!orphan.exists());
    assert!(!lab.folder.path().join("uploads").exists());
    assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 3, "config, layer and manifest");
    lab.end().await;
}

#[tokio::test]
async fn a_reset_empties_a_lab_that_runs_and_one_that_does_not() {
    let lab = TestLab::start().await;
    lab.create("there").await;
    lab.push("there", "v1", b"x").await;
    let login = lab.login().await;
    let options = options(lab.folder.path());
    let Status::Running { running, report } = lifecycle::status(&options).await.unwrap() else { panic!("not running") };
    assert_eq!(
        (running.endpoint.url.as_str(), &report["images"]),
        (format!("http://{}", lab.host).as_str(), &json!(1))
    );
    std::fs::write(lab.folder.path().join("mine.txt"), "not the lab's").unwrap();

    lifecycle::reset(&options).await.unwrap();
    assert_eq!(lab.ecr("DescribeRepositories", json!({})).await, json!({ "repositories": [] }));
    assert_eq!(lab.send("GET", "/v2/", &[("authorization", &login)], "").await.status, 401, "logins go as well");
    assert_eq!(std::fs::read_dir(lab.folder.path().join("blobs")).unwrap().count(), 0);
    lab.create("again").await;
    let folder = lab.end().await;

    assert!(matches!(lifecycle::status(&options).await.unwrap(), Status::Stopped));
    lifecycle::reset(&options).await.unwrap();
    assert!(folder.path().join("mine.txt").exists());
    let lab = TestLab::start_in(folder).await;
    assert_eq!(lab.ecr("DescribeRepositories", json!({})).await, json!({ "repositories": [] }));
    lab.end().await;
}

#[tokio::test]
async fn a_fresh_lab_is_the_same_one_after_a_restart() {
    let ids = |folder: &Path| {
        let state = std::fs::read(folder.join("state.json")).expect("it is saved though nobody asked for anything");
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        let instances: Vec<String> = state["ecs"]["instances"].as_object().unwrap().keys().cloned().collect();
        (state["ec2"].clone(), state["ecs"]["clusters"]["default"].clone(), instances)
    };
    let lab = TestLab::start().await;
    assert_eq!(lab.send("GET", "/v2/", &[], "").await.status, 401);
    let before = ids(lab.folder.path());
    assert_eq!((before.0["subnets"].as_array().unwrap().len(), before.2.len()), (3, 1));
    let lab = TestLab::start_in(lab.end().await).await;
    assert_eq!(lab.send("GET", "/v2/", &[], "").await.status, 401);
    assert_eq!(ids(lab.folder.path()), before);
    lab.end().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_lab_that_cannot_begin_anew_ends() {
    let folder = tempfile::tempdir().unwrap();
    let helper = folder.path().join("helper");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_steady"), &helper).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options { executable: Some(helper.clone()), ..options(folder.path()) };
    let serving = tokio::spawn(lifecycle::serve_on(listener, options.clone(), std::future::pending()));
    while !matches!(lifecycle::status(&options).await.unwrap(), Status::Running { .. }) {
        assert!(!serving.is_finished());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::fs::remove_file(&helper).unwrap();
    let error = lifecycle::reset(&options).await.unwrap_err();
    assert!(error.to_string().contains("the lab cannot be emptied"), "{error}");
    serving.await.unwrap().unwrap();
    assert!(matches!(lifecycle::status(&options).await.unwrap(), Status::Stopped), "and is no lab that forgets");
    let error = lifecycle::serve(Options { port: Some(0), ..options }, std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("container runtime"), "the next start says why: {error}");
}

#[tokio::test]
async fn a_state_that_cannot_be_read_says_so_and_a_reset_helps() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.json"), "{\"ecr\": 7}").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = lifecycle::serve_on(listener, options(folder.path()), std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("state.json"), "{error}");
    assert_eq!(error.hints(), ["`steady lab reset` empties the lab"]);
    lifecycle::reset(&options(folder.path())).await.unwrap();
    TestLab::start_in(folder).await.end().await;
}

#[tokio::test]
async fn a_folder_has_one_lab_and_a_lab_stops_when_told() {
    let lab = TestLab::start().await;
    lab.login().await;
    let options = options(lab.folder.path());
    let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = lifecycle::serve_on(second, options.clone(), std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("already runs") && error.to_string().contains(&lab.host), "{error}");
    let running = lifecycle::ensure_running(&options).await.unwrap();
    assert_eq!((running.started, running.pid), (false, std::process::id()));
    let error = lifecycle::start(&Options { port: Some(1), ..options.clone() }).await.unwrap_err();
    assert!(error.to_string().contains("not on port 1"), "{error}");
    let error = lifecycle::start(&Options { pace: Some(Pace::Aws), ..options.clone() }).await.unwrap_err();
    assert!(error.to_string().ends_with("with pace fast, not aws"), "{error}");
    let level = Some(Level::Process);
    let error = lifecycle::start(&Options { runtime_level: level, ..options.clone() }).await.unwrap_err();
    assert!(error.to_string().ends_with("with runtime none, not process"), "{error}");
    let same = lifecycle::start(&Options { pace: Some(Pace::Fast), ..options.clone() }).await.unwrap();
    assert_eq!(same.pid, std::process::id());
    assert!(lifecycle::stop(&options).await.unwrap());
    lab.served.await.unwrap().unwrap();
    assert!(!lifecycle::stop(&options).await.unwrap(), "there is nothing left to stop");
}

#[tokio::test]
async fn the_port_stays_with_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let free = Options { port: Some(free_port()), ..options(folder.path()) };
    let mut urls = Vec::new();
    for options in [free, options(folder.path())] {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(lifecycle::serve(options.clone(), async {
            let _ = stopped.await;
        }));
        let url = loop {
            if let Status::Running { running, .. } = lifecycle::status(&options).await.unwrap() {
                break running.endpoint.url;
            }
            assert!(!serving.is_finished());
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        urls.push(url);
        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
    }
    assert_eq!(urls[0], urls[1]);
}

#[test]
fn the_folder_is_where_the_environment_says() {
    type Row<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
    let table: [Row<'_>; 5] = [
        (&[("STEADY_LAB_DIR", "/a"), ("XDG_DATA_HOME", "/b"), ("HOME", "/c")], Some("/a")),
        (&[("STEADY_LAB_DIR", ""), ("XDG_DATA_HOME", "/b"), ("HOME", "/c")], Some("/b/steady/lab")),
        (&[("XDG_DATA_HOME", "relative"), ("HOME", "/c")], Some("/c/.local/share/steady/lab")),
        (&[("HOME", "/c")], Some("/c/.local/share/steady/lab")),
        (&[], None),
    ];
    for (variables, expected) in table {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        assert_eq!(lifecycle::data_dir(variable).ok(), expected.map(PathBuf::from), "{variables:?}");
    }
}

#[test]
fn no_proxy_is_asked_for_the_lab() {
    let ours = "127.0.0.1,localhost,127.0.0.0/8";
    for (given, expected) in [
        (None, ours.to_owned()),
        (Some(("NO_PROXY", "")), ours.to_owned()),
        (Some(("NO_PROXY", "a.example, localhost")), "a.example,localhost,127.0.0.1,127.0.0.0/8".to_owned()),
        (Some(("no_proxy", "b")), format!("b,{ours}")),
        (Some(("no_proxy", "*")), "*".to_owned()),
    ] {
        let variable = |name: &str| given.filter(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        let variables = lifecycle::no_proxy(variable);
        assert_eq!(variables, [("NO_PROXY", expected.clone()), ("no_proxy", expected)], "{given:?}");
    }
}

/// The real binary as daemon: its process, its log, its end.
#[cfg(unix)]
#[tokio::test]
async fn a_daemon_starts_answers_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("deep/lab");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options =
        Options { port: Some(port), executable: Some(env!("CARGO_BIN_EXE_steady").into()), ..Options::new(&data) };
    let _ended = Ended(&data);
    // Two at once are one lab.
    let (one, two) = tokio::join!(lifecycle::ensure_running(&options), lifecycle::ensure_running(&options));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.pid, two.pid);
    assert!(one.started != two.started);
    assert_ne!(one.pid, std::process::id());
    assert_eq!(mode(&data), 0o700);
    for file in ["lab.json", "lab.log", "lock", "settings.json"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }

    // kill -9: the lock is free at once, and the record that stayed counts for nothing.
    let pid = rustix::process::Pid::from_raw(one.pid as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    for _ in 0..400 {
        if matches!(lifecycle::status(&options).await.unwrap(), Status::Stopped) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(data.join("lab.json").exists());
    let same_port = Options { port: None, ..options.clone() };
    let again = lifecycle::start(&same_port).await.unwrap();
    assert_eq!(again.endpoint.url, one.endpoint.url);
    assert_ne!(again.pid, one.pid);

    // One that does not hear its endpoint gets SIGTERM.
    let path = data.join("lab.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    record["token"] = json!("forgotten");
    std::fs::write(&path, record.to_string()).unwrap();
    assert!(lifecycle::stop(&options).await.unwrap());
    assert!(matches!(lifecycle::status(&options).await.unwrap(), Status::Stopped));
}

#[cfg(unix)]
#[tokio::test]
async fn a_daemon_that_ends_at_once_is_reported_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.json"), "nonsense").unwrap();
    let executable = Some(env!("CARGO_BIN_EXE_steady").into());
    let error =
        lifecycle::start(&Options { port: Some(0), executable, ..Options::new(folder.path()) }).await.unwrap_err();
    assert!(error.to_string().starts_with("the lab did not start: its process ended with"), "{error}");
    assert!(error.hints()[0].contains("state.json"), "{:?}", error.hints());
}

/// Ends the daemon of a test that fails.
#[cfg(unix)]
struct Ended<'a>(&'a Path);

#[cfg(unix)]
impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let record = std::fs::read(self.0.join("lab.json")).unwrap_or_default();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap_or_default();
        let pid = record["pid"].as_i64().and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
        if let Some(pid) = pid.filter(|_| std::thread::panicking()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().unwrap().permissions().mode() & 0o777
}
