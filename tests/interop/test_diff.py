"""`steady diff` against what other clients registered at a server that nobody here wrote: what moto fills in as AWS does is no
difference, and each change is one. Its services never run, so nothing is deployed here."""

import json

import pytest
from amazon import client
from conftest import ROOT, aws

SHAPES = sorted((ROOT / "tests/fixtures/task-definitions").glob("*.json"))
# What moto knows nothing of, it forgets.
FORGOTTEN = {"fargate-fault-injection": "enableFaultInjection"}
READ_ONLY = ["taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities", "registeredAt", "registeredBy"]


def prepare(project, url, path, document):
    project.environment["AWS_ENDPOINT_URL"] = url
    name = path.stem
    project.write("task.json", document)
    project.write(
        "steady.yaml",
        f"services:\n  {name}:\n    task_definition: task.json\n    desired_count: 0\n",
    )


def request(path):
    """What RegisterTaskDefinition takes of a fixture."""
    document = json.loads(path.read_text())
    if "taskDefinition" in document:
        tags = [tag for tag in document["tags"] if not tag["key"].startswith("aws:")]
        document = {**document["taskDefinition"], "tags": tags}
    return without_nulls({name: value for name, value in document.items() if name not in READ_ONLY})


def without_nulls(value):
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def paths(changes):
    return [change["path"] for change in changes]


def test_what_boto3_registered_does_not_differ(project, moto):
    ecs = client("ecs", moto)
    ecs.create_cluster(clusterName="default")
    assert len(SHAPES) > 20
    for path in SHAPES:
        document = request(path)
        registered = ecs.register_task_definition(**document)["taskDefinition"]["taskDefinitionArn"]
        prepare(project, moto, path, path.read_text())
        same = project.steady("diff").json
        forgotten = [FORGOTTEN[path.stem]] if path.stem in FORGOTTEN else []
        assert paths(same["taskDefinitionChanges"]) == forgotten, path.stem
        assert same["previousTaskDefinition"] == registered
        assert same["taskDefinition"] == (None if forgotten else registered)

        container = document["containerDefinitions"][0]
        container["image"] += "x"
        project.write("task.json", document)
        other = project.steady("diff", "--exit-code", code=11).json
        image = f"containerDefinitions[{container['name']}].image"
        assert sorted(paths(other["taskDefinitionChanges"])) == sorted([image, *forgotten]), path.stem
        assert other["taskDefinition"] is None


@pytest.mark.parametrize("name", ["ec2-bridge", "worker", "described"])
def test_a_service_that_the_cli_created_does_not_differ(project, lab, name):
    """At the lab, because moto forgets what a service is configured with."""
    path = ROOT / f"tests/fixtures/task-definitions/{name}.json"
    project.environment = lab
    prepare(project, lab["AWS_ENDPOINT_URL"], path, path.read_text())
    project.write("request.json", request(path))
    request_file = f"file://{project.folder / 'request.json'}"
    registered = aws(lab, "ecs", "register-task-definition", "--cli-input-json", request_file)
    breaker = "deploymentCircuitBreaker={enable=true,rollback=true}"
    create = ["--service-name", name, "--task-definition", name, "--desired-count", "0", "--launch-type", "EC2"]
    aws(lab, "ecs", "create-service", *create, "--deployment-configuration", breaker)

    same = project.steady("diff", "--exit-code").json
    assert same["status"] == "unchanged", same
    assert same["taskDefinition"] == registered["taskDefinition"]["taskDefinitionArn"]

    project.write("service.json", {"deploymentConfiguration": {"maximumPercent": 150}})
    with (project.folder / "steady.yaml").open("a") as file:
        file.write("    service: service.json\n")
    other = project.steady("diff", "--exit-code", code=11).json
    assert (other["serviceAction"], other["taskDefinitionChanges"]) == ("update", [])
    assert paths(other["serviceChanges"]) == ["deploymentConfiguration.maximumPercent"]
