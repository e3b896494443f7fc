//! A task's volumes: who mounts which one where, what is in them at first, and what each level makes of that.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::inroot::{InRoot, split};
use super::launch::{Mount, Root};
use super::spec::{ContainerSpec, Level, TaskSpec, Tmpfs, VolumeSource};
use super::unpack::{copy_tree, remove_tree};

/// A volume at a place in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounting {
    pub volume: Volume,
    pub target: String,
    pub read_only: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volume {
    /// One of the task's, by position.
    Named(usize),
    /// What the image of the container at this position declares there.
    Declared(usize, String),
}

/// What each container mounts, `declared` being their images' volumes. An error has the container's position.
pub fn plan(task: &TaskSpec, declared: &[Vec<String>]) -> Result<Vec<Vec<Mounting>>, (usize, String)> {
    let all: Result<Vec<_>, _> =
        (0..task.containers.len()).map(|at| of_container(task, declared, at, &mut Vec::new())).collect();
    let mut all = all?;
    let used: Vec<BTreeSet<Volume>> =
        all.iter().map(|mounts| mounts.iter().map(|mount| mount.volume.clone()).collect()).collect();
    for (at, mounts) in all.iter_mut().enumerate() {
        // in a root of one's own, a volume that nobody else sees is a folder like any other
        let needed = |volume: &Volume| {
            matches!(volume, Volume::Named(_))
                || task.containers[at].readonly_root_filesystem
                || used.iter().filter(|used| used.contains(volume)).count() > 1
        };
        mounts.retain(|mount| needed(&mount.volume));
    }
    Ok(all)
}

fn of_container(
    task: &TaskSpec,
    declared: &[Vec<String>],
    at: usize,
    asking: &mut Vec<usize>,
) -> Result<Vec<Mounting>, (usize, String)> {
    let container = &task.containers[at];
    if asking.contains(&at) {
        return Err((at, format!("the volumes of container {:?} come from itself", container.name)));
    }
    asking.push(at);
    let mut mounts: Vec<Mounting> = Vec::new();
    for point in &container.mount_points {
        let volume = task.volumes.iter().position(|volume| volume.name == point.source_volume);
        let volume = volume.ok_or_else(|| (at, format!("the task has no volume {:?}", point.source_volume)))?;
        let (target, read_only) = (point.container_path.clone(), point.read_only);
        mounts.push(Mounting { volume: Volume::Named(volume), target, read_only });
    }
    for from in &container.volumes_from {
        let source = task.containers.iter().position(|other| other.name == from.container);
        let source = source.ok_or_else(|| (at, format!("the task has no container {:?}", from.container)))?;
        let theirs = of_container(task, declared, source, asking)?.into_iter();
        add(&mut mounts, theirs.map(|mount| Mounting { read_only: mount.read_only || from.read_only, ..mount }));
    }
    let own = declared.get(at).into_iter().flatten().map(|target| Mounting {
        volume: Volume::Declared(at, target.clone()),
        target: target.clone(),
        read_only: false,
    });
    add(&mut mounts, own);
    asking.pop();
    Ok(mounts)
}

/// What is mounted already stays.
fn add(mounts: &mut Vec<Mounting>, more: impl Iterator<Item = Mounting>) {
    let plain = |target: &str| target.trim_end_matches('/').to_owned();
    for mount in more {
        if !mounts.iter().any(|known| plain(&known.target) == plain(&mount.target)) {
            mounts.push(mount);
        }
    }
}

/// The volumes of a task that is being prepared.
pub struct Volumes<'a> {
    pub level: Level,
    /// The runtime's folder, and the task's in it.
    pub base: &'a Path,
    pub folder: &'a Path,
    pub task: &'a TaskSpec,
    pub plan: &'a [Vec<Mounting>],
}

impl Volumes<'_> {
    /// Makes the volumes of the container at this position, and what can be done about them without mounting. `image`
    /// is its unpacked image. The error is for a person.
    pub fn prepare(&self, at: usize, image: &Path, root: &Root) -> Result<Vec<Mount>, String> {
        let mut mounts = Vec::new();
        for mount in &self.plan[at] {
            self.check(at, mount)?;
            let text = |error: io::Error| format!("volume at {}: {error}", mount.target);
            let mut source = PathBuf::new();
            match (self.level, root) {
                (Level::Chroot, Root::Directory(root)) => {
                    let root = InRoot::open(&self.base.join(root)).map_err(text)?;
                    root.make_directory(relative(&mount.target)).map_err(text)?;
                }
                (Level::Process, Root::Directory(root)) => {
                    source = self.source(mount, image).map_err(text)?;
                    link(&self.base.join(root), &mount.target, &source).map_err(text)?;
                }
                _ => source = self.source(mount, image).map_err(text)?,
            }
            mounts.push(Mount { source, target: mount.target.clone().into(), read_only: mount.read_only });
        }
        Ok(mounts)
    }

    /// In a chroot nothing of outside can be seen, and without mounts nothing can be brought in.
    fn check(&self, at: usize, mount: &Mounting) -> Result<(), String> {
        if self.level != Level::Chroot {
            return Ok(());
        }
        let others = |container: &&ContainerSpec| container.name != self.task.containers[at].name;
        let users = self.task.containers.iter().zip(self.plan);
        let mut users = users.filter(|(_, mounts)| mounts.iter().any(|other| other.volume == mount.volume));
        let shared = users.find_map(|(container, _)| Some(container).filter(others));
        let why = match (&mount.volume, shared) {
            (Volume::Named(volume), _) if self.task.volumes[*volume].source != VolumeSource::Task => {
                "it is not this task's alone".to_owned()
            }
            (_, Some(other)) => format!("container {:?} has it, too", other.name),
            _ => return Ok(()),
        };
        Err(format!(
            "the volume at {} cannot be had at the lab's runtime level chroot, as {why} and this machine permits no \
             mounts; `--runtime docker` has them",
            mount.target
        ))
    }

    /// Where a volume is on this machine; it is made where it is not there.
    fn source(&self, mount: &Mounting, image: &Path) -> io::Result<PathBuf> {
        let own = |name: String| self.base.join(self.folder).join(name);
        let path = match &mount.volume {
            Volume::Declared(at, target) => {
                let number = self.plan[*at].iter().position(|of| of.target == *target).unwrap_or_default();
                own(format!("volume-of-{at}-{number}"))
            }
            Volume::Named(volume) => match &self.task.volumes[*volume].source {
                // Docker makes what is missing on the host, too
                VolumeSource::Host(path) => {
                    return fs::create_dir_all(path).map(|()| path.clone()).or_else(|error| match path.exists() {
                        true => Ok(path.clone()),
                        false => Err(error),
                    });
                }
                VolumeSource::Task => own(format!("volume-{volume}")),
                VolumeSource::Shared(name) => self.base.join("shared").join(plain(name)),
            },
        };
        fill(&path, image, &mount.target, &self.task.task_id)?;
        Ok(path)
    }
}

fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    format!("volume-{}", name.chars().map(plain).collect::<String>())
}

fn relative(path: &str) -> &Path {
    let path = Path::new(path);
    path.strip_prefix("/").unwrap_or(path)
}

/// A new or empty volume begins with what the image has there.
fn fill(volume: &Path, image: &Path, target: &str, task_id: &str) -> io::Result<()> {
    if fs::read_dir(volume).is_ok_and(|mut entries| entries.next().is_some()) {
        return Ok(());
    }
    let image = InRoot::open(image)?;
    let there = image.resolve(relative(target), OFlags::PATH | OFlags::DIRECTORY).is_ok();
    if !there {
        return fs::create_dir_all(volume);
    }
    // two tasks may begin at once: one of them is first
    let mut name = volume.file_name().unwrap_or_default().to_owned();
    name.push(format!("-new-{task_id}"));
    let new = volume.with_file_name(name);
    copy_tree(&image.real_path(relative(target))?, &new)?;
    match fs::rename(&new, volume) {
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
            remove_tree(&new)
        }
        renamed => renamed,
    }
}

/// Without mounts, and where a container's root is no wall: a symbolic link out of it.
fn link(root: &Path, target: &str, source: &Path) -> io::Result<()> {
    let (parent, name) = split(Path::new(target))?;
    let root = InRoot::open(root)?;
    root.make_directory(&parent)?;
    let place = root.real_path(&parent)?.join(name);
    match fs::symlink_metadata(&place) {
        Ok(found) if found.is_dir() => remove_tree(&place)?,
        Ok(_) => fs::remove_file(&place)?,
        Err(_) => {}
    }
    symlink(source, place)
}

/// Where nothing can be mounted: empty folders that anybody may write, as a tmpfs is one.
pub fn instead_of_tmpfs(root: &Path, wanted: &[Tmpfs]) -> io::Result<Vec<Mount>> {
    let folder = |tmpfs: &Tmpfs| {
        let inside = InRoot::open(root)?;
        let target = relative(&tmpfs.container_path);
        inside.make_directory(target)?;
        let source = inside.real_path(target)?;
        fs::set_permissions(&source, fs::Permissions::from_mode(0o1777))?;
        Ok(Mount { source, target: tmpfs.container_path.clone().into(), read_only: false })
    };
    wanted.iter().map(folder).collect()
}

#[cfg(test)]
mod tests {
    use super::super::spec::{MountPoint, VolumesFrom};
    use super::*;

    fn container(name: &str, points: &[(&str, &str, bool)], from: &[(&str, bool)]) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            mount_points: points
                .iter()
                .map(|(volume, path, read_only)| MountPoint {
                    source_volume: (*volume).to_owned(),
                    container_path: (*path).to_owned(),
                    read_only: *read_only,
                })
                .collect(),
            volumes_from: from
                .iter()
                .map(|(name, read_only)| VolumesFrom { container: (*name).to_owned(), read_only: *read_only })
                .collect(),
            ..ContainerSpec::default()
        }
    }

    fn task(containers: Vec<ContainerSpec>) -> TaskSpec {
        let volumes = ["a", "b"].map(|name| super::super::spec::Volume { name: name.to_owned(), ..Default::default() });
        TaskSpec { task_id: "t".to_owned(), containers, volumes: volumes.into() }
    }

    #[test]
    fn volumes_come_from_others_and_their_images_and_ones_own_win() {
        let task = task(vec![
            container("one", &[("a", "/a", false)], &[]),
            container("two", &[("b", "/a/", false)], &[("one", true)]),
            container("three", &[], &[("two", false), ("one", true)]),
        ]);
        let declared = [vec!["/declared".to_owned(), "/a".to_owned()], vec![], vec!["/alone".to_owned()]];
        let plan = plan(&task, &declared).unwrap();
        let shown: Vec<Vec<(String, &str, bool)>> = plan
            .iter()
            .map(|mounts| {
                mounts.iter().map(|of| (format!("{:?}", of.volume), of.target.as_str(), of.read_only)).collect()
            })
            .collect();
        let row = |volume: &str, target, read_only| (volume.to_owned(), target, read_only);
        let declared = r#"Declared(0, "/declared")"#;
        assert_eq!(shown[0], [row("Named(0)", "/a", false), row(declared, "/declared", false)]);
        assert_eq!(shown[1], [row("Named(1)", "/a/", false), row(declared, "/declared", true)]);
        assert_eq!(shown[2], [row("Named(1)", "/a/", false), row(declared, "/declared", true)], "/alone is its own");
    }

    #[test]
    fn what_cannot_come_is_said() {
        for (containers, expected) in [
            (vec![container("one", &[("c", "/c", false)], &[])], (0, r#"the task has no volume "c""#)),
            (vec![container("one", &[], &[("two", false)])], (0, r#"the task has no container "two""#)),
            (
                vec![container("one", &[], &[("two", false)]), container("two", &[], &[("one", false)])],
                (0, r#"the volumes of container "one" come from itself"#),
            ),
        ] {
            assert_eq!(plan(&task(containers), &[]), Err((expected.0, expected.1.to_owned())));
        }
    }
}
