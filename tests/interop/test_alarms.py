"""Deployment alarms, set by hand with the AWS CLI and seen by boto3."""

import json

import boto3
import pytest
from botocore.config import Config
from conftest import aws, aws_refused, until


def test_an_alarm_set_by_the_aws_cli_rolls_a_deployment_back(hello, lab):
    hello.environment = lab
    hello.steady("deploy")
    aws(
        lab, "cloudwatch", "put-metric-alarm", "--alarm-name", "hello-5xx", "--namespace", "Web", "--metric-name", "5XX",
        "--statistic", "Sum", "--period", "60", "--evaluation-periods", "1", "--threshold", "5",
        "--comparison-operator", "GreaterThanThreshold",
    )
    service = ["--cluster", "default", "--service", "hello"]
    configuration = {"alarms": {"alarmNames": ["hello-5xx"], "enable": True, "rollback": True}, "bakeTimeInMinutes": 60}
    before = aws(lab, "ecs", "update-service", *service, "--deployment-configuration", json.dumps(configuration))
    first = before["service"]["deployments"][0]["id"]
    after = aws(lab, "ecs", "update-service", *service, "--force-new-deployment")
    second = after["service"]["deployments"][0]["id"]

    def deployment():
        listed = aws(lab, "ecs", "list-service-deployments", *service)
        arn = listed["serviceDeployments"][0]["serviceDeploymentArn"]
        return aws(lab, "ecs", "describe-service-deployments", "--service-deployment-arns", arn)["serviceDeployments"][0]

    until(30, deployment, lambda now: now["alarms"]["status"] == "MONITORING")
    aws(
        lab, "cloudwatch", "set-alarm-state", "--alarm-name", "hello-5xx", "--state-value", "ALARM",
        "--state-reason", "set by hand",
    )
    alarms = aws(lab, "cloudwatch", "describe-alarms", "--state-value", "ALARM")["MetricAlarms"]
    assert [(alarm["AlarmName"], alarm["StateReason"]) for alarm in alarms] == [("hello-5xx", "set by hand")]
    over = until(60, deployment, lambda now: now["status"] == "ROLLBACK_SUCCESSFUL")
    assert over["alarms"] == {
        "status": "TRIGGERED", "alarmNames": ["hello-5xx"], "triggeredAlarmNames": ["hello-5xx"],
    }
    aws(lab, "ecs", "wait", "services-stable", "--cluster", "default", "--services", "hello")
    found = aws(lab, "ecs", "describe-services", "--cluster", "default", "--services", "hello")["services"][0]
    messages = [event["message"] for event in found["events"]]
    assert f"(service hello) (deployment {second}) deployment failed: alarm detected." in messages
    assert f"(service hello) rolling back to deployment {first}." in messages
    code, _ = aws_refused(
        lab, "cloudwatch", "set-alarm-state", "--alarm-name", "none", "--state-value", "OK", "--state-reason", "x"
    )
    assert code == "ResourceNotFound"


def test_boto3_makes_lists_and_deletes_alarms(lab):
    client = boto3.client(
        "cloudwatch",
        endpoint_url=lab["AWS_ENDPOINT_URL"],
        region_name=lab["AWS_REGION"],
        aws_access_key_id=lab["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=lab["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"max_attempts": 1}),
    )
    alarm = {
        "Namespace": "Web", "MetricName": "latency", "ExtendedStatistic": "p99.9", "Period": 60, "Threshold": 0.25,
        "EvaluationPeriods": 3, "DatapointsToAlarm": 2, "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "Dimensions": [{"Name": "Service", "Value": "hello"}], "AlarmDescription": "zu träge", "TreatMissingData": "ignore",
    }
    for at in range(30):
        client.put_metric_alarm(AlarmName=f"alarm-{at:02}", **alarm)
    pages = client.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 7})
    found = [found for page in pages for found in page["MetricAlarms"]]
    assert [of["AlarmName"] for of in found] == [f"alarm-{at:02}" for at in range(30)]
    assert all(of[member] == value for of in found for member, value in alarm.items())
    client.set_alarm_state(AlarmName="alarm-07", StateValue="OK", StateReason="fine", StateReasonData='{"a": 1}')
    state = client.describe_alarms(AlarmNames=["alarm-07"])["MetricAlarms"][0]
    assert (state["StateValue"], state["StateReasonData"]) == ("OK", '{"a": 1}')
    assert state["StateUpdatedTimestamp"] >= state["AlarmConfigurationUpdatedTimestamp"]
    client.get_waiter("alarm_exists").wait(AlarmNames=["alarm-07"])
    with pytest.raises(client.exceptions.ResourceNotFound):
        client.delete_alarms(AlarmNames=["alarm-07", "none"])
    with pytest.raises(client.exceptions.InvalidFormatFault):
        client.set_alarm_state(AlarmName="alarm-07", StateValue="OK", StateReason="fine", StateReasonData="{")
    client.delete_alarms(AlarmNames=[of["AlarmName"] for of in found])
    assert client.describe_alarms()["MetricAlarms"] == []
