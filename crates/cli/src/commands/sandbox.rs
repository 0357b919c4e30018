//! `sandbox serve`

use engine::Stop;
use sandbox::ServeSettings;

use super::operation::{narrate, stop_on_signals};
use super::print;
use crate::args::{Global, ServeArgs};
use crate::context::{Folders, open_sandbox, write_auth};
use crate::error::{CliError, Code};
use crate::exit::Exit;

pub async fn serve(global: &Global, args: &ServeArgs) -> Result<Exit, CliError> {
    let folders = Folders::of(global)?;
    let sandbox = open_sandbox(&folders)?;
    let auth = write_auth(&folders.state.join("sandbox.auth"), &sandbox.session())?;
    let failed = |e: std::io::Error| {
        CliError::caused(format!("{} cannot be listened on", args.listen), e)
            .code(Code::Sandbox)
            .hint("--listen names another address and port")
    };
    let listener = tokio::net::TcpListener::bind(args.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let stop = Stop::new();
    stop_on_signals(&stop)?;
    print(&format!("ONE_XMLRPC=http://{address}/RPC2\nONE_AUTH={}\n", auth.display()))?;
    narrate("Serving until interrupted. Other clients connect with the two variables above.");
    if !address.ip().is_loopback() {
        narrate(
            "WARNING: other machines can reach it, and passwords are not encrypted on the way.",
        );
    }
    let until = async move { stop.wait().await };
    sandbox::serve(listener, sandbox, ServeSettings::default(), until).await.map_err(|e| {
        CliError::caused("the embedded OpenNebula can no longer be served", e).code(Code::Sandbox)
    })?;
    Ok(Exit::Done)
}
