//! The page, with what identifies this task filled in.

use std::{env, fs, io};

/// Relative to the working directory, which is the image's root.
pub const PATH: &str = "public/index.html";

pub fn load() -> io::Result<String> {
    let mut page = fs::read_to_string(PATH)?;
    for (placeholder, value) in [
        ("{{release}}", env::var("RELEASE").unwrap_or_else(|_| "unnamed".to_owned())),
        ("{{digest}}", env::var("IMAGE_DIGEST").unwrap_or_else(|_| "unknown".to_owned())),
        ("{{task}}", task()),
    ] {
        page = page.replace(placeholder, &escape(&value));
    }
    Ok(page)
}

/// The task's id from the metadata endpoint's address (`…/v4/<task id>-<number>`), else the host name.
fn task() -> String {
    env::var("ECS_CONTAINER_METADATA_URI_V4")
        .ok()
        .and_then(|uri| uri.rsplit('/').next().map(|id| id.split('-').next().unwrap_or(id).to_owned()))
        .or_else(|| env::var("HOSTNAME").ok())
        .or_else(|| fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned()))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
