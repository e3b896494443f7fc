"""Who pulls an image from a registry without TLS or login, and which image id each sees. None of them is ours."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess

import oras.client
import pytest


def lacking(*programs):
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)} here: apt-get install {' '.join(missing)}")


class Containers:
    """podman or buildah, with storage of its own."""

    def __init__(self, program, folder, environment):
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "storage.conf"
        config.write_text(f'[storage]\ndriver = "vfs"\nrunroot = "{folder}/run"\ngraphroot = "{folder}/graph"\n')
        self.program = program
        self.environment = {**environment, "CONTAINERS_STORAGE_CONF": str(config), "BUILDAH_ISOLATION": "chroot"}

    def run(self, *arguments):
        command = [self.program, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)

    def __call__(self, *arguments):
        finished = self.run(*arguments)
        assert finished.returncode == 0, f"{self.program} {' '.join(arguments)}\n{finished.stdout}{finished.stderr}"
        return finished.stdout.strip()

    def ids(self):
        return {f"sha256:{id.removeprefix('sha256:')}" for id in self("images", "--no-trunc", "--quiet").split()}


def docker_pulls(docker, image):
    docker("pull", "--quiet", image)
    return docker("image", "inspect", "--format", "{{.Id}}", image)


def podman_pulls(podman, image):
    podman("pull", "--quiet", "--tls-verify=false", image)
    return f"sha256:{podman('image', 'inspect', '--format', '{{.Id}}', image)}"


def skopeo_copies(image, folder, environment):
    command = ["skopeo", "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", f"docker://{image}"]
    subprocess.run([*command, f"oci:{folder}:copied"], env=environment, check=True, timeout=120)
    blob = lambda digest: json.loads((folder / "blobs/sha256" / digest.removeprefix("sha256:")).read_text())
    [manifest] = json.loads((folder / "index.json").read_text())["manifests"]
    return blob(manifest["digest"])["config"]["digest"]


def oras_pulls(image, folder):
    """Every blob of it, by oras, which speaks the distribution protocol as crane does; each is what its name says."""
    client = oras.client.OrasClient(insecure=True)
    manifest = client.get_manifest(image)
    folder.mkdir()
    for number, blob in enumerate([manifest["config"], *manifest["layers"]]):
        path = folder / str(number)
        client.download_blob(image, blob["digest"], str(path))
        content = path.read_bytes()
        assert (len(content), f"sha256:{hashlib.sha256(content).hexdigest()}") == (blob["size"], blob["digest"])
    return manifest["config"]["digest"]


def said(program, environment, folder):
    """A folder for PATH with a program that notes how it was called; the calls."""
    real = shutil.which(program)
    folder.mkdir(exist_ok=True)
    calls = folder / f"{program}.calls"
    script = folder / program
    script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >> "{calls}"\nexec "{real}" "$@"\n')
    script.chmod(0o755)
    environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
    return lambda: calls.read_text().split() if calls.exists() else []


def busybox():
    program = pathlib.Path("/bin/busybox")
    if not program.exists():
        pytest.skip("no busybox here: apt-get install busybox-static")
    return program
