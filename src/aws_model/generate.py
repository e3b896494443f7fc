#!/usr/bin/env python3
"""Reduces AWS's service models, as botocore carries them, to the tables beside this file.

    pip download botocore --no-deps && unzip -d /tmp/botocore botocore-*.whl
    python3 src/aws_model/generate.py /tmp/botocore/botocore

Without an argument the importable botocore is read. The output depends on the models alone.
"""

import gzip
import json
import pathlib
import re
import sys

# Of services with hundreds of operations only what is named here, and what that reaches.
SERVICES = {
    "ecs": None,
    "ecr": None,
    "ecr-public": ["GetAuthorizationToken"],
    "elbv2": None,
    "servicediscovery": None,
    "sts": None,
    "logs": [
        "CreateLogGroup", "CreateLogStream", "DeleteLogGroup", "DeleteLogStream", "DeleteRetentionPolicy",
        "DescribeLogGroups", "DescribeLogStreams", "FilterLogEvents", "GetLogEvents", "ListTagsForResource",
        "PutLogEvents", "PutRetentionPolicy", "TagResource", "UntagResource",
    ],
    "cloudwatch": [
        "DeleteAlarms", "DescribeAlarms", "DisableAlarmActions", "EnableAlarmActions", "ListTagsForResource",
        "PutMetricAlarm", "SetAlarmState", "TagResource", "UntagResource",
    ],
    "ec2": [
        "DescribeAvailabilityZones", "DescribeInstances", "DescribeNetworkInterfaces", "DescribeSecurityGroups",
        "DescribeSubnets", "DescribeVpcs",
    ],
    "ssm": [
        "AddTagsToResource", "DeleteParameter", "DeleteParameters", "DescribeParameters", "GetParameter",
        "GetParameterHistory", "GetParameters", "GetParametersByPath", "ListTagsForResource", "PutParameter",
        "RemoveTagsFromResource",
    ],
    "secretsmanager": [
        "CreateSecret", "DeleteSecret", "DescribeSecret", "GetSecretValue", "ListSecretVersionIds", "ListSecrets",
        "PutSecretValue", "RestoreSecret", "TagResource", "UntagResource", "UpdateSecret",
    ],
    "iam": [
        "AttachRolePolicy", "CreateRole", "DeleteRole", "DeleteRolePolicy", "DetachRolePolicy", "GetRole",
        "GetRolePolicy", "ListAttachedRolePolicies", "ListRolePolicies", "ListRoleTags", "ListRoles", "PutRolePolicy",
        "SimulatePrincipalPolicy",
        "TagRole", "UntagRole", "UpdateAssumeRolePolicy",
    ],
}


def newest(models, service):
    return sorted((models / service).iterdir())[-1] / "service-2.json.gz"


def bounds(shape, out):
    for key in ("min", "max"):
        if key in shape:
            out[key] = shape[key]


def reduce_shape(shape):
    kind = shape["type"]
    out = {}
    if kind == "structure":
        if shape.get("document"):
            return {"type": "document"}
        out["members"] = {name: member["shape"] for name, member in shape["members"].items()}
        if shape.get("required"):
            out["required"] = shape["required"]
        wire = {}
        for name, member in shape["members"].items():
            names = [member[key] for key in ("locationName", "queryName") if member.get(key, name) != name]
            if names:
                wire[name] = names
        if wire:
            out["wire"] = wire
        if shape.get("exception"):
            error = shape.get("error", {})
            out["error"] = [error.get("code", ""), error.get("httpStatusCode", 500 if shape.get("fault") else 400)]
    elif kind == "list":
        out["list"] = shape["member"]["shape"]
        bounds(shape, out)
        if shape["member"].get("locationName"):
            out["item"] = shape["member"]["locationName"]
    elif kind == "map":
        out["map"] = [shape["key"]["shape"], shape["value"]["shape"]]
        bounds(shape, out)
    elif "enum" in shape:
        out["enum"] = shape["enum"]
    else:
        out["type"] = {"float": "double"}.get(kind, kind)
        bounds(shape, out)
    return out


def reachable(shapes, roots):
    seen, todo = set(), list(roots)
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        shape = shapes[name]
        todo += [member["shape"] for member in shape.get("members", {}).values()]
        todo += [shape[key]["shape"] for key in ("member", "key", "value") if key in shape]
    return seen


def reduce_service(model, wanted):
    operations = {}
    roots = set()
    for name in sorted(wanted or model["operations"]):
        operation = model["operations"][name]
        shapes = [operation.get(side, {}).get("shape", "") for side in ("input", "output")]
        errors = [error["shape"] for error in operation.get("errors", [])]
        roots.update(name for name in shapes + errors if name)
        operations[name] = [*shapes, errors]
    metadata = model["metadata"]
    # Of those that a service speaks, the one that the rest of this table is made for.
    offered = metadata.get("protocols", [metadata["protocol"]])
    head = {
        "api_version": metadata["apiVersion"],
        "protocol": next(protocol for protocol in ("json", "query", "ec2") if protocol in offered),
        "target_prefix": metadata.get("targetPrefix", ""),
    }
    shapes = {name: reduce_shape(model["shapes"][name]) for name in sorted(reachable(model["shapes"], roots))}
    return head, operations, shapes


def lines(table):
    """One entry a line, so that an update of the models is a readable diff."""
    entries = (f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in table.items())
    return "{\n" + ",\n".join(entries) + "\n}"


def main():
    if len(sys.argv) > 1:
        root = pathlib.Path(sys.argv[1])
    else:
        import botocore
        root = pathlib.Path(botocore.__path__[0])
    version = re.search(r"__version__ = '([^']+)'", (root / "__init__.py").read_text()).group(1)
    target = pathlib.Path(__file__).parent / "tables"
    target.mkdir(exist_ok=True)
    for service, wanted in SERVICES.items():
        with gzip.open(newest(root / "data", service)) as file:
            head, operations, shapes = reduce_service(json.load(file), wanted)
        head["botocore"] = version
        text = f'{{"head":{json.dumps(head, sort_keys=True)},\n"operations":{lines(operations)},\n"shapes":{lines(shapes)}}}\n'
        (target / f"{service}.json").write_text(text)


if __name__ == "__main__":
    main()
