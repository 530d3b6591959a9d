//! The machine as the edge under test sees it: as it is, and with a name of two addresses, whatever the hosts file says.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use portcullis::clock::Timestamp;
use portcullis::config::{SourceFile, Sources, SystemSources};

/// A name for `::1` and 127.0.0.1, in this order.
pub(crate) const DUAL_HOST: &str = "dual.internal";

/// The machine, with [`DUAL_HOST`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct TestSources;

impl Sources for TestSources {
    fn read(&self, path: &Path) -> io::Result<SourceFile> {
        SystemSources.read(path)
    }

    fn modified(&self, path: &Path) -> Option<Timestamp> {
        SystemSources.modified(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        SystemSources.env(name)
    }

    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match host {
            DUAL_HOST => {
                Ok(vec![(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()])
            }
            _ => SystemSources.resolve(host, port),
        }
    }
}
