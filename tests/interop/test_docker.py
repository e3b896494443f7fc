"""The lab's registry and its runtime, by docker: Debian's daemon, a throw-away one without a bridge or firewall rules."""

import json
import pathlib
import re
import subprocess
import sys

import pytest
from conftest import STEADY, aws, docker_context, until
from docker_daemon import daemon, last_line


@pytest.fixture
def docker(lab):
    with daemon(lab) as docker:
        yield docker


def serve(docker, image):
    """Runs an image in a network of its own; the page that it serves there, or None and why it does not run."""
    started = docker.run("run", "--detach", "--network", "none", "--env", "RELEASE=docked", image)
    if started.returncode != 0:
        return None, last_line(started.stderr)
    container = started.stdout.strip()
    log = until(20, lambda: docker("logs", container), lambda log: "listening" in log)
    process = docker("inspect", "--format", "{{.State.Pid}}", container)
    inside = ["nsenter", "--target", process, "--net", sys.executable, "-c"]
    get = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:80/', timeout=10).read().decode())"
    got = subprocess.run([*inside, get], capture_output=True, text=True, timeout=60)
    docker("stop", "--time", "10", container)
    assert "asked to stop" in docker("logs", container), log
    return got.stdout, last_line(got.stderr)


def build(docker, context, image):
    built = docker.run("build", "--tag", image, str(context))
    if built.returncode != 0:
        pytest.skip(f"docker cannot build here: {last_line(built.stderr)}")


def test_login_build_push_pull_and_run(docker, lab, tmp_path, hello_program):
    registry = lab["AWS_ENDPOINT_URL"].removeprefix("http://")
    image = f"{registry}/hello"
    build(docker, docker_context(tmp_path, hello_program), f"{image}:1")
    assert "no basic auth credentials" in docker.run("push", f"{image}:1").stderr

    password = aws(lab, "ecr", "get-login-password")
    wrong = docker.run("login", "--username", "AWS", "--password-stdin", registry, input="wrong")
    assert wrong.returncode != 0
    assert docker("login", "--username", "AWS", "--password-stdin", registry, input=password) == "Login Succeeded"
    missing = docker.run("push", f"{image}:1")
    assert "The repository with name 'hello' does not exist in the registry with id '111122223333'" in missing.stderr

    aws(lab, "ecr", "create-repository", "--repository-name", "hello", "--image-tag-mutability", "IMMUTABLE")
    pushed = docker("push", f"{image}:1")
    shown = aws(lab, "ecr", "describe-images", "--repository-name", "hello")["imageDetails"]
    digest = shown[0]["imageDigest"]
    assert f"1: digest: {digest} size: " in pushed
    assert shown[0]["imageManifestMediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    # The same content under a second tag sends no layer, and another content under the first is refused.
    docker("tag", f"{image}:1", f"{image}:2")
    again = docker("push", f"{image}:2")
    assert again.count("Layer already exists") == 2 and digest in again
    (tmp_path / "context/public/index.html").write_text("other")
    build(docker, tmp_path / "context", f"{image}:1")
    refused = docker.run("push", f"{image}:1")
    assert refused.returncode != 0 and "cannot be overwritten because the tag is immutable" in refused.stderr
    built, why = serve(docker, f"{image}:2")

    docker("rmi", "--force", f"{image}:1", f"{image}:2")
    assert f"Digest: {digest}" in docker("pull", f"{image}@{digest}")
    inspected = json.loads(docker("image", "inspect", f"{image}@{digest}"))[0]
    assert inspected["RepoDigests"] == [f"{image}@{digest}"]
    if built is None:
        pytest.skip(f"pushed and pulled; docker cannot run a container here: {why}")
    pulled, why = serve(docker, f"{image}@{digest}")
    assert "release docked." in pulled, why


def test_docker_asks_steady_for_the_password(docker, lab, tmp_path, hello_program):
    """`steady login --install`, and no login: docker asks its helper at each push and pull."""
    registry = lab["AWS_ENDPOINT_URL"].removeprefix("http://")
    image, folder = f"{registry}/hello", tmp_path / "bin"
    build(docker, docker_context(tmp_path, hello_program), f"{image}:1")
    aws(lab, "ecr", "create-repository", "--repository-name", "hello")
    assert "no basic auth credentials" in docker.run("push", f"{image}:1").stderr
    install = [STEADY, "login", "--install", "--bin-dir", folder, "--lab", "-o", "json"]
    client = {**lab, "DOCKER_CONFIG": docker.environment["DOCKER_CONFIG"]}
    installed = json.loads(subprocess.run(install, env=client, check=True, capture_output=True).stdout)
    assert installed["registries"] == [registry]
    docker.environment["PATH"] = f"{folder}:{docker.environment['PATH']}"
    digest = re.search(r"digest: (sha256:\S+)", docker("push", f"{image}:1"))[1]
    docker("rmi", "--force", f"{image}:1")
    assert f"Digest: {digest}" in docker("pull", f"{image}:1")
    config = json.loads((pathlib.Path(client["DOCKER_CONFIG"]) / "config.json").read_text())
    assert config == {"credHelpers": {registry: "steady"}}, "no password is kept"

    # And the other way: docker is handed a password, and keeps it until it is told to forget it.
    subprocess.run([STEADY, "login", "--uninstall"], env=client, check=True, capture_output=True)
    assert "no basic auth credentials" in docker.run("push", f"{image}:1").stderr
    subprocess.run([STEADY, "login", "--lab"], env=docker.environment, check=True, capture_output=True)
    assert digest in docker("push", f"{image}:1")
    assert f"Removing login credentials for {registry}" in docker("logout", registry)
    assert "no basic auth credentials" in docker.run("push", f"{image}:1").stderr


def test_what_docker_built_runs_as_a_task(docker, lab, tmp_path, hello_program):
    registry = lab["AWS_ENDPOINT_URL"].removeprefix("http://")
    build(docker, docker_context(tmp_path, hello_program), f"{registry}/hello:1")
    aws(lab, "ecr", "create-repository", "--repository-name", "hello")
    docker("login", "--username", "AWS", "--password-stdin", registry, input=aws(lab, "ecr", "get-login-password"))
    docker("push", f"{registry}/hello:1")
    container = {"name": "hello", "image": f"{registry}/hello:1", "memory": 64}
    container["portMappings"] = [{"containerPort": 80, "hostPort": 0}]
    container["environment"] = [{"name": "RELEASE", "value": "tasked"}]
    register = ["--family", "hello", "--container-definitions", json.dumps([container])]
    aws(lab, "ecs", "register-task-definition", *register)
    task = aws(lab, "ecs", "run-task", "--task-definition", "hello")["tasks"][0]["taskArn"]
    aws(lab, "ecs", "wait", "tasks-running", "--tasks", task)
    running = aws(lab, "ecs", "describe-tasks", "--tasks", task)["tasks"][0]["containers"][0]
    digest = aws(lab, "ecr", "describe-images", "--repository-name", "hello")["imageDetails"][0]["imageDigest"]
    assert running["imageDigest"] == digest
