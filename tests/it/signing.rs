//! Requests to a lab that no client signs: signed by AWS's signer, with the lab's own key.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use steadystate::lab::lifecycle::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};

/// Whose signature, for which service, and when.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    pub key: (&'a str, &'a str),
    pub service: &'a str,
    pub time: SystemTime,
}

impl Signer<'_> {
    /// The headers that a request to `/` at `host` has to carry besides `headers`.
    pub fn sign(self, host: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<(String, String)> {
        self.sign_path(host, "/", headers, body)
    }

    /// The same for a request to another path.
    pub fn sign_path(self, host: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<(String, String)> {
        let identity = Credentials::new(self.key.0, self.key.1, None, None, "test").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name(self.service)
            .time(self.time)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let uri = format!("http://{host}{path}");
        let request = SignableRequest::new("POST", uri, headers.iter().copied(), SignableBody::Bytes(body)).unwrap();
        let (signed, _) = sign(request, &parameters).unwrap().into_parts();
        signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// The lab's own signer for a request with these headers and this body.
pub fn signer(headers: &[(&str, &str)], body: &[u8]) -> Signer<'static> {
    let target = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-amz-target"));
    let form = String::from_utf8_lossy(body);
    let service = match target.map_or("", |(_, target)| target.split('.').next().unwrap()) {
        "AmazonEC2ContainerServiceV20141113" => "ecs",
        "AmazonEC2ContainerRegistry_V20150921" => "ecr",
        "SpencerFrontendService" => "ecr-public",
        "Route53AutoNaming_v20170314" => "servicediscovery",
        "Logs_20140328" => "logs",
        "AmazonSSM" => "ssm",
        "secretsmanager" => "secretsmanager",
        "GraniteServiceVersion20100801" => "monitoring",
        _ if form.contains("Version=2016-11-15") => "ec2",
        _ if form.contains("Version=2011-06-15") => "sts",
        _ if form.contains("Version=2010-05-08") => "iam",
        _ if form.contains("Version=2010-08-01") => "monitoring",
        _ => "elasticloadbalancing",
    };
    Signer { key: (ACCESS_KEY_ID, SECRET_ACCESS_KEY), service, time: SystemTime::now() }
}

/// A request that passed through a proxy of the tests' own, signed anew for the lab at `host`.
pub fn sign_anew(headers: &mut axum::http::HeaderMap, host: &str, body: &[u8]) {
    let target = headers.get("x-amz-target").map(|target| target.to_str().unwrap().to_owned());
    let covered: Vec<(&str, &str)> = target.iter().map(|target| ("x-amz-target", target.as_str())).collect();
    for (name, value) in signer(&covered, body).sign(host, &covered, body) {
        let name = axum::http::HeaderName::try_from(name).unwrap();
        headers.insert(name, axum::http::HeaderValue::try_from(value).unwrap());
    }
}
