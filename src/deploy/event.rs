//! What a deploy says while it runs. Logic emits these; `report` shows them; nobody else prints.

use serde::Serialize;
use tokio::sync::mpsc;

/// Where events go. Cheap to clone; a receiver that went away is no error.
#[derive(Debug, Clone)]
pub struct Events(mpsc::UnboundedSender<Event>);

impl Events {
    pub fn channel() -> (Events, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Events(sender), receiver)
    }

    pub fn emit(&self, event: Event) {
        let _ = self.0.send(event);
    }

    pub fn warn(&self, message: impl Into<String>, hint: Option<String>) {
        self.emit(Event::Warning { message: message.into(), hint });
    }
}

/// The steps of a deploy, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    Preflight,
    Build,
    Login,
    Push,
    Render,
    Register,
    LoadBalancer,
    Before,
    Service,
    Steady,
    Check,
    After,
    Run,
    Rollback,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BlobState {
    Checking,
    Exists,
    Mounted,
    Compressing,
    Uploading,
    Pushed,
    /// It is not told of any more: what it holds comes under another digest.
    Abandoned,
}

/// Texts in these come from outside (AWS, containers, engines) as they are: displays escape them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    StepStarted {
        step: Step,
    },
    /// `detail` is the result in a few words, such as the registered revision.
    StepFinished {
        step: Step,
        detail: String,
        duration_ms: u64,
    },
    Warning {
        message: String,
        hint: Option<String>,
    },
    Notice {
        message: String,
    },
    /// One line of a build's output.
    BuildOutput {
        line: String,
    },
    /// One line that a command before or after the release wrote.
    Output {
        line: String,
    },
    /// One blob of a push or of a base image; `sent` of `size` bytes. Of a layer that is compressed on its way `digest` is the
    /// diffID from first to last, and `size` that before, until it is there.
    Blob {
        digest: String,
        size: u64,
        sent: u64,
        state: BlobState,
    },
    /// Something that steady created, changed or deleted at AWS.
    Resource {
        action: ResourceAction,
        kind: String,
        id: String,
    },
    /// An ECS service event; `created_at` in epoch milliseconds.
    ServiceEvent {
        id: String,
        created_at: i64,
        message: String,
    },
    Deployment {
        id: String,
        status: String,
        desired: i64,
        running: i64,
        pending: i64,
        failed: i64,
    },
    /// How far a deployment is that shifts traffic: shares are the new release's, in percent.
    Stage {
        strategy: String,
        stage: String,
        production_traffic: Option<f64>,
        test_traffic: Option<f64>,
        new_tasks: i64,
        old_tasks: i64,
        /// What bake times take from here on.
        bakes_ms: Option<u64>,
    },
    /// A lifecycle hook at its stage; `expires_at` in epoch milliseconds. One that is `AWAITING_ACTION` is a pause, and its
    /// hints say how to answer it.
    Hook {
        id: String,
        kind: String,
        target: Option<String>,
        stage: String,
        status: String,
        expires_at: Option<i64>,
        on_timeout: String,
        hints: Vec<String>,
    },
    Task {
        id: String,
        task_definition: String,
        last_status: String,
        health: Option<String>,
        stopped_reason: Option<String>,
        exit_codes: Vec<ContainerExit>,
    },
    Target {
        target_group: String,
        target: String,
        state: String,
        reason: Option<String>,
    },
    /// One line of a container's log.
    Log {
        task: String,
        container: String,
        line: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ResourceAction {
    Created,
    Updated,
    Deleted,
    Unchanged,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerExit {
    pub container: String,
    pub exit_code: Option<i64>,
    pub reason: Option<String>,
}
