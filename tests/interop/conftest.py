"""Servers and clients that nobody here wrote, on loopback ports that the system chose, ended with the test."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from amazon import REGION, Amazon
from browser import Browser

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEADY = pathlib.Path(os.environ.get("STEADY", ROOT / "target/debug/steady")).resolve()
TOOLS = pathlib.Path(sys.executable).parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url, process, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args[0]} ended with {process.returncode}"
        try:
            return urllib.request.urlopen(url, timeout=2).status
        except urllib.error.HTTPError as answer:
            return answer.code
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


def ended(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Run:
    """A finished run of `steady` with `--output json`."""

    def __init__(self, finished):
        self.code = finished.returncode
        self.stdout = finished.stdout
        self.stderr = finished.stderr

    @property
    def json(self):
        return json.loads(self.stdout)


class Project:
    """A folder with a project file, and an environment with nothing of this machine's in it."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.environment = environment

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
        return path

    def steady(self, *arguments, code=0, environment=None):
        finished = subprocess.run(
            [str(STEADY), *arguments, "--output", "json", "-C", str(self.folder)],
            env={**self.environment, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert finished.returncode == code, f"exit {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
        return Run(finished)

    @staticmethod
    def parse(finished):
        return json.loads(finished.stdout)


def aws(environment, *arguments):
    """What a command of the AWS CLI prints, from JSON, or as text where it is none."""
    finished = aws_run(environment, *arguments)
    assert finished.returncode == 0, f"aws {' '.join(arguments)}\n{finished.stdout}{finished.stderr}"
    output = finished.stdout.strip()
    return json.loads(output) if output.startswith(("{", "[")) else output


def aws_refused(environment, *arguments):
    """What the AWS CLI says about a command that has to fail: the error's code and its message."""
    finished = aws_run(environment, *arguments)
    said = re.search(r"An error occurred \((\w+)\) when calling the \w+ operation: (.*)", finished.stderr)
    assert finished.returncode != 0 and said, f"aws {' '.join(arguments)}\n{finished.stdout}{finished.stderr}"
    return said.groups()


def aws_run(environment, *arguments):
    command = [str(TOOLS / "aws"), *arguments, "--output", "json"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)


DOCKERFILE = """\
FROM scratch
COPY hello /hello
COPY public /public
ENV PORT=80
EXPOSE 80/tcp
ENTRYPOINT ["/hello"]
"""


def docker_context(folder, program):
    """A folder to build an image from that serves a page on `PORT`."""
    context = folder / "context"
    shutil.copytree(ROOT / "examples/ecs-demo/public", context / "public")
    shutil.copy(program, context / "hello")
    (context / "Dockerfile").write_text(DOCKERFILE)
    return context


def page(address):
    return urllib.request.urlopen(f"http://{address}/", timeout=10).read().decode()


def until(seconds, ask, done):
    """The first answer that satisfies `done`."""
    deadline = time.monotonic() + seconds
    while not done(answer := ask()):
        assert time.monotonic() < deadline, f"still: {answer}"
        time.sleep(0.05)
    return answer


@pytest.fixture
def base_environment(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "steady-lab",
        "AWS_SECRET_ACCESS_KEY": "steady-lab",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(home / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "no-credentials"),
        # where labs count their replies
        **{name: value for name, value in os.environ.items() if name == "STEADY_LAB_REPLIES"},
    }


@pytest.fixture
def project(tmp_path, base_environment):
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder, base_environment)


@pytest.fixture
def moto():
    port = free_port()
    process = subprocess.Popen(
        [str(TOOLS / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/moto-api/", process)
        yield url
    finally:
        ended(process)


@pytest.fixture
def registry(tmp_path):
    """CNCF distribution, as Debian packages it; yields its host and port."""
    program = shutil.which("docker-registry") or "/usr/bin/docker-registry"
    port = free_port()
    config = tmp_path / "registry.yml"
    config.write_text(
        "version: 0.1\n"
        f"storage: {{ filesystem: {{ rootdirectory: {tmp_path / 'registry'} }}, delete: {{ enabled: true }} }}\n"
        f"http: {{ addr: '127.0.0.1:{port}' }}\n"
        "log: { accesslog: { disabled: false } }\n"
    )
    log = open(tmp_path / "registry.log", "w")
    process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/v2/", process)
        yield f"127.0.0.1:{port}"
    finally:
        ended(process)
        log.close()


@pytest.fixture(scope="session")
def hello_program():
    """The program of examples/hello; it needs nothing else in its image."""
    source = ROOT / "examples/hello"
    program = source / "target/release/hello"
    if not program.exists():
        subprocess.run(["cargo", "build", "--quiet", "--release"], cwd=source, check=True)
    return program


@pytest.fixture
def hello(tmp_path, base_environment, hello_program):
    """A copy of examples/hello, built."""
    folder = tmp_path / "hello"
    shutil.copytree(ROOT / "examples/hello", folder, ignore=shutil.ignore_patterns("target", ".cargo"))
    (folder / "target/release").mkdir(parents=True)
    shutil.copy(hello_program, folder / "target/release/hello")
    text = (folder / "steady.yaml").read_text()
    (folder / "steady.yaml").write_text(text.replace("run: cargo build --release", "run: 'true'"))
    return Project(folder, base_environment)


@contextlib.contextmanager
def lab_in(folder, base_environment, *flags):
    """A lab of its own; the environment that `steady lab env` gives to any AWS client."""
    environment = {**base_environment, "STEADY_LAB_DIR": str(folder)}

    def steady(*arguments):
        return subprocess.run(
            [str(STEADY), *arguments], env=environment, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    steady("lab", "start", "--port", str(free_port()), *flags)
    try:
        exported = dict(
            line.removeprefix("export ").split("=", 1)
            for line in steady("lab", "env").splitlines()
            if line.startswith("export ")
        )
        yield {**environment, **{name: value.strip("'\"") for name, value in exported.items()}}
    finally:
        steady("lab", "stop")


@pytest.fixture
def lab(tmp_path, base_environment):
    with lab_in(tmp_path / "lab", base_environment) as environment:
        yield environment


@pytest.fixture
def slow_lab(tmp_path, base_environment):
    """One that runs no containers and takes AWS's time."""
    with lab_in(tmp_path / "lab", base_environment, "--pace", "aws", "--runtime", "simulated") as environment:
        yield environment


@pytest.fixture
def amazon(lab):
    return Amazon(lab["AWS_ENDPOINT_URL"])


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
