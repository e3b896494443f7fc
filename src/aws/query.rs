//! EC2's query protocol, as far as a deploy needs it: its whole SDK crate is heavy for three read calls.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_types::service_config::ServiceConfigKey;
use backon::{ExponentialBuilder, Retryable};
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value};

use super::connect::Timeouts;
use super::failure::{Failure, Reach};
use super::retry::{ATTEMPTS, MOST_PAUSE, THROTTLED_ATTEMPTS, Weather};
use crate::transport;

const API_VERSION: &str = "2016-11-15";

/// DescribeVpcs, DescribeSubnets and DescribeSecurityGroups. Replies are the XML's members as JSON, sets as arrays.
#[derive(Clone)]
pub struct Ec2 {
    endpoint: String,
    region: String,
    credentials: Option<SharedCredentialsProvider>,
    http: Arc<OnceLock<reqwest::Client>>,
    timeouts: Timeouts,
    weather: Weather,
}

/// A filter of a Describe call: the name and the values of which one has to match.
pub type Filter<'a> = (&'a str, Vec<&'a str>);

impl Ec2 {
    pub(super) fn new(
        config: &SdkConfig,
        region: &str,
        endpoint: Option<&str>,
        timeouts: Timeouts,
        weather: Weather,
    ) -> Self {
        let key = ServiceConfigKey::builder().service_id("EC2").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
        let configured = config.service_config().zip(key.ok()).and_then(|(service, key)| service.load_config(key));
        let endpoint = endpoint
            .map(str::to_owned)
            .or(configured)
            .or_else(|| config.endpoint_url().map(str::to_owned))
            .unwrap_or_else(|| {
                let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                format!("https://ec2.{region}.{suffix}")
            });
        let credentials = config.credentials_provider();
        Ec2 { endpoint, region: region.to_owned(), credentials, http: Arc::default(), timeouts, weather }
    }

    pub async fn describe_vpcs(&self, filters: &[Filter<'_>]) -> Result<Vec<Value>, Failure> {
        self.describe("DescribeVpcs", "vpcSet", filters, &[]).await
    }

    pub async fn describe_subnets(&self, filters: &[Filter<'_>], ids: &[String]) -> Result<Vec<Value>, Failure> {
        let ids: Vec<_> = numbered("SubnetId", ids);
        self.describe("DescribeSubnets", "subnetSet", filters, &ids).await
    }

    pub async fn describe_security_groups(&self, filters: &[Filter<'_>]) -> Result<Vec<Value>, Failure> {
        self.describe("DescribeSecurityGroups", "securityGroupInfo", filters, &[]).await
    }

    async fn describe(
        &self,
        operation: &'static str,
        set: &str,
        filters: &[Filter<'_>],
        more: &[(String, String)],
    ) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut form =
                vec![("Action".to_owned(), operation.to_owned()), ("Version".to_owned(), API_VERSION.to_owned())];
            for (at, (name, values)) in filters.iter().enumerate() {
                form.push((format!("Filter.{}.Name", at + 1), (*name).to_owned()));
                let values = values.iter().enumerate();
                form.extend(
                    values.map(|(n, value)| (format!("Filter.{}.Value.{}", at + 1, n + 1), (*value).to_owned())),
                );
            }
            form.extend(more.iter().cloned());
            form.extend(next.take().map(|token| ("NextToken".to_owned(), token)));
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
            let backoff = ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(200))
                .with_max_delay(MOST_PAUSE)
                .with_max_times(THROTTLED_ATTEMPTS as usize)
                .with_jitter();
            let mut other = 0;
            let again = |failure: &Failure| {
                if failure.is_throttled() {
                    self.weather.throttled("ec2");
                    return true;
                }
                other += 1;
                failure.reach == Reach::Unknown && other < ATTEMPTS
            };
            let send = || self.send(operation, &body);
            let reply = send.retry(backoff).when(again).await?;
            items.extend(reply.get(set).and_then(Value::as_array).cloned().unwrap_or_default());
            match reply.get("nextToken").and_then(Value::as_str) {
                Some(token) if !token.is_empty() => next = Some(token.to_owned()),
                _ => return Ok(items),
            }
        }
    }

    async fn send(&self, operation: &'static str, body: &str) -> Result<Value, Failure> {
        let failure = |code: Option<&str>, message: String, status: Option<u16>, reach: Reach| Failure {
            service: "EC2",
            operation,
            code: code.map(str::to_owned),
            message,
            status,
            reach,
        };
        let not_sent = |message: String| failure(None, message, None, Reach::NotSent);
        let Some(provider) = &self.credentials else {
            return Err(failure(Some("NoCredentials"), "no credentials provider".into(), None, Reach::NotSent));
        };
        let identity = provider
            .provide_credentials()
            .await
            .map_err(|error| failure(Some("NoCredentials"), error.to_string(), None, Reach::NotSent))?
            .into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("ec2")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| not_sent(error.to_string()))?
            .into();
        let url = url::Url::parse(&self.endpoint).map_err(|error| not_sent(format!("{}: {error}", self.endpoint)))?;
        let content_type = "application/x-www-form-urlencoded; charset=utf-8";
        let request = SignableRequest::new(
            "POST",
            url.as_str(),
            std::iter::once(("content-type", content_type)),
            SignableBody::Bytes(body.as_bytes()),
        )
        .map_err(|error| not_sent(error.to_string()))?;
        let (signed, _) = sign(request, &params).map_err(|error| not_sent(error.to_string()))?.into_parts();
        let mut request = self.http()?.post(url).header("content-type", content_type).body(body.to_owned());
        for (name, value) in signed.headers() {
            request = request.header(name, value);
        }
        let lost = |error: reqwest::Error| {
            let reach = if error.is_connect() { Reach::NotSent } else { Reach::Unknown };
            failure(None, transport::causes(&error.without_url()), None, reach)
        };
        let response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(lost)?;
        let reply = parse_xml(&text);
        if (200..300).contains(&status) {
            return reply
                .map_err(|error| failure(None, format!("unreadable reply: {error}"), Some(status), Reach::Unknown));
        }
        let reply = reply.unwrap_or(Value::Null);
        let error = reply.pointer("/Errors/Error").or_else(|| reply.get("Error")).unwrap_or(&Value::Null);
        let message = error.get("Message").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
        let reach = if status >= 500 { Reach::Unknown } else { Reach::Refused };
        Err(failure(error.get("Code").and_then(Value::as_str), message, Some(status), reach))
    }

    fn http(&self) -> Result<&reqwest::Client, Failure> {
        if let Some(client) = self.http.get() {
            return Ok(client);
        }
        let failed = |message: String| Failure {
            service: "EC2",
            operation: "connect",
            code: None,
            message,
            status: None,
            reach: Reach::NotSent,
        };
        let mut built =
            reqwest::Client::builder().connect_timeout(self.timeouts.connect).timeout(self.timeouts.attempt);
        let near = url::Url::parse(&self.endpoint).is_ok_and(|url| url.host_str().is_some_and(transport::is_near));
        if near || self.endpoint.starts_with("http://") {
            built = built.no_proxy();
        }
        if self.endpoint.starts_with("https://") {
            let named = transport::named().map_err(|error| failed(error.to_string()))?;
            let certificates = named.bundle.iter().chain(&named.file).map(|der| reqwest::Certificate::from_der(der));
            built = built.tls_certs_merge(certificates.filter_map(Result::ok));
        }
        let client = built.build().map_err(|error| failed(transport::causes(&error)))?;
        Ok(self.http.get_or_init(|| client))
    }
}

fn numbered(name: &str, values: &[String]) -> Vec<(String, String)> {
    values.iter().enumerate().map(|(at, value)| (format!("{name}.{}", at + 1), value.clone())).collect()
}

/// The root element's content: elements as members, `item` and `member` lists as arrays, everything else as text.
pub fn parse_xml(xml: &str) -> Result<Value, quick_xml::Error> {
    struct Open {
        name: String,
        members: Map<String, Value>,
        items: Vec<Value>,
        text: String,
    }
    let open = |name: String| Open { name, members: Map::new(), items: Vec::new(), text: String::new() };
    let close = |element: Open| {
        if !element.items.is_empty() {
            Value::Array(element.items)
        } else if !element.members.is_empty() {
            Value::Object(element.members)
        } else {
            Value::String(element.text)
        }
    };
    let mut reader = Reader::from_str(xml);
    let mut stack = vec![open(String::new())];
    loop {
        let event = reader.read_event()?;
        let (started, ended) = match &event {
            Event::Start(tag) => (Some(tag.local_name().as_ref().to_owned()), false),
            Event::Empty(tag) => (Some(tag.local_name().as_ref().to_owned()), true),
            Event::End(_) => (None, true),
            Event::Text(text) => {
                if let Some(element) = stack.last_mut() {
                    element.text.push_str(text);
                }
                continue;
            }
            Event::GeneralRef(entity) => {
                if let Some(element) = stack.last_mut() {
                    let escaped = format!("&{};", &**entity);
                    element.text.push_str(&quick_xml::escape::unescape(&escaped).unwrap_or_default());
                }
                continue;
            }
            Event::Eof => break,
            _ => continue,
        };
        if let Some(name) = started {
            stack.push(open(name));
        }
        if ended && stack.len() > 1 {
            let element = stack.pop().unwrap_or_else(|| open(String::new()));
            let name = element.name.clone();
            let value = close(element);
            if let Some(parent) = stack.last_mut() {
                match name.as_str() {
                    "item" | "member" => parent.items.push(value),
                    _ => {
                        parent.members.insert(name, value);
                    }
                }
            }
        }
    }
    let root = stack.swap_remove(0).members;
    Ok(root.into_iter().next().map_or(Value::Null, |(_, value)| value))
}
