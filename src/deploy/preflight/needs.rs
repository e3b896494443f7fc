//! The IAM actions that a deploy of this plan needs, by the resource that each is on.

use serde_json::Value;

use super::permissions::{Need, place};
use super::roles;
use super::secrets::{self, Source};
use crate::aws::reply::{list, optional, text};
use crate::aws::{Clients, Identity};
use crate::config::around::Work;
use crate::config::{LoadBalancerType, Plan};
use crate::deploy::load_balancer::{balancer_name, elb_name};
use crate::deploy::repository::Repository;
use crate::image::Reference;

/// What there is already decides between creating and updating.
pub struct There<'a> {
    pub service: bool,
    pub repository: Option<&'a Repository>,
    /// What the load balancer step would create.
    pub creates: &'a [String],
}

pub fn needs(
    plan: &Plan,
    task_definition: &Value,
    there: &There<'_>,
    identity: &Identity,
    clients: &Clients,
) -> Vec<Need> {
    let (partition, account) = place(&identity.arn);
    let arn = |service: &str, resource: &str| {
        let region = &clients.region;
        format!("arn:{partition}:{service}:{region}:{account}:{resource}")
    };
    let cluster = arn("ecs", &format!("cluster/{}", crate::aws::reply::id(&plan.cluster)));
    let place = format!("{}/{}", crate::aws::reply::id(&plan.cluster), plan.service);
    let change = if there.service { "ecs:UpdateService" } else { "ecs:CreateService" };
    let family = text(task_definition, "family");
    let mut needs = vec![
        Need::new(arn("ecs", &format!("service/{place}")), true, &["ecs:DescribeServices", change])
            .with("ecs:cluster", cluster.clone()),
        Need::new(arn("ecs", &format!("task-definition/{family}:*")), true, &["ecs:RegisterTaskDefinition"]),
        Need::new("*", true, &["ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions"]),
        // Following and explaining a rollout, and ending it: without these a deploy sees and does less.
        Need::new(
            arn("ecs", &format!("task/{}/*", crate::aws::reply::id(&plan.cluster))),
            false,
            &["ecs:DescribeTasks"],
        )
        .with("ecs:cluster", cluster.clone()),
        Need::new(
            arn("ecs", &format!("service-deployment/{place}/*")),
            false,
            &["ecs:DescribeServiceDeployments", "ecs:StopServiceDeployment"],
        )
        .with("ecs:cluster", cluster.clone()),
    ];
    if plan.before.iter().chain(&plan.after).any(|around| matches!(around.work, Work::Task(_))) {
        let run = Need::new(arn("ecs", &format!("task-definition/{family}:*")), true, &["ecs:RunTask"]);
        needs.push(run.with("ecs:cluster", cluster.clone()));
        needs.push(Need::new("*", false, &["ecs:ListTasks"]).with("ecs:cluster", cluster));
    }
    for given in roles::named(task_definition).into_keys() {
        let Some(role) = roles::parse(given) else { continue };
        // Another endpoint, such as the lab's, has its own role of this name.
        let own = role.account_id.is_none() || clients.endpoint_url.is_some();
        let passed = match own {
            true => format!("arn:{partition}:iam::{account}:role{}{}", role.path, role.name),
            false => given.to_owned(),
        };
        needs.push(Need::new(passed, true, &["iam:PassRole"]).with("iam:PassedToService", "ecs-tasks.amazonaws.com"));
    }
    if let Some(Repository::Ecr { name, account_id, exists, .. }) = there.repository {
        needs.push(Need::new("*", true, &["ecr:GetAuthorizationToken"]));
        let owner = account_id.as_deref().unwrap_or(account);
        let repository = format!("arn:{partition}:ecr:{}:{owner}:repository/{name}", clients.region);
        let push = [
            "ecr:BatchCheckLayerAvailability",
            "ecr:InitiateLayerUpload",
            "ecr:UploadLayerPart",
            "ecr:CompleteLayerUpload",
            "ecr:PutImage",
            "ecr:BatchGetImage",
        ];
        needs.push(Need::new(repository.clone(), false, &push));
        if !exists {
            needs.push(Need::new(repository, false, &["ecr:CreateRepository", "ecr:TagResource"]));
        }
    }
    if let Some(balancer) = &plan.load_balancer {
        let kind = match balancer.kind {
            LoadBalancerType::Application => "app",
            LoadBalancerType::Network => "net",
        };
        let balancer_name = balancer_name(plan, balancer);
        let group = balancer.target_group.name.clone().unwrap_or_else(|| elb_name(&plan.service));
        for (what, resource, action) in [
            ("load balancer ", format!("loadbalancer/{kind}/{balancer_name}/*"), "CreateLoadBalancer"),
            ("target group ", format!("targetgroup/{group}/*"), "CreateTargetGroup"),
            ("listener ", format!("loadbalancer/{kind}/{balancer_name}/*"), "CreateListener"),
        ] {
            if there.creates.iter().any(|created| created.starts_with(what)) {
                let actions = [format!("elasticloadbalancing:{action}"), "elasticloadbalancing:AddTags".to_owned()];
                let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
                needs.push(Need::new(arn("elasticloadbalancing", &resource), false, &actions));
            }
        }
    }
    needs
}

/// What the task's execution role has to be allowed, and its ARN: it fetches secrets, writes and creates log groups, and
/// pulls on Fargate. Resources may have policies of their own that allow it.
pub fn of_execution_role(
    task_definition: &Value,
    fargate: bool,
    identity: &Identity,
    clients: &Clients,
) -> Option<(String, Vec<Need>)> {
    let role = roles::parse(optional(task_definition, "executionRoleArn")?)?;
    let (partition, account) = place(&identity.arn);
    let own = role.account_id.is_none() || clients.endpoint_url.is_some();
    let arn = match own {
        true => format!("arn:{partition}:iam::{account}:role{}{}", role.path, role.name),
        false => role.given.to_owned(),
    };
    let (mut secrets, mut parameters) = (Vec::new(), Vec::new());
    for from in secrets::wanted(task_definition).into_keys() {
        match secrets::source(from) {
            Source::Secret { id, .. } => secrets.push(id),
            Source::Parameter { names, region, account_id } => {
                let (region, owner) = (region.as_deref().unwrap_or(&clients.region), account_id.as_deref());
                let name = names.first().map_or("", |name| name.trim_start_matches('/'));
                let owner = owner.unwrap_or(account);
                parameters.push(format!("arn:{partition}:ssm:{region}:{owner}:parameter/{name}"));
            }
        }
    }
    let (mut creates, mut pulls) = (Vec::new(), Vec::new());
    for container in list(task_definition, "containerDefinitions") {
        let options = &container["logConfiguration"]["options"];
        if text(options, "awslogs-create-group").eq_ignore_ascii_case("true")
            && let Some(group) = optional(options, "awslogs-group")
        {
            let region = optional(options, "awslogs-region").unwrap_or(&clients.region);
            creates.push(format!("arn:{partition}:logs:{region}:{account}:log-group:{group}:*"));
        }
        let image = text(container, "image").parse::<Reference>().ok();
        if let (true, Some((reference, host))) = (fargate, image.and_then(|image| Some((image.clone(), image.ecr()?))))
        {
            let (region, owner) = (&host.region, &host.account_id);
            pulls.push(format!("arn:{partition}:ecr:{region}:{owner}:repository/{}", reference.repository));
        }
    }
    let needs = [
        (secrets, "secretsmanager:GetSecretValue"),
        (parameters, "ssm:GetParameters"),
        (creates, "logs:CreateLogGroup"),
        (pulls, "ecr:BatchGetImage"),
    ];
    let needs = needs.into_iter().filter_map(|(mut resources, action)| {
        resources.sort();
        resources.dedup();
        (!resources.is_empty()).then(|| Need::on(resources, false, &[action]))
    });
    Some((arn, needs.collect::<Vec<_>>())).filter(|(_, needs)| !needs.is_empty())
}
