"""Trouble on demand and request budgets, as clients that nobody here wrote meet and survive them."""

import json
import subprocess

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from conftest import STEADY, aws, aws_run


class Faults:
    def __init__(self, environment):
        self.environment = environment

    def steady(self, *arguments):
        command = [str(STEADY), "lab", *arguments, "--output", "json"]
        finished = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=True)
        return json.loads(finished.stdout)

    def add(self, *arguments):
        self.steady("fault", "add", *arguments)

    def clear(self):
        """Ends all faults; how often they struck."""
        struck = sum(fault["struck"] for fault in self.steady("fault", "list"))
        self.steady("fault", "clear")
        return struck


@pytest.fixture
def faults(lab):
    return Faults(lab)


@pytest.mark.parametrize("kind", ["throttle", "error", "drop-before", "drop-after"])
def test_boto3_tries_again(amazon, faults, kind):
    for on, ask in [
        ("ecs:ListClusters", amazon.ecs.list_clusters),
        ("ecr:DescribeRepositories", amazon.ecr.describe_repositories),
        ("elbv2:DescribeLoadBalancers", amazon.elbv2.describe_load_balancers),
        ("ec2:DescribeVpcs", amazon.ec2.describe_vpcs),
        ("logs:DescribeLogGroups", amazon.logs.describe_log_groups),
        ("servicediscovery:ListNamespaces", amazon.servicediscovery.list_namespaces),
    ]:
        faults.add(kind, "--on", on, "--count", "1")
        answered = ask()
        assert answered["ResponseMetadata"]["RetryAttempts"] == 1, on
        assert faults.clear() == 1, on


def test_boto3_is_told_what_aws_tells(amazon, faults):
    for arguments, ask, code, status in [
        (["throttle", "--on", "ecs:*"], amazon.ecs.list_clusters, "ThrottlingException", 400),
        (["throttle", "--on", "elbv2:*"], amazon.elbv2.describe_load_balancers, "Throttling", 400),
        (["error", "--on", "ecs:*"], amazon.ecs.list_clusters, "ServerException", 500),
        (["expire-token", "--on", "ecr:*"], amazon.ecr.describe_repositories, "ExpiredTokenException", 400),
        (["expire-token", "--on", "elbv2:*"], amazon.elbv2.describe_load_balancers, "ExpiredToken", 403),
        (
            ["error", "--on", "ecs:ListServices", "--code", "ClusterNotFoundException"],
            amazon.ecs.list_services,
            "ClusterNotFoundException",
            400,
        ),
    ]:
        faults.add(*arguments)
        with pytest.raises(ClientError) as refused:
            ask()
        assert refused.value.response["Error"]["Code"] == code
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        faults.clear()


def test_a_reply_that_is_lost_was_done(amazon, faults):
    """boto3 asks again, and learns that it was."""
    faults.add("drop-after", "--on", "ecr:CreateRepository", "--count", "1")
    with pytest.raises(amazon.ecr.exceptions.RepositoryAlreadyExistsException):
        amazon.ecr.create_repository(repositoryName="lost")
    assert [one["repositoryName"] for one in amazon.ecr.describe_repositories()["repositories"]] == ["lost"]
    faults.clear()
    faults.add("drop-before", "--on", "ecr:CreateRepository")
    with pytest.raises(ConnectionClosedError):
        amazon.ecr.create_repository(repositoryName="never")
    assert faults.clear() >= 2, "as often as boto3 asks"
    assert len(amazon.ecr.describe_repositories()["repositories"]) == 1


def test_the_aws_cli_is_throttled_and_tries_again(lab, faults):
    container = json.dumps([{"name": "a", "image": "a", "memory": 8}])
    register = ["ecs", "register-task-definition", "--family", "many", "--container-definitions", container]
    impatient = {**lab, "AWS_MAX_ATTEMPTS": "1"}
    faults.add("throttle", "--on", "ecs:RegisterTaskDefinition", "--count", "1")
    said = aws_run(impatient, *register).stderr
    assert "An error occurred (ThrottlingException) when calling the RegisterTaskDefinition" in said, said
    assert said.strip().endswith("Rate exceeded"), said
    for number in range(1, 4):
        faults.add("throttle", "--on", "ecs:RegisterTaskDefinition", "--count", "2")
        assert aws(lab, *register)["taskDefinition"]["revision"] == number
    status = faults.steady("status")
    assert status["throttled"] == [{"operation": "ecs:RegisterTaskDefinition", "count": 7}]
    assert status["throttles"] == 7 and status["requestBudgets"]
