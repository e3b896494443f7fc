//! What tutorials write where the reader's own value belongs.

use std::ops::Range;

pub(super) struct Placeholder {
    /// Bytes of the text that was looked at.
    pub part: Range<usize>,
    pub hint: &'static str,
}

const ACCOUNT: &str =
    "put your 12-digit account id there, or {{account_id}} in a template (aws sts get-caller-identity shows it)";
const REPOSITORY: &str = "put the repository's URI there, such as 123456789012.dkr.ecr.us-west-2.amazonaws.com/NAME, or {{image}} in a template";
const SERVICE: &str = "put the service's own id there (aws servicediscovery list-services shows it)";
const OTHER: &str = "put your own value there, or a {{variable}} in a template";
const TAG: &str = "name the file *.hbs to have it filled in";

/// Capitals, as the words stand in tutorials, and what belongs there.
const WORDS: [(&str, &str); 21] = [
    ("ACCOUNTID", ACCOUNT),
    ("ACCOUNT-ID", ACCOUNT),
    ("ACCOUNT_ID", ACCOUNT),
    ("ACCOUNT_NUMBER", ACCOUNT),
    ("ACCOUNTNUMBER", ACCOUNT),
    ("AWS_ACCOUNT_ID", ACCOUNT),
    ("AWSACCOUNTID", ACCOUNT),
    ("AWS-ACCOUNT-ID", ACCOUNT),
    ("MYACCOUNTID", ACCOUNT),
    ("MYACCOUNTNUMBER", ACCOUNT),
    ("YOURACCOUNTID", ACCOUNT),
    ("REPOSITORY-URI", REPOSITORY),
    ("REPOSITORY_URI", REPOSITORY),
    ("REPOSITORYURI", REPOSITORY),
    ("MYSERVICENUMBER", SERVICE),
    ("CHANGEME", OTHER),
    ("CHANGE_ME", OTHER),
    ("CHANGE-ME", OTHER),
    ("REPLACEME", OTHER),
    ("REPLACE_ME", OTHER),
    ("REPLACE-ME", OTHER),
];

/// The first placeholder in a text.
pub(super) fn find(text: &str) -> Option<Placeholder> {
    capitals(text).or_else(|| lower_case(text)).or_else(|| brackets(text)).or_else(|| tag(text))
}

/// The first that cannot be anything else, in a program's own text, where brackets may be HTML.
pub(super) fn find_in_free_text(text: &str) -> Option<Placeholder> {
    capitals(text)
}

fn capitals(text: &str) -> Option<Placeholder> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let mut at = 0;
    for run in text.split(|c: char| !is_part(c)) {
        let start = at + (run.len() - run.trim_start_matches(|c: char| !c.is_ascii_uppercase()).len());
        let end = at + run.trim_end_matches(['-', '_']).len();
        at += run.len();
        at += text[at..].chars().next().map_or(0, char::len_utf8);
        if start >= end {
            continue;
        }
        let word = &text[start..end];
        let hint = WORDS.iter().find(|(known, _)| *known == word).map(|(_, hint)| *hint).or_else(|| {
            let rest = word.strip_prefix("YOUR-").or_else(|| word.strip_prefix("YOUR_"))?;
            Some(if rest.contains("ACCOUNT") {
                ACCOUNT
            } else if rest.contains("REPO") || rest.contains("IMAGE") {
                REPOSITORY
            } else {
                OTHER
            })
        });
        if let Some(hint) = hint {
            return Some(Placeholder { part: start..end, hint });
        }
    }
    None
}

/// As the ECR documentation writes its hosts.
fn lower_case(text: &str) -> Option<Placeholder> {
    let word = "aws_account_id";
    text.find(word).map(|start| Placeholder { part: start..start + word.len(), hint: ACCOUNT })
}

/// `<account-id>`
fn brackets(text: &str) -> Option<Placeholder> {
    let start = text.find('<')?;
    let length = text[start..].find('>')?;
    let inner = &text[start + 1..start + length];
    let words = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ' ' | '.');
    if inner.is_empty() || !inner.chars().all(words) {
        return None;
    }
    let hint = if inner.to_lowercase().contains("account") { ACCOUNT } else { OTHER };
    Some(Placeholder { part: start..start + length + 1, hint })
}

/// `{{image}}` in a file that is no template. Docker's `{{.Name}}` is none of ours.
fn tag(text: &str) -> Option<Placeholder> {
    let start = text.find("{{").filter(|start| text[start + 2..].starts_with(|c: char| c.is_alphanumeric()))?;
    let end = text[start..].find("}}").map(|end| start + end + 2)?;
    Some(Placeholder { part: start..end, hint: TAG })
}
