//! What is known of how releases fail, and what to do about it: a sentence for each. Pure: table-tested.

/// What is known of a failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts<'a> {
    /// Stopped reasons, container reasons and service events, as AWS worded them.
    pub said: &'a [String],
    /// Reason codes of targets that are not healthy, with their descriptions.
    pub targets: &'a [String],
    /// Exit codes of the containers that ended the tasks.
    pub exit_codes: &'a [i64],
    /// The last lines of their logs.
    pub lines: &'a [String],
}

/// Most sentences that a failure is worth.
const MOST: usize = 2;

/// A cause: where it shows, words of which any is there, words of which one has to be there as well, and the advice.
struct Known {
    shows: Shows,
    any: &'static [&'static str],
    and: &'static [&'static str],
    advice: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    Said,
    Targets,
    Lines,
    /// In either of these.
    SaidOrLines,
}

use Shows::{Lines, Said, SaidOrLines, Targets};

const fn known(
    shows: Shows,
    any: &'static [&'static str],
    and: &'static [&'static str],
    advice: &'static str,
) -> Known {
    Known { shows, any, and, advice }
}

const NO_ROUTE: &[&str] =
    &["timeout", "timed out", "deadline exceeded", "dial tcp", "no such host", "send request failed"];
const DENIED: &[&str] = &["denied", "not authorized", "403", "no basic auth", "unauthorized", "401"];
const PULL: &[&str] = &["cannotpullcontainer", "cannotpullimagemanifest", "pull image", "registry auth"];
const SECRET: &[&str] = &["secret", "ssm", "asm", "parameter"];

const ROUTE_ADVICE: &str = "the task has no way to it: give its subnets a route (a NAT gateway, or VPC endpoints for ecr.api, \
     ecr.dkr, s3, logs and secretsmanager), or `assign_public_ip: true` in a public subnet";

/// In this order: what is more precise comes first.
const KNOWN: &[Known] = &[
    known(
        SaidOrLines,
        &[
            "exec format error",
            "does not contain descriptor matching platform",
            "no matching manifest",
            "no match for platform",
        ],
        &[],
        "the image is for another CPU than the task runs on: build it for the task definition's `runtimePlatform` \
         (`platforms:` in steady.yaml), or correct `cpuArchitecture` there",
    ),
    known(
        Said,
        PULL,
        &["toomanyrequests", "rate limit", "429"],
        "the registry limits anonymous pulls: bring the image to ECR (`steady mirror`) and name it there",
    ),
    known(
        Said,
        &["no space left on device"],
        &[],
        "the disk is full: give the task more `ephemeralStorage`, or the container instance a larger volume",
    ),
    known(
        Said,
        &["efs", "mount.nfs", "failed to invoke efs"],
        &["mount", "resourceinitializationerror"],
        "the file system cannot be mounted: its security group has to admit port 2049 from the tasks, in each of their zones",
    ),
    known(Said, &["resourceinitializationerror", "cannotpullcontainer", "registry auth"], NO_ROUTE, ROUTE_ADVICE),
    known(
        Said,
        SECRET,
        &["accessdenied", "access denied", "not authorized"],
        "the task's execution role may not read a secret: allow it `secretsmanager:GetSecretValue` or `ssm:GetParameters` on it \
         (and `kms:Decrypt` for a key of your own)",
    ),
    known(
        Said,
        SECRET,
        &["resourcenotfound", "can't find", "not found", "invalid ssm parameters", "invalid parameters"],
        "a secret that the task definition names does not exist (any more): create it, or correct its ARN below `secrets`",
    ),
    known(
        Said,
        &["resourceinitializationerror", "cannotstartcontainer", "logger"],
        &["log group", "log stream", "awslogs"],
        "the log group cannot be used: create it, or set `awslogs-create-group` and allow the execution role \
         `logs:CreateLogGroup`, `logs:CreateLogStream` and `logs:PutLogEvents`",
    ),
    known(
        Said,
        PULL,
        &["not found", "manifest unknown", "does not exist"],
        "the image is not in its repository (any more): a lifecycle policy or somebody deleted it; push it again",
    ),
    known(
        Said,
        PULL,
        DENIED,
        "the task may not pull the image: allow its execution role `ecr:GetAuthorizationToken`, `ecr:BatchGetImage` and \
         `ecr:GetDownloadUrlForLayer`; for another account also in the repository's policy",
    ),
    known(
        Said,
        &["unable to assume", "assume the role", "assume role"],
        &[],
        "ECS may not take the role: its trust policy has to name `ecs-tasks.amazonaws.com`",
    ),
    known(
        Said,
        &["outofmemory", "out of memory", "oomkilled"],
        &[],
        "the container needs more memory than it may have: raise its `memory` (or the task's), or limit its heap",
    ),
    known(
        Lines,
        &["out of memory", "java.lang.outofmemoryerror", "heap out of memory", "cannot allocate memory"],
        &[],
        "the program ran out of memory: raise the container's `memory` (or the task's), or limit its heap",
    ),
    known(
        Lines,
        &["address already in use", "eaddrinuse", "address in use"],
        &[],
        "the port is taken: two containers of the task listen on the same one, or with the network mode `host` another task does",
    ),
    known(
        Said,
        &["port is already allocated", "already using a port"],
        &[],
        "the host port is taken on the instance: let ECS choose one (`\"hostPort\": 0`), or let the old task stop first \
         (`minimumHealthyPercent: 0`, `maximumPercent: 100`)",
    ),
    known(
        SaidOrLines,
        &["executable file not found", "no such file or directory"],
        &["exec", "starting container process", "entrypoint", "cannotstartcontainer"],
        "the image has no such program: correct `command`, `entryPoint` or the image; a program that is linked dynamically also \
         needs its loader and libraries in it",
    ),
    known(
        SaidOrLines,
        &["permission denied"],
        &["exec", "starting container process", "cannotstartcontainer"],
        "the program may not be executed: give its layer `mode: \"0755\"`, or `chmod +x` it in the Dockerfile",
    ),
    known(
        Said,
        &["no container instances were found", "no container instances registered"],
        &[],
        "the cluster has no container instance: register one, give the service a capacity provider, or use `launch_type: FARGATE`",
    ),
    known(
        Said,
        &["capacity is unavailable at this time"],
        &[],
        "AWS has no room for it in these zones now: add subnets in others, or FARGATE beside FARGATE_SPOT; trying again later helps, too",
    ),
    known(
        Said,
        &["insufficient cpu", "insufficient memory", "insufficient gpu", "has insufficient"],
        &[],
        "no instance has so much left: add one, ask for less `cpu` and `memory`, or let an old task stop first \
         (a lower `minimumHealthyPercent`)",
    ),
    known(
        Said,
        &["missing an attribute", "doesn't have the agent connected", "agent is disconnected", "error \"agent\""],
        &[],
        "no instance can do what the task asks for: update its ECS agent, or see `requiresAttributes` of the task definition",
    ),
    known(
        Said,
        &["limit on the number of tasks", "limit on the number of vcpus", "vcpu limit"],
        &[],
        "the account's quota is reached: have it raised in Service Quotas, or run less meanwhile",
    ),
    known(
        Said,
        &["placement constraint", "memberof constraint", "distinctinstance"],
        &[],
        "the placement constraints leave no instance: loosen them, or add an instance that they allow",
    ),
    known(
        Targets,
        &["codes: [404]"],
        &[],
        "the health check's path is not there in this release: correct `health_check: { path }`, or have the program answer it",
    ),
    known(
        Targets,
        &["codes: [301]", "codes: [302]", "codes: [307]", "codes: [308]"],
        &[],
        "the health check is redirected: give it the path that answers 200, or allow the code in `health_check: { matcher }`",
    ),
    known(
        Targets,
        &["codes: [401]", "codes: [403]"],
        &[],
        "the health check is refused: give it a path that needs no login; it sends the address as `Host`",
    ),
    known(Targets, &["codes: [5"], &[], "the program itself answers the health check with an error: its log says why"),
    known(
        Targets,
        &["target.timeout", "request timed out", "target.failedhealthchecks"],
        &[],
        "nothing answers the health check: the program has to listen on 0.0.0.0 and the container's port, the security group has \
         to admit the load balancer, and `healthCheckGracePeriodSeconds` has to cover its start",
    ),
    known(
        Targets,
        &["target.notinuse"],
        &[],
        "the load balancer does not use the target group or the target's zone: attach it to a listener, and enable the zone",
    ),
    known(
        Said,
        &["failed container health checks"],
        &[],
        "the container's own `healthCheck` fails: its command has to be in the image (`curl` often is not), and `startPeriod` has \
         to cover the start",
    ),
    known(
        Said,
        &["unable to stop or start tasks during a deployment"],
        &[],
        "the percents leave no task that may stop or start: lower `minimumHealthyPercent`, or raise `maximumPercent`",
    ),
];

/// At most two sentences, the more precise first.
pub fn of(facts: &Facts<'_>) -> Vec<&'static str> {
    let [said, targets, lines] = [facts.said, facts.targets, facts.lines].map(|texts| {
        let lower = |text: &String| text.to_lowercase();
        texts.iter().map(lower).collect::<Vec<String>>()
    });
    let holds = |texts: &[String], known: &Known| {
        texts.iter().any(|text| {
            let has = |word: &&str| text.contains(word);
            known.any.iter().any(&has) && (known.and.is_empty() || known.and.iter().any(has))
        })
    };
    let shows = |known: &&Known| match known.shows {
        Said => holds(&said, known),
        Targets => holds(&targets, known) || holds(&said, known),
        Lines => holds(&lines, known),
        SaidOrLines => holds(&said, known) || holds(&lines, known),
    };
    let mut advice: Vec<&'static str> = KNOWN.iter().filter(shows).map(|known| known.advice).take(MOST).collect();
    if advice.is_empty() {
        advice.extend(facts.exit_codes.iter().find_map(|code| by_exit_code(*code)));
    }
    advice
}

/// What an exit code alone tells.
fn by_exit_code(code: i64) -> Option<&'static str> {
    Some(match code {
        0 => {
            "a service's container has to keep running: start the server in the foreground; what ends by itself is a job, for \
             `steady run` or a container that is not `essential`"
        }
        126 => "the command cannot be executed: see its mode and its first line (`#!`)",
        127 => "the command was not found: correct `command` or `entryPoint`, or put the program into the image",
        137 => {
            "it was killed: most often for its memory (raise `memory`), else because it did not end within `stopTimeout` of its \
             SIGTERM"
        }
        139 => "it crashed (SIGSEGV): often a library of another libc or CPU than the image's",
        255 => "perhaps the image is for another CPU than the task's `runtimePlatform`",
        _ => return None,
    })
}
