//! Subnets and security groups: by id, by tag, or the default VPC's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::aws::reply::text;
use crate::aws::{Clients, Failure};
use crate::config::{NetworkPlan, Selector};
use crate::error::{Error, Kind, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnets {
    /// Sorted.
    pub ids: Vec<String>,
    pub vpc_id: String,
}

/// The `networkConfiguration` of a service. Public addresses by default only for Fargate in the default VPC, whose
/// subnets have no other way out.
pub async fn configuration(plan: &NetworkPlan, fargate: bool, clients: &Clients) -> Result<Value> {
    // Ids are taken as they are; only a search needs to know the VPC.
    let (ids, groups) = match (&plan.subnets, &plan.security_groups) {
        (Selector::Ids(ids), Selector::Ids(groups)) => (ids.clone(), groups.clone()),
        (subnets, groups) => {
            let subnets = self::subnets(subnets, clients).await?;
            let groups = security_groups(groups, &subnets.vpc_id, clients).await?;
            (subnets.ids, groups)
        }
    };
    let public = plan.assign_public_ip.unwrap_or(fargate && plan.subnets == Selector::Default);
    let assign = if public { "ENABLED" } else { "DISABLED" };
    Ok(json!({ "awsvpcConfiguration": { "subnets": ids, "securityGroups": groups, "assignPublicIp": assign } }))
}

pub async fn subnets(selector: &Selector, clients: &Clients) -> Result<Subnets> {
    let found = match selector {
        Selector::Ids(ids) => clients.ec2.describe_subnets(&[], ids).await,
        Selector::Tags(tags) => {
            let filters = tag_filters(tags);
            clients.ec2.describe_subnets(&by_tag(&filters), &[]).await
        }
        Selector::Default => {
            let vpc = default_vpc(clients).await?;
            let all = clients.ec2.describe_subnets(&[("vpc-id", vec![&vpc])], &[]).await.map_err(preflight)?;
            let default: Vec<Value> =
                all.iter().filter(|subnet| text(subnet, "defaultForAz") == "true").cloned().collect();
            Ok(if default.is_empty() { all } else { default })
        }
    }
    .map_err(preflight)?;
    let vpcs: BTreeSet<&str> = found.iter().map(|subnet| text(subnet, "vpcId")).collect();
    let vpc_id = match vpcs.iter().copied().collect::<Vec<_>>()[..] {
        [vpc] => vpc.to_owned(),
        [] => return Err(Error::preflight(format!("no subnet {}", described(selector)))),
        _ => {
            let names = vpcs.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Error::preflight(format!(
                "the subnets {} are in more than one VPC: {names}",
                described(selector)
            ))
            .hint("name subnets of one VPC by their ids"));
        }
    };
    let mut ids: Vec<String> = found.iter().map(|subnet| text(subnet, "subnetId").to_owned()).collect();
    ids.sort();
    Ok(Subnets { ids, vpc_id })
}

pub async fn security_groups(selector: &Selector, vpc_id: &str, clients: &Clients) -> Result<Vec<String>> {
    let found = match selector {
        Selector::Ids(ids) => return Ok(ids.clone()),
        Selector::Default => {
            let filters = [("vpc-id", vec![vpc_id]), ("group-name", vec!["default"])];
            clients.ec2.describe_security_groups(&filters).await
        }
        Selector::Tags(tags) => {
            let filters = tag_filters(tags);
            let mut filters = by_tag(&filters);
            filters.push(("vpc-id", vec![vpc_id]));
            clients.ec2.describe_security_groups(&filters).await
        }
    }
    .map_err(preflight)?;
    let mut ids: Vec<String> = found.iter().map(|group| text(group, "groupId").to_owned()).collect();
    ids.sort();
    if ids.is_empty() {
        return Err(Error::preflight(format!("no security group of {vpc_id} {}", described(selector))));
    }
    Ok(ids)
}

async fn default_vpc(clients: &Clients) -> Result<String> {
    let found = clients.ec2.describe_vpcs(&[("isDefault", vec!["true"])]).await.map_err(preflight)?;
    match found.iter().find(|vpc| text(vpc, "isDefault") == "true") {
        Some(vpc) => Ok(text(vpc, "vpcId").to_owned()),
        None => Err(Error::preflight(format!("there is no default VPC in {}", clients.region))
            .hint("name subnets and security groups by their ids or tags, below `network:`")),
    }
}

fn preflight(failure: Failure) -> Error {
    failure.error(Kind::Preflight)
}

fn tag_filters(tags: &BTreeMap<String, String>) -> Vec<(String, &str)> {
    tags.iter().map(|(key, value)| (format!("tag:{key}"), value.as_str())).collect()
}

fn by_tag<'a>(filters: &'a [(String, &'a str)]) -> Vec<(&'a str, Vec<&'a str>)> {
    filters.iter().map(|(name, value)| (name.as_str(), vec![*value])).collect()
}

fn described(selector: &Selector) -> String {
    match selector {
        Selector::Default => "is the default VPC's".to_owned(),
        Selector::Ids(ids) => format!("has the id {}", ids.join(" or ")),
        Selector::Tags(tags) => {
            let tags: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("carries the tags {}", tags.join(", "))
        }
    }
}
