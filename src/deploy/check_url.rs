//! The last proof: an HTTP GET at the load balancer, or at the name that people know the service by, answers 200.

use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};

/// A load balancer that was made a moment ago needs its time to answer, and its name to be known.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks `wanted`, which is a whole URL or a path at the load balancer's `url`, until it answers 200, for at most
/// `patience` and two minutes. The URL, for the step's detail.
pub async fn check(url: Option<&str>, wanted: &str, patience: Duration) -> Result<String> {
    let of_balancer = wanted.starts_with('/');
    let url = match (of_balancer, url) {
        (false, _) => wanted.to_owned(),
        // The path is one of the load balancer's: a rule's own path in `url` is not put before it.
        (true, Some(url)) => {
            let parsed = url::Url::parse(url).map_err(|error| Error::other(format!("{url} is no URL")).cause(error))?;
            format!("{}{wanted}", parsed.origin().ascii_serialization())
        }
        (true, None) => {
            let message = format!("there is no URL to check {wanted} at: the service has no load balancer");
            return Err(Error::new(Kind::Other, message)
                .hint("add `load_balancer:` to steady.yaml, give a whole URL, or leave --check-url out"));
        }
    };
    let client = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(3))
        .timeout(Duration::from_secs(10))
        .no_proxy()
        .build()
        .map_err(|error| Error::other("cannot make an HTTP client").cause(error))?;
    let patience = patience.min(PATIENCE);
    let started = Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        let answer = match client.get(&url).send().await {
            Ok(response) if response.status().as_u16() == 200 => return Ok(url),
            Ok(response) => format!("it answers {}", response.status()),
            Err(error) => causes(&error.without_url()),
        };
        let untrusted = answer.contains("certificate");
        // The load balancer's own name is in nobody's certificate, and no waiting puts it there.
        if (untrusted && of_balancer) || started.elapsed() >= patience {
            let message = format!("the service is steady, but GET {url} does not answer 200: {answer}");
            let hint = match (untrusted, of_balancer) {
                (true, true) => format!(
                    "the certificate is that of the service's own name: check there, with `check_url: \
                     https://YOUR-DOMAIN{wanted}` or --check-url"
                ),
                (true, false) => {
                    "does the listener's certificate name this host, and is its issuer trusted here?".into()
                }
                _ => "is the port open for this machine (security groups, an internal load balancer)?".into(),
            };
            return Err(Error::new(Kind::Other, message).hint(hint));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// An error with all that caused it, without repeats.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
