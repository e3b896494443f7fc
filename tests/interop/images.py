"""An image of examples/hello, as the bytes that a registry takes: no tool of ours or of anybody has a hand in it."""

import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
PAGE = pathlib.Path(__file__).resolve().parents[2] / "examples/ecs-demo/public/index.html"


@dataclasses.dataclass
class Image:
    manifest: str
    blobs: list[bytes]

    @property
    def digest(self):
        return digest_of(self.manifest.encode())


def hello_image(program, release):
    """A server on port 80 whose page names the release."""
    files = {"hello": (program.read_bytes(), 0o755), "public/index.html": (PAGE.read_bytes(), 0o644)}
    return image(files, {"Entrypoint": ["/hello"], "Env": ["PORT=80", f"RELEASE={release}"]})


def image(files, config, architecture="amd64"):
    """An image of one layer with these files, each with its mode."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, (content, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    layer = gzip.compress(packed.getvalue(), mtime=0)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [digest_of(packed.getvalue())]},
    }
    config = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": [descriptor(LAYER, layer)],
    }
    return Image(json.dumps(manifest), [config, layer])


def descriptor(media_type, content):
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()
