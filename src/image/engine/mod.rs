//! Programs that build: docker and others that take a Dockerfile, and a build's own `run` command.

mod builders;
mod process;

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::{Built, Draft, Open, archive, digest};
use crate::error::{Error, Kind, Result};
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
        .tempdir_in(open.cache.folder())
        .map_err(|error| Error::build_or_push("cannot make a folder for the engine's image").cause(error))?;
    let scratch = Arc::new(scratch);
    let wrong = match built(engine, build, folder, open, &scratch, on_line).await {
        // What does not fit what was asked for is for another platform.
        Err(error) if error.kind() == Kind::Input && build.platform.is_some() && !build.no_cache => error,
        ended => return ended,
    };
    // Docker's classic builder and podman 4 take layers from their cache that they built for another platform.
    on_line(&format!("{} took what it built for another platform from its cache: again without it", engine.builder));
    let again = Build { no_cache: true, ..build.clone() };
    built(engine, &again, folder, open, &scratch, on_line).await.map_err(|error| match error.kind() {
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
    scratch: &Arc<TempDir>,
    on_line: &mut (dyn FnMut(&str) + Send),
) -> Result<Built> {
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
    let path = scratch.path().join(if build.no_cache { "again.tar" } else { "image.tar" });
    run(&engine.save(id, &path, folder), on_line).await?;
    let (open, scratch) = (open.clone(), Arc::clone(scratch));
    let opened = tokio::task::spawn_blocking(move || {
        Ok(match archive::draft(&path, &open)? {
            Built::Draft(draft) => Built::Draft(Draft { scratch: Some(scratch), ..draft }),
            // Blobs that still point into the archive must outlive it.
            built => Built::Image(open.cache.take_in(built.settled()?)?),
        })
    });
    opened.await.map_err(|error| Error::build_or_push("reading the engine's image failed").cause(error))?
}
