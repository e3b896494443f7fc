"""Images that docker, podman and buildah built, pushed by steady to CNCF distribution: pulled, run and known by the same id."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import urllib.request

import pytest
from conftest import STEADY
from docker_daemon import daemon, unmount
from pullers import Containers, busybox, docker_pulls, lacking, oras_pulls, podman_pulls, said, skopeo_copies

DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY words /words
ENTRYPOINT ["/bin/busybox", "cat", "/words"]
"""


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with daemon({"PATH": os.environ["PATH"], "HOME": str(home)}) as docker:
        yield docker


@pytest.fixture(autouse=True)
def unmounted(tmp_path):
    """A container that podman could not end leaves its mounts, and pytest its folder with them."""
    yield
    unmount(tmp_path)


@pytest.fixture
def context(tmp_path):
    context = tmp_path / "context"
    context.mkdir()
    shutil.copy(busybox(), context / "busybox")
    (context / "words").write_text(f"hello from {tmp_path.name}\n")
    (context / "Dockerfile").write_text(DOCKERFILE)
    return context


def plan(project, registry, compression="gzip", **build):
    """A project that pushes to `registry` what is built so."""
    image = {"repository": f"{registry}/hello", "tags": ["v1"], "compression": compression, "build": build}
    project.write("steady.yaml", {"region": "us-west-2", "services": {"hello": {"image": image, "task_definition": "task.json"}}})
    container = {"name": "hello", "image": "{{image}}", "memory": 64}
    project.write("task.json", {"family": "hello", "containerDefinitions": [container]})


def fetched(registry, digest):
    url = f"http://{registry}/v2/hello/manifests/{digest}"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    return json.loads(urllib.request.urlopen(urllib.request.Request(url, headers=accept)).read())


def forget(docker):
    for image in docker("images", "--quiet").split():
        docker.run("rmi", "--force", image)


def may_run_nothing(ran):
    """Whether the engine says that this machine lets it run no container; what it pulled is sound all the same."""
    said = ran.stderr.lower()
    return ran.returncode != 0 and any(words in said for words in ["not permitted", "permission denied", "cgroup", "read-only"])


@pytest.mark.parametrize("builder", ["docker", "podman", "buildah"])
def test_the_same_image_everywhere(builder, docker, project, context, registry, tmp_path, base_environment):
    lacking(builder, "skopeo", "podman")
    plan(project, registry, dockerfile=str(context / "Dockerfile"), context=str(context), builder=builder)
    if builder == "docker":
        forget(docker)
        environment, ids = dict(docker.environment), lambda: set(docker("images", "--no-trunc", "--quiet").split())
    else:
        engine = Containers(builder, tmp_path / "building", base_environment)
        environment, ids = dict(engine.environment), engine.ids
    calls = said(builder, environment, tmp_path / "bin")
    pushed = project.steady("push", environment=environment).json
    manifest = fetched(registry, pushed["digest"])
    id = manifest["config"]["digest"]
    assert id in ids(), "the engine knows it by this id"
    assert len(manifest["layers"]) == 2, "one for each COPY"
    # Docker's client says where its daemon is (`context inspect`), and the daemon gives the image out.
    given = lambda: [verb for verb in calls() if verb in ("save", "push", "context")]
    assert given() == [{"docker": "context", "podman": "save", "buildah": "push"}[builder]]
    # Built again it is the same, from the engine's cache, and nothing is given out.
    assert project.steady("push", environment=environment).json["digest"] == pushed["digest"]
    assert len(given()) == 1, calls()

    image = pushed["image"]
    forget(docker)
    assert docker_pulls(docker, image) == id
    ran = docker.run("run", "--rm", "--network", "none", image)
    assert ran.stdout == (context / "words").read_text() or may_run_nothing(ran), ran.stderr
    podman = Containers("podman", tmp_path / "pulling", base_environment)
    assert podman_pulls(podman, image) == id
    if builder == "podman":  # once: podman 4.3 may wait 20 s for its monitor after the container's end
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]  # the default is more than some machines allow
        ran = podman.run("run", "--network", "none", *limits, image)
        assert ran.stdout == (context / "words").read_text() or may_run_nothing(ran), ran.stderr
    assert skopeo_copies(image, tmp_path / "copied", base_environment) == id
    assert oras_pulls(image, tmp_path / "oras") == id


def test_what_an_engine_has_or_gives(docker, project, context, registry, tmp_path, base_environment):
    lacking("podman")
    docker("build", "--quiet", "--tag", "given:1", str(context))
    id = docker("image", "inspect", "--format", "{{.Id}}", "given:1")
    plan(project, registry, image="docker-daemon:given:1")
    held = project.steady("push", environment=docker.environment).json
    assert fetched(registry, held["digest"])["config"]["digest"] == id
    save = f"docker save given:1 | gzip -1 | {STEADY} push --image - -o json -C {project.folder}"
    piped = subprocess.run(save, shell=True, env={**docker.environment}, capture_output=True, text=True, timeout=120)
    assert piped.returncode == 0, piped.stderr
    assert json.loads(piped.stdout)["digest"] == held["digest"]

    podman = Containers("podman", tmp_path / "storage", base_environment)
    podman("build", "--isolation", "chroot", "--quiet", "--tag", "given:2", str(context))
    id = f"sha256:{podman('image', 'inspect', '--format', '{{.Id}}', 'given:2')}"
    stored = project.steady("push", "--image", "containers-storage:given:2", environment=podman.environment).json
    assert fetched(registry, stored["digest"])["config"]["digest"] == id
    for format in ["oci-archive", "docker-archive"]:
        save = f"podman save --quiet --format {format} given:2 | {STEADY} push --image - -o json -C {project.folder}"
        piped = subprocess.run(save, shell=True, env=podman.environment, capture_output=True, text=True, timeout=120)
        assert piped.returncode == 0, piped.stderr
        assert fetched(registry, json.loads(piped.stdout)["digest"])["config"]["digest"] == id
    refused = project.steady("push", "--image", "docker-daemon:nothing:1", code=3, environment=docker.environment).json
    assert refused["error"]["message"] == "docker has no image `nothing:1`"


def awkward_base():
    """What `docker load` takes: an image of three layers: the second takes away from the first, the third is empty."""
    lower, upper, empty = io.BytesIO(), io.BytesIO(), io.BytesIO()

    def add(tar, name, content=b"", **members):
        member = tarfile.TarInfo(name)
        member.size = len(content)
        for key, value in members.items():
            setattr(member, key, value)
        tar.addfile(member, io.BytesIO(content))

    with tarfile.open(fileobj=lower, mode="w") as tar:
        for folder in ["taken", "kept", "hidden"]:
            add(tar, folder, type=tarfile.DIRTYPE, mode=0o1777)
            add(tar, f"{folder}/file", b"x" * 100_000, uid=1234, mode=0o4755, mtime=1)
        add(tar, "kept/again", type=tarfile.LNKTYPE, linkname="kept/file")
        add(tar, "kept/link", type=tarfile.SYMTYPE, linkname="/kept/../nowhere")
        add(tar, f"kept/{'long' * 60}", b"its name is in an entry of its own")
        add(tar, "kept/d\u00f6ner <&>", b"no ASCII", pax_headers={"SCHILY.xattr.user.mood": "fine"})
        add(tar, "kept/empty")
    with tarfile.open(fileobj=upper, mode="w", format=tarfile.GNU_FORMAT) as tar:
        add(tar, ".wh.taken")
        add(tar, "hidden", type=tarfile.DIRTYPE, mode=0o755)
        add(tar, "hidden/.wh..wh..opq")
        add(tar, f"hidden/{'long' * 60}", b"as GNU tar says it")
    with tarfile.open(fileobj=empty, mode="w"):
        pass
    layers = [tar.getvalue() for tar in (lower, upper, empty)]
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    names = [f"{at}/layer.tar" for at in range(len(layers))]
    listed = [{"Config": "config.json", "RepoTags": ["awkward:1"], "Layers": names}]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in [*zip(names, layers), ("config.json", config), ("manifest.json", json.dumps(listed).encode())]:
            add(tar, name, content)
    return archive.getvalue()


def test_layers_that_docker_keeps_unpacked(project, context, registry, tmp_path, base_environment):
    """With overlay2 they are read where docker keeps them, and are what docker would give out."""
    with daemon(base_environment, driver="overlay2") as docker:
        (tmp_path / "awkward.tar").write_bytes(awkward_base())
        loaded = docker.run("load", "--input", str(tmp_path / "awkward.tar"))
        if any(words in loaded.stderr for words in ["not permitted", "not supported", "invalid argument"]):
            pytest.skip(f"overlay2 does not work here: {loaded.stderr.strip()}")
        assert loaded.returncode == 0, loaded.stderr
        dockerfile = DOCKERFILE.replace("FROM scratch", "FROM awkward:1")
        (context / "Dockerfile").write_text(dockerfile)
        (context / "words").chmod(0o640)
        docker("build", "--quiet", "--tag", "kept:1", str(context))
        id = docker("image", "inspect", "--format", "{{.Id}}", "kept:1")
        plan(project, registry, image="docker-daemon:kept:1")
        environment = dict(docker.environment)
        calls = said("docker", environment, tmp_path / "bin")
        pushed = project.steady("push", environment=environment).json
        assert calls() == ["image"], "it is looked at, and neither the daemon nor the client give it out"
        manifest = fetched(registry, pushed["digest"])
        assert (manifest["config"]["digest"], len(manifest["layers"])) == (id, 5)
        save = f"docker save kept:1 | {STEADY} push --image - -o json -C {project.folder}"
        piped = subprocess.run(save, shell=True, env=docker.environment, capture_output=True, text=True, timeout=120)
        assert json.loads(piped.stdout)["digest"] == pushed["digest"], piped.stderr
        forget(docker)
        assert docker_pulls(docker, pushed["image"]) == id


def test_who_pulls_zstd(docker, project, context, registry, tmp_path, base_environment):
    """As docs/project-file.md says of `compression`."""
    lacking("podman", "skopeo")
    docker("build", "--quiet", "--tag", "zstd:1", str(context))
    id = docker("image", "inspect", "--format", "{{.Id}}", "zstd:1")
    plan(project, registry, compression="zstd", image="docker-daemon:zstd:1")
    pushed = project.steady("push", environment=docker.environment).json
    layers = fetched(registry, pushed["digest"])["layers"]
    assert {layer["mediaType"] for layer in layers} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    assert podman_pulls(Containers("podman", tmp_path / "pulling", base_environment), pushed["image"]) == id
    assert skopeo_copies(pushed["image"], tmp_path / "copied", base_environment) == id
    assert oras_pulls(pushed["image"], tmp_path / "oras") == id
    forget(docker)
    version = docker("version", "--format", "{{.Server.Version}}")
    if int(version.split(".")[0]) < 23:
        refused = docker.run("pull", pushed["image"])
        assert refused.returncode != 0 and "archive/tar: invalid tar header" in refused.stderr, refused.stderr
    else:
        assert docker_pulls(docker, pushed["image"]) == id
