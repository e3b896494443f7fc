"""How the lab's console looks: contrast in both colour schemes, a phone's width, rest where motion is not wanted; and the
command that opens it."""

import json
import os
import pathlib
import pty
import shutil
import subprocess
import urllib.request

import pytest
from conftest import ROOT, STEADY, free_port, until

HELLO = "clusters/default/services/hello"

CONTRAST = """
(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((of) => of / 255).map((of) => of <= 0.03928 ? of / 12.92 : ((of + 0.055) / 1.055) ** 2.4)
    .reduce((sum, of, at) => sum + of * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (node) => {
    for (let of = node; of; of = of.parentElement) {
      const color = parts(getComputedStyle(of).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const ratio = (one, other) => { const [a, b] = [light(one), light(other)].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05) };
  const faint = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !node.checkVisibility() || node.closest('svg, .unseen, .skip')) continue;
    const found = ratio(parts(getComputedStyle(node).color), ground(node));
    if (found < 4.5) faint.push([walk.currentNode.data, found]);
  }
  for (const node of document.querySelectorAll('.lanes .span:not(.draining)')) {
    const found = ratio(parts(getComputedStyle(node).fill), ground(node.closest('.timeline')));
    if (found < 3) faint.push([node.getAttribute('class'), found]);
  }
  return faint;
})()
"""


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_both_schemes_and_on_a_phone(browser, shown, scheme, width):
    url, task = shown
    browser.size(width, 900)
    browser.prefers(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    grounds = set()
    for place in [
        "clusters", "clusters/default", "clusters/default/tasks", "clusters/default/infrastructure", HELLO, f"{HELLO}/events",
        f"{HELLO}/deployments", f"{HELLO}/details", f"{HELLO}/logs", f"clusters/default/tasks/{task}", "target-groups",
        "target-groups/hello", "repositories", "repositories/hello",
    ]:
        browser.open("about:blank")
        browser.open(f"{url}/console/#/{place}")
        browser.until("document.querySelector('.content') && !document.querySelector('[aria-busy]')")
        browser.do("document.querySelectorAll('details').forEach((of) => { of.open = true })")
        assert browser.do("document.documentElement.scrollWidth") <= width, f"{place} is wider than the page"
        assert browser.do(CONTRAST) == [], f"{place} in {scheme}"
        grounds.add(browser.do("getComputedStyle(document.body).backgroundColor"))
        moving = browser.do("document.getAnimations().filter((of) => of.playState === 'running').length")
        assert moving == 0, "nothing moves where that is not wanted"
        pictures = os.environ.get("CONSOLE_PICTURES")
        if pictures:
            browser.picture(pathlib.Path(pictures) / f"{place.replace('/', '_')}-{scheme}-{width}.png")
    bright = sum(int(part) for part in grounds.pop().strip("rgb()").split(",")) > 3 * 128
    assert not grounds and bright == (scheme == "light")


@pytest.fixture(scope="module")
def shown(tmp_path_factory, hello_program):
    """A lab with a service, for those who only look."""
    folder = tmp_path_factory.mktemp("shown")
    shutil.copytree(ROOT / "examples/hello", folder / "hello", ignore=shutil.ignore_patterns("target", ".cargo"))
    (folder / "hello/target/release").mkdir(parents=True)
    shutil.copy(hello_program, folder / "hello/target/release/hello")
    project = folder / "hello/steady.yaml"
    project.write_text(project.read_text().replace("run: cargo build --release", "run: 'true'"))
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "STEADY_LAB_DIR": str(folder / "lab")}

    def steady(*arguments, code=0):
        run = subprocess.run([str(STEADY), *arguments], env=environment, capture_output=True, text=True, timeout=120)
        assert run.returncode == code, run.stderr
        return run.stdout

    url = json.loads(steady("lab", "start", "--port", str(free_port()), "--output", "json"))["url"]
    try:
        hello = ["deploy", "--lab", "-C", str(folder / "hello")]
        steady(*hello)
        steady(*hello, "--var", "release=2")
        steady(*hello, "--var", "fail=health", code=5)
        task = json.load(urllib.request.urlopen(f"{url}/console/data/{HELLO}", timeout=10))["tasks"][0]["id"]
        yield url, task
    finally:
        steady("lab", "stop")


def test_the_command_opens_a_browser_where_somebody_sits(lab, tmp_path):
    """`xdg-open` is the test's own; a terminal and a display make the difference."""
    opened = tmp_path / "opened"
    programs = tmp_path / "bin"
    programs.mkdir()
    opener = programs / "xdg-open"
    opener.write_text(f'#!/bin/sh\necho "$@" >> {opened}.new && mv {opened}.new {opened}\n')
    opener.chmod(0o755)
    url = f"{lab['AWS_ENDPOINT_URL']}/console/"
    here = {**lab, "PATH": f"{programs}:{lab['PATH']}"}

    def run(arguments, environment):
        leader, terminal = pty.openpty()
        try:
            process = subprocess.run([str(STEADY), "lab", "console", *arguments], env=environment, stdout=terminal,
                                     stderr=subprocess.PIPE, text=True, timeout=60, check=True)
            return os.read(leader, 4096).decode().strip(), process.stderr
        finally:
            os.close(leader)
            os.close(terminal)

    assert run([], here)[0] == url
    assert run(["--no-open"], {**here, "DISPLAY": ":9"})[0] == url
    piped = subprocess.run([str(STEADY), "lab", "console"], env={**here, "DISPLAY": ":9"}, capture_output=True, text=True)
    assert piped.stdout.strip() == url
    assert not opened.exists(), "no display, not wanted, no terminal"
    assert run([], {**here, "WAYLAND_DISPLAY": "wayland-9"})[0] == url
    until(30, opened.exists, bool)
    assert opened.read_text() == f"{url}\n"
    opener.unlink()
    shown, told = run([], {**lab, "PATH": str(programs), "DISPLAY": ":9"})
    assert shown == url and "xdg-open does not run here" in told
