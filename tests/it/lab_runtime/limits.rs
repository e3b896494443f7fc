//! Memory limits, and how long a start takes.

use std::time::Instant;

use steadystate::lab::runtime::Level;

use super::benches;

#[tokio::test]
async fn too_much_memory_ends_a_container_with_137() {
    for mut bench in benches() {
        let mut task = bench.task("eater", &["eat"]);
        task.containers[0].memory_bytes = Some(32 << 20);
        let end = bench.run_task(task).await;
        // where nothing can be limited, that is said
        let unlimited =
            bench.runtime.warning().is_some_and(|warning| warning.contains("memory limits are not enforced"));
        if unlimited {
            assert_eq!((end.exit_code, end.oom_killed), (0, false), "{}: {end:?}", bench.level);
            assert!(!cgroups_writable() || bench.level != Level::Namespaces, "{}", bench.level);
        } else {
            assert_eq!((end.exit_code, end.signal, end.oom_killed), (137, Some(9), true), "{}: {end:?}", bench.level);
        }
        let mut task = bench.task("fits", &["exit", "0"]);
        task.containers[0].memory_bytes = Some(64 << 20);
        let end = bench.run_task(task).await;
        assert_eq!((end.exit_code, end.oom_killed), (0, false), "{end:?}");
        bench.runtime.stop("eater", super::PATIENCE).await;
        bench.runtime.stop("fits", super::PATIENCE).await;
        bench.assert_clean();
    }
}

/// A killed container's own SIGKILL is not the kernel's for its memory.
#[tokio::test]
async fn a_killed_container_is_not_out_of_memory() {
    for mut bench in benches() {
        let mut task = bench.task("killed", &["sleep"]);
        task.containers[0].memory_bytes = Some(64 << 20);
        bench.runtime.start(task).await.unwrap();
        bench.runtime.stop("killed", std::time::Duration::ZERO).await;
        assert!(!bench.end("killed", "main").await.oom_killed);
    }
}

#[tokio::test]
async fn an_image_is_unpacked_once() {
    for mut bench in benches() {
        bench.run("first", &["exit", "0"]).await;
        let images = bench.data.path().join("runtime/images");
        let made = |path: &std::path::Path| {
            let image = std::fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
            std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(image.join("tool")).unwrap())
        };
        let before = made(&images);
        let started = Instant::now();
        bench.run("second", &["exit", "0"]).await;
        assert!(started.elapsed() < super::PATIENCE);
        assert_eq!((made(&images), std::fs::read_dir(&images).unwrap().count()), (before, 1));
    }
}

pub(crate) fn cgroups_writable() -> bool {
    ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].iter().any(|tree| {
        let probe = std::path::Path::new(tree).join(format!("steady-test-{}", std::process::id()));
        let made = std::fs::create_dir(&probe).is_ok();
        let limits = ["memory.max", "memory.limit_in_bytes"].iter().any(|file| probe.join(file).exists());
        let _ = std::fs::remove_dir(&probe);
        made && limits
    })
}
