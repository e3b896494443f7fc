"""Canaries that steady releases, watched and answered by clients that nobody here wrote, and the other way round."""

import json
import subprocess

from conftest import STEADY, aws, until

ROLE = "arn:aws:iam::000000000000:role/ecsInfrastructureRole"
CANARY = """\
    rollout:
      timeout: 10m
      strategy: CANARY
      percent: 10
      step_bake_time: 1m
      bake_time: 1m
      hooks: [{ type: PAUSE, stages: [PRE_PRODUCTION_TRAFFIC_SHIFT], timeout: 2h, on_timeout: continue }]
"""


def canary(hello, on_pause="wait"):
    """Makes hello's next releases canaries, behind the load balancer that it has."""
    path = hello.folder / "steady.yaml"
    text = path.read_text()
    rollout = "    rollout: { timeout: 10m, on_failure: rollback, fail_fast: 3 }\n"
    assert text.count(rollout) == 1 and text.count("      container_port: 8080\n") == 1
    advanced = f"      container_port: 8080\n      advanced_configuration: {{ role: '{ROLE}' }}\n"
    canary = f"{CANARY}      on_pause: {on_pause}\n"
    path.write_text(text.replace(rollout, canary).replace("      container_port: 8080\n", advanced))


def newest(lab):
    listed = aws(lab, "ecs", "list-service-deployments", "--cluster", "default", "--service", "hello")
    arn = listed["serviceDeployments"][0]["serviceDeploymentArn"]
    return aws(lab, "ecs", "describe-service-deployments", "--service-deployment-arns", arn)["serviceDeployments"][0]


def paused(lab):
    waits = lambda now: [hook["status"] for hook in now.get("lifecycleHookDetails", [])] == ["AWAITING_ACTION"]
    return until(60, lambda: newest(lab), waits)


def test_boto3_answers_a_pause_of_a_canary_that_steady_follows(hello, lab, amazon):
    hello.environment = lab
    hello.steady("deploy")
    canary(hello)
    command = [str(STEADY), "deploy", "--var", "release=2", "--progress", "json", "--output", "json", "-C", str(hello.folder)]
    told = hello.folder / "told"
    with open(told, "w") as stderr:
        deploy = subprocess.Popen(command, env=lab, stdout=subprocess.PIPE, stderr=stderr, text=True)
    events = lambda: [json.loads(line) for line in told.read_text().splitlines(keepends=True) if line.endswith("\n")]
    asked_for = lambda: {event["id"] for event in events() if event["event"] == "hook" and event["status"] == "AWAITING_ACTION"}
    try:
        before = paused(lab)
        # What steady says is what the AWS CLI reads.
        status = hello.steady("status").json
        assert (status["status"], status["strategy"]) == ("paused", before["deploymentConfiguration"]["strategy"])
        assert status["lifecycleStage"] == before["lifecycleStage"]
        hook = before["lifecycleHookDetails"][0]
        assert [(of["id"], of["status"], of["timeoutAction"]) for of in status["hooks"]] == [
            (hook["hookId"], "AWAITING_ACTION", "CONTINUE")
        ]
        configuration = before["deploymentConfiguration"]
        assert configuration["canaryConfiguration"] == {"canaryPercent": 10.0, "canaryBakeTimeInMinutes": 1}
        asked = [before["targetServiceRevision"], *before["sourceServiceRevisions"]]
        weights = [revision["requestedProductionTrafficWeight"] for revision in asked]
        assert [row["production"] for row in status["traffic"]] == weights == [0.0, 100.0]
        # First the ten percent, then the rest: a pause before each.
        seen = []
        while deploy.poll() is None:
            now = newest(lab)
            open_hooks = [of for of in now.get("lifecycleHookDetails", []) if of["status"] == "AWAITING_ACTION"]
            if open_hooks and now["status"] == "IN_PROGRESS" and len(asked_for()) > len(seen):
                seen.append(now["targetServiceRevision"]["requestedProductionTrafficWeight"])
                arn = now["serviceDeploymentArn"]
                amazon.ecs.continue_service_deployment(serviceDeploymentArn=arn, hookId=open_hooks[0]["hookId"])
        stdout, _ = deploy.communicate(timeout=60)
    finally:
        deploy.kill()
    assert deploy.returncode == 0, told.read_text()
    assert seen == [0.0, 10.0]
    assert json.loads(stdout)["status"] == "steady"
    shares = [event["productionTraffic"] for event in events() if event["event"] == "stage"]
    assert sorted(set(shares)) == [0.0, 10.0, 100.0] and shares == sorted(shares)
    answered = [event["status"] for event in events() if event["event"] == "hook"]
    assert answered.count("AWAITING_ACTION") == 2
    assert newest(lab)["status"] == "SUCCESSFUL"


def test_steady_takes_a_deployment_of_the_aws_cli_back(hello, lab):
    hello.environment = lab
    hello.steady("deploy")
    canary(hello, on_pause="exit")
    # A run that does not wait for people ends at each of the two pauses.
    hello.steady("deploy", "--var", "release=2", code=10)
    hello.steady("continue", code=10)
    hello.steady("continue")
    good = aws(lab, "ecs", "describe-services", "--cluster", "default", "--services", "hello")["services"][0]
    aws(lab, "ecs", "update-service", "--cluster", "default", "--service", "hello", "--force-new-deployment")
    paused(lab)
    back = hello.steady("continue", "--rollback").json
    assert (back["status"], back["action"], back["taskDefinition"]) == ("steady", "ROLLBACK", good["taskDefinition"])
    over = newest(lab)
    assert (over["status"], over["statusReason"]) == (
        "ROLLBACK_SUCCESSFUL",
        "Service deployment rolled back because of a user request.",
    )
