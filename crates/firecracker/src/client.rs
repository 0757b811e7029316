//! The calls.

use crate::connection::Connection;
use crate::error::{ApiError, Call, ConnectError, Method};
use crate::machine::{Machine, Request};
use crate::version::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use std::path::Path;

/// A connection to one Firecracker process. Dropping it closes the connection and changes nothing else.
///
/// Each call has its own time limit and may be given up at any time by dropping its future. A connection on which
/// that happened answers no more: open another one. Firecracker serves ten at a time.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

/// What Firecracker says of itself. More than this, from a newer version, is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Instance {
    pub id: String,
    pub state: State,
    #[serde(rename = "vmm_version")]
    pub version: Version,
    pub app_name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum State {
    #[serde(rename = "Not started")]
    NotStarted,
    Running,
    Paused,
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Client {
    /// Connects to a process that has been running for a while, through the socket in its folder; tries once.
    ///
    /// # Errors
    /// When nobody listens there, in particular.
    pub async fn connect(folder: &Path) -> Result<Self, ConnectError> {
        Ok(Self { connection: Connection::open(folder).await? })
    }

    /// Connects to a process that was just started, as soon as it listens. Give it up, with `select!`, when the
    /// process ends: that is not noticed here.
    ///
    /// # Errors
    /// When it does not listen for too long, in particular.
    pub async fn connect_when_up(folder: &Path) -> Result<Self, ConnectError> {
        Ok(Self { connection: Connection::open_when_up(folder).await? })
    }

    /// # Errors
    /// When the call comes to nothing.
    pub async fn instance(&mut self) -> Result<Instance, ApiError> {
        self.get("/").await
    }

    /// # Errors
    /// When the call comes to nothing.
    pub async fn version(&mut self) -> Result<Version, ApiError> {
        #[derive(Deserialize)]
        struct Body {
            firecracker_version: Version,
        }
        self.get("/version").await.map(|body: Body| body.firecracker_version)
    }

    /// Describes the machine, which does not start it. Firecracker opens kernel, initrd, disks and tap and makes
    /// the vsock socket while being told about them.
    ///
    /// # Errors
    /// With the first part that was refused. The process then has half a machine: end it.
    pub async fn configure(&mut self, machine: &Machine) -> Result<(), ApiError> {
        for request in machine.requests() {
            self.connection.call(&request).await?;
        }
        Ok(())
    }

    /// Starts the machine that was described.
    ///
    /// # Errors
    /// When the call comes to nothing.
    pub async fn start(&mut self) -> Result<(), ApiError> {
        self.act(Method::Put, "/actions", json!({"action_type": "InstanceStart"})).await
    }

    /// Stops the guest where it is; it is no error if it stands already. Until it is resumed, Firecracker does
    /// nothing but answer calls: connections to the guest's vsock wait. With 1.16.1 they wait for ever, resumed or not
    /// (decision 8): this is for taking a snapshot.
    ///
    /// # Errors
    /// When the call comes to nothing.
    pub async fn pause(&mut self) -> Result<(), ApiError> {
        self.act(Method::Patch, "/vm", json!({"state": "Paused"})).await
    }

    /// Lets a paused guest go on; it is no error if it runs already.
    ///
    /// # Errors
    /// When the call comes to nothing.
    pub async fn resume(&mut self) -> Result<(), ApiError> {
        self.act(Method::Patch, "/vm", json!({"state": "Resumed"})).await
    }

    /// Has a line of [`crate::Metrics`] written now, if it was started with a file for them; only while the machine is
    /// started.
    ///
    /// # Errors
    /// When the call comes to nothing.
    pub async fn flush_metrics(&mut self) -> Result<(), ApiError> {
        self.act(Method::Put, "/actions", json!({"action_type": "FlushMetrics"})).await
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &'static str) -> Result<T, ApiError> {
        let call = Call { method: Method::Get, path: path.into() };
        let body = self.connection.call(&Request { call: call.clone(), body: None }).await?;
        serde_json::from_slice(&body).map_err(|source| ApiError::Malformed { call, source })
    }

    async fn act(
        &mut self,
        method: Method,
        path: &'static str,
        body: serde_json::Value,
    ) -> Result<(), ApiError> {
        let call = Call { method, path: path.into() };
        self.connection.call(&Request { call, body: Some(body) }).await.map(drop)
    }
}
