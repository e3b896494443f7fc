"""`steady run` beside `aws ecs run-task`: each knows the other's tasks, their marks, their tokens and their ends."""

import json
import subprocess

import pytest
from conftest import STEADY, Project, aws, aws_refused
from pullers import busybox

LOGS = {
    "awslogs-create-group": "true",
    "awslogs-group": "/jobs",
    "awslogs-region": "us-east-1",
    "awslogs-stream-prefix": "job",
}


@pytest.fixture
def job(lab, tmp_path):
    """A project whose service sleeps, deployed; `/bin/busybox` is all that its image has."""
    folder = tmp_path / "project"
    folder.mkdir()
    project = Project(folder, lab)
    layer = {"from": str(busybox()), "to": "/bin/busybox", "mode": "0755"}
    image = {
        "repository": "job",
        "create": True,
        "build": {"layers": [layer], "entrypoint": ["/bin/busybox"]},
    }
    service = {"image": image, "task_definition": "td.json.hbs", "desired_count": 1, "launch_type": "EC2"}
    project.write("steady.yaml", {"services": {"job": service}})
    container = {
        "name": "job",
        "image": "{{image}}",
        "memory": 32,
        "command": ["sleep", "1000"],
        "logConfiguration": {"logDriver": "awslogs", "options": LOGS},
    }
    project.write("td.json.hbs", {"networkMode": "bridge", "containerDefinitions": [container]})
    project.steady("deploy")
    return project


def run(project, *arguments, code=0, output="json"):
    command = [str(STEADY), "run", "-C", str(project.folder), "--output", output, *arguments]
    finished = subprocess.run(command, env=project.environment, capture_output=True, text=True, timeout=120)
    assert finished.returncode == code, f"exit {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
    return json.loads(finished.stdout) if output == "json" else finished.stdout


def described(lab, task):
    return aws(lab, "ecs", "describe-tasks", "--tasks", task)["tasks"][0]


def test_the_aws_cli_sees_what_was_run(lab, job):
    script = 'echo "hello $WHO"; exit 6'
    ran = run(job, "--env", "WHO=there", "--started-by", "ci/7", "--group", "jobs", "--", "sh", "-c", script, code=6)
    [task] = ran["results"]["tasks"]
    seen = described(lab, task["id"])
    assert (seen["lastStatus"], seen["stopCode"]) == ("STOPPED", "EssentialContainerExited")
    assert (seen["containers"][0]["exitCode"], seen["startedBy"], seen["group"]) == (6, "ci/7", "jobs")
    override = seen["overrides"]["containerOverrides"][0]
    assert override["command"] == ["sh", "-c", script]
    assert override["environment"] == [{"name": "WHO", "value": "there"}]
    listed = aws(lab, "ecs", "list-tasks", "--started-by", "ci/7", "--desired-status", "STOPPED")
    assert listed["taskArns"] == [seen["taskArn"]]
    tail = aws(lab, "logs", "get-log-events", "--log-group-name", "/jobs", "--log-stream-name", f"job/job/{task['id']}")
    assert [event["message"] for event in tail["events"]] == ["hello there"]
    assert run(job, "--", "echo", "on stdout", output="text") == "on stdout\n"


def test_a_task_of_the_aws_cli_is_followed(lab, job):
    overrides = {"containerOverrides": [{"name": "job", "command": ["sh", "-c", "echo begun; sleep 1; exit 3"]}]}
    started = aws(lab, "ecs", "run-task", "--task-definition", "job", "--overrides", json.dumps(overrides))
    task = started["tasks"][0]["taskArn"]
    assert run(job, "--attach", task.rsplit("/", 1)[1], code=3, output="text") == "begun\n"

    # Left alone, it is waited for by the CLI's own waiter.
    left = run(job, "--detach", "--", "sh", "-c", "exit 4")["tasks"][0]["id"]
    aws(lab, "ecs", "wait", "tasks-stopped", "--tasks", left)
    assert described(lab, left)["containers"][0]["exitCode"] == 4


def test_a_client_token_is_the_same_for_both(lab, job):
    ran = run(job, "--client-token", "t-1", "--started-by", "me", "--", "true")
    revision = ran["taskDefinition"]
    overrides = json.dumps({"containerOverrides": [{"name": "job", "command": ["true"]}]})
    same = ["--cluster", "default", "--task-definition", revision, "--count", "1", "--launch-type", "EC2"]
    same += ["--overrides", overrides, "--started-by", "me", "--client-token", "t-1"]
    again = aws(lab, "ecs", "run-task", *same)
    assert [task["taskArn"].rsplit("/", 1)[1] for task in again["tasks"]] == [ran["tasks"][0]["id"]]
    code, _ = aws_refused(lab, "ecs", "run-task", *same, "--group", "other")
    assert code == "ConflictException"
    # It is its cluster's own.
    aws(lab, "ecs", "create-cluster", "--cluster-name", "other")
    aws(lab, "ecs", "register-container-instance", "--cluster", "other")
    elsewhere = [argument if argument != "default" else "other" for argument in same]
    assert aws(lab, "ecs", "run-task", *elsewhere)["tasks"][0]["taskArn"] != again["tasks"][0]["taskArn"]


def test_what_runs_before_a_release_is_ecs_s_own(lab, job):
    text = (job.folder / "steady.yaml").read_text()
    project = json.loads(text)
    script = f"{STEADY} --version >/dev/null; echo $STEADY_REVISION at $AWS_ENDPOINT_URL"
    project["services"]["job"]["before"] = [{"task": {"command": ["echo", "migrated"]}}, {"run": script}]
    job.write("steady.yaml", project)
    document = json.loads((job.folder / "td.json.hbs").read_text())
    document["containerDefinitions"][0]["environment"] = [{"name": "RELEASE", "value": "two"}]
    job.write("td.json.hbs", document)
    deployed = job.steady("deploy")
    seen = described(lab, deployed.json["before"][0]["task"])
    assert seen["startedBy"].startswith("steady/before/") and seen["containers"][0]["exitCode"] == 0
    assert seen["taskDefinitionArn"] == deployed.json["taskDefinition"]
    assert f"job:2 at {lab['AWS_ENDPOINT_URL']}" in deployed.stderr
