//! What `secrets` of a container definition bring into its environment, fetched as a task starts.
//!
//! Fargate and the EC2 agent fetch alike, and say differently what fails; their texts are those that real tasks stopped
//! with. Parameters are asked for together, and before the secrets (which comes first at AWS is not known).

use serde_json::Value;

use crate::lab::{
    Settings,
    ecs::model::{Task, TaskDefinition},
    iam,
    sealed::Sealed,
    secretsmanager, ssm,
    state::State,
};

/// A variable of a container's environment.
pub(super) struct Variable {
    pub container: String,
    pub name: String,
    pub value: Sealed,
}

struct Wanted<'a> {
    container: &'a str,
    name: &'a str,
    from: &'a str,
}

/// Where a task's secrets come from, and who fetches them.
struct Fetcher<'a> {
    state: &'a State,
    settings: &'a Settings,
    task: &'a Task,
    role: &'a str,
}

/// Everything that the task's containers ask for, or the task's stopped reason.
pub(super) fn fetch(
    state: &State,
    settings: &Settings,
    task: &Task,
    definition: &TaskDefinition,
) -> Result<Vec<Variable>, String> {
    let wanted: Vec<Wanted> = definition.containers().iter().flat_map(wanted).collect();
    let role = task.overrides["executionRoleArn"].as_str();
    let role = role.or_else(|| definition.document.get("executionRoleArn").and_then(Value::as_str));
    let fetcher = Fetcher { state, settings, task, role: role.unwrap_or_default() };
    let (secrets, parameters): (Vec<Wanted>, Vec<Wanted>) =
        wanted.into_iter().partition(|wanted| service(wanted.from) == Some("secretsmanager"));
    let mut variables = fetcher.parameters(&parameters)?;
    for Wanted { container, name, from } in &secrets {
        let value = fetcher.secret(from)?;
        variables.push(Variable { container: (*container).into(), name: (*name).into(), value });
    }
    Ok(variables)
}

fn wanted(container: &Value) -> impl Iterator<Item = Wanted<'_>> {
    container["secrets"].as_array().into_iter().flatten().filter_map(|secret| {
        let text = |value: &'static str| secret[value].as_str();
        Some(Wanted { container: container["name"].as_str()?, name: text("name")?, from: text("valueFrom")? })
    })
}

/// Whose ARN it is.
fn service(from: &str) -> Option<&str> {
    from.strip_prefix("arn:")?.split(':').nth(1)
}

impl Fetcher<'_> {
    fn parameters(&self, wanted: &[Wanted]) -> Result<Vec<Variable>, String> {
        let failed = |fargate: String, agent: String| match self.on_fargate() {
            true => self.fargate("unable to retrieve secrets from ssm", &fargate),
            false => format!("Fetching secret data from SSM Parameter Store in {}: {agent}", self.settings.region),
        };
        let (mut found, mut invalid) = (Vec::new(), Vec::new());
        for Wanted { container, name, from } in wanted {
            let parameter = parameter_name(from);
            if let Some(denied) = self.denied("ssm:GetParameters", &ssm::arn(self.settings, &parameter)) {
                return Err(failed(denied.clone(), denied));
            }
            // The latest version, whatever stands behind the name.
            let of = ssm::find(self.state, self.settings, from).filter(|of| of.selector.is_none());
            match of.and_then(|of| of.version().map(|(_, version)| version.value.clone())) {
                Some(value) => found.push(Variable { container: (*container).into(), name: (*name).into(), value }),
                None if invalid.contains(&parameter) => {}
                None => invalid.push(parameter),
            }
        }
        if invalid.is_empty() {
            return Ok(found);
        }
        let names = invalid.join(",");
        Err(failed(format!("invalid ssm parameters: {names}"), format!("invalid parameters: {names}")))
    }

    /// `ARN`, or `ARN:JSON-KEY:VERSION-STAGE:VERSION-ID` whose parts may be empty.
    fn secret(&self, from: &str) -> Result<Sealed, String> {
        let parts: Vec<&str> = from.split(':').collect();
        let id = parts.get(..7).map_or_else(|| from.to_owned(), |arn| arn.join(":"));
        let part = |at: usize| parts.get(at).copied().filter(|part| !part.is_empty());
        let (key, stage, version) = (part(7), part(8), part(9));
        let failed = |fargate: String, agent: String| match self.on_fargate() {
            true => self.fargate("unable to retrieve secret from asm", &fargate),
            false => agent,
        };
        let found = secretsmanager::find(self.state, &id);
        let arn = found.as_ref().map_or(id.as_str(), |(_, secret)| secret.arn.as_str());
        if let Some(denied) = self.denied("secretsmanager:GetSecretValue", arn) {
            return Err(failed(
                format!("failed to fetch secret {id} from secrets manager: {denied}"),
                format!("{denied}: {denied}"),
            ));
        }
        let found = found.and_then(|(_, secret)| secretsmanager::version(secret, version, stage));
        let (_, version) = found.map_err(|error| {
            let said = if error.code == "ResourceNotFoundException" {
                format!(
                    "ResourceInitializationError: The task can't retrieve the secret with ARN '{id}' from AWS Secrets \
                     Manager. Check that the secret ARN is correct"
                )
            } else {
                error.to_string()
            };
            failed(format!("failed to fetch secret {id} from secrets manager: {error}"), format!("{said}: {error}"))
        })?;
        let text = version.string.clone().unwrap_or_default();
        let Some(key) = key else { return Ok(text) };
        member(text.open(), key).map_err(|why| failed(why.clone(), why))
    }

    fn on_fargate(&self) -> bool {
        self.task.launch_type == "FARGATE"
    }

    fn fargate(&self, what: &str, why: &str) -> String {
        format!(
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: \
             {what}: service call has been retried 1 time(s): {why}"
        )
    }

    fn denied(&self, action: &str, resource: &str) -> Option<String> {
        iam::denial(self.state, self.settings, self.role, &self.task.id, action, resource)
    }
}

/// As ECS names it to the Parameter Store: of an ARN, the path, or the name where that has no levels.
fn parameter_name(from: &str) -> String {
    match from.split_once(":parameter/").filter(|_| from.starts_with("arn:")) {
        Some((_, path)) if path.contains('/') => format!("/{path}"),
        Some((_, name)) => name.to_owned(),
        None => from.to_owned(),
    }
}

/// A member of a secret that is a JSON object. The error says nothing of the value, but for the character at which AWS
/// says that it found no JSON.
fn member(text: &str, key: &str) -> Result<Sealed, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let first = text.trim_start().chars().next();
        match first.filter(|first| !first.is_ascii_digit() && !"{[\"-tfn".contains(*first)) {
            Some(first) => format!("invalid character {first:?} looking for beginning of value"),
            None if error.is_eof() => "unexpected end of JSON input".to_owned(),
            None => "invalid character in the secret's JSON".to_owned(),
        }
    })?;
    let kind = match &value {
        Value::Object(members) => {
            let missing = || format!("retrieved secret from Secrets Manager did not contain json key {key}");
            let member = members.get(key).ok_or_else(missing)?;
            return Ok(Sealed::new(member.as_str().map_or_else(|| member.to_string(), str::to_owned)));
        }
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::Null => return Err(format!("retrieved secret from Secrets Manager did not contain json key {key}")),
    };
    Err(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
}
