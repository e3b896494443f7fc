//! Volumes: of the host, of a task, of all tasks, and what comes from an image.

use std::path::Path;

use steadystate::lab::runtime::{
    Condition, Dependency, Level, MountPoint, Runtime, TaskSpec, Tmpfs, Volume, VolumeSource, VolumesFrom,
};

use super::levels::gone;
use super::{Bench, HELPER, benches, image};

const READ_ONLY: &str = "read-only filesystem or storage medium";

/// `/srv` is where the image's programs work: at the level without isolation only relative paths are the image's.
fn mounted(bench: &Bench, id: &str, arguments: &[&str], source: VolumeSource) -> TaskSpec {
    let mut task = bench.task(id, arguments);
    task.containers[0].image = image::tool_with(&bench.data.path().join("blobs"), |layer| {
        layer.directory("srv", 0o755).directory("srv/data", 0o755).file("srv/data/image", 0o644, b"of the image");
    });
    task.containers[0].mount_points =
        vec![MountPoint { source_volume: "v".into(), container_path: "/srv/data".into(), read_only: false }];
    task.volumes = vec![Volume { name: "v".into(), source }];
    task
}

async fn lines(bench: &mut Bench, task: TaskSpec) -> Vec<String> {
    let id = task.task_id.clone();
    let lines = bench.run_task(task).await.lines;
    gone(bench, &id).await;
    lines
}

#[tokio::test]
async fn a_folder_of_the_host_is_written_and_protected() {
    for mut bench in benches() {
        let host = tempfile::tempdir().unwrap();
        let source = VolumeSource::Host(host.path().join("made"));
        let task = mounted(&bench, "host", &["write", "data/x"], source);
        let mut protected = task.clone();
        protected.containers[0].mount_points[0].read_only = true;
        if bench.level == Level::Chroot {
            refused(&bench, task, "it is not this task's alone").await;
            continue;
        }
        assert_eq!(lines(&mut bench, task).await, ["written"], "{}", bench.level);
        let made: Vec<_> =
            std::fs::read_dir(host.path().join("made")).unwrap().map(|of| of.unwrap().file_name()).collect();
        assert_eq!(made, ["x"], "{}: nothing of the image comes into a folder of the host", bench.level);
        let expected = if bench.level.has_network() { READ_ONLY } else { "written" };
        assert_eq!(lines(&mut bench, protected).await, [expected], "{}", bench.level);
        bench.assert_clean();
        assert_eq!(std::fs::read_to_string(host.path().join("made/x")).unwrap(), "written");
    }
}

async fn refused(bench: &Bench, task: TaskSpec, why: &str) {
    let error = bench.runtime.start(task).await.unwrap_err();
    let begin =
        "CannotCreateContainerError: the volume at /srv/data cannot be had at the lab's runtime level chroot, as ";
    assert!(error.reason.starts_with(begin) && error.reason.contains(why), "{error}");
    assert!(error.reason.ends_with("`--runtime docker` has them"), "{error}");
}

/// `reader` gets the volumes of `main` when that has ended.
fn with_reader(mut task: TaskSpec, arguments: &[&str], read_only: bool) -> TaskSpec {
    let mut reader = task.containers[0].clone();
    reader.name = "reader".to_owned();
    reader.command = arguments.iter().map(ToString::to_string).collect();
    reader.mount_points.clear();
    reader.volumes_from = vec![VolumesFrom { container: "main".into(), read_only }];
    reader.depends_on = vec![Dependency { container: "main".into(), condition: Condition::Success }];
    task.containers.push(reader);
    task
}

#[tokio::test]
async fn a_tasks_volume_begins_with_the_images_files_and_goes_with_the_task() {
    for mut bench in benches() {
        let own = |bench: &Bench, command: &[&str]| mounted(bench, "own", command, VolumeSource::Task);
        let task = own(&bench, &["read", "data/image"]);
        assert_eq!(lines(&mut bench, task).await, ["of the image"], "{}", bench.level);
        let task = own(&bench, &["write", "data/x"]);
        assert_eq!(lines(&mut bench, task).await, ["written"], "{}", bench.level);
        let task = own(&bench, &["read", "data/x"]);
        assert_eq!(lines(&mut bench, task).await, ["entity not found"], "{}: another task's", bench.level);

        let shared = with_reader(own(&bench, &["write", "data/x"]), &["read", "data/x"], true);
        if bench.level == Level::Chroot {
            refused(&bench, shared, "container \"reader\" has it, too").await;
            bench.assert_clean();
            continue;
        }
        bench.runtime.start(shared).await.unwrap();
        assert_eq!(bench.end("own", "reader").await.lines, ["written"], "{}", bench.level);
        gone(&bench, "own").await;
        if bench.level.has_network() {
            let protected = with_reader(own(&bench, &["exit", "0"]), &["write", "data/x"], true);
            bench.runtime.start(protected).await.unwrap();
            assert_eq!(bench.end("own", "reader").await.lines, [READ_ONLY], "{}", bench.level);
            gone(&bench, "own").await;
        }
        bench.assert_clean();
    }
}

#[tokio::test]
async fn a_shared_volume_is_there_for_the_next_task_and_the_next_lab() {
    for mut bench in benches() {
        let shared = |bench: &Bench, command: &[&str]| {
            mounted(bench, "shared", command, VolumeSource::Shared("../fs-1/x".to_owned()))
        };
        let write = shared(&bench, &["write", "data/x"]);
        if bench.level == Level::Chroot {
            refused(&bench, write, "it is not this task's alone").await;
            continue;
        }
        assert_eq!(lines(&mut bench, write).await, ["written"], "{}", bench.level);
        assert!(bench.data.path().join("runtime/shared/volume-..-fs-1-x/x").exists(), "it leads nowhere else");
        let read = shared(&bench, &["read", "data/x"]);
        assert_eq!(lines(&mut bench, read).await, ["written"], "{}", bench.level);
        let data: &Path = bench.data.path();
        drop(Runtime::new(data.to_owned(), Some(bench.level), HELPER.into()).unwrap());
        assert!(data.join("runtime/shared/volume-..-fs-1-x/x").exists(), "{}", bench.level);
    }
}

#[tokio::test]
async fn a_volume_is_written_in_a_read_only_root() {
    for mut bench in benches() {
        for (id, path, read_only) in [("in", "data/x", false), ("beside", "x", false), ("kept", "data/x", true)] {
            let mut task = mounted(&bench, id, &["write", path], VolumeSource::Task);
            task.containers[0].readonly_root_filesystem = true;
            task.containers[0].mount_points[0].read_only = read_only;
            let expected = match (id, bench.level.has_network()) {
                ("in", _) => "written",
                (_, true) => READ_ONLY,
                (_, false) => "permission denied",
            };
            assert_eq!(lines(&mut bench, task).await, [expected], "{} {id}", bench.level);
        }
        bench.assert_clean();
    }
}

#[tokio::test]
async fn what_an_image_declares_is_writable_in_a_read_only_root_and_given_to_others() {
    for mut bench in benches().into_iter().filter(|bench| bench.level.has_network()) {
        let blobs = bench.data.path().join("blobs");
        let declared = |bench: &Bench, id: &str, path: &str| {
            let mut task = bench.task(id, &["write", path]);
            task.containers[0].image = image::tool_with_volume(&blobs, "/kept");
            task.containers[0].readonly_root_filesystem = true;
            task
        };
        let task = declared(&bench, "kept", "/kept/x");
        assert_eq!(lines(&mut bench, task).await, ["written"], "{}", bench.level);
        let task = declared(&bench, "root", "/x");
        assert_eq!(lines(&mut bench, task).await, [READ_ONLY], "{}", bench.level);
        let task = with_reader(declared(&bench, "given", "/kept/x"), &["read", "/kept/x"], false);
        bench.runtime.start(task).await.unwrap();
        assert_eq!(bench.end("given", "reader").await.lines, ["written"], "{}", bench.level);
        gone(&bench, "given").await;
        bench.assert_clean();
    }
}

#[tokio::test]
async fn a_tmpfs_is_written_in_a_read_only_root_by_anybody_and_begins_empty() {
    for mut bench in benches() {
        for (id, arguments) in [("write", ["write", "data/x"]), ("empty", ["read", "data/image"])] {
            let mut task = mounted(&bench, id, &arguments, VolumeSource::Task);
            task.containers[0].mount_points.clear();
            task.volumes.clear();
            task.containers[0].readonly_root_filesystem = true;
            task.containers[0].user = Some("1234:1234".into());
            let options = vec!["exec".to_owned(), "mode=777".to_owned()];
            task.containers[0].tmpfs = vec![Tmpfs { container_path: "/srv/data".into(), size_mib: 1, options }];
            let found = lines(&mut bench, task).await.join("");
            match id {
                "write" => assert_eq!(found, "written", "{}", bench.level),
                // without mounts it has what the image has there
                _ => assert!(!bench.level.has_network() || !found.contains("of the image"), "{}: {found}", bench.level),
            }
        }
        bench.assert_clean();
    }
}
