//! The file in which all processes of a test run count the lab's replies; they are started with no other environment.

use std::ffi::OsString;

/// For the environment of a process that a test starts.
pub fn counted() -> Option<(&'static str, OsString)> {
    std::env::var_os("STEADY_LAB_REPLIES").map(|file| ("STEADY_LAB_REPLIES", file))
}
