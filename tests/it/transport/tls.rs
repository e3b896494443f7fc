//! Who is trusted, and what is said of those who are not.

use super::{Authority, PASSWORD, SCRATCH, TlsFront, fake_ecr};
use crate::registry::Fake;
use crate::site::Site;

/// A host that is this machine, and is not known to be: what is on loopback may speak plain http.
fn site(registry: &TlsFront) -> Site {
    Site::new("", &SCRATCH.replace("REGISTRY", &format!("0.0.0.0:{}", registry.address.port())))
}

#[tokio::test]
async fn whom_the_environment_names_is_trusted_by_registries_and_aws_calls() {
    let (authority, other, fake) = (Authority::new(), Authority::new(), Fake::start().await);
    let registry = TlsFront::start(authority.certify(&["0.0.0.0"], 2100), fake.address).await;
    let (aws, serving) = fake_ecr().await;
    let aws = TlsFront::start(authority.certify(&["localhost"], 2100), aws).await;
    let site = site(&registry);
    site.write("ca.pem", &authority.pem);
    site.write("two.pem", format!("{}\n# and\n{}", other.pem, authority.pem));
    site.write("other.pem", &other.pem);
    std::fs::create_dir(site.path("folder")).unwrap();
    site.write("folder/ca.pem", &authority.pem);
    let ways: [&[(&str, &str)]; 4] = [
        &[("SSL_CERT_FILE", "ca.pem")],
        &[("SSL_CERT_FILE", "two.pem")],
        &[("SSL_CERT_DIR", "folder")],
        // beside the system's, for which the other stands
        &[("AWS_CA_BUNDLE", "ca.pem"), ("SSL_CERT_FILE", "other.pem")],
    ];
    for way in ways {
        fake.forget();
        let run = |arguments: &'static [&'static str]| {
            let mut command = site.command(arguments);
            command.envs(way.iter().map(|(name, value)| (*name, site.path(value))));
            command.env("AWS_ENDPOINT_URL", format!("https://localhost:{}", aws.address.port()));
            async move { crate::site::Ended::of(command.output().await.unwrap()) }
        };
        let pushed = run(&["push", "-o", "json"]).await.result();
        assert_eq!(Some(&pushed["digest"]), fake.tag("v1").map(Into::into).as_ref(), "{way:?}");
        assert!(!fake.log().is_empty());
        let login = run(&["login", "--password-stdout"]).await;
        assert_eq!((login.code, login.stdout.trim()), (Some(0), PASSWORD), "{way:?}: {login:?}");
    }
    serving.abort();
}

#[tokio::test]
async fn whom_nobody_vouches_for_is_refused_at_once_and_says_what_to_do() {
    let (authority, other, fake) = (Authority::new(), Authority::new(), Fake::start().await);
    let (ecr, serving) = fake_ecr().await;
    let names = ["0.0.0.0", "localhost"];
    let table = [
        (other.certify(&names, 2100), "AWS_CA_BUNDLE"),
        (authority.certify(&names, 2021), "its certificate has expired"),
        (authority.certify(&["elsewhere.example"], 2100), "the certificate there is another host's"),
    ];
    for (config, hint) in table {
        let registry = TlsFront::start(config.clone(), fake.address).await;
        let aws = TlsFront::start(config, ecr).await;
        let site = site(&registry);
        site.write("ca.pem", &authority.pem);
        let ca = site.path("ca.pem");
        let pushed = site.command(&["push"]).env("SSL_CERT_FILE", &ca).output().await.unwrap();
        let pushed = crate::site::Ended::of(pushed);
        assert_eq!(pushed.code, Some(4), "{pushed:?}");
        assert!(pushed.stderr.contains("cannot reach the registry 0.0.0.0:"), "{pushed:?}");
        assert!(said(&pushed.stderr, hint), "{pushed:?}");
        let mut login = site.command(&["login", "--password-stdout"]);
        login.env("SSL_CERT_FILE", &ca);
        login.env("AWS_ENDPOINT_URL", format!("https://localhost:{}", aws.address.port()));
        let login = crate::site::Ended::of(login.output().await.unwrap());
        assert_eq!((login.code, login.stdout.as_str()), (Some(4), ""), "{login:?}");
        assert!(said(&login.stderr, hint), "{login:?}");
    }
    assert!(fake.log().is_empty(), "nothing was said to whom nobody trusts");
    // No TLS at all where TLS is spoken.
    let site = Site::new("", &SCRATCH.replace("REGISTRY", &format!("0.0.0.0:{}", fake.address.port())));
    site.write("ca.pem", &authority.pem);
    let pushed = site.command(&["push"]).env("SSL_CERT_FILE", site.path("ca.pem")).output().await.unwrap();
    let pushed = crate::site::Ended::of(pushed);
    assert_eq!(pushed.code, Some(4));
    assert!(said(&pushed.stderr, "does not speak TLS"), "{pushed:?}");
    serving.abort();
}

#[tokio::test]
async fn what_names_no_certificates_is_an_error() {
    let fake = Fake::start().await;
    let authority = Authority::new();
    let registry = TlsFront::start(authority.certify(&["0.0.0.0"], 2100), fake.address).await;
    let site = site(&registry);
    site.write("ca.pem", &authority.pem);
    site.write("text", "no certificate");
    for (variable, file, message) in [
        ("AWS_CA_BUNDLE", "missing.pem", "cannot read the certificates of AWS_CA_BUNDLE"),
        ("AWS_CA_BUNDLE", "text", "AWS_CA_BUNDLE names a file without certificates"),
        ("SSL_CERT_FILE", "missing.pem", "cannot read the certificates of SSL_CERT_FILE"),
        ("SSL_CERT_FILE", "text", "SSL_CERT_FILE names a file without certificates"),
    ] {
        let mut command = site.command(&["push"]);
        command.env("SSL_CERT_FILE", site.path("ca.pem")).env(variable, site.path(file));
        let pushed = crate::site::Ended::of(command.output().await.unwrap());
        assert_eq!(pushed.code, Some(3), "{pushed:?}");
        assert!(said(&pushed.stderr, message), "{pushed:?}");
    }
    // Empty is unset.
    let mut command = site.command(&["push"]);
    command.env("SSL_CERT_FILE", site.path("ca.pem")).env("AWS_CA_BUNDLE", "");
    assert_eq!(command.output().await.unwrap().status.code(), Some(0));
}

/// Whatever the lines are broken at.
pub fn said(stderr: &str, words: &str) -> bool {
    let plain =
        |text: &str| text.replace(['│', '╰', '▶', '─', '×'], " ").split_whitespace().collect::<Vec<_>>().join(" ");
    plain(stderr).contains(&plain(words))
}
