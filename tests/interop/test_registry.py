"""The push, into CNCF distribution."""

import hashlib
import json
import re
import urllib.request

STEADY_YAML = """\
cluster: default
services:
  hello:
    image:
      repository: {repository}
      tags: [latest, "1"]
      build:
        layers:
          - {{ from: big.bin, to: /big.bin, mode: "0755" }}
          - {{ from: public, to: /public }}
        entrypoint: [/big.bin]
    task_definition: task-definition.json
"""


def get(url):
    request = urllib.request.Request(url, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
    return urllib.request.urlopen(request, timeout=10).read()


def uploads(tmp_path):
    return len(re.findall(r'"PUT /v2/hello/blobs/uploads/', (tmp_path / "registry.log").read_text()))


def test_push(project, registry, tmp_path):
    project.write("steady.yaml", STEADY_YAML.format(repository=f"{registry}/hello"))
    project.write("task-definition.json", {"family": "hello", "containerDefinitions": [{"name": "hello", "memory": 64}]})
    project.write("public/index.html", "one")
    (project.folder / "big.bin").write_bytes(bytes(range(256)) * 20_000)

    pushed = project.steady("push").json
    for tag in ["latest", "1", pushed["digest"]]:
        manifest = get(f"http://{registry}/v2/hello/manifests/{tag}")
        assert "sha256:" + hashlib.sha256(manifest).hexdigest() == pushed["digest"]
    for blob in [json.loads(manifest)["config"], *json.loads(manifest)["layers"]]:
        content = get(f"http://{registry}/v2/hello/blobs/{blob['digest']}")
        assert "sha256:" + hashlib.sha256(content).hexdigest() == blob["digest"]
        assert len(content) == blob["size"]
    assert uploads(tmp_path) == 3, "two layers and the configuration"

    again = project.steady("push").json
    assert again["digest"] == pushed["digest"]
    assert uploads(tmp_path) == 3, "nothing is sent twice"

    project.write("public/index.html", "two")
    changed = project.steady("push").json
    assert changed["digest"] != pushed["digest"]
    assert uploads(tmp_path) == 5, "the page's layer and the configuration, not the program"
