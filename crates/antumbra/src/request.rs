//! `antumbra request`: what a person decides about a data subject request.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use uuid::Uuid;

use crate::client::Client;
use crate::outcome::{Ended, Outcome};

#[derive(Subcommand)]
pub(crate) enum RequestCommand {
    /// Let what was compiled go out to the data subject
    #[command(after_help = "Example:\n  antumbra request approve 9a2f4c1e-6d73-4f0a-8b55-0c7de1f2a310 --key \"$KEY\"")]
    Approve {
        /// The request's id
        id: Uuid,
        #[command(flatten)]
        remote: Remote,
    },
}

/// A running server and the right to talk to it.
#[derive(Args)]
pub(crate) struct Remote {
    /// A running server
    #[arg(long, env = "ANTUMBRA_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// An API key
    #[arg(long, env = "ANTUMBRA_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// The internal key, where the server asks for one (`access.internal_key`)
    #[arg(long, env = "ANTUMBRA_INTERNAL_KEY", hide_env_values = true)]
    pub(crate) internal_key: Option<String>,
}

impl Remote {
    /// A caller of that server.
    pub(crate) fn client(&self) -> Result<Client> {
        let key = self
            .key
            .as_deref()
            .ok_or_else(|| Ended::new(Outcome::Usage, "give --key, or set ANTUMBRA_KEY"))?;
        Client::new(&self.url, key, self.internal_key.as_deref())
    }
}

/// Runs one of the request commands.
pub(crate) async fn run(command: RequestCommand) -> Result<ExitCode> {
    match command {
        RequestCommand::Approve { id, remote } => {
            let document = "mutation ApproveRequest($input: CommunicationInput!) {
                approveRequest(input: $input) { request { id status } }
            }";
            let answer = remote
                .client()?
                .graphql(document, json!({ "input": { "requestId": id } }))
                .await?;
            let status = answer["approveRequest"]["request"]["status"]
                .as_str()
                .unwrap_or("approved");
            println!("{id} is approved: {status}.");
            Ok(ExitCode::SUCCESS)
        }
    }
}
