"""The lab needs no privileges: an ordinary user deploys into it, at the level that this machine allows them."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import urllib.request

import pytest
from conftest import STEADY, Project, free_port

NOBODY = 65534


@pytest.fixture
def home():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="steady-user-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("level", ["auto", "process"])
def test_an_ordinary_user_deploys(home, hello, level):
    program = home / "steady"
    shutil.copy(STEADY, program)
    shutil.copytree(hello.folder, home / "hello")
    become = []
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(home)], check=True)
        become = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "STEADY_LAB_DIR": str(home / "lab")}
    if replies := os.environ.get("STEADY_LAB_REPLIES"):
        environment["STEADY_LAB_REPLIES"] = replies

    def steady(*arguments):
        return subprocess.run(
            [*become, str(program), *arguments], env=environment, capture_output=True, text=True, timeout=120, cwd=home
        )

    runtime = [] if level == "auto" else ["--runtime", level]
    started = steady("lab", "start", "--port", str(free_port()), *runtime)
    assert started.returncode == 0, started.stderr
    try:
        for release in ["1", "2"]:
            deployed = steady("deploy", "--lab", "-C", "hello", "--var", f"release={release}", "--output", "json")
            assert deployed.returncode == 0, deployed.stderr
            url = Project.parse(deployed)["url"]
            page = urllib.request.urlopen(url, timeout=10).read().decode()
            assert f'id="release">{release}<' in page
    finally:
        stopped = steady("lab", "stop")
    assert stopped.returncode == 0, stopped.stderr
