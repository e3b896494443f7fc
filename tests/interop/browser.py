"""Debian's Chromium without a window, driven over its DevTools protocol."""

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request

import websocket

#: What a key is to the page, beside its name.
KEYS = {
    "Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}


class Browser:
    """A Chromium of its own with one page, at 1280 × 900."""

    def __init__(self, folder):
        program = shutil.which("chromium")
        assert program, "chromium is not installed: apt-get install chromium"
        self.log = open(folder / "chromium.log", "w")
        self.process = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
                "--hide-scrollbars", "--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}",
                "--window-size=1280,900", "about:blank",
            ],
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8", "TZ": "UTC"},
            stdout=self.log,
            stderr=self.log,
        )
        self.ids = itertools.count(1)
        self.said = []
        try:
            self.socket = websocket.create_connection(self.page(folder / "profile/DevToolsActivePort"), suppress_origin=True)
            self.socket.settimeout(60)
            for domain in ["Page", "Runtime", "Log", "Accessibility", "Network"]:
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def page(self, port_file):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"chromium ended with {self.process.returncode}"
            try:
                port = port_file.read_text().split()[0]
                listed = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5))
                return next(one["webSocketDebuggerUrl"] for one in listed if one["type"] == "page")
            except (OSError, IndexError, StopIteration):
                time.sleep(0.05)
        raise AssertionError("chromium opens no page")

    def call(self, method, **parameters):
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self.heard(message)

    def heard(self, message):
        """What the page complained about: errors, and what its policy refused."""
        parameters = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.said.append(parameters["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif message["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.said.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")
        elif message["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.said.append(str([argument.get("value") for argument in parameters["args"]]))

    def do(self, script):
        """What a script's expression gives, as JSON; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{script}\n{answer['exceptionDetails']}"
        return answer["result"].get("value")

    def until(self, script, seconds=30):
        """Waits in the page until an expression is true of it."""
        wait = (
            "new Promise((done) => { const until = Date.now() + %d; const look = async () => { const is = Boolean(await (%s));"
            "if (is || Date.now() > until) { done(is) } else { setTimeout(look, 20) } }; look() })"
        )
        found = self.do(wait % (seconds * 1000, script))
        assert found, f"not within {seconds} s: {script}\n{self.do('document.body?.innerText')}\n{self.said}"

    def open(self, url):
        self.call("Page.navigate", url=url)

    def press(self, key, modifiers=0):
        named = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": modifiers}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **named, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefers(self, **features):
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=named)

    def tree(self):
        """What assistive technology is told: role, name and properties of all that is not ignored."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        told = []
        for node in nodes:
            if not node.get("ignored"):
                properties = {one["name"]: one["value"].get("value") for one in node.get("properties", [])}
                told.append((node["role"].get("value"), node.get("name", {}).get("value", ""), properties))
        return told

    def picture(self, path):
        whole = self.do("({ width: innerWidth, height: document.documentElement.scrollHeight })")
        clip = {"x": 0, "y": 0, "scale": 1, **whole}
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(taken["data"]))

    def close(self):
        if hasattr(self, "socket"):
            self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
