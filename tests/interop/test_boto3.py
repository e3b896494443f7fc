"""The lab, by boto3: its paginators and its waiters."""

import json
import time

import botocore.session
import pytest
from amazon import SERVICES
from botocore import xform_name
from botocore.exceptions import ClientError, WaiterError
from conftest import page
from images import hello_image

UNKNOWN = ["UnknownOperationException", "InvalidAction"]
QUICK = {"Delay": 1, "MaxAttempts": 60}
CONTAINER = {"name": "hello", "memory": 64, "command": ["wait"]}


def test_every_paginator_pages_through_what_there_is(amazon, hello_program):
    table = populate(amazon, hello_program)
    for service, operation, arguments, least in table:
        method = xform_name(operation)
        whole = getattr(getattr(amazon, service), method)(**arguments)
        paginator = getattr(amazon, service).get_paginator(method)
        keys = [key.expression for key in paginator.result_keys]
        size = 5 if (service, operation) == ("logs", "FilterLogEvents") else 2
        pages = list(paginator.paginate(**arguments, PaginationConfig={"PageSize": size}))
        paged = [item for one in pages for item in one[keys[0]]]
        assert len(paged) >= least, f"{operation} has {len(paged)}"
        assert len(pages) == -(-len(paged) // size), f"{operation}: {[len(one[keys[0]]) for one in pages]}"
        assert whole.get("nextToken") is None and paged == whole[keys[0]], operation


def test_the_table_has_every_paginator_that_the_lab_answers(amazon, hello_program):
    """A new operation with a paginator that is not in the table fails here."""
    table = {(service, operation) for service, operation, *_ in populate(amazon, hello_program)}
    # The lab's images have no findings: their scans fail, as AWS's do for images made from nothing.
    table.add(("ecr", "DescribeImageScanFindings"))
    session = botocore.session.get_session()
    for service in SERVICES:
        model = session.get_service_model(service)
        for operation in model.operation_names:
            method = xform_name(operation)
            asked = getattr(amazon, service)
            if (service, operation) in table or not asked.can_paginate(method):
                continue
            with pytest.raises(ClientError) as refused:
                getattr(asked, method)(**required(model.operation_model(operation).input_shape))
            assert refused.value.response["Error"]["Code"] in UNKNOWN, f"{service} {operation}: {refused.value}"


def required(shape):
    """The least that the model takes."""
    match shape.type_name:
        case "structure":
            return {name: required(shape.members[name]) for name in shape.required_members}
        case "list":
            return [required(shape.member)] * shape.metadata.get("min", 0)
        case "string":
            return next(iter(shape.enum), "a" * max(shape.metadata.get("min", 1), 1))
        case "integer" | "long":
            return shape.metadata.get("min", 1)
        case other:
            raise AssertionError(f"a value of type {other} is needed")


def test_the_waiters_of_a_service_with_targets(amazon, hello_program):
    amazon.ecr.create_repository(repositoryName="hello", imageScanningConfiguration={"scanOnPush": True})
    image = amazon.push("hello", hello_image(hello_program, "one"), "one")
    ecs, elbv2 = amazon.ecs, amazon.elbv2

    balancer = amazon.load_balancer("hello")
    named = {"LoadBalancerArns": [balancer["LoadBalancerArn"]]}
    for waiter in ["load_balancer_exists", "load_balancer_available"]:
        elbv2.get_waiter(waiter).wait(**named, WaiterConfig=QUICK)
    group = amazon.target_group("hello", TargetType="instance", HealthCheckPath="/healthz")
    to = [{"Type": "forward", "TargetGroupArn": group}]
    elbv2.create_listener(LoadBalancerArn=balancer["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=to)

    on = [{"targetGroupArn": group, "containerName": "hello", "containerPort": 80}]
    ports = {"portMappings": [{"containerPort": 80, "hostPort": 0}]}
    amazon.service("hello", image, ports, desiredCount=2, loadBalancers=on)
    service = {"services": ["hello"], "cluster": "default"}
    ecs.get_waiter("services_stable").wait(**service, WaiterConfig=QUICK)
    tasks = {"cluster": "default", "tasks": ecs.list_tasks(serviceName="hello")["taskArns"]}
    assert len(tasks["tasks"]) == 2
    ecs.get_waiter("tasks_running").wait(**tasks, WaiterConfig=QUICK)
    targets = elbv2.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    targets = {"TargetGroupArn": group, "Targets": [one["Target"] for one in targets]}
    elbv2.get_waiter("target_in_service").wait(**targets, WaiterConfig=QUICK)
    assert "release one." in page(balancer["DNSName"])

    for task in tasks["tasks"]:
        ecs.stop_task(cluster="default", task=task, reason="the waiter's turn")
    ecs.get_waiter("tasks_stopped").wait(**tasks, WaiterConfig=QUICK)
    stopped = ecs.describe_tasks(**tasks)["tasks"]
    assert {(one["stopCode"], one["stoppedReason"]) for one in stopped} == {("UserInitiated", "the waiter's turn")}
    elbv2.get_waiter("target_deregistered").wait(**targets, WaiterConfig=QUICK)
    ecs.get_waiter("services_stable").wait(**service, WaiterConfig=QUICK)
    with pytest.raises(WaiterError, match="Max attempts exceeded"):
        running = {"cluster": "default", "tasks": ecs.list_tasks(serviceName="hello")["taskArns"]}
        ecs.get_waiter("tasks_stopped").wait(**running, WaiterConfig={"Delay": 0, "MaxAttempts": 2})

    ecs.delete_service(cluster="default", service="hello", force=True)
    ecs.get_waiter("services_inactive").wait(**service, WaiterConfig=QUICK)
    elbv2.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
    elbv2.get_waiter("load_balancers_deleted").wait(**named, WaiterConfig=QUICK)
    with pytest.raises(WaiterError, match="terminal failure"):
        ecs.get_waiter("services_stable").wait(services=["nobody"], WaiterConfig=QUICK)


def test_the_waiter_of_a_scan_ends_with_what_the_lab_can_say(amazon, hello_program):
    """A scan in the lab fails, as AWS's does for an image made from nothing: one without findings would be a lie."""
    ecr = amazon.ecr
    ecr.create_repository(repositoryName="hello")
    amazon.push("hello", hello_image(hello_program, "one"), "one")
    image = {"repositoryName": "hello", "imageId": {"imageTag": "one"}}
    with pytest.raises(ecr.exceptions.ScanNotFoundException):
        ecr.describe_image_scan_findings(**image)
    assert ecr.start_image_scan(**image)["imageScanStatus"] == {"status": "IN_PROGRESS"}
    with pytest.raises(WaiterError, match="terminal failure") as ended:
        ecr.get_waiter("image_scan_complete").wait(**image, WaiterConfig=QUICK)
    status = ended.value.last_response["imageScanStatus"]
    assert status["description"].startswith("UnsupportedImageError: ")
    assert ecr.describe_images(repositoryName="hello")["imageDetails"][0]["imageScanStatus"] == status
    with pytest.raises(ecr.exceptions.LimitExceededException):
        ecr.start_image_scan(**image)


def populate(amazon, program):
    """Things to list, more than a page of each: the table of (service, operation, arguments, how many at least)."""
    ecs, ecr, elbv2, discovery, logs = amazon.ecs, amazon.ecr, amazon.elbv2, amazon.servicediscovery, amazon.logs
    now = int(time.time() * 1000)
    for number in range(4):
        ecs.create_cluster(clusterName=f"c{number}")
        ecr.create_repository(repositoryName=f"r{number}")
        logs.create_log_group(logGroupName=f"/g{number}")
        logs.create_log_stream(logGroupName="/g0", logStreamName=f"s{number}")
        told = [{"timestamp": now + at, "message": f"{number}.{at}"} for at in range(3)]
        logs.put_log_events(logGroupName="/g0", logStreamName=f"s{number}", logEvents=told)
    for number in range(3):
        image = amazon.push("r0", hello_image(program, str(number)), str(number))
        for family in ["a", "b", "c"]:
            container = {**CONTAINER, "image": image}
            ecs.register_task_definition(family=family, containerDefinitions=[container])
        service = {"serviceName": f"s{number}", "taskDefinition": "a", "desiredCount": 0}
        ecs.create_service(cluster="default", **service)
    ecs.run_task(cluster="default", taskDefinition="a", count=3)

    balancer = amazon.load_balancer("l0")["LoadBalancerArn"]
    group = amazon.target_group("t0", TargetType="instance")
    forward = [{"Type": "forward", "TargetGroupArn": group}]
    for number in range(1, 4):
        amazon.load_balancer(f"l{number}")
        amazon.target_group(f"t{number}", TargetType="ip")
        on = {"Protocol": "HTTP", "Port": 8000 + number, "DefaultActions": forward}
        listener = elbv2.create_listener(LoadBalancerArn=balancer, **on)["Listeners"][0]["ListenerArn"]
    for number in range(1, 4):
        when = [{"Field": "path-pattern", "Values": [f"/{number}/*"]}]
        elbv2.create_rule(ListenerArn=listener, Priority=number, Conditions=when, Actions=forward)

    for number in range(3):
        asked = discovery.create_http_namespace(Name=f"n{number}")["OperationId"]
        namespace = discovery.get_operation(OperationId=asked)["Operation"]["Targets"]["NAMESPACE"]
    for number in range(3):
        service = discovery.create_service(Name=f"s{number}", NamespaceId=namespace)["Service"]["Id"]
    for number in range(3):
        attributes = {"AWS_INSTANCE_IPV4": f"172.31.0.{number}"}
        discovery.register_instance(ServiceId=service, InstanceId=f"i{number}", Attributes=attributes)

    for number in range(3):
        connect = {"enabled": True, "namespace": "n0"}
        service_of = {"serviceName": f"connected{number}", "taskDefinition": "a", "desiredCount": 0}
        ecs.create_service(cluster="c0", **service_of, serviceConnectConfiguration=connect)
        ecs.register_container_instance(cluster="default")

    elbv2.get_waiter("load_balancer_available").wait(WaiterConfig=QUICK)
    newest = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}
    policy = {"rules": [{"rulePriority": 1, "selection": newest, "action": {"type": "expire"}}]}
    ecr.start_lifecycle_policy_preview(repositoryName="r0", lifecyclePolicyText=json.dumps(policy))
    ecr.get_waiter("lifecycle_policy_preview_complete").wait(repositoryName="r0", WaiterConfig=QUICK)
    return [
        ("ecs", "ListAccountSettings", {"effectiveSettings": True}, 3),
        ("ecs", "ListAttributes", {"targetType": "container-instance"}, 20),
        ("ecs", "ListClusters", {}, 5),
        ("ecs", "ListContainerInstances", {"cluster": "default"}, 4),
        ("ecs", "ListServices", {"cluster": "default"}, 3),
        ("ecs", "ListServicesByNamespace", {"namespace": "n0"}, 3),
        ("ecs", "ListTaskDefinitionFamilies", {}, 3),
        ("ecs", "ListTaskDefinitions", {}, 9),
        ("ecs", "ListTasks", {"cluster": "default"}, 3),
        ("ecr", "GetLifecyclePolicyPreview", {"repositoryName": "r0"}, 2),
        ("ecr", "DescribeImages", {"repositoryName": "r0"}, 3),
        ("ecr", "DescribeRepositories", {}, 4),
        ("ecr", "ListImages", {"repositoryName": "r0"}, 3),
        ("elbv2", "DescribeAccountLimits", {}, 10),
        ("elbv2", "DescribeListeners", {"LoadBalancerArn": balancer}, 3),
        ("elbv2", "DescribeLoadBalancers", {}, 4),
        ("elbv2", "DescribeRules", {"ListenerArn": listener}, 4),
        ("elbv2", "DescribeTargetGroups", {}, 4),
        ("servicediscovery", "ListInstances", {"ServiceId": service}, 3),
        ("servicediscovery", "ListNamespaces", {}, 3),
        ("servicediscovery", "ListOperations", {}, 6),
        ("servicediscovery", "ListServices", {}, 3),
        ("logs", "DescribeLogGroups", {}, 4),
        ("logs", "DescribeLogStreams", {"logGroupName": "/g0"}, 4),
        ("logs", "FilterLogEvents", {"logGroupName": "/g0"}, 12),
    ]
