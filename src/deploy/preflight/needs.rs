//! The IAM actions that a deploy of this plan needs, by the resource that each is on.

use std::collections::BTreeSet;

use serde_json::Value;

use super::permissions::{Need, place};
use super::roles;
use super::secrets::{self, Source};
use crate::aws::reply::{list, optional, text};
use crate::aws::{Clients, Identity};
use crate::config::around::Work;
use crate::config::{LoadBalancerType, Plan};
use crate::deploy::load_balancer::balancer_name;
use crate::deploy::repository::Repository;
use crate::image::Reference;

/// What there is already decides between creating and updating.
pub struct There<'a> {
    pub service: bool,
    /// The service as its documents want it.
    pub wanted: &'a Value,
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
    let definition = arn("ecs", &format!("task-definition/{family}:*"));
    let service = arn("ecs", &format!("service/{place}"));
    let runs = plan.before.iter().chain(&plan.after).any(|around| matches!(around.work, Work::Task(_)));
    let in_cluster = |resource: String, certain: bool, actions: &[&str]| {
        Need::new(resource, certain, actions).with("ecs:cluster", cluster.clone())
    };
    let mut needs = vec![
        in_cluster(service.clone(), true, &["ecs:DescribeServices", change]),
        Need::new(definition.clone(), true, &["ecs:RegisterTaskDefinition"]),
        // Who may register may have to be told that it may tag, too: it depends on the account's settings.
        Need::new(definition.clone(), false, &["ecs:TagResource"]).with("ecs:CreateAction", "RegisterTaskDefinition"),
        Need::new("*", true, &["ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions"]),
        // Following and explaining a rollout, and ending it: without these a deploy sees and does less.
        in_cluster(service, false, &["ecs:ListServiceDeployments"]),
        in_cluster(
            arn("ecs", &format!("task/{}/*", crate::aws::reply::id(&plan.cluster))),
            false,
            if runs { &["ecs:DescribeTasks", "ecs:StopTask"] } else { &["ecs:DescribeTasks"] },
        ),
        in_cluster(
            arn("ecs", &format!("service-deployment/{place}/*")),
            false,
            &["ecs:DescribeServiceDeployments", "ecs:StopServiceDeployment"],
        ),
        in_cluster(arn("ecs", &format!("service-revision/{place}/*")), false, &["ecs:DescribeServiceRevisions"]),
        in_cluster("*".to_owned(), false, &["ecs:ListTasks"]),
    ];
    if runs {
        needs.push(in_cluster(definition, true, &["ecs:RunTask"]));
    }
    needs.extend(logs(task_definition, (partition, account), clients));
    needs.extend(shifts(there.wanted, plan, identity, clients));
    for given in roles::named(task_definition).into_keys() {
        let Some(role) = roles::parse(given) else { continue };
        needs.push(
            Need::new(role.arn(identity, clients), true, &["iam:PassRole"])
                .with("iam:PassedToService", "ecs-tasks.amazonaws.com"),
        );
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
    needs.extend(load_balancer(plan, there, &arn));
    needs
}

/// To show what a container said last.
fn logs(task_definition: &Value, (partition, account): (&str, &str), clients: &Clients) -> Option<Need> {
    let groups = list(task_definition, "containerDefinitions").iter().filter_map(|container| {
        let options = &container["logConfiguration"]["options"];
        let region = optional(options, "awslogs-region").unwrap_or(&clients.region);
        let group = optional(options, "awslogs-group")?;
        Some(format!("arn:{partition}:logs:{region}:{account}:log-group:{group}:log-stream:*"))
    });
    let groups: BTreeSet<String> = groups.collect();
    (!groups.is_empty()).then(|| Need::on(groups.into_iter().collect(), false, &["logs:GetLogEvents"]))
}

/// The roles in which ECS calls hooks and shifts traffic: they are passed whenever they change.
fn shifts(wanted: &Value, plan: &Plan, identity: &Identity, clients: &Clients) -> Option<Need> {
    let hooks = list(&wanted["deploymentConfiguration"], "lifecycleHooks").iter();
    let attached = list(wanted, "loadBalancers").iter().map(|balancer| &balancer["advancedConfiguration"]);
    let named = hooks.chain(attached).filter_map(|of| optional(of, "roleArn"));
    let own = plan.load_balancer.as_ref().and_then(|balancer| balancer.advanced.as_ref());
    let named = named.chain(own.map(|advanced| advanced.role.as_str())).filter_map(roles::parse);
    let passed: BTreeSet<String> = named.map(|role| role.arn(identity, clients)).collect();
    let need = || Need::on(passed.iter().cloned().collect(), false, &["iam:PassRole"]);
    (!passed.is_empty()).then(|| need().with("iam:PassedToService", "ecs.amazonaws.com"))
}

/// To attach the service, and to see whether its targets are healthy.
fn load_balancer(plan: &Plan, there: &There<'_>, arn: &dyn Fn(&str, &str) -> String) -> Vec<Need> {
    let mut needs = Vec::new();
    if plan.load_balancer.is_some() || !list(there.wanted, "loadBalancers").is_empty() {
        let reads = ["elasticloadbalancing:DescribeTargetHealth", "elasticloadbalancing:DescribeTargetGroupAttributes"];
        needs.push(Need::new("*", false, &reads));
    }
    let Some(balancer) = &plan.load_balancer else { return needs };
    let kind = match balancer.kind {
        LoadBalancerType::Application => "app",
        LoadBalancerType::Network => "net",
    };
    let name = balancer_name(plan, balancer);
    let mut needed = |resource: String, actions: &[&str]| {
        needs.push(Need::new(arn("elasticloadbalancing", &resource), false, actions));
    };
    let created = |what: &'static str| there.creates.iter().filter_map(move |created| created.strip_prefix(what));
    let groups: Vec<&str> = created("target group ").collect();
    let has_listeners = created("listener ").next().is_some();
    let [load_balancers, listeners, rules] =
        ["loadbalancer", "listener", "listener-rule"].map(|of| format!("{of}/{kind}/{name}/*"));
    if created("load balancer ").next().is_some() {
        let actions = ["elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:AddTags"];
        needed(load_balancers.clone(), &actions);
    }
    for group in &groups {
        let actions = ["elasticloadbalancing:CreateTargetGroup", "elasticloadbalancing:AddTags"];
        needed(format!("targetgroup/{group}/*"), &actions);
    }
    if has_listeners {
        needed(load_balancers, &["elasticloadbalancing:CreateListener", "elasticloadbalancing:AddTags"]);
    }
    // A listener that is there is told of the second target group.
    if balancer.advanced.is_some() && (has_listeners || !groups.is_empty()) {
        needed(listeners, &["elasticloadbalancing:ModifyListener"]);
        if kind == "app" {
            needed(rules, &["elasticloadbalancing:ModifyRule"]);
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
    let arn = role.arn(identity, clients);
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
