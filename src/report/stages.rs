//! Deployments that shift traffic, and the hooks that hold them, in words.

use super::escape;
use super::words;
use crate::deploy::event::Event;

/// A pause that waits for an answer: worth saying even to who asked for no progress.
pub fn is_pause(event: &Event) -> bool {
    matches!(event, Event::Hook { status, .. } if status == "AWAITING_ACTION")
}

/// `canary: production traffic shift, 10 % of traffic (100 % of test traffic), 2 new and 2 old tasks, 15m to bake`
pub fn stage(event: &Event) -> Option<String> {
    let Event::Stage { strategy, stage, production_traffic, test_traffic, new_tasks, old_tasks, bakes_ms } = event
    else {
        return None;
    };
    let word = |text: &str| escape::line(&words::status(text)).into_owned();
    let mut text = word(stage);
    if !strategy.is_empty() {
        text = format!("{}: {text}", word(strategy).replace("blue green", "blue/green"));
    }
    if let Some(share) = production_traffic {
        text += &format!(", {share} % of traffic");
        text += &test_traffic.map_or(String::new(), |test| format!(" ({test} % of test traffic)"));
    }
    text += &format!(", {new_tasks} new and {old_tasks} old task{}", if *old_tasks == 1 { "" } else { "s" });
    if let Some(left) = bakes_ms.filter(|left| *left > 0) {
        text += &format!(", {} to bake", words::about(left / 1000));
    }
    Some(text)
}

/// A hook's state, and below it what to do about a pause.
pub fn hook(event: &Event) -> Option<(String, Vec<String>)> {
    let Event::Hook { kind, target, stage, status, hints, .. } = event else { return None };
    let at = if stage.is_empty() { String::new() } else { format!(" at {}", escape::line(stage)) };
    if !is_pause(event) {
        let of = target.as_ref().map_or_else(|| words::status(&escape::line(kind)), |of| escape::line(of).into_owned());
        return Some((format!("hook {of}{at}: {}", words::status(&escape::line(status))), Vec::new()));
    }
    let below = hints.iter().map(|hint| escape::line(hint).into_owned()).collect();
    Some((format!("paused{at}, and waits for an answer"), below))
}
