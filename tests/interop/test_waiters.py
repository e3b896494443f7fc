"""How soon the end of a rollout is noticed at AWS's pace: steady, and the AWS CLI's waiter beside it."""

import datetime
import subprocess
import threading
import time

from conftest import STEADY, TOOLS, aws


def test_steady_notices_within_a_second_and_the_waiter_within_fifteen(hello, slow_lab):
    hello.environment = slow_lab
    noticed = {}

    def runs(name, command):
        finished = subprocess.run(command, env=slow_lab, capture_output=True, text=True, timeout=300)
        noticed[name] = (time.time(), finished.returncode, finished.stderr)

    def described():
        return aws(slow_lab, "ecs", "describe-services", "--services", "hello")["services"][0]

    hello.steady("deploy")
    # of a first deploy the waiter waits for running tasks only
    aws(slow_lab, "ecs", "update-service", "--service", "hello", "--force-new-deployment")
    steady = [str(STEADY), "wait", "-C", str(hello.folder)]
    wait = threading.Thread(target=runs, args=("steady", steady))
    wait.start()
    waiter = [str(TOOLS / "aws"), "ecs", "wait", "services-stable", "--services", "hello"]
    # how late one is depends on when it began
    waiting = [threading.Timer(after, runs, args=(f"aws after {after} s", waiter)) for after in (0, 4, 8)]
    for thread in waiting:
        thread.start()
    for thread in [wait, *waiting]:
        thread.join()
    assert [code for _, code, _ in noticed.values()] == [0, 0, 0, 0], noticed
    events = described()["events"]
    reached = next(event["createdAt"] for event in events if "has reached a steady state" in event["message"])
    late = {name: when - seconds(reached) for name, (when, _, _) in noticed.items()}
    steady = late.pop("steady")
    waiters = ", ".join(f"{seconds:.2f}" for seconds in sorted(late.values()))
    print(f"steady state noticed by steady {steady:.2f} s later, by the AWS CLI's waiters {waiters} s later")
    # the process has to end, too
    assert steady <= 1.5, steady
    # they ask every 15 s
    assert max(late.values()) <= 17, late


def seconds(created_at):
    """The CLI prints times as ISO 8601, or as they are on the wire."""
    if isinstance(created_at, (int, float)):
        return created_at
    return datetime.datetime.fromisoformat(created_at).timestamp()
