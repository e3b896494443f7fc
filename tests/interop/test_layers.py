"""Images that steady assembles from files, unpacked by others: the files come back, over the base that was meant."""

import json
import os
import subprocess
import tarfile

import pytest
from conftest import STEADY, aws
from docker_daemon import daemon
from test_buildah import buildah  # noqa: F401 (a fixture)

TASK = {"family": "hello", "containerDefinitions": [{"name": "hello", "image": "{{image}}", "memory": 64}]}

NAMES = [b"n" * 100, b"n" * 101, b"n" * 255, b"\xff\xfe", b"sp ace", b"a" * 99 + b"/" + b"b" * 99 + b"/c", b"d" * 97 + b"/..e"]
LINKS = {b"out": b"../../../etc//shadow", b"long": b"l" * 150, b"gone": b"./gone/"}


def registry(lab):
    return lab["AWS_ENDPOINT_URL"].removeprefix("http://")


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


def project_of(lab, tmp_path):
    """A project with a base of its own: a link and a folder that nobody may replace, accounts, and names of every sort."""
    folder = os.fsencode(tmp_path / "project")
    files = {
        b"base/usr/lib/libc.so": b"old",
        b"base/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\napp:x:1001:1002::/srv:/bin/sh\n",
        b"base/etc/group": b"staff:x:50:app\n",
        b"base/tmp/.keep": b"",
        b"over/lib/libc.so": b"new",
        b"over/tmp/seed": b"x" * 100_000,
        b"over/srv/notes.md": b"not for all",
        b"over/srv/kept.md": b"for all",
        b".dockerignore": b"**/*.md\n!**/kept.md\n",
        **{b"over/srv/" + name: name for name in NAMES},
    }
    for path, content in files.items():
        path = os.path.join(folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    os.symlink(b"usr/lib", os.path.join(folder, b"base/lib"))
    for name, target in LINKS.items():
        os.symlink(target, os.path.join(folder, b"over/srv", name))
    os.makedirs(os.path.join(folder, b"over/srv/empty"))
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x", "--date", "1700000000 +0000"]
    remote = ["remote", "add", "origin", "https://ci:s3cret@example.com/hello.git"]
    for arguments in [["init", "-q"], remote, ["add", "base", "over"], commit]:
        dated = {**lab, "GIT_COMMITTER_DATE": "1700000000 +0000"}
        subprocess.run(["git", *arguments], cwd=tmp_path / "project", check=True, env=dated)
    return tmp_path / "project"


def assembled(lab, tmp_path, compression):
    """The image over its base, by name and digest."""
    project = project_of(lab, tmp_path)
    temporary = {"from": "base/tmp", "to": "/tmp", "folder_mode": "1777"}
    base = pushed(lab, project, "base", {"layers": [[{"from": "base", "to": "/"}, temporary]], "platform": "linux/amd64"})
    base = f"111122223333.dkr.ecr.{lab['AWS_REGION']}.amazonaws.com/base@{base}"
    layers = [{"from": "over", "to": "/", "owner": "app:staff"}]
    build = {"base": base, "layers": layers, "platform": "linux/amd64", "command": ["/none"]}
    return f"{registry(lab)}/hello@{pushed(lab, project, 'hello', build, compression=compression)}"


def check(found):
    """`found` has of each path what it is, its owner last."""
    owner = "1001:50"
    assert found[b"lib"] == ("link", b"usr/lib", "0:0"), "the base's link stays one"
    assert found[b"usr/lib/libc.so"] == ("file", "0o644", b"new", owner), "and leads to what lies over it"
    assert found[b"tmp"] == ("folder", "0o1777", "0:0")
    assert found[b"srv"] == ("folder", "0o755", owner), "the base has none"
    assert found[b"srv/empty"] == ("folder", "0o755", owner)
    for name in NAMES:
        assert found[b"srv/" + name] == ("file", "0o644", name, owner)
    for name, target in LINKS.items():
        assert found[b"srv/" + name] == ("link", target, owner)
    assert b"srv/kept.md" in found and b"srv/notes.md" not in found


@pytest.mark.skipif(os.geteuid() != 0, reason="owners are only kept for root")
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_files_come_back_from_buildah(buildah, lab, tmp_path, compression):  # noqa: F811
    image = assembled(lab, tmp_path, compression)
    login = ["login", "--tls-verify=false", "--username", "AWS", "--password-stdin", registry(lab)]
    buildah(*login, input=aws(lab, "ecr", "get-login-password"))
    buildah("pull", "--tls-verify=false", image)
    container = buildah("from", "--pull-never", image)
    check(tree(buildah("mount", container)))
    buildah("umount", container)

    inspected = json.loads(buildah("inspect", "--type", "image", image))
    manifest = json.loads(inspected["Manifest"])
    assert manifest["layers"][-1]["mediaType"].endswith(f"tar+{compression}")
    names_of = "org.opencontainers.image"
    assert manifest["annotations"] == inspected["OCIv1"]["config"]["Labels"]
    assert manifest["annotations"][f"{names_of}.source"] == "https://example.com/hello"
    assert manifest["annotations"][f"{names_of}.created"] == inspected["OCIv1"]["created"] == "2023-11-14T22:13:20Z"
    assert len(manifest["annotations"][f"{names_of}.revision"]) == 40


def test_files_come_back_from_docker(lab, tmp_path):
    image = assembled(lab, tmp_path, "gzip")
    with daemon(lab) as docker:
        docker("login", "--username", "AWS", "--password-stdin", registry(lab), input=aws(lab, "ecr", "get-login-password"))
        docker("pull", image)
        exported = tmp_path / "exported.tar"
        docker("export", "--output", str(exported), docker("create", image))
    found = {}
    with tarfile.open(exported, errors="surrogateescape") as tar:
        for member in tar:
            owner, mode = f"{member.uid}:{member.gid}", oct(member.mode & 0o7777)
            if member.issym():
                what = ("link", os.fsencode(member.linkname), owner)
            elif member.isdir():
                what = ("folder", mode, owner)
            else:
                what = ("file", mode, tar.extractfile(member).read(), owner)
            found[os.fsencode(member.name)] = what
    check(found)
