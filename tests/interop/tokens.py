"""A registry that takes bearer tokens only, CNCF distribution's, and a token service for it on another host."""

import base64
import contextlib
import http.server
import json
import subprocess
import threading
import time
import urllib.parse


def url64(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Service:
    """Gives tokens to who has the password, or an identity token by OAuth2's form; keeps what it was asked."""

    def __init__(self, folder, user, password, identity):
        self.key, self.certificate = folder / "tokens.key", folder / "tokens.pem"
        self.login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.identity = identity
        self.asked = []
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens"]
        subprocess.run([*make, "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True)
        lines = self.certificate.read_text().split("-----")[2]
        self.chain = ["".join(lines.split())]

    def token(self, scope):
        """Whatever was asked for is allowed."""
        now = int(time.time())
        access = []
        for part in scope.split():
            kind, name, actions = part.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        claims = {"iss": "tokens", "sub": "me", "aud": "registry", "exp": now + 300, "nbf": now - 10, "iat": now}
        head = url64(json.dumps({"typ": "JWT", "alg": "RS256", "x5c": self.chain}).encode())
        body = url64(json.dumps({**claims, "jti": str(now), "access": access}).encode())
        sign = ["openssl", "dgst", "-sha256", "-sign", self.key]
        signature = subprocess.run(sign, input=f"{head}.{body}".encode(), check=True, capture_output=True).stdout
        return f"{head}.{body}.{url64(signature)}"

    def answer(self, method, authorization, parameters):
        self.asked.append((method, authorization, parameters))
        by_form = method == "POST" and parameters.get("refresh_token") == self.identity
        if not by_form and authorization != self.login:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}
        name = "access_token" if by_form else "token"
        return 200, {name: self.token(parameters.get("scope", "")), "expires_in": 300}


@contextlib.contextmanager
def token_service(folder, user="me", password="s3cret", identity="refresh-me"):
    """Yields the service and its realm, whose host is not the registry's."""
    service = Service(folder, user, password, identity)

    class Handler(http.server.BaseHTTPRequestHandler):
        def reply(self, text):
            parameters = dict(urllib.parse.parse_qsl(text))
            status, body = service.answer(self.command, self.headers.get("Authorization"), parameters)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            self.reply(urllib.parse.urlsplit(self.path).query)

        def do_POST(self):
            self.reply(self.rfile.read(int(self.headers["Content-Length"])).decode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield service, f"http://localhost:{server.server_port}/token"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
