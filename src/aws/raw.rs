//! JSON-bodied calls through the SDK: its signing, retries, credentials and endpoints, our own body, and the reply as
//! it came. SDK types would drop members that are newer than they are.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde_json::Value;

use super::failure::{Failure, Reach};

/// One call: what to send instead of the SDK's body, and where its reply goes.
pub struct Call {
    service: &'static str,
    operation: &'static str,
    body: Arc<[u8]>,
    reply: Reply,
}

type Reply = Arc<Mutex<Option<(u16, Vec<u8>)>>>;

impl Call {
    pub fn new(service: &'static str, operation: &'static str, input: &Value) -> Self {
        Call { service, operation, body: input.to_string().into_bytes().into(), reply: Reply::default() }
    }

    pub fn interceptor(&self) -> RawJson {
        RawJson { body: self.body.clone(), reply: self.reply.clone() }
    }

    /// The raw reply. A reply of HTTP 2xx counts even where the SDK could not make its types of it.
    pub fn finish<O, E>(self, result: Result<O, SdkError<E, HttpResponse>>) -> Result<Value, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let reply = self.reply.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let parsed = match reply {
            Some((status, body)) if (200..300).contains(&status) => Some(if body.is_empty() {
                Ok(Value::Object(serde_json::Map::new()))
            } else {
                serde_json::from_slice::<Value>(&body)
            }),
            _ => None,
        };
        match (parsed, result) {
            (Some(Ok(value)), _) => Ok(value),
            (_, Err(error)) => Err(Failure::from_sdk(self.service, self.operation, error)),
            (_, Ok(_)) => Err(Failure {
                service: self.service,
                operation: self.operation,
                code: None,
                message: "the reply is not JSON".to_owned(),
                status: Some(200),
                reach: Reach::Unknown,
            }),
        }
    }
}

#[derive(Clone)]
pub struct RawJson {
    body: Arc<[u8]>,
    reply: Reply,
}

// Bodies hold environment values, replies hold registry tokens.
impl std::fmt::Debug for RawJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawJson")
    }
}

#[dyn_dispatch_hint]
impl Intercept for RawJson {
    fn name(&self) -> &'static str {
        "RawJson"
    }

    // Before the retry loop, so that every attempt is signed over this body.
    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        *request.body_mut() = SdkBody::from(self.body.to_vec());
        request.headers_mut().insert("content-length", self.body.len().to_string());
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let body = response.body().bytes().unwrap_or_default().to_vec();
        *self.reply.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((response.status().as_u16(), body));
        Ok(())
    }
}
