//! The environment: where labs live, and what points any AWS client at one.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Endpoint;
use crate::error::{Error, Result};

/// Variables that would lead a client elsewhere in spite of [`environment`].
pub const UNSET: [&str; 17] = [
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_ENDPOINT_URL_ECS",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2",
    "AWS_ENDPOINT_URL_SERVICEDISCOVERY",
    "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_IAM",
    "AWS_ENDPOINT_URL_CLOUDWATCH",
];

/// The variables that point any AWS client at a lab; [`UNSET`] goes with them.
pub fn environment(endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", endpoint.url.clone()),
        ("AWS_ACCESS_KEY_ID", endpoint.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", endpoint.secret_access_key.clone()),
        ("AWS_REGION", endpoint.region.clone()),
        ("AWS_DEFAULT_REGION", endpoint.region.clone()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        // Cloud Map's DiscoverInstances goes to `data-` and the host, a name that an address cannot have.
        ("AWS_DISABLE_HOST_PREFIX_INJECTION", "true".to_owned()),
    ]
}

/// What keeps clients from asking a proxy for the lab or its load balancers, which it could not reach: the host names
/// that `variable` has in `NO_PROXY` already, and loopback. In both spellings, as some clients read only one.
pub fn no_proxy(variable: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, String)> {
    let given = ["no_proxy", "NO_PROXY"].into_iter().find_map(&variable).and_then(|given| given.into_string().ok());
    let mut hosts: Vec<&str> = given.as_deref().unwrap_or_default().split(',').map(str::trim).collect();
    hosts.retain(|host| !host.is_empty());
    for ours in ["127.0.0.1", "localhost", "127.0.0.0/8"] {
        if !hosts.contains(&ours) && !hosts.contains(&"*") {
            hosts.push(ours);
        }
    }
    let hosts = hosts.join(",");
    vec![("NO_PROXY", hosts.clone()), ("no_proxy", hosts)]
}

/// `$STEADY_LAB_DIR`, else `$XDG_DATA_HOME/steady/lab`, else `~/.local/share/steady/lab`.
pub fn data_dir(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(data) = path("STEADY_LAB_DIR") {
        return std::path::absolute(&data)
            .map_err(|error| Error::input(format!("STEADY_LAB_DIR is not a path: {}", data.display())).cause(error));
    }
    // The XDG specification has relative paths ignored.
    let shared = path("XDG_DATA_HOME").filter(|data| data.is_absolute());
    let shared = shared.or_else(|| Some(path("HOME")?.join(".local/share")));
    shared.map(|shared| shared.join("steady/lab")).ok_or_else(|| {
        Error::input("there is no folder for the lab: HOME is not set").hint("set STEADY_LAB_DIR to one")
    })
}
