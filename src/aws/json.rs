//! JSON protocols of services without an SDK crate here: Systems Manager, Secrets Manager, CloudWatch. Only what says
//! that something is there is asked for, never a value.

use serde_json::{Value, json};

use super::connect::Clients;
use super::failure::{Failure, Reach};
use super::reply::{list, optional};
use super::signed::{Answer, Service, Signed, refused};

/// How a service speaks JSON.
#[derive(Clone, Copy)]
pub(super) struct Protocol {
    service: Service,
    content_type: &'static str,
    /// The prefix of `X-Amz-Target`.
    target: &'static str,
}

pub(super) const SSM: Protocol = Protocol {
    service: Service { name: "SSM", id: "SSM", scope: "ssm", global: false },
    content_type: "application/x-amz-json-1.1",
    target: "AmazonSSM",
};
pub(super) const SECRETS_MANAGER: Protocol = Protocol {
    service: Service { name: "SecretsManager", id: "Secrets Manager", scope: "secretsmanager", global: false },
    content_type: "application/x-amz-json-1.1",
    target: "secretsmanager",
};
pub(super) const CLOUDWATCH: Protocol = Protocol {
    service: Service { name: "CloudWatch", id: "CloudWatch", scope: "monitoring", global: false },
    content_type: "application/x-amz-json-1.0",
    target: "GraniteServiceVersion20100801",
};

#[derive(Clone)]
pub(super) struct Json {
    signed: Signed,
    protocol: Protocol,
}

impl Json {
    pub(super) fn new(protocol: Protocol, signed: impl Fn(Service) -> Signed) -> Self {
        Json { signed: signed(protocol.service), protocol }
    }

    pub(super) fn in_region(&self, region: &str) -> Self {
        Json { signed: self.signed.in_region(region), ..self.clone() }
    }

    async fn ask(&self, operation: &'static str, input: &Value) -> Result<Value, Failure> {
        let target = format!("{}.{operation}", self.protocol.target);
        let headers = [("content-type", self.protocol.content_type), ("x-amz-target", target.as_str())];
        let name = self.signed.name();
        self.signed.ask(operation, &headers, &input.to_string(), |answer| read(name, operation, answer)).await
    }
}

fn read(service: &'static str, operation: &'static str, (status, text): Answer) -> Result<Value, Failure> {
    let reply: Option<Value> = serde_json::from_str(&text).ok();
    match ((200..300).contains(&status), reply) {
        (true, Some(reply)) => Ok(reply),
        (true, None) => {
            let unreadable = refused(service, operation, (status, None), Some("the reply is not JSON"));
            Err(Failure { reach: Reach::Unknown, ..unreadable })
        }
        (false, reply) => {
            let reply = reply.unwrap_or_default();
            let code = optional(&reply, "__type").map(|code| code.rsplit('#').next().unwrap_or(code));
            let message = optional(&reply, "message").or(optional(&reply, "Message"));
            Err(refused(service, operation, (status, code), message))
        }
    }
}

/// So many names a filter of DescribeParameters takes, and so many parameters it answers with.
const PARAMETERS: usize = 50;
/// DescribeAlarms takes so many names.
const ALARMS: usize = 100;

impl Clients {
    /// What is known of the parameters of these names; those that do not exist are not in it.
    pub async fn describe_parameters(&self, names: &[String]) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        for some in names.chunks(PARAMETERS) {
            let filter = json!({ "Key": "Name", "Option": "Equals", "Values": some });
            let mut input = json!({ "ParameterFilters": [filter], "MaxResults": PARAMETERS });
            loop {
                let reply = self.ssm.ask("DescribeParameters", &input).await?;
                found.extend(list(&reply, "Parameters").iter().cloned());
                match optional(&reply, "NextToken") {
                    Some(token) => input["NextToken"] = token.into(),
                    None => break,
                }
            }
        }
        Ok(found)
    }

    /// All of a secret but its value; `None` when there is no such secret.
    pub async fn describe_secret(&self, id: &str) -> Result<Option<Value>, Failure> {
        match self.secrets_manager.ask("DescribeSecret", &json!({ "SecretId": id })).await {
            Ok(reply) => Ok(Some(reply)),
            Err(failure) if failure.is("ResourceNotFoundException") => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The alarms of these names, metric and composite ones; those that do not exist are not in it.
    pub async fn describe_alarms(&self, names: &[String]) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        for some in names.chunks(ALARMS) {
            let types = ["MetricAlarm", "CompositeAlarm"];
            let input = json!({ "AlarmNames": some, "AlarmTypes": types, "MaxRecords": ALARMS });
            let reply = self.cloudwatch.ask("DescribeAlarms", &input).await?;
            found.extend(["MetricAlarms", "CompositeAlarms"].iter().flat_map(|kind| list(&reply, kind)).cloned());
        }
        Ok(found)
    }
}
