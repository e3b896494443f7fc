"""Another AWS-compatible server: revisions and ECR calls. Its services never run, and it has no registry behind its ECR."""

import json
import re

from amazon import client
from conftest import free_port

STEADY_YAML = """\
cluster: default
services:
  hello:
    image:
      repository: {repository}
      create: {{ policy: policy.json, tag_mutability: IMMUTABLE, scan_on_push: true }}
      tags: ["1"]
      build:
        layers: [{{ from: page.html, to: /page.html }}]
        entrypoint: [/page.html]
    task_definition: task-definition.json.hbs
"""

TASK_DEFINITION = """\
{
  "family": "hello",
  "containerDefinitions": [
    { "name": "hello", "image": "{{image}}", "memory": 64, "cpu": 0, "links": [], "command": null,
      "dockerLabels": { "Some.Key": "kept" } }
  ]
}
"""

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "my_repository_statement",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::123456789012:role/ecsInstanceRole"},
            "Action": ["ecr:BatchGetImage"],
        }
    ],
}


def prepare(project, url, repository):
    project.environment["AWS_ENDPOINT_URL"] = url
    project.write("steady.yaml", STEADY_YAML.format(repository=repository))
    project.write("task-definition.json.hbs", TASK_DEFINITION)
    project.write("policy.json", POLICY)
    project.write("page.html", "one")
    client("ecs", url).create_cluster(clusterName="default")


def test_revisions(project, moto, registry):
    prepare(project, moto, f"{registry}/hello")
    ecs = client("ecs", moto)

    first = project.steady("register").json
    assert first["image"].startswith(f"{registry}/hello@sha256:")
    again = project.steady("register").json
    assert again["taskDefinition"] == first["taskDefinition"]
    assert len(ecs.list_task_definitions(familyPrefix="hello")["taskDefinitionArns"]) == 1

    described = ecs.describe_task_definition(taskDefinition="hello", include=["TAGS"])
    container = described["taskDefinition"]["containerDefinitions"][0]
    assert container["image"] == first["image"]
    assert container["dockerLabels"] == {"Some.Key": "kept"}
    assert "command" not in container or container["command"] == []
    assert {"steady:fingerprint", "steady:release"} <= {tag["key"] for tag in described["tags"]}

    project.write("page.html", "two")
    second = project.steady("register", "--tag", "2").json
    assert second["taskDefinition"].endswith("hello:2")
    assert second["image"] != first["image"]
    revisions = project.steady("revisions").json
    assert [revision["revision"] for revision in revisions] == [2, 1]


def test_ecr_calls(project, moto):
    prepare(project, moto, "hello")
    # Behind moto's ECR is no registry: the push has to fail, on this machine, and say so.
    closed = {"HTTPS_PROXY": f"http://127.0.0.1:{free_port()}"}
    failed = project.steady("push", code=4, environment=closed)
    assert failed.json["error"]["kind"] == "buildOrPush"

    ecr = client("ecr", moto)
    repository = ecr.describe_repositories(repositoryNames=["hello"])["repositories"][0]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"]["scanOnPush"] is True
    assert "my_repository_statement" in ecr.get_repository_policy(repositoryName="hello")["policyText"]

    login = project.steady("login", "--password-stdout")
    assert login.stdout.strip(), "a password for docker login --password-stdin"


def test_a_missing_cluster_is_found_before_anything_is_built(project, moto):
    prepare(project, moto, "hello")
    failed = project.steady("deploy", "--cluster", "elsewhere", code=3)
    assert "elsewhere" in failed.json["error"]["message"]
    assert client("ecr", moto).describe_repositories()["repositories"] == []


def test_verify_finds_what_moto_has_and_what_it_lacks(project, moto):
    prepare(project, moto, "hello")
    logs = {"awslogs-group": "/hello", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "hello"}
    secret = client("secretsmanager", moto).create_secret(Name="db", SecretString="x")["ARN"]
    container = {
        "name": "hello",
        "image": "{{image}}",
        "memory": 64,
        "logConfiguration": {"logDriver": "awslogs", "options": logs},
        "secrets": [{"name": "DB", "valueFrom": secret}, {"name": "KEY", "valueFrom": "/hello/key"}],
    }
    role = "arn:aws:iam::123456789012:role/hello"
    definition = {"family": "hello", "executionRoleArn": role, "containerDefinitions": [container]}
    project.write("task-definition.json", definition)
    alarms = {"alarmNames": ["hello-5xx"], "enable": True, "rollback": True}
    project.write("service.json", {"deploymentConfiguration": {"alarms": alarms}})
    file = (project.folder / "steady.yaml").read_text()
    documents = "task_definition: task-definition.json\n    service: service.json"
    project.write("steady.yaml", re.sub(r"task_definition: .*", documents, file))

    found = project.steady("verify", code=3).json["results"]["checks"]
    found = {check["check"]: check["state"] for check in found}
    wanted = {"roles": "finding", "secrets": "finding", "logGroups": "finding", "alarms": "warning"}
    assert wanted.items() <= found.items(), found

    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
    client("iam", moto).create_role(RoleName="hello", AssumeRolePolicyDocument=json.dumps(trust))
    client("ssm", moto).put_parameter(Name="/hello/key", Value="x", Type="SecureString")
    client("logs", moto).create_log_group(logGroupName="/hello")
    cloudwatch = client("cloudwatch", moto)
    cloudwatch.put_metric_alarm(
        AlarmName="hello-5xx",
        Namespace="Hello",
        MetricName="5XX",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    ready = {check["check"]: check for check in project.steady("verify").json["checks"]}
    assert [ready[check]["state"] for check in ("roles", "secrets", "logGroups")] == ["ok", "ok", "ok"], ready
    cloudwatch.set_alarm_state(AlarmName="hello-5xx", StateValue="ALARM", StateReason="seven errors")
    alarms = {check["check"]: check for check in project.steady("verify").json["checks"]}["alarms"]
    assert "hello-5xx` is firing already (seven errors)" in alarms["warnings"][0]["message"], alarms
