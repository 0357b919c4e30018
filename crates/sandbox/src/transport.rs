//! The way from the client to the front-end without a socket.

use std::time::Duration;

use async_trait::async_trait;
use opennebula::{Transport, TransportError};

use crate::sandbox::Sandbox;

/// Carries requests to a [`Sandbox`] of this process.
#[derive(Clone, Debug)]
pub struct SandboxTransport(Sandbox);

impl SandboxTransport {
    /// To that front-end.
    pub fn new(sandbox: Sandbox) -> Self {
        Self(sandbox)
    }
}

#[async_trait]
impl Transport for SandboxTransport {
    fn endpoint(&self) -> &str {
        self.0.name()
    }

    async fn exchange(
        &self,
        request: &[u8],
        deadline: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let sandbox = self.0.clone();
        let request = request.to_vec();
        let task = tokio::task::spawn_blocking(move || sandbox.handle(&request));
        match tokio::time::timeout(deadline, task).await {
            Ok(Ok(answer)) => Ok(answer),
            // The runtime shuts down, or a defect of ours: how far it came is not known.
            Ok(Err(error)) => Err(TransportError::maybe_sent(error)),
            // The work goes on behind our back, as on a server that answers too late.
            Err(_) => Err(TransportError::Deadline { after: deadline }),
        }
    }
}
