//! Input: 38 to 45. Each is refused as a person would meet it, with its place and before anything is asked of AWS.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use steadystate::deploy::event::{BlobState, ContainerExit, Event, ResourceAction, Step};
use steadystate::error::{Error, SourceText};
use steadystate::report::choose::Style;
use steadystate::report::lines::{Lines, harmless as harmless_line};
use steadystate::report::{escape, failure, result};

use crate::aws::server::{Reply, Server};
use crate::site::Site;

/// A project whose AWS answers nothing and counts who asks.
struct Desk {
    site: Site,
    aws: Server,
}

const IMAGE: &str = "{ repository: hello, build: { layers: [{ from: td.json.hbs, to: /a }], entrypoint: [/a] } }";

impl Desk {
    async fn new() -> Desk {
        let aws = Server::start(|_, _| Reply::Error(400, "UnknownOperationException", "nothing is asked")).await;
        Desk { site: Site::new(&aws.url, IMAGE), aws }
    }

    /// A task definition of one container with these members; those that follow begin at line 3, column 5.
    fn container(&self, members: &str) -> String {
        format!("{{ \"family\": \"hello\",\n  \"containerDefinitions\": [{{\n    {members}\n}}] }}")
    }

    /// A deploy that has to end with 2 before anything is asked: the error.
    async fn refused(&self, task_definition: impl AsRef<[u8]>, arguments: &[&str]) -> Value {
        self.site.write("td.json.hbs", task_definition);
        self.refuses(arguments).await
    }

    async fn refuses(&self, arguments: &[&str]) -> Value {
        let started = Instant::now();
        let ended = self.site.run(&[&["deploy", "-o", "json"], arguments].concat()).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
        assert_eq!(self.aws.operations(), Vec::<String>::new(), "nothing was asked");
        serde_json::from_str::<Value>(&ended.stdout).unwrap()["error"].take()
    }

    /// The documents as they would be sent.
    async fn rendered(&self, task_definition: impl AsRef<[u8]>, arguments: &[&str]) -> Value {
        self.site.write("td.json.hbs", task_definition);
        self.site.run(&[&["render", "-o", "json"], arguments].concat()).await.result()
    }
}

/// `file:line:column: message | hint`
fn said(error: &Value) -> String {
    let text = |member: &str| error[member].as_str().unwrap_or_default();
    let hint = error["hints"][0].as_str().unwrap_or_default();
    format!("{}:{}:{}: {} | {hint}", text("file"), error["line"], error["column"], text("message"))
}

#[tokio::test]
async fn case_38_a_template_variable_that_is_not_there_has_its_place() {
    let desk = Desk::new().await;
    let variables = ["--var", "LOG=warn", "--var", "nothing:=null", "--var", "map:={\"a\":1}"];
    for (text, place, message) in [
        ("{{var.LGO}}", "3:52", "the template variable \"var.LGO\" is not defined | did you mean \"var.LOG\"?"),
        ("{{#if var.missing}}x{{/if}}", "3:56", "the template variable \"var.missing\" is not defined"),
        ("{{#unless missing}}x{{/unless}}", "3:60", "the template variable \"missing\" is not defined"),
        ("{{#each var.missing}}x{{/each}}", "3:58", "the template variable \"var.missing\" is not defined"),
        ("{{var.nothing}}", "3:52", "\"var.nothing\" is null"),
        ("{{var.map}}", "3:52", "\"var.map\" is an object"),
        ("{{{var.LOG}}}", "3:50", "{{{v}}} would insert a value without escaping it"),
    ] {
        let members = format!("\"name\": \"a\", \"memory\": 64, \"image\": \"x\", \"user\": \"{text}\"");
        let column = 5 + members.find(text).unwrap();
        let error = desk.refused(desk.container(&members), &variables).await;
        let inner: usize = place[2..].parse::<usize>().unwrap() - 50;
        let wanted = format!("td.json.hbs:3:{}: {message}", column + inner);
        assert!(said(&error).starts_with(&wanted), "{}\nwanted {wanted}", said(&error));
    }
}

#[tokio::test]
async fn case_39_a_value_stays_the_string_that_it_is() {
    let desk = Desk::new().await;
    let members = "\"name\": \"a\", \"memory\": 64, \"image\": \"x\", \"user\": \"{{var.evil}}\"";
    for evil in ["\",\"privileged\":true,\"x\":\"", "\\", "\"", "a\nb", "\u{2028}\u{7f}", "{{", "}}{{", "<&'>"] {
        let variable = format!("evil={evil}");
        let rendered = desk.rendered(desk.container(members), &["--var", &variable]).await;
        let container = &rendered["taskDefinition"]["containerDefinitions"][0];
        assert_eq!(container["user"], evil, "{container}");
        assert_eq!(container.get("privileged"), None);
        assert_eq!(container.as_object().unwrap().len(), 4, "{container}");
    }
}

#[tokio::test]
async fn case_40_a_key_that_is_there_twice_is_refused() {
    let desk = Desk::new().await;
    let twice = "\"name\": \"a\", \"memory\": 64, \"image\": \"x\",\n    \"memory\": 128";
    let error = desk.refused(desk.container(twice), &[]).await;
    let wanted = "td.json.hbs:4:5: the key \"memory\" is given twice in one object | remove one of the two; the first is at \
                  td.json.hbs:3:18";
    assert_eq!(said(&error), wanted);
    // In what belongs to the user alone as well, where no shape is known.
    let labels = "\"name\": \"a\", \"memory\": 64, \"image\": \"x\", \"dockerLabels\": { \"k\": \"1\", \"k\": \"2\" }";
    assert!(said(&desk.refused(desk.container(labels), &[]).await).contains("the key \"k\" is given twice"));
    desk.site.write("td.json.hbs", desk.container("\"name\": \"a\", \"memory\": 64, \"image\": \"x\""));
    let project = std::fs::read_to_string(desk.site.path("steady.yaml")).unwrap();
    desk.site.write("steady.yaml", format!("{project}region: eu-west-1\n"));
    let error = desk.refuses(&[]).await;
    assert!(said(&error).contains("the key `region` is there twice"), "{error}");
}

#[tokio::test]
async fn case_41_what_json_cannot_mean_is_refused_and_a_byte_order_mark_is_not() {
    let desk = Desk::new().await;
    let good = desk.container("\"name\": \"a\", \"memory\": 64, \"image\": \"x\"");
    let marked = desk.rendered(format!("\u{feff}{good}"), &[]).await;
    assert_eq!(marked, desk.rendered(&good, &[]).await);
    let project = std::fs::read_to_string(desk.site.path("steady.yaml")).unwrap();
    desk.site.write("steady.yaml", format!("\u{feff}{project}"));
    assert_eq!(marked, desk.rendered(&good, &[]).await);
    desk.site.write("steady.yaml", project);
    let with =
        |value: &str| desk.container(&format!("\"name\": \"a\", \"memory\": 64, \"image\": \"x\", \"user\": {value}"));
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    for (value, message) in [
        (r#""\ud800""#.to_owned(), "\\ud800 is half of a surrogate pair"),
        (r#""\udc00x""#.to_owned(), "\\udc00 is half of a surrogate pair"),
        (deep(129), "nested deeper than 128 levels"),
        (deep(1_000_000), "nested deeper than 128 levels"),
        ("18446744073709551616".to_owned(), "18446744073709551616 does not fit a 64-bit number"),
        ("-9223372036854775809".to_owned(), "-9223372036854775809 does not fit"),
        ("1e999".to_owned(), "1e999 does not fit"),
    ] {
        let error = desk.refused(with(&value), &[]).await;
        assert!(said(&error).starts_with("td.json.hbs:3:") && said(&error).contains(message), "{}", said(&error));
    }
    // The same in the service's document.
    desk.site.write("td.json.hbs", &good);
    desk.site.write("service.json", "{ \"desiredCount\": 18446744073709551616 }");
    let project = std::fs::read_to_string(desk.site.path("steady.yaml")).unwrap();
    desk.site.write("steady.yaml", format!("{project}    service: service.json\n"));
    assert!(said(&desk.refuses(&[]).await).starts_with("service.json:1:19: 18446744073709551616 does not fit"));
}

#[tokio::test]
async fn case_42_a_template_that_explodes_is_cut_off() {
    let desk = Desk::new().await;
    for text in [
        "{{#if true}}".repeat(20_000) + "x" + &"{{/if}}".repeat(20_000),
        "{{#if service}}".repeat(20_000) + "x" + &"{{/if}}".repeat(20_000),
        format!("{{{{#if {}service{}}}}}{{{{/if}}}}", "(not ".repeat(20_000), ")".repeat(20_000)),
        "{{#if service}}".to_owned() + &"{{else if service}}".repeat(20_000) + "{{/if}}",
    ] {
        let error = desk.refused(text, &[]).await;
        assert!(said(&error).contains("nested deeper than 64 levels"), "{error}");
    }
    let items = format!("items:={}", json!((0..2_000).collect::<Vec<u32>>()));
    let long = format!("long={}", "x".repeat(1_000));
    for body in ["{{@root.var.long}}", "", "{{! nothing written }}"] {
        let loops = format!("{{{{#each var.items}}}}{{{{#each @root.var.items}}}}{body}{{{{/each}}}}{{{{/each}}}}");
        let error = desk.refused(loops, &["--var", &items, "--var", &long]).await;
        assert!(said(&error).contains("renders more than"), "{error}");
    }
}

#[tokio::test]
async fn case_43_a_yaml_bomb_is_cut_off() {
    let desk = Desk::new().await;
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    desk.site.write("steady.yaml", &bomb);
    let error = desk.refuses(&[]).await;
    assert!(said(&error).contains("unfolds beyond") && error["line"].is_u64(), "{error}");
    for text in
        [format!("cluster: {}{}", "[".repeat(10_000), "]".repeat(10_000)), "x: ".to_owned() + &"y".repeat(9 << 20)]
    {
        desk.site.write("steady.yaml", &text);
        desk.refuses(&[]).await;
    }
}

#[tokio::test]
async fn case_44_an_unknown_member_is_named_with_what_was_meant() {
    let desk = Desk::new().await;
    for (members, wanted) in [
        ("\"name\": \"a\", \"memroy\": 64, \"image\": \"x\"", "td.json.hbs:3:18: unknown member \"memroy\""),
        (
            "\"name\": \"a\", \"memory\": 64, \"image\": \"x\", \"portMappings\": [{ \"container_port\": 80 }]",
            "td.json.hbs:3:65: unknown member \"container_port\"",
        ),
    ] {
        let error = desk.refused(desk.container(members), &[]).await;
        let near = error["hints"][0].as_str().unwrap_or_default();
        assert!(near.starts_with("did you mean"), "{error}");
        let (place, _) = wanted.split_once(": ").unwrap();
        assert!(said(&error).starts_with(place), "{}\nwanted {wanted}", said(&error));
    }
    let project = std::fs::read_to_string(desk.site.path("steady.yaml")).unwrap();
    desk.site.write("steady.yaml", format!("{project}    desird_count: 1\n"));
    let error = desk.refuses(&[]).await;
    assert!(said(&error).contains("unknown key `desird_count`"), "{error}");
    assert_eq!(error["hints"][0], "did you mean `desired_count`?");
}

/// What a document holds is sent as it is; what a person sees of it moves no cursor.
#[tokio::test]
async fn case_45_a_value_passes_in_json_and_is_escaped_on_the_screen() {
    let desk = Desk::new().await;
    let evil = "a\u{1b}[31mred\u{202e}desrever\u{9b}2J\u{7f}";
    let written = json!(evil).to_string();
    let members = format!("\"name\": \"a\", \"memory\": 64, \"image\": \"x\", \"user\": {written}");
    let rendered = desk.rendered(desk.container(&members), &[]).await;
    assert_eq!(rendered["taskDefinition"]["containerDefinitions"][0]["user"], evil);
    let shown = desk.site.run(&["render"]).await;
    let harmless = |text: &str| !text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
    assert!(shown.code == Some(0) && harmless(&shown.stdout) && shown.stdout.contains("\\u{202e}"), "{shown:?}");
    // In an error's own source as well.
    let text = desk.container(&format!("\"name\": \"a\", \"memory\": 64, \"image\": \"x\", \"usr\": {written}"));
    desk.site.write("td.json.hbs", text.replace("\\u001b", "\u{1b}"));
    let refused = desk.site.run(&["deploy"]).await;
    assert!(refused.code == Some(2) && harmless(&refused.stderr), "{:?}", refused.stderr);
}

const PLAIN: Style = Style { color: false, unicode: true, width: None };

#[test]
fn case_45_nothing_from_outside_reaches_a_terminal_as_it_is() {
    let evil = "a\u{1b}]0;owned\u{7}b\u{9b}31mc\u{202e}d\u{2066}e\rf\ng\u{200b}h\u{0}i";
    let events = [
        Event::StepFinished { step: Step::Build, detail: evil.into(), duration_ms: 1 },
        Event::Warning { message: evil.into(), hint: Some(evil.into()) },
        Event::Notice { message: evil.into() },
        Event::BuildOutput { line: evil.into() },
        Event::Output { line: evil.into() },
        Event::Blob { digest: evil.into(), size: 1, sent: 1, state: BlobState::Pushed },
        Event::Resource { action: ResourceAction::Created, kind: evil.into(), id: evil.into() },
        Event::ServiceEvent { id: evil.into(), created_at: 1, message: evil.into() },
        Event::Deployment { id: evil.into(), status: evil.into(), desired: 1, running: 1, pending: 0, failed: 0 },
        Event::Task {
            id: evil.into(),
            task_definition: evil.into(),
            last_status: evil.into(),
            health: Some(evil.into()),
            stopped_reason: Some(evil.into()),
            exit_codes: vec![ContainerExit { container: evil.into(), exit_code: Some(1), reason: Some(evil.into()) }],
        },
        Event::Target { target_group: evil.into(), target: evil.into(), state: evil.into(), reason: Some(evil.into()) },
        Event::Log { task: evil.into(), container: evil.into(), line: evil.into() },
    ];
    let harmless =
        |text: &str| !text.chars().any(|c| (c.is_control() && c != '\n') || "\u{202e}\u{2066}\u{200b}".contains(c));
    for event in &events {
        let lines = Lines::new(PLAIN).of(event);
        assert!(!lines.is_empty() && lines.iter().all(|line| harmless(line) && !line.contains('\n')), "{lines:?}");
    }
    assert!(harmless(&harmless_line(evil)), "what `steady run` writes to a terminal");
    let source = SourceText::new("x.json", format!("first\n{evil} here\n"));
    let at = source.text.find("here").unwrap();
    let error = Error::input(evil).at(&source, at..at + 4, Some(evil)).hint(evil).cause(std::io::Error::other(evil));
    assert!(harmless(&failure::text(&error, PLAIN)), "{:?}", failure::text(&error, PLAIN));
    let value = json!({ "status": evil, "service": evil, "cluster": evil, "x": evil, "rows": [{ "a": evil }], "map": { "k": evil } });
    assert!(harmless(&result::text(&value, PLAIN)), "{:?}", result::text(&value, PLAIN));
    assert_eq!(failure::json(&error)["message"], evil, "JSON carries it as it is");
    assert_eq!(escape::line("plain"), "plain");
    assert_eq!(escape::line("a\tb\u{1b}"), "a\\tb\\u{1b}");
    assert_eq!(escape::block("a\tb\n\u{85}"), "a\tb\n\\u{85}");
}
