"""Debian's Docker daemon: a throw-away one without a bridge of its own or firewall rules."""

import contextlib
import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest
from conftest import ended


class Docker:
    """A client of a daemon of its own, with a configuration of its own."""

    def __init__(self, folder, environment):
        socket = f"unix://{folder / 'docker.sock'}"
        self.environment = {**environment, "DOCKER_HOST": socket, "DOCKER_CONFIG": str(folder / "client")}
        # Debian's client may come without buildx, and then has the old builder only.
        self.environment["DOCKER_BUILDKIT"] = "0"

    def run(self, *arguments, **more):
        command = ["docker", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, **more)

    def __call__(self, *arguments, **more):
        finished = self.run(*arguments, **more)
        assert finished.returncode == 0, f"docker {' '.join(arguments)}\n{finished.stdout}{finished.stderr}"
        return finished.stdout.strip()


@contextlib.contextmanager
def daemon(environment, driver="vfs"):
    missing = [program for program in ["docker", "dockerd"] if not shutil.which(program)]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)} here: apt-get install docker.io")
    # A short path: the daemon's sockets are in it.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="steady-docker-"))
    docker = Docker(folder, environment)
    command = ["dockerd", "--host", docker.environment["DOCKER_HOST"], "--storage-driver", driver]
    command += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
    command += ["--pidfile", str(folder / "pid"), "--bridge", "none", "--iptables=false", "--ip6tables=false"]
    log = open(folder / "log", "w")
    daemon = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + 60
        while docker.run("version").returncode != 0:
            if daemon.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"dockerd does not run here: {last_line((folder / 'log').read_text())}")
            time.sleep(0.1)
        yield docker
        for container in docker("ps", "--all", "--quiet").split():
            docker("rm", "--force", container)
    finally:
        ended(daemon)
        log.close()
        unmount(folder)
        shutil.rmtree(folder)


def unmount(folder):
    """What the daemon left mounted."""
    mounts = [line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True)


def last_line(text):
    return text.strip().rsplit("\n", 1)[-1]
