//! What AWS is known to say: the lists of `facts/lab.md`, as patterns. A word in braces stands for what is another one
//! each time; see [`matches`].

/// Where a text is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Where {
    Event,
    /// `rolloutStateReason` of a deployment.
    Rollout,
    /// `stopCode` and `stoppedReason` of a task.
    Stopped,
    /// `reason` of a container, with its exit code where it has one.
    Container,
    /// `status` of a service deployment, with its `statusReason` where it has one.
    Deployment,
    /// A service deployment's circuit breaker or alarms.
    Monitor,
    /// Code and message of an error.
    Error,
}

use Where::{Container, Deployment, Error, Event, Monitor, Rollout, Stopped};

const NO_ROOM: &str = "was unable to place a task because no container instance met all of its requirements.";
const SEE: &str = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.";

pub const NO_CAPACITY: &str = "(service {name}) was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in a different availability zone. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.";

/// All of them; each has to be caused.
pub fn facts() -> Vec<(Where, String)> {
    let mut facts: Vec<(Where, String)> = PLAIN.iter().map(|(place, text)| (*place, (*text).to_owned())).collect();
    for why in [
        "Reason: No Container Instances were found in your cluster.",
        "The closest matching (container-instance {id}) has insufficient CPU units available.",
        "The closest matching (container-instance {id}) has insufficient memory available.",
        "The closest matching (container-instance {id}) is already using a port required by your task.",
    ] {
        facts.push((Event, format!("(service {{name}}) {NO_ROOM} {why} {SEE}")));
    }
    facts.push((Event, format!("(service {{name}}) is unable to consistently start tasks successfully. {SEE}")));
    facts
}

const PLAIN: &[(Where, &str)] = &[
    // Event texts
    (Event, "(service {name}) has started {n} tasks: {tasks}."),
    (
        Event,
        "(service {name}) has started {n} tasks: {tasks}. Amazon ECS replaced {n} tasks due to an unhealthy status.",
    ),
    (Event, "(service {name}) registered {n} targets in (target-group {group})"),
    (Event, "(service {name}) deregistered {n} targets in (target-group {group})"),
    (Event, "(service {name}) has begun draining connections on {n} tasks."),
    (Event, "(service {name}) has stopped {n} running tasks: {tasks}."),
    (Event, "(service {name}) stopped {n} pending tasks."),
    (Event, "(service {name}) (deployment {deployment}) deployment completed."),
    (Event, "(service {name}) has reached a steady state."),
    (
        Event,
        "(service {name}) (task {id}) (port {n}) is unhealthy in (target-group {group}) due to (reason Health checks failed with these codes: [503]).",
    ),
    (
        Event,
        "(service {name}) (instance {instance}) (port {n}) is unhealthy in (target-group {group}) due to (reason Health checks failed with these codes: [503]).",
    ),
    (
        Event,
        "(service {name}) (instance {instance}) (port {n}) is unhealthy in (target-group {group}) due to (reason Request timed out).",
    ),
    (Event, "(service {name}) (task {id}) failed container health checks."),
    (Event, "(service {name}) (deployment {deployment}) deployment failed: tasks failed to start."),
    (Event, "(service {name}) (deployment {deployment}) deployment failed: alarm detected."),
    (Event, "(service {name}) rolling back to deployment {deployment}."),
    (
        Event,
        "(service {name}) was unable to place a task. Reason: CannotPullContainerError: pull image manifest has been retried 7 time(s): failed to resolve ref {rest}: not found.",
    ),
    // Deployments
    (Rollout, "ECS deployment {deployment} in progress."),
    (Rollout, "ECS deployment {deployment} completed."),
    (Rollout, "ECS deployment circuit breaker: tasks failed to start."),
    (Rollout, "ECS deployment circuit breaker: rolling back to deploymentId {deployment}."),
    (Deployment, "PENDING"),
    (Deployment, "IN_PROGRESS"),
    (Deployment, "SUCCESSFUL"),
    (Deployment, "STOPPED: Service deployment stopped because of a user request."),
    (Deployment, "ROLLBACK_IN_PROGRESS: Service deployment rolled back because of a user request."),
    (Deployment, "ROLLBACK_SUCCESSFUL: Service deployment rolled back because of a user request."),
    (
        Deployment,
        "ROLLBACK_SUCCESSFUL: Service deployment rolled back because the circuit breaker threshold was exceeded.",
    ),
    (Deployment, "ROLLBACK_FAILED: No rollback candidate was found to run the rollback."),
    (Monitor, "deploymentCircuitBreaker DISABLED"),
    (Monitor, "deploymentCircuitBreaker MONITORING"),
    (Monitor, "deploymentCircuitBreaker MONITORING_COMPLETE"),
    (Monitor, "deploymentCircuitBreaker TRIGGERED"),
    (Monitor, "alarms DISABLED"),
    (Monitor, "alarms MONITORING"),
    (Monitor, "alarms MONITORING_COMPLETE"),
    (Monitor, "alarms TRIGGERED"),
    // Tasks and targets
    (Stopped, "ServiceSchedulerInitiated: Scaling activity initiated by (deployment {deployment})"),
    (Stopped, "ServiceSchedulerInitiated: Task failed ELB health checks in (target-group {group})"),
    (Stopped, "ServiceSchedulerInitiated: Task failed container health checks"),
    (Stopped, "EssentialContainerExited: Essential container in task exited"),
    (Stopped, "UserInitiated: {rest}"),
    (Stopped, "TaskFailedToStart: Task failed to start"),
    (Stopped, "TaskFailedToStart: CannotPullContainerError: {rest}"),
    (Stopped, "TaskFailedToStart: ResourceInitializationError: {rest}"),
    (Stopped, "SpotInterruption: Your Spot Task was interrupted."),
    (Stopped, "TerminationNotice: {rest}"),
    (Container, "CannotPullContainerError: {rest}"),
    (Container, "137: OutOfMemoryError: Container killed due to memory usage"),
    // Errors and rules
    (Error, "ClientException: TaskDefinition is inactive"),
    (Error, "InvalidParameterException: TaskDefinition is inactive"),
    (Error, "InvalidParameterException: Creation of service was not idempotent."),
    (
        Error,
        "InvalidParameterException: The target group with targetGroupArn {group} does not have an associated load balancer.",
    ),
    (
        Error,
        "ClientException: Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be specified.",
    ),
    (Error, "ClientException: Fargate requires that 'cpu' be defined at the task level."),
    (Error, "ClientException: Fargate requires that 'memory' be defined at the task level."),
    (Error, "ClientException: No Fargate configuration exists for given values{rest}"),
    (Error, "failure: MISSING"),
];

/// What the lab says beside these. None of it is in the facts: by analogy, or from AWS's guide.
pub const OTHERS: &[(Where, &str)] = &[
    (Rollout, "ECS deployment alarm: alarm detected."),
    (Rollout, "ECS deployment alarm: rolling back to deploymentId {deployment}."),
    (Rollout, "Service deployment stopped by user."),
    (Rollout, "Service deployment stopped by user: rolling back to deploymentId {deployment}."),
    (Deployment, "ROLLBACK_REQUESTED"),
    (Deployment, "ROLLBACK_IN_PROGRESS: Service deployment rolled back because {rest}"),
    (Deployment, "ROLLBACK_SUCCESSFUL: Service deployment rolled back because one or more alarms were triggered."),
    (Deployment, "STOPPED: A newer service deployment replaced this one."),
    (Deployment, "STOPPED: The service was deleted."),
    (Deployment, "STOP_REQUESTED"),
    (Stopped, "ServiceSchedulerInitiated: Service was deleted"),
    (Event, "(service {name}) was unable to place a task. Reason: ResourceInitializationError: {rest}."),
    (Event, NO_CAPACITY),
];

/// Whether a text is what a pattern says.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((literal, rest)) = pattern.split_once('{') else { return pattern == text };
    let (Some(text), Some((word, rest))) = (text.strip_prefix(literal), rest.split_once('}')) else { return false };
    (1..=text.len())
        .rev()
        .any(|end| text.is_char_boundary(end) && stands_for(word, &text[..end]) && matches(rest, &text[end..]))
}

fn stands_for(word: &str, text: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_id = |text: &str| text.len() == 32 && hex(text);
    match word {
        "n" => digits(text),
        "id" => is_id(text),
        "tasks" => text.split(") (").all(|one| {
            is_id(one.trim_start_matches('(').trim_end_matches(')').strip_prefix("task ").unwrap_or_default())
        }),
        "group" => text
            .strip_prefix("arn:aws:elasticloadbalancing:")
            .is_some_and(|rest| rest.contains(":targetgroup/") && !rest.contains(['(', ')', ' '])),
        "deployment" => text.strip_prefix("ecs-svc/").is_some_and(|rest| rest.len() == 19 && digits(rest)),
        "instance" => text.strip_prefix("i-").is_some_and(|rest| rest.len() == 17 && hex(rest)),
        "name" => text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
        "rest" => true,
        _ => panic!("no pattern has {word}"),
    }
}

#[test]
fn patterns_take_what_they_say_and_nothing_else() {
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    let started = "(service {name}) has started {n} tasks: {tasks}.";
    let table = [
        (started, format!("(service web) has started 2 tasks: (task {a}) (task {b})."), true),
        (started, format!("(service web) has started two tasks: (task {a})."), false),
        (started, format!("(service web) has started 2 tasks: (task {a}) (instance {b})."), false),
        (started, format!("(service web) has started 1 tasks: (task {a}). And more."), false),
        ("x {deployment}.", "x ecs-svc/1234567890123456789.".into(), true),
        ("x {deployment}.", "x ecs-svc/123.".into(), false),
        ("x {rest}", "x ".into(), false),
        ("x", "x".into(), true),
    ];
    for (pattern, text, expected) in table {
        assert_eq!(matches(pattern, &text), expected, "{pattern}: {text}");
    }
    for (at, (_, pattern)) in facts().iter().enumerate() {
        assert!(facts()[..at].iter().all(|(_, other)| other != pattern), "{pattern} is there twice");
    }
}
