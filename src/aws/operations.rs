//! The JSON operations that steady calls, each a method of [`Clients`] from raw input to raw reply.

use serde_json::Value;

use super::connect::Clients;
use super::failure::Failure;
use super::raw::Call;

macro_rules! operations {
    ($($client:ident $service:literal { $($name:ident $method:ident $operation:literal,)* })*) => {
        impl Clients {
            $($(
                #[doc = concat!("`", $service, ".", $operation, "`: input and reply as they are on the wire.")]
                pub async fn $name(&self, input: Value) -> Result<Value, Failure> {
                    let call = Call::new($service, $operation, &input);
                    let request = self.$client.$method().customize().interceptor(call.interceptor());
                    // Boxed: the SDK's futures are kilobytes, and callers join many.
                    let result = Box::pin(request.send()).await;
                    call.finish(result)
                }
            )*)*
        }
    };
}

operations! {
    ecs "ECS" {
        continue_service_deployment continue_service_deployment "ContinueServiceDeployment",
        create_service create_service "CreateService",
        delete_service delete_service "DeleteService",
        deregister_task_definition deregister_task_definition "DeregisterTaskDefinition",
        describe_clusters describe_clusters "DescribeClusters",
        describe_container_instances describe_container_instances "DescribeContainerInstances",
        describe_services describe_services "DescribeServices",
        describe_service_deployments describe_service_deployments "DescribeServiceDeployments",
        describe_service_revisions describe_service_revisions "DescribeServiceRevisions",
        describe_task_definition describe_task_definition "DescribeTaskDefinition",
        describe_tasks describe_tasks "DescribeTasks",
        list_container_instances list_container_instances "ListContainerInstances",
        list_service_deployments list_service_deployments "ListServiceDeployments",
        list_task_definitions list_task_definitions "ListTaskDefinitions",
        list_tasks list_tasks "ListTasks",
        run_task run_task "RunTask",
        stop_task stop_task "StopTask",
        stop_service_deployment stop_service_deployment "StopServiceDeployment",
    }
    ecs_once "ECS" {
        register_task_definition register_task_definition "RegisterTaskDefinition",
        update_service update_service "UpdateService",
    }
    ecr "ECR" {
        batch_delete_image batch_delete_image "BatchDeleteImage",
        batch_get_image batch_get_image "BatchGetImage",
        complete_layer_upload complete_layer_upload "CompleteLayerUpload",
        get_download_url_for_layer get_download_url_for_layer "GetDownloadUrlForLayer",
        initiate_layer_upload initiate_layer_upload "InitiateLayerUpload",
        list_images list_images "ListImages",
        put_image put_image "PutImage",
        put_lifecycle_policy put_lifecycle_policy "PutLifecyclePolicy",
        upload_layer_part upload_layer_part "UploadLayerPart",
        batch_check_layer_availability batch_check_layer_availability "BatchCheckLayerAvailability",
        create_repository create_repository "CreateRepository",
        delete_repository delete_repository "DeleteRepository",
        describe_images describe_images "DescribeImages",
        describe_pull_through_cache_rules describe_pull_through_cache_rules "DescribePullThroughCacheRules",
        describe_repositories describe_repositories "DescribeRepositories",
        get_authorization_token get_authorization_token "GetAuthorizationToken",
        get_repository_policy get_repository_policy "GetRepositoryPolicy",
        list_tags_for_resource list_tags_for_resource "ListTagsForResource",
        put_image_scanning_configuration put_image_scanning_configuration "PutImageScanningConfiguration",
        put_image_tag_mutability put_image_tag_mutability "PutImageTagMutability",
        set_repository_policy set_repository_policy "SetRepositoryPolicy",
    }
    ecr_public "ECRPublic" {
        get_public_authorization_token get_authorization_token "GetAuthorizationToken",
    }
    service_discovery "CloudMap" {
        create_private_dns_namespace create_private_dns_namespace "CreatePrivateDnsNamespace",
        create_discovery_service create_service "CreateService",
        delete_discovery_service delete_service "DeleteService",
        delete_namespace delete_namespace "DeleteNamespace",
        get_discovery_service get_service "GetService",
        get_operation get_operation "GetOperation",
        list_discovery_services list_services "ListServices",
        list_namespaces list_namespaces "ListNamespaces",
        list_discovery_tags list_tags_for_resource "ListTagsForResource",
    }
    logs "Logs" {
        create_log_group create_log_group "CreateLogGroup",
        describe_log_groups describe_log_groups "DescribeLogGroups",
        get_log_events get_log_events "GetLogEvents",
    }
}
