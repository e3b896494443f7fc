//! One fault, as a person writes it down.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::{self, BALANCER, REGISTRY, SCHEDULER};
use crate::aws_model::{self, Shape};
use crate::error::nearest;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The answer of a service that is asked too often.
    Throttle,
    /// An error of the service's own, 500 unless it is named.
    Error,
    /// The answer comes later.
    Delay,
    /// No answer comes.
    Stall,
    /// The connection ends, and nothing was done.
    DropBefore,
    /// All is done, and the connection ends without an answer.
    DropAfter,
    /// The credentials, or the registry's token, have expired.
    ExpireToken,
    /// What the registry says of a digest, or gives for it, does not match.
    WrongDigest,
    /// The container instances and Spot capacity are gone, with their tasks, and Fargate has no room.
    LoseCapacity,
    /// Spot capacity is taken back, with the tasks on it.
    InterruptSpot,
    /// No task finds a place.
    FailPlacement,
    /// Images take longer to come.
    SlowPull,
    /// Targets fail their health checks, then pass them, and so on.
    FlappingHealth,
}

impl Kind {
    pub const ALL: [(&'static str, Kind); 13] = [
        ("throttle", Kind::Throttle),
        ("error", Kind::Error),
        ("delay", Kind::Delay),
        ("stall", Kind::Stall),
        ("drop-before", Kind::DropBefore),
        ("drop-after", Kind::DropAfter),
        ("expire-token", Kind::ExpireToken),
        ("wrong-digest", Kind::WrongDigest),
        ("lose-capacity", Kind::LoseCapacity),
        ("interrupt-spot", Kind::InterruptSpot),
        ("fail-placement", Kind::FailPlacement),
        ("slow-pull", Kind::SlowPull),
        ("flapping-health", Kind::FlappingHealth),
    ];

    pub fn name(self) -> &'static str {
        Kind::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    fn scope(self) -> Scope {
        match self {
            Kind::WrongDigest => Scope::Registry,
            Kind::LoseCapacity | Kind::FailPlacement => Scope::Event("scheduler:PlaceTask"),
            Kind::InterruptSpot => Scope::Event("scheduler:InterruptTask"),
            Kind::SlowPull => Scope::Event("scheduler:PullImage"),
            Kind::FlappingHealth => Scope::Event("balancer:CheckHealth"),
            _ => Scope::Requests,
        }
    }
}

/// What faults of a kind can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Any request.
    Requests,
    /// The registry's requests.
    Registry,
    /// What the lab does without a request.
    Event(&'static str),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// `ecs:UpdateService`, `ecr:*`, `registry:PutManifest`, …
    pub on: String,
    pub kind: Kind,
    /// How long a request waits, a pull takes, capacity is gone, or a target stays in one state.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none", with = "humantime_text")]
    pub lasts: Option<Duration>,
    /// Of an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// It strikes so often, then no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// It lets so many pass at first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub after: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What cannot be meant, in which member, and perhaps what was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub member: &'static str,
    pub message: String,
    pub hint: Option<String>,
}

impl Fault {
    /// Without `on` a fault is about all that its kind can be about.
    pub fn new(kind: Kind, on: Option<String>) -> Fault {
        let usual = match kind.scope() {
            Scope::Requests if kind == Kind::ExpireToken => "registry:*",
            Scope::Requests => "*",
            Scope::Registry => "registry:*",
            Scope::Event(name) => name,
        };
        let on = on.unwrap_or_else(|| usual.to_owned());
        let (lasts, code, message, status, count, probability, seed) = (None, None, None, None, None, None, None);
        Fault { on, kind, lasts, code, message, status, count, after: 0, probability, seed }
    }

    pub fn lasts(&self) -> Option<Duration> {
        self.lasts
    }

    pub(super) fn is_about(&self, service: &str, operation: &str) -> bool {
        names::means(&self.on, service, operation)
    }

    /// HTTP status of an error with this code, as the service's model has it.
    pub fn declared_status(service: &str, code: &str) -> Option<u16> {
        let model = names::service(service)?.model();
        model.shapes().find_map(|(name, shape)| match shape {
            Shape::Structure(structure) => match &structure.error {
                Some((declared, status)) if declared == code || (declared.is_empty() && name == code) => Some(*status),
                _ => None,
            },
            _ => None,
        })
    }

    /// # Errors
    /// What in it cannot be meant.
    pub fn check(&self) -> Result<(), Mistake> {
        self.check_place()?;
        self.check_members()?;
        self.check_code()
    }

    fn check_place(&self) -> Result<(), Mistake> {
        let wrong = |message: String, hint: Option<String>| Err(Mistake { member: "on", message, hint });
        let kind = self.kind.name();
        let Some((service, operation)) = self.on.split_once(':') else {
            return match (&*self.on, self.kind.scope()) {
                ("*", Scope::Requests) => Ok(()),
                _ => wrong(
                    format!("`{}` names no service and operation", self.on),
                    Some("write it as ecs:UpdateService, ecr:* or registry:PutManifest".to_owned()),
                ),
            };
        };
        if !names::services().any(|known| known == service) {
            let known: Vec<&str> = names::services().collect();
            let hint = match nearest(service, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}:{operation}`?"),
                None => format!("services are {}", known.join(", ")),
            };
            return wrong(format!("the lab has no service `{service}`"), Some(hint));
        }
        let operations = names::operations(service);
        if !operations.iter().any(|known| names::means(&self.on, service, known)) {
            let hint = nearest(operation, operations.iter().copied())
                .map(|meant| format!("did you mean `{service}:{meant}`?"));
            return wrong(format!("{service} has no operation `{operation}`"), hint);
        }
        let fits = match self.kind.scope() {
            Scope::Requests => service != SCHEDULER && service != BALANCER,
            Scope::Registry => service == REGISTRY,
            Scope::Event(name) => name.split_once(':').is_some_and(|(of, event)| names::means(&self.on, of, event)),
        };
        if fits {
            return Ok(());
        }
        let hint = match self.kind.scope() {
            Scope::Requests => "it is for requests".to_owned(),
            Scope::Registry => "it is for the registry's requests, such as registry:PutManifest".to_owned(),
            Scope::Event(name) => format!("it is for {name}; `on` can be left out"),
        };
        wrong(format!("{kind} cannot be on `{}`", self.on), Some(hint))
    }

    fn check_members(&self) -> Result<(), Mistake> {
        let wrong = |member, message: String| Err(Mistake { member, message, hint: None });
        let kind = self.kind.name();
        let lasting = [Kind::LoseCapacity, Kind::InterruptSpot, Kind::FlappingHealth].contains(&self.kind);
        let takes_time = lasting || [Kind::Delay, Kind::SlowPull].contains(&self.kind);
        match self.lasts {
            None if [Kind::Delay, Kind::SlowPull].contains(&self.kind) => {
                return wrong("for", format!("{kind} needs `for`, how long"));
            }
            Some(_) if !takes_time => return wrong("for", format!("{kind} takes no `for`")),
            _ => {}
        }
        if self.kind != Kind::Error {
            let given =
                [("code", self.code.is_some()), ("message", self.message.is_some()), ("status", self.status.is_some())];
            if let Some((member, _)) = given.into_iter().find(|(_, given)| *given) {
                return wrong(member, format!("{kind} takes no `{member}`; `error` does"));
            }
        }
        if self.status.is_some_and(|status| !(400..=599).contains(&status)) {
            return wrong("status", "an error's `status` is between 400 and 599".to_owned());
        }
        if lasting {
            let given = [
                // so many tasks are interrupted, and others start at once
                ("count", self.count.is_some() && self.kind != Kind::InterruptSpot),
                ("after", self.after > 0),
                ("probability", self.probability.is_some()),
            ];
            if let Some((member, _)) = given.into_iter().find(|(_, given)| *given) {
                return wrong(member, format!("{kind} lasts until it is cleared, and takes no `{member}`"));
            }
        }
        if self.count == Some(0) {
            return wrong("count", "`count` is 1 or more".to_owned());
        }
        if self.probability.is_some_and(|probability| !(0.0..=1.0).contains(&probability)) {
            return wrong("probability", "`probability` is between 0 and 1".to_owned());
        }
        if self.seed.is_some() && self.probability.is_none() {
            return wrong("seed", "`seed` goes with `probability`".to_owned());
        }
        Ok(())
    }

    /// A code is the service's own, or one that all services have.
    fn check_code(&self) -> Result<(), Mistake> {
        const COMMON: [&str; 10] = [
            "AccessDeniedException",
            "ExpiredTokenException",
            "InternalFailure",
            "InternalError",
            "RequestLimitExceeded",
            "ServiceUnavailable",
            "Throttling",
            "ThrottlingException",
            "UnrecognizedClientException",
            "ValidationError",
        ];
        let named = self.on.split_once(':').and_then(|(of, operation)| Some((names::service(of)?, operation)));
        let (Some(code), Some((service, operation))) = (&self.code, named) else { return Ok(()) };
        let Some(operation) = aws_model::operation(service, operation) else { return Ok(()) };
        let declared: Vec<&str> = operation.errors.iter().map(|shape| code_of(service, shape)).collect();
        if declared.is_empty() || declared.contains(&code.as_str()) || COMMON.contains(&code.as_str()) {
            return Ok(());
        }
        let hint = match nearest(code, declared.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("it declares {}", declared.join(", ")),
        };
        Err(Mistake { member: "code", message: format!("{} declares no error `{code}`", self.on), hint: Some(hint) })
    }
}

fn code_of(service: aws_model::Service, shape: &'static str) -> &'static str {
    match aws_model::shape(service, shape) {
        Some(Shape::Structure(structure)) => match &structure.error {
            Some((code, _)) if !code.is_empty() => code,
            _ => shape,
        },
        _ => shape,
    }
}

/// `1m 30s`.
mod humantime_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.collect_str(&humantime::format_duration(*duration)),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| humantime::parse_duration(&text).map_err(D::Error::custom)).transpose()
    }
}
