"""How soon the end of a rollout is noticed at AWS's pace: steady, and the AWS CLI's waiter beside it."""

import datetime
import subprocess
import threading
import time

from conftest import STEADY, TOOLS, aws, until


def test_steady_notices_within_a_second_and_the_waiter_within_fifteen(hello, slow_lab):
    hello.environment = slow_lab
    noticed = {}

    def runs(name, command):
        finished = subprocess.run(command, env=slow_lab, capture_output=True, text=True, timeout=300)
        noticed[name] = (time.time(), finished.returncode, finished.stderr)

    def described():
        return aws(slow_lab, "ecs", "describe-services", "--services", "hello")["services"]

    deploy = threading.Thread(target=runs, args=("steady", [str(STEADY), "deploy", "-C", str(hello.folder)]))
    deploy.start()
    until(60, described, bool)
    waiter = [str(TOOLS / "aws"), "ecs", "wait", "services-stable", "--services", "hello"]
    runs("aws", waiter)
    deploy.join()
    assert {name: code for name, (_, code, _) in noticed.items()} == {"steady": 0, "aws": 0}, noticed
    events = described()[0]["events"]
    [reached] = [event["createdAt"] for event in events if "has reached a steady state" in event["message"]]
    late = {name: when - seconds(reached) for name, (when, _, _) in noticed.items()}
    print(f"steady state noticed by steady {late['steady']:.2f} s later, by the AWS CLI's waiter {late['aws']:.2f} s later")
    # the process has to end, too
    assert late["steady"] <= 1.5, late
    # it asks every 15 s
    assert late["aws"] <= 17, late


def seconds(created_at):
    """The CLI prints times as ISO 8601, or as they are on the wire."""
    if isinstance(created_at, (int, float)):
        return created_at
    return datetime.datetime.fromisoformat(created_at).timestamp()
