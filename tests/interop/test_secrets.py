"""Parameters, secrets and roles by the AWS CLI and boto3, and in a container that steady deployed."""

import json
import os
import subprocess
import urllib.request

import boto3
import pytest
from botocore.exceptions import ClientError
from conftest import REGION, ROOT, STEADY, TOOLS, aws, free_port

TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


def boto(service, lab):
    return boto3.client(
        service,
        endpoint_url=lab["AWS_ENDPOINT_URL"],
        region_name=REGION,
        aws_access_key_id=lab["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=lab["AWS_SECRET_ACCESS_KEY"],
    )


def test_boto3_pages_through_parameters_and_secrets(lab):
    ssm, secrets = boto("ssm", lab), boto("secretsmanager", lab)
    for number in range(23):
        ssm.put_parameter(Name=f"/app/{number:02}", Value=str(number), Type="SecureString")
        secrets.create_secret(Name=f"app/{number:02}", SecretBinary=bytes([number, 255]))
    pages = list(ssm.get_paginator("get_parameters_by_path").paginate(Path="/app", WithDecryption=True))
    assert [parameter["Value"] for page in pages for parameter in page["Parameters"]] == [str(n) for n in range(23)]
    assert len(pages) == 3
    pages = secrets.get_paginator("list_secrets").paginate(PaginationConfig={"PageSize": 10})
    assert len({secret["ARN"] for page in pages for secret in page["SecretList"]}) == 23
    assert secrets.get_secret_value(SecretId="app/07")["SecretBinary"] == b"\x07\xff"
    with pytest.raises(ssm.exceptions.ParameterNotFound):
        ssm.get_parameter(Name="/app/none")
    with pytest.raises(secrets.exceptions.ResourceNotFoundException):
        secrets.get_secret_value(SecretId="none")


def test_the_aws_cli_makes_roles_and_boto3_reads_them(lab):
    aws(lab, "iam", "create-role", "--role-name", "task", "--assume-role-policy-document", json.dumps(TRUST))
    arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
    aws(lab, "iam", "attach-role-policy", "--role-name", "task", "--policy-arn", arn)
    iam = boto("iam", lab)
    role = iam.get_role(RoleName="task")["Role"]
    assert role["AssumeRolePolicyDocument"] == TRUST
    assert role["CreateDate"].tzinfo is not None
    attached = iam.get_paginator("list_attached_role_policies").paginate(RoleName="task").build_full_result()
    assert attached["AttachedPolicies"] == [{"PolicyName": arn.split("/")[-1], "PolicyArn": arn}]
    with pytest.raises(iam.exceptions.NoSuchEntityException) as missing:
        iam.get_role(RoleName="none")
    assert missing.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404
    with pytest.raises(ClientError, match="DeleteConflict"):
        iam.delete_role(RoleName="task")
    aws(lab, "iam", "wait", "role-exists", "--role-name", "task")


def test_boto3_simulates_what_a_role_may_do(lab):
    iam = boto("iam", lab)
    arn = iam.create_role(RoleName="ci", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    condition = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    statement = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "*", "Condition": condition}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName="ci", PolicyName="pass", PolicyDocument=policy)
    asked = {"PolicySourceArn": arn, "ActionNames": ["iam:PassRole", "ecs:UpdateService"], "ResourceArns": [arn]}
    passed = {
        "ContextKeyName": "iam:PassedToService",
        "ContextKeyType": "string",
        "ContextKeyValues": ["ecs-tasks.amazonaws.com"],
    }
    said = iam.simulate_principal_policy(**asked, ContextEntries=[passed])["EvaluationResults"]
    assert [result["EvalDecision"] for result in said] == ["allowed", "implicitDeny"]
    said = iam.simulate_principal_policy(**asked)["EvaluationResults"][0]["ResourceSpecificResults"]
    assert said[0]["MissingContextValues"] == ["iam:PassedToService"]
    pages = iam.get_paginator("simulate_principal_policy").paginate(**asked, PaginationConfig={"PageSize": 1})
    assert [len(page["EvaluationResults"]) for page in pages] == [1, 1]


@pytest.mark.parametrize("service", ["ssm describe-parameters", "secretsmanager list-secrets", "iam list-roles"])
def test_a_users_other_endpoints_do_not_lead_away_from_the_lab(lab, service):
    elsewhere = {
        f"AWS_ENDPOINT_URL_{name}": "http://127.0.0.1:1" for name in ("SSM", "SECRETS_MANAGER", "IAM")
    }
    environment = {**lab, **elsewhere, "PATH": f"{TOOLS}{os.pathsep}{lab['PATH']}", "AWS_MAX_ATTEMPTS": "1"}
    script = f'eval "$("{STEADY}" lab env)" && aws {service}'
    finished = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr


def test_what_the_aws_cli_seeds_reaches_the_container(project, lab):
    project.environment = lab
    program = project.folder / "web"
    source = ROOT / "tests/fixtures/release/web.rs"
    subprocess.run(
        ["rustc", "--edition=2024", "-Cpanic=abort", "-Ctarget-feature=+crt-static", "-o", str(program), str(source)],
        check=True,
    )
    project.write(
        "steady.yaml",
        f"""
cluster: default
services:
  web:
    image:
      repository: web
      create: true
      tags: [latest]
      build: {{ layers: [{{ from: web, to: /web, mode: "0755" }}], entrypoint: [/web] }}
    task_definition: task-definition.json
    launch_type: EC2
    load_balancer:
      type: network
      listener: {{ port: {free_port()} }}
      container: web
      container_port: 8080
""",
    )
    aws(lab, "ssm", "put-parameter", "--name", "/web/key", "--type", "SecureString", "--value", "sesame")
    made = aws(lab, "secretsmanager", "create-secret", "--name", "web/db", "--secret-string", '{"password":"opensesame"}')
    container = {
        "name": "web",
        "image": "{{image}}",
        "memory": 32,
        "portMappings": [{"containerPort": 8080}],
        "secrets": [
            {"name": "KEY", "valueFrom": "/web/key"},
            {"name": "PASSWORD", "valueFrom": f"{made['ARN']}:password::"},
        ],
    }
    role = "arn:aws:iam::111122223333:role/ecsTaskExecutionRole"
    project.write("task-definition.json", {"executionRoleArn": role, "containerDefinitions": [container]})
    missing = project.steady("verify", code=3).json
    assert "ecsTaskExecutionRole` does not exist" in missing["error"]["message"], missing
    name = role.split("/")[-1]
    aws(lab, "iam", "create-role", "--role-name", name, "--assume-role-policy-document", json.dumps(TRUST))
    unread = project.steady("verify").json["checks"][-1]["warnings"]
    assert ["GetSecretValue" in unread[0]["message"], "ssm:GetParameters" in unread[1]["message"]] == [True, True]
    for policy in ("AmazonSSMReadOnlyAccess", "SecretsManagerReadWrite"):
        aws(lab, "iam", "attach-role-policy", "--role-name", name, "--policy-arn", f"arn:aws:iam::aws:policy/{policy}")
    assert all(check["state"] in ("ok", "none") for check in project.steady("verify").json["checks"])
    url = project.steady("deploy").json["url"].rstrip("/")
    lengths = [urllib.request.urlopen(f"{url}/sum/{name}", timeout=10).read().split()[0] for name in ("KEY", "PASSWORD")]
    assert lengths == [b"6", b"10"]
    tasks = aws(lab, "ecs", "list-tasks", "--service-name", "web")["taskArns"]
    seen = aws(lab, "ecs", "describe-tasks", "--tasks", *tasks), aws(
        lab, "ecs", "describe-task-definition", "--task-definition", "web"
    )
    assert "sesame" not in json.dumps(seen)
