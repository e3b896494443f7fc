//! What real people have pasted, in every file where it can be: exit 2 with file, line, column and a suggestion, on the
//! screen and as JSON, and nothing asked of AWS before.

use std::path::Path;

use serde_json::Value;

use crate::rehearsal::{Run, command};

const ECR: &str = "123456789012.dkr.ecr.us-west-2.amazonaws.com/web";

const YAML: &str = r#"region: us-west-2
services:
  web:
    image:
      repository: web
      container: web
      create: { policy: policy.json }
      build:
        image: nginx:1
    task_definition: task.json
    service: service.json
    load_balancer:
      type: network
      listener: { port: 80 }
      container: web
    service_discovery:
      arn: arn:aws:servicediscovery:us-west-2:012345678901:service/srv-1
"#;

const TASK: &str = r#"{
  "family": "web",
  "containerDefinitions": [
    {
      "name": "web",
      "image": "web",
      "entryPoint": ["/web"],
      "memory": 128,
      "portMappings": [{ "containerPort": 80 }]
    },
    { "name": "side", "image": "IMAGE", "memory": 64 }
  ]
}
"#;

const SERVICE: &str = r#"{
  "desiredCount": 1,
  "serviceRegistries": [
    { "registryArn": "arn:aws:servicediscovery:us-west-2:012345678901:service/srv-1" }
  ],
  "enableECSManagedTags": true
}
"#;

const POLICY: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "my_repository_statement",
      "Effect": "Allow",
      "Principal": { "AWS": "arn:aws:iam::123456789012:role/ecsInstanceRole" },
      "Action": ["ecr:BatchGetImage"]
    }
  ]
}
"#;

/// A project that could be deployed but for one change in one of its files.
fn run(file: &str, from: &str, to: &str, json: bool) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let mut found = false;
    for (name, text) in [("steady.yaml", YAML), ("task.json", TASK), ("service.json", SERVICE), ("policy.json", POLICY)]
    {
        let text = text.replace("IMAGE", "nginx:1");
        let text = match name == file {
            true => {
                found = true;
                assert!(text.contains(from), "{from:?} is not in {file}");
                text.replacen(from, to, 1)
            }
            false => text,
        };
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    assert!(found, "{file}");
    deploy(folder.path(), json)
}

fn deploy(folder: &Path, json: bool) -> Run {
    // nothing listens there: whatever is called fails otherwise than with 2
    let mut command = command(folder);
    command
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .env("AWS_ACCESS_KEY_ID", "x")
        .env("AWS_SECRET_ACCESS_KEY", "x");
    command.arg("deploy");
    if json {
        command.args(["--output", "json", "--progress", "none"]);
    }
    Run::new(&command.output().unwrap())
}

struct Mistake {
    file: &'static str,
    from: &'static str,
    to: String,
    /// `line:column`
    place: &'static str,
    /// Parts of the suggestions.
    suggests: String,
}

fn mistake(file: &'static str, from: &'static str, to: &str, place: &'static str, suggests: &str) -> Mistake {
    Mistake { file, from, to: to.replace("ECR", ECR), place, suggests: suggests.replace("ECR", ECR) }
}

fn image_names() -> Vec<Mistake> {
    let own_account = "put your 12-digit account id there";
    let names = [
        ("YOUR-REPOSITORY-URI:latest", "put the repository's URI there"),
        ("ACCOUNTID.dkr.ecr.us-west-2.amazonaws.com/web", own_account),
        ("123456789012.dkr.ecrus-west-2.amazonaws.com/web", "write \"ECR\""),
        ("dkr.ecrus-west-2.amazonaws.com/web", "write \"<account>.dkr.ecr.us-west-2.amazonaws.com/web\""),
        ("123456789012.dkr.ecr.us-west2.amazonas.com/web", "write \"ECR\""),
        ("dkr.ecr.us-west2.amazonas.com/web", "write \"<account>.dkr.ecr.us-west-2.amazonaws.com/web\""),
        ("12345678901.dkr.ecr.us-west-2.amazonaws.com/web", "if leading zeros were lost, it is 012345678901"),
        ("https://ECR", "write \"ECR\""),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com", "put the repository's name after it"),
    ];
    let mut all = Vec::new();
    for (name, suggests) in names {
        all.push(mistake("task.json", "nginx:1", name, "11:33", suggests));
        all.push(mistake("steady.yaml", "nginx:1", name, "9:16", suggests));
        all.push(mistake("steady.yaml", "repository: web", &format!("repository: {name}"), "5:19", suggests));
    }
    all
}

fn others() -> Vec<Mistake> {
    let account = "put your 12-digit account id there";
    let lost = "if leading zeros were lost, it is 012345678901";
    let number = "put the service's own id there";
    let comma = "remove this comma";
    let quote = "write a straight double quote: \"";
    let twice = "remove one of the two; the first is at";
    vec![
        mistake("task.json", "\"image\": \"web\"", "\"mage\": \"web\"", "6:7", "did you mean \"image\"?"),
        mistake("task.json", "\"entryPoint\"", "\"entrypoint\"", "7:7", "did you mean \"entryPoint\"?"),
        mistake("task.json", "\"memory\": 128", "\"memory\": \"128\"", "8:17", "write 128"),
        mistake("task.json", "128,", "128, \"memory\": 128,", "8:22", twice),
        mistake("task.json", "80 }]\n", "80 }],\n", "9:48", comma),
        mistake("task.json", "\"family\"", "“family”", "2:3", quote),
        mistake(
            "task.json",
            "\"family\"",
            "\"taskRoleArn\": \"arn:aws:iam::ACCOUNTID:role/web\", \"family\"",
            "2:32",
            account,
        ),
        mistake(
            "task.json",
            "\"family\"",
            "\"taskRoleArn\": \"arn:aws:iam::12345678901:role/web\", \"family\"",
            "2:32",
            lost,
        ),
        mistake("service.json", "srv-1", "srv-MYSERVICENUMBER", "4:83", number),
        mistake("service.json", "012345678901", "ACCOUNTID", "4:58", account),
        mistake("service.json", "012345678901", "12345678901", "4:58", lost),
        mistake("service.json", "us-west-2", "us-west2", "4:48", "did you mean \"us-west-2\"?"),
        mistake("service.json", "desiredCount", "desiredcount", "2:3", "did you mean \"desiredCount\"?"),
        mistake("service.json", "\"desiredCount\": 1", "\"desiredCount\": \"1\"", "2:19", "write 1"),
        mistake("service.json", "1,", "1, \"desiredCount\": 1,", "2:22", twice),
        mistake("service.json", "true\n", "true,\n", "6:31", comma),
        mistake("service.json", "\"desiredCount\"", "“desiredCount”", "2:3", quote),
        mistake("policy.json", "123456789012", "ACCOUNTID", "7:43", account),
        mistake("policy.json", "123456789012", "12345678901", "7:43", lost),
        mistake("policy.json", "\"Effect\"", "\"Efect\"", "6:7", "did you mean \"Effect\"?"),
        mistake("policy.json", "\"Allow\"", "\"allow\"", "6:17", "did you mean \"Allow\"?"),
        mistake("policy.json", "ecr:Batch", "ecs:Batch", "8:18", "write \"ecr:BatchGetImage\""),
        mistake("policy.json", "\"Sid\"", "\"Sid\": \"a\", \"Sid\"", "5:19", twice),
        mistake("policy.json", "Image\"]\n", "Image\"],\n", "8:38", comma),
        mistake("policy.json", "\"Sid\"", "“Sid”", "5:7", quote),
        mistake("steady.yaml", "srv-1", "srv-MYSERVICENUMBER", "17:72", number),
        mistake("steady.yaml", "012345678901", "ACCOUNTID", "17:47", account),
        mistake("steady.yaml", "012345678901", "12345678901", "17:47", lost),
        mistake("steady.yaml", "      listener:", "      listner:", "14:7", "did you mean `listener`?"),
        mistake("steady.yaml", "port: 80", "port: \"80\"", "14:25", "leave the quotes out: 80"),
        mistake("steady.yaml", "container: web", "container: web\n      container: web", "7:7", "keep one of them"),
        mistake("steady.yaml", "region: us-west-2", "region: us-west-2,", "1:18", "remove it"),
        mistake("steady.yaml", "port: 80 }", "port: 80 },", "14:29", "remove the comma"),
        mistake("steady.yaml", "repository: web", "repository: “web”", "5:19", "write straight double quotes: \"web\""),
        mistake("steady.yaml", "repository: web", "repository: web\n      tags: [\"{{git.sha\"]", "6:14", "add }}"),
        mistake(
            "steady.yaml",
            "repository: web",
            "repository: web\n      tags: [la test]",
            "6:14",
            "did you mean `la-test`?",
        ),
        mistake("steady.yaml", "  web:", "\tweb:", "3:2", "replace the tab"),
        mistake("steady.yaml", "repository: web", "repository: web:latest", "5:22", "tags: [latest] beside it"),
    ]
}

#[test]
fn every_mistake_in_every_file_has_its_place_and_a_suggestion() {
    let mistakes: Vec<Mistake> = image_names().into_iter().chain(others()).collect();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let checked = |some: &[Mistake]| some.iter().filter_map(wrong).collect::<Vec<String>>();
        let chunks = mistakes.chunks(mistakes.len().div_ceil(4));
        let threads: Vec<_> = chunks.map(|some| scope.spawn(move || checked(some))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} of {} are wrong\n{}", wrong.len(), mistakes.len(), wrong.join("\n"));
}

/// What is wrong with what is said of a mistake.
fn wrong(mistake: &Mistake) -> Option<String> {
    let Mistake { file, from, to, place, suggests } = mistake;
    let json = run(file, from, to, true);
    let result: Value = serde_json::from_str(&json.stdout).unwrap_or_default();
    let error = &result["error"];
    let hints: Vec<&str> = error["hints"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let said = format!("{}:{}:{}", error["file"].as_str().unwrap_or_default(), error["line"], error["column"]);
    let fits = json.code == 2
        && error["exitCode"] == 2
        && said == format!("{file}:{place}")
        && hints.iter().any(|hint| hint.contains(suggests.as_str()))
        && error["others"] == Value::Null;
    let text = run(file, from, to, false);
    let shown = text.code == 2
        && text.stdout.is_empty()
        && text.stderr.contains(&said)
        && text.stderr.contains(hints.first().copied().unwrap_or("a hint"));
    (!fits || !shown).then(|| {
        format!(
            "\n{file}: {to}\nwanted {place} and {suggests:?}, exit {} and {}:\n{error:#}\n{}",
            json.code, text.code, text.stderr
        )
    })
}

#[test]
fn what_does_not_fit_the_task_definition_is_said_before_the_build() {
    for (from, to, message) in [
        (
            "      container: web\n    service",
            "      container: wbe\n    service",
            "has no container `wbe`; it has web, side",
        ),
        (
            "      container: web\n    service",
            "      container_port: 81\n    service",
            "the container `web` maps no port 81",
        ),
        ("      arn: arn", "      type: A\n      arn: arn", "network mode bridge allows only SRV records"),
    ] {
        let result: Value = serde_json::from_str(&run("steady.yaml", from, to, true).stdout).unwrap();
        assert_eq!(result["error"]["exitCode"], 2, "{result:#}");
        assert!(result["error"]["message"].as_str().unwrap().contains(message), "{result:#}");
        assert!(result["error"]["hints"].is_array());
    }
}

#[test]
fn the_project_without_the_mistakes_gets_as_far_as_aws() {
    // leading zeros of an account are not lost, and YAML may begin with a byte order mark
    for (from, to) in [
        ("region", "region"),
        ("region", "\u{feff}region"),
        ("repository: web", "repository: \"012345678901.dkr.ecr.us-west-2.amazonaws.com/web\""),
    ] {
        let run = run("steady.yaml", from, to, true);
        let result: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_ne!(run.code, 2, "{result:#}");
        assert!(run.stderr.is_empty() || !run.stderr.contains("steady.yaml:"), "{}", run.stderr);
    }
}
