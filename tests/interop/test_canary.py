"""A canary, released by the AWS CLI and continued by hand."""

import json
import time
import urllib.request

from conftest import aws


def test_the_aws_cli_releases_a_canary_and_continues_it(hello, lab):
    hello.environment = lab
    first = hello.steady("deploy").json
    service = aws(lab, "ecs", "describe-services", "--cluster", "default", "--services", "hello")["services"][0]
    balancer = service["loadBalancers"][0]
    blue = aws(lab, "elbv2", "describe-target-groups", "--target-group-arns", balancer["targetGroupArn"])
    blue = blue["TargetGroups"][0]
    green = aws(
        lab, "elbv2", "create-target-group", "--name", "green", "--protocol", blue["Protocol"], "--port", "80",
        "--vpc-id", blue["VpcId"], "--target-type", blue["TargetType"],
        "--health-check-interval-seconds", "10", "--healthy-threshold-count", "2",
    )["TargetGroups"][0]["TargetGroupArn"]
    load_balancer = blue["LoadBalancerArns"][0]
    listeners = aws(lab, "elbv2", "describe-listeners", "--load-balancer-arn", load_balancer)["Listeners"]
    listener = listeners[0]["ListenerArn"]
    groups = [{"TargetGroupArn": blue["TargetGroupArn"], "Weight": 1}, {"TargetGroupArn": green, "Weight": 0}]
    forward = [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]
    aws(lab, "elbv2", "modify-listener", "--listener-arn", listener, "--default-actions", json.dumps(forward))

    def weights():
        listeners = aws(lab, "elbv2", "describe-listeners", "--listener-arns", listener)["Listeners"]
        groups = listeners[0]["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]
        return {group["TargetGroupArn"]: group["Weight"] for group in groups}

    balancer["advancedConfiguration"] = {
        "alternateTargetGroupArn": green,
        "productionListenerRule": listener,
        "roleArn": "arn:aws:iam::000000000000:role/ecsInfrastructureRole",
    }
    configuration = {
        "strategy": "CANARY",
        "bakeTimeInMinutes": 1,
        "canaryConfiguration": {"canaryPercent": 10.0, "canaryBakeTimeInMinutes": 1},
        "lifecycleHooks": [{"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP", "POST_PRODUCTION_TRAFFIC_SHIFT"]}],
    }
    aws(
        lab, "ecs", "update-service", "--cluster", "default", "--service", "hello",
        "--load-balancers", json.dumps([balancer]), "--deployment-configuration", json.dumps(configuration),
    )

    def deployment():
        listed = aws(lab, "ecs", "list-service-deployments", "--cluster", "default", "--service", "hello")
        arn = listed["serviceDeployments"][0]["serviceDeploymentArn"]
        described = aws(lab, "ecs", "describe-service-deployments", "--service-deployment-arns", arn)
        return described["serviceDeployments"][0]

    def paused(stage):
        until = time.monotonic() + 60
        while True:
            now = deployment()
            assert now["status"] in ("PENDING", "IN_PROGRESS") and time.monotonic() < until, now
            hooks = now.get("lifecycleHookDetails", [])
            if now.get("lifecycleStage") == stage and [hook["status"] for hook in hooks] == ["AWAITING_ACTION"]:
                return now["serviceDeploymentArn"], hooks[0]["hookId"]

    def go_on(arn, hook):
        aws(lab, "ecs", "continue-service-deployment", "--service-deployment-arn", arn, "--hook-id", hook)

    at_scale = paused("POST_SCALE_UP")
    assert weights() == {blue["TargetGroupArn"]: 1, green: 0}
    go_on(*at_scale)
    shifted = paused("POST_PRODUCTION_TRAFFIC_SHIFT")
    assert weights() == {blue["TargetGroupArn"]: 0, green: 100}
    go_on(*shifted)
    aws(lab, "ecs", "wait", "services-stable", "--cluster", "default", "--services", "hello")
    assert deployment()["status"] == "SUCCESSFUL"
    page = urllib.request.urlopen(first["url"], timeout=10).read().decode()
    assert first["digest"] in page
