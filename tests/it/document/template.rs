use serde_json::{Value, json};
use steadystate::document::template::{MAX_DEPTH, is_template, references_image, render};
use steadystate::document::{TaskDefinitionOptions, render_task_definition};
use steadystate::error::SourceText;

use super::{URI, findings};

fn template(text: &str) -> SourceText {
    SourceText::new("task.json.hbs", text)
}

fn context() -> Value {
    json!({
        "image": URI,
        "repository_uri": "123456789012.dkr.ecr.us-west-2.amazonaws.com/hello",
        "digest": "sha256:00", "tag": "latest", "region": "us-west-2", "account_id": "123456789012",
        "cluster": "lab", "service": "hello", "environment": null,
        "var": {
            "LOG": "warn", "evil": "\",\"privileged\":true,\"x\":\"", "lines": "a\nb\t\"c\"\\", "none": null, "zero": 0,
            "port": 8080, "on": true, "off": false, "list": ["a", "b"], "map": {"k": 1, "l": 2}, "empty": [],
            "people": [{"name": "x", "tags": [1, 2]}, {"name": "y", "tags": []}],
        },
        "env": {"HOME": "/root"},
        "git": {"short_sha": "abc1234"},
    })
}

#[test]
fn renders() {
    let table = [
        ("plain { } text", "plain { } text"),
        ("\"{{var.LOG}}\"", "\"warn\""),
        ("{{ var.LOG }}{{var/LOG}}{{var.[LOG]}}{{@root.var.LOG}}{{this.var.LOG}}", "warnwarnwarnwarnwarn"),
        ("{{var.port}} {{var.on}}", "8080 true"),
        ("\"{{var.lines}}\"", r#""a\nb\t\"c\"\\""#),
        (
            "{{json var.list}} {{json var.map}} {{json var.none}} {{json var.LOG}}",
            r#"["a","b"] {"k":1,"l":2} null "warn""#,
        ),
        ("{\"a\": {\"b\": {{json var.map}}}}", r#"{"a": {"b": {"k":1,"l":2}}}"#),
        ("{{var.list.1}} {{lookup var.map \"l\"}}", "b 2"),
        ("{{#if var.on}}1{{else}}2{{/if}}{{#if var.off}}1{{else}}2{{/if}}", "12"),
        ("{{#if var.zero}}1{{else if var.none}}2{{else if var.on}}3{{else}}4{{/if}}", "3"),
        ("{{#unless var.empty}}none{{/unless}}", "none"),
        ("{{#each var.list}}{{@index}}{{this}}{{#unless @last}},{{/unless}}{{/each}}", "0a,1b"),
        ("{{#each var.map}}{{@key}}={{.}};{{/each}}", "k=1;l=2;"),
        ("{{#each var.map as |v k|}}{{k}}={{v}};{{/each}}", "k=1;l=2;"),
        (
            "{{#each var.people}}{{name}}{{../var.LOG}}{{#each tags}}{{.}}{{../name}}{{/each}} {{/each}}",
            "xwarn1x2x ywarn ",
        ),
        ("{{#each var.empty}}x{{else}}nothing{{/each}}", "nothing"),
        ("{{#with var.map}}{{k}}{{/with}}", "1"),
        ("a  {{~ var.LOG ~}}  b", "awarnb"),
        ("{{! a }} comment {{!-- }} --}}end", " comment end"),
        (r"\{{not.a.tag}} and \\{{var.LOG}}", r"{{not.a.tag}} and \\warn"),
        ("{{#if (and (eq var.LOG \"warn\") (gt var.port 80) (not var.off))}}yes{{/if}}", "yes"),
        ("{{#if (has git \"tag\")}}{{git.tag}}{{else}}{{git.short_sha}}{{/if}}", "abc1234"),
        ("{{len var.list}}", "2"),
    ];
    for (text, wanted) in table {
        let rendered = render(&template(text), &context()).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(&*rendered.text, wanted, "{text}");
        assert_eq!(&*rendered.name, "task.json.hbs");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    let table = [
        ("{\n  {{var.LGO}}", "2:5: the template variable \"var.LGO\" is not defined | did you mean \"var.LOG\"?"),
        ("{{#if var.LGO}}{{/if}}", "1:7: the template variable \"var.LGO\" is not defined | did you mean \"var.LOG\"?"),
        ("{{#unless missing}}{{/unless}}", "1:11: the template variable \"missing\" is not defined"),
        ("{{#each nope}}{{/each}}", "1:9: the template variable \"nope\" is not defined"),
        ("{{LOG}}", "1:3: the template variable \"LOG\" is not defined | did you mean \"var.LOG\"?"),
        ("{{imge}}", "1:3: the template variable \"imge\" is not defined | did you mean \"image\"?"),
        ("{{json var.lst}}", "1:8: the template variable \"var.lst\" is not defined | did you mean \"var.list\"?"),
        ("{{git.tag}}", "1:3: the template variable \"git.tag\" is not defined"),
        ("{{#if (eq var.x 1)}}{{/if}}", "1:11: the template variable \"var.x\" is not defined"),
        ("{{var.none}}", "1:3: \"var.none\" is null"),
        ("{{environment}}", "1:3: \"environment\" is null"),
        ("{{var.list}}", "1:3: \"var.list\" is a list, which {{…}} cannot write into a text | write {{json var.list}}"),
        ("{{var.map}}", "1:3: \"var.map\" is an object"),
        ("\"{{json var.LOG}}\"", "1:2: {{json …}} brings its own quotes"),
        ("é {{{var.LOG}}}", "1:3: {{{v}}} would insert a value without escaping it | write {{v}}"),
        ("{{&var.LOG}}", "1:1: {{&v}} would insert a value without escaping it"),
        ("{{~{var.LOG}~}}", "1:1: {{{v}}} would insert"),
        ("{{{{raw}}}}x{{{{/raw}}}}", "1:1: raw blocks are not part"),
        ("{{> header}}", "1:1: partials are not part"),
        ("{{#> header}}{{/header}}", "1:1: partials are not part"),
        ("{{* inline}}", "1:1: decorators are not part"),
        ("{{^var.on}}{{/var.on}}", "1:1: inverse blocks"),
        ("{{#iff var.on}}{{/iff}}", "1:4: there is no block \"iff\" | did you mean \"if\"?"),
        ("{{jsn var.on}}", "1:3: there is no helper \"jsn\" | did you mean \"json\"?"),
        ("{{eq var.on}}", "1:3: eq takes 2 arguments, not 1"),
        ("{{#if var.on}}x", "1:1: the block \"if\" is not closed | add {{/if}}"),
        ("{{#if var.on}}x{{/each}}", "1:16: {{/each}} ends the block \"if\" | write {{/if}}"),
        ("x{{/if}}", "1:2: no block is open that {{/if}} could end"),
        ("{{#if var.on}}{{else}}{{else}}{{/if}}", "1:23: a second {{else}} in one block"),
        ("{{var.LOG \n {{var.on}}", "1:1: this tag is not closed"),
        ("{{var.LOG", "1:1: this tag is not closed"),
        ("{{!-- x }}", "1:1: this comment is not closed"),
        ("{{}}", "1:1: a value is missing in this tag"),
        ("{{var..x}}", "1:3: \"var..x\" is not a name"),
        ("{{.Name}}", "1:3: \".Name\" is not a name"),
        ("{{@index}}", "1:3: @index has no value here"),
        ("{{../x}}", "1:3: ../ leads out of the template"),
        ("{{#each var.port}}{{/each}}", "1:9: {{#each}} goes through a list or an object"),
        ("{{(json var.on}}", "1:3: this parenthesis is not closed"),
    ];
    for (text, wanted) in table {
        let error = render(&template(text), &context()).map(|rendered| rendered.text).expect_err(text);
        let said = &findings(&error)[0];
        assert!(said.starts_with(&format!("task.json.hbs:{wanted}")), "{text}\n  said   {said}\n  wanted {wanted}");
    }
}

#[test]
fn nesting_to_the_limit_is_no_mistake() {
    let nested = |depth: usize| "{{#if var.on}}".repeat(depth) + "x" + &"{{/if}}".repeat(depth);
    assert!(render(&template(&nested(MAX_DEPTH)), &context()).is_ok());
    let error = render(&template(&nested(MAX_DEPTH + 1)), &context()).unwrap_err();
    assert!(findings(&error)[0].contains("nested deeper than 64 levels"), "{error:?}");
}

#[test]
fn a_template_is_known_by_what_it_uses() {
    // text, references_image, is_template under a plain name
    let table = [
        ("{\"image\": \"{{image}}\"}", true, true),
        ("{{repository_uri}}:{{git.sha}}", true, true),
        ("{{#if (eq tag \"x\")}}{{/if}}", true, true),
        ("{{#each var.x}}{{@root.digest}}{{/each}}", true, true),
        ("{{var.image}} {{service}}", false, true),
        ("{\"tag\": \"{{.Name}}\"}", false, false),
        ("{{{image}}}", false, false),
        ("image", false, false),
    ];
    for (text, image, is) in table {
        assert_eq!(references_image(&SourceText::new("x.json", text)), image, "{text}");
        assert_eq!(is_template(&SourceText::new("x.json", text)), is, "{text}");
        assert!(is_template(&SourceText::new("x.json.hbs", text)));
    }
}

#[test]
fn errors_after_rendering_point_into_the_template() {
    let text = "{\n  \"family\": \"{{service}}-{{region}}\", \"famly\": 1,\n{{#if var.on}}\n{{! two\nlines }}\n{{/if}}\n  \
                \"containerDefinitions\": [{\"name\": \"a\", \"image\": \"{{var.LOG}}:latest\", \"memory\": {{var.LOG}}}]\n}";
    let options = |image| TaskDefinitionOptions { allow_unknown_fields: false, default_family: "x", image };
    let error = render_task_definition(&template(text), &context(), options(None)).unwrap_err();
    insta::assert_snapshot!(findings(&error).join("\n"), @r#"task.json.hbs:7:83: what {{var.LOG}} gives does not fit into the JSON around it | text needs quotes around its tag, "{{var.LOG}}", or {{json var.LOG}}"#);

    let text = text.replace("{{var.LOG}}}", "\"{{var.port}}\"}");
    let error = render_task_definition(&template(&text), &context(), options(None)).unwrap_err();
    insta::assert_snapshot!(findings(&error).join("\n"), @r#"
task.json.hbs:2:39: unknown member "famly" | did you mean "family"? | a member newer than this steady passes with allow_unknown_fields: true
task.json.hbs:7:83: containerDefinitions[0].memory: expected an integer, found a string | write 8080
"#);
}
