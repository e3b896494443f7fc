"""Dockerfiles built for real by the engines that are here, and released in the lab."""

import json
import shutil
import subprocess

import pytest
from conftest import STEADY, docker_context
from docker_daemon import daemon

PROJECT = {
    "cluster": "default",
    "services": {
        "hello": {
            "image": {"repository": "hello", "create": True, "build": {}},
            "task_definition": "task.json",
            "launch_type": "EC2",
        }
    },
}


def released(lab, folder, program, builder, **build):
    """`steady push`; the image's digest."""
    context = docker_context(folder, program)
    (context / "Dockerfile").write_text((context / "Dockerfile").read_text() + "LABEL seen=yes\n")
    PROJECT["services"]["hello"]["image"]["build"] = {"dockerfile": str(context / "Dockerfile"), "context": str(context), **build}
    (folder / "steady.yaml").write_text(json.dumps(PROJECT))
    container = {"name": "hello", "image": "{{image}}", "memory": 64}
    (folder / "task.json").write_text(json.dumps({"family": "hello", "containerDefinitions": [container]}))
    command = [STEADY, "push", "-C", folder, "--lab", "-o", "json", "--builder", builder]
    finished = subprocess.run(command, env=lab, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)["digest"]


def config(lab, folder, digest):
    """The config of the pushed image, by skopeo."""
    registry = lab["AWS_ENDPOINT_URL"].removeprefix("http://")
    password = subprocess.run([STEADY, "login", "--password-stdout", "--lab"], env=lab, check=True, capture_output=True, text=True)
    inspect = ["skopeo", "inspect", "--config", "--tls-verify=false", "--creds", f"AWS:{password.stdout.strip()}"]
    found = subprocess.run([*inspect, f"docker://{registry}/hello@{digest}"], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def check(lab, folder, program, builder):
    labels = {"team": "web"}
    digest = released(lab, folder, program, builder, labels=labels, args={"UNUSED": "hunter2"})
    shown = config(lab, folder, digest)
    assert shown["config"]["Entrypoint"] == ["/hello"]
    assert shown["config"]["Labels"].items() >= {"seen": "yes", **labels}.items(), "buildah adds its own"
    assert "hunter2" not in json.dumps(shown)


def test_docker_builds(lab, tmp_path, hello_program):
    with daemon(lab) as docker:
        check({**lab, **docker.environment}, tmp_path, hello_program, "docker")


@pytest.mark.parametrize("builder", ["buildah", "podman"])
def test_daemonless_engines_build(lab, tmp_path, hello_program, builder):
    if not shutil.which(builder):
        pytest.skip(f"no {builder} here: apt-get install {builder}")
    storage = tmp_path / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\nrunroot = "{tmp_path}/run"\ngraphroot = "{tmp_path}/graph"\n')
    check({**lab, "CONTAINERS_STORAGE_CONF": str(storage), "BUILDAH_ISOLATION": "chroot"}, tmp_path, hello_program, builder)


@pytest.mark.parametrize("builder", ["buildah", "podman"])
def test_a_time_for_all_makes_the_same_image_again(lab, tmp_path, hello_program, builder):
    if not shutil.which(builder):
        pytest.skip(f"no {builder} here: apt-get install {builder}")
    found = []
    for name in ["one", "two"]:
        folder = tmp_path / name
        folder.mkdir()
        storage = folder / "storage.conf"
        storage.write_text(f'[storage]\ndriver = "vfs"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/graph"\n')
        settings = {"CONTAINERS_STORAGE_CONF": str(storage), "BUILDAH_ISOLATION": "chroot", "SOURCE_DATE_EPOCH": "1700000000"}
        digest = released({**lab, **settings}, folder, hello_program, builder)
        shown = config(lab, folder, digest)
        assert shown["created"] == "2023-11-14T22:13:20Z"
        assert shown["config"]["Labels"]["org.opencontainers.image.created"] == "2023-11-14T22:13:20Z"
        found.append(digest)
    assert found[0] == found[1]
