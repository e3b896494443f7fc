//! Unpacked images, shared by all tasks, and the roots that containers get from them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::Roots;
use super::config::ImageConfig;
use super::launch::Root;
use super::spec::ImageSource;
use super::unpack::{Limits, copy_tree, remove_tree, unpack};

/// How many unpacked images stay beyond those in use.
const KEPT: usize = 10;

/// The folder `images` below the runtime's.
pub struct Images {
    base: PathBuf,
    /// One lock for each image, held while it is unpacked; how often it is in use.
    known: Mutex<HashMap<String, Arc<Known>>>,
}

#[derive(Default)]
struct Known {
    unpacking: Mutex<()>,
    uses: Mutex<usize>,
}

/// An unpacked image that stays while this is held.
pub struct Lease {
    /// Relative to the runtime's folder.
    pub root: PathBuf,
    pub config: ImageConfig,
    known: Arc<Known>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        *lock(&self.known.uses) -= 1;
    }
}

impl Images {
    pub fn new(base: PathBuf) -> Self {
        Images { base, known: Mutex::default() }
    }

    /// Unpacks the image unless that was done before. Blocks. The error is for a person.
    pub fn lease(&self, image: &ImageSource) -> Result<Lease, String> {
        let name = image
            .digest
            .strip_prefix("sha256:")
            .filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .ok_or_else(|| format!("{:?} is not the digest of an image", image.digest))?;
        let config = ImageConfig::read(&image.config)?;
        let known = {
            let mut all = lock(&self.known);
            let known = all.entry(name.to_owned()).or_default().clone();
            *lock(&known.uses) += 1;
            known
        };
        let lease = Lease { root: Path::new("images").join(name), config, known: known.clone() };

        let _unpacking = lock(&known.unpacking);
        let root = self.base.join(&lease.root);
        if !root.exists() {
            self.unpack(image, &lease.config, &root)?;
            self.prune();
        }
        Ok(lease)
    }

    // Only a whole tree ever gets the name under which it is looked for.
    fn unpack(&self, image: &ImageSource, config: &ImageConfig, root: &Path) -> Result<(), String> {
        let text = |error: io::Error| format!("the lab's image folder: {error}");
        let temporary = tempfile::Builder::new().prefix("new-").tempdir_in(self.base.join("images")).map_err(text)?;
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).map_err(text)?;
        let unpacked = unpack(image, config.diff_ids(), temporary.path(), Limits::default());
        let temporary = temporary.keep();
        match unpacked {
            Ok(()) => fs::rename(&temporary, root).map_err(text),
            Err(error) => {
                let _ = remove_tree(&temporary);
                Err(error.to_string())
            }
        }
    }

    fn prune(&self) {
        let Ok(entries) = fs::read_dir(self.base.join("images")) else { return };
        let mut idle: Vec<_> = entries
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.file_name().into_string().ok()?)))
            .collect();
        idle.sort_unstable_by(|a, b| b.cmp(a));
        // no image can be leased while we look
        let mut known = lock(&self.known);
        for (_, name) in idle.into_iter().skip(KEPT) {
            let unused = known.get(&name).is_none_or(|known| *lock(&known.uses) == 0);
            if unused && !name.starts_with("new-") {
                known.remove(&name);
                let _ = remove_tree(&self.base.join("images").join(name));
            }
        }
    }

    /// A root for a container in the empty folder `directory`, which is relative to the runtime's.
    pub fn root(&self, lease: &Lease, roots: Roots, directory: &Path) -> io::Result<Root> {
        let absolute = self.base.join(directory);
        match roots {
            Roots::Overlay => {
                for part in ["upper", "work", "merged"] {
                    fs::create_dir(absolute.join(part))?;
                }
                // the merged root shows the upper one's mode
                let mode = fs::metadata(self.base.join(&lease.root))?.permissions();
                fs::set_permissions(absolute.join("upper"), mode)?;
                Ok(Root::Overlay { lower: lease.root.clone(), directory: directory.to_owned() })
            }
            Roots::Copy => {
                copy_tree(&self.base.join(&lease.root), &absolute.join("root"))?;
                Ok(Root::Directory(directory.join("root")))
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
