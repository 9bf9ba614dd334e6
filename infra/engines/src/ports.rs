//! Free ports.

use std::net::{Ipv4Addr, TcpListener};

use crate::Engine;
use crate::error::StartError;

/// Below the range from which the kernel takes the local ports of outgoing connections (from 32768
/// on Linux, 49152 elsewhere). "Bind port 0" gives a port from that range, and while a killed engine
/// is down, a client that knocks at such a port may be given it as its own local port: it then talks
/// to itself, and the engine cannot come back.
const RANGE: std::ops::Range<u16> = 20_000..30_000;

/// The wanted port if it is free; any free one for 0.
pub(crate) fn choose(engine: Engine, wanted: u16) -> Result<u16, StartError> {
    if wanted != 0 {
        return if is_free(wanted) {
            Ok(wanted)
        } else {
            Err(StartError::PortTaken { engine, port: wanted })
        };
    }
    (0..100)
        .map(|_| fastrand::u16(RANGE))
        .find(|&port| is_free(port))
        .ok_or(StartError::PortTaken { engine, port: 0 })
}

/// A free port that is none of these.
pub(crate) fn choose_other(engine: Engine, taken: &[u16]) -> Result<u16, StartError> {
    loop {
        let port = choose(engine, 0)?;
        if !taken.contains(&port) {
            return Ok(port);
        }
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
