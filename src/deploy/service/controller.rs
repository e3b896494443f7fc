//! Who controls a service's deployments. Only ECS itself does what steady asks for: CodeDeploy and external controllers
//! deploy by task sets of their own.

use serde_json::Value;

use crate::aws::reply::optional;
use crate::error::Error;

const ECS: &str = "ECS";

fn of(service: &Value) -> &str {
    optional(&service["deploymentController"], "type").unwrap_or(ECS)
}

/// Why a live service, or one that a document asks for, is not steady's to deploy.
pub fn refusal(service: &Value) -> Option<Error> {
    let controller = of(service);
    let error = Error::preflight(format!("the service's deployments are controlled by {controller}, not by ECS"));
    match controller {
        ECS => None,
        "CODE_DEPLOY" => Some(
            error
                .hint(
                    "ECS has blue/green, canary and linear deployments of its own: `strategy: BLUE_GREEN` below `rollout:`",
                )
                .hint(
                    "`aws ecs update-service --deployment-controller type=ECS …` moves the service there; AWS's guide is \
                     \"Migrate CodeDeploy blue/green deployments to Amazon ECS blue/green deployments\"",
                ),
        ),
        "EXTERNAL" => Some(
            error
                .hint("its task sets are another tool's: deploy with that")
                .hint("or make a service with the deployment controller ECS, under another name"),
        ),
        _ => Some(error.hint("steady deploys services with the deployment controller ECS")),
    }
}
