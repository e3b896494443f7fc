//! The last proof: an HTTP GET at the load balancer answers 200.

use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};

/// A load balancer that was made a moment ago needs its time to answer, and its name to be known.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks `url` + `path` until it answers 200, for at most `patience` and two minutes. The URL, for the step's detail.
pub async fn check(url: Option<&str>, path: &str, patience: Duration) -> Result<String> {
    let Some(url) = url else {
        return Err(Error::new(
            Kind::Other,
            format!("there is no URL to check {path} at: the service has no load balancer"),
        )
        .hint("add `load_balancer:` to steady.yaml, or leave --check-url out"));
    };
    // The path is one of the load balancer's: a rule's own path in `url` is not put before it.
    let origin = url::Url::parse(url).map_err(|error| Error::other(format!("{url} is no URL")).cause(error))?.origin();
    let url = format!("{}{path}", origin.ascii_serialization());
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
            Err(error) => {
                let error = error.without_url();
                std::error::Error::source(&error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
            }
        };
        if started.elapsed() >= patience {
            return Err(Error::new(
                Kind::Other,
                format!("the service is steady, but GET {url} does not answer 200: {answer}"),
            )
            .hint("is the port open for this machine (security groups, an internal load balancer)?"));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}
