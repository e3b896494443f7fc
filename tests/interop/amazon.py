"""boto3's clients of a lab, and what they make there for a test to work with."""

import boto3
from images import digest_of

REGION = "us-east-1"
SERVICES = ["ecs", "ecr", "elbv2", "servicediscovery", "logs"]


class Amazon:
    """A client for each service, and what the tests need to be there."""

    def __init__(self, url):
        self.url = url
        self.ecs, self.ecr, self.elbv2, self.servicediscovery, self.logs = [client(name, url) for name in SERVICES]
        self.ec2 = client("ec2", url)

    def push(self, repository, image, tag):
        for blob in image.blobs:
            upload = self.ecr.initiate_layer_upload(repositoryName=repository)["uploadId"]
            at = {"repositoryName": repository, "uploadId": upload}
            self.ecr.upload_layer_part(**at, partFirstByte=0, partLastByte=len(blob) - 1, layerPartBlob=blob)
            try:
                self.ecr.complete_layer_upload(**at, layerDigests=[digest_of(blob)])
            except self.ecr.exceptions.LayerAlreadyExistsException:
                pass
        self.ecr.put_image(repositoryName=repository, imageTag=tag, imageManifest=image.manifest)
        return f"{self.url.removeprefix('http://')}/{repository}@{image.digest}"

    def subnets(self):
        return self.ec2.describe_subnets()["Subnets"]

    def service(self, name, image, container, **more):
        """A service of one task definition with one container, registered and created."""
        container = {"name": name, "image": image, "memory": 64, **container}
        self.ecs.register_task_definition(family=name, containerDefinitions=[container])
        self.ecs.create_service(serviceName=name, taskDefinition=name, **more)

    def target_group(self, name, **more):
        vpc = self.subnets()[0]["VpcId"]
        made = self.elbv2.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, **more)
        return made["TargetGroups"][0]["TargetGroupArn"]

    def load_balancer(self, name, **more):
        subnets = [subnet["SubnetId"] for subnet in self.subnets()]
        return self.elbv2.create_load_balancer(Name=name, Subnets=subnets, **more)["LoadBalancers"][0]


def client(service, url):
    return boto3.client(
        service, endpoint_url=url, region_name=REGION, aws_access_key_id="steady-lab", aws_secret_access_key="steady-lab"
    )
