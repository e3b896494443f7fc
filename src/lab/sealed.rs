//! Text that nobody is to see who did not ask for it: values of parameters and secrets.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Is what it holds to its owner and to the state file, which only the lab's user may read; nothing to `{:?}`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    pub fn new(text: impl Into<String>) -> Self {
        Sealed(text.into())
    }

    pub fn open(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}
