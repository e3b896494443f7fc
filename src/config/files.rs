//! Files that the project file names.

use std::path::Path;

use super::decode::Reader;
use super::node::Node;
use crate::error::{Error, SourceText, nearest};
use crate::image::engine;

const MAX_BYTES: u64 = 8 << 20;

/// Reads a file named at `node`, relative to the project's folder; what is wrong is noted there.
pub fn read(reader: &Reader, node: &Node, path: &str) -> Option<SourceText> {
    let file = reader.folder.join(path);
    match content(&file) {
        Ok(text) => Some(SourceText::new(shown(&reader.source.name, path), text)),
        Err(why) => {
            let error = Error::input(format!("cannot read `{path}`: {why}"));
            let error = match neighbour(&file) {
                Some(name) => error.hint(format!("did you mean `{}`?", Path::new(path).with_file_name(name).display())),
                None => error.hint(format!("it is looked for at {}", file.display())),
            };
            reader.note(&node.span, None, error);
            None
        }
    }
}

/// The text of a file, or why there is none.
pub fn content(file: &Path) -> std::result::Result<String, String> {
    let size = std::fs::metadata(file).map_err(|error| error.to_string())?;
    if size.is_dir() {
        return Err("it is a folder".to_owned());
    }
    if size.len() > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let text =
        String::from_utf8(bytes).map_err(|error| format!("byte {} is not UTF-8", error.utf8_error().valid_up_to()))?;
    // Windows' editors write a byte order mark, which means nothing in UTF-8.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// A path as a person would type it from where the project file's own path was typed.
pub fn shown(project_file: &str, path: &str) -> String {
    match Path::new(project_file).parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) if Path::new(path).is_relative() => folder.join(path).display().to_string(),
        _ => path.to_owned(),
    }
}

fn neighbour(file: &Path) -> Option<String> {
    let wanted = file.file_name()?.to_str()?;
    let names: Vec<String> = std::fs::read_dir(file.parent()?)
        .ok()?
        .take(1_000)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != wanted)
        .collect();
    nearest(wanted, names.iter().map(String::as_str)).map(str::to_owned)
}

/// `text` as an absolute path when it names a file or looks like one, else as it is: a reference, an engine's image, or
/// `-` for stdin.
/// The file need not exist, because a build's `run` may be what makes it.
pub fn path_or_reference(folder: &Path, text: &str) -> String {
    if is_elsewhere(text) {
        return text.to_owned();
    }
    let looks_like_path = text.starts_with(['.', '/'])
        || [".tar", ".tar.gz", ".tgz", ".tar.zst"].iter().any(|suffix| text.ends_with(suffix))
        || folder.join(text).exists();
    if looks_like_path { folder.join(text).display().to_string() } else { text.to_owned() }
}

/// Whether `text` names an image in a registry.
pub fn is_reference(folder: &Path, text: &str) -> bool {
    !is_elsewhere(text) && !Path::new(&path_or_reference(folder, text)).is_absolute()
}

fn is_elsewhere(text: &str) -> bool {
    text == "-" || engine::is_named(text)
}
