//! From a document to a revision: the identical one that is there, or a new one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::event::{Event, Events, ResourceAction};
use super::render::Facts;
use super::service::decide;
use super::service::throttled::Throttled;
use crate::aws::failure::Reach;
use crate::aws::reply::{self, list, number, text};
use crate::aws::{Clients, Failure};
use crate::document::{self, Values};
use crate::error::{Kind, Result};

pub const FINGERPRINT_TAG: &str = "steady:fingerprint";
pub const RELEASE_TAG: &str = "steady:release";

/// So many of a family's newest revisions are looked at. A run that was stopped leaves its revision among these.
const LOOKED_AT: usize = 10;

/// A revision that can be deployed.
#[derive(Debug, Clone)]
pub struct Registered {
    pub arn: String,
    pub family: String,
    pub revision: i64,
    /// It was there already.
    pub reused: bool,
    /// As DescribeTaskDefinition has it.
    pub task_definition: Value,
}

impl Registered {
    pub fn detail(&self) -> String {
        format!("{}:{}{}", self.family, self.revision, if self.reused { " (unchanged)" } else { "" })
    }

    pub(super) fn of(reply: &Value, reused: bool) -> Self {
        let task_definition = reply["taskDefinition"].clone();
        Registered {
            arn: text(&task_definition, "taskDefinitionArn").to_owned(),
            family: text(&task_definition, "family").to_owned(),
            revision: number(&task_definition, "revision"),
            reused,
            task_definition,
        }
    }
}

/// What is to be registered, as it is known again.
pub struct Sought<'a> {
    input: &'a Value,
    fingerprint: String,
}

impl<'a> Sought<'a> {
    pub fn new(input: &'a Value) -> Self {
        Sought { input, fingerprint: document::fingerprint(input) }
    }

    fn family(&self) -> &'a str {
        text(self.input, "family")
    }
}

/// Registers `input` unless an ACTIVE revision that says the same exists: the service's own, or one of the family's
/// newest.
pub async fn register(
    input: &Value,
    facts: &Facts,
    clients: &Clients,
    events: &Events,
    live: Option<&Value>,
) -> Result<Registered> {
    let sought = Sought::new(input);
    let own = live.map(decide::running);
    let newest = match look(&sought, own, clients).await? {
        Look::Found(found) => return Ok(found),
        Look::Newest(newest) => newest,
    };
    let input = tagged(input, &sought.fingerprint, &facts.release);
    let mut throttled = Throttled::new(Instant::now() + THROTTLED_FOR);
    let mut attempt: u32 = 0;
    loop {
        match clients.register_task_definition(input.clone()).await {
            Ok(reply) => {
                let registered = Registered::of(&reply, false);
                if let Some(twin) = twin(&registered, newest, &sought, clients).await? {
                    return Ok(twin);
                }
                let id = format!("{}:{}", registered.family, registered.revision);
                events.emit(Event::Resource { action: ResourceAction::Created, kind: "task definition".into(), id });
                return Ok(registered);
            }
            Err(failure) if failure.is_concurrent_revision() || failure.is_throttled() => {
                throttled.wait(failure, events).await?;
                // The other attempt may have been this very input.
                if let Some(found) = find(&sought, own, clients).await? {
                    return Ok(found);
                }
            }
            // It may have been done: read back before sending it again.
            Err(failure) if failure.reach == Reach::Unknown && attempt + 1 < MAX_ATTEMPTS => {
                attempt += 1;
                events.warn(format!("{failure}; looking whether it was registered all the same"), None);
                if let Some(found) = find_in_time(&sought, own, clients).await? {
                    return Ok(Registered { reused: false, ..found });
                }
            }
            // Credentials are resolved anew.
            Err(failure) if failure.is_expired() && attempt == 0 => attempt += 1,
            Err(failure) => return Err(explained(failure)),
        }
    }
}

const MAX_ATTEMPTS: u32 = 4;

/// AWS refills one registration a second: a crowd of deploys gets through within this.
const THROTTLED_FOR: Duration = Duration::from_secs(300);

fn explained(failure: Failure) -> crate::error::Error {
    match failure.reach {
        Reach::Refused if !failure.is_denied() && !failure.is_expired() => {
            failure.error(Kind::Input).hint("ECS refuses this task definition; `steady render` shows it as it is sent")
        }
        _ => failure.error(Kind::Other),
    }
}

/// ECS lists are eventually consistent: what was registered a moment ago may not be in them yet.
async fn find_in_time(sought: &Sought<'_>, own: Option<&str>, clients: &Clients) -> Result<Option<Registered>> {
    for wait in [0, 150, 400, 1000] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if let Some(found) = find(sought, own, clients).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

pub(super) async fn find(sought: &Sought<'_>, own: Option<&str>, clients: &Clients) -> Result<Option<Registered>> {
    match look(sought, own, clients).await? {
        Look::Found(found) => Ok(Some(found)),
        Look::Newest(_) => Ok(None),
    }
}

enum Look {
    Found(Registered),
    /// There is none; the number of the family's newest revision, 0 when it has none.
    Newest(i64),
}

async fn look(sought: &Sought<'_>, own: Option<&str>, clients: &Clients) -> Result<Look> {
    let family = sought.family();
    // The service's own revision answers most deploys that change nothing, in one call.
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        let reply = describe(own, clients).await?;
        if let Some(reply) = reply.filter(|reply| matches(reply, sought)) {
            return Ok(Look::Found(Registered::of(&reply, true)));
        }
    }
    // A description by family name shows a new revision before the list does.
    let (listed, newest) = tokio::join!(
        clients.list_task_definitions(json!({
            "familyPrefix": family, "status": "ACTIVE", "sort": "DESC", "maxResults": LOOKED_AT,
        })),
        describe(family, clients),
    );
    let newest = newest?;
    let mut arns = reply::texts(&listed?, "taskDefinitionArns");
    let described = |reply: &Value| text(&reply["taskDefinition"], "taskDefinitionArn").to_owned();
    arns.retain(|arn| newest.as_ref().is_none_or(|newest| described(newest) != *arn) && Some(arn.as_str()) != own);
    let others = futures_util::future::try_join_all(arns.iter().map(|arn| describe(arn, clients))).await?;
    let candidates: Vec<Value> = newest.into_iter().chain(others.into_iter().flatten()).collect();
    let number = candidates.iter().map(|reply| number(&reply["taskDefinition"], "revision")).max();
    Ok(match matching(&candidates, sought) {
        Some(reply) => Look::Found(Registered::of(reply, true)),
        None => Look::Newest(number.unwrap_or_default()),
    })
}

/// RegisterTaskDefinition has no client token, and another run may have registered the same input at the same time.
/// Numbers tell: of such twins the first is taken by all, and the others are taken back.
async fn twin(ours: &Registered, newest: i64, sought: &Sought<'_>, clients: &Clients) -> Result<Option<Registered>> {
    let first = (newest + 1).max(ours.revision - LOOKED_AT as i64);
    for revision in first..ours.revision {
        let reply = describe(&format!("{}:{revision}", ours.family), clients).await?;
        if let Some(reply) = reply.filter(|reply| matches(reply, sought)) {
            // Where this is not allowed there is one revision more, and no harm done.
            let _ = clients.deregister_task_definition(json!({ "taskDefinition": ours.arn })).await;
            return Ok(Some(Registered::of(&reply, true)));
        }
    }
    Ok(None)
}

/// The first of these replies of DescribeTaskDefinition that can be deployed instead of a new revision. Not the newest:
/// of two runs' twins that one is about to be taken back.
pub fn matching<'a>(replies: &'a [Value], sought: &Sought<'_>) -> Option<&'a Value> {
    let fits = replies.iter().filter(|reply| matches(reply, sought));
    fits.min_by_key(|reply| number(&reply["taskDefinition"], "revision"))
}

/// Whether a revision is what would be registered: from the same input by its tag, or, whoever registered it, with
/// nothing in it that differs. An INACTIVE one cannot be deployed again.
pub(super) fn matches(reply: &Value, sought: &Sought<'_>) -> bool {
    let task_definition = &reply["taskDefinition"];
    text(task_definition, "family") == sought.family()
        && text(task_definition, "status") == "ACTIVE"
        && (reply::tag(list(reply, "tags"), FINGERPRINT_TAG) == Some(&*sought.fingerprint)
            || document::diff(&described(reply), sought.input, Values::Shown).is_empty())
}

/// A reply of DescribeTaskDefinition as one document, with its tags in it.
pub(super) fn described(reply: &Value) -> Value {
    let mut document = reply["taskDefinition"].clone();
    if let Some(members) = document.as_object_mut() {
        members.insert("tags".to_owned(), reply["tags"].clone());
    }
    document
}

/// The revision with its tags; `None` when there is none.
pub async fn describe(task_definition: &str, clients: &Clients) -> Result<Option<Value>, Failure> {
    let input = json!({ "taskDefinition": task_definition, "include": ["TAGS"] });
    match clients.describe_task_definition(input).await {
        Ok(reply) => Ok(Some(reply)),
        // "Unable to describe task definition."
        Err(failure) if failure.reach == Reach::Refused && failure.is("ClientException") => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The input with what a later run needs to know in its tags, beside the user's own.
pub fn tagged(input: &Value, fingerprint: &str, release: &str) -> Value {
    let mut tags: Vec<Value> = list(input, "tags")
        .iter()
        .filter(|tag| ![FINGERPRINT_TAG, RELEASE_TAG].contains(&text(tag, "key")))
        .cloned()
        .collect();
    tags.push(json!({ "key": FINGERPRINT_TAG, "value": fingerprint }));
    tags.push(json!({ "key": RELEASE_TAG, "value": tag_value(release) }));
    let mut input = input.clone();
    input["tags"] = Value::Array(tags);
    input
}

/// The text as a tag may hold it: 256 characters of those that AWS allows.
fn tag_value(text: &str) -> String {
    let allowed = |c: char| c.is_alphanumeric() || " +-=._:/@".contains(c);
    text.chars().take(256).map(|c| if allowed(c) { c } else { '_' }).collect()
}
