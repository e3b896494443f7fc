//! What real people have pasted (`facts/scenario.md`), each with its place and a suggestion.

use steadystate::document::{TaskDefinitionOptions, service, task_definition};
use steadystate::error::Result;

use super::{checked, findings, source};

/// A task definition around one container's members, which start at line 3, column 5.
fn container(members: &str) -> String {
    format!("{{\"family\": \"f\",\n  \"containerDefinitions\": [{{\n    {members}\n}}]}}")
}

fn image(image: &str) -> String {
    container(&format!("\"name\": \"a\", \"memory\": 1, \"image\": \"{image}\""))
}

#[test]
fn each_mistake_has_its_place_and_a_suggestion() {
    let ecr = "123456789012.dkr.ecr.us-west-2.amazonaws.com/hello";
    let with = |text: &str| image(&text.replace("{ECR}", ecr));
    let table = [
        (
            with("YOUR-REPOSITORY-URI:latest"),
            "3:41: the placeholder \"YOUR-REPOSITORY-URI\" is still in containerDefinitions[0].image | put the repository's URI there",
        ),
        (
            with("ACCOUNTID.dkr.ecr.us-west-2.amazonaws.com/hello"),
            "3:41: the placeholder \"ACCOUNTID\" is still in containerDefinitions[0].image | put your 12-digit account id there",
        ),
        (with("aws_account_id.dkr.ecr.us-west-2.amazonaws.com/hello"), "3:41: the placeholder \"aws_account_id\""),
        (with("<account>.dkr.ecr.us-west-2.amazonaws.com/hello"), "3:41: the placeholder \"<account>\""),
        (
            with("{{image}}"),
            "3:41: the placeholder \"{{image}}\" is still in containerDefinitions[0].image | name the file *.hbs",
        ),
        (
            with("dkr.ecrus-west-2.amazonaws.com/hello:1"),
            "3:41: containerDefinitions[0].image: \"dkr.ecrus-west-2.amazonaws.com\" names no account and is not a registry of ECR | write \"<account>.dkr.ecr.us-west-2.amazonaws.com/hello:1\"",
        ),
        (
            with("123456789012.dkr.ecrus-west-2.amazonaws.com/hello"),
            "3:41: containerDefinitions[0].image: \"123456789012.dkr.ecrus-west-2.amazonaws.com\" is not a registry of ECR | write \"{ECR}\"",
        ),
        (
            with("dkr.ecr.us-west2.amazonas.com/hello"),
            "3:41: containerDefinitions[0].image: \"dkr.ecr.us-west2.amazonas.com\" names no account and is not a registry of ECR | write \"<account>.dkr.ecr.us-west-2.amazonaws.com/hello\"",
        ),
        (
            with("123456789012.dkr.ecr.us-west2.amazonas.com/hello"),
            "3:41: containerDefinitions[0].image: \"123456789012.dkr.ecr.us-west2.amazonas.com\" is not a registry of ECR | write \"{ECR}\"",
        ),
        (
            with("12345678901.dkr.ecr.us-west-2.amazonaws.com/hello"),
            "3:41: containerDefinitions[0].image: an AWS account id has 12 digits, 12345678901 has 11 | if leading zeros were lost, it is 012345678901",
        ),
        (
            with("https://{ECR}:1"),
            "3:41: containerDefinitions[0].image: an image name has no scheme | write \"{ECR}:1\"",
        ),
        (
            with("123456789012.dkr.ecr.us-west-2.amazonaws.com"),
            "3:41: containerDefinitions[0].image: \"123456789012.dkr.ecr.us-west-2.amazonaws.com\" is a registry without a repository",
        ),
        (with("{ECR}:la test"), "3:94: containerDefinitions[0].image: a blank in the image name"),
        (
            with("Hello:1"),
            "3:41: containerDefinitions[0].image: capitals in the repository name \"Hello\" | write \"hello:1\"",
        ),
        (with("{ECR}:"), "3:91: containerDefinitions[0].image: \"\" cannot be a tag"),
        (with("{ECR}@sha256:12"), "3:92: containerDefinitions[0].image: \"sha256:12\" is not a digest"),
        (with("{ECR}:$TAG"), "3:92: containerDefinitions[0].image: a shell variable"),
        (with(""), "3:41: containerDefinitions[0].image: an empty image name"),
        (
            container("\"name\": \"a\", \"mage\": \"b\""),
            "3:18: unknown member \"mage\" in containerDefinitions[0] | did you mean \"image\"?",
        ),
        (
            container("\"name\": \"a\", \"image\": \"b\", \"entrypoint\": [\"/a\"]"),
            "3:32: unknown member \"entrypoint\" in containerDefinitions[0] | did you mean \"entryPoint\"?",
        ),
        (
            container("\"name\": \"a\", \"image\": \"b\", \"memory\": \"128\""),
            "3:42: containerDefinitions[0].memory: expected an integer, found a string | write 128",
        ),
        (
            container("\"name\": \"a\", \"image\": \"b\", \"essential\": \"true\""),
            "3:45: containerDefinitions[0].essential: expected true or false, found a string | write true",
        ),
        (
            container("\"name\": \"a\", \"image\": \"b\", \"command\": \"run\""),
            "3:43: containerDefinitions[0].command: expected a list, found a string | write [\"run\"]",
        ),
        (
            container("\"name\": \"a\", \"image\": \"b\", \"command\": [null]"),
            "3:44: containerDefinitions[0].command[0]: null is not a value here | remove it",
        ),
        (
            container("\"name\": \"a\", \"image\": \"b\", \"environment\": [{\"name\": \"P\", \"value\": 80}]"),
            "3:71: containerDefinitions[0].environment[0].value: expected a string, found a number | write \"80\"",
        ),
        (
            container(
                "\"name\": \"a\", \"image\": \"b\", \"portMappings\": [{\"containerPort\": 80, \"protocol\": \"TCP\"}]",
            ),
            "3:83: containerDefinitions[0].portMappings[0].protocol: \"TCP\" is not one of tcp, udp | did you mean \"tcp\"?",
        ),
        (
            container("\"name\": \"a\", \"image\": \"b\",\n\"cpu\": 1, \"cpu\": 2"),
            "4:11: the key \"cpu\" is given twice in one object | remove one of the two",
        ),
        (container("\"name\": \"a\", \"image\": \"b\","), "3:30: a comma with nothing after it"),
        (container("\"name\": “a”"), "3:13: “ is a typographic quote"),
        (format!("\u{feff}{}", with("b")), "1:1: the file starts with a byte order mark"),
        (container("\"name\": \"a\""), "2:28: containerDefinitions[0] has no \"image\" | add \"image\""),
        (
            with("b").replace("\"f\"", "\"my family\""),
            "1:12: \"my family\" cannot be a family | letters, digits, _ and - only, such as \"my-family\"",
        ),
        (
            "{\"family\": \"f\", \"containerDefinitions\": []}".to_owned(),
            "1:41: a task definition needs at least one container",
        ),
        (
            "{\"family\": \"f\", \"containerDefinition\": []}".to_owned(),
            "1:17: unknown member \"containerDefinition\" | did you mean \"containerDefinitions\"?",
        ),
        (
            "{\"serviceName\": \"s\", \"desiredCount\": 1}".to_owned(),
            "1:1: this is neither a task definition nor a dockerrun | it looks like a service document",
        ),
        ("{\"version\": \"3\", \"web\": {}}".to_owned(), "1:1: this is neither a task definition nor a dockerrun"),
        ("[]".to_owned(), "1:1: a document is one JSON object"),
        (
            "{\"AWSEBDockerrunVersion\": 3}".to_owned(),
            "1:27: there is no dockerrun version 3 with containers in it | versions 1 and 2 are accepted",
        ),
        (
            "{\"AWSEBDockerrunVersion\": 1, \"Image\": {\"Nam\": \"x\"}}".to_owned(),
            "1:40: unknown member \"Nam\" in a version 1 dockerrun | did you mean \"Name\"?",
        ),
        (
            "{\"AWSEBDockerrunVersion\": 1, \"Image\": {\"Name\": \"YOUR-REPOSITORY-URI\"}}".to_owned(),
            "1:49: the placeholder \"YOUR-REPOSITORY-URI\"",
        ),
        (
            "{\"AWSEBDockerrunVersion\": 1, \"Image\": {\"Name\": \"x\"}, \"Ports\": [{\"ContainerPort\": \"http\"}]}"
                .to_owned(),
            "1:82: Ports[0].ContainerPort: expected a port",
        ),
        (
            with("b").replacen("\"family\"", "\"taskRoleArn\": \"arn:aws:iam::12345678901:role/r\", \"family\"", 1),
            "1:31: taskRoleArn: an AWS account id has 12 digits, 12345678901 has 11",
        ),
        (
            with("b").replacen("\"family\"", "\"taskRoleArn\": \"arn:aws:iam::ACCOUNTID:role/r\", \"family\"", 1),
            "1:31: the placeholder \"ACCOUNTID\" is still in taskRoleArn",
        ),
    ];
    let mut wrong = Vec::new();
    for (text, wanted) in &table {
        let wanted = wanted.replace("{ECR}", ecr);
        let error = checked(&source(text)).map(|checked| checked.value).expect_err(text);
        let said = findings(&error);
        let as_wanted = said[0].starts_with(&format!("task.json:{wanted}"));
        if !as_wanted || !said[0].contains(" | ") || said.len() > 1 {
            wrong.push(format!("{text}\n  said   {said:#?}\n  wanted {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn names_that_are_right_pass() {
    for name in [
        "nginx",
        "nginx:1.27-alpine",
        "amazon/amazon-ecs-sample",
        "localhost:5000/a/b:c",
        "127.0.0.1:5000/a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "012345678901.dkr.ecr.us-west-2.amazonaws.com/a",
        "000000000000.dkr.ecr.us-gov-west-1.amazonaws.com/a/b:latest",
        "123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/a",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/a",
        "123456789012.dkr-ecr.eu-central-1.on.aws/a",
        "public.ecr.aws/nginx/nginx:latest",
        "ghcr.io/o/ecr-login:1",
        "registry.example.com/DKR".to_lowercase().as_str(),
    ] {
        let result = checked(&source(&image(name)));
        assert!(result.is_ok(), "{name}: {result:?}");
    }
}

#[test]
fn a_program_s_own_text_may_look_like_a_placeholder() {
    let members = r#""name": "a", "image": "b", "memory": 1, "command": ["sh", "-c", "echo '<html> ${X}'"],
        "environment": [{"name": "AWS_ACCOUNT_ID", "value": "https://x/<id>"}, {"name": "B", "value": "CHANGEME"}],
        "logConfiguration": {"logDriver": "json-file", "options": {"tag": "{{.Name}}"}}"#;
    let checked = checked(&source(&container(members))).unwrap();
    let [warning] = checked.warnings.as_slice() else { panic!("{:?}", checked.warnings) };
    assert!(warning.starts_with("task.json:4:"), "{warning}");
    assert!(warning.contains("\"CHANGEME\" is still in containerDefinitions[0].environment[1].value"), "{warning}");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let text = container("\"nam\": \"a\", \"image\": \"YOUR-IMAGE\", \"cpu\": \"1\"");
    let error = checked(&source(&text)).unwrap_err();
    let said = findings(&error);
    assert_eq!(said.len(), 3, "{said:#?}");
}

#[test]
fn unknown_members_and_values_pass_when_allowed() {
    let text = container(
        "\"name\": \"a\", \"image\": \"b\", \"memory\": 1, \"newMember\": {\"x\": [1]}, \"portMappings\": [{\"protocol\": \"sctp\"}]",
    );
    let allow = |allow_unknown_fields| -> Result<_> {
        task_definition(
            &source(&text),
            TaskDefinitionOptions { allow_unknown_fields, default_family: "f", image: None },
        )
    };
    assert_eq!(findings(&allow(false).unwrap_err()).len(), 2);
    let checked = allow(true).unwrap();
    assert_eq!(checked.value["containerDefinitions"][0]["newMember"]["x"][0], 1);
    assert_eq!(checked.value["containerDefinitions"][0]["portMappings"][0]["protocol"], "sctp");
    assert_eq!(
        checked.warnings[0],
        "task.json:3:45: unknown member \"newMember\" in containerDefinitions[0]; passed on as it is"
    );
    assert_eq!(checked.warnings.len(), 2);
}

#[test]
fn mistakes_in_a_service_document() {
    let table = [
        (r#"{"desiredCont": 1}"#, "1:2: unknown member \"desiredCont\" | did you mean \"desiredCount\"?"),
        (r#"{"desiredCount": "1"}"#, "1:18: desiredCount: expected an integer, found a string | write 1"),
        (
            r#"{"forceNewDeployment": "yes"}"#,
            "1:24: forceNewDeployment: expected true or false, found a string | write true",
        ),
        (
            r#"{"launchType": "ec2"}"#,
            "1:16: launchType: \"ec2\" is not one of EC2, FARGATE, EXTERNAL, MANAGED_INSTANCES | did you mean \"EC2\"?",
        ),
        (
            r#"{"serviceRegistries": [{"registryArn": "arn:aws:servicediscovery:us-west-2:ACCOUNTID:service/srv-1"}]}"#,
            "1:76: the placeholder \"ACCOUNTID\" is still in serviceRegistries[0].registryArn",
        ),
        (
            r#"{"serviceRegistries": [{"registryArn": "arn:aws:servicediscovery:us-west-2:012345678901:service/srv-MYSERVICENUMBER"}]}"#,
            "1:101: the placeholder \"MYSERVICENUMBER\" is still in serviceRegistries[0].registryArn | put the service's own id there",
        ),
        (
            r#"{"serviceRegistries": [{"registryArn": "arn:aws:servicediscovery:us-west2:012345678901:service/srv-1"}]}"#,
            "1:66: serviceRegistries[0].registryArn: \"us-west2\" is not a region | did you mean \"us-west-2\"?",
        ),
        (
            r#"{"deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": true}}}"#,
            "1:58: deploymentConfiguration.deploymentCircuitBreaker: \"rollback\" is missing | add \"rollback\"",
        ),
        (
            r#"{"capacityProviderStrategy": [{"capacityProvider": "x", "weight": 5000}]}"#,
            "1:67: capacityProviderStrategy[0].weight: value 5000 is not between 0 and 1000",
        ),
        (r#"{"containerDefinitions": []}"#, "1:2: this is a task definition, not a service document"),
    ];
    for (text, wanted) in table {
        let error = service(&source(text), false).map(|checked| checked.value).expect_err(text);
        let said = findings(&error);
        assert!(said[0].starts_with(&format!("task.json:{wanted}")), "{text}\n  said   {}\n  wanted {wanted}", said[0]);
        assert_eq!(said.len(), 1, "{said:#?}");
    }
}
