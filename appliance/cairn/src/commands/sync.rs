//! `cairn enrol` and `cairn sync`

use super::{models::finish, print_json, show};
use crate::{
    cli::{EnrolArguments, SyncCommand},
    console::{self, Request, Step, SyncLine},
    data::Folder,
    outcome::{Code, Failure},
};

pub(super) async fn enrol(folder: &Folder, arguments: EnrolArguments) -> Result<(), Failure> {
    let EnrolArguments { url, token, plain_loopback } = arguments;
    let hub = console::connect(folder)?;
    hub.ask(Request::Enrol { url, token, plain_loopback }, None).await?;
    finish(&hub, "Enrolling").await
}

pub(super) async fn run(folder: &Folder, command: Option<SyncCommand>) -> Result<(), Failure> {
    let (now, json) = match command.unwrap_or(SyncCommand::Status { json: false }) {
        SyncCommand::Status { json } => (false, json),
        SyncCommand::Now { json } => (true, json),
    };
    let hub = console::connect(folder)?;
    hub.ask(Request::Sync { now }, None).await?;
    let mut trouble = None;
    loop {
        match hub.next().await? {
            Step::Sync(line) => {
                trouble = line.trouble.clone().filter(|_| now && line.state != "idle");
                if json { print_json(&line)? } else { print(&line) }
            }
            Step::Done(_) => break,
            _ => {}
        }
    }
    match trouble {
        None => Ok(()),
        Some(why) => {
            Err(Failure::new(Code::Failed, format!("the exchange did not work: {}", show::harmless(&why)))
                .kept("Nothing is lost; what waits is sent later.")
                .next("The hub tries again by itself."))
        }
    }
}

fn print(line: &SyncLine) {
    let say = |name: &str, text: &str| println!("{name:<12} {}", show::harmless(text));
    say("state", &line.state);
    if let Some(community) = &line.community {
        say("community", community);
    }
    if let Some(gateway) = &line.gateway {
        say("gateway", gateway);
    }
    say("when", &line.way);
    say(
        "waiting",
        &format!(
            "{} changes to send, {} conflicts to decide, {} changes not accepted",
            line.queue, line.conflicts, line.refused
        ),
    );
    say(
        "last",
        &line
            .last_success_s
            .map_or_else(|| "not since the hub was started".to_owned(), |s| format!("{s} s ago")),
    );
    if let Some(trouble) = &line.trouble {
        say("trouble", trouble);
    }
}
