"""The lab's console in Debian's Chromium: what a person sees, types and hears, while the lab deploys."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from conftest import STEADY, aws

HELLO = "clusters/default/services/hello"
TABS = ["Tasks", "Events", "Deployments", "Details", "Logs"]


@pytest.fixture
def console(browser, lab):
    """The console of a lab; a test that leaves complaints of the page behind has failed."""
    browser.said.clear()
    browser.size(1280, 900)
    browser.prefers(prefers_color_scheme="light")
    yield Console(browser, lab["AWS_ENDPOINT_URL"])
    said = [one for one in browser.said if "net::ERR" not in one]
    browser.open("about:blank")
    assert said == []


class Console:
    def __init__(self, browser, url):
        self.browser = browser
        self.url = f"{url}/console/"

    def data(self, path):
        return json.load(urllib.request.urlopen(f"{self.url}data/{path}", timeout=10))

    def open(self, place):
        self.browser.open("about:blank")
        self.browser.open(f"{self.url}#/{place}")
        self.browser.until("document.querySelector('.content') && !document.querySelector('[aria-busy]')")

    def text(self, selector="main"):
        return self.browser.do(f"document.querySelector({json.dumps(selector)})?.innerText")

    def focused(self):
        return self.browser.do("document.activeElement.innerText || document.activeElement.id")

    def rows(self, caption):
        """The cells of a table, row by row, as they are read."""
        table = f"[...document.querySelectorAll('table')].find((of) => of.caption.innerText === {json.dumps(caption)})"
        return self.browser.do(f"[...{table}.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.innerText.trim()))")


def deploy(hello, *arguments, code=0):
    return hello.steady("deploy", *arguments, code=code)


def test_the_page_shows_what_the_apis_say(hello, lab, console):
    hello.environment = lab
    deploy(hello)
    console.open("clusters")
    described = aws(lab, "ecs", "describe-clusters")["clusters"][0]
    row = console.rows("Clusters")[0]
    assert row[0] == "default" and row[2:5] == [str(described[f"{what}Count"]) for what in ["activeServices", "runningTasks", "pendingTasks"]]

    console.open(HELLO)
    service = aws(lab, "ecs", "describe-services", "--services", "hello")["services"][0]
    assert "1 Desired | 0 Pending | 1 Running" in console.text()
    assert service["deployments"][0]["rolloutStateReason"] in console.text()
    task = aws(lab, "ecs", "list-tasks", "--service-name", "hello")["taskArns"][0].split("/")[-1]
    row = console.rows("Tasks")[0]
    assert row[0] == task[:8] and row[1].endswith("Running") and row[3] == "hello:1" and "Healthy" in row[5]

    console.open(f"{HELLO}/events")
    told = [row[1] for row in console.rows("Events")]
    assert told == [event["message"] for event in service["events"]]

    console.open("target-groups/hello")
    group = aws(lab, "elbv2", "describe-target-groups", "--names", "hello")["TargetGroups"][0]["TargetGroupArn"]
    target = aws(lab, "elbv2", "describe-target-health", "--target-group-arn", group)["TargetHealthDescriptions"][0]
    row = console.rows("Registered targets")[0]
    assert row[:2] == [target["Target"]["Id"], str(target["Target"]["Port"])]
    assert row[2].endswith("Healthy") and row[4] == task[:8]

    console.open("repositories/hello")
    image = aws(lab, "ecr", "describe-images", "--repository-name", "hello")["imageDetails"][0]
    row = console.rows("Images")[0]
    assert row[0] == "latest" and row[4] == image["imageDigest"]

    console.open(f"{HELLO}/logs")
    console.browser.until("document.querySelectorAll('.tail li').length > 0")
    groups = aws(lab, "logs", "filter-log-events", "--log-group-name", "/steady/hello")["events"]
    assert groups[0]["message"] in console.text(".tail")
    before = console.browser.do("document.querySelectorAll('.tail li').length")
    address = deploy(hello).json["url"]
    try:
        urllib.request.urlopen(f"{address}/a-line-of-my-own", timeout=10)
    except urllib.error.HTTPError:
        pass
    console.browser.until("document.querySelector('.tail').innerText.includes('/a-line-of-my-own')")
    assert console.browser.do("document.querySelectorAll('.tail li').length") > before


def test_tabs_and_links_work_by_keyboard_alone(hello, lab, console):
    hello.environment = lab
    deploy(hello)
    browser = console.browser
    console.open(HELLO)
    # The way in: the skip link is the first, and leads past the navigation.
    browser.press("Tab")
    assert console.focused() == "Skip to main content"
    assert browser.do("document.activeElement.getBoundingClientRect().top >= 0"), "it is seen when it is focused"
    browser.press("Enter")
    assert browser.do("document.activeElement.id") == "main"
    for _ in range(20):
        browser.press("Tab")
        if browser.do("document.activeElement.getAttribute('role')") == "tab":
            break
    assert console.focused() == "Tasks"
    outline = browser.do("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "the focus is seen"
    ways = [("ArrowRight", 1), ("ArrowRight", 2), ("End", 4), ("ArrowRight", 0), ("ArrowLeft", 4), ("Home", 0), ("ArrowRight", 1)]
    for key, at in ways:
        browser.press(key)
        assert console.focused() == TABS[at], key
        states = browser.do(
            "[...document.querySelectorAll('[role=tab]')].map((tab) => [tab.innerText, tab.getAttribute('aria-selected'), tab.tabIndex])"
        )
        assert states == [[name, "true" if name == TABS[at] else "false", 0 if name == TABS[at] else -1] for name in TABS]
        panel = browser.do(
            "(() => { const panel = document.querySelector('[role=tabpanel]');"
            "return [panel.id, document.getElementById(panel.getAttribute('aria-labelledby')).innerText] })()"
        )
        controls = browser.do("document.querySelector('[aria-selected=true]').getAttribute('aria-controls')")
        assert panel == [controls, TABS[at]]
        assert browser.do("location.hash") == f"#/{HELLO}/{TABS[at].lower()}"
    browser.press("Tab")
    assert browser.do("document.activeElement.getAttribute('role')") == "tabpanel"
    # Typed words narrow the list and survive what comes meanwhile; a link leads to a page whose heading has the focus.
    browser.press("Tab")
    browser.type("steady state")
    browser.until("document.querySelector('tbody').rows.length === 1")
    hello.steady("deploy", "--var", "release=2")
    browser.until("document.querySelector('tbody').rows.length === 2")
    assert browser.do("document.activeElement.value") == "steady state"
    browser.do("document.querySelector('.crumbs a').focus()")
    browser.press("Enter")
    browser.until("document.activeElement.innerText === 'Clusters' && document.activeElement.localName === 'h1'")
    assert browser.do("document.title") == "Clusters | steady lab"


def test_assistive_technology_is_told_names_roles_and_news(hello, lab, console):
    hello.environment = lab
    deploy(hello)
    browser = console.browser
    console.open(f"{HELLO}/deployments")
    tree = browser.tree()

    def named(role):
        return [name for of, name, _ in tree if of == role]

    assert named("RootWebArea") == ["hello | steady lab"]
    assert named("banner") == [""] and named("main") == [""]
    assert named("navigation") == ["Console", "Breadcrumbs"]
    assert named("tab") == TABS and named("tablist") == ["Service"] and named("tabpanel") == ["Deployments"]
    assert [name for of, name, own in tree if of == "tab" and own.get("selected")] == ["Deployments"]
    headings = [(own["level"], name) for of, name, own in tree if of == "heading"]
    assert headings == [(1, "hello"), (2, "Service overview"), (2, "Deployments"), (2, "Service deployments")]
    assert "Deployments" in named("table")
    figure = named("figure")[0]
    assert figure.startswith("Timeline Successful after ") and "1 new task of hello:1" in figure
    assert "Task definition" in named("columnheader") and "hello:1" in named("cell")
    for role in ["link", "button", "tab", "textbox", "searchbox", "combobox", "table", "region"]:
        assert all(named(role)), f"a {role} has no name"
    # What is drawn is told in a table, too.
    browser.do("document.querySelector('.as-table').open = true")
    table = "Timeline: when each task came to each state, from the deployment’s start"
    row = console.rows(table)[0]
    task = console.data(HELLO)["tasks"][0]
    assert row[0] == task["id"][:8]
    took = task["startedAt"] - console.data(HELLO)["serviceDeployments"][0]["createdAt"]
    assert row[6] == f"+{round(took * 1000)} ms" or took >= 1
    console.open(f"{HELLO}/logs")
    tree = browser.tree()
    assert named("log") == ["Log lines"] and "Find in log lines" in named("searchbox")
    # Somebody who does not see the page hears how a deployment goes.
    said = "window.said = []; new MutationObserver(() => said.push(document.getElementById('announcer').innerText)).observe(document.getElementById('announcer'), { childList: true, characterData: true, subtree: true })"
    browser.do(f"{said}; 0")
    hello.steady("deploy", "--var", "release=2")
    browser.until("said.some((one) => one.startsWith('Deployment of hello:2: Completed.'))")
    assert [name for of, name, own in browser.tree() if own.get("live") == "polite"], "it is a live region"


def test_a_deployment_is_seen_while_it_goes_on_and_drawn_to_scale(hello, lab, console):
    hello.environment = lab
    text = (hello.folder / "steady.yaml").read_text()
    hello.write("steady.yaml", text.replace("desired_count: 1", "desired_count: 3"))
    url = deploy(hello).json["url"]
    browser = console.browser
    console.open(f"{HELLO}/deployments")
    # Every state that the page shows, without being loaded again.
    browser.do(
        "window.seen = new Set(); window.loaded = performance.timeOrigin;"
        "setInterval(() => { for (const of of document.querySelectorAll('.history[open] .status')) seen.add(of.lastChild.data) }, 5); 0"
    )
    # Whoever is connected keeps a task that goes, and with it the deployment: no more tasks than three may be there.
    address = urllib.parse.urlsplit(url)
    held = [socket.create_connection((address.hostname, address.port)) for _ in range(6)]
    hello.steady("register", "--var", "release=2")
    aws(lab, "ecs", "update-service", "--service", "hello", "--task-definition", "hello:2",
        "--deployment-configuration", "minimumHealthyPercent=50,maximumPercent=100")
    browser.until("document.querySelector('.history .what').innerText === 'hello:2' && document.querySelector('.lanes .draining')")
    assert "In progress" in console.text(".history > summary")
    said = console.text(".timeline figcaption")
    assert "under way for" in said
    browser.until(f"document.querySelector('.timeline figcaption').innerText !== {json.dumps(said)}")
    for one in held:
        one.close()
    browser.until("document.querySelector('.history .status').innerText.includes('Successful')")
    assert {"In progress", "Successful"} <= set(browser.do("[...seen]")), "it was live"
    assert console.rows("Deployments")[0][3] == "hello:2"
    gone = "document.querySelector('.history .lanes').innerText.match(/hello:1 Stopped/g)?.length === 3"
    browser.until(f"document.querySelector('.history .finished') && {gone}")
    # Nothing of it moves any more when two pictures are the same.
    picture = "document.querySelector('.lanes').innerHTML"
    browser.until(f"new Promise((done) => {{ const before = {picture}; setTimeout(() => done({picture} === before), 500) }})")

    browser.do("for (const of of document.querySelectorAll('.history')) of.open = of === document.querySelector('.history'); 0")
    view = console.data(HELLO)
    deployment = view["serviceDeployments"][0]
    drawn = browser.do(
        "[...document.querySelector('.history').querySelectorAll('.lanes .track')].map((track) => ({ task: track.dataset.task,"
        "left: track.getBoundingClientRect().left, width: track.getBoundingClientRect().width,"
        "spans: [...track.querySelectorAll('.span')].map((of) => ({ phase: of.classList[1], x: of.getBoundingClientRect().x, width: of.getBBox().width })) }))"
    )
    assert len(drawn) == 6, "three tasks that came and three that went"
    tasks = {task["id"]: task for task in view["tasks"]}
    ends = [task["stoppedAt"] for task in tasks.values() if task.get("stoppedAt")] + [deployment["finishedAt"]]
    length = (max(ends) - deployment["createdAt"]) * 1.05
    shown = deployment["createdAt"] + length
    moments = {"provisioning": "createdAt", "pending": "pullStartedAt", "activating": "pullStoppedAt", "running": "startedAt",
               "healthy": "healthyAt", "draining": "stoppingAt", "stopping": "drainedAt", "deprovisioning": "executionStoppedAt"}
    names = list(moments)
    compared = 0
    for lane in drawn:
        task = tasks[lane["task"]]
        is_new = task["startedBy"] == deployment["deploymentId"]
        assert ({"provisioning", "healthy"} if is_new else {"stopping"}) <= {span["phase"] for span in lane["spans"]}, (lane, task)
        for span in lane["spans"]:
            later = [task.get(moments[name]) for name in names[names.index(span["phase"]) + 1:]] + [task.get("stoppedAt"), shown]
            until = min(next(moment for moment in later if moment), shown)
            began = max(task[moments[span["phase"]]], deployment["createdAt"])
            pixels = lane["width"] / length
            assert span["x"] - lane["left"] == pytest.approx((began - deployment["createdAt"]) * pixels, abs=1.5), (lane, span, task)
            assert span["width"] == pytest.approx((until - began) * pixels, abs=1.5), (lane, span, task)
            compared += 1
    assert compared >= 20
    assert browser.do("performance.timeOrigin === loaded"), "the page was never loaded again"


def test_a_bad_release_is_explained(hello, lab, console):
    hello.environment = lab
    deploy(hello)
    deploy(hello, "--var", "fail=health", code=5)
    console.open(f"{HELLO}/deployments")
    text = console.text(".history")
    assert "Rollback successful" in text and "circuit breaker" in text and "to hello:1" in text
    assert console.browser.do("document.querySelectorAll('.history .rollback').length") > 0, "the rollback is in the picture"
    assert console.browser.do("document.querySelectorAll('.history .failed').length") >= 3
    console.open(HELLO)
    stopped = next(row for row in console.rows("Tasks") if row[3] == "hello:2")
    assert stopped[1].endswith("Stopped") and stopped[-1].startswith("Task failed ELB health checks in (target-group ")


HOSTILE = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"


def test_what_programs_write_stays_text(hello, lab, console):
    hello.environment = lab
    deploy(hello)
    task = aws(lab, "ecs", "list-tasks", "--service-name", "hello")["taskArns"][0]
    stream = f"hello/hello/{task.split('/')[-1]}"
    console.open(f"{HELLO}/logs")
    event = json.dumps([{"timestamp": int(time.time() * 1000), "message": HOSTILE}])
    aws(lab, "logs", "put-log-events", "--log-group-name", "/steady/hello", "--log-stream-name", stream, "--log-events", event)
    console.browser.until("document.querySelector('.tail').innerText.includes('onerror')")
    assert HOSTILE in console.text(".tail")
    aws(lab, "ecs", "stop-task", "--task", task, "--reason", HOSTILE)
    aws(lab, "ecs", "tag-resource", "--resource-arn", task, "--tags", "key=a,value=b")
    console.open(HELLO)
    console.browser.until("document.querySelector('main').innerText.includes('onerror')")
    assert console.browser.do("[document.querySelectorAll('main img, main script').length, document.title]") == [0, "hello | steady lab"]
    # The page's policy refuses markup, even where a mistake of its own would ask for it.
    refused = console.browser.do("(() => { try { document.body.innerHTML = '<p>x</p>'; return 'taken' } catch (error) { return error.name } })()")
    assert refused == "TypeError"
    inline = "(() => { const node = document.createElement('b'); node.setAttribute('onclick', 'window.ran = 1'); document.body.append(node); node.click() })()"
    said = console.browser.call("Runtime.evaluate", expression=inline)["exceptionDetails"]["exception"]["description"]
    assert said.startswith("TypeError") and console.browser.do("window.ran ?? 'refused'") == "refused"
    console.browser.said[:] = [one for one in console.browser.said if "'Trusted" not in one and "Content Security Policy" not in one]


def test_a_lab_that_goes_is_said_and_found_again(hello, lab, console):
    hello.environment = lab
    deploy(hello)
    console.open(HELLO)
    assert console.text("#connection") == "Live"

    def steady(*arguments):
        subprocess.run([str(STEADY), "lab", *arguments], env=lab, check=True, capture_output=True, timeout=60)

    steady("stop")
    console.browser.until("document.getElementById('connection').innerText === 'Not connected'")
    assert "1 Desired" in console.text(), "what was known is still shown"
    assert "does not answer" in console.text("#announcer")
    steady("start")
    console.browser.until("document.getElementById('connection').innerText === 'Live'")
    steady("reset")
    console.browser.until("document.querySelector('main').innerText.includes('There is nothing by this name')")
