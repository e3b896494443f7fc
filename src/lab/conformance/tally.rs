//! How many replies were held to the models: a line for each in a file that all processes of a test run share.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;

use crate::aws_model::Service;

/// The file. `.ci/run` sets it and sums it up.
const VARIABLE: &str = "STEADY_LAB_REPLIES";

pub(super) fn add(service: Service, operation: &str, outcome: &str) {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let path = std::env::var_os(VARIABLE)?;
        OpenOptions::new().append(true).open(path).ok()
    });
    if let Some(mut file) = file.as_ref() {
        // One write, so that lines of other processes do not get between.
        let _ = file.write_all(format!("{service:?} {operation} {outcome}\n").as_bytes());
    }
}
