"""Images that steady assembles from files, unpacked by buildah: the files come back, over the base that was meant."""

import json
import os
import subprocess

import pytest
from conftest import STEADY, aws
from test_buildah import buildah  # noqa: F401 (a fixture)

TASK = {"family": "hello", "containerDefinitions": [{"name": "hello", "image": "{{image}}", "memory": 64}]}


def pushed(lab, folder, repository, build, **image):
    """`steady push`; the image's digest."""
    image = {"repository": repository, "create": True, "tags": ["1"], "build": build, **image}
    service = {"image": image, "task_definition": "task.json", "launch_type": "EC2"}
    (folder / "steady.yaml").write_text(json.dumps({"cluster": "default", "services": {"hello": service}}))
    (folder / "task.json").write_text(json.dumps(TASK))
    command = [STEADY, "push", "-C", folder, "--lab", "-o", "json"]
    finished = subprocess.run(command, env=lab, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)["digest"]


def tree(root):
    """Every path below with what it is, who owns it and what is in it."""
    found = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = os.path.join(folder, name)
            stat = os.lstat(path)
            if os.path.islink(path):
                what = ("link", os.readlink(path))
            elif os.path.isdir(path):
                what = ("folder", oct(stat.st_mode & 0o7777))
            else:
                what = ("file", oct(stat.st_mode & 0o7777), open(path, "rb").read())
            found[os.path.relpath(path, os.fsencode(root))] = (*what, f"{stat.st_uid}:{stat.st_gid}")
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="owners are only kept for root")
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_files_come_back_over_their_base(buildah, lab, tmp_path, compression):  # noqa: F811
    folder = os.fsencode(tmp_path / "project")
    base = {
        b"base/usr/lib/libc.so": b"old",
        b"base/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\napp:x:1001:1002::/srv:/bin/sh\n",
        b"base/etc/group": b"staff:x:50:app\n",
        b"base/tmp/.keep": b"",
    }
    names = [b"n" * 100, b"n" * 101, b"n" * 255, b"\xff\xfe", b"sp ace", b"a" * 99 + b"/" + b"b" * 99 + b"/c", b"d" * 97 + b"/..e"]
    over = {b"over/lib/libc.so": b"new", b"over/tmp/seed": b"x" * 100_000, **{b"over/srv/" + name: name for name in names}}
    over |= {b"over/srv/notes.md": b"not for all", b"over/srv/kept.md": b"for all", b".dockerignore": b"**/*.md\n!**/kept.md\n"}
    for path, content in {**base, **over}.items():
        path = os.path.join(folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    links = {b"base/lib": b"usr/lib", b"over/srv/out": b"../../../etc//shadow", b"over/srv/long": b"l" * 150, b"over/srv/gone": b"./gone/"}
    for path, target in links.items():
        os.symlink(target, os.path.join(folder, path))
    os.makedirs(os.path.join(folder, b"over/srv/empty"))

    project = tmp_path / "project"
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x", "--date", "1700000000 +0000"]
    remote = ["remote", "add", "origin", "https://ci:s3cret@example.com/hello.git"]
    for arguments in [["init", "-q"], remote, ["add", "base", "over"], commit]:
        subprocess.run(["git", *arguments], cwd=project, check=True, env={**lab, "GIT_COMMITTER_DATE": "1700000000 +0000"})
    temporary = {"from": "base/tmp", "to": "/tmp", "folder_mode": "1777"}
    below = pushed(lab, project, "base", {"layers": [[{"from": "base", "to": "/"}, temporary]], "platform": "linux/amd64"})
    below = f"111122223333.dkr.ecr.{lab['AWS_REGION']}.amazonaws.com/base@{below}"
    layers = [{"from": "over", "to": "/", "owner": "app:staff"}]
    image = pushed(lab, project, "hello", {"base": below, "layers": layers, "platform": "linux/amd64"}, compression=compression)

    registry = lab["AWS_ENDPOINT_URL"].removeprefix("http://")
    image = f"{registry}/hello@{image}"
    login = ["login", "--tls-verify=false", "--username", "AWS", "--password-stdin", registry]
    buildah(*login, input=aws(lab, "ecr", "get-login-password"))
    buildah("pull", "--tls-verify=false", image)
    container = buildah("from", "--pull-never", image)
    found = tree(buildah("mount", container))
    inspected = json.loads(buildah("inspect", "--type", "image", image))
    manifest = json.loads(inspected["Manifest"])
    assert manifest["layers"][-1]["mediaType"].endswith(f"tar+{compression}")
    names_of = "org.opencontainers.image"
    assert manifest["annotations"] == inspected["OCIv1"]["config"]["Labels"]
    assert manifest["annotations"][f"{names_of}.source"] == "https://example.com/hello"
    assert manifest["annotations"][f"{names_of}.created"] == inspected["OCIv1"]["created"] == "2023-11-14T22:13:20Z"
    assert len(manifest["annotations"][f"{names_of}.revision"]) == 40
    buildah("umount", container)

    owner = "1001:50"
    assert found[b"lib"] == ("link", b"usr/lib", "0:0"), "the base's link stays one"
    assert found[b"usr/lib/libc.so"] == ("file", "0o644", b"new", owner), "and leads to what lies over it"
    assert found[b"tmp"] == ("folder", "0o1777", "0:0")
    assert found[b"srv"] == ("folder", "0o755", owner), "the base has none"
    assert found[b"srv/empty"] == ("folder", "0o755", owner)
    for name in names:
        assert found[b"srv/" + name] == ("file", "0o644", name, owner)
    for name in [b"out", b"long", b"gone"]:
        assert found[b"srv/" + name] == ("link", links[b"over/srv/" + name], owner)
    assert b"srv/kept.md" in found and b"srv/notes.md" not in found
