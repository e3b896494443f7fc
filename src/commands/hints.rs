//! Hints as this run gives them: a command that they name acts where this one acted.

use crate::deploy::event::{Event, Step};
use crate::error::{Error, Kind};
use crate::report::Seen;

/// A hint whose commands carry this run's own `flags`, so that what is pasted reaches the same project, account and
/// service, and what was rehearsed is not done to AWS. `steady init` gets the run's `folder` alone.
pub fn with_flags(hint: &str, flags: &str, folder: &str) -> String {
    let mut parts: Vec<String> = hint.split('`').map(str::to_owned).collect();
    let of_aws = parts.iter().skip(1).step_by(2).any(|part| part.starts_with("aws "));
    // every second part is between backticks
    for part in parts.iter_mut().skip(1).step_by(2) {
        let verb = part.strip_prefix("steady ").map(|rest| rest.split(' ').next().unwrap_or_default());
        match verb {
            None | Some("lab" | "completions" | "--help") => {}
            Some("init") => part.push_str(folder),
            Some(_) => part.push_str(flags),
        }
    }
    let hint = parts.join("`");
    match of_aws && flags.split(' ').any(|flag| flag == "--lab") {
        true => format!("{hint} (in the lab: after `eval \"$(steady lab env)\"`)"),
        false => hint,
    }
}

/// The same for what an event says to type next.
pub(super) fn of_event(mut event: Event, flags: &str, folder: &str) -> Event {
    match &mut event {
        Event::Hook { hints, .. } => hints.iter_mut().for_each(|hint| *hint = with_flags(hint, flags, folder)),
        Event::Warning { hint: Some(hint), .. } => *hint = with_flags(hint, flags, folder),
        _ => {}
    }
    event
}

/// An interruption or a deadline with what goes on without us, and the command that takes it up again; `deletes` is
/// that command when it was a deletion.
pub fn with_resume(error: Error, seen: Seen, deletes: Option<&str>) -> Error {
    let interrupted = matches!(error.kind(), Kind::Interrupted(_));
    let goes_on = interrupted || matches!(error.kind(), Kind::DeadlinePassed | Kind::Paused);
    let after = seen.leaves_after && seen.service_changed && goes_on;
    let error = resumed(error, seen, deletes, interrupted);
    match after {
        true => error.hint("the same command again follows it too, and then runs what is `after` it"),
        false => error,
    }
}

fn resumed(error: Error, seen: Seen, deletes: Option<&str>, interrupted: bool) -> Error {
    if !interrupted && error.kind() != Kind::DeadlinePassed {
        return error;
    }
    match (seen.last_step, deletes) {
        // It has said itself what becomes of its task.
        (Some(Step::Run), _) => error,
        (Some(_), Some(again)) => error.hint(format!("what was deleted stays deleted; `{again}` goes on")),
        _ if interrupted && !error.hints().is_empty() => error,
        _ if !interrupted && error.hints().iter().any(|hint| hint.contains("`steady wait`")) => error,
        _ if !interrupted => error.hint("the rollout goes on at AWS; `steady wait` follows it"),
        (None, _) => error,
        (Some(Step::Before), _) if seen.runs_task => error
            .hint("the service is untouched; the task that runs before it goes on at AWS, and the same command again follows it"),
        (Some(Step::Before), _) => error
            .hint("the service is untouched; what ran before it was ended with this, and runs again with the same command"),
        (Some(Step::After), _) => error
            .hint("the release is steady; the same command again runs what comes after it")
            .hint("`steady rollback` goes back to the release before"),
        _ if seen.service_created => error
            .hint("the rollout goes on at AWS; `steady wait` follows it")
            .hint("it is the first release: `steady delete --yes` takes it away again"),
        _ if seen.service_changed => error
            .hint("the rollout goes on at AWS; `steady wait` follows it")
            .hint("`steady rollback` goes back to the release before"),
        (Some(Step::Service), _) => error
            .hint("the service may have been changed already; `steady status` tells")
            .hint("the same command again finds out and goes on from there"),
        (Some(_), _) => error.hint("the service is untouched; the same command again goes on from what is done"),
    }
}
