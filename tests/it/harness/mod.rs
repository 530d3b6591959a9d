//! What the suites stand on: an application that records, clients that send exact bytes, and the edge between them, all in
//! this process on free ports, with a clock that moves only when told; and the built binary, for what only a process shows.

#[cfg(feature = "external-tests")]
pub(crate) mod applications;
#[cfg(feature = "external-tests")]
pub(crate) mod bouncer;
pub(crate) mod captured;
pub(crate) mod certs;
pub(crate) mod client;
pub(crate) mod clocked;
pub(crate) mod database_users;
pub(crate) mod frames;
pub(crate) mod gateway;
pub(crate) mod idp;
#[cfg(feature = "external-tests")]
pub(crate) mod node;
#[cfg(feature = "external-tests")]
pub(crate) mod postgres;
pub(crate) mod process;
#[cfg(feature = "external-tests")]
pub(crate) mod relay;
pub(crate) mod sources;
pub(crate) mod tokens;
pub(crate) mod upstream;

use std::future::Future;
use std::time::Duration;

pub(crate) use client::{H2, Response, Wire};
pub(crate) use frames::Frames;
pub(crate) use gateway::{Edge, Pair, edge};
pub(crate) use upstream::Behaviour;

/// Tells stories on SQLite, and with external tests on PostgreSQL too: `kept` makes an edge that keeps its state there.
macro_rules! on_both_engines {
    ($(async fn $name:ident($kept:ident) $story:block)*) => {
        mod on_sqlite {
            use super::*;
            $(
                #[tokio::test]
                async fn $name() {
                    let $kept = || edge().stateful();
                    $story
                }
            )*
        }

        #[cfg(feature = "external-tests")]
        mod on_postgresql {
            use super::*;
            use crate::harness::postgres::Postgres;
            $(
                #[tokio::test]
                async fn $name() {
                    let url = Postgres::shared().await.database().await;
                    let $kept = || edge().postgres(&url);
                    $story
                }
            )*
        }
    };
}
pub(crate) use on_both_engines;

/// The host that the edge believes it is.
pub(crate) const HOST: &str = "edge.example.com";

/// Further keys of an upstream: it is sent bodies as they come.
pub(crate) const STREAMED: &str = ", buffer_request: off";

/// Every wait has an end: a test that hangs says where.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        let patience = Duration::from_secs(20);
        tokio::time::timeout(patience, future).await.unwrap_or_else(|_| panic!("waited at {place}"))
    }
}
