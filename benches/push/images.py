"""The images of the benchmark, the same in every run: as an OCI layout with gzip layers and as `docker save` writes them."""

import gzip
import hashlib
import io
import json
import random
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MIB = 1 << 20


def content(seed, size):
    """Three quarters of it do not compress, as with programs and libraries: 400 MB become about 313."""
    source = random.Random(seed)
    parts = []
    for at in range(0, size, 64 << 10):
        part = source.randbytes(min(64 << 10, size - at))
        parts.append(part if (at >> 16) % 4 else (part[:1024] * 64)[: len(part)])
    return b"".join(parts)


def layer(name, seed, size):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(f"data/{name}")
        member.size, member.mode = size, 0o644
        tar.addfile(member, io.BytesIO(content(seed, size)))
    return packed.getvalue()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def write(folder, layers):
    """Layers as `(name, seed, size)`, lowest first, into `folder/layout` and `folder/image.tar`."""
    folder.mkdir(parents=True, exist_ok=True)
    blobs = folder / "layout/blobs/sha256"
    blobs.mkdir(parents=True)
    descriptors, diff_ids, names = [], [], []
    with tarfile.open(folder / "image.tar", "w") as archive:

        def add(name, data):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

        for number, (name, seed, size) in enumerate(layers):
            raw = layer(name, seed, size)
            packed = gzip.compress(raw, compresslevel=1, mtime=0)
            (blobs / digest(packed)[7:]).write_bytes(packed)
            descriptors.append({"mediaType": LAYER, "digest": digest(packed), "size": len(packed)})
            diff_ids.append(digest(raw))
            names.append(f"{digest(str(number).encode())[7:]}/layer.tar")
            add(names[-1], raw)
        config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/data"]}}
        config = json.dumps({**config, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
        add(f"{digest(config)[7:]}.json", config)
        entry = {"Config": f"{digest(config)[7:]}.json", "RepoTags": ["bench:latest"], "Layers": names}
        add("manifest.json", json.dumps([entry]).encode())
    (blobs / digest(config)[7:]).write_bytes(config)
    about_config = {"mediaType": CONFIG, "digest": digest(config), "size": len(config)}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": about_config, "layers": descriptors}
    manifest = json.dumps(manifest).encode()
    (blobs / digest(manifest)[7:]).write_bytes(manifest)
    about = {"mediaType": MANIFEST, "digest": digest(manifest), "size": len(manifest)}
    (folder / "layout/oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "layout/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [about]}))


def eight(size=50 * MIB):
    return [(f"part{number}", number, size) for number in range(8)]


def one_changed(size=50 * MIB):
    """The same, and a last layer of 1 MB that is another one."""
    return [*eight(size), ("news", 1000, MIB)]


def forty():
    return [(f"part{number}", 100 + number, 64 << 10) for number in range(40)]
