"""A Docker daemon of the benchmark's own."""

import contextlib
import os
import subprocess
import time


class Docker:
    def __init__(self, folder):
        self.folder, self.process = folder, None
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{folder}/d.sock", "DOCKER_CONFIG": str(folder / "client")}

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        command = ["dockerd", "--host", self.environment["DOCKER_HOST"], "--storage-driver", "overlay2"]
        command += ["--data-root", self.folder / "data", "--exec-root", self.folder / "exec", "--pidfile", self.folder / "pid"]
        command += ["--bridge", "none", "--iptables=false", "--ip6tables=false"]
        log = open(self.folder / "log", "a")
        self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log)
        until = time.monotonic() + 60
        while self.run("version").returncode != 0:
            assert self.process.poll() is None and time.monotonic() < until, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def run(self, *arguments):
        return subprocess.run(["docker", *arguments], env=self.environment, capture_output=True, text=True)

    def __call__(self, *arguments):
        finished = self.run(*arguments)
        assert finished.returncode == 0, f"docker {' '.join(arguments)}\n{finished.stdout}{finished.stderr}"
        return finished.stdout


@contextlib.contextmanager
def docker_daemon(pushers, folder):
    folder = folder / "docker"
    folder.mkdir()
    docker = Docker(folder)
    docker.start()
    pushers.docker = docker

    def restart():
        """As a fresh runner's: what the daemon knows of the registry is gone."""
        docker.stop()
        subprocess.run(["rm", "-rf", str(folder / "data")], check=True)
        docker.start()

    pushers.restart_docker = pushers.forget_docker = restart
    try:
        yield docker
    finally:
        docker.stop()
