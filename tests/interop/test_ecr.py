"""The lab's ECR, by the AWS CLI, boto3, skopeo and docker: lifecycle, settings, mounts, lists of lists, artifacts."""

import hashlib
import json
import urllib.request

import pytest
from conftest import aws, aws_refused, until
from images import MANIFEST, digest_of, hello_image
from test_docker import docker  # noqa: F401  a fixture
from test_skopeo import PLAIN, skopeo  # noqa: F401  a fixture

INDEX = "application/vnd.oci.image.index.v1+json"


class Registry:
    """The registry's own requests, by Python's client."""

    def __init__(self, lab):
        self.host = lab["AWS_ENDPOINT_URL"].removeprefix("http://")
        self.login = aws(lab, "ecr", "get-authorization-token")["authorizationData"][0]["authorizationToken"]

    def __call__(self, method, path, body=None, **headers):
        url = path if path.startswith("http:") else f"http://{self.host}{path}"
        request = urllib.request.Request(url, body, method=method)
        request.add_header("Authorization", f"Basic {self.login}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        return urllib.request.urlopen(request, timeout=10)

    def put(self, repository, reference, manifest):
        content = json.dumps(manifest).encode()
        kind = {"Content_Type": manifest["mediaType"]}
        self("PUT", f"/v2/{repository}/manifests/{reference}", content, **kind)
        return {"mediaType": manifest["mediaType"], "digest": digest_of(content), "size": len(content)}


def test_the_cli_tries_a_lifecycle_policy_and_the_lab_applies_it(lab, amazon, hello_program):
    aws(lab, "ecr", "create-repository", "--repository-name", "hello")
    for tag in ["v1", "v2", "v3", "stable"]:
        amazon.push("hello", hello_image(hello_program, tag), tag)
    there = ["--repository-name", "hello"]
    selection = {"tagStatus": "tagged", "tagPatternList": ["v*"], "countType": "imageCountMoreThan", "countNumber": 1}
    text = json.dumps({"rules": [{"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}]})
    code, why = aws_refused(lab, "ecr", "put-lifecycle-policy", *there, "--lifecycle-policy-text", text.replace("expire", "expires"))
    assert code == "InvalidParameterException" and "Lifecycle policy validation failure: " in why

    started = aws(lab, "ecr", "start-lifecycle-policy-preview", *there, "--lifecycle-policy-text", text)
    assert started["status"] == "IN_PROGRESS"
    aws(lab, "ecr", "wait", "lifecycle-policy-preview-complete", *there)
    preview = aws(lab, "ecr", "get-lifecycle-policy-preview", *there)
    assert sorted(tag for one in preview["previewResults"] for tag in one["imageTags"]) == ["v1", "v2"]
    assert preview["summary"]["expiringImageTotalCount"] == 2

    aws(lab, "ecr", "put-lifecycle-policy", *there, "--lifecycle-policy-text", text)

    def tags():
        return sorted(one["imageTag"] for one in aws(lab, "ecr", "list-images", *there)["imageIds"])

    until(60, tags, lambda found: found == ["stable", "v3"])
    assert aws(lab, "ecr", "get-lifecycle-policy", *there)["lastEvaluatedAt"] > 1_700_000_000


def test_settings_and_policies_by_the_cli(lab):
    setting = ["--name", "BLOB_MOUNTING"]
    assert aws(lab, "ecr", "get-account-setting", *setting)["value"] == "DISABLED"
    assert aws(lab, "ecr", "put-account-setting", *setting, "--value", "ENABLED")["value"] == "ENABLED"
    assert aws_refused(lab, "ecr", "put-account-setting", *setting, "--value", "MAYBE")[0] == "InvalidParameterException"
    allow = {"Effect": "Allow", "Principal": "*", "Action": "ecr:ReplicateImage", "Resource": "*"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    assert aws_refused(lab, "ecr", "get-registry-policy")[0] == "RegistryPolicyNotFoundException"
    aws(lab, "ecr", "put-registry-policy", "--policy-text", text)
    assert aws(lab, "ecr", "get-registry-policy")["policyText"] == text
    assert aws(lab, "ecr", "delete-registry-policy")["registryId"] == aws(lab, "sts", "get-caller-identity")["Account"]
    exclusions = ["--image-tag-mutability-exclusion-filters", "filterType=WILDCARD,filter=latest"]
    mutability = ["--image-tag-mutability", "IMMUTABLE_WITH_EXCLUSION", *exclusions]
    made = aws(lab, "ecr", "create-repository", "--repository-name", "hello", *mutability)["repository"]
    assert made["imageTagMutabilityExclusionFilters"] == [{"filterType": "WILDCARD", "filter": "latest"}]


def test_chunks_lists_of_lists_and_artifacts(lab, amazon, skopeo, tmp_path, hello_program):  # noqa: F811
    registry = Registry(lab)
    for repository in ["hello", "mirror"]:
        aws(lab, "ecr", "create-repository", "--repository-name", repository)
    image = hello_image(hello_program, "one")
    # in chunks, by sha512
    layer = bytes(range(256)) * 24_000
    answer = registry("POST", "/v2/hello/blobs/uploads/")
    place, least = answer.headers["Location"], int(answer.headers["OCI-Chunk-Min-Length"])
    for first, last in [(0, least), (least, len(layer))]:
        answer = registry("PATCH", place, layer[first:last], Content_Range=f"{first}-{last - 1}")
        assert (answer.status, answer.headers["Range"]) == (202, f"0-{last - 1}")
        place = answer.headers["Location"]
    wide = "sha512:" + hashlib.sha512(layer).hexdigest()
    assert registry("PUT", f"{place}?digest={wide}", b"").headers["Docker-Content-Digest"] == wide
    assert registry("GET", f"/v2/hello/blobs/{wide}", Range="bytes=0-9").read() == layer[:10]

    digest = amazon.push("hello", image, "one").split("@")[1]
    child = {**json.loads(image.manifest)}
    platform = {"platform": {"architecture": "amd64", "os": "linux"}}
    listed = {"mediaType": MANIFEST, "digest": digest, "size": len(image.manifest), **platform}
    inner = registry.put("hello", "inner", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]})
    registry.put("hello", "outer", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]})
    subject = {"mediaType": MANIFEST, "digest": digest, "size": len(image.manifest)}
    artifact = {"artifactType": "application/x.example", "subject": subject, "annotations": {"by": "hand"}}
    about = registry.put("hello", "about", {**child, **artifact})
    found = aws(lab, "ecr", "list-image-referrers", "--repository-name", "hello", "--subject-id", f"imageDigest={digest}")
    assert [(one["digest"], one["artifactType"], one["annotations"]) for one in found["referrers"]] == [
        (about["digest"], "application/x.example", {"by": "hand"})
    ]
    password = aws(lab, "ecr", "get-login-password")
    skopeo("login", "--tls-verify=false", "--username", "AWS", "--password-stdin", registry.host, input=password)
    there = f"docker://{registry.host}"
    skopeo("copy", *PLAIN, "--all", f"{there}/hello:inner", f"{there}/mirror:copied")
    copied = skopeo.run("inspect", "--tls-verify=false", "--raw", f"{there}/mirror:copied").stdout
    assert digest_of(copied.encode()) == inner["digest"]
    raw = skopeo.run("inspect", "--tls-verify=false", "--raw", f"{there}/hello:outer").stdout
    assert json.loads(raw)["manifests"] == [inner]
    catalog = json.load(registry("GET", "/v2/_catalog?n=1"))
    assert catalog == {"repositories": ["hello"]}


@pytest.mark.parametrize("setting", ["DISABLED", "ENABLED"])
def test_docker_mounts_where_the_account_lets_it(lab, docker, tmp_path, hello_program, setting):  # noqa: F811
    registry = lab["AWS_ENDPOINT_URL"].removeprefix("http://")
    for repository in ["one", "two"]:
        aws(lab, "ecr", "create-repository", "--repository-name", repository)
    aws(lab, "ecr", "put-account-setting", "--name", "BLOB_MOUNTING", "--value", setting)
    password = aws(lab, "ecr", "get-login-password")
    docker("login", "--username", "AWS", "--password-stdin", registry, input=password)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY page /page\n")
    (tmp_path / "page").write_text("a page")
    docker("build", "--tag", f"{registry}/one:v1", str(tmp_path))
    docker("push", f"{registry}/one:v1")
    docker("tag", f"{registry}/one:v1", f"{registry}/two:v1")
    said = docker("push", f"{registry}/two:v1")
    assert ("Mounted from one" in said) == (setting == "ENABLED"), said
    docker("rmi", f"{registry}/one:v1", f"{registry}/two:v1")
    docker("pull", f"{registry}/two:v1")
