//! `cairn health`

use super::{print_json, show};
use crate::{
    console::{self, Health, Request, Step},
    data::Folder,
    outcome::{Code, Failure},
};

pub(super) async fn run(folder: &Folder, json: bool) -> Result<(), Failure> {
    let hub = console::connect(folder)?;
    hub.ask(Request::Health, None).await?;
    let mut well = false;
    loop {
        match hub.next().await? {
            Step::Health(health) => {
                well = health.well;
                if json { print_json(&health)? } else { print(&health) }
            }
            Step::Done(_) if well => return Ok(()),
            Step::Done(_) => {
                return Err(Failure::new(Code::Unwell, "the hub is not well")
                    .next("See above; `cairn support-bundle FILE` collects what helps to find out why."));
            }
            _ => {}
        }
    }
}

fn print(health: &Health) {
    let line = |name: &str, text: String| println!("{name:<12} {text}");
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    line("version", health.version.clone());
    line("ready for", format!("{} s", health.ready_for_s));
    line("addresses", health.addresses.join(" "));
    line("claimed", yes(health.claimed).to_owned());
    line("database", yes(health.database_connected).to_owned());
    line("models", format!("{} loaded", health.models_loaded));
    line(
        "library",
        format!(
            "{} documents, {} searchable by words; {} passages, {} searchable by meaning",
            health.documents, health.indexed, health.passages, health.embedded
        ),
    );
    for role in &health.roles {
        let memory = role.memory.map(|memory| format!(", {}", show::bytes(memory))).unwrap_or_default();
        let failure = role.last_failure.as_ref().filter(|_| role.restarts > 0);
        let restarts =
            failure.map(|why| format!(", started again {} times: {why}", role.restarts)).unwrap_or_default();
        line(&role.role, format!("{}{memory}{restarts}", role.state));
        for lack in &role.lacking {
            line("", format!("not confined: {lack}"));
        }
    }
    for (name, usage) in [("memory", health.memory), ("disk", health.disk)] {
        if let Some(usage) = usage {
            line(name, format!("{} of {} used", show::bytes(usage.used), show::bytes(usage.total)));
        }
    }
    if let Some(temperature) = health.temperature_c {
        line("temperature", format!("{temperature:.0} °C"));
    }
    for finding in &health.findings {
        line("note", finding.clone());
    }
}
