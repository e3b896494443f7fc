//! What neither an image nor a container may do to the lab and its machine.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use steadystate::lab::runtime::{Level, MountPoint, Volume, VolumeSource};
use tar::EntryType;

use super::levels::{HELPER_ARGUMENT, alive, children_named, descendants, gone, signal};
use super::{PATIENCE, benches, image};

#[tokio::test]
async fn the_files_of_a_volume_over_etc_stay_as_they_are() {
    for mut bench in benches().into_iter().filter(|bench| bench.level.has_network()) {
        let host = tempfile::tempdir().unwrap();
        let hosts = host.path().join("hosts");
        std::fs::write(&hosts, "the host's own\n").unwrap();
        for read_only in [false, true] {
            let mut task = bench.task("etc", &["read", "/etc/hosts"]);
            task.volumes = vec![Volume { name: "etc".into(), source: VolumeSource::Host(host.path().to_owned()) }];
            task.containers[0].mount_points =
                vec![MountPoint { source_volume: "etc".into(), container_path: "/etc".into(), read_only }];
            assert_eq!(bench.run_task(task).await.lines, ["the host's own"], "{}", bench.level);
            gone(&bench, "etc").await;
            assert_eq!(std::fs::read_to_string(&hosts).unwrap(), "the host's own\n", "{}", bench.level);
            assert_eq!(std::fs::read_dir(host.path()).unwrap().count(), 1, "{}", bench.level);
        }
        let mut task = bench.task("file", &["read", "/etc/hosts"]);
        task.volumes = vec![Volume { name: "hosts".into(), source: VolumeSource::Host(hosts) }];
        task.containers[0].mount_points =
            vec![MountPoint { source_volume: "hosts".into(), container_path: "/etc/hosts".into(), read_only: false }];
        assert_eq!(bench.run_task(task).await.lines, ["the host's own"], "{}", bench.level);
    }
}

#[tokio::test]
async fn what_an_image_has_for_network_files_is_replaced_and_not_opened() {
    for mut bench in benches().into_iter().filter(|bench| bench.level != Level::Process) {
        let mut task = bench.task("0123", &["read", "/etc/hosts"]);
        task.containers[0].image = image::tool_with(&bench.data.path().join("blobs"), |layer| {
            layer.entry(EntryType::Fifo, "etc/hosts", 0o644, "", b"").symlink("etc/hostname", "/etc/passwd");
        });
        let mut other = task.clone();
        let end = tokio::time::timeout(PATIENCE, bench.run_task(task)).await.expect("no writer waits for a reader");
        assert!(end.lines.contains(&"127.0.0.1\t0123".to_owned()), "{}: {end:?}", bench.level);
        other.task_id = "4567".into();
        other.containers[0].command = vec!["read".into(), "/etc/passwd".into()];
        assert!(bench.run_task(other).await.lines[0].starts_with("root:"), "{}: a link was followed", bench.level);
    }
}

#[tokio::test]
async fn a_helper_that_does_not_answer_is_killed() {
    let stopped = benches().into_iter().map(|mut bench| async move {
        bench.runtime.start(bench.task("deaf", &["sleep"])).await.unwrap();
        let helper = children_named(HELPER_ARGUMENT, &bench)[0];
        let inside = descendants(helper);
        signal(helper, Signal::SIGSTOP);
        let ended = tokio::time::timeout(2 * PATIENCE, bench.runtime.stop("deaf", Duration::ZERO)).await;
        if ended.is_err() {
            signal(helper, Signal::SIGKILL);
            return Some(bench.level);
        }
        assert_eq!(bench.end("deaf", "main").await.exit_code, 137, "{}", bench.level);
        let started = Instant::now();
        while inside.iter().any(|pid| alive(*pid)) {
            assert!(started.elapsed() < PATIENCE, "{}: {inside:?} outlive their helper", bench.level);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!alive(helper), "{}", bench.level);
        None
    });
    let waited_for: Vec<Level> = futures_util::future::join_all(stopped).await.into_iter().flatten().collect();
    assert_eq!(waited_for, [], "their helpers were waited for");
}
#[tokio::test]
async fn root_keeps_no_way_out_of_a_chroot() {
    for mut bench in benches() {
        let lines = bench.run("chroot", &["chroot"]).await.lines;
        match bench.level {
            Level::Namespaces | Level::UserNamespaces => assert_eq!(lines, ["changed"], "{}", bench.level),
            Level::Chroot => assert_eq!(lines, ["permission denied"]),
            Level::Process | Level::Docker | Level::Simulated => {}
        }
    }
}
