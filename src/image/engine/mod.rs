//! Programs that build: docker and others that take a Dockerfile, and a build's own `run` command.

mod builders;
mod held;
mod named;
mod process;

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
