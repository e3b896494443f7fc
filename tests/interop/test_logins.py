"""Logins that steady hands to podman, buildah and skopeo, that it lends them, and that it takes from them."""

import base64
import json
import os
import pathlib
import pty
import shutil
import subprocess
import tempfile

import pytest
from conftest import STEADY, aws, ended, free_port, wait_for
from images import image as image_of
from test_registry import STEADY_YAML
from tokens import token_service

CLIENTS = ["skopeo", "buildah", "podman"]


class Client:
    """A program with a home, credentials and storage of its own."""

    def __init__(self, name, folder, environment):
        self.name = name
        # Credentials go below it; as root, without it, into /run.
        self.environment = {**environment, "XDG_RUNTIME_DIR": str(folder)}
        roots = ["--root", str(folder / "storage"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
        self.command = [name, *([] if name == "skopeo" else roots)]

    def run(self, *arguments, **more):
        command = [*self.command, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, **more)

    def fetch(self, image):
        """Looks at an image in its registry, or pulls it."""
        if self.name == "skopeo":
            return self.run("inspect", "--tls-verify=false", f"docker://{image}")
        return self.run("pull", "--tls-verify=false", image)


@pytest.fixture(params=CLIENTS)
def client(request, lab):
    if not shutil.which(request.param):
        pytest.skip(f"no {request.param} here: apt-get install {request.param}")
    # A short path, as podman's are bounded.
    with tempfile.TemporaryDirectory(prefix="st-") as folder:
        yield Client(request.param, pathlib.Path(folder), lab)


@pytest.fixture
def image(lab, amazon):
    aws(lab, "ecr", "create-repository", "--repository-name", "hello")
    amazon.push("hello", image_of({"page": (b"a page", 0o644)}, {"Cmd": ["/page"]}), "v1")
    return f"{lab['AWS_ENDPOINT_URL'].removeprefix('http://')}/hello:v1"


def steady(environment, *arguments):
    command = [STEADY, *arguments, "-o", "json"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, f"{finished.stdout}{finished.stderr}"
    return json.loads(finished.stdout)


def test_a_client_is_logged_in(client, image):
    refused = client.fetch(image)
    assert refused.returncode != 0, "no one is logged in"
    shown = steady(client.environment, "login", "--lab", "--client", client.name)
    assert (shown["client"], shown["username"]) == (client.name, "AWS")
    fetched = client.fetch(image)
    assert fetched.returncode == 0, fetched.stderr
    out = client.run("logout", image.split("/")[0])
    assert out.returncode == 0, f"it was kept under another name: {out.stderr}"


def test_a_client_asks_steady_by_itself(client, image, tmp_path):
    """They read docker's configuration, which names the helper; nobody logs in, and no password is kept."""
    assert client.fetch(image).returncode != 0
    installed = steady(client.environment, "login", "--lab", "--install", "--bin-dir", str(tmp_path / "bin"))
    client.environment["PATH"] = f"{tmp_path / 'bin'}:{client.environment['PATH']}"
    fetched = client.fetch(image)
    assert fetched.returncode == 0, fetched.stderr
    config = pathlib.Path(installed["config"])
    assert json.loads(config.read_text()) == {"credHelpers": {image.split("/")[0]: "steady"}}
    assert not list(pathlib.Path(client.environment["XDG_RUNTIME_DIR"]).rglob("auth.json"))
    steady(client.environment, "login", "--uninstall")
    assert json.loads(config.read_text()) == {}


@pytest.fixture
def guarded(tmp_path):
    """CNCF distribution that takes tokens only; its host and port, and the token service."""
    program = shutil.which("docker-registry") or "/usr/bin/docker-registry"
    with token_service(tmp_path) as (service, realm):
        port = free_port()
        token = f"realm: '{realm}', service: registry, issuer: tokens, rootcertbundle: '{service.certificate}'"
        (tmp_path / "guarded.yml").write_text(
            "version: 0.1\n"
            f"storage: {{ filesystem: {{ rootdirectory: {tmp_path / 'guarded'} }} }}\n"
            f"http: {{ addr: '127.0.0.1:{port}' }}\n"
            f"auth: {{ token: {{ {token} }} }}\n"
        )
        with open(tmp_path / "guarded.log", "w") as log:
            process = subprocess.Popen([program, "serve", str(tmp_path / "guarded.yml")], stdout=log, stderr=log)
            try:
                wait_for(f"http://127.0.0.1:{port}/v2/", process)
                yield f"127.0.0.1:{port}", service
            finally:
                ended(process)


def push(project, registry, environment, code=0):
    project.write("steady.yaml", STEADY_YAML.format(repository=f"{registry}/hello"))
    project.write("task-definition.json", {"family": "hello", "containerDefinitions": [{"name": "hello", "memory": 64}]})
    project.write("public/index.html", "one")
    (project.folder / "big.bin").write_bytes(bytes(range(256)) * 20_000)
    return project.steady("push", code=code, environment=environment).json


def test_steady_pushes_with_the_login_that_skopeo_keeps(project, guarded, tmp_path):
    """Its token service is on another host, as Docker Hub's is; the password goes there, and the registry sees tokens only."""
    registry, service = guarded
    refused = push(project, registry, {}, code=4)
    assert "docker login" in json.dumps(refused["error"]["hints"])
    assert all(authorization is None for _, authorization, _ in service.asked)
    kept = {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    login = ["skopeo", "login", "--tls-verify=false", "--username", "me", "--password-stdin", registry]
    if not shutil.which("skopeo"):
        pytest.skip("no skopeo here: apt-get install skopeo")
    environment = {**project.environment, **kept}
    subprocess.run(login, env=environment, input="s3cret", text=True, check=True, capture_output=True)
    service.asked.clear()
    pushed = push(project, registry, kept)
    assert {authorization for _, authorization, _ in service.asked} == {service.login}
    assert "repository:hello:pull,push" in [parameters["scope"] for _, _, parameters in service.asked]
    seen = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"docker://{registry}/hello:latest"],
        env=environment, capture_output=True, text=True, check=True,
    )
    assert json.loads(seen.stdout)["Digest"] == pushed["digest"]
    assert "s3cret" not in (tmp_path / "guarded.log").read_text()


def test_steady_pushes_with_an_identity_token(project, guarded):
    registry, service = guarded
    config = {"auths": {registry: {"auth": base64.b64encode(b"00000000:").decode(), "identitytoken": "refresh-me"}}}
    folder = project.folder / "docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    pushed = push(project, registry, {"DOCKER_CONFIG": str(folder)})
    assert pushed["digest"].startswith("sha256:")
    assert {method for method, _, _ in service.asked} == {"POST"}


def test_a_password_on_a_terminal_is_warned_of(lab):
    """And in a pipe is not."""
    leader, follower = pty.openpty()
    command = [STEADY, "login", "--password-stdout", "--lab"]
    shown = subprocess.run(command, env={**lab, "TERM": "xterm"}, stdout=follower, stderr=subprocess.PIPE, text=True, check=True)
    os.close(follower)
    assert len(os.read(leader, 1000).decode().strip()) == 64
    os.close(leader)
    host = lab["AWS_ENDPOINT_URL"].removeprefix("http://")
    assert "the password now stands on this terminal" in shown.stderr
    assert f"steady login --password-stdout | docker login --username AWS --password-stdin {host}" in shown.stderr
    piped = subprocess.run(command, env=lab, capture_output=True, text=True, check=True)
    assert len(piped.stdout.strip()) == 64 and piped.stderr == ""


def test_the_cli_lends_a_token_for_public_ecr(lab):
    password = aws(lab, "ecr-public", "get-login-password")
    assert len(password) == 64
    data = aws(lab, "ecr-public", "get-authorization-token")["authorizationData"]
    assert sorted(data) == ["authorizationToken", "expiresAt"]
    printed = subprocess.run(
        [STEADY, "login", "--password-stdout", "public.ecr.aws"], env=lab, capture_output=True, text=True, check=True
    )
    assert len(printed.stdout.strip()) == 64 and printed.stderr == ""
