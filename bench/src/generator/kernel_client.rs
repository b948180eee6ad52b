//! A client on kernel sockets, with the same batches and windows as the one on AF_XDP. It
//! saturates near 0.55 million echoes a second, so it measures round trips, not servers.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use corewire_drivers::env::Clock;

use super::ledger::{self, Ledger, Pace};
use crate::measure::{Cue, Outcome};
use crate::sys::Batch;
use crate::system::kernel::{BATCH, Waiting, open};

/// What to ask, and whom.
#[derive(Clone, Debug)]
pub(crate) struct Questions {
    /// The server.
    pub(crate) to: SocketAddrV4,
    /// Bytes of payload.
    pub(crate) size: usize,
    /// How requests are let out.
    pub(crate) pace: Pace,
}

/// Asks until the cue says stop.
pub(crate) fn ask(questions: &Questions, waiting: Waiting, cue: &Cue<'_>) -> io::Result<Outcome> {
    let socket = open(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), waiting)?;
    let (mut out, mut back) =
        (Batch::new(BATCH, questions.size), Batch::new(BATCH, questions.size + 1));
    for index in 0..BATCH {
        out.address(index, questions.to);
    }
    let clock = Clock::system();
    let mut ledger = Ledger::new(questions.pace)?;
    let mut outcome = Outcome::default();
    waiting.note(&socket, &mut outcome)?;
    cue.ready();
    while !cue.stopped() {
        let count = ledger.may_send(clock.now(), BATCH);
        if count > 0 {
            let now = clock.now();
            for index in 0..count {
                ledger::write(ledger.send(now), out.slot(index));
            }
            let (sent, calls) = out.send(&socket, count, Some(questions.size))?;
            ledger.unsend(count - sent);
            cue.gauge.calls(calls as u64);
            cue.gauge.offered(sent as u64);
        }
        let came = back.receive(&socket, waiting.flags(questions.pace))?;
        cue.gauge.calls(1);
        let now = clock.now();
        let record = cue.measuring();
        let right =
            (0..came).filter(|index| ledger.answered(now, back.received(*index), record)).count();
        cue.gauge.packets(right as u64);
    }
    let (latency, fate) = ledger.close();
    outcome.latency = Some(latency);
    fate.enter(&mut outcome.drops);
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::measure::{Plan, Role, Side, eventually, perform};
    use crate::system::kernel::echo;

    fn local(socket: &std::net::UdpSocket) -> SocketAddrV4 {
        match socket.local_addr().expect("bound") {
            std::net::SocketAddr::V4(address) => address,
            std::net::SocketAddr::V6(_) => unreachable!("bound to IPv4"),
        }
    }

    /// Over loopback: every way of waiting answers every question.
    #[test]
    fn kernel_client_and_server_understand_each_other() {
        for waiting in [Waiting::Blocking, Waiting::Spin] {
            let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
            let to = local(&open(any, waiting).expect("a port"));
            let questions = Questions { to, size: 64, pace: Pace::Window(8) };
            let plan = Plan {
                warmup: Duration::from_millis(20),
                window: Duration::from_millis(100),
                generator_core: 0,
                system_core: 0,
            };
            eventually(|| answers(&plan, waiting, to, &questions));
        }
    }

    fn answers(plan: &Plan, waiting: Waiting, to: SocketAddrV4, questions: &Questions) -> bool {
        let roles = vec![
            Role {
                side: Side::System,
                host: None,
                body: Box::new(move |cue| echo(to, waiting, cue)),
            },
            Role {
                side: Side::Generator,
                host: None,
                body: Box::new(|cue| ask(questions, waiting, cue)),
            },
        ];
        let never = AtomicBool::new(false);
        let seen = perform(plan, roles, &[], &mut |_| {}, &never).expect("a run");
        assert_eq!(seen.outcomes[1].drops["wrong_answers"], 0, "{waiting:?}");
        seen.gauges[1].packets > 0
    }
}
