"""Who pushes: this tree's `steady`, the peers that are installed, and plain PUTs of finished blobs as the limit."""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request

TASK_DEFINITION = {"family": "bench", "containerDefinitions": [{"name": "bench", "image": "{{image}}", "memory": 64}]}


@dataclasses.dataclass
class Took:
    wall: float
    cpu: float
    resident: float  # MiB, the largest process


def measured(command, environment):
    """Runs a command; its seconds, and its processes' CPU seconds and memory."""
    with tempfile.TemporaryFile("w+") as said:
        began = time.monotonic()
        child = subprocess.Popen([str(part) for part in command], env=environment, stdout=said, stderr=said)
        # The kernel's own figure for a child begins with what Python had when it forked.
        with Watch(child.pid) as watch:
            _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        assert child.returncode == 0, f"{command}\n{said.read()}"
    return Took(wall, usage.ru_utime + usage.ru_stime, watch.resident)


def inside(mounts, command):
    """The command where each file or folder stands in for another: in a mount namespace of its own."""
    if not mounts:
        return command
    binds = " && ".join(f"mount --bind {here} {there}" for here, there in mounts.items())
    return ["unshare", "--mount", "sh", "-c", f'{binds} && exec "$@"', "sh", *command]


class Pushers:
    def __init__(self, steady, folder, docker=None):
        self.steady, self.folder, self.docker = pathlib.Path(steady).resolve(), folder, docker
        self.certificate, self.hosts = None, {}

    def environment(self, home):
        keep = {name: os.environ[name] for name in ["PATH", "LANG"] if name in os.environ}
        more = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "AWS_EC2_METADATA_DISABLED": "true"}
        if self.docker:
            more["DOCKER_HOST"] = self.docker.environment["DOCKER_HOST"]
        if self.certificate:
            more["SSL_CERT_FILE"] = str(self.certificate)
        return {**keep, **more}

    @contextlib.contextmanager
    def trusting(self, certificate, host):
        """Pushes to `host`, which is this machine, and has this certificate."""
        hosts = self.folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {host}\n")
        self.certificate, self.hosts = certificate, {hosts: "/etc/hosts"}
        try:
            yield
        finally:
            self.certificate, self.hosts = None, {}

    def raw(self, image, port, at_once=4):
        """What the wire and the registry can take: each blob by POST and PUT, `at_once` side by side."""
        blobs = list((image / "layout/blobs/sha256").iterdir())
        blobs.sort(key=lambda blob: -blob.stat().st_size)
        index = json.loads((image / "layout/index.json").read_text())["manifests"][0]
        base = f"{'https' if self.certificate else 'http'}://127.0.0.1:{port}/v2/raw"
        trust = ["--cacert", self.certificate] if self.certificate else []
        context = ssl.create_default_context(cafile=self.certificate) if self.certificate else None

        def ask(method, url, body=b"", **headers):
            request = urllib.request.Request(url, method=method, data=body, headers=headers)
            return urllib.request.urlopen(request, context=context).headers

        def put(blob):
            location = ask("POST", f"{base}/blobs/uploads/")["Location"]
            url = f"{location}{'&' if '?' in location else '?'}digest=sha256:{blob.name}"
            command = ["curl", "-sS", "--fail", "--http1.1", *trust, "-o", "/dev/null", "-X", "PUT", "-T", blob, url]
            subprocess.run([*command, "-H", "Content-Type: application/octet-stream"], check=True)

        before = os.times()
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            list(pool.map(put, [blob for blob in blobs if blob.name != index["digest"][7:]]))
        manifest = (image / "layout/blobs/sha256" / index["digest"][7:]).read_bytes()
        ask("PUT", f"{base}/manifests/raw", manifest, **{"Content-Type": index["mediaType"]})
        wall, after = time.monotonic() - began, os.times()
        return Took(wall, after.children_user + after.children_system - before.children_user - before.children_system, 0)

    def project(self, source, port, compression, host):
        project = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        (project / "task.json").write_text(json.dumps(TASK_DEFINITION))
        image = {
            "repository": f"{host}:{port}/bench",
            "tags": ["latest"],
            "compression": compression,
            "build": {"image": str(source)},
        }
        service = {"image": image, "task_definition": "task.json"}
        plan = {"region": "us-east-1", "cluster": "bench", "services": {"bench": service}}
        (project / "steady.yaml").write_text(json.dumps(plan))
        return project

    def ours(self, source, port, compression="gzip", home=None, host="127.0.0.1", mounts={}):
        home = home or pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        project = self.project(source, port, compression, host)
        command = [self.steady, "push", "-C", project, "--progress", "none"]
        return measured(inside({**self.hosts, **mounts}, command), self.environment(home))

    def skopeo(self, source, port, host="127.0.0.1"):
        """Root's skopeo remembers blobs in /var/lib/containers: it gets one of its own."""
        home = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        (home / "containers").mkdir()
        command = ["skopeo", "copy", "--insecure-policy", "-q", source, f"docker://{host}:{port}/skopeo:latest"]
        if not self.certificate:
            command.append("--dest-tls-verify=false")
        return measured(inside({home / "containers": "/var/lib/containers", **self.hosts}, command), self.environment(home))

    def podman(self, archive, port):
        """Loaded into a store of its own, which knows no registry, and pushed from there."""
        home = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        (home / "containers").mkdir()
        mounts = {home / "containers": "/var/lib/containers", **self.hosts}
        podman = ["podman", "--root", home / "root", "--runroot", home / "run", "--storage-driver", "vfs"]
        environment = self.environment(home)
        subprocess.run([str(part) for part in inside(mounts, [*podman, "load", "-q", "-i", archive])], env=environment, check=True, capture_output=True)
        push = ["push", "-q", "--tls-verify=false", "bench:latest", f"docker://127.0.0.1:{port}/podman:latest"]
        took = measured(inside(mounts, [*podman, *push]), environment)
        shutil.rmtree(home, ignore_errors=True)
        return took

    def crane(self, source, port):
        home = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        return measured(["crane", "push", "--insecure", source, f"127.0.0.1:{port}/crane:latest"], self.environment(home))

    def docker_save(self, name):
        """What the daemon takes to give the image out; the CPU seconds and the memory are its own."""
        with Watch(self.docker.pid) as watch:
            began = time.monotonic()
            save = subprocess.Popen(["docker", "save", name], env=self.docker.environment, stdout=subprocess.PIPE)
            subprocess.run(["cat"], stdin=save.stdout, stdout=subprocess.DEVNULL, check=True)
            assert save.wait() == 0
            wall = time.monotonic() - began
        return Took(wall, watch.cpu, watch.resident)

    def docker_push(self, archive, port):
        """The CPU seconds and the memory are the daemon's, as far as it is known."""
        name = f"127.0.0.1:{port}/docker:latest"
        self.docker("load", "-i", str(archive))
        self.docker("tag", "bench:latest", name)
        with Watch(self.docker.pid) as watch:
            began = time.monotonic()
            self.docker("push", "-q", name)
            wall = time.monotonic() - began
        self.docker("rmi", name)
        return Took(wall, watch.cpu, watch.resident)


class Watch:
    """CPU seconds and the largest memory (MiB) of a process while something else is done."""

    def __init__(self, pid):
        self.pid, self.resident, self.cpu, self.stop = pid, 0.0, 0.0, threading.Event()

    def used(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(") ")[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def look(self):
        while not self.stop.wait(0.005):
            try:
                lines = pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines()
            except OSError:
                return
            now = [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")]
            self.resident = max([self.resident, *now])

    def __enter__(self):
        self.before = self.used()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        if pathlib.Path(f"/proc/{self.pid}/stat").exists():
            self.cpu = self.used() - self.before


def installed(name):
    return shutil.which(name) is not None
