use serde_json::{Value, json};
use steadystate::document::{ImageForContainer, service, to_json};

use super::{URI, checked, findings, fixture, source, with_image};

fn image(container: Option<&str>) -> Option<ImageForContainer<'_>> {
    Some(ImageForContainer { container, uri: URI })
}

#[test]
fn the_samples_work_with_only_the_image_replaced() {
    let checked = with_image(&fixture("ecs-demo.json"), image(None)).unwrap();
    assert_eq!(checked.warnings, Vec::<String>::new());
    insta::assert_snapshot!(to_json(&checked.value).replace(URI, "URI"), @r#"
{
  "family": "ecs-demo",
  "containerDefinitions": [
    {
      "volumesFrom": [],
      "memory": 128,
      "portMappings": [
        {
          "hostPort": 80,
          "containerPort": 80,
          "protocol": "tcp"
        }
      ],
      "essential": true,
      "mountPoints": [],
      "name": "ecs-sample",
      "environment": [],
      "image": "URI",
      "cpu": 0
    }
  ],
  "volumes": []
}
"#);

    let checked = with_image(&fixture("timeout.dockerrun.aws.json"), image(None)).unwrap();
    insta::assert_snapshot!(to_json(&checked.value).replace(URI, "URI"), @r#"
{
  "family": "hello",
  "containerDefinitions": [
    {
      "name": "timeout",
      "image": "URI",
      "essential": true,
      "memory": 10,
      "environment": [
        {
          "name": "SLEEP_TIME",
          "value": "43200"
        }
      ]
    }
  ]
}
"#);

    let left = findings(&self::checked(&fixture("ecs-demo.json")).unwrap_err());
    assert!(left[0].starts_with("ecs-demo.json:29:17: the placeholder \"YOUR-REPOSITORY-URI\""), "{left:?}");
    assert!(self::checked(&fixture("timeout.dockerrun.aws.json")).is_ok());
}

#[test]
fn the_output_of_describe_task_definition_is_accepted() {
    let described = fixture("describe-task-definition.json");
    let wrapped = checked(&described).unwrap();
    assert_eq!(wrapped.warnings, Vec::<String>::new());
    let keys: Vec<&String> = wrapped.value.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["containerDefinitions", "family", "taskRoleArn", "volumes", "placementConstraints", "tags"]);
    assert_eq!(wrapped.value["tags"], json!([{"key": "team", "value": "web"}]));

    // Without its wrapper, as `--query taskDefinition` gives it.
    let inner: Value = serde_json::from_str(&described.text).unwrap();
    let plain = checked(&source(&to_json(&inner["taskDefinition"]))).unwrap();
    assert_eq!(plain.value["containerDefinitions"], wrapped.value["containerDefinitions"]);
    assert_eq!(plain.value.get("revision"), None);

    let text = described.text.replace("\"memory\": 128", "\"memory\": \"128\"");
    let error = checked(&source(&text)).unwrap_err();
    assert!(
        findings(&error)[0].starts_with("task.json:9:27: containerDefinitions[0].memory: expected an integer"),
        "{error:?}"
    );
}

#[test]
fn a_version_2_dockerrun_becomes_a_task_definition() {
    let checked = checked(&fixture("dockerrun-v2.json")).unwrap();
    insta::assert_snapshot!(checked.warnings.join("\n"), @r#"
dockerrun-v2.json:3:3: "authentication" is Elastic Beanstalk's and left out: for a private registry give the container repositoryCredentials
dockerrun-v2.json:7:3: the volume "awseb-logs-proxy" is Elastic Beanstalk's own; declared as the host's /var/log/containers/proxy
"#);
    insta::assert_snapshot!(to_json(&checked.value), @r#"
{
  "family": "hello",
  "volumes": [
    {
      "name": "php-app",
      "host": {
        "sourcePath": "/var/app/current/php-app"
      }
    },
    {
      "name": "awseb-logs-proxy",
      "host": {
        "sourcePath": "/var/log/containers/proxy"
      }
    }
  ],
  "containerDefinitions": [
    {
      "name": "php-app",
      "image": "php:fpm",
      "environment": [
        {
          "name": "Container",
          "value": "PHP"
        }
      ],
      "essential": true,
      "memory": 128,
      "mountPoints": [
        {
          "sourceVolume": "php-app",
          "containerPath": "/var/www/html",
          "readOnly": true
        }
      ]
    },
    {
      "name": "proxy",
      "image": "nginx",
      "essential": true,
      "memory": 128,
      "portMappings": [
        {
          "hostPort": 80,
          "containerPort": 80
        }
      ],
      "links": [
        "php-app"
      ],
      "mountPoints": [
        {
          "sourceVolume": "awseb-logs-proxy",
          "containerPath": "/var/log/nginx"
        }
      ]
    }
  ]
}
"#);
}

#[test]
fn a_version_1_dockerrun_becomes_a_task_definition() {
    let checked = checked(&fixture("dockerrun-v1.json")).unwrap();
    insta::assert_snapshot!(checked.warnings.join("\n"), @r#"
dockerrun-v1.json:3:3: "Authentication" is Elastic Beanstalk's and left out: for a private registry give the container repositoryCredentials
dockerrun-v1.json:1:1: a version 1 dockerrun says no memory: memoryReservation 128 is set for "hello"
"#);
    insta::assert_snapshot!(to_json(&checked.value), @r#"
{
  "family": "hello",
  "containerDefinitions": [
    {
      "name": "hello",
      "essential": true,
      "memoryReservation": 128,
      "image": "janedoe/image",
      "portMappings": [
        {
          "containerPort": 1234
        },
        {
          "containerPort": 8000,
          "hostPort": 80
        }
      ],
      "entryPoint": [
        "/app/bin/myapp",
        "--name",
        "two words"
      ],
      "command": [
        "--argument",
        "a b"
      ],
      "mountPoints": [
        {
          "sourceVolume": "volume-1",
          "containerPath": "/etc/mysql"
        },
        {
          "sourceVolume": "logging",
          "containerPath": "/var/log/nginx"
        }
      ]
    }
  ],
  "volumes": [
    {
      "name": "volume-1",
      "host": {
        "sourcePath": "/var/app/mydb"
      }
    },
    {
      "name": "logging",
      "host": {
        "sourcePath": "/var/log/containers/hello"
      }
    }
  ]
}
"#);
}

#[test]
fn nulls_go_and_all_else_stays() {
    let text = r#"{"family": "f", "cpu": null, "containerDefinitions": [{"name": "a", "image": "b", "cpu": 0, "links": [],
        "dockerLabels": {"Some.Key": "x", "gone": null}, "healthCheck": {"command": ["CMD"], "timeout": null},
        "logConfiguration": {"logDriver": "awslogs", "options": {}}, "privileged": false}], "volumes": []}"#;
    let wanted = json!({"family": "f", "containerDefinitions": [{"name": "a", "image": "b", "cpu": 0, "links": [],
        "dockerLabels": {"Some.Key": "x"}, "healthCheck": {"command": ["CMD"]},
        "logConfiguration": {"logDriver": "awslogs", "options": {}}, "privileged": false}], "volumes": []});
    let value = checked(&source(text)).unwrap().value;
    assert_eq!(value.to_string(), wanted.to_string());
}

#[test]
fn the_image_goes_to_the_container_that_is_meant() {
    let two = |first: &str, second: &str| {
        format!(
            r#"{{"containerDefinitions": [{{"name": "web", "image": "{first}"}}, {{"name": "proxy", "image": "{second}"}}]}}"#
        )
    };
    let of = |text: &str, container| {
        with_image(&source(text), image(container)).map(|checked| {
            let containers = checked.value["containerDefinitions"].as_array().unwrap().clone();
            containers.iter().position(|container| container["image"] == URI)
        })
    };
    assert_eq!(of(&two("a", "b"), Some("proxy")).unwrap(), Some(1));
    // The only one that waits for an image, and the one that has an older one of the same repository.
    assert_eq!(of(&two("a", "YOUR-REPOSITORY-URI"), None).unwrap(), Some(1));
    assert_eq!(of(&two("123456789012.dkr.ecr.us-west-2.amazonaws.com/hello:3", "b"), None).unwrap(), Some(0));

    let said = findings(&of(&two("a", "b"), None).unwrap_err());
    assert_eq!(
        said,
        [
            "task.json:1:26: which of 2 containers gets the image? | name one with container: under image: (\"web\", \"proxy\"), or use {{image}} in it"
        ]
    );
    let said = findings(&of(&two("a", "b"), Some("prxy")).unwrap_err());
    assert_eq!(said, ["task.json:1:26: there is no container \"prxy\" | did you mean \"proxy\"?"]);
    let said = findings(&of(&two("a", "b"), Some("database")).unwrap_err());
    assert_eq!(said, ["task.json:1:26: there is no container \"database\" | there are: \"web\", \"proxy\""]);
}

#[test]
fn an_image_that_the_document_lacks_is_filled_in() {
    let checked =
        with_image(&source(r#"{"containerDefinitions": [{"name": "a", "memory": 1}]}"#), image(None)).unwrap();
    assert_eq!(checked.value["containerDefinitions"][0]["image"], URI);
    assert_eq!(checked.value["family"], "hello");
}

#[test]
fn a_service_document_has_the_members_of_both_calls() {
    let text = r#"{"serviceName": "hello", "desiredCount": 2, "forceNewDeployment": true, "role": null, "schedulingStrategy": "REPLICA",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": []}}, "loadBalancers": []}"#;
    let checked = service(&source(text), false).unwrap();
    let keys: Vec<&String> = checked.value.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "serviceName",
            "desiredCount",
            "forceNewDeployment",
            "schedulingStrategy",
            "networkConfiguration",
            "loadBalancers"
        ]
    );
    assert!(service(&source("{}"), false).is_ok());
    let passed = service(&source(r#"{"newMember": 1}"#), true).unwrap();
    assert_eq!((passed.value["newMember"].as_u64(), passed.warnings.len()), (Some(1), 1));
}

#[test]
fn debug_shows_no_values() {
    let text = r#"{"containerDefinitions": [{"name": "a", "image": "b", "environment": [{"name": "S", "value": "hunter2"}]}]}"#;
    let checked = checked(&source(text)).unwrap();
    let document = steadystate::document::parse(&source(text)).unwrap();
    assert!(!format!("{checked:?} {document:?}").contains("hunter2"));
}
