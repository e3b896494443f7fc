//! Image strings and ARNs as people paste them: what no registry and no account can be called.
//!
//! This looks for mistakes in a document; the typed reference that a push needs is `image`'s.

use std::ops::Range;

use super::placeholder;

/// What is wrong with a text that was pasted somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pasted {
    /// Bytes of the text that was looked at.
    pub part: Range<usize>,
    pub message: String,
    pub hint: String,
}

fn problem_at(part: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> Option<Pasted> {
    Some(Pasted { part, message: message.into(), hint: hint.into() })
}

/// A placeholder that was left in place, or an image name that cannot be one.
pub fn pasted_image(text: &str) -> Option<Pasted> {
    left_in_place(text).or_else(|| problem(text))
}

/// A placeholder that was left in place, or an ARN that cannot be one.
pub fn pasted(text: &str) -> Option<Pasted> {
    left_in_place(text).or_else(|| arn_problem(text))
}

fn left_in_place(text: &str) -> Option<Pasted> {
    let left = placeholder::find(text)?;
    problem_at(left.part.clone(), format!("the placeholder {:?} is still there", &text[left.part]), left.hint)
}

/// The first thing that is wrong with an image string.
pub(super) fn problem(text: &str) -> Option<Pasted> {
    let whole = 0..text.len();
    if text.is_empty() {
        return problem_at(whole, "an empty image name", "write registry/repository:tag");
    }
    if let Some(at) = text.find(char::is_whitespace) {
        let meant: String = text.split_whitespace().collect();
        return problem_at(at..at + 1, format!("a blank in the image name {text:?}"), format!("write {meant:?}"));
    }
    if let Some(at) = text.find("://") {
        let rest = &text[at + 3..];
        return problem_at(0..at + 3, "an image name has no scheme", format!("write {rest:?}"));
    }
    if let Some(at) = text.find('$') {
        let hint = "nothing expands it here: write {{env.NAME}} in a template named *.hbs";
        return problem_at(at..text.len(), format!("a shell variable in the image name {text:?}"), hint);
    }
    let (named, digest) = text.split_once('@').map_or((text, None), |(named, digest)| (named, Some(digest)));
    if let Some(digest) = digest {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            let hint = "a digest is sha256: and 64 lower-case hexadecimal digits";
            return problem_at(named.len() + 1..text.len(), format!("{digest:?} is not a digest"), hint);
        }
    }
    let host = match named.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        None if is_ecr_like(named) => {
            let hint = "put the repository's name after it: …amazonaws.com/NAME:TAG";
            return problem_at(whole, format!("{named:?} is a registry without a repository"), hint);
        }
        _ => "",
    };
    if is_ecr_like(host)
        && let Some(problem) = ecr_host_problem(host, &text[host.len()..])
    {
        return Some(problem);
    }
    let path_start = if host.is_empty() { 0 } else { host.len() + 1 };
    let path = &named[path_start..];
    let (repository, tag) = path.rsplit_once(':').map_or((path, None), |(path, tag)| (path, Some(tag)));
    let span = path_start..path_start + repository.len();
    if repository.is_empty() || repository.split('/').any(str::is_empty) {
        return problem_at(span, format!("{text:?} has an empty part"), "write registry/repository:tag");
    }
    if repository.contains(|c: char| c.is_ascii_uppercase()) {
        let meant = format!("{}{}{}", &text[..path_start], repository.to_lowercase(), &text[span.end..]);
        return problem_at(span, format!("capitals in the repository name {repository:?}"), format!("write {meant:?}"));
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-' | '/');
    if let Some((at, odd)) = repository.char_indices().find(|(_, c)| !fits(*c)) {
        let hint = "a repository name has a-z, 0-9, and . _ - / between them";
        let part = path_start + at..path_start + at + odd.len_utf8();
        return problem_at(part, format!("{odd:?} in the repository name {repository:?}"), hint);
    }
    let tag_fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match tag {
        Some(tag) if tag.is_empty() || tag.len() > 128 || !tag.chars().all(tag_fits) || tag.starts_with(['.', '-']) => {
            let hint = "a tag has 1 to 128 letters, digits, and . _ -, and starts with none of . and -";
            problem_at(span.end..named.len(), format!("{tag:?} cannot be a tag"), hint)
        }
        _ => None,
    }
}

/// An account id or region in an ARN that cannot be one. `None` for what is no ARN.
pub(super) fn arn_problem(text: &str) -> Option<Pasted> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", _, service, region, account, _] = parts[..] else { return None };
    let region_start = text.len() - text.split_once(service)?.1.len() + 1;
    let account_start = region_start + region.len() + 1;
    if !region.is_empty()
        && !is_region(region)
        && let Some(meant) = region_within(region)
    {
        let part = region_start..region_start + region.len();
        return problem_at(part, format!("{region:?} is not a region"), format!("did you mean {meant:?}?"));
    }
    if !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit()) && account.len() != 12 {
        return problem_at(
            account_start..account_start + account.len(),
            account_length(account),
            account_hint(account),
        );
    }
    None
}

fn account_length(account: &str) -> String {
    format!("an AWS account id has 12 digits, {account} has {}", account.len())
}

fn account_hint(account: &str) -> String {
    if account.len() < 12 {
        format!("if leading zeros were lost, it is {account:0>12}; aws sts get-caller-identity shows yours")
    } else {
        "aws sts get-caller-identity shows yours".to_owned()
    }
}

fn is_ecr_like(host: &str) -> bool {
    let host = host.to_lowercase();
    let host = host.split(':').next().unwrap_or_default();
    host != "public.ecr.aws"
        && (host.contains("dkr") || host.contains("ecr"))
        && (host.contains("amazon") || host.contains("aws") || host.starts_with(|c: char| c.is_ascii_digit()))
}

/// Suffixes of ECR hosts in AWS's partitions.
const SUFFIXES: [&str; 8] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "on.aws",
    "on.amazonwebservices.com.cn",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
];

fn ecr_host_problem(host: &str, rest: &str) -> Option<Pasted> {
    let labels: Vec<&str> = host.split('.').collect();
    let (account, service, after) = match labels[..] {
        [account, "dkr", service @ ("ecr" | "ecr-fips"), ..] => (account, service, 3),
        [account, service @ ("dkr-ecr" | "dkr-ecr-fips"), ..] => (account, service, 2),
        _ => (labels[0], "", 0),
    };
    let digits = account.bytes().all(|byte| byte.is_ascii_digit());
    let region = labels.get(after).copied().unwrap_or_default();
    let suffix = labels.get(after + 1..).unwrap_or_default().join(".");
    if digits && !service.is_empty() && is_region(region) && SUFFIXES.contains(&suffix.as_str()) {
        return (account.len() != 12)
            .then(|| problem_at(0..account.len(), account_length(account), account_hint(account)))
            .flatten();
    }
    let meant_account = match account {
        account if digits && account.len() == 12 => account,
        _ => "<account>",
    };
    let meant_region =
        region_within(host.strip_prefix(account).unwrap_or(host)).unwrap_or_else(|| "<region>".to_owned());
    let what = if digits { "is not a registry of ECR" } else { "names no account and is not a registry of ECR" };
    problem_at(
        0..host.len(),
        format!("{host:?} {what}"),
        format!("write \"{meant_account}.dkr.ecr.{meant_region}.amazonaws.com{rest}\""),
    )
}

fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [area, middle @ .., number] = &parts[..] else { return false };
    (2..=4).contains(&area.len())
        && !middle.is_empty()
        && [&[*area], middle]
            .concat()
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase()))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The region that was meant: `us-west-2` in `dkr.ecrus-west-2` and in `us-west2`.
fn region_within(text: &str) -> Option<String> {
    const DIRECTIONS: [&str; 9] =
        ["northeast", "northwest", "southeast", "southwest", "north", "south", "east", "west", "central"];
    const AREAS: [&str; 10] = ["us", "eu", "ap", "sa", "ca", "me", "af", "il", "mx", "cn"];
    let text = text.to_lowercase();
    let (at, direction) = DIRECTIONS.iter().find_map(|direction| Some((text.find(direction)?, *direction)))?;
    let before = text[..at].trim_end_matches(['-', '_', '.']);
    let (before, gov) = before.strip_suffix("gov").map_or((before, ""), |before| (before, "gov-"));
    let area = AREAS.iter().find(|area| before.trim_end_matches(['-', '_', '.']).ends_with(**area))?;
    let after = text[at + direction.len()..].trim_start_matches(['-', '_', '.']);
    let number: String = after.chars().take_while(char::is_ascii_digit).collect();
    (!number.is_empty()).then(|| format!("{area}-{gov}{direction}-{number}"))
}
