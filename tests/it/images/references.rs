use proptest::prelude::*;
use steadystate::error::Kind;
use steadystate::image::{EcrHost, Platform, Reference, reference};

const HEX: &str = "6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b";

#[test]
fn well_formed_references() {
    let digest = format!("sha256:{HEX}");
    let with_digest = format!("registry.example.com/a/b:1.0@{digest}");
    type Row<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, Option<&'a str>);
    let table: [Row; 13] = [
        ("nginx", "docker.io", "library/nginx", None, None),
        ("amazon/amazon-ecs-sample", "docker.io", "amazon/amazon-ecs-sample", None, None),
        ("docker.io/nginx:1", "docker.io", "library/nginx", Some("1"), None),
        ("index.docker.io/a/b", "docker.io", "a/b", None, None),
        ("localhost/hello", "localhost", "hello", None, None),
        ("localhost:5000/hello:v1", "localhost:5000", "hello", Some("v1"), None),
        ("127.0.0.1:4566/a/b/c", "127.0.0.1:4566", "a/b/c", None, None),
        ("[::1]:5000/hello", "[::1]:5000", "hello", None, None),
        ("public.ecr.aws/docker/library/nginx:stable", "public.ecr.aws", "docker/library/nginx", Some("stable"), None),
        (
            "012345678901.dkr.ecr.us-west-2.amazonaws.com/my_repo/a--b:v1_2.3-x",
            "012345678901.dkr.ecr.us-west-2.amazonaws.com",
            "my_repo/a--b",
            Some("v1_2.3-x"),
            None,
        ),
        (&with_digest, "registry.example.com", "a/b", Some("1.0"), Some(&digest)),
        ("Registry.Example.com/a", "Registry.Example.com", "a", None, None),
        ("ecr.example.com/a", "ecr.example.com", "a", None, None),
    ];
    for (text, registry, repository, tag, digest) in table {
        let parsed = text.parse::<Reference>();
        let parsed = parsed.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let expected = Reference {
            registry: registry.into(),
            repository: repository.into(),
            tag: tag.map(Into::into),
            digest: digest.map(Into::into),
        };
        assert_eq!(parsed, expected, "{text}");
        assert_eq!(parsed.to_string().parse::<Reference>().unwrap(), parsed, "{text}");
    }
}

/// What people paste, and what they are told.
#[test]
fn mistakes_name_what_was_meant() {
    let upper = format!("a@SHA256:{}", HEX.to_uppercase());
    let bare = format!("a@{HEX}");
    let table = [
        ("", "write `registry/repository:tag`"),
        ("YOUR-REPOSITORY-URI:latest", "`{{image}}`"),
        ("ACCOUNTID.dkr.ecr.us-west-2.amazonaws.com/hello", "put your own value"),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com/ecs-demo-MYSERVICENUMBER", "put your own value"),
        ("<account>.dkr.ecr.us-west-2.amazonaws.com/hello", "put your own value"),
        ("${REGISTRY}/hello", "put your own value"),
        (
            "123456789012.dkr.ecrus-west-2.amazonaws.com/hello",
            "did you mean `123456789012.dkr.ecr.us-west-2.amazonaws.com`?",
        ),
        ("dkr.ecrus-west-2.amazonaws.com/hello", "did you mean `ACCOUNT_ID.dkr.ecr.us-west-2.amazonaws.com`"),
        ("dkr.ecr.us-west2.amazonas.com/hello", "did you mean `ACCOUNT_ID.dkr.ecr.us-west-2.amazonaws.com`"),
        (
            "123456789012.dkr.ecr.us-west2.amazonas.com/hello",
            "did you mean `123456789012.dkr.ecr.us-west-2.amazonaws.com`?",
        ),
        (
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com/x",
            "did you mean `123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn`?",
        ),
        ("12345678901.dkr.ecr.us-east-1.amazonaws.com/hello", "it is `012345678901.dkr.ecr.us-east-1.amazonaws.com`"),
        ("1234567890123.dkr.ecr.us-east-1.amazonaws.com/hello", "get-caller-identity"),
        (
            "https://123456789012.dkr.ecr.us-east-1.amazonaws.com/hello",
            "write `123456789012.dkr.ecr.us-east-1.amazonaws.com/hello`",
        ),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com", "amazonaws.com/REPOSITORY"),
        ("\u{feff}nginx", "did you mean `nginx`?"),
        ("\u{201c}nginx:1\u{201d}", "did you mean `nginx:1`?"),
        (" nginx", "did you mean `nginx`?"),
        ("nginx:1 ", "did you mean `nginx:1`?"),
        ("example.com/My/App", "did you mean `my/app`?"),
        ("example.com/a//b", "empty part"),
        ("example.com/a/", "empty part"),
        ("example.com/-a", "lower-case letters and digits"),
        ("example.com/a...b", "lower-case letters and digits"),
        ("nginx:", "leave the `:` out"),
        ("nginx:feature/x", "tags have no `/`"),
        ("nginx:.hidden", "did you mean `hidden`?"),
        ("nginx:a+b", "did you mean `a-b`?"),
        (upper.as_str(), "did you mean `sha256:6c3c"),
        (bare.as_str(), "did you mean `sha256:6c3c"),
        ("a@sha256:123", "64 hexadecimal digits"),
        ("localhost:port/a", "`port` is not a port"),
        ("localhost:99999/a", "`99999` is not a port"),
        ("[::1/a", "brackets"),
        ("a.b__c.d/x", "a host has letters"),
    ];
    for (text, hint) in table {
        let error = match text.parse::<Reference>() {
            Ok(parsed) => panic!("{text} was taken for {parsed:?}"),
            Err(error) => error,
        };
        assert_eq!(error.kind(), Kind::Input, "{text}");
        assert!(error.hints().iter().any(|found| found.contains(hint)), "{text}: {error:?}");
    }
    let long = format!("example.com/{}", "a".repeat(250));
    assert!(long.parse::<Reference>().unwrap_err().to_string().contains("255"));
}

#[test]
fn registries_alone() {
    let ecr = "123456789012.dkr.ecr.us-west-2.amazonaws.com";
    assert_eq!(reference::registry_host(ecr).unwrap(), ecr);
    let table = [
        (format!("{ecr}/myrepo"), format!("did you mean `{ecr}`?")),
        (format!("https://{ecr}"), format!("write `{ecr}`")),
        ("dkr.ecrus-west-2.amazonaws.com".to_owned(), "us-west-2.amazonaws.com".to_owned()),
    ];
    for (text, hint) in table {
        let error = reference::registry_host(&text).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.hints()[0].contains(&hint), "{text}: {error:?}");
    }
}

#[test]
fn ecr_hosts() {
    let table = [
        ("012345678901.dkr.ecr.us-west-2.amazonaws.com", Some(("us-west-2", "aws", false, false))),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Some(("cn-north-1", "aws-cn", false, false))),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", Some(("us-gov-west-1", "aws-us-gov", false, true))),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", Some(("eu-west-1", "aws", true, false))),
        ("123456789012.dkr-ecr-fips.us-east-1.on.aws", Some(("us-east-1", "aws", true, true))),
        ("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", Some(("cn-north-1", "aws-cn", true, false))),
        ("123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu", Some(("eusc-de-east-1", "aws-eusc", false, false))),
        ("123456789012.dkr.ecr.xx-newest-9.amazonaws.com", Some(("xx-newest-9", "aws", false, false))),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com.evil.example", None),
        ("123456789012.dkr.ecr.us-west-2.evil.example", None),
        ("public.ecr.aws", None),
        ("localhost:5000", None),
    ];
    for (host, expected) in table {
        let parsed = EcrHost::parse(host);
        let found = parsed.as_ref().map(|ecr| (ecr.region.as_str(), ecr.partition, ecr.dual_stack, ecr.fips));
        assert_eq!(found, expected, "{host}");
        if let Some(ecr) = parsed {
            assert_eq!(ecr.to_string(), host);
            assert_eq!(ecr.account_id, host[..12]);
        }
    }
}

#[test]
fn base_urls() {
    let table = [
        ("nginx", "https://registry-1.docker.io", false),
        ("localhost:5000/a", "http://localhost:5000", true),
        ("127.0.0.2:80/a", "http://127.0.0.2:80", true),
        ("[::1]:80/a", "http://[::1]:80", true),
        ("10.0.0.1:80/a", "https://10.0.0.1:80", false),
        ("localhost.example.com/a", "https://localhost.example.com", false),
    ];
    for (text, url, loopback) in table {
        let reference: Reference = text.parse().unwrap();
        assert_eq!((reference.base_url().as_str(), reference.is_loopback()), (url, loopback));
    }
}

#[test]
fn platforms() {
    let table = [
        ("linux/amd64", Ok("linux/amd64")),
        ("linux/arm64/v8", Ok("linux/arm64")),
        ("linux/arm/v7", Ok("linux/arm/v7")),
        ("linux/x86_64", Err("did you mean `linux/amd64`?")),
        ("linux/aarch64", Err("did you mean `linux/arm64`?")),
        ("arm64", Err("did you mean `linux/arm64`?")),
        ("X86_64", Err("did you mean `linux/amd64`?")),
        ("linx/amd64", Err("did you mean `linux/amd64`?")),
        ("linux/amd46", Err("did you mean `linux/amd64`?")),
        ("linux/", Err("os/architecture")),
        ("", Err("os/architecture")),
        ("a/b/c/d", Err("os/architecture")),
    ];
    for (text, expected) in table {
        match (text.parse::<Platform>(), expected) {
            (Ok(platform), Ok(shown)) => assert_eq!(platform.to_string(), shown),
            (Err(error), Err(hint)) => {
                assert_eq!(error.kind(), Kind::Input);
                assert!(error.hints()[0].contains(hint), "{text}: {error:?}");
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
    assert_eq!(Platform::from_ecs(None, None).to_string(), "linux/amd64");
    assert_eq!(Platform::from_ecs(Some("LINUX"), Some("ARM64")).to_string(), "linux/arm64");
}

proptest! {
    #[test]
    fn what_is_shown_parses_to_the_same(
        registry in "([a-z0-9]{1,8}(-[a-z0-9]{1,4})?\\.){1,3}[a-z]{2,5}(:[1-9][0-9]{0,3})?",
        repository in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,8}){1,3}",
        tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"),
        digest in proptest::option::of("[0-9a-f]{64}"),
    ) {
        prop_assume!(!registry.starts_with("docker.io"));
        let reference = Reference { registry, repository, tag, digest: digest.map(|hex| format!("sha256:{hex}")) };
        let shown = reference.to_string();
        // A word of capitals may be a placeholder, which is refused on purpose.
        if let Ok(parsed) = shown.parse::<Reference>() {
            prop_assert_eq!(parsed, reference);
        } else {
            prop_assert!(shown.parse::<Reference>().unwrap_err().to_string().contains("placeholder"), "{}", shown);
        }
    }

    #[test]
    fn any_text_parses_or_explains_itself(text in "\\PC{0,40}") {
        match text.parse::<Reference>() {
            Ok(reference) => prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference),
            Err(error) => {
                prop_assert_eq!(error.kind(), Kind::Input);
                prop_assert!(!error.hints().is_empty());
            }
        }
    }
}
