//! Updates that say what they are told to say, and write down what is asked of them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use cairn_web::{
    UpdateAsk, UpdateFailure, UpdateOffer, UpdatePack, UpdatePackKind, UpdatePackName, UpdatePhase,
    UpdateSharing, UpdateStatus, UpdateWishes, Updates, UpdatesError, router,
};

use super::World;

pub(crate) struct FakeUpdates {
    pub(crate) status: Mutex<UpdateStatus>,
    pub(crate) asked: Mutex<Vec<UpdateAsk>>,
    incoming: PathBuf,
}

impl Updates for FakeUpdates {
    fn status(&self) -> UpdateStatus {
        self.status.lock().unwrap().clone()
    }

    fn ask(&self, ask: UpdateAsk) -> Result<(), UpdatesError> {
        self.asked.lock().unwrap().push(ask);
        Ok(())
    }

    fn incoming(&self) -> PathBuf {
        self.incoming.clone()
    }

    fn mirror(&self) -> Option<PathBuf> {
        None
    }
}

fn pack(kind: UpdatePackKind, name: &str, title: &str, mib: u64) -> UpdatePack {
    UpdatePack {
        pack: UpdatePackName { kind, name: name.to_owned() },
        revision: 2,
        title: title.to_owned(),
        memory_mib: if kind == UpdatePackKind::Model { mib + 200 } else { 0 },
        bytes: mib << 20,
        chosen: false,
        installed: 0,
        coming: None,
        trouble: None,
    }
}

/// A hub to which a newer version is offered, on which one failed, with a pack in every state.
pub(crate) fn plenty() -> UpdateStatus {
    use UpdatePackKind::{Content, Model};
    let coming = UpdatePack {
        chosen: true,
        coming: Some(97 << 20),
        ..pack(Model, "answers-small", "Answers, small model", 386)
    };
    let refused = UpdatePack {
        chosen: true,
        installed: 1,
        trouble: Some("it cannot be read: the file ends early".to_owned()),
        ..pack(Content, "floods", "Floods: before, during, after", 40)
    };
    UpdateStatus {
        phase: UpdatePhase::Offered,
        running: "0.2.0".to_owned(),
        slot: Some("a".to_owned()),
        offer: Some(UpdateOffer {
            version: "0.4.0".to_owned(),
            notes: "Searches are faster.".to_owned(),
            turn: false,
            by_hand: false,
            failed_before: false,
        }),
        next: None,
        progress: None,
        confirmed: Some("0.2.0".to_owned()),
        came_back: true,
        failed: vec![UpdateFailure {
            version: "0.3.0".to_owned(),
            part: Some("page".to_owned()),
            reason: "it does not answer within 30 seconds".to_owned(),
        }],
        trouble: None,
        looked_s: Some(4_000),
        unproven: false,
        packs: vec![
            coming,
            UpdatePack { chosen: true, ..pack(Model, "answers-large", "Answers, larger model", 1_020) },
            UpdatePack {
                chosen: true,
                installed: 2,
                ..pack(Content, "first-aid", "First aid, 3rd edition", 12)
            },
            refused,
            pack(Content, "gardening", "", 210),
        ],
        network: true,
        stick: true,
        wishes: UpdateWishes { paused: false, metered: true, window_from: 2, window_until: 5, share: false },
        sharing: UpdateSharing::Off,
    }
}

impl World {
    /// With updates that stand like this.
    pub(crate) fn updates(&mut self, status: UpdateStatus) -> Arc<FakeUpdates> {
        let incoming = self.folder.path().join("incoming");
        let updates = Arc::new(FakeUpdates { status: Mutex::new(status), asked: Mutex::default(), incoming });
        self.hub = self.hub.clone().with_updates(Arc::clone(&updates) as _);
        self.router = router(self.hub.clone());
        updates
    }
}
