"""Clusters of several instances, capacity providers, account settings, rules and tags, by the AWS CLI."""

import json
import urllib.request

import pytest
from botocore.exceptions import ClientError
from conftest import aws, aws_refused, until
from images import hello_image


def ecs(lab, *arguments):
    return aws(lab, "ecs", *arguments)


def test_a_cluster_of_several_instances_is_drained(lab, amazon, hello_program):
    amazon.ecr.create_repository(repositoryName="web")
    image = amazon.push("web", hello_image(hello_program, "1"), "1")
    first = ecs(lab, "list-container-instances")["containerInstanceArns"][0]
    more = [
        ecs(lab, "register-container-instance", "--attributes", f"name=rack,value={rack}")["containerInstance"]
        for rack in ["one", "two"]
    ]
    second, third = [instance["containerInstanceArn"] for instance in more]
    assert ecs(lab, "list-container-instances", "--filter", "attribute:rack == two")["containerInstanceArns"] == [third]
    ecs(lab, "put-attributes", "--attributes", f"name=rack,value=two,targetId={first}")
    rack = ["--target-type", "container-instance", "--attribute-name", "rack"]
    assert len(ecs(lab, "list-attributes", *rack)["attributes"]) == 3

    container = {"name": "web", "image": image, "memory": 64, "command": ["wait"]}
    amazon.service(
        "web", image, container, desiredCount=2,
        placementConstraints=[{"type": "memberOf", "expression": "attribute:rack == two"}],
        placementStrategy=[{"type": "spread", "field": "instanceId"}],
    )  # fmt: skip
    places = until(60, lambda: running_on(lab, "web"), lambda on: len(on) == 2)
    assert set(places) == {first, third}
    drained = ecs(lab, "update-container-instances-state", "--container-instances", first, "--status", "DRAINING")
    assert drained["containerInstances"][0]["status"] == "DRAINING"
    until(60, lambda: running_on(lab, "web"), lambda on: on == [third, third])
    until(60, lambda: instance(lab, first)["runningTasksCount"], lambda count: count == 0)
    gone = ecs(lab, "deregister-container-instance", "--container-instance", first)
    assert gone["containerInstance"]["status"] == "INACTIVE"
    placement = ["--placement-constraints", "type=distinctInstance"]
    ran = ecs(lab, "run-task", "--task-definition", "web", "--count", "3", *placement)
    assert {task["containerInstanceArn"] for task in ran["tasks"]} == {second, third}
    assert [failure["reason"] for failure in ran["failures"]] == ["DistinctInstance placement constraint unsatisfied."]


def running_on(lab, service):
    arns = ecs(lab, "list-tasks", "--service-name", service)["taskArns"]
    tasks = ecs(lab, "describe-tasks", "--tasks", *arns)["tasks"] if arns else []
    return [task["containerInstanceArn"] for task in tasks if task["lastStatus"] == "RUNNING"]


def instance(lab, arn):
    return ecs(lab, "describe-container-instances", "--container-instances", arn)["containerInstances"][0]


def test_capacity_providers_divide_tasks(lab, amazon):
    group = "arn:aws:autoscaling:us-east-1:1:autoScalingGroup:1:autoScalingGroupName/lab"
    scaling = f"autoScalingGroupArn={group},managedScaling={{status=ENABLED}}"
    ecs(lab, "create-capacity-provider", "--name", "group", "--auto-scaling-group-provider", scaling)
    names = ["FARGATE", "FARGATE_SPOT", "group"]
    mixed = ["capacityProvider=FARGATE,weight=1", "capacityProvider=group,weight=1"]
    put = ["ecs", "put-cluster-capacity-providers", "--cluster", "default", "--capacity-providers", *names]
    code, said = aws_refused(lab, *put, "--default-capacity-provider-strategy", *mixed)
    assert code == "InvalidParameterException" and "cannot contain a mix of capacity providers" in said
    spot = ["capacityProvider=FARGATE,base=1,weight=0", "capacityProvider=FARGATE_SPOT,weight=1"]
    aws(lab, *put, "--default-capacity-provider-strategy", *spot)
    size = {"networkMode": "awsvpc", "cpu": "256", "memory": "512"}
    amazon.ecs.register_task_definition(
        family="web", containerDefinitions=[{"name": "web", "image": "none"}], **size
    )
    subnet = amazon.subnets()[0]["SubnetId"]
    network = ["--network-configuration", f"awsvpcConfiguration={{subnets=[{subnet}]}}"]
    ran = ecs(lab, "run-task", "--task-definition", "web", "--count", "3", *network)
    assert [task["capacityProviderName"] for task in ran["tasks"]] == ["FARGATE", "FARGATE_SPOT", "FARGATE_SPOT"]
    told = ecs(lab, "describe-capacity-providers")["capacityProviders"]
    assert [provider["name"] for provider in told] == names
    code, said = aws_refused(lab, "ecs", "delete-capacity-provider", "--capacity-provider", "group")
    assert (code, said) == ("ClientException", "The specified capacity provider is in use and cannot be removed.")


def test_settings_and_clusters(lab, amazon):
    ecs(lab, "put-account-setting-default", "--name", "containerInsights", "--value", "enabled")
    ecs(lab, "create-cluster", "--cluster-name", "watched")
    told = ecs(lab, "describe-clusters", "--clusters", "watched", "--include", "SETTINGS", "STATISTICS")["clusters"][0]
    assert told["settings"] == [{"name": "containerInsights", "value": "enabled"}]
    assert {"name": "runningEC2TasksCount", "value": "0"} in told["statistics"]
    effective = ecs(lab, "list-account-settings", "--effective-settings", "--name", "containerInsights")["settings"]
    assert effective[0]["value"] == "enabled"
    assert ecs(lab, "list-account-settings")["settings"] == []
    ecs(lab, "update-cluster-settings", "--cluster", "watched", "--settings", "name=containerInsights,value=disabled")
    # The CLI itself wants a plugin for it first.
    with pytest.raises(ClientError) as refused:
        amazon.ecs.execute_command(task="t", interactive=True, command="sh")
    assert refused.value.response["Error"]["Code"] == "InvalidParameterException"


def test_rules_answer_by_what_a_request_has(lab, amazon):
    made = amazon.load_balancer("web")
    answer = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200", "MessageBody": "default"}}
    on = {"Protocol": "HTTP", "Port": 8137, "DefaultActions": [answer]}
    listener = amazon.elbv2.create_listener(LoadBalancerArn=made["LoadBalancerArn"], **on)["Listeners"][0]["ListenerArn"]
    beta = {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "stage", "Value": "beta*"}]}}
    agent = {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Who", "Values": ["me"]}}
    near = {"Field": "source-ip", "SourceIpConfig": {"Values": ["127.0.0.0/8"]}}
    arns = []
    for number, conditions in enumerate([[beta], [agent, near]], 1):
        answer["FixedResponseConfig"]["MessageBody"] = str(number)
        told = aws(
            lab, "elbv2", "create-rule", "--listener-arn", listener, "--priority", str(number),
            "--conditions", json.dumps(conditions), "--actions", json.dumps([answer]),
        )  # fmt: skip
        arns.append(told["Rules"][0]["RuleArn"])

    def ask(path, **headers):
        request = urllib.request.Request(f"http://{made['DNSName']}:8137{path}", headers=headers)
        return urllib.request.urlopen(request, timeout=10).read().decode()

    assert [ask("/"), ask("/?stage=beta2"), ask("/", **{"X-Who": "me"})] == ["default", "1", "2"]
    both = {"X-Who": "me"}
    assert ask("/?stage=beta", **both) == "1"
    swapped = [f"RuleArn={arns[0]},Priority=2", f"RuleArn={arns[1]},Priority=1"]
    aws(lab, "elbv2", "set-rule-priorities", "--rule-priorities", *swapped)
    assert ask("/?stage=beta", **both) == "2"


def test_the_credentials_of_a_session_are_the_same_user_s(lab):
    given = aws(lab, "sts", "get-session-token", "--duration-seconds", "900")["Credentials"]
    session = {
        **lab,
        "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["SessionToken"],
    }
    assert aws(session, "sts", "get-caller-identity") == aws(lab, "sts", "get-caller-identity")
    key = aws(lab, "sts", "get-access-key-info", "--access-key-id", "AKIASTEADYLABSTEADYL")
    assert key["Account"] == aws(lab, "sts", "get-caller-identity")["Account"]


def test_log_groups_have_tags(lab):
    aws(lab, "logs", "create-log-group", "--log-group-name", "/g", "--tags", "team=web")
    arn = aws(lab, "logs", "describe-log-groups")["logGroups"][0]["logGroupArn"]
    aws(lab, "logs", "tag-resource", "--resource-arn", arn, "--tags", "stage=test")
    aws(lab, "logs", "untag-resource", "--resource-arn", arn, "--tag-keys", "team")
    assert aws(lab, "logs", "list-tags-for-resource", "--resource-arn", arn)["tags"] == {"stage": "test"}
