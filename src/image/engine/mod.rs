//! Programs that build: docker and others that take a Dockerfile, and a build's own `run` command.

mod builders;
mod held;
mod named;
pub mod overlay2;
mod process;
mod socket;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use super::{Open, digest};
use crate::error::{Error, Kind, Result};
pub use builders::{Build, Builder, Engine, Secret, choose, choose_among};
pub use held::{Held, hold};
pub use named::{is_named, named};
pub use process::{Command, answers, run, shell};

/// Builds with an engine, for `open.platform`. Output goes to `on_line`, line by line.
///
/// # Errors
/// `BuildOrPush` when the build fails, with its last lines.
pub async fn image(
    engine: &Engine,
    build: &Build,
    folder: &Path,
    open: &Open,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Held> {
    let wrong = match built(engine, build, folder, open, on_line).await {
        // What does not fit what was asked for is for another platform.
        Err(error) if error.kind() == Kind::Input && build.platform.is_some() && !build.no_cache => error,
        ended => return ended,
    };
    // Docker's classic builder and podman 4 take layers from their cache that they built for another platform.
    on_line(&format!("{} took what it built for another platform from its cache: again without it", engine.builder));
    let again = Build { no_cache: true, ..build.clone() };
    built(engine, &again, folder, open, on_line).await.map_err(|error| match error.kind() {
        Kind::Input => {
            Error::build_or_push(format!("{} built for another platform than was asked for", engine.builder))
                .cause(wrong)
                .hint("does a `FROM` of the Dockerfile name a platform, or an image that has only another one?")
        }
        _ => error,
    })
}

async fn built(
    engine: &Engine,
    build: &Build,
    folder: &Path,
    open: &Open,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Held> {
    let scratch = tempfile::Builder::new()
        .prefix(".writing-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(open.cache.folder())
        .map_err(|error| Error::build_or_push("cannot make a folder for the engine's answers").cause(error))?;
    let id_file = scratch.path().join("id");
    run(&engine.build(build, &id_file, folder)?, on_line).await?;
    let said = std::fs::read_to_string(&id_file).unwrap_or_default();
    let id = said.trim();
    if !digest::is_valid(id) {
        let name = engine.builder;
        return Err(Error::build_or_push(format!("{name} did not say which image it built: its id is {id:?}")).hint(
            format!("`{name} build --iidfile FILE …` must write an id such as sha256:…; is this an old {name}?"),
        ));
    }
    match hold(engine, id, folder, open).await {
        // buildx before July 2026 may write the config's digest where docker's containerd store goes by the manifest's
        Err(error) if error.kind() == Kind::Preflight => match manifest_of(&builders::metadata_file(&id_file)) {
            Some(digest) if digest != id => hold(engine, &digest, folder, open).await,
            _ => Err(error),
        },
        held => held,
    }
}

fn manifest_of(metadata: &Path) -> Option<String> {
    let metadata: Value = serde_json::from_slice(&std::fs::read(metadata).ok()?).ok()?;
    metadata["containerimage.digest"].as_str().filter(|digest| digest::is_valid(digest)).map(str::to_owned)
}
