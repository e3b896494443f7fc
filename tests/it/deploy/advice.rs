//! What is known of failures: a sentence for each.

use steadystate::deploy::failure::advice::{self, Facts};

#[derive(Clone, Copy)]
enum Where {
    Said,
    Target,
    Line,
    Code(i64),
}

use Where::{Code, Line, Said, Target};

fn advice(from: Where, text: &str) -> Vec<&'static str> {
    let texts = [text.to_owned()];
    let none: &[String] = &[];
    let pick = |is: bool| if is { &texts[..] } else { none };
    let codes = if let Code(code) = from { vec![code] } else { Vec::new() };
    advice::of(&Facts {
        said: pick(matches!(from, Said)),
        targets: pick(matches!(from, Target)),
        lines: pick(matches!(from, Line)),
        exit_codes: &codes,
    })
}

/// Texts as AWS, docker, containerd and programs word them.
#[test]
fn the_table_of_known_causes() {
    let table = [
        (Line, "exec /web: exec format error", "`runtimePlatform`"),
        (
            Said,
            "CannotStartContainerError: standard_init_linux.go:228: exec user process caused: exec format error",
            "`runtimePlatform`",
        ),
        (
            Said,
            "CannotPullContainerError: pull image manifest has been retried 7 time(s): image Manifest does not contain descriptor matching platform 'linux/amd64'.",
            "`runtimePlatform`",
        ),
        (
            Said,
            "CannotPullContainerError: pull image manifest has been retried 7 time(s): failed to resolve ref docker.io/a/web@sha256:1: not found",
            "push it again",
        ),
        (
            Said,
            "CannotPullContainerError: Error response from daemon: pull access denied for a/b, repository does not exist or may require 'docker login'",
            "push it again",
        ),
        (
            Said,
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref x: unexpected status from HEAD request to https://x: 403 Forbidden",
            "`ecr:BatchGetImage`",
        ),
        (
            Said,
            "CannotPullContainerError: ref pull has been retried 1 time(s): failed to resolve reference: unexpected status code 403 Forbidden",
            "`ecr:BatchGetImage`",
        ),
        (
            Said,
            "CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref x: failed to do request: Head \"https://x\": dial tcp 3.210.148.47:443: i/o timeout",
            "NAT gateway",
        ),
        (
            Said,
            "CannotPullContainerError: inspect image has been retried 5 time(s): toomanyrequests: You have reached your pull rate limit",
            "`steady mirror`",
        ),
        (Said, "CannotPullContainerError: write /x: no space left on device", "`ephemeralStorage`"),
        (
            Said,
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): AccessDeniedException: User: x is not authorized to perform: secretsmanager:GetSecretValue",
            "`secretsmanager:GetSecretValue`",
        ),
        (
            Said,
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): ResourceNotFoundException: Secrets Manager can't find the specified secret.",
            "does not exist (any more)",
        ),
        (
            Said,
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secrets from ssm: service call has been retried 1 time(s): invalid ssm parameters: /a/b",
            "does not exist (any more)",
        ),
        (
            Said,
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve ecr registry auth: service call has been retried 3 time(s): RequestError: send request failed",
            "NAT gateway",
        ),
        (
            Said,
            "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist.",
            "`awslogs-create-group`",
        ),
        (
            Said,
            "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: mount.nfs4: Connection timed out",
            "2049",
        ),
        (Said, "OutOfMemoryError: Container killed due to memory usage", "`memory`"),
        (Line, "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory", "`memory`"),
        (Line, "Error: listen EADDRINUSE: address already in use 0.0.0.0:8080", "two containers of the task"),
        (Line, "bind: address already in use", "two containers of the task"),
        (Said, "CannotStartContainerError: Bind for 0.0.0.0:80 failed: port is already allocated", "`\"hostPort\": 0`"),
        (
            Said,
            "(service web) was unable to place a task because no container instance met all of its requirements. The closest matching (container-instance 1) is already using a port required by your task.",
            "`\"hostPort\": 0`",
        ),
        (
            Said,
            "(service web) was unable to place a task because no container instance met all of its requirements. Reason: No Container Instances were found in your cluster.",
            "no container instance",
        ),
        (
            Said,
            "(service web) was unable to place a task because no container instance met all of its requirements. The closest matching (container-instance 1) has insufficient CPU units available.",
            "ask for less",
        ),
        (
            Said,
            "(service web) was unable to place a task because no container instance met all of its requirements. The closest matching (container-instance 1) has insufficient memory available.",
            "ask for less",
        ),
        (
            Said,
            "(service web) was unable to place a task because no container instance met all of its requirements. The closest matching (container-instance 1) is missing an attribute required by your task.",
            "`requiresAttributes`",
        ),
        (
            Said,
            "(service web) was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in a different availability zone.",
            "FARGATE_SPOT",
        ),
        (
            Said,
            "(service web) was unable to place a task. Reason: You've reached the limit on the number of tasks you can run concurrently.",
            "Service Quotas",
        ),
        (
            Said,
            "(service web) was unable to stop or start tasks during a deployment because of the service deployment configuration.",
            "`maximumPercent`",
        ),
        (Said, "Task failed container health checks", "`startPeriod`"),
        (
            Said,
            "CannotStartContainerError: OCI runtime create failed: exec: \"/web\": stat /web: no such file or directory",
            "no such program",
        ),
        (Said, "CannotStartContainerError: exec: \"/web\": permission denied", "`mode: \"0755\"`"),
        (Target, "Health checks failed with these codes: [404]", "path is not there"),
        (Target, "Health checks failed with these codes: [301]", "redirected"),
        (Target, "Health checks failed with these codes: [401]", "needs no login"),
        (Target, "Health checks failed with these codes: [503]", "its log says why"),
        (
            Said,
            "(service web) (port 8080) is unhealthy in (target-group x) due to (reason Health checks failed with these codes: [502]).",
            "its log says why",
        ),
        (
            Said,
            "(service web) (port 8080) is unhealthy in (target-group x) due to (reason Request timed out).",
            "0.0.0.0",
        ),
        (Target, "Target.Timeout", "0.0.0.0"),
        (Target, "Target.NotInUse", "attach it to a listener"),
        (Code(0), "", "has to keep running"),
        (Code(127), "", "was not found"),
        (Code(137), "", "raise `memory`"),
        (Code(255), "", "`runtimePlatform`"),
    ];
    for (from, text, expected) in table {
        let given = advice(from, text);
        assert!(given.first().is_some_and(|first| first.contains(expected)), "{text}: {given:#?}");
    }
}

#[test]
fn nobody_is_advised_where_nothing_is_known() {
    for (from, text) in [
        (Said, "Essential container in task exited"),
        (Line, "panicked at src/main.rs: no database"),
        (Line, "GET /missing 404 not found"),
        (Line, "connection to the database denied"),
        (Target, "Elb.InitialHealthChecking"),
        (Code(1), ""),
        (Said, ""),
    ] {
        assert_eq!(advice(from, text), Vec::<&str>::new(), "{text}");
    }
}
