//! Which slot boots, as plain functions from one state to the next. Nothing here touches a card.

use crate::SlotId;

/// A slot that is to prove itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// The slot; never the default one.
    pub slot: SlotId,
    /// Whether the one try was used.
    pub tried: bool,
}

/// What a boot-control block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootState {
    /// Counts the writes; the higher one of two copies counts.
    pub generation: u32,
    /// The slot that boots.
    pub default: SlotId,
    /// The slot that is on trial, if one is.
    pub trial: Option<Trial>,
}

/// Why a step is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Trying the default slot means nothing.
    #[error("slot {0} is the default one, and cannot be tried")]
    IsDefault(SlotId),
    /// Only the slot on trial can be confirmed, and only while it runs.
    #[error("slot {0} is not the one on trial, and cannot be confirmed")]
    NotOnTrial(SlotId),
    /// A running slot is never written to, and neither is the one to fall back to.
    #[error("slot {0} runs or is the one to fall back to, and cannot be written to")]
    InUse(SlotId),
    /// Four thousand million writes were made.
    #[error("the boot state has no generation left")]
    Exhausted,
}

/// What the boot loader does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    /// The slot that it boots.
    pub slot: SlotId,
    /// Whether that is a trial.
    pub trial: bool,
    /// What it writes into the copy not in force before it boots. Nothing on a normal boot.
    pub write: Option<BootState>,
}

impl BootState {
    /// What counts when neither copy can be read: slot A boots, and the first write has generation 1.
    pub const UNREADABLE: Self = Self { generation: 0, default: SlotId::A, trial: None };

    /// What the boot loader does with this state. The boot script of the image says the same in U-Boot's words.
    ///
    /// A block without a generation left is not tried: a try that cannot be counted could be repeated for ever.
    #[must_use]
    pub fn boot(&self) -> Boot {
        match self.trial {
            Some(Trial { slot, tried: false }) if self.generation < u32::MAX => Boot {
                slot,
                trial: true,
                write: Some(Self {
                    generation: self.generation + 1,
                    default: self.default,
                    trial: Some(Trial { slot, tried: true }),
                }),
            },
            _ => Boot { slot: self.default, trial: false, write: None },
        }
    }

    fn next(&self, default: SlotId, trial: Option<Trial>) -> Result<Self, Refused> {
        let generation = self.generation.checked_add(1).ok_or(Refused::Exhausted)?;
        Ok(Self { generation, default, trial })
    }

    /// The slot that may be written to while `running` runs, and the state that must be on the card before its first
    /// byte changes (`None` when it is already): a slot that is being written to must not be on trial.
    ///
    /// # Errors
    /// [`Refused::InUse`] while a slot on trial runs: the other one is what saves the hub if this one fails.
    pub fn open_for_writing(&self, running: SlotId) -> Result<(SlotId, Option<Self>), Refused> {
        if running != self.default {
            return Err(Refused::InUse(self.default));
        }
        let cleared = self.trial.map(|_| self.next(self.default, None)).transpose()?;
        Ok((running.other(), cleared))
    }

    /// The next boot tries `slot`, once.
    ///
    /// # Errors
    /// [`Refused::IsDefault`].
    pub fn try_once(&self, slot: SlotId) -> Result<Self, Refused> {
        if slot == self.default {
            return Err(Refused::IsDefault(slot));
        }
        self.next(self.default, Some(Trial { slot, tried: false }))
    }

    /// The slot on trial, which runs, has proved itself.
    ///
    /// # Errors
    /// [`Refused::NotOnTrial`].
    pub fn confirm(&self, running: SlotId) -> Result<Self, Refused> {
        match self.trial {
            Some(Trial { slot, tried: true }) if slot == running => self.next(slot, None),
            _ => Err(Refused::NotOnTrial(running)),
        }
    }

    /// The trial is over without success; `None` when there is none.
    ///
    /// # Errors
    /// [`Refused::Exhausted`].
    pub fn give_up(&self) -> Result<Option<Self>, Refused> {
        self.trial.map(|_| self.next(self.default, None)).transpose()
    }

    /// What a system that has just started learns of an earlier trial.
    #[must_use]
    pub fn outcome(&self, running: SlotId) -> Outcome {
        match self.trial {
            None => Outcome::Settled,
            Some(trial) if trial.slot == running => Outcome::OnTrial,
            Some(Trial { tried: false, .. }) => Outcome::Waiting,
            Some(Trial { slot, tried: true }) => Outcome::CameBack { from: slot },
        }
    }
}

/// What a system that has just started learns of an earlier trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is none.
    Settled,
    /// This system is the one on trial.
    OnTrial,
    /// A slot waits for the next start.
    Waiting,
    /// The slot on trial was started, did not confirm itself, and this system came back.
    CameBack {
        /// The slot that failed.
        from: SlotId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SlotId = SlotId::A;
    const B: SlotId = SlotId::B;

    fn state(generation: u32, default: SlotId, trial: Option<(SlotId, bool)>) -> BootState {
        BootState { generation, default, trial: trial.map(|(slot, tried)| Trial { slot, tried }) }
    }

    #[test]
    fn a_normal_boot_writes_nothing() {
        for (given, slot) in [
            (BootState::UNREADABLE, A),
            (state(9, B, None), B),
            (state(9, A, Some((B, true))), A),
            (state(9, B, Some((A, true))), B),
            (state(u32::MAX, A, Some((B, false))), A),
        ] {
            assert_eq!(given.boot(), Boot { slot, trial: false, write: None }, "{given:?}");
        }
    }

    #[test]
    fn a_new_slot_is_tried_once_and_then_confirmed_or_left() {
        let before = state(4, A, None);
        let trying = before.try_once(B).unwrap();
        assert_eq!((trying, trying.outcome(A)), (state(5, A, Some((B, false))), Outcome::Waiting));
        let boot = trying.boot();
        assert_eq!((boot.slot, boot.trial, boot.write), (B, true, Some(state(6, A, Some((B, true))))));
        let tried = boot.write.unwrap();
        assert_eq!(tried.outcome(B), Outcome::OnTrial);
        // Confirmed.
        assert_eq!(tried.confirm(B), Ok(state(7, B, None)));
        // Or not: whatever ends it, the next boot is the old slot, again and again.
        assert_eq!(tried.boot(), Boot { slot: A, trial: false, write: None });
        assert_eq!(tried.outcome(A), Outcome::CameBack { from: B });
        assert_eq!(tried.give_up(), Ok(Some(state(7, A, None))));
        assert_eq!(before.give_up(), Ok(None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(state(1, A, None).try_once(A), Err(Refused::IsDefault(A)));
        assert_eq!(state(1, A, None).confirm(A), Err(Refused::NotOnTrial(A)));
        assert_eq!(state(1, A, Some((B, true))).confirm(A), Err(Refused::NotOnTrial(A)));
        assert_eq!(state(1, A, Some((B, false))).confirm(B), Err(Refused::NotOnTrial(B)), "it never booted");
        assert_eq!(state(u32::MAX, A, None).try_once(B), Err(Refused::Exhausted));
    }

    #[test]
    fn a_slot_is_taken_from_trial_before_it_is_written_to() {
        assert_eq!(state(3, A, None).open_for_writing(A), Ok((B, None)));
        assert_eq!(state(3, A, Some((B, false))).open_for_writing(A), Ok((B, Some(state(4, A, None)))));
        assert_eq!(state(3, A, Some((B, true))).open_for_writing(B), Err(Refused::InUse(A)));
    }
}
