"""The lab, by ecs-deploy, a release tool from PyPI: deploys, scales, runs, and the releases that fail."""

import subprocess

import pytest
from conftest import TOOLS, page
from images import hello_image


def ecs(lab, *arguments, code=0):
    command = [str(TOOLS / "ecs"), *arguments]
    finished = subprocess.run(command, env=lab, capture_output=True, text=True, timeout=120)
    assert finished.returncode == code, f"ecs {' '.join(arguments)}\n{finished.stdout}{finished.stderr}"
    return finished.stdout + finished.stderr


@pytest.fixture
def images(amazon, hello_program):
    """A repository with the tags `one` and `two`; its address."""
    uri = amazon.ecr.create_repository(repositoryName="hello")["repository"]["repositoryUri"]
    for release in ["one", "two"]:
        amazon.push("hello", hello_image(hello_program, release), release)
    return uri


def described(amazon):
    return amazon.ecs.describe_services(services=["hello"])["services"][0]


def status(amazon, revision):
    found = amazon.ecs.describe_task_definition(taskDefinition=f"hello:{revision}")
    return found["taskDefinition"]["status"]


def test_deploy_scale_and_run(amazon, lab, images):
    balancer = amazon.load_balancer("hello")
    group = amazon.target_group("hello", TargetType="instance", HealthCheckPath="/healthz")
    to = [{"Type": "forward", "TargetGroupArn": group}]
    listener = {"Protocol": "HTTP", "Port": 80, "DefaultActions": to}
    amazon.elbv2.create_listener(LoadBalancerArn=balancer["LoadBalancerArn"], **listener)
    on = [{"targetGroupArn": group, "containerName": "hello", "containerPort": 80}]
    ports = {"portMappings": [{"containerPort": 80, "hostPort": 0}]}
    amazon.service("hello", f"{images}:one", ports, desiredCount=1, loadBalancers=on)
    amazon.ecs.get_waiter("services_stable").wait(services=["hello"], WaiterConfig={"Delay": 1})
    assert "release one." in page(balancer["DNSName"])

    said = ecs(lab, "deploy", "default", "hello", "--tag", "two")
    assert "Deployment successful" in said and "Successfully changed task definition to: hello:2" in said
    assert "release two." in page(balancer["DNSName"])
    assert (status(amazon, 1), status(amazon, 2)) == ("INACTIVE", "ACTIVE")

    change = ["--image", "hello", f"{images}:one", "--env", "hello", "RELEASE", "three", "--no-deregister"]
    assert "Deployment successful" in ecs(lab, "deploy", "default", "hello", *change)
    assert "release three." in page(balancer["DNSName"])
    assert (status(amazon, 2), status(amazon, 3)) == ("ACTIVE", "ACTIVE")
    assert f"{images}:two" in ecs(lab, "diff", "hello", "2", "3")

    for count in [3, 1, 0]:
        assert "Scaling successful" in ecs(lab, "scale", "default", "hello", str(count))
        assert described(amazon)["desiredCount"] == described(amazon)["runningCount"] == count
    ran = ecs(lab, "run", "default", "hello", "1", "--command", "hello", "wait", "--env", "hello", "SLEEP_TIME", "0")
    assert "Successfully started 1 instances of task: hello:3" in ran
    [task] = [line.removeprefix("- ") for line in ran.splitlines() if line.startswith("- arn:")]
    amazon.ecs.get_waiter("tasks_stopped").wait(tasks=[task], WaiterConfig={"Delay": 1})
    stopped = amazon.ecs.describe_tasks(tasks=[task])["tasks"][0]
    assert (stopped["containers"][0]["exitCode"], stopped["overrides"]["containerOverrides"][0]["command"]) == (0, ["wait"])


def started(amazon, image, ports, **more):
    amazon.service("hello", image, {"portMappings": ports}, desiredCount=1, **more)
    amazon.ecs.get_waiter("services_stable").wait(services=["hello"], WaiterConfig={"Delay": 1})


def test_a_release_that_crashes_fails_in_the_words_of_the_circuit_breaker(amazon, lab, images):
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
    started(amazon, f"{images}:one", [], deploymentConfiguration=breaker)
    crash = ["--env", "hello", "FAIL", "start", "--ignore-warnings", "--timeout", "60"]
    said = ecs(lab, "deploy", "default", "hello", *crash, code=1)
    assert "Deployment Failed! ECS deployment circuit breaker: tasks failed to start." in said
    assert described(amazon)["deployments"][0]["rolloutState"] == "FAILED"
    assert described(amazon)["runningCount"] == 1, "the old task serves on"
    mended = ["--env", "hello", "FAIL", "no", "--tag", "two", "--timeout", "60"]
    assert "Deployment successful" in ecs(lab, "deploy", "default", "hello", *mended)


def test_a_release_that_does_not_get_steady_is_rolled_back(amazon, lab, images):
    started(amazon, f"{images}:one", [])
    crash = ["--env", "hello", "FAIL", "start", "--ignore-warnings", "--timeout", "3", "--rollback"]
    said = ecs(lab, "deploy", "default", "hello", *crash, code=1)
    assert "Deployment failed due to timeout" in said and "Rollback successful" in said
    assert "service has been rolled back to previous task definition: hello:1" in said
    assert described(amazon)["taskDefinition"].endswith("hello:1")
    assert (status(amazon, 1), status(amazon, 2)) == ("ACTIVE", "INACTIVE")


def test_a_release_that_cannot_be_placed_fails_at_once(amazon, lab, images):
    """The one instance's port 80 is taken by the task that would have to go first."""
    started(amazon, f"{images}:one", [{"containerPort": 80, "hostPort": 80}])
    said = ecs(lab, "deploy", "default", "hello", "--tag", "two", "--timeout", "60", code=1)
    assert "(service hello) was unable to place a task because no container instance met all of its requirements." in said
    assert "is already using a port required by your task." in said
