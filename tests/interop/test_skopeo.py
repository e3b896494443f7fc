"""The lab's registry, by skopeo: in from a folder, between repositories, out again, looked at and deleted."""

import json
import shutil
import subprocess

import pytest
from conftest import aws
from images import CONFIG, LAYER, MANIFEST, digest_of, hello_image


@pytest.fixture
def skopeo(lab, tmp_path):
    if not shutil.which("skopeo"):
        pytest.skip("no skopeo here: apt-get install skopeo")
    return Skopeo({**lab, "REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")})


class Skopeo:
    """With credentials of its own; as root it would keep them in /run."""

    def __init__(self, environment):
        self.environment = environment

    def run(self, *arguments, **more):
        command = ["skopeo", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, **more)

    def __call__(self, *arguments, **more):
        finished = self.run(*arguments, **more)
        assert finished.returncode == 0, f"skopeo {' '.join(arguments)}\n{finished.stdout}{finished.stderr}"
        return finished.stdout.strip()


PLAIN = ["--src-tls-verify=false", "--dest-tls-verify=false"]


def layout_of(folder, image, tag):
    """An OCI image layout, written by hand."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for content in [*image.blobs, image.manifest.encode()]:
        (blobs / digest_of(content).removeprefix("sha256:")).write_bytes(content)
    named = {"org.opencontainers.image.ref.name": tag}
    manifest = {"mediaType": MANIFEST, "digest": image.digest, "size": len(image.manifest), "annotations": named}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return f"oci:{folder}:{tag}"


def test_copy_inspect_list_and_delete(skopeo, lab, tmp_path, hello_program):
    registry = lab["AWS_ENDPOINT_URL"].removeprefix("http://")
    there = f"docker://{registry}"
    for repository in ["team/hello", "mirror"]:
        aws(lab, "ecr", "create-repository", "--repository-name", repository)
    image = hello_image(hello_program, "one")
    source = layout_of(tmp_path / "layout", image, "v1")
    assert skopeo.run("copy", *PLAIN, source, f"{there}/team/hello:v1").returncode != 0, "no one is logged in"
    password = aws(lab, "ecr", "get-login-password")
    login = ["login", "--tls-verify=false", "--username", "AWS", "--password-stdin", registry]
    assert "Login Succeeded" in skopeo(*login, input=password)

    skopeo("copy", *PLAIN, source, f"{there}/team/hello:v1")
    shown = aws(lab, "ecr", "describe-images", "--repository-name", "team/hello")["imageDetails"]
    assert [(one["imageDigest"], one["imageTags"]) for one in shown] == [(image.digest, ["v1"])]
    inspected = json.loads(skopeo("inspect", "--tls-verify=false", f"{there}/team/hello:v1"))
    assert inspected["Digest"] == image.digest
    assert (inspected["RepoTags"], inspected["Architecture"]) == (["v1"], "amd64")
    raw = skopeo.run("inspect", "--tls-verify=false", "--raw", f"{there}/team/hello@{image.digest}").stdout
    assert digest_of(raw.encode()) == image.digest
    config = json.loads(skopeo("inspect", "--tls-verify=false", "--config", f"{there}/team/hello:v1"))
    assert config["config"]["Entrypoint"] == ["/hello"]

    skopeo("copy", *PLAIN, "--preserve-digests", f"{there}/team/hello:v1", f"{there}/mirror:copied")
    skopeo("copy", *PLAIN, "--format", "v2s2", f"{there}/team/hello:v1", f"{there}/mirror:docker")
    listed = json.loads(skopeo("list-tags", "--tls-verify=false", f"{there}/mirror"))
    assert listed["Tags"] == ["copied", "docker"]
    shown = aws(lab, "ecr", "describe-images", "--repository-name", "mirror")["imageDetails"]
    kinds = {one["imageTags"][0]: (one["imageManifestMediaType"], one["artifactMediaType"]) for one in shown}
    docker = "application/vnd.docker."
    assert kinds == {
        "copied": (MANIFEST, CONFIG),
        "docker": (f"{docker}distribution.manifest.v2+json", f"{docker}container.image.v1+json"),
    }

    skopeo("copy", *PLAIN, f"{there}/mirror:copied", f"oci:{tmp_path / 'out'}:v1")
    [layer] = [content for content in json.loads(raw)["layers"] if content["mediaType"] == LAYER]
    assert (tmp_path / "out/blobs/sha256" / layer["digest"].removeprefix("sha256:")).read_bytes() in image.blobs
    skopeo("delete", "--tls-verify=false", f"{there}/mirror:copied")
    assert json.loads(skopeo("list-tags", "--tls-verify=false", f"{there}/mirror"))["Tags"] == ["docker"]
    gone = skopeo.run("inspect", "--tls-verify=false", f"{there}/mirror:copied")
    assert gone.returncode != 0 and "manifest unknown" in gone.stderr


def test_sync_brings_a_repository_over(skopeo, lab, tmp_path, hello_program):
    registry = lab["AWS_ENDPOINT_URL"].removeprefix("http://")
    for repository in ["hello", "synced/hello"]:
        aws(lab, "ecr", "create-repository", "--repository-name", repository)
    login = ["login", "--tls-verify=false", "--username", "AWS", "--password-stdin", registry]
    skopeo(*login, input=aws(lab, "ecr", "get-login-password"))
    digests = set()
    for tag in ["v1", "v2"]:
        image = hello_image(hello_program, tag)
        skopeo("copy", *PLAIN, layout_of(tmp_path / tag, image, tag), f"docker://{registry}/hello:{tag}")
        digests.add(image.digest)
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false", "--src", "docker", "--dest", "docker"]
    skopeo("sync", *plain, f"{registry}/hello", f"{registry}/synced")
    shown = aws(lab, "ecr", "describe-images", "--repository-name", "synced/hello")["imageDetails"]
    assert {one["imageDigest"] for one in shown} == digests
