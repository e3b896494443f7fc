//! CONTRACT (helper L4)
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogsState {
    pub lines: Vec<(String, String, i64, String)>,
}
pub fn append(state: &mut super::state::State, group: &str, stream: &str, lines: Vec<(i64, String)>) {
    state.logs.lines.extend(lines.into_iter().map(|(at, line)| (group.to_owned(), stream.to_owned(), at, line)));
}
