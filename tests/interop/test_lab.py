"""The lab, seen by the AWS CLI."""

import json
import subprocess
import urllib.request

from conftest import TOOLS


def aws(environment, *arguments):
    finished = subprocess.run(
        [str(TOOLS / "aws"), *arguments, "--output", "json"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, f"aws {' '.join(arguments)}\n{finished.stderr}"
    return json.loads(finished.stdout) if finished.stdout.strip() else None


def test_the_aws_cli_sees_what_steady_deployed(hello, lab):
    hello.environment = lab
    deployed = hello.steady("deploy", "--check-url", "/").json
    assert deployed["status"] == "steady"
    page = urllib.request.urlopen(deployed["url"], timeout=10).read().decode()
    assert deployed["digest"] in page

    aws(lab, "ecs", "wait", "services-stable", "--cluster", "default", "--services", "hello")
    service = aws(lab, "ecs", "describe-services", "--cluster", "default", "--services", "hello")["services"][0]
    assert service["taskDefinition"] == deployed["taskDefinition"]
    assert [deployment["rolloutState"] for deployment in service["deployments"]] == ["COMPLETED"]
    assert service["events"][0]["message"] == "(service hello) has reached a steady state."

    tasks = aws(lab, "ecs", "list-tasks", "--cluster", "default", "--service-name", "hello")["taskArns"]
    task = aws(lab, "ecs", "describe-tasks", "--cluster", "default", "--tasks", *tasks)["tasks"][0]
    assert task["lastStatus"] == "RUNNING"
    assert task["containers"][0]["imageDigest"] == deployed["digest"]

    images = aws(lab, "ecr", "describe-images", "--repository-name", "hello")["imageDetails"]
    assert [image["imageDigest"] for image in images] == [deployed["digest"]]

    group = service["loadBalancers"][0]["targetGroupArn"]
    health = aws(lab, "elbv2", "describe-target-health", "--target-group-arn", group)["TargetHealthDescriptions"]
    assert [target["TargetHealth"]["State"] for target in health] == ["healthy"]

    events = aws(lab, "logs", "filter-log-events", "--log-group-name", "/steady/hello")["events"]
    assert any("listening" in event["message"] for event in events)


def test_the_aws_cli_rolls_a_service_that_steady_deployed(hello, lab):
    hello.environment = lab
    first = hello.steady("deploy").json
    aws(lab, "ecs", "update-service", "--cluster", "default", "--service", "hello", "--force-new-deployment")
    waited = hello.steady("wait").json
    assert waited["deploymentId"] != first["deploymentId"]
    aws(lab, "ecs", "delete-service", "--cluster", "default", "--service", "hello", "--force")
    aws(lab, "ecs", "wait", "services-inactive", "--cluster", "default", "--services", "hello")
