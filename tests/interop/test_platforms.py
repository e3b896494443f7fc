"""Images of several platforms between registries that nobody here wrote, checked by skopeo and docker."""

import json
import shutil
import subprocess

import pytest
from conftest import STEADY, aws, docker_context
from docker_daemon import daemon
from images import CONFIG, LAYER, MANIFEST, descriptor, digest_of, image

INDEX = "application/vnd.oci.image.index.v1+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def steady(environment, *arguments, code=0):
    command = [STEADY, *map(str, arguments), "--lab", "-o", "json"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == code, finished.stdout + finished.stderr
    return json.loads(finished.stdout)


class Skopeo:
    """With credentials of its own, logged in to the lab."""

    def __init__(self, lab, folder):
        if not shutil.which("skopeo"):
            pytest.skip("no skopeo here: apt-get install skopeo")
        self.environment = {**lab, "REGISTRY_AUTH_FILE": str(folder / "auth.json")}
        self.lab = lab["AWS_ENDPOINT_URL"].removeprefix("http://")
        login = ["login", "--tls-verify=false", "--username", "AWS", "--password-stdin", self.lab]
        self(*login, input=aws(lab, "ecr", "get-login-password"))

    def __call__(self, *arguments, **more):
        command = ["skopeo", *map(str, arguments)]
        finished = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, **more)
        assert finished.returncode == 0, f"{' '.join(command)}\n{finished.stdout}{finished.stderr}"
        return finished.stdout

    def copy(self, source, target, *more):
        return self("copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", *more, source, target)

    def raw(self, reference):
        return self("inspect", "--tls-verify=false", "--raw", f"docker://{reference}").encode()


@pytest.fixture
def skopeo(lab, tmp_path):
    return Skopeo(lab, tmp_path)


def layout(folder, program):
    """An index as buildx makes it, by hand: two platforms, and what is attested of the first."""
    blobs, entries = [], []
    for architecture in ["amd64", "arm64"]:
        made = image({"hello": (program.read_bytes() + architecture.encode(), 0o755)}, {"Entrypoint": ["/hello"]}, architecture)
        blobs += [*made.blobs, made.manifest.encode()]
        platform = {"architecture": architecture, "os": "linux"}
        entries.append({**descriptor(MANIFEST, made.manifest.encode()), "platform": platform})
    statement = json.dumps({"subject": entries[0]["digest"]}).encode()
    nowhere = {"architecture": "unknown", "os": "unknown"}
    config = json.dumps({**nowhere, "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest_of(statement)]}}).encode()
    layers = [descriptor("application/vnd.in-toto+json", statement)]
    attested = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG, config), "layers": layers}
    attested = json.dumps(attested).encode()
    about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": entries[0]["digest"]}
    entries.append({**descriptor(MANIFEST, attested), "platform": nowhere, "annotations": about})
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    (folder / "blobs/sha256").mkdir(parents=True)
    for content in [*blobs, statement, config, attested, index]:
        (folder / "blobs/sha256" / digest_of(content).removeprefix("sha256:")).write_bytes(content)
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor(INDEX, index)]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return f"oci:{folder}", digest_of(index), entries


def test_mirror_is_the_same_to_the_last_byte(skopeo, lab, registry, tmp_path, hello_program):
    source, digest, entries = layout(tmp_path / "layout", hello_program)
    skopeo.copy(source, f"docker://{registry}/team/hello:v1")
    assert digest_of(skopeo.raw(f"{registry}/team/hello:v1")) == digest

    done = steady(lab, "mirror", f"{registry}/team/hello:v1", "--create-repository")[0]
    assert (done["status"], done["digest"], done["image"]) == ("mirrored", digest, f"{skopeo.lab}/team/hello@{digest}")
    assert skopeo.raw(f"{skopeo.lab}/team/hello:v1") == skopeo.raw(f"{registry}/team/hello:v1")
    for entry in entries:
        assert digest_of(skopeo.raw(f"{skopeo.lab}/team/hello@{entry['digest']}")) == entry["digest"]
    # all of it can be had from there again, by a client that verifies what it gets
    skopeo.copy(f"docker://{skopeo.lab}/team/hello:v1", f"oci:{tmp_path / 'back'}:v1")
    back = json.loads((tmp_path / "back/index.json").read_text())["manifests"]
    assert [one["digest"] for one in back] == [digest]
    log = tmp_path / "registry.log"
    before = log.read_text().count('"GET /v2/team/hello/')
    assert steady(lab, "mirror", f"{registry}/team/hello:v1")[0]["status"] == "exists"
    assert log.read_text().count('"GET /v2/team/hello/') == before, "nothing is pulled to find that out"

    # the other way, into a registry that is not ECR's, and a part of it
    other = f"{registry}/copy"
    done = steady(lab, "mirror", f"{skopeo.lab}/team/hello:v1", "--repository", other, "--tag", "all")[0]
    assert digest_of(skopeo.raw(f"{other}:all")) == done["digest"] == digest
    done = steady(lab, "mirror", f"{registry}/team/hello:v1", "--repository", other, "--platform", "linux/arm64")[0]
    assert (done["digest"], done["mounted"] + done["existed"], done["sent"]) == (entries[1]["digest"], 2, 0)
    assert digest_of(skopeo.raw(f"{other}:v1")) == entries[1]["digest"]


def test_docker_pulls_its_platform_of_what_was_mirrored(skopeo, lab, registry, tmp_path, hello_program):
    source, digest, entries = layout(tmp_path / "layout", hello_program)
    skopeo.copy(source, f"docker://{registry}/hello:v1")
    steady(lab, "mirror", f"{registry}/hello:v1", "--create-repository")
    with daemon(lab) as docker:
        password = aws(lab, "ecr", "get-login-password")
        docker("login", "--username", "AWS", "--password-stdin", skopeo.lab, input=password)
        assert f"Digest: {digest}" in docker("pull", f"{skopeo.lab}/hello:v1")
        shown = json.loads(docker("image", "inspect", f"{skopeo.lab}/hello:v1"))[0]
        config = json.loads(skopeo.raw(f"{skopeo.lab}/hello@{entries[0]['digest']}"))["config"]["digest"]
        assert (shown["Id"], shown["Architecture"]) == (config, "amd64")
        assert shown["RepoDigests"] == [f"{skopeo.lab}/hello@{digest}"]


def project(folder, build):
    container = {"name": "hello", "image": "{{image}}", "memory": 64}
    (folder / "task.json").write_text(json.dumps({"family": "hello", "containerDefinitions": [container]}))
    service = {"image": {"repository": "hello", "create": True, "tags": ["v1"], "build": build}, "task_definition": "task.json"}
    (folder / "steady.yaml").write_text(json.dumps({"services": {"hello": service}}))


def check(skopeo, lab, folder, builder, context):
    platforms = ["linux/amd64", "linux/arm64"]
    build = {"dockerfile": str(context / "Dockerfile"), "context": str(context), "builder": builder, "platforms": platforms}
    project(folder, build)
    pushed = steady(lab, "push", "-C", folder)
    raw = skopeo.raw(f"{skopeo.lab}/hello:v1")
    assert digest_of(raw) == pushed["digest"]
    index = json.loads(raw)
    assert index["mediaType"] == INDEX
    assert [f"{one['platform']['os']}/{one['platform']['architecture']}" for one in index["manifests"]] == platforms
    layers = []
    for one in index["manifests"]:
        inspect = ["inspect", "--config", "--tls-verify=false", f"docker://{skopeo.lab}/hello@{one['digest']}"]
        assert json.loads(skopeo(*inspect))["architecture"] == one["platform"]["architecture"]
        manifest = json.loads(skopeo.raw(f"{skopeo.lab}/hello@{one['digest']}"))
        layers.append([layer["digest"] for layer in manifest["layers"]])
        assert all(layer["mediaType"] == LAYER for layer in manifest["layers"])
    skopeo.copy(f"docker://{skopeo.lab}/hello:v1", f"oci:{folder / 'back'}:v1")


def test_docker_builds_each_platform(skopeo, lab, tmp_path, hello_program):
    with daemon(lab) as docker:
        check(skopeo, {**lab, **docker.environment}, tmp_path, "docker", docker_context(tmp_path, hello_program))


@pytest.mark.parametrize("builder", ["buildah", "podman"])
def test_daemonless_engines_build_each_platform(skopeo, lab, tmp_path, hello_program, builder):
    if not shutil.which(builder):
        pytest.skip(f"no {builder} here: apt-get install {builder}")
    storage = tmp_path / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\nrunroot = "{tmp_path}/run"\ngraphroot = "{tmp_path}/graph"\n')
    environment = {**lab, "CONTAINERS_STORAGE_CONF": str(storage), "BUILDAH_ISOLATION": "chroot"}
    check(skopeo, environment, tmp_path, builder, docker_context(tmp_path, hello_program))


def test_a_layout_with_an_index_is_pushed_whole(skopeo, lab, tmp_path, hello_program):
    _, digest, entries = layout(tmp_path / "layout", hello_program)
    project(tmp_path, {"image": "./layout"})
    assert steady(lab, "push", "-C", tmp_path)["digest"] == digest
    assert digest_of(skopeo.raw(f"{skopeo.lab}/hello:v1")) == digest
    subprocess.run(["tar", "-cf", tmp_path / "layout.tar", "-C", tmp_path / "layout", "."], check=True)
    project(tmp_path, {"image": "./layout.tar", "platforms": ["linux/arm64"]})
    assert steady(lab, "push", "-C", tmp_path)["digest"] == entries[1]["digest"]
