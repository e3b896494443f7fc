//! The files of one layer: what its entries name, collected and sorted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Platform;
use super::base_files::{self, Found};
use super::ignore::{self, Fate, Filter, Ignore};
use super::layer_tar::{self, Seen};
use super::owners::{Accounts, Owner};
use crate::error::{Error, Result, nearest};

/// One line of a layer: a file, or a folder with all that is in it, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerEntry {
    /// On this machine; a relative path is relative to the project.
    pub from: PathBuf,
    /// In the image, absolute. A file goes *into* it when it ends in `/`; the content of a folder always does.
    pub to: String,
    /// Permission bits for every file of this entry. `None` is 0755 for what its owner may execute on disk, else 0644:
    /// all else depends on who checked the project out.
    pub mode: Option<u32>,
    /// Permission bits for every folder of this entry; `None` is 0755.
    pub folder_mode: Option<u32>,
    /// `None` is 0:0.
    pub owner: Option<Owner>,
    pub ignore: Ignore,
    /// Only in the image for this platform; `None` is in all.
    pub platform: Option<Platform>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub mode: u32,
    pub owner: (u32, u32),
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Implied when no entry says how it looks.
    Folder {
        implied: bool,
    },
    File(PathBuf, Seen),
    Symlink(PathBuf),
}

const IMPLIED: Node = Node { mode: 0o755, owner: (0, 0), content: Content::Folder { implied: true } };

/// One layer's files by their path in the image, without a leading slash. A sorted map: parents come first.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
}

/// How the files of one entry look.
struct Look {
    mode: Option<u32>,
    folder: Node,
}

impl Tree {
    /// Collects what the entries name; of two for one path the later one counts. `earlier` are this image's own layers
    /// below, the lowest first.
    ///
    /// # Errors
    /// `BuildOrPush` when a file is missing or cannot be read; `Input` for what no layer can hold.
    pub(super) fn collect(
        project: &Path,
        entries: &[LayerEntry],
        earlier: &[Tree],
        accounts: &mut Accounts<'_>,
    ) -> Result<Tree> {
        let mut tree = Tree::default();
        for entry in entries {
            let owner = match &entry.owner {
                Some(owner) => {
                    let trees: Vec<&Tree> = std::iter::once(&tree).chain(earlier.iter().rev()).collect();
                    accounts.ids(owner, &trees)?
                }
                None => (0, 0),
            };
            if let Some(mode) = [entry.mode, entry.folder_mode].into_iter().flatten().find(|mode| *mode > 0o7777) {
                return Err(
                    Error::input(format!("`{mode:o}` is not a file mode")).hint("write it in octal, as in \"0755\"")
                );
            }
            let implied = entry.owner.is_none() && entry.folder_mode.is_none();
            let folder =
                Node { mode: entry.folder_mode.unwrap_or(IMPLIED.mode), owner, content: Content::Folder { implied } };
            tree.add(project, entry, &Look { mode: entry.mode, folder })?;
        }
        tree.imply_parents()?;
        Ok(tree)
    }

    /// For a layer over a base image: folders are left out that only hold what lies in them. They would replace the base's
    /// own (`/lib` may be a symlink there, `/tmp` has mode 1777), and runtimes make the missing ones.
    pub(super) fn over_a_base(mut self) -> Tree {
        let plain = |node: &Node| {
            matches!(node.content, Content::Folder { .. }) && (node.mode, node.owner) == (IMPLIED.mode, IMPLIED.owner)
        };
        let spared: Vec<Vec<u8>> = self
            .nodes
            .iter()
            .filter(|(path, node)| plain(node) && self.holds_something(path))
            .map(|(path, _)| path.clone())
            .collect();
        spared.iter().for_each(|path| drop(self.nodes.remove(path)));
        self
    }

    fn holds_something(&self, path: &[u8]) -> bool {
        let below = [path, b"/"].concat();
        self.nodes.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below))
    }

    /// The folders whose look this layer would give them.
    pub(super) fn folders(&self) -> BTreeSet<&[u8]> {
        let folders = self.nodes.iter().filter(|(_, node)| matches!(node.content, Content::Folder { .. }));
        folders.map(|(path, _)| &path[..]).collect()
    }

    /// Folders that the base has, or has a link for, stay as they are there.
    pub(super) fn leave(mut self, of_base: &BTreeMap<Vec<u8>, Found>) -> Tree {
        let of_base = |path: &[u8]| matches!(of_base.get(path), Some(Found::Folder | Found::Other));
        self.nodes.retain(|path, node| !matches!(node.content, Content::Folder { .. }) || !of_base(path));
        self
    }

    /// Implied folders look as the layers below of the same image made them, and links there stay links.
    pub(super) fn follow(&mut self, earlier: &[Tree]) {
        self.nodes.retain(|path, node| {
            if node.content != IMPLIED.content {
                return true;
            }
            match earlier.iter().rev().find_map(|tree| tree.nodes.get(path)) {
                Some(Node { content: Content::Symlink(_), .. }) => return false,
                Some(below @ Node { content: Content::Folder { .. }, .. }) => {
                    (node.mode, node.owner) = (below.mode, below.owner);
                }
                _ => {}
            }
            true
        });
    }

    /// What is at a path, its content read.
    pub(super) fn find(&self, path: &[u8]) -> Option<Result<Found>> {
        Some(match &self.nodes.get(path)?.content {
            Content::Folder { .. } => Ok(Found::Folder),
            Content::Symlink(_) => Ok(Found::Other),
            Content::File(from, seen) if seen.size <= base_files::MAX_FILE => {
                std::fs::read(from).map(Found::File).map_err(|error| unreadable(from, error))
            }
            Content::File(..) => Ok(Found::Other),
        })
    }

    fn add(&mut self, project: &Path, entry: &LayerEntry, look: &Look) -> Result<()> {
        let to = target(&entry.to)?;
        let from = project.join(&entry.from);
        let metadata = std::fs::metadata(&from).map_err(|error| missing(&from, &entry.from, error))?;
        if metadata.is_dir() {
            return self.add_folder(project, &from, &to, entry, look);
        }
        let mut path = to;
        if entry.to.ends_with('/') {
            push_name(&mut path, from.file_name().unwrap_or_default().as_bytes());
        }
        if path.is_empty() {
            return Err(Error::input(format!("`{}` is a file, and cannot be the image's `/`", entry.from.display()))
                .hint(format!("did you mean `to: /{}`?", from.file_name().unwrap_or_default().to_string_lossy())));
        }
        self.insert(path, &from, &metadata, true, look)
    }

    /// What the rules leave of a folder. A folder that is left out is there if something in it is taken.
    fn add_folder(&mut self, project: &Path, from: &Path, to: &[u8], entry: &LayerEntry, look: &Look) -> Result<()> {
        let mut filter = Filter::new(project, from, &entry.ignore)?;
        let mut taken = filter.top == Fate::Taken;
        // By depth: the path in the image, and whether it is there.
        let mut folders = vec![(to.to_vec(), false)];
        let mut walk = walkdir::WalkDir::new(from).follow_links(false).follow_root_links(true).into_iter();
        while let Some(found) = walk.next() {
            let found = found.map_err(|error| {
                let path = error.path().unwrap_or(from).to_owned();
                Error::build_or_push(format!("cannot read `{}`", path.display())).cause(error)
            })?;
            let (depth, is_folder) = (found.depth(), found.depth() == 0 || found.file_type().is_dir());
            let inside = found.path().strip_prefix(from).unwrap_or(found.path());
            let fate = if depth == 0 { filter.top } else { filter.fate(inside, depth, is_folder) };
            let mut path = to.to_vec();
            if depth > 0 {
                push_name(&mut path, inside.as_os_str().as_bytes());
                folders.truncate(depth);
            }
            if is_folder && depth > 0 {
                folders.push((path.clone(), false));
            }
            match fate {
                Fate::Left if is_folder => walk.skip_current_dir(),
                Fate::Left | Fate::LeftButForExceptions => {}
                Fate::Taken => {
                    taken = true;
                    for (folder, there) in folders.iter_mut().filter(|(folder, there)| !there && !folder.is_empty()) {
                        refuse_whiteout(folder)?;
                        self.folder(folder.clone(), look);
                        *there = true;
                    }
                    if !is_folder {
                        let metadata = found.metadata().map_err(|error| unreadable(found.path(), error.into()))?;
                        self.insert(path, found.path(), &metadata, false, look)?;
                    }
                }
            }
        }
        if taken { Ok(()) } else { Err(ignore::left_out(&entry.from, &entry.ignore)) }
    }

    fn insert(&mut self, path: Vec<u8>, from: &Path, found: &Metadata, named: bool, look: &Look) -> Result<()> {
        refuse_whiteout(&path)?;
        let kind = found.file_type();
        let node = if kind.is_symlink() {
            let link = std::fs::read_link(from).map_err(|error| unreadable(from, error))?;
            Node { mode: 0o777, owner: look.folder.owner, content: Content::Symlink(link) }
        } else if kind.is_file() {
            let usual = if found.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            let content = Content::File(from.to_owned(), Seen::new(found, named));
            Node { mode: look.mode.unwrap_or(usual), owner: look.folder.owner, content }
        } else {
            let what = match kind {
                kind if kind.is_socket() => "a socket",
                kind if kind.is_fifo() => "a named pipe",
                _ => "a device",
            };
            return Err(Error::input(format!("`{}` is {what}, which no image can hold", from.display()))
                .hint("remove it, or name it in `.dockerignore`"));
        };
        self.nodes.insert(path, node);
        Ok(())
    }

    /// One that no entry says more of does not undo what an entry said.
    fn folder(&mut self, path: Vec<u8>, look: &Look) {
        let known = self.nodes.get(&path).is_some_and(|known| matches!(known.content, Content::Folder { .. }));
        if !known || look.folder.content != IMPLIED.content {
            self.nodes.insert(path, look.folder.clone());
        }
    }

    fn imply_parents(&mut self) -> Result<()> {
        let paths: Vec<Vec<u8>> = self.nodes.keys().cloned().collect();
        for path in &paths {
            for (slash, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                let parent = &path[..slash];
                let node = self.nodes.entry(parent.to_vec()).or_insert_with(|| IMPLIED.clone());
                if !matches!(node.content, Content::Folder { .. }) {
                    let (path, parent) = (String::from_utf8_lossy(path), String::from_utf8_lossy(parent));
                    return Err(Error::input(format!("`/{path}` cannot lie in `/{parent}`, which is no folder"))
                        .hint("two entries of this layer are in each other's way; change one's `to`"));
                }
            }
        }
        Ok(())
    }

    /// Writes the layer. Files are streamed, and have to be what they were when they were collected.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        layer_tar::write(self.nodes.iter().map(|(path, node)| (&path[..], node)), out)
    }
}

fn refuse_whiteout(path: &[u8]) -> Result<()> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if !name.starts_with(b".wh.") {
        return Ok(());
    }
    Err(Error::input(format!("`/{}` cannot be in a layer", String::from_utf8_lossy(path)))
        .hint("a name that begins with `.wh.` deletes a file of a lower layer"))
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::build_or_push(format!("cannot read `{}`", path.display())).cause(error)
}

fn push_name(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// A path in the image, without its slashes at both ends.
fn target(to: &str) -> Result<Vec<u8>> {
    if !to.starts_with('/') {
        return Err(Error::input(format!("`{to}` is not a path in the image: it has to begin with `/`"))
            .hint(format!("did you mean `/{to}`?")));
    }
    let parts: Vec<&str> = to.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") || to.contains('\0') {
        return Err(
            Error::input(format!("`{}` is not a path in the image", to.escape_debug())).hint("write it without `..`")
        );
    }
    Ok(parts.join("/").into_bytes())
}

fn missing(path: &Path, as_given: &Path, error: io::Error) -> Error {
    let failure = if error.kind() == io::ErrorKind::NotFound { "does not exist" } else { "cannot be read" };
    let found = Error::build_or_push(format!("`{}` {failure}", as_given.display()));
    let siblings: Vec<String> = path.parent().map_or(Vec::new(), |parent| {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    });
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let similar = nearest(&name, siblings.iter().map(String::as_str)).map(|name| as_given.with_file_name(name));
    let found = found.hint(match similar {
        Some(similar) => format!("did you mean `{}`?", similar.display()),
        None => "`build.run` is what makes files before layers are assembled".to_owned(),
    });
    found.cause(error)
}
