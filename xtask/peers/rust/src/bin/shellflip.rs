//! `shellflip ADDRESS`: a server that replaces itself on SIGUSR2, by shellflip. That passes no
//! sockets on: the listener is inherited, and its number is what is sent.

use std::env;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::pin::pin;
use std::sync::Arc;

use rustix::io::{FdFlags, fcntl_setfd};
use shellflip::lifecycle::{LifecycleHandler, PipeWriter, receive_from_old_process};
use shellflip::{RestartConfig, ShutdownCoordinator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::SignalKind;

struct Passed(RawFd);

#[async_trait::async_trait]
impl LifecycleHandler for Passed {
    async fn send_to_new_process(&mut self, mut pipe: PipeWriter) -> std::io::Result<()> {
        pipe.write_i32(self.0).await
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = match receive_from_old_process() {
        Some(mut pipe) => {
            let fd = pipe.read_i32().await?;
            // SAFETY: the old process says that it is there, and nobody else here knows of it.
            unsafe { TcpListener::from_raw_fd(fd) }
        }
        None => {
            let address: SocketAddr = env::args().nth(1).unwrap_or_default().parse()?;
            TcpListener::bind(address)?
        }
    };
    listener.set_nonblocking(true)?;
    fcntl_setfd(&listener, FdFlags::empty())?;
    let restart = RestartConfig {
        enabled: false,
        restart_signal: SignalKind::user_defined2(),
        lifecycle_handler: Box::new(Passed(listener.as_raw_fd())),
        ..Default::default()
    };
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut restarted = pin!(restart.try_into_restart_task()?);
    let shutdown = ShutdownCoordinator::new();
    let answer: Arc<[u8]> = peers::answer("shellflip").into();
    loop {
        tokio::select! {
            connection = listener.accept() => {
                if let Ok((connection, _)) = connection {
                    let (answer, open) = (Arc::clone(&answer), shutdown.handle());
                    tokio::spawn(async move {
                        let _ = peers::serve_async(connection, &answer).await;
                        drop(open);
                    });
                }
            }
            outcome = &mut restarted => {
                outcome?;
                break;
            }
        }
    }
    drop(listener);
    shutdown.shutdown().await;
    Ok(())
}
