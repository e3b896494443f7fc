//! What the page shows, as JSON. Values of environment variables never leave the lab: they may be secrets.

mod balancing;
mod clusters;
mod images;
mod logs;
mod service;
mod task;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::lab::{Lab, Settings, state::State, wire::without_nulls};

pub use logs::Tail;

/// What somebody looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    what: What,
    /// With the last lines of its containers' logs.
    with_logs: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Clusters,
    Cluster { name: String },
    Service { cluster: String, name: String },
    Task { cluster: String, id: String },
    TargetGroups,
    TargetGroup { name: String },
    Repositories,
    Repository { name: String },
}

/// What a view is made of.
struct Scope<'a> {
    state: &'a State,
    settings: &'a Settings,
}

impl View {
    /// By its path, such as `clusters/default/services/web`, with names percent-encoded.
    pub fn parse(path: &str, with_logs: bool) -> Option<View> {
        let segments: Option<Vec<String>> =
            path.split('/').map(|one| Some(percent_decode_str(one).decode_utf8().ok()?.into_owned())).collect();
        let segments = segments?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let what = match segments[..] {
            ["clusters"] => What::Clusters,
            ["clusters", name] => What::Cluster { name: name.into() },
            ["clusters", cluster, "services", name] => What::Service { cluster: cluster.into(), name: name.into() },
            ["clusters", cluster, "tasks", id] => What::Task { cluster: cluster.into(), id: id.into() },
            ["target-groups"] => What::TargetGroups,
            ["target-groups", name] => What::TargetGroup { name: name.into() },
            ["repositories"] => What::Repositories,
            ["repositories", name] => What::Repository { name: name.into() },
            _ => return None,
        };
        Some(View { what, with_logs })
    }

    /// None when there is no such thing, or no longer.
    pub fn show(&self, lab: &Lab) -> Option<Value> {
        let mut shown = lab.read(|state| {
            let scope = Scope { state, settings: &lab.settings };
            match &self.what {
                What::Clusters => Some(clusters::all(&scope)),
                What::Cluster { name } => clusters::one(&scope, name),
                What::Service { cluster, name } => service::view(&scope, cluster, name),
                What::Task { cluster, id } => task::view(&scope, cluster, id),
                What::TargetGroups => Some(balancing::all(&scope)),
                What::TargetGroup { name } => balancing::one(&scope, name),
                What::Repositories => Some(images::all(&scope)),
                What::Repository { name } => images::one(&scope, name),
            }
        })?;
        without_nulls(&mut shown);
        Some(shown)
    }

    /// The log's lines since the last time, where they are wanted and there are any.
    pub fn lines(&self, lab: &Lab, tail: &mut Tail) -> Option<Value> {
        if !self.with_logs {
            return None;
        }
        lab.read(|state| {
            let tasks = match &self.what {
                What::Service { cluster, name } => logs::of_service(state, cluster, name),
                What::Task { cluster, id } => logs::of_task(state, cluster, id),
                _ => return None,
            };
            tail.next(state, &tasks)
        })
    }
}

/// Epoch milliseconds as all views write times: as the APIs do, in seconds.
fn seconds(milliseconds: i64) -> Value {
    serde_json::json!(milliseconds as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_view() {
        let is = |what| Some(View { what, with_logs: false });
        let service = |cluster: &str, name: &str| What::Service { cluster: cluster.into(), name: name.into() };
        let table = [
            ("clusters", is(What::Clusters)),
            ("clusters/default", is(What::Cluster { name: "default".into() })),
            ("clusters/a%2Fb/services/%3Cb%3E", is(service("a/b", "<b>"))),
            ("clusters/default/tasks/0123", is(What::Task { cluster: "default".into(), id: "0123".into() })),
            ("target-groups", is(What::TargetGroups)),
            ("target-groups/web", is(What::TargetGroup { name: "web".into() })),
            ("repositories", is(What::Repositories)),
            ("repositories/team%2Fweb", is(What::Repository { name: "team/web".into() })),
            ("repositories/team/web", None),
            ("clusters/default/services", None),
            ("clusters/default/services/web/", None),
            ("clusters/%FF", None),
            ("state.json", None),
            ("", None),
        ];
        for (path, view) in table {
            assert_eq!(View::parse(path, false), view, "{path}");
        }
        assert!(View::parse("clusters", true).unwrap().with_logs);
    }
}
