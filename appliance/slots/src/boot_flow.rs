//! How a board chooses its slot: the few steps that an update needs, and what a board honestly can and cannot do.

use crate::{
    SlotId,
    boot_control::{BootControl, BootControlError, Outcome},
    device::BlockDevice,
    tryboot::{Tryboot, TrybootError},
};

/// What a board's way of choosing a slot can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// A torn write of the state leaves the one before in force.
    pub survives_torn_write: bool,
    /// A try that failed is told from one that never began, after any power cut.
    pub knows_failed_try: bool,
    /// The argument of the restart that makes the next start a try; `None` when any restart is one.
    pub restart_argument: Option<&'static str>,
}

/// Why a slot could not be chosen.
#[derive(Debug, thiserror::Error)]
pub enum BootFlowError {
    /// Our own block.
    #[error(transparent)]
    Control(#[from] BootControlError),
    /// The firmware's file.
    #[error(transparent)]
    Tryboot(#[from] TrybootError),
}

/// Choosing a slot. Each step is durable when it returns.
pub trait BootFlow {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// What a system that runs from `running` learns of an earlier trial.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn outcome(&self, running: SlotId) -> Result<Outcome, BootFlowError>;

    /// The slot that may be written to; it is not on trial any more when this returns.
    ///
    /// # Errors
    /// While a slot on trial runs, and when the state cannot be written.
    fn open_for_writing(&self, running: SlotId) -> Result<SlotId, BootFlowError>;

    /// The next start tries `slot`, once.
    ///
    /// # Errors
    /// For the default slot, and when the state cannot be written.
    fn try_once(&self, slot: SlotId) -> Result<(), BootFlowError>;

    /// `running`, which is on trial, becomes the default.
    ///
    /// # Errors
    /// When it is not on trial, and when the state cannot be written.
    fn confirm(&self, running: SlotId) -> Result<(), BootFlowError>;

    /// A trial is over without success.
    ///
    /// # Errors
    /// When the state cannot be written.
    fn give_up(&self) -> Result<(), BootFlowError>;
}

impl<D: BlockDevice> BootFlow for BootControl<D> {
    fn capabilities(&self) -> Capabilities {
        Capabilities { survives_torn_write: true, knows_failed_try: true, restart_argument: None }
    }

    fn outcome(&self, running: SlotId) -> Result<Outcome, BootFlowError> {
        Ok(self.state()?.outcome(running))
    }

    fn open_for_writing(&self, running: SlotId) -> Result<SlotId, BootFlowError> {
        let (slot, cleared) = self.state()?.open_for_writing(running).map_err(BootControlError::from)?;
        if let Some(next) = cleared {
            self.put(&next)?;
        }
        Ok(slot)
    }

    fn try_once(&self, slot: SlotId) -> Result<(), BootFlowError> {
        let next = self.state()?.try_once(slot).map_err(BootControlError::from)?;
        Ok(self.put(&next)?)
    }

    fn confirm(&self, running: SlotId) -> Result<(), BootFlowError> {
        let next = self.state()?.confirm(running).map_err(BootControlError::from)?;
        Ok(self.put(&next)?)
    }

    fn give_up(&self) -> Result<(), BootFlowError> {
        match self.state()?.give_up().map_err(BootControlError::from)? {
            Some(next) => Ok(self.put(&next)?),
            None => Ok(()),
        }
    }
}

impl<D: BlockDevice> BootFlow for Tryboot<D> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            survives_torn_write: false,
            knows_failed_try: false,
            restart_argument: Some("0 tryboot"),
        }
    }

    fn outcome(&self, running: SlotId) -> Result<Outcome, BootFlowError> {
        Ok(if self.autoboot()?.default == running { Outcome::Settled } else { Outcome::OnTrial })
    }

    fn open_for_writing(&self, running: SlotId) -> Result<SlotId, BootFlowError> {
        let default = self.autoboot()?.default;
        // The flag of the firmware is set by the restart itself, so that nothing is on trial while a system runs.
        if default == running { Ok(running.other()) } else { Err(TrybootError::InUse(default).into()) }
    }

    fn try_once(&self, slot: SlotId) -> Result<(), BootFlowError> {
        if self.autoboot()?.default == slot { Err(TrybootError::IsDefault(slot).into()) } else { Ok(()) }
    }

    fn confirm(&self, running: SlotId) -> Result<(), BootFlowError> {
        Ok(self.set_default(running)?)
    }

    fn give_up(&self) -> Result<(), BootFlowError> {
        Ok(())
    }
}

impl<B: BootFlow + ?Sized> BootFlow for Box<B> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn outcome(&self, running: SlotId) -> Result<Outcome, BootFlowError> {
        (**self).outcome(running)
    }

    fn open_for_writing(&self, running: SlotId) -> Result<SlotId, BootFlowError> {
        (**self).open_for_writing(running)
    }

    fn try_once(&self, slot: SlotId) -> Result<(), BootFlowError> {
        (**self).try_once(slot)
    }

    fn confirm(&self, running: SlotId) -> Result<(), BootFlowError> {
        (**self).confirm(running)
    }

    fn give_up(&self) -> Result<(), BootFlowError> {
        (**self).give_up()
    }
}
