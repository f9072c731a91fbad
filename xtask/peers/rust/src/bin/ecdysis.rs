//! `ecdysis ADDRESS`: a server that replaces itself on SIGUSR2, by ecdysis.

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;

use ecdysis::tokio_ecdysis::{SignalKind, StopOnShutdown, TokioEcdysisBuilder};
use futures::StreamExt;
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address: SocketAddr = env::args().nth(1).unwrap_or_default().parse()?;
    let builder = TokioEcdysisBuilder::new(SignalKind::user_defined2())?;
    let mut connections =
        builder.build_listen_tcp(StopOnShutdown::Yes, address, |socket, address| {
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(1024)?;
            Ok(socket.into())
        })?;
    let serving = tokio::spawn(async move {
        let answer: Arc<[u8]> = peers::answer("ecdysis").into();
        let mut open = JoinSet::new();
        while let Some(connection) = connections.next().await {
            if let Ok(connection) = connection {
                let answer = Arc::clone(&answer);
                open.spawn(async move { peers::serve_async(connection, &answer).await });
            }
            while open.try_join_next().is_some() {}
        }
        open.join_all().await;
    });
    let (_ecdysis, exit) = builder.ready()?;
    let _ = exit.await;
    serving.await?;
    Ok(())
}
