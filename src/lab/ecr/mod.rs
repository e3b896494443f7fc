//! CONTRACT (helper L1)
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EcrState {}
pub fn resolve_image(
    _state: &super::state::State,
    _settings: &super::Settings,
    reference: &str,
) -> Result<super::runtime::ImageSource, String> {
    Err(format!(
        "CannotPullContainerError: pull image manifest has been retried 7 time(s): failed to resolve ref {reference}: not found"
    ))
}
