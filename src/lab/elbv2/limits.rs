//! The account's quotas, as DescribeAccountLimits tells them.

use serde_json::{Value, json};

use super::{Scope, listing, page};
use crate::lab::api::ApiResult;
use crate::lab::input::Input;
use crate::lab::state::State;

/// Of a load balancer, beside its listeners' default rules.
pub(super) const RULES: usize = 100;
/// Of a load balancer.
pub(super) const LISTENERS: usize = 50;
/// Of a forward action.
pub(super) const TARGET_GROUPS: usize = 5;

/// AWS's defaults.
const LIMITS: [(&str, u32); 14] = [
    ("target-groups", 3000),
    ("targets-per-application-load-balancer", 1000),
    ("listeners-per-application-load-balancer", LISTENERS as u32),
    ("rules-per-application-load-balancer", RULES as u32),
    ("network-load-balancers", 50),
    ("targets-per-network-load-balancer", 3000),
    ("targets-per-availability-zone-per-network-load-balancer", 500),
    ("listeners-per-network-load-balancer", LISTENERS as u32),
    ("condition-values-per-alb-rule", 5),
    ("condition-wildcards-per-alb-rule", 6),
    ("target-groups-per-action-on-application-load-balancer", TARGET_GROUPS as u32),
    ("target-groups-per-application-load-balancer", 100),
    ("certificates-per-application-load-balancer", 25),
    ("application-load-balancers", 50),
];

pub(super) fn describe(_: &State, _: &Scope, input: Input) -> ApiResult {
    let (limits, next) = page(input, LIMITS.to_vec())?;
    let limits: Vec<Value> =
        limits.into_iter().map(|(name, max)| json!({ "Name": name, "Max": max.to_string() })).collect();
    Ok(listing("Limits", limits, next))
}
