//! A role's end of the control channel: answers pings, takes orders, and says how the role is doing.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use cairn_process::{Channel, ChannelError, ConfinementReport, Sender, spawn};
use tokio::sync::mpsc;

use crate::{
    message::{DeviceOrder, FromRole, Role, ToRole},
    status::TreeStatus,
    system::{UpdateNews, UpdateOrder},
};

/// Orders that may wait for the role to look at them.
const MAX_ORDERS: usize = 16;

/// No more of a role's last words is kept, characters.
pub(crate) const LAST_WORDS: usize = 400;

/// Says why a role ends that did not come as far as [`RoleLink::connect`].
///
/// # Errors
/// When the role was not started by the supervisor, has a link already, or the supervisor does not listen.
pub fn last_words(why: &str) -> io::Result<()> {
    let stream = spawn::inherited(spawn::CONTROL)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = Channel::<FromRole, ToRole>::new(stream)?;
        channel.send(&FromRole::LastWords(shortened(why))).await.map_err(io::Error::other)
    })
}

/// One line of bounded length.
pub(crate) fn shortened(words: &str) -> String {
    words.chars().take(LAST_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What the supervisor wants of a role.
#[derive(Debug)]
pub enum Order {
    /// Use this channel between hub and infer from now on.
    Inference(UnixStream),
    /// The tree, as it is now.
    Status(Box<TreeStatus>),
    /// Of updates, with the handle that came with it.
    Update(UpdateNews, Option<OwnedFd>),
    /// Finish what is being written and end. Also when the supervisor is gone.
    Shutdown,
}

/// A role's line to its supervisor. Clones share it.
#[derive(Debug, Clone)]
pub struct RoleLink {
    sender: Sender<FromRole>,
}

impl RoleLink {
    /// Takes over the control channel that the supervisor left open and says hello. Pings are answered by a task of
    /// their own from now on: they say that this process's event loop turns. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When there is no control channel: the role was not started by the supervisor.
    pub async fn connect(confinement: ConfinementReport) -> io::Result<(Self, mpsc::Receiver<Order>)> {
        Self::over(spawn::inherited(spawn::CONTROL)?, confinement).await
    }

    async fn over(
        stream: UnixStream,
        confinement: ConfinementReport,
    ) -> io::Result<(Self, mpsc::Receiver<Order>)> {
        let (sender, receiver) = Channel::<FromRole, ToRole>::new(stream)?.split();
        let link = Self { sender };
        link.sender.send(&FromRole::Hello(confinement)).await.map_err(io::Error::other)?;
        let (orders, incoming) = mpsc::channel(MAX_ORDERS);
        let answers = link.sender.clone();
        tokio::spawn(async move {
            loop {
                let order = match receiver.recv_with_fd().await {
                    Ok(Some((ToRole::Ping(number), _))) => {
                        if answers.send(&FromRole::Pong(number)).await.is_err() {
                            break;
                        }
                        continue;
                    }
                    Ok(Some((ToRole::Inference, Some(descriptor)))) => Order::Inference(descriptor.into()),
                    Ok(Some((ToRole::Inference, None))) => continue,
                    // The newest will do; a role that is busy gets the next one.
                    Ok(Some((ToRole::Status(status), _))) => {
                        drop(orders.try_send(Order::Status(status)));
                        continue;
                    }
                    Ok(Some((ToRole::Update(news), descriptor))) => Order::Update(news, descriptor),
                    Ok(Some((ToRole::Shutdown, _))) => Order::Shutdown,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "the control channel failed");
                        break;
                    }
                };
                if orders.send(order).await.is_err() {
                    return;
                }
            }
            // The supervisor is gone, and with it the reason to run.
            drop(orders.send(Order::Shutdown).await);
        });
        Ok((link, incoming))
    }

    /// Says that starting takes longer, and why. To be repeated at least every half minute.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub async fn busy(&self, why: &str) -> Result<(), ChannelError> {
        self.sender.send(&FromRole::Busy(why.to_owned())).await
    }

    /// Says why the role ends. What it says stands beside how it ended, on the page and as the reason why a system did not prove itself.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub async fn last_words(&self, why: &str) -> Result<(), ChannelError> {
        self.sender.send(&FromRole::LastWords(shortened(why))).await
    }

    /// Says that the role can do its work.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub async fn ready(&self) -> Result<(), ChannelError> {
        self.sender.send(&FromRole::Ready).await
    }

    /// Asks for a role to be started anew.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub async fn restart(&self, role: Role) -> Result<(), ChannelError> {
        self.sender.send(&FromRole::Restart(role)).await
    }

    /// Asks something of the device's system. The answer comes as an order.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub async fn update(&self, order: UpdateOrder) -> Result<(), ChannelError> {
        self.sender.send(&FromRole::Update(order)).await
    }

    /// Asks something of the device. Whether it was done shows in the log and in what follows.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub async fn device(&self, order: DeviceOrder) -> Result<(), ChannelError> {
        self.sender.send(&FromRole::Device(order)).await
    }
}
