//! The names of ECS's resources, made and read.

use crate::lab::Settings;

fn make(settings: &Settings, rest: &str) -> String {
    format!("arn:aws:ecs:{}:{}:{rest}", settings.region, settings.account_id)
}

pub fn cluster(settings: &Settings, name: &str) -> String {
    make(settings, &format!("cluster/{name}"))
}

pub fn service(settings: &Settings, cluster: &str, name: &str) -> String {
    make(settings, &format!("service/{cluster}/{name}"))
}

pub fn task(settings: &Settings, cluster: &str, id: &str) -> String {
    make(settings, &format!("task/{cluster}/{id}"))
}

pub fn container(settings: &Settings, cluster: &str, task: &str, id: &str) -> String {
    make(settings, &format!("container/{cluster}/{task}/{id}"))
}

pub fn instance(settings: &Settings, cluster: &str, id: &str) -> String {
    make(settings, &format!("container-instance/{cluster}/{id}"))
}

pub fn task_definition(settings: &Settings, family: &str, revision: i64) -> String {
    make(settings, &format!("task-definition/{family}:{revision}"))
}

pub fn service_deployment(settings: &Settings, cluster: &str, service: &str, id: &str) -> String {
    make(settings, &format!("service-deployment/{cluster}/{service}/{id}"))
}

pub fn service_revision(settings: &Settings, cluster: &str, service: &str, id: &str) -> String {
    make(settings, &format!("service-revision/{cluster}/{service}/{id}"))
}

/// The last part of an ARN or of a name that may be one.
pub fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Kind and path of an ECS ARN: `service/lab/web` is `("service", "lab/web")`.
pub fn parts(arn: &str) -> Option<(&str, &str)> {
    let mut fields = arn.splitn(6, ':');
    let head = (fields.next()?, fields.next()?, fields.next()?);
    let (_, _, rest) = (fields.next()?, fields.next()?, fields.next()?);
    if head.0 != "arn" || head.2 != "ecs" {
        return None;
    }
    rest.split_once('/')
}
