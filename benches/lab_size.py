#!/usr/bin/env python3
"""How a lab of 1,000 services with 20 tasks each behaves: `lab_size.py path/to/steady [services] [tasks]`.

Needs boto3. Starts a lab of its own with `--runtime simulated`, deploys every service once, then rolls all of them to
a new revision at the same time while `describe-services` is asked again and again. Prints one row for README.md.

A lab's cluster has one container instance (2,048 CPU units, 3,843 MiB, as a t3.medium), so that the services are on
as many clusters as they need when each of them doubles during its deployment.
"""

import concurrent.futures
import hashlib
import http.client
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

MEMORY = 6  # MiB: the least that ECS takes
ON_AN_INSTANCE = 3843 // MEMORY
STEADY = sys.argv[1]
SERVICES = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
TASKS = int(sys.argv[3]) if len(sys.argv) > 3 else 20
REGION = "us-east-1"
KEY = "steady-lab"


def lab(folder, *arguments):
    command = [STEADY, "--output", "json", "lab", *arguments, "--data-dir", folder]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def client(url, service):
    config = Config(max_pool_connections=8, retries={"total_max_attempts": 1}, read_timeout=600)
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": KEY, "region_name": REGION}
    return boto3.session.Session().client(service, endpoint_url=url, config=config, **keys)


def push(url):
    """A smallest image; its reference by digest."""
    ecr = client(url, "ecr")
    uri = ecr.create_repository(repositoryName="size")["repository"]["repositoryUri"]
    blobs = []
    for content in (json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode(), b"layer"):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        upload = ecr.initiate_layer_upload(repositoryName="size")["uploadId"]
        ecr.upload_layer_part(repositoryName="size", uploadId=upload, partFirstByte=0, partLastByte=len(content) - 1, layerPartBlob=content)
        ecr.complete_layer_upload(repositoryName="size", uploadId=upload, layerDigests=[digest])
        blobs.append({"digest": digest, "size": len(content)})
    config, layer = blobs
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **layer}],
    }
    put = ecr.put_image(repositoryName="size", imageManifest=json.dumps(manifest), imageTag="v1")
    return f"{uri}@{put['image']['imageId']['imageDigest']}"


class Asker(multiprocessing.Process):
    """Asks for one service after the other, and keeps how long each answer takes. In a process of its own, as Python's
    threads would wait for each other and not for the lab."""

    def __init__(self, url, places):
        super().__init__(daemon=True)
        self.host, self.places, self.end = url.removeprefix("http://"), places, multiprocessing.Event()
        self.answers = multiprocessing.SimpleQueue()

    def run(self):
        connection = http.client.HTTPConnection(self.host)
        signer = SigV4Auth(Credentials(KEY, KEY), "ecs", REGION)
        at, all_took = 0, []
        while not self.end.is_set():
            cluster, name = self.places[at % len(self.places)]
            at += 7
            headers = {
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.DescribeServices",
            }
            body = json.dumps({"cluster": cluster, "services": [name]})
            request = AWSRequest("POST", f"http://{self.host}/", headers, body)
            signer.add_auth(request)
            began = time.monotonic()
            connection.request("POST", "/", body, dict(request.headers))
            reply = connection.getresponse()
            content = reply.read()
            all_took.append(time.monotonic() - began)
            assert reply.status == 200, content
            time.sleep(0.005)
        self.answers.put(all_took)

    def finish(self):
        self.end.set()
        took = sorted(self.answers.get())
        self.join()
        at = lambda share: 1000 * took[min(len(took) - 1, int(share * len(took)))]
        return f"{len(took)} asked, p50 {at(0.5):.1f} ms, p99 {at(0.99):.1f} ms, most {at(1):.1f} ms"


def wait(ecs, places, what):
    """Until every service's deployment is COMPLETED with all of its tasks."""
    by_cluster = {}
    for cluster, name in places:
        by_cluster.setdefault(cluster, []).append(name)
    left = [(cluster, names[at : at + 10]) for cluster, names in by_cluster.items() for at in range(0, len(names), 10)]
    began = time.monotonic()
    while left:
        assert time.monotonic() - began < 900, f"{what}: {left[:3]}"
        cluster, names = left[0]
        done = True
        for service in ecs.describe_services(cluster=cluster, services=names)["services"]:
            (first, *others) = service["deployments"]
            done &= first["rolloutState"] == "COMPLETED" and not others and service["runningCount"] == TASKS
        if done:
            left.pop(0)
        else:
            time.sleep(0.05)


def resident(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main():
    folder = tempfile.mkdtemp(prefix="lab-size-")
    try:
        started = lab(folder, "start", "--runtime", "simulated", "--port", "0", "--no-request-budgets")
        url, pid = started["url"], started["pid"]
        print(f"{SERVICES} services with {TASKS} tasks each at {url}: {lab(folder, 'status')['warning']}", flush=True)
        image = push(url)
        ecs = client(url, "ecs")
        on_a_cluster = max(1, ON_AN_INSTANCE // (2 * TASKS))
        places = [(f"c{at // on_a_cluster}", f"s{at}") for at in range(SERVICES)]
        for cluster in sorted({cluster for cluster, _ in places}):
            ecs.create_cluster(clusterName=cluster)

        def register(name):
            container = {"name": "app", "image": image, "memory": MEMORY, "essential": True}
            ecs.register_task_definition(family=name, containerDefinitions=[container])

        def create(place):
            cluster, name = place
            register(name)
            ecs.create_service(cluster=cluster, serviceName=name, taskDefinition=name, desiredCount=TASKS)

        def update(place):
            cluster, name = place
            register(name)
            ecs.update_service(cluster=cluster, service=name, taskDefinition=name)

        for what, act in (("first deployment", create), ("rolling deployment", update)):
            began = time.monotonic()
            asker = Asker(url, places if what.startswith("rolling") else places[:1])
            if what.startswith("rolling"):
                asker.start()
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                list(pool.map(act, places))
            asked = time.monotonic() - began
            wait(ecs, places, what)
            took = time.monotonic() - began
            print(f"{what}: asked for in {asked:.1f} s, complete after {took:.1f} s; at most {resident(pid):.0f} MiB resident", flush=True)
            if what.startswith("rolling"):
                print(f"describe-services meanwhile: {asker.finish()}", flush=True)
        idle = Asker(url, places)
        idle.start()
        time.sleep(5)
        print(f"describe-services afterwards: {idle.finish()}")
        lab(folder, "stop")
        began = time.monotonic()
        lab(folder, "start", "--runtime", "simulated", "--no-request-budgets")
        print(f"stopped and started again in {time.monotonic() - began:.1f} s")
    finally:
        subprocess.run([STEADY, "lab", "stop", "--data-dir", folder], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


main()
