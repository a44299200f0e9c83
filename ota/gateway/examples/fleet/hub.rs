//! One hub of the fleet: the engine's session, a held stream, records in memory (of which only the ids are kept).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use cairn_sync::{
    ChangeId, Hlc, Kind, RecordId, Value,
    backoff::Backoff,
    change::{Action, Base, Change, Edit, FieldEdit, Seen},
    http::{AUTHORIZATION, CBOR, Credential, EVENTS, Event, PROTOCOL_HEADER, SYNC, pack, protocol::HERE},
    round::take_in,
    session::{Command, Failure, Input, Session, Way, Why},
    wire::{Cursor, MAX_RECORDS, PROTOCOL, Reply, Request, RequestId, ScopeId},
};
use tokio::sync::mpsc;

use crate::{
    line::{Held, post},
    tally::{Outcome, Round, Tally},
};

/// Between two writes of one hub, on average.
const WRITES_EVERY: Duration = Duration::from_secs(24 * 60 * 60 / 20);
/// As the hub's own client: the first and the longest time until a lost stream is held again, each drawn from zero to that.
const STREAM_AGAIN: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(300));

pub(crate) struct Hub {
    credential: Credential,
    address: SocketAddr,
    tally: Arc<Tally>,
    speed: u64,
    ticket: u64,
    unanswered: Option<Request>,
    waiting: Vec<Change>,
    cursors: BTreeMap<ScopeId, Cursor>,
    clock: Hlc,
    began: Instant,
    /// Has had its first round.
    arrived: bool,
    /// Has had a round since the outage.
    back: bool,
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // A hub of a load test that draws zero is only less random.
    getrandom::fill(&mut bytes).ok();
    u64::from_le_bytes(bytes)
}

fn drawn(most: Duration) -> Duration {
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(random() % most)
}

impl Hub {
    pub(crate) fn new(credential: Credential, address: SocketAddr, tally: Arc<Tally>, speed: u64) -> Self {
        let clock = Hlc::at(1, credential.hub);
        let cursors = BTreeMap::from([(ScopeId::Community, Cursor::default())]);
        Self {
            credential,
            address,
            tally,
            speed,
            ticket: 0,
            unanswered: None,
            waiting: Vec::new(),
            cursors,
            clock,
            began: Instant::now(),
            arrived: false,
            back: false,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lives until it is aborted.
    pub(crate) async fn live(mut self) {
        // Hubs are not switched on at the same moment.
        tokio::time::sleep(drawn(Duration::from_secs(20))).await;
        let mut session = Session::new(Way::Live, Backoff::default(), self.now(), random());
        let (tell, mut events) = mpsc::channel(4);
        let stream = hold(self.address, self.headers(), Arc::clone(&self.tally), tell);
        // Ends with this hub.
        let mut held = tokio::task::JoinSet::new();
        held.spawn(stream);
        let every = WRITES_EVERY / u32::try_from(self.speed).unwrap_or(u32::MAX);
        let mut writes = tokio::time::Instant::now() + drawn(every * 2);
        loop {
            let due = session.next_tick().map(|due| Duration::from_millis(due.saturating_sub(self.now())));
            let input = tokio::select! {
                () = sleep(due) => Input::Tick,
                Some(why) = events.recv() => Input::Wanted(why),
                () = tokio::time::sleep_until(writes) => {
                    writes = tokio::time::Instant::now() + drawn(every * 2);
                    self.write();
                    Input::Wanted(Why::LocalChange)
                }
            };
            let mut commands = session.handle(input, self.now(), random());
            while let Some(command) = commands.pop() {
                if command == Command::Send {
                    let input = self.round().await;
                    commands = session.handle(input, self.now(), random());
                }
            }
        }
    }

    fn write(&mut self) {
        self.clock = self.clock.tick(2, self.credential.hub);
        let words = "The well at the school gives water again from eight in the morning until noon; bring your own cans.";
        let fields = [("title", "Water at the school"), ("level", "info"), ("body", words)];
        let edits = fields.map(|(name, text)| {
            (name.to_owned(), FieldEdit { edit: Edit::Set(Value::from(text)), base: Base::Version(0) })
        });
        self.waiting.push(Change {
            id: ChangeId::new(),
            record: RecordId::new(),
            kind: Kind::Notice,
            project: None,
            by: None,
            hlc: self.clock,
            seen: Seen { version: 0, own: BTreeSet::new() },
            settles: BTreeSet::new(),
            action: Action::Put(edits.into()),
        });
    }

    fn headers(&self) -> String {
        format!(
            "{AUTHORIZATION}: {}\r\n{PROTOCOL_HEADER}: {HERE}\r\nuser-agent: cairn/0.1.0\r\n",
            self.credential.bearer()
        )
    }

    async fn round(&mut self) -> Input {
        let began = Instant::now();
        let (outcome, bytes, moved, input) = match self.exchange().await {
            Ok((bytes, moved, more)) => (Outcome::Worked, bytes, moved, Input::Done { more }),
            Err(Trouble::Busy(retry_after_ms)) => {
                (Outcome::Busy, 0, 0, Input::Failed(Failure::Busy { retry_after_ms }))
            }
            Err(Trouble::Other) => (Outcome::Failed, 0, 0, Input::Failed(Failure::Unreachable)),
        };
        let round = Round { took: began.elapsed(), bytes, moved, outcome };
        self.back |= self.tally.round(round, !self.back);
        if outcome == Outcome::Worked && !self.arrived {
            self.arrived = true;
            self.tally.arrived();
        }
        input
    }

    /// One round trip: bytes, changes and records moved, and whether there is more.
    async fn exchange(&mut self) -> Result<(usize, usize, bool), Trouble> {
        let request = self.unanswered.take().unwrap_or_else(|| self.request());
        let sent = async {
            let packed = pack::pack(&request)?;
            let encoding =
                packed.encoding.map_or(String::new(), |encoding| format!("content-encoding: {encoding}\r\n"));
            let headers =
                format!("{}content-type: {CBOR}\r\naccept-encoding: zstd\r\n{encoding}", self.headers());
            post(self.address, SYNC, &headers, &packed.bytes).await
        };
        let answer = match sent.await {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) => {
                self.unanswered = Some(request);
                let busy = matches!(answer.status, 429 | 503);
                return Err(if busy {
                    Trouble::Busy(answer.retry_after.map(|s| s * 1000))
                } else {
                    Trouble::Other
                });
            }
            Err(_) => {
                self.unanswered = Some(request);
                return Err(Trouble::Other);
            }
        };
        let reply: Reply =
            pack::unpack(&answer.body, answer.encoding.as_deref()).map_err(|_| Trouble::Other)?;
        let more = reply.more;
        let intake = take_in(&request, reply).map_err(|_| Trouble::Other)?;
        let moved = request.changes.len() + intake.records.len();
        self.waiting.retain(|change| !intake.answered.iter().any(|(id, _)| *id == change.id));
        self.cursors.extend(intake.cursors);
        self.ticket = intake.ticket;
        Ok((answer.bytes, moved, more || !self.waiting.is_empty()))
    }

    fn request(&self) -> Request {
        let [first, second] = [random(), random()];
        let id: [u8; 16] = ((u128::from(first) << 64) | u128::from(second)).to_be_bytes();
        Request {
            protocol: PROTOCOL,
            hub: self.credential.hub,
            request: RequestId::from_random(id),
            ticket: self.ticket,
            changes: self.waiting.clone(),
            cursors: self.cursors.clone(),
            floor: self.cursors.values().map(|cursor| cursor.version).min().unwrap_or(0),
            limit: MAX_RECORDS,
        }
    }
}

enum Trouble {
    Busy(Option<u64>),
    Other,
}

async fn sleep(due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep(due).await,
        None => std::future::pending().await,
    }
}

/// Holds a stream and holds it again whenever it is lost.
async fn hold(address: SocketAddr, headers: String, tally: Arc<Tally>, tell: mpsc::Sender<Why>) {
    let mut again = STREAM_AGAIN.0;
    loop {
        let followed: Result<()> = async {
            let mut held = Held::open(address, EVENTS, &headers).await?;
            let mut first = true;
            loop {
                let (event, bytes) = held.next().await?;
                tally.heard(bytes);
                again = STREAM_AGAIN.0;
                let why = match event {
                    _ if first => Some(Why::Reconnected),
                    Event::Newer(_) => Some(Why::Newer),
                    _ => None,
                };
                first = false;
                if let Some(why) = why {
                    ensure!(tell.send(why).await.is_ok(), "the hub is gone");
                }
            }
        }
        .await;
        if followed.is_ok() || tell.is_closed() {
            return;
        }
        tokio::time::sleep(drawn(again)).await;
        again = (again * 2).min(STREAM_AGAIN.1);
    }
}
