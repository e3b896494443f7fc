"""The lab, by the AWS CLI: it sees what steady deployed, and walks the whole scenario without steady."""

import base64
import json
import urllib.request

from conftest import ROOT, aws, aws_refused, aws_run, page, until
from images import MANIFEST, digest_of, hello_image

DEMO = ROOT / "examples/ecs-demo"


def test_the_aws_cli_sees_what_steady_deployed(hello, lab):
    hello.environment = lab
    deployed = hello.steady("deploy", "--check-url", "/").json
    assert deployed["status"] == "steady"
    assert deployed["digest"] in page(deployed["url"].removeprefix("http://").rstrip("/"))

    aws(lab, "ecs", "wait", "services-stable", "--cluster", "default", "--services", "hello")
    service = aws(lab, "ecs", "describe-services", "--cluster", "default", "--services", "hello")["services"][0]
    assert service["taskDefinition"] == deployed["taskDefinition"]
    assert [deployment["rolloutState"] for deployment in service["deployments"]] == ["COMPLETED"]
    assert service["events"][0]["message"] == "(service hello) has reached a steady state."

    tasks = aws(lab, "ecs", "list-tasks", "--cluster", "default", "--service-name", "hello")["taskArns"]
    task = aws(lab, "ecs", "describe-tasks", "--cluster", "default", "--tasks", *tasks)["tasks"][0]
    assert task["lastStatus"] == "RUNNING"
    assert task["containers"][0]["imageDigest"] == deployed["digest"]

    images = aws(lab, "ecr", "describe-images", "--repository-name", "hello")["imageDetails"]
    assert [image["imageDigest"] for image in images] == [deployed["digest"]]

    group = service["loadBalancers"][0]["targetGroupArn"]
    health = aws(lab, "elbv2", "describe-target-health", "--target-group-arn", group)["TargetHealthDescriptions"]
    assert [target["TargetHealth"]["State"] for target in health] == ["healthy"]

    events = aws(lab, "logs", "filter-log-events", "--log-group-name", "/steady/hello")["events"]
    assert any("listening" in event["message"] for event in events)


def test_the_aws_cli_rolls_a_service_that_steady_deployed(hello, lab):
    hello.environment = lab
    first = hello.steady("deploy").json
    aws(lab, "ecs", "update-service", "--cluster", "default", "--service", "hello", "--force-new-deployment")
    waited = hello.steady("wait").json
    assert waited["deploymentId"] != first["deploymentId"]
    aws(lab, "ecs", "delete-service", "--cluster", "default", "--service", "hello", "--force")
    aws(lab, "ecs", "wait", "services-inactive", "--cluster", "default", "--services", "hello")


def test_the_aws_cli_walks_the_scenario_by_itself(lab, tmp_path, hello_program):
    walk = Walk(lab, tmp_path, hello_program)
    walk.cluster()
    walk.repository()
    first = walk.image("one")
    walk.scan()
    revision = walk.task_definition(first)
    walk.load_balancer()
    walk.discovery()
    walk.service(revision)
    walk.follow(first, revision)
    walk.release_two(revision)
    walk.back(first, revision)
    walk.log(first)
    walk.teardown(revision)


class Walk:
    """/work/shared/facts/scenario.md, point by point, where the point is AWS's."""

    def __init__(self, lab, folder, program):
        self.lab = lab
        self.folder = folder
        self.program = program

    def aws(self, *arguments):
        return aws(self.lab, *arguments)

    def ecs(self, *arguments):
        return self.aws("ecs", *arguments, "--cluster", "demo")

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    def described(self):
        return self.ecs("describe-services", "--services", "ecs-demo")["services"][0]

    def cluster(self):
        made = self.aws("ecs", "create-cluster", "--cluster-name", "demo", "--tags", "key=walk,value=cli")["cluster"]
        assert (made["status"], made["registeredContainerInstancesCount"]) == ("ACTIVE", 1)
        instances = self.ecs("list-container-instances")["containerInstanceArns"]
        instance = self.ecs("describe-container-instances", "--container-instances", *instances)["containerInstances"][0]
        assert (instance["status"], instance["agentConnected"]) == ("ACTIVE", True)

    def repository(self):
        """1, 2 and 4: the repository, its policy, the password."""
        named = ["--repository-name", "myrepo"]
        assert aws_refused(self.lab, "ecr", "describe-repositories", "--repository-names", "myrepo") == (
            "RepositoryNotFoundException",
            "The repository with name 'myrepo' does not exist in the registry with id '111122223333'",
        )
        made = self.aws("ecr", "create-repository", *named, "--image-scanning-configuration", "scanOnPush=true")
        code, _ = aws_refused(self.lab, "ecr", "create-repository", *named)
        assert code == "RepositoryAlreadyExistsException"
        found = self.aws("ecr", "describe-repositories", "--repository-names", "myrepo")["repositories"]
        assert found == [made["repository"]]
        self.uri = found[0]["repositoryUri"]

        code, _ = aws_refused(self.lab, "ecr", "get-repository-policy", *named)
        assert code == "RepositoryPolicyNotFoundException"
        account = self.aws("sts", "get-caller-identity")["Account"]
        text = (DEMO / "repository-policy.json.hbs").read_text().replace("{{account_id}}", account)
        self.aws("ecr", "set-repository-policy", *named, "--policy-text", text)
        policy = self.aws("ecr", "get-repository-policy", *named)["policyText"]
        assert json.loads(policy)["Statement"][0]["Sid"] == "my_repository_statement"

        password = self.aws("ecr", "get-login-password")
        self.basic = base64.b64encode(f"AWS:{password}".encode()).decode()
        token = self.aws("ecr", "get-authorization-token")["authorizationData"][0]
        assert token["proxyEndpoint"].split("://")[1] == self.uri.split("/")[0]

    def image(self, release):
        """3 and 5: the image, sent through ECR's own API; the digest is what ECR shows afterwards."""
        image = hello_image(self.program, release)
        for blob in image.blobs:
            self.upload(blob)
        path = self.file("manifest", image.manifest.encode())
        tagged = ["--repository-name", "myrepo", "--image-tag", release, "--image-manifest", f"file://{path}"]
        put = self.aws("ecr", "put-image", *tagged)["image"]
        code, _ = aws_refused(self.lab, "ecr", "put-image", *tagged)
        assert code == "ImageAlreadyExistsException"
        asked = ["--repository-name", "myrepo", "--image-ids", f"imageTag={release}"]
        shown = self.aws("ecr", "describe-images", *asked)["imageDetails"][0]
        assert shown["imageDigest"] == put["imageId"]["imageDigest"] == image.digest
        assert shown["imageTags"] == [release]
        headers = {"Authorization": f"Basic {self.basic}", "Accept": MANIFEST}
        host, name = self.uri.split("/", 1)
        asked = urllib.request.Request(f"http://{host}/v2/{name}/manifests/{release}", headers=headers)
        assert urllib.request.urlopen(asked, timeout=10).read() == image.manifest.encode()
        return shown["imageDigest"]

    def scan(self):
        """`scan_on_push`: as at AWS, an image made from nothing has no packages to scan, and the waiter says so."""
        asked = ["--repository-name", "myrepo", "--image-id", "imageTag=one"]
        waited = aws_run(self.lab, "ecr", "wait", "image-scan-complete", *asked)
        assert waited.returncode == 255
        assert "Waiter encountered a terminal failure state" in waited.stderr
        scanned = self.aws("ecr", "describe-image-scan-findings", *asked)
        assert scanned["imageScanStatus"]["status"] == "FAILED"
        assert scanned["imageScanStatus"]["description"].startswith("UnsupportedImageError: ")
        assert aws_refused(self.lab, "ecr", "start-image-scan", *asked)[0] == "LimitExceededException"

    def upload(self, content):
        named = ["--repository-name", "myrepo"]
        digest = digest_of(content)
        asked = self.aws("ecr", "batch-check-layer-availability", *named, "--layer-digests", digest)
        if asked["layers"][0]["layerAvailability"] == "UNAVAILABLE":
            upload = ["--upload-id", self.aws("ecr", "initiate-layer-upload", *named)["uploadId"]]
            part = ["--part-first-byte", "0", "--part-last-byte", str(len(content) - 1)]
            path = self.file("blob", content)
            self.aws("ecr", "upload-layer-part", *named, *upload, *part, "--layer-part-blob", f"fileb://{path}")
            self.aws("ecr", "complete-layer-upload", *named, *upload, "--layer-digests", digest)

    def task_definition(self, digest, **extra):
        """6: the lab's JSON without its nulls, which the CLI itself refuses."""
        text = (DEMO / "ecs-demo.json.hbs").read_text().replace("{{image}}", f"{self.uri}@{digest}")
        document = json.loads(text, object_pairs_hook=lambda pairs: {k: v for k, v in pairs if v is not None})
        document["containerDefinitions"][0].update(extra)
        path = self.file("task-definition", document)
        arn = self.aws("ecs", "register-task-definition", "--cli-input-json", f"file://{path}")["taskDefinition"]
        arn = arn["taskDefinitionArn"]
        container = self.aws("ecs", "describe-task-definition", "--task-definition", arn)["taskDefinition"]
        container = container["containerDefinitions"][0]
        assert (container["cpu"], container["memory"], container["volumesFrom"]) == (0, 128, [])
        assert None not in container.values()
        return arn

    def load_balancer(self):
        """7."""
        subnets = self.aws("ec2", "describe-subnets", "--filters", "Name=default-for-az,Values=true")["Subnets"]
        self.vpc = subnets[0]["VpcId"]
        made = ["--name", "ecs-demo", "--type", "network", "--subnets", *[subnet["SubnetId"] for subnet in subnets]]
        balancer = self.aws("elbv2", "create-load-balancer", *made)["LoadBalancers"][0]
        self.balancer, self.address = balancer["LoadBalancerArn"], balancer["DNSName"]
        tcp = ["--protocol", "TCP", "--port", "80"]
        group = self.aws(
            "elbv2", "create-target-group", "--name", "ecs-demo", *tcp, "--target-type", "instance", "--vpc-id", self.vpc
        )
        self.group = group["TargetGroups"][0]["TargetGroupArn"]
        action = f"Type=forward,TargetGroupArn={self.group}"
        listener = ["--load-balancer-arn", self.balancer, *tcp, "--default-actions", action]
        self.listener = self.aws("elbv2", "create-listener", *listener)["Listeners"][0]["ListenerArn"]
        self.aws("elbv2", "wait", "load-balancer-available", "--load-balancer-arns", self.balancer)

    def discovery(self):
        """8: bridge mode allows only SRV."""
        namespace = ["--name", "lab.local", "--vpc", self.vpc]
        asked = self.aws("servicediscovery", "create-private-dns-namespace", *namespace)["OperationId"]
        done = self.aws("servicediscovery", "get-operation", "--operation-id", asked)["Operation"]
        assert done["Status"] == "SUCCESS"
        self.namespace = done["Targets"]["NAMESPACE"]
        config = f"NamespaceId={self.namespace},RoutingPolicy=MULTIVALUE,DnsRecords=[{{Type=SRV,TTL=10}}]"
        service = ["--name", "ecs-demo", "--dns-config", config, "--health-check-custom-config", "FailureThreshold=1"]
        self.registry = self.aws("servicediscovery", "create-service", *service)["Service"]

    def service(self, revision):
        """9: `role` conflicts, and the same client token makes the same service."""
        on = {"containerName": "ecs-sample", "containerPort": 80}
        wanted = {
            "cluster": "demo",
            "serviceName": "ecs-demo",
            "taskDefinition": revision,
            "desiredCount": 1,
            "launchType": "EC2",
            "clientToken": "the-walk",
            "loadBalancers": [{"targetGroupArn": self.group, **on}],
            "serviceRegistries": [{"registryArn": self.registry["Arn"], **on}],
            **json.loads((DEMO / "service.json.hbs").read_text()),
        }
        create = ["ecs", "create-service", "--cli-input-json"]
        with_role = self.file("service", {**wanted, "role": "ecsServiceRole"})
        code, _ = aws_refused(self.lab, *create, f"file://{with_role}")
        assert code == "InvalidParameterException"
        path = self.file("service", wanted)
        made, again = [self.aws(*create, f"file://{path}")["service"] for _ in range(2)]
        assert made["serviceArn"] == again["serviceArn"]
        assert made["deployments"][0]["id"] == again["deployments"][0]["id"]
        other = self.file("service", {**wanted, "clientToken": "another"})
        assert aws_refused(self.lab, *create, f"file://{other}") == (
            "InvalidParameterException",
            "Creation of service was not idempotent.",
        )

    def follow(self, digest, revision):
        """10: the real waiters, then tasks, events, targets, Cloud Map, and the page."""
        task = until(60, lambda: self.ecs("list-tasks", "--service-name", "ecs-demo")["taskArns"], len)[0]
        self.ecs("wait", "tasks-running", "--tasks", task)
        self.ecs("wait", "services-stable", "--services", "ecs-demo")
        service = self.described()
        assert [(one["status"], one["taskDefinition"]) for one in service["deployments"]] == [("PRIMARY", revision)]
        messages = [event["message"] for event in service["events"]]
        task_id = task.rsplit("/", 1)[1]
        assert f"(service ecs-demo) has started 1 tasks: (task {task_id})." in messages
        assert f"(service ecs-demo) registered 1 targets in (target-group {self.group})" in messages
        described = self.ecs("describe-tasks", "--tasks", task)["tasks"][0]
        assert described["containers"][0]["imageDigest"] == digest
        assert described["containers"][0]["networkBindings"][0]["hostPort"] == 80
        asked = ["--target-group-arn", self.group]
        self.aws("elbv2", "wait", "target-in-service", *asked)
        targets = self.aws("elbv2", "describe-target-health", *asked)["TargetHealthDescriptions"]
        assert [(target["Target"]["Port"], target["TargetHealth"]) for target in targets] == [(80, {"State": "healthy"})]
        named = ["--namespace-name", "lab.local", "--service-name", "ecs-demo"]
        found = self.aws("servicediscovery", "discover-instances", *named)["Instances"]
        assert [(one["InstanceId"], one["Attributes"]["AWS_INSTANCE_PORT"]) for one in found] == [(task_id, "80")]
        assert "release one." in page(self.address)

    def release_two(self, first):
        """11: a new image, the same service."""
        second = self.image("two")
        revision = self.task_definition(second)
        assert int(revision.rsplit(":", 1)[1]) == int(first.rsplit(":", 1)[1]) + 1
        updated = self.ecs("update-service", "--service", "ecs-demo", "--task-definition", revision)["service"]
        assert [one["status"] for one in updated["deployments"]] == ["PRIMARY", "ACTIVE"]
        self.ecs("wait", "services-stable", "--services", "ecs-demo")
        assert "release two." in page(self.address)
        found = self.ecs("list-service-deployments", "--service", "ecs-demo")["serviceDeployments"]
        assert [one["status"] for one in found] == ["SUCCESSFUL", "SUCCESSFUL"]
        newest = found[0]["targetServiceRevisionArn"]
        shown = self.aws("ecs", "describe-service-revisions", "--service-revision-arns", newest)["serviceRevisions"][0]
        assert shown["taskDefinition"] == revision
        assert shown["containerImages"][0]["imageDigest"] == second

    def back(self, digest, revision):
        """11: `rollback` by hand, and by stopping a deployment."""
        self.ecs("update-service", "--service", "ecs-demo", "--task-definition", revision)
        until(60, self.described, lambda service: rolled(service, revision))
        assert "release one." in page(self.address)
        task = self.ecs("list-tasks", "--service-name", "ecs-demo")["taskArns"]
        assert self.ecs("describe-tasks", "--tasks", *task)["tasks"][0]["containers"][0]["imageDigest"] == digest

        deaf = self.task_definition(digest, command=["wait"])
        change = ["--task-definition", deaf, "--health-check-grace-period-seconds", "600"]
        updated = self.ecs("update-service", "--service", "ecs-demo", *change)["service"]
        deployment = updated["currentServiceDeployment"]
        self.aws("ecs", "stop-service-deployment", "--service-deployment-arn", deployment, "--stop-type", "ROLLBACK")
        until(60, self.described, lambda service: rolled(service, revision))
        asked = ["--service-deployment-arns", deployment]
        stopped = self.aws("ecs", "describe-service-deployments", *asked)["serviceDeployments"][0]
        assert stopped["status"] == "ROLLBACK_SUCCESSFUL"
        assert "release one." in page(self.address)

    def log(self, digest):
        """A task of its own, whose log the CLI reads."""
        self.aws("logs", "create-log-group", "--log-group-name", "/demo")
        options = {"awslogs-group": "/demo", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "walk"}
        revision = self.task_definition(
            digest,
            command=["wait"],
            environment=[{"name": "SLEEP_TIME", "value": "1"}],
            portMappings=[],
            logConfiguration={"logDriver": "awslogs", "options": options},
        )
        started = self.ecs("run-task", "--task-definition", revision, "--launch-type", "EC2")
        assert started["failures"] == []
        task = started["tasks"][0]["taskArn"]
        self.ecs("wait", "tasks-stopped", "--tasks", task)
        stopped = self.ecs("describe-tasks", "--tasks", task)["tasks"][0]
        assert (stopped["stopCode"], stopped["containers"][0]["exitCode"]) == ("EssentialContainerExited", 0)
        streams = self.aws("logs", "describe-log-streams", "--log-group-name", "/demo")["logStreams"]
        assert [one["logStreamName"] for one in streams] == [f"walk/ecs-sample/{task.rsplit('/', 1)[1]}"]
        asked = ["--log-group-name", "/demo", "--log-stream-name", streams[0]["logStreamName"]]
        events = self.aws("logs", "get-log-events", *asked, "--start-from-head")["events"]
        assert [json.loads(event["message"])["message"] for event in events] == ["waiting"]

    def teardown(self, revision):
        """12: what was made goes, in the order that AWS asks for."""
        code, _ = aws_refused(self.lab, "ecs", "delete-service", "--cluster", "demo", "--service", "ecs-demo")
        assert code == "InvalidParameterException", "it still has a task"
        code, _ = aws_refused(self.lab, "elbv2", "delete-target-group", "--target-group-arn", self.group)
        assert code == "ResourceInUse"
        code, _ = aws_refused(self.lab, "servicediscovery", "delete-namespace", "--id", self.namespace)
        assert code == "ResourceInUse"
        code, _ = aws_refused(self.lab, "ecs", "delete-cluster", "--cluster", "demo")
        assert code == "ClusterContainsServicesException"

        self.ecs("update-service", "--service", "ecs-demo", "--desired-count", "0")
        self.ecs("delete-service", "--service", "ecs-demo")
        self.ecs("wait", "services-inactive", "--services", "ecs-demo")
        self.aws("elbv2", "delete-listener", "--listener-arn", self.listener)
        self.aws("elbv2", "delete-load-balancer", "--load-balancer-arn", self.balancer)
        self.aws("elbv2", "wait", "load-balancers-deleted", "--load-balancer-arns", self.balancer)
        self.aws("elbv2", "delete-target-group", "--target-group-arn", self.group)
        self.aws("servicediscovery", "delete-service", "--id", self.registry["Id"])
        self.aws("servicediscovery", "delete-namespace", "--id", self.namespace)
        self.aws("logs", "delete-log-group", "--log-group-name", "/demo")
        code, _ = aws_refused(self.lab, "ecr", "delete-repository", "--repository-name", "myrepo")
        assert code == "RepositoryNotEmptyException"
        self.aws("ecr", "delete-repository", "--repository-name", "myrepo", "--force")
        gone = self.aws("ecs", "deregister-task-definition", "--task-definition", revision)["taskDefinition"]
        assert gone["status"] == "INACTIVE"
        self.aws("ecs", "delete-task-definitions", "--task-definitions", revision)
        deleted = self.aws("ecs", "delete-cluster", "--cluster", "demo")["cluster"]
        assert deleted["status"] == "INACTIVE"


def rolled(service, revision):
    """Whether one deployment is left, of this revision, and done."""
    left = [(one["taskDefinition"], one["rolloutState"]) for one in service["deployments"]]
    return left == [(revision, "COMPLETED")]

