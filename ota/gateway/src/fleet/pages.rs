//! The fleet page's HTML. No script: everything is a link or a form.

use cairn_sync::{RecordId, http::UpdateResult};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    Made,
    accounts::Session,
    view::{Fleet, Hub},
};
use crate::store::records::{MAX_TOKEN_DAYS, TOKEN_DAYS, TokenLine};

/// The style sheet, in the page: one request, nothing to cache wrongly.
const STYLE: &str = include_str!("style.css");

fn page(title: &str, session: Option<&Session>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Cairn fleet" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header {
                    a.brand href="/fleet" { "Cairn " span { "fleet" } }
                    @if let Some(session) = session {
                        form method="post" action="/fleet/sign-out" {
                            (token(session))
                            span.muted { (session.login) }
                            button.quiet { "Sign out" }
                        }
                    }
                }
                main #main { (body) }
            }
        }
    }
}

fn token(session: &Session) -> Markup {
    html! { input type="hidden" name="form_token" value=(session.form_token); }
}

/// The way in.
pub(super) fn sign_in(wrong: bool) -> Markup {
    let body = html! {
        section.narrow.card {
            h1 { "Sign in" }
            @if wrong { p.alert role="alert" { "Name or password is wrong." } }
            form.stack method="post" action="/fleet/sign-in" {
                label { "Name" input name="login" autocomplete="username" required autofocus; }
                label { "Password" input type="password" name="password" autocomplete="current-password" required; }
                button { "Sign in" }
            }
        }
    };
    page("Sign in", None, &body)
}

/// The communities that somebody looks after.
pub(super) fn communities(session: &Session, fleets: &[Fleet]) -> Markup {
    let body = html! {
        h1 { "Communities" }
        @if fleets.is_empty() { p.muted { "No community is in your care yet." } }
        ul.grid {
            @for fleet in fleets {
                li.card {
                    h2 { a href={ "/fleet/" (fleet.community) } { (fleet.name) } }
                    (figures(fleet))
                }
            }
        }
    };
    page("Communities", Some(session), &body)
}

fn figures(fleet: &Fleet) -> Markup {
    let active = fleet.hubs.iter().filter(|hub| !hub.retired);
    let (mut hubs, mut here, mut queue, mut conflicts) = (0, 0, 0, 0);
    for hub in active {
        hubs += 1;
        here += i64::from(hub.here);
        queue += hub.queue;
        conflicts += hub.conflicts;
    }
    html! {
        dl.figures {
            div { dt { "Hubs" } dd { (hubs) } }
            div { dt { "Connected" } dd { (here) } }
            div { dt { "Records" } dd { (grouped(fleet.records)) } }
            div { dt { "Waiting" } dd { (queue) } }
            div.warn[conflicts > 0] { dt { "Conflicts" } dd { (conflicts) } }
        }
    }
}

/// A community's hubs, and tokens for programs. `made` is a token that was just made: shown now and never again.
pub(super) fn community(
    session: &Session,
    fleet: &Fleet,
    people: &[(RecordId, String)],
    tokens: &[TokenLine],
    made: Option<&Made>,
) -> Markup {
    let body = html! {
        nav aria-label="Breadcrumb" { a href="/fleet" { "Communities" } }
        h1 { (fleet.name) }
        (figures(fleet))
        @if let Some(made) = made { (new_token(made)) }
        section {
            h2 { "Hubs" }
            @if fleet.hubs.is_empty() {
                p.muted { "No hub has been enrolled. Make a token and give it to a keeper." }
            } @else {
                div.scroll {
                    table {
                        thead { tr {
                            th scope="col" { "Hub" } th scope="col" { "Last contact" } th scope="col" { "Version" }
                            th.number scope="col" { "Waiting" } th.number scope="col" { "Conflicts" }
                        } }
                        tbody { @for hub in &fleet.hubs { (row(fleet, hub)) } }
                    }
                }
            }
        }
        @if !fleet.updates.is_empty() { (updates(fleet)) }
        section.card {
            h2 { "Enrol a hub" }
            @match fleet.open_tokens {
                0 => {}
                1 => p.muted { "One token was made and not used yet." },
                open => p.muted { (open) " tokens were made and not used yet." },
            }
            form.line method="post" action={ "/fleet/" (fleet.community) "/token" } {
                (token(session))
                label { "Which hub it is for" input name="label" maxlength="100" required; }
                button { "Make a token" }
            }
        }
        (programs(session, fleet, people, tokens))
        p.muted { "Community " code { (fleet.community) } " · version " (fleet.version) }
    };
    page(&fleet.name, Some(session), &body)
}

/// What hubs said of system versions.
fn updates(fleet: &Fleet) -> Markup {
    html! {
        section {
            h2 { "System versions" }
            p.muted { "What hubs said of updates that they tried. A version that fails too often is withdrawn by whoever holds a key for releases, not by this page." }
            div.scroll { table {
                thead { tr {
                    th scope="col" { "Version" } th scope="col" { "Board" }
                    th.number scope="col" { "Proved itself" } th.number scope="col" { "Failed" }
                } }
                tbody { @for line in fleet.updates.iter().rev() { tr {
                    th scope="row" { (line.version) }
                    td data-label="Board" { (line.board) }
                    td.number data-label="Proved itself" { (line.healthy) }
                    td.number.warn[line.failed > 0] data-label="Failed" { (line.failed) }
                } } }
            } }
        }
    }
}

fn new_token(made: &Made) -> Markup {
    let (title, use_it, text) = match made {
        Made::Enrol(token) => (
            "New enrolment token",
            "Write it into the hub's provisioning file or type it on the hub's page. It works once and is not shown again.",
            token.reveal(),
        ),
        Made::Api(token) => (
            "New access token",
            "Give it to the person, by a way that nobody else reads. It is not shown again.",
            token.reveal(),
        ),
    };
    html! {
        section.card.good role="status" {
            h2 { (title) }
            p { (use_it) }
            code.secret { (text) }
        }
    }
}

/// Tokens with which programs use the record API.
fn programs(session: &Session, fleet: &Fleet, people: &[(RecordId, String)], tokens: &[TokenLine]) -> Markup {
    let action = format!("/fleet/{}/api-token", fleet.community);
    html! {
        section.card {
            h2 { "Access for programs" }
            p.muted { "A token reads and changes records in one person's name, with the rights that the person has when it is used." }
            @if !tokens.is_empty() {
                ul.rows { @for line in tokens { li {
                    div {
                        strong { (line.person) } " "
                        @if line.label.is_empty() { span.muted { "no label" } } @else { (line.label) } " "
                        @if !line.may_write { span.tag { "reads only" } }
                        div.muted { @if line.days_left == 1 { "1 day left" } @else { (line.days_left) " days left" } }
                    }
                    form method="post" action={ (action) "/revoke" } {
                        (token(session))
                        input type="hidden" name="token" value=(line.hash);
                        button.danger aria-label={ "Revoke the token " (line.label) " of " (line.person) } { "Revoke" }
                    }
                } } }
            }
            @if people.is_empty() {
                p.muted { "Nobody has an account yet: people appear here once a hub has shared them." }
            } @else {
                form.line method="post" action=(action) {
                    (token(session))
                    label { "Person" select name="person" required {
                        @for (id, name) in people { option value=(id) { (name) } }
                    } }
                    label { "What it is for" input name="label" maxlength="100" required; }
                    label { "Valid, in days" input type="number" name="days" min="1" max=(MAX_TOKEN_DAYS) value=(TOKEN_DAYS) required; }
                    label.check { input type="checkbox" name="write" value="yes"; " May change records" }
                    button { "Make a token" }
                }
            }
        }
    }
}

fn row(fleet: &Fleet, hub: &Hub) -> Markup {
    html! {
        tr.retired[hub.retired] {
            th scope="row" {
                a href={ "/fleet/" (fleet.community) "/" (hub.hub) } { (hub.name) }
                " " (state(hub))
            }
            td data-label="Last contact" { (ago(hub.silent_s)) }
            td data-label="Version" { span { (hub.software) @if !hub.board.is_empty() { " " span.muted { (hub.board) } } } }
            td.number data-label="Waiting" { (hub.queue) }
            td.number.warn[hub.conflicts > 0] data-label="Conflicts" { (hub.conflicts) }
        }
    }
}

fn state(hub: &Hub) -> Markup {
    html! {
        @if hub.retired { span.tag { "retired" } }
        @else if hub.here { span.tag.good { "connected" } }
        @if hub.copies > 0 { span.tag.warn title="A second card used this identity and was sent to take its own." { "was copied" } }
        @if hub.is_copy { span.tag { "from a copied card" } }
        @if hub.refused > 0 { span.tag.warn { (hub.refused) " refused" } }
        @if let Some(update) = hub.updates.last().filter(|update| update.result != UpdateResult::Healthy) {
            span.tag.warn { (result(update.result)) " " (update.version) }
        }
    }
}

/// What became of an update, in front of its version.
const fn result(result: UpdateResult) -> &'static str {
    match result {
        UpdateResult::Healthy => "runs",
        UpdateResult::RolledBack => "went back from",
        UpdateResult::Failed => "did not install",
    }
}

/// One hub.
pub(super) fn hub(session: &Session, fleet: &Fleet, hub: &Hub) -> Markup {
    let action = format!("/fleet/{}/{}", fleet.community, hub.hub);
    let body = html! {
        nav aria-label="Breadcrumb" {
            a href="/fleet" { "Communities" } " / " a href={ "/fleet/" (fleet.community) } { (fleet.name) }
        }
        h1 { (hub.name) " " (state(hub)) }
        dl.figures {
            div { dt { "Last contact" } dd { (ago(hub.silent_s)) } }
            div { dt { "Version" } dd { (hub.software) @if !hub.board.is_empty() { " " span.muted { (hub.board) } } } }
            @if hub.free_bytes > 0 { div { dt { "Free space" } dd { (grouped(hub.free_bytes / 1_000_000)) " MB" } } }
            div { dt { "Waiting" } dd { (hub.queue) } }
            div.warn[hub.conflicts > 0] { dt { "Conflicts" } dd { (hub.conflicts) } }
            div.warn[hub.refused > 0] { dt { "Refused" } dd { (hub.refused) } }
        }
        section {
            h2 { "Sync log" }
            @if hub.log.is_empty() { p.muted { "The hub has not reported a round yet." } }
            @else {
                div.scroll { table {
                    thead { tr {
                        th scope="col" { "Ended (hub's clock)" } th.number scope="col" { "Sent" }
                        th.number scope="col" { "Received" } th.number scope="col" { "Took" } th scope="col" { "Outcome" }
                    } }
                    tbody { @for line in hub.log.iter().rev() { tr {
                        td data-label="Ended" { (moment(line.at)) }
                        td.number data-label="Sent" { (line.up) }
                        td.number data-label="Received" { (line.down) }
                        td.number data-label="Took" { (line.took_ms) " ms" }
                        td.warn[!line.worked] data-label="Outcome" {
                            span {
                                @if line.worked { "worked" } @else { "failed" }
                                @if !line.note.is_empty() { ": " (line.note) }
                            }
                        }
                    } } }
                } }
            }
        }
        section {
            h2 { "Updates" }
            @if hub.updates.is_empty() { p.muted { "No update has been reported." } }
            @else { ul { @for update in hub.updates.iter().rev() { li {
                (update.version) " "
                @match update.result {
                    UpdateResult::Healthy => span.tag.good { "healthy" },
                    UpdateResult::RolledBack => span.tag.warn { "went back" },
                    UpdateResult::Failed => span.tag.warn { "did not install" },
                }
                " " span.muted { (moment(update.at)) @if !update.note.is_empty() { " · " (update.note) } }
            } } } }
        }
        @if !hub.retired {
            section.card {
                h2 { "Key" }
                p.muted {
                    @if hub.keys == 1 { "One key is stored" } @else { (hub.keys) " keys are stored" } ", hashed. "
                    @if hub.changes_key { "The hub takes a new key with its next report; the old one works until then." }
                    @if hub.every_project { " The hub may have every project." } @else { " The hub may have only the projects that were chosen for it." }
                }
                form.line method="post" action={ (action) "/rotate" } { (token(session)) button { "Ask for a new key" } }
                form.line method="post" action={ (action) "/retire" } {
                    (token(session))
                    label.check { input type="checkbox" name="sure" value="yes" required; " Stop serving this hub; it keeps its records and its queue" }
                    button.danger { "Revoke and retire" }
                }
            }
        }
        p.muted { "Hub " code { (hub.hub) } }
    };
    page(&hub.name, Some(session), &body)
}

/// Something that cannot be shown.
pub(super) fn problem(session: Option<&Session>, sentence: &str) -> Markup {
    page(
        "Sorry",
        session,
        &html! { section.narrow.card { h1 { "Sorry" } p { (sentence) } p { a href="/fleet" { "Back to the fleet" } } } },
    )
}

/// A number with its thousands apart.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn ago(seconds: Option<i64>) -> String {
    match seconds {
        None => "never".to_owned(),
        Some(seconds) if seconds < 90 => "just now".to_owned(),
        Some(seconds) if seconds < 90 * 60 => format!("{} min ago", (seconds + 30) / 60),
        Some(seconds) if seconds < 36 * 3_600 => format!("{} h ago", (seconds + 1_800) / 3_600),
        Some(seconds) => format!("{} days ago", (seconds + 43_200) / 86_400),
    }
}

/// A moment as `YYYY-MM-DD HH:MM` in UTC (days to dates after Howard Hinnant, "chrono-compatible low-level date
/// algorithms").
fn moment(unix_ms: i64) -> String {
    let minutes = unix_ms.div_euclid(60_000);
    let (days, minute) = (minutes.div_euclid(1_440), minutes.rem_euclid(1_440));
    let shifted = days.saturating_add(719_468);
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_spans_read_as_people_write_them() {
        assert_eq!(moment(0), "1970-01-01 00:00");
        assert_eq!(moment(951_827_696_000), "2000-02-29 12:34");
        assert_eq!(moment(4_294_967_295_000), "2106-02-07 06:28");
        assert_eq!(moment(-60_000), "1969-12-31 23:59");
        assert_eq!(ago(Some(3_600)), "60 min ago");
        assert_eq!(ago(None), "never");
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
