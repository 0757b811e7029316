//! Where everything is of the one installed system of a host.

use crate::{CACHE, Install, SOCKET, STATE};
use banger_protocol::local_paths::LocalPaths;
use std::path::Path;

impl Install {
    /// The places of local mode, as they are here.
    #[must_use]
    pub fn paths(&self) -> LocalPaths {
        let (state, socket) = (Path::new(STATE), Path::new(SOCKET));
        LocalPaths {
            home: Some(self.owner.home.clone()),
            state: state.to_owned(),
            cache: CACHE.into(),
            config: self.owner.home.join(".config/banger/config.toml"),
            runtime: socket.parent().unwrap_or(state).to_owned(),
            socket: socket.to_owned(),
            ssh_key: state.join("ssh/id_ed25519"),
        }
    }
}
