//! Values as people read them.

use std::time::Duration;

use super::choose::Style;

/// `84ms`, `2.1s`, `1m05s`.
pub fn duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds {
        0..1_000 => format!("{milliseconds}ms"),
        1_000..60_000 => format!("{}.{}s", milliseconds / 1_000, milliseconds % 1_000 / 100),
        _ => format!("{}m{:02}s", milliseconds / 60_000, milliseconds % 60_000 / 1_000),
    }
}

/// Seconds to go, as exactly as one can know: `7s`, `25s`, `2m15s`, `34m`.
pub fn about(seconds: u64) -> String {
    let up = |to: u64| seconds.div_ceil(to) * to;
    match seconds {
        0..10 => format!("{}s", seconds.max(1)),
        10..60 => duration_of(up(5)),
        60..600 => duration_of(up(15)),
        600..36_000 => format!("{}m", up(60) / 60),
        _ => format!("{}h", up(3600) / 3600),
    }
}

fn duration_of(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{:02}s", seconds / 60, seconds % 60) }
}

/// `312 B`, `1.2 KiB`, `40.0 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// The first 12 hexadecimal digits of a digest, as docker shows it.
pub fn digest(digest: &str) -> &str {
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

/// The first 8 digits of a task's id, of its ARN too.
pub fn task(id: &str) -> &str {
    let id = id.rsplit('/').next().unwrap_or(id);
    id.get(..8).unwrap_or(id)
}

/// What an ARN ends in: `family:7` of a revision, the name of a target group.
pub fn short_arn(arn: &str) -> &str {
    if !arn.starts_with("arn:") {
        return arn;
    }
    if arn.contains(":targetgroup/") {
        return arn.split('/').nth(1).unwrap_or(arn);
    }
    arn.rsplit('/').next().unwrap_or(arn)
}

/// A message with the ids in it as short as they can be told apart: ARNs of ECS and ELB, task ids, digests.
pub fn shorter(text: &str) -> String {
    let edge = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | ';' | '@' | '[' | ']' | '"' | '`');
    let hex = |word: &str, digits: usize| word.len() == digits && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut shorter = String::with_capacity(text.len());
    for part in text.split_inclusive(edge) {
        let word = part.trim_end_matches(edge);
        let (id, stop) = match word.strip_suffix('.') {
            Some(id) => (id, "."),
            None => (word.strip_suffix(':').unwrap_or(word), if word.ends_with(':') { ":" } else { "" }),
        };
        match id {
            arn if arn.starts_with("arn:") && [":ecs:", ":elasticloadbalancing:"].iter().any(|of| arn.contains(of)) => {
                shorter.push_str(short_arn(arn));
            }
            id if hex(id, 32) => shorter.push_str(task(id)),
            id if id.strip_prefix("sha256:").is_some_and(|digits| hex(digits, 64)) => shorter.push_str(digest(id)),
            id => shorter.push_str(id),
        }
        shorter.push_str(stop);
        shorter.push_str(&part[word.len()..]);
    }
    shorter
}

/// `exit code 137 (SIGKILL)`.
pub fn exit_code(code: i64) -> String {
    let signal = match code {
        132 => " (SIGILL)",
        134 => " (SIGABRT)",
        135 => " (SIGBUS)",
        136 => " (SIGFPE)",
        137 => " (SIGKILL)",
        139 => " (SIGSEGV)",
        143 => " (SIGTERM)",
        _ => "",
    };
    format!("exit code {code}{signal}")
}

/// `IN_PROGRESS` and `inProgress` as `in progress`.
pub fn status(status: &str) -> String {
    if status.contains(|c: char| c.is_lowercase()) {
        return camel(status);
    }
    status.replace('_', " ").to_lowercase()
}

/// `taskDefinition` as `task definition`.
pub fn camel(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

#[derive(Debug, Clone, Copy)]
pub enum Tone {
    Good,
    Bad,
    Warning,
    Quiet,
    Strong,
}

pub fn toned(text: &str, tone: Tone, style: Style) -> String {
    if !style.color {
        return text.to_owned();
    }
    let toned = console::Style::new().force_styling(true);
    let toned = match tone {
        Tone::Good => toned.green(),
        Tone::Bad => toned.red(),
        Tone::Warning => toned.yellow(),
        Tone::Quiet => toned.dim(),
        Tone::Strong => toned.bold(),
    };
    toned.apply_to(text).to_string()
}
