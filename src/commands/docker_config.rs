//! Docker's client configuration, as far as it says who has the credentials of a registry. Podman, buildah, skopeo and helm
//! read the same file.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::context::Context;
use super::credential_helper::is_name;
use crate::error::{Error, Result};
use crate::registry::docker_config_file;

/// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
pub fn file(context: &Context) -> Result<PathBuf> {
    docker_config_file(&|name| context.variable(name)).ok_or_else(|| {
        Error::input("neither DOCKER_CONFIG nor HOME says where docker's configuration is")
            .hint("set DOCKER_CONFIG to its folder")
    })
}

/// The registries whose credentials steady lends.
pub fn assigned(file: &Path) -> Result<Vec<String>> {
    let config = read(file)?;
    let helpers = config.get("credHelpers").and_then(Value::as_object);
    let ours = helpers.into_iter().flatten().filter(|(_, helper)| helper.as_str().is_some_and(is_name));
    Ok(ours.map(|(host, _)| host.clone()).collect())
}

/// Has clients ask steady, under this name of its, for the credentials of these registries. What another helper had, it has no more; a password
/// that stands in the file for one of them is taken out.
pub fn assign(file: &Path, registries: &[String], helper: &str) -> Result<()> {
    let mut config = read(file)?;
    if let Some(passwords) = config.get_mut("auths").and_then(Value::as_object_mut) {
        for registry in registries {
            passwords.retain(|host, _| host != registry && *host != format!("https://{registry}"));
        }
    }
    let helpers = config.entry("credHelpers").or_insert_with(|| json!({}));
    let helpers = helpers.as_object_mut().ok_or_else(|| malformed(file, "`credHelpers` is no map"))?;
    for registry in registries {
        helpers.insert(registry.clone(), helper.into());
    }
    write(file, &config)
}

/// Takes steady out for these registries, or for all; which those were.
pub fn withdraw(file: &Path, registries: &[String]) -> Result<Vec<String>> {
    let mut withdrawn = assigned(file)?;
    withdrawn.retain(|host| registries.is_empty() || registries.contains(host));
    if withdrawn.is_empty() {
        return Ok(withdrawn);
    }
    let mut config = read(file)?;
    if let Some(helpers) = config.get_mut("credHelpers").and_then(Value::as_object_mut) {
        helpers.retain(|host, _| !withdrawn.contains(host));
        if helpers.is_empty() {
            config.shift_remove("credHelpers");
        }
    }
    write(file, &config)?;
    Ok(withdrawn)
}

/// Puts this executable under a helper's name into a folder; the link.
pub fn link(executable: &Path, folder: &Path, helper: &str) -> Result<PathBuf> {
    let link = folder.join(format!("docker-credential-{helper}"));
    let failed = |error: std::io::Error| {
        Error::other(format!("cannot make {}", link.display()))
            .cause(error)
            .hint("`--bin-dir FOLDER` names a folder on PATH that you can write to")
    };
    if std::fs::canonicalize(&link).ok() == std::fs::canonicalize(executable).ok() && link.exists() {
        return Ok(link);
    }
    std::fs::create_dir_all(folder).map_err(failed)?;
    match std::fs::symlink_metadata(&link) {
        Ok(found) if found.is_symlink() => std::fs::remove_file(&link).map_err(failed)?,
        Ok(_) => return Err(failed(std::io::Error::new(ErrorKind::AlreadyExists, "there is another program"))),
        Err(_) => {}
    }
    symlink(executable, &link).map_err(failed)?;
    Ok(link)
}

fn read(file: &Path) -> Result<Map<String, Value>> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(Error::input(format!("cannot read {}", file.display())).cause(error)),
    };
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    // The parser's own words would quote the line, which may hold a password.
    let whole = serde_json::from_slice::<Value>(&text)
        .map_err(|error| malformed(file, &format!("line {}, column {}", error.line(), error.column())))?;
    match whole {
        Value::Object(config) => Ok(config),
        _ => Err(malformed(file, "it is no map")),
    }
}

fn malformed(file: &Path, why: &str) -> Error {
    Error::input(format!("{} is not a configuration of docker's: {why}", file.display()))
        .hint("mend it, or move it away")
}

/// At once or not at all, and for its owner alone: it may hold passwords.
fn write(file: &Path, config: &Map<String, Value>) -> Result<()> {
    // Through a link that leads to it, as in a folder of dotfiles.
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(Path::new("."));
    let failed = |error: std::io::Error| Error::other(format!("cannot write {}", file.display())).cause(error);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let mut written = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let text = serde_json::to_string_pretty(config).map_err(|error| failed(error.into()))?;
    written.write_all(text.as_bytes()).and_then(|()| written.write_all(b"\n")).map_err(failed)?;
    written.as_file().set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    written.persist(&file).map(drop).map_err(|error| failed(error.error))
}
