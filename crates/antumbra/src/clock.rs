//! `antumbra clock`: rehearsing with an organization whose time is moved forward.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Subcommand;
use jiff::{Span, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use crate::client::Client;
use crate::outcome::{Ended, Outcome};
use crate::request::Remote;

/// How often is looked whether what is being done is done.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long one thing may take to be done.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Subcommand)]
pub(crate) enum ClockCommand {
    /// Say what time it is for the organization, and whether it rehearses
    Show {
        #[command(flatten)]
        remote: Remote,
    },
    /// Make the organization one that rehearses, for good: all its requests are tests
    #[command(
        after_help = "Refused once the organization holds a request that is not a test. Rehearse in an organization of its own."
    )]
    Rehearse {
        #[command(flatten)]
        remote: Remote,
    },
    /// Move the time of an organization that rehearses forward, from one thing to do to the next
    #[command(
        after_help = "Retries, reminders, waiting periods and deadlines happen on their day and in their order. What comes from outside\n\
does not come faster: a data silo that answers after an hour answers after an hour.\n\n\
Examples:\n  antumbra clock advance 45d --key \"$KEY\"\n  antumbra clock advance 1mo2d --key \"$KEY\"\n  antumbra clock advance 36h --key \"$KEY\""
    )]
    Advance {
        /// How far: as 45d, 36h, 1mo2d
        #[arg(value_name = "SPAN")]
        by: Span,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Runs one of the clock commands.
pub(crate) async fn run(command: ClockCommand) -> Result<ExitCode> {
    match command {
        ClockCommand::Show { remote } => {
            let clock = show(&remote.client()?).await?;
            let now = clock["now"].as_str().unwrap_or_default();
            let ahead = Duration::from_secs(clock["aheadSeconds"].as_u64().unwrap_or(0));
            match clock["rehearses"].as_bool() {
                Some(true) => println!("{now}, {} ahead. The organization rehearses.", in_words(ahead)),
                _ => println!("{now}. The organization does not rehearse."),
            }
        }
        ClockCommand::Rehearse { remote } => {
            let document = "mutation BeginRehearsal { beginRehearsal { now } }";
            remote.client()?.graphql(document, json!({})).await?;
            println!(
                "The organization rehearses: all its requests are tests, and `antumbra clock advance` moves its time."
            );
        }
        ClockCommand::Advance { by, remote } => advance(&remote.client()?, by).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client) -> Result<Value> {
    let document = "query Clock { organization { clock { now rehearses aheadSeconds } } }";
    let answer = client.graphql(document, json!({})).await?;
    Ok(answer["organization"]["clock"].clone())
}

async fn advance(client: &Client, by: Span) -> Result<()> {
    let clock = show(client).await?;
    let from: Timestamp = clock["now"]
        .as_str()
        .unwrap_or_default()
        .parse()
        .context("the server told no time")?;
    let until = from.to_zoned(TimeZone::UTC).checked_add(by);
    let until = until
        .map_err(|_| Ended::new(Outcome::Usage, "time cannot be moved so far"))?
        .timestamp();
    if until < from {
        return Err(Ended::new(Outcome::Usage, "time is moved forward only").into());
    }
    let document =
        "mutation AdvanceClock($input: AdvanceClockInput!) { advanceClock(input: $input) { now moved arrived } }";
    let (mut moved_at, mut stops) = (Instant::now(), 0_u32);
    loop {
        let answer = client.graphql(document, json!({ "input": { "until": until } })).await?;
        let now = answer["advanceClock"]["now"].as_str().unwrap_or_default().to_owned();
        if answer["advanceClock"]["arrived"].as_bool() == Some(true) {
            println!("It is {now}. Times at which there was something to do on the way: {stops}.");
            return Ok(());
        }
        if answer["advanceClock"]["moved"].as_bool() == Some(true) {
            moved_at = Instant::now();
            stops += 1;
        } else if moved_at.elapsed() > PATIENCE {
            let why =
                format!("at {now} there is still something being done; `antumbra job list --failing` may say why");
            return Err(Ended::new(Outcome::Failed, why).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn in_words(span: Duration) -> String {
    // To the nearest hour: the machine's time goes on while another is moved.
    let hours = (span.as_secs() + 1_800) / 3_600;
    let (days, hours) = (hours / 24, hours % 24);
    match (days, hours) {
        (0, hours) => format!("{hours} hours"),
        (days, 0) => format!("{days} days"),
        (days, hours) => format!("{days} days and {hours} hours"),
    }
}
