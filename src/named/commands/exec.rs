//! `launch exec`: a command in a sandbox that is running.
//!
//! What is asked for, and what follows, is ../exec.rs's.

#![forbid(unsafe_code)]

use launch_init::signals;

use super::{Errors, find, has_ended, wrong};
use crate::cli::sandboxes::Exec;
use crate::error::Error;
use crate::named::client::{Connection, PATIENCE};
use crate::named::control::{Reply, Request};
use crate::named::exec::{Offer, follow, request};
use crate::named::registry::{Registry, Standing};

pub(super) fn run(registry: &Registry, options: &Exec, errors: &mut Errors<'_>) -> Result<u8, Error> {
    let name = &options.name;
    let Some(found) = find(registry, std::slice::from_ref(name), errors).pop() else { return Ok(0) };
    if let Standing::Over(state) = &found.standing {
        return Err(has_ended(name, state));
    }
    // Who ends while it is asked: it is as if it had been asked a moment later.
    let is_stopping = || wrong(name, "is stopping");
    let mut connection = Connection::open(&found)?.ok_or_else(is_stopping)?;
    // A monitor that is stopped would keep the descriptors open, and with them the pipe of whoever reads what we write.
    connection.ask(&Request::State, &[])?;
    connection.answer(Some(PATIENCE))?.ok_or_else(is_stopping)?;
    let offer = Offer::new()?;
    let request = Request::Join(request(options, std::env::var_os("TERM")));
    connection.ask(&request, &offer.descriptors())?;
    let (reply, mut descriptors) = connection.answer(Some(PATIENCE))?.ok_or_else(is_stopping)?;
    let (Reply::Joined { plan }, Some(pidfd)) = (reply, descriptors.pop()) else {
        return Err(wrong(name, "control socket: its monitor answers something else"));
    };
    drop(connection);
    // From here on signals are for the command. Until here they have ended us, and nothing has been started.
    signals::block_all().map_err(Error::Signals)?;
    follow(offer.joined(plan, pidfd), options.tty).map(launch_init::exit::Outcome::code)
}
