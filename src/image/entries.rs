//! The files of one layer: collected, sorted, and written as a tar that is the same on every machine.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use crate::error::{Error, Result, nearest};

/// One line of a layer: a file, or a folder with all that is in it, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerEntry {
    /// On this machine; a relative path is relative to the project.
    pub from: PathBuf,
    /// In the image, absolute. A file goes *into* it when it ends in `/`; the content of a folder always does.
    pub to: String,
    /// Permission bits for every file of this entry. `None` keeps those on disk, without write permission for
    /// group and others, and without setuid and setgid: these depend on who checked the project out.
    pub mode: Option<u32>,
    /// User and group; `None` is 0:0.
    pub owner: Option<(u32, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    mode: u32,
    owner: (u32, u32),
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Folder { implied: bool },
    File(PathBuf),
    Symlink(PathBuf),
}

const IMPLIED: Node = Node { mode: 0o755, owner: (0, 0), content: Content::Folder { implied: true } };

/// One layer's files by their path in the image, without a leading slash. A sorted map: parents come first.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
}

impl Tree {
    /// Collects what the entries name; of two for one path the later one counts.
    ///
    /// # Errors
    /// `BuildOrPush` when a file is missing or cannot be read; `Input` for what no layer can hold.
    pub fn collect(project: &Path, entries: &[LayerEntry]) -> Result<Tree> {
        let mut tree = Tree::default();
        for entry in entries {
            tree.add(project, entry)?;
        }
        tree.imply_parents()?;
        Ok(tree)
    }

    /// For a layer over a base image: folders are left out that only hold what lies in them. They would replace the base's
    /// own (`/lib` may be a symlink there, `/tmp` has mode 1777), and runtimes make the missing ones.
    pub fn over_a_base(mut self) -> Tree {
        let holds_something = |path: &[u8]| {
            let below = [path, b"/"].concat();
            self.nodes.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below))
        };
        let plain = |node: &Node| {
            matches!(node.content, Content::Folder { .. }) && (node.mode, node.owner) == (IMPLIED.mode, IMPLIED.owner)
        };
        let spared: Vec<Vec<u8>> = self
            .nodes
            .iter()
            .filter(|(path, node)| plain(node) && holds_something(path))
            .map(|(path, _)| path.clone())
            .collect();
        spared.iter().for_each(|path| drop(self.nodes.remove(path)));
        self
    }

    /// Implied folders look as an earlier layer of the same image made them.
    pub fn follow(&mut self, earlier: &Tree) {
        for (path, node) in &mut self.nodes {
            let named = earlier.nodes.get(path).filter(|named| named.content == Content::Folder { implied: false });
            if let (Content::Folder { implied: true }, Some(named)) = (&node.content, named) {
                (node.mode, node.owner) = (named.mode, named.owner);
            }
        }
    }

    fn add(&mut self, project: &Path, entry: &LayerEntry) -> Result<()> {
        let to = target(&entry.to)?;
        let from = project.join(&entry.from);
        let metadata = std::fs::metadata(&from).map_err(|error| missing(&from, &entry.from, error))?;
        let owner = entry.owner.unwrap_or((0, 0));
        if let Some(mode) = entry.mode.filter(|mode| *mode > 0o7777) {
            return Err(
                Error::input(format!("`{mode:o}` is not a file mode")).hint("write it in octal, as in \"0755\"")
            );
        }
        if metadata.is_dir() {
            return self.add_folder(&from, &to, &metadata, entry.mode, owner);
        }
        let mut path = to;
        if entry.to.ends_with('/') {
            push_name(&mut path, from.file_name().unwrap_or_default().as_bytes());
        }
        if path.is_empty() {
            return Err(Error::input(format!("`{}` is a file, and cannot be the image's `/`", entry.from.display()))
                .hint(format!("did you mean `to: /{}`?", from.file_name().unwrap_or_default().to_string_lossy())));
        }
        self.insert(path, &from, &metadata, entry.mode, owner)
    }

    fn add_folder(
        &mut self,
        from: &Path,
        to: &[u8],
        top: &Metadata,
        mode: Option<u32>,
        owner: (u32, u32),
    ) -> Result<()> {
        if !to.is_empty() {
            self.insert(to.to_vec(), from, top, None, owner)?;
        }
        for found in walkdir::WalkDir::new(from).min_depth(1).follow_links(false).follow_root_links(true) {
            let found = found.map_err(|error| {
                let path = error.path().unwrap_or(from).to_owned();
                Error::build_or_push(format!("cannot read `{}`", path.display())).cause(error)
            })?;
            let inside = found.path().strip_prefix(from).unwrap_or(found.path());
            let mut path = to.to_vec();
            push_name(&mut path, inside.as_os_str().as_bytes());
            let metadata = found.metadata().map_err(|error| {
                Error::build_or_push(format!("cannot read `{}`", found.path().display())).cause(error)
            })?;
            self.insert(path, found.path(), &metadata, mode, owner)?;
        }
        Ok(())
    }

    fn insert(
        &mut self,
        path: Vec<u8>,
        from: &Path,
        found: &Metadata,
        mode: Option<u32>,
        owner: (u32, u32),
    ) -> Result<()> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if name.starts_with(b".wh.") {
            return Err(Error::input(format!("`{}` cannot be in a layer", from.display()))
                .hint("a name that begins with `.wh.` deletes a file of a lower layer"));
        }
        let on_disk = found.permissions().mode() & 0o755;
        let kind = found.file_type();
        let (content, mode) = if kind.is_dir() {
            (Content::Folder { implied: false }, on_disk)
        } else if kind.is_symlink() {
            let link = std::fs::read_link(from)
                .map_err(|error| Error::build_or_push(format!("cannot read `{}`", from.display())).cause(error))?;
            (Content::Symlink(link), 0o777)
        } else if kind.is_file() {
            (Content::File(from.to_owned()), mode.unwrap_or(on_disk))
        } else {
            let what = match kind {
                kind if kind.is_socket() => "a socket",
                kind if kind.is_fifo() => "a named pipe",
                _ => "a device",
            };
            return Err(Error::input(format!("`{}` is {what}, which no image can hold", from.display())));
        };
        self.nodes.insert(path, Node { mode, owner, content });
        Ok(())
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

    /// Writes the layer. Files are streamed, and must still have the size that they had when they are opened.
    pub fn write(&self, out: &mut dyn Write) -> Result<()> {
        let mut tar = Builder::new(out);
        for (path, node) in &self.nodes {
            self.write_node(&mut tar, path, node).map_err(|error| {
                let path = match &node.content {
                    Content::File(from) => from.display().to_string(),
                    _ => format!("/{}", String::from_utf8_lossy(path)),
                };
                Error::build_or_push(format!("cannot put `{path}` into its layer")).cause(error)
            })?;
        }
        tar.into_inner().map(drop).map_err(|error| Error::build_or_push("cannot write a layer").cause(error))
    }

    fn write_node(&self, tar: &mut Builder<&mut dyn Write>, path: &[u8], node: &Node) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(node.mode);
        header.set_uid(node.owner.0.into());
        header.set_gid(node.owner.1.into());
        header.set_mtime(0);
        header.set_size(0);
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        match &node.content {
            Content::Folder { .. } => {
                header.set_entry_type(EntryType::Directory);
                let mut with_slash = path.as_os_str().to_owned();
                with_slash.push("/");
                tar.append_data(&mut header, with_slash, io::empty())
            }
            Content::Symlink(target) => {
                header.set_entry_type(EntryType::Symlink);
                tar.append_link(&mut header, path, target)
            }
            Content::File(from) => {
                let file = File::open(from)?;
                let size = file.metadata()?.len();
                header.set_entry_type(EntryType::Regular);
                header.set_size(size);
                tar.append_data(&mut header, path, Exactly { file, left: size })
            }
        }
    }
}

/// A file that may not get shorter while it is read; what is added to it meanwhile is left out.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..want])?;
        if read == 0 {
            return Err(io::Error::other("it got shorter while it was read"));
        }
        self.left -= read as u64;
        Ok(read)
    }
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
