//! A socket for every IPv6 address takes IPv4 connections as well, unless it is told not to: beside one for every IPv4 address
//! the start says so.

use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};

use super::binary::{Site, ended};
use super::harness::process::Running;

/// The process, about to start with listeners on these addresses and with this socket from systemd.
fn command(site: &Site, addresses: &[String], inherited: TcpListener) -> Command {
    let listeners: Vec<_> =
        addresses.iter().map(|address| format!("{{ address: '{address}' }}")).collect();
    let listeners = format!("listeners: [{}]", listeners.join(", "));
    let yaml = Site::yaml("127.0.0.1:9");
    site.write(
        "portcullis.yaml",
        yaml.replacen("listeners: [{ address: '127.0.0.1:0' }]", &listeners, 1),
    );
    let mut command = site.command(&["run", "-c", "portcullis.yaml"]);
    command.stdin(Stdio::null()).env("LISTEN_FDS", "1");
    let parent_fd = OwnedFd::from(inherited);
    command.fd_mappings(vec![FdMapping { parent_fd, child_fd: 3 }]).unwrap();
    command
}

// Part 4, item 31.
#[test]
fn a_socket_from_systemd_that_takes_ipv4_as_well_is_named() {
    for others in [&["0.0.0.0"][..], &["[::]", "0.0.0.0"], &["127.0.0.1"]] {
        let wide = TcpListener::bind("[::]:0").unwrap();
        let port = wide.local_addr().unwrap().port();
        let addresses: Vec<_> = others.iter().map(|other| format!("{other}:{port}")).collect();
        let site = Site::new("127.0.0.1:9");
        let output = command(&site, &addresses, wide).output().unwrap();
        let (_, err) = ended(&output, 1);
        let narrow = addresses.last().unwrap();
        let said = format!(
            "cannot listen on {narrow}: Address already in use (os error 98): [::]:{port} takes IPv4 connections as well"
        );
        assert!(err.contains(&said), "not `{said}`: {err}");
        assert!(err.contains("BindIPv6Only=ipv6-only"), "{err}");
    }
}

// Part 4, item 31.
#[tokio::test]
async fn one_for_ipv6_alone_stands_beside_one_for_ipv4() {
    let wide = socket(AddressFamily::INET6, SocketType::STREAM, None).unwrap();
    sockopt::set_ipv6_v6only(&wide, true).unwrap();
    bind(&wide, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
    listen(&wide, 16).unwrap();
    let wide = TcpListener::from(wide);
    let port = wide.local_addr().unwrap().port();
    let site = Site::new("127.0.0.1:9");
    let addresses = ["[::]", "0.0.0.0"].map(|address| format!("{address}:{port}"));
    let edge = Running::started(command(&site, &addresses, wide).into()).await;
    assert_eq!(edge.edge.port(), port);
}
