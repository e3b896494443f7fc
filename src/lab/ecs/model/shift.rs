//! How far a deployment is that shifts traffic from one service revision to the next.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a deployment does, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Phase {
    /// Only when a deployment before this one did not come to its end.
    Reconcile,
    #[default]
    PreScaleUp,
    ScaleUp,
    PostScaleUp,
    TestShift,
    PostTestShift,
    /// Before each step of production traffic, and the step with the time after it.
    PreProduction,
    Production,
    PostProduction,
    Bake,
    CleanUp,
}

impl Phase {
    /// `lifecycleStage` of a service deployment. ECS's model knows no value for the time before a shift.
    pub fn stage(self, step: usize) -> &'static str {
        match self {
            Phase::Reconcile => "RECONCILE_SERVICE",
            Phase::PreScaleUp => "PRE_SCALE_UP",
            Phase::ScaleUp => "SCALE_UP",
            Phase::PostScaleUp => "POST_SCALE_UP",
            Phase::TestShift => "TEST_TRAFFIC_SHIFT",
            Phase::PostTestShift => "POST_TEST_TRAFFIC_SHIFT",
            Phase::PreProduction if step == 0 => "POST_TEST_TRAFFIC_SHIFT",
            Phase::PreProduction | Phase::Production => "PRODUCTION_TRAFFIC_SHIFT",
            Phase::PostProduction => "POST_PRODUCTION_TRAFFIC_SHIFT",
            Phase::Bake => "BAKE_TIME",
            Phase::CleanUp => "CLEAN_UP",
        }
    }

    /// The stage as `lifecycleHooks` name it, where they can.
    pub fn hook_stage(self) -> Option<&'static str> {
        match self {
            Phase::PreProduction => Some("PRE_PRODUCTION_TRAFFIC_SHIFT"),
            Phase::ScaleUp | Phase::Bake | Phase::CleanUp => None,
            phase => Some(phase.stage(0)),
        }
    }

    pub fn next(self) -> Phase {
        match self {
            Phase::Reconcile => Phase::PreScaleUp,
            Phase::PreScaleUp => Phase::ScaleUp,
            Phase::ScaleUp => Phase::PostScaleUp,
            Phase::PostScaleUp => Phase::TestShift,
            Phase::TestShift => Phase::PostTestShift,
            Phase::PostTestShift => Phase::PreProduction,
            Phase::PreProduction => Phase::Production,
            Phase::Production => Phase::PostProduction,
            Phase::PostProduction => Phase::Bake,
            Phase::Bake | Phase::CleanUp => Phase::CleanUp,
        }
    }
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Shift {
    pub phase: Phase,
    /// When the phase began.
    pub since: i64,
    /// Which step of production traffic is made, or comes next.
    pub step: usize,
    /// Traffic of the new revision, in tenths of a percent; none where there is no such listener.
    pub production: Option<u32>,
    pub test: Option<u32>,
    /// Those of this phase.
    pub hooks: Vec<Hook>,
}

/// A lifecycle hook at its stage.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    pub id: String,
    /// The function's URL; a pause has none.
    pub target: Option<String>,
    /// `AWAITING_ACTION`, `IN_PROGRESS`, `SUCCEEDED`, `FAILED` or `TIMED_OUT`.
    pub status: String,
    pub expires_at: i64,
    /// `ROLLBACK` or `CONTINUE`.
    pub on_timeout: String,
    /// What the function is given, and may change from call to call.
    pub details: Option<Value>,
    /// What of it made the deployment fail.
    pub reason: Option<String>,
    pub execution: String,
    pub call_at: i64,
    /// A call that was under way when the lab stopped is made again.
    #[serde(skip)]
    pub called: bool,
    #[serde(skip)]
    pub answer: Option<Result<String, String>>,
}

impl Hook {
    pub fn is_pause(&self) -> bool {
        self.target.is_none()
    }

    pub fn is_open(&self) -> bool {
        matches!(self.status.as_str(), "AWAITING_ACTION" | "IN_PROGRESS")
    }
}
