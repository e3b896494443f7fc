//! Query protocols: EC2's and IAM's, as far as a deploy needs them.

use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value};

use super::failure::{Failure, Reach};
use super::signed::{Answer, Service, Signed, refused};

pub(super) const EC2: Service = Service { name: "EC2", id: "EC2", scope: "ec2", global: false };
const EC2_VERSION: &str = "2016-11-15";
pub(super) const IAM: Service = Service { name: "IAM", id: "IAM", scope: "iam", global: true };
const IAM_VERSION: &str = "2010-05-08";

/// DescribeVpcs, DescribeSubnets and DescribeSecurityGroups. Replies are the XML's members as JSON, sets as arrays.
#[derive(Clone)]
pub struct Ec2(pub(super) Signed);

/// GetRole and SimulatePrincipalPolicy; CreateRole and AttachRolePolicy for rehearsals. Replies are the XML's results as JSON.
#[derive(Clone)]
pub struct Iam(pub(super) Signed);

/// A filter of a Describe call: the name and the values of which one has to match.
pub type Filter<'a> = (&'a str, Vec<&'a str>);

type Form = Vec<(String, String)>;

impl Iam {
    /// The role of this name; its trust policy is percent-encoded, as IAM has it.
    pub async fn get_role(&self, name: &str) -> Result<Value, Failure> {
        let reply = self.ask("GetRole", vec![pair("RoleName", name)]).await?;
        Ok(reply["GetRoleResult"]["Role"].clone())
    }

    pub async fn create_role(&self, name: &str, path: &str, trust: &str) -> Result<Value, Failure> {
        let form = vec![pair("RoleName", name), pair("Path", path), pair("AssumeRolePolicyDocument", trust)];
        let reply = self.ask("CreateRole", form).await?;
        Ok(reply["CreateRoleResult"]["Role"].clone())
    }

    pub async fn attach_role_policy(&self, role: &str, policy: &str) -> Result<(), Failure> {
        self.ask("AttachRolePolicy", vec![pair("RoleName", role), pair("PolicyArn", policy)]).await.map(|_| ())
    }

    /// What a user or role may do: an evaluation result for each action. `context` are keys that conditions look at.
    pub async fn simulate_principal_policy(
        &self,
        principal: &str,
        actions: &[String],
        resources: &[String],
        context: &[(&str, &str)],
    ) -> Result<Vec<Value>, Failure> {
        let mut form = vec![pair("PolicySourceArn", principal)];
        form.extend(numbered("ActionNames.member", actions));
        form.extend(numbered("ResourceArns.member", resources));
        for (at, (key, value)) in context.iter().enumerate() {
            let of = format!("ContextEntries.member.{}", at + 1);
            form.push((format!("{of}.ContextKeyName"), (*key).to_owned()));
            form.push((format!("{of}.ContextKeyType"), "string".to_owned()));
            form.push((format!("{of}.ContextKeyValues.member.1"), (*value).to_owned()));
        }
        let (mut results, mut marker) = (Vec::new(), None);
        loop {
            let mut form = form.clone();
            form.extend(marker.take().map(|marker| ("Marker".to_owned(), marker)));
            let reply = self.ask("SimulatePrincipalPolicy", form).await?;
            let result = &reply["SimulatePrincipalPolicyResult"];
            results.extend(result["EvaluationResults"].as_array().cloned().unwrap_or_default());
            match (result["IsTruncated"].as_str(), result["Marker"].as_str()) {
                (Some("true"), Some(next)) if !next.is_empty() => marker = Some(next.to_owned()),
                _ => return Ok(results),
            }
        }
    }

    async fn ask(&self, operation: &'static str, form: Form) -> Result<Value, Failure> {
        query(&self.0, operation, IAM_VERSION, form).await
    }
}

impl Ec2 {
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
            let mut form = Form::new();
            for (at, (name, values)) in filters.iter().enumerate() {
                form.push((format!("Filter.{}.Name", at + 1), (*name).to_owned()));
                let values = values.iter().enumerate();
                form.extend(
                    values.map(|(n, value)| (format!("Filter.{}.Value.{}", at + 1, n + 1), (*value).to_owned())),
                );
            }
            form.extend(more.iter().cloned());
            form.extend(next.take().map(|token| ("NextToken".to_owned(), token)));
            let reply = query(&self.0, operation, EC2_VERSION, form).await?;
            items.extend(reply.get(set).and_then(Value::as_array).cloned().unwrap_or_default());
            match reply.get("nextToken").and_then(Value::as_str) {
                Some(token) if !token.is_empty() => next = Some(token.to_owned()),
                _ => return Ok(items),
            }
        }
    }
}

async fn query(to: &Signed, operation: &'static str, version: &str, form: Form) -> Result<Value, Failure> {
    let head = [("Action", operation), ("Version", version)];
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(head).extend_pairs(&form);
    let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    to.ask(operation, &headers, &body.finish(), |answer| read(to.name(), operation, answer)).await
}

fn read(service: &'static str, operation: &'static str, (status, text): Answer) -> Result<Value, Failure> {
    let reply = parse_xml(&text);
    if (200..300).contains(&status) {
        return reply.map_err(|error| {
            let message = format!("unreadable reply: {error}");
            Failure { reach: Reach::Unknown, ..refused(service, operation, (status, None), Some(&message)) }
        });
    }
    let reply = reply.unwrap_or(Value::Null);
    let error = reply.pointer("/Errors/Error").or_else(|| reply.get("Error")).unwrap_or(&Value::Null);
    let said = |member: &str| error.get(member).and_then(Value::as_str);
    Err(refused(service, operation, (status, said("Code")), said("Message")))
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
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
