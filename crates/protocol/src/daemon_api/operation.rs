//! Long requests: started, watched, cancelled.

use crate::ids::OperationId;
use crate::wire::RpcError;
use serde::{Deserialize, Serialize};

/// The answer of every long request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OperationStarted {
    pub operation: OperationId,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Watch {
    pub operation: OperationId,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Status {
    pub operation: OperationId,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    pub operation: OperationId,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct List {}

/// Something that happened in an operation; what an event line of `operation.watch` carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// A stage began; it lasts until the next one or the end. `name` is stable, for programs and `vm show`.
    Stage { name: String, elapsed_ms: u64 },
    /// How far the present stage is, in bytes.
    Progress { done: u64, total: u64 },
    /// Something worth telling that is no failure.
    Warning { message: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OperationView {
    pub operation: OperationId,
    /// The method that started it.
    pub method: String,
    /// What it acts on, as the user named it.
    pub subject: String,
    pub state: OperationState,
    pub elapsed_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OperationState {
    Running,
    /// With the result that the method's documentation names.
    Succeeded(serde_json::Value),
    Failed(RpcError),
    Cancelled,
}
