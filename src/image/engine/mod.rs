//! Programs that build: docker and others that take a Dockerfile, and a build's own `run` command.

mod builders;
mod process;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use super::{Built, Draft, Open, archive, digest};
use crate::error::{Error, Result};
pub use builders::{Build, Builder, Engine, Secret, choose, choose_among};
pub use process::{Command, answers, run, shell};

/// Builds with an engine and opens what it built, for `open.platform`. Output goes to `on_line`, line by line.
///
/// # Errors
/// `BuildOrPush` when the build fails, with its last lines.
pub async fn image(
    engine: &Engine,
    build: &Build,
    folder: &Path,
    open: &Open,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Built> {
    let scratch = tempfile::Builder::new()
        .prefix(".writing-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(open.cache.folder())
        .map_err(|error| Error::build_or_push("cannot make a folder for the engine's image").cause(error))?;
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
    let path = scratch.path().join("image.tar");
    run(&engine.save(id, &path, folder), on_line).await?;
    let open = open.clone();
    let opened = tokio::task::spawn_blocking(move || {
        Ok(match archive::draft(&path, &open)? {
            Built::Draft(draft) => Built::Draft(Draft { scratch: Some(Arc::new(scratch)), ..draft }),
            // Blobs that still point into the archive must outlive it.
            built => Built::Image(open.cache.take_in(built.settled()?)?),
        })
    });
    opened.await.map_err(|error| Error::build_or_push("reading the engine's image failed").cause(error))?
}
