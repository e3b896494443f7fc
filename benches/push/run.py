#!/usr/bin/env python3
"""How fast images are pushed: `benches/push/run.py path/to/steady [case …]`.

Runs this tree's `steady`, the peers that are installed (docker, podman, skopeo, crane) and plain PUTs against Debian's
docker-registry, all in one run, each on a registry that was emptied, and prints a table with ratios to the plain PUTs.
Needs docker-registry, curl, openssl; takes some minutes and 4 GB of disk in the folder for temporary files.
"""

import contextlib
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import images
import servers
from daemon import docker_daemon
from pushers import Pushers, Took, installed

ROUNDS = 3
ROUND_TRIP, RATE = 0.020, 25e6


class Bench:
    def __init__(self, steady, folder):
        self.folder, self.registry = folder, servers.Registry(folder / "registry")
        self.pushers, self.rows = Pushers(steady, folder), []
        for name, layers in [("eight", images.eight()), ("changed", images.one_changed()), ("forty", images.forty())]:
            images.write(folder / name, layers)

    def measure(self, case, name, push, before=None, rounds=ROUNDS):
        """The median of some rounds, each on an empty registry that `before` may fill."""
        took = []
        for _ in range(rounds):
            self.registry.empty()
            if before:
                before()
            took.append(push())
        median = Took(*(statistics.median(getattr(one, of) for one in took) for of in ["wall", "cpu", "resident"]))
        self.rows.append((case, name, median))
        print(f"{case}: {name}: {median.wall:.2f} s", file=sys.stderr, flush=True)
        return median

    def layout(self):
        eight, port = self.folder / "eight", self.registry.port
        case = "OCI layout, cold"
        self.measure(case, "raw PUTs", lambda: self.pushers.raw(eight, port))
        self.measure(case, "steady", lambda: self.pushers.ours(eight / "layout", port))
        if installed("skopeo"):
            self.measure(case, "skopeo", lambda: self.pushers.skopeo(f"oci:{eight}/layout", port))
        if installed("crane"):
            self.measure(case, "crane", lambda: self.pushers.crane(eight / "layout", port))

    def archive(self):
        eight, port = self.folder / "eight", self.registry.port
        case, archive = "docker archive, cold", eight / "image.tar"
        self.measure(case, "raw PUTs", lambda: self.pushers.raw(eight, port))
        self.measure(case, "steady, zstd", lambda: self.pushers.ours(archive, port, "zstd"))
        self.measure(case, "steady, gzip", lambda: self.pushers.ours(archive, port))
        if installed("skopeo"):
            self.measure(case, "skopeo", lambda: self.pushers.skopeo(f"docker-archive:{archive}", port))
        if installed("crane"):
            self.measure(case, "crane", lambda: self.pushers.crane(archive, port))
        if installed("podman"):
            self.measure(case, "podman push", lambda: self.pushers.podman(archive, port))
        if self.pushers.docker:
            self.measure(case, "docker push", lambda: self.pushers.docker_push(archive, port), self.pushers.forget_docker)

    def daemon(self):
        """Docker has the image: its layers are read where it keeps them, or what it saves as a stream."""
        eight, port = self.folder / "eight", self.registry.port
        case, source = "docker daemon, cold", "docker-daemon:bench:latest"
        self.pushers.docker("load", "-i", str(eight / "image.tar"))
        self.measure(case, "raw PUTs", lambda: self.pushers.raw(eight, port))
        self.measure(case, "docker save, to nowhere", lambda: self.pushers.docker_save("bench:latest"))
        self.measure(case, "steady, zstd", lambda: self.pushers.ours(source, port, "zstd"))
        self.measure(case, "steady, gzip", lambda: self.pushers.ours(source, port))
        nothing = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        hidden = {nothing: self.pushers.docker.folder / "data/image"}
        self.measure(case, "steady, zstd, by the socket", lambda: self.pushers.ours(source, port, "zstd", mounts=hidden))
        self.measure(case, "steady, gzip, by the socket", lambda: self.pushers.ours(source, port, mounts=hidden))
        home = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        before = lambda: self.pushers.ours(source, port, home=home)
        self.measure("docker daemon, nothing to do", "steady", lambda: self.pushers.ours(source, port, home=home), before)
        archive = eight / "image.tar"
        self.measure(case, "docker push", lambda: self.pushers.docker_push(archive, port), self.pushers.forget_docker)

    def changed(self):
        """A fresh runner: it has the new archive, and the registry has the image before."""
        eight, changed, port = self.folder / "eight", self.folder / "changed", self.registry.port
        case, archive = "1 MB changed, fresh runner", changed / "image.tar"
        self.measure(case, "steady", lambda: self.pushers.ours(archive, port), lambda: self.pushers.ours(eight / "image.tar", port))
        if installed("skopeo"):
            before = lambda: self.pushers.skopeo(f"docker-archive:{eight}/image.tar", port)
            self.measure(case, "skopeo", lambda: self.pushers.skopeo(f"docker-archive:{archive}", port), before)
        if installed("podman"):
            before = lambda: self.pushers.podman(eight / "image.tar", port)
            self.measure(case, "podman push", lambda: self.pushers.podman(archive, port), before)
        if installed("crane"):
            before = lambda: self.pushers.crane(eight / "image.tar", port)
            self.measure(case, "crane", lambda: self.pushers.crane(archive, port), before)
        if self.pushers.docker:

            def before():
                self.pushers.docker_push(eight / "image.tar", port)
                self.pushers.restart_docker()

            self.measure(case, "docker push", lambda: self.pushers.docker_push(archive, port), before)

    def small(self):
        forty, case = self.folder / "forty", "40 small layers, 20 ms round trip"
        with servers.wire(self.registry.port, ROUND_TRIP) as port:
            self.measure(case, "raw PUTs", lambda: self.pushers.raw(forty, port))
            self.measure(case, "steady", lambda: self.pushers.ours(forty / "layout", port))
            self.measure(case, "steady, archive", lambda: self.pushers.ours(forty / "image.tar", port))
            if installed("skopeo"):
                self.measure(case, "skopeo", lambda: self.pushers.skopeo(f"oci:{forty}/layout", port))
            if self.pushers.docker:
                push = lambda: self.pushers.docker_push(forty / "image.tar", port)
                self.measure(case, "docker push", push, self.pushers.forget_docker)

    def nothing(self):
        eight = self.folder / "eight"
        home = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        with servers.wire(self.registry.port, ROUND_TRIP) as port:
            before = lambda: self.pushers.ours(eight / "image.tar", port, home=home)
            self.measure("nothing to do, 20 ms round trip", "steady", lambda: self.pushers.ours(eight / "image.tar", port, home=home), before)

    def shaped(self):
        """As ECR is from afar."""
        eight, case = self.folder / "eight", "docker archive, cold, 20 ms and 25 MB/s a connection"
        with servers.wire(self.registry.port, ROUND_TRIP, RATE) as port:
            self.measure(case, "raw PUTs", lambda: self.pushers.raw(eight, port), rounds=1)
            self.measure(case, "steady, zstd", lambda: self.pushers.ours(eight / "image.tar", port, "zstd"), rounds=1)
            self.measure(case, "steady, gzip", lambda: self.pushers.ours(eight / "image.tar", port), rounds=1)
            if installed("skopeo"):
                self.measure(case, "skopeo", lambda: self.pushers.skopeo(f"docker-archive:{eight}/image.tar", port), rounds=1)

    def tls(self):
        eight, case, host = self.folder / "eight", "OCI layout, cold, TLS", "registry.test"
        plain, certificate = self.registry, servers.certificate(self.folder, host)
        self.registry = servers.Registry(self.folder / "tls", certificate)
        port = self.registry.port
        try:
            with self.pushers.trusting(certificate[0], host):
                self.measure(case, "raw PUTs", lambda: self.pushers.raw(eight, port))
                self.measure(case, "steady", lambda: self.pushers.ours(eight / "layout", port, host=host))
                if installed("skopeo"):
                    self.measure(case, "skopeo", lambda: self.pushers.skopeo(f"oci:{eight}/layout", port, host))
        finally:
            self.registry.stop()
            self.registry = plain

    def table(self):
        raw = {case: took.wall for case, name, took in self.rows if name == "raw PUTs"}
        print("| case | who | wall s | × raw | × steady | CPU s | MiB |\n|---|---|---|---|---|---|---|")
        for case, name, took in self.rows:
            ours = [of.wall for other, who, of in self.rows if other == case and who.startswith("steady")]
            ratio = f"{took.wall / raw[case]:.2f}" if case in raw else ""
            to_us = f"{took.wall / ours[-1]:.1f}" if ours else ""
            print(f"| {case} | {name} | {took.wall:.2f} | {ratio} | {to_us} | {took.cpu:.2f} | {took.resident:.0f} |")


CASES = ["layout", "archive", "daemon", "changed", "small", "nothing", "shaped", "tls"]


def main():
    steady, *cases = sys.argv[1:]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-push-"))
    with contextlib.ExitStack() as end:
        end.callback(shutil.rmtree, folder, ignore_errors=True)
        bench = Bench(steady, folder)
        end.callback(bench.registry.stop)
        if installed("dockerd"):
            end.enter_context(docker_daemon(bench.pushers, folder))
        for case in cases or CASES:
            getattr(bench, case)()
        bench.table()
    for name in ["docker", "podman", "skopeo", "crane"]:
        if installed(name):
            print(subprocess.run([name, "--version"], capture_output=True, text=True).stdout.strip().splitlines()[0])


main()
