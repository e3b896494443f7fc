"""The lab's registry, by buildah: an image that it built is pushed, runs as a service, and comes back."""

import json
import shutil
import subprocess

import pytest
from conftest import aws, docker_context


class Buildah:
    """With storage and credentials of its own."""

    def __init__(self, folder, environment):
        self.environment = {**environment, "REGISTRY_AUTH_FILE": str(folder / "auth.json"), "BUILDAH_ISOLATION": "chroot"}
        roots = ["--root", str(folder / "storage"), "--runroot", str(folder / "run")]
        self.command = ["buildah", *roots, "--storage-driver", "vfs"]

    def run(self, *arguments, **more):
        command = [*self.command, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, **more)

    def __call__(self, *arguments, **more):
        finished = self.run(*arguments, **more)
        assert finished.returncode == 0, f"buildah {' '.join(arguments)}\n{finished.stdout}{finished.stderr}"
        return finished.stdout.strip()


@pytest.fixture
def buildah(lab, tmp_path):
    if not shutil.which("buildah"):
        pytest.skip("no buildah here: apt-get install buildah")
    return Buildah(tmp_path, lab)


def test_build_push_run_and_pull(buildah, lab, tmp_path, hello_program):
    registry = lab["AWS_ENDPOINT_URL"].removeprefix("http://")
    image = f"{registry}/hello:1"
    built = buildah.run("build", "--tag", image, str(docker_context(tmp_path, hello_program)))
    if built.returncode != 0:
        pytest.skip(f"buildah cannot build here: {built.stderr.strip().splitlines()[-1]}")
    aws(lab, "ecr", "create-repository", "--repository-name", "hello")
    refused = buildah.run("push", "--tls-verify=false", image)
    assert refused.returncode != 0, "no one is logged in"
    login = ["login", "--tls-verify=false", "--username", "AWS", "--password-stdin", registry]
    assert "Login Succeeded" in buildah(*login, input=aws(lab, "ecr", "get-login-password"))
    buildah("push", "--tls-verify=false", "--digestfile", str(tmp_path / "digest"), image)
    digest = (tmp_path / "digest").read_text()
    buildah("push", "--tls-verify=false", "--format", "v2s2", image, f"docker://{registry}/hello:docker")
    shown = aws(lab, "ecr", "describe-images", "--repository-name", "hello")["imageDetails"]
    kinds = {one["imageTags"][0]: (one["imageDigest"], one["imageManifestMediaType"]) for one in shown}
    assert kinds["1"] == (digest, "application/vnd.oci.image.manifest.v1+json")
    assert kinds["docker"][1] == "application/vnd.docker.distribution.manifest.v2+json"

    container = {"name": "hello", "image": image, "memory": 64, "command": ["wait"]}
    container["environment"] = [{"name": "SLEEP_TIME", "value": "1"}]
    register = ["--family", "hello", "--container-definitions", json.dumps([container])]
    aws(lab, "ecs", "register-task-definition", *register)
    task = aws(lab, "ecs", "run-task", "--task-definition", "hello")["tasks"][0]["taskArn"]
    aws(lab, "ecs", "wait", "tasks-stopped", "--tasks", task)
    ran = aws(lab, "ecs", "describe-tasks", "--tasks", task)["tasks"][0]["containers"][0]
    assert (ran["imageDigest"], ran["exitCode"]) == (digest, 0)

    buildah("rmi", "--all", "--force")
    buildah("pull", "--tls-verify=false", image)
    inspected = json.loads(buildah("inspect", "--type", "image", image))
    assert inspected["FromImageDigest"] == digest
    assert inspected["OCIv1"]["config"]["Entrypoint"] == ["/hello"]
