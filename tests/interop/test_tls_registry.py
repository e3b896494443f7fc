"""The push, into CNCF distribution that speaks TLS with a certificate of its own authority, and mounts."""

import datetime
import ipaddress
import json
import re
import shutil
import ssl
import subprocess
import urllib.request

import pytest
from conftest import ended, free_port, wait_for
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# This machine under an address that is not known to be: loopback may speak plain http.
HOST = "0.0.0.0"

STEADY_YAML = """\
services:
  hello:
    image:
      repository: {repository}
      tags: [latest]
      build:
        layers: [{{ from: big.bin, to: /big.bin }}, {{ from: steady.yaml, to: /steady.yaml }}]
    task_definition: task-definition.json
"""


def certificate(folder):
    """A key, its certificate for HOST, and that of the authority who signed it."""
    today = datetime.datetime.now(datetime.timezone.utc)

    def signed(name, key, issuer, signer, extension):
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).add_extension(extension, critical=False)
        builder = builder.not_valid_before(today - datetime.timedelta(days=1))
        return builder.not_valid_after(today + datetime.timedelta(days=9)).sign(signer, hashes.SHA256())

    def named(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = signed(named("tests"), authority, named("tests"), authority, x509.BasicConstraints(ca=True, path_length=None))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
    leaf = signed(named("registry"), key, named("tests"), authority, names)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "leaf.pem").write_bytes(leaf.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    return folder / "ca.pem"


@pytest.fixture
def secure(tmp_path):
    """Yields host and port, and the authority's certificate."""
    authority = certificate(tmp_path)
    program = shutil.which("docker-registry") or "/usr/bin/docker-registry"
    port, debug = free_port(), free_port()
    config = tmp_path / "registry.yml"
    config.write_text(
        "version: 0.1\n"
        f"storage: {{ filesystem: {{ rootdirectory: {tmp_path / 'registry'} }} }}\n"
        f"http: {{ addr: '{HOST}:{port}', debug: {{ addr: '127.0.0.1:{debug}' }},\n"
        f"  tls: {{ certificate: {tmp_path / 'leaf.pem'}, key: {tmp_path / 'key.pem'} }} }}\n"
        "log: { accesslog: { disabled: false } }\n"
    )
    log = open(tmp_path / "registry.log", "w")
    process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{debug}/debug/health", process)
        yield f"{HOST}:{port}", authority
    finally:
        ended(process)
        log.close()


def test_push_over_tls_and_mount(project, secure, tmp_path):
    registry, authority = secure
    project.write("steady.yaml", STEADY_YAML.format(repository=f"{registry}/one"))
    project.write("task-definition.json", {"family": "hello", "containerDefinitions": [{"name": "hello", "memory": 64}]})
    (project.folder / "big.bin").write_bytes(bytes(range(256)) * 20_000)

    refused = project.steady("push", code=4)
    assert "AWS_CA_BUNDLE" in refused.stderr and "SSL_CERT_FILE" in refused.stderr, refused.stderr

    trusted = {"SSL_CERT_FILE": str(authority)}
    pushed = project.steady("push", environment=trusted).json
    context = ssl.create_default_context(cafile=str(authority))
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    request = urllib.request.Request(f"https://{registry}/v2/one/manifests/latest", headers=accept)
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        assert answer.headers["docker-content-digest"] == pushed["digest"]
        big = json.loads(answer.read())["layers"][0]["digest"]

    log = (tmp_path / "registry.log").read_text()
    assert len(re.findall(r'"PUT /v2/one/blobs/uploads/', log)) == 3, "two layers and the configuration"

    # What one repository has is mounted into the other; the file that names the repository is another layer.
    project.write("steady.yaml", STEADY_YAML.format(repository=f"{registry}/two"))
    project.steady("push", environment=trusted)
    log = (tmp_path / "registry.log").read_text()
    mounts = re.findall(r'"POST /v2/two/blobs/uploads/\?(\S+) HTTP/1.1" (\d+)', log)
    assert mounts == [(f"mount={big.replace(':', '%3A')}&from=one", "201")], log
    assert len(re.findall(r'"PUT /v2/two/blobs/uploads/', log)) == 2, log
