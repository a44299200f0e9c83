//! `cairn search`

use super::{print_json, show};
use crate::{
    cli::SearchArguments,
    console::{self, Request, Step},
    data::Folder,
    outcome::Failure,
};

pub(super) async fn run(folder: &Folder, arguments: SearchArguments) -> Result<(), Failure> {
    let hub = console::connect(folder)?;
    hub.ask(Request::Search { text: arguments.words.join(" "), limit: arguments.limit }, None).await?;
    let mut found = 0;
    loop {
        match hub.next().await? {
            Step::Hits(hits) if arguments.json => print_json(&hits)?,
            Step::Hits(hits) => {
                found = hits.len();
                for (index, hit) in hits.iter().enumerate() {
                    show::hit(index + 1, hit);
                }
            }
            Step::Done(took) => {
                if !arguments.json {
                    eprintln!("{found} passages in {took}");
                }
                return Ok(());
            }
            _ => {}
        }
    }
}
