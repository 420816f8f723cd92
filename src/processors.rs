//! Keeps a start on one processor: launcher, init and workload follow each other, and to wake up a processor that sleeps, or to
//! move a process to it, takes longer than each of them.
//!
//! Only for a caller that may run on every processor that is online. Its own choice could not be given back as it was: a
//! process that has chosen no longer follows when its cpuset grows; see cpuset(7) and sched_setaffinity(2).

#![forbid(unsafe_code)]

use launch_init::sys;

/// Whether the calling thread may run on every processor, and there are several.
pub fn may_use_all() -> bool {
    let Ok(own) = sys::processors() else { return false };
    let mut buffer = [0; 4096];
    let online = sys::read_short("/sys/devices/system/cpu/online", &mut buffer);
    online.is_ok_and(|online| is_all_of(&own, online))
}

/// Whether the set `own`, a bit each, is the list `online` as the kernel writes it (`0-3,5`), and more than one.
fn is_all_of(own: &[u8], online: &str) -> bool {
    let mut listed = vec![0_u8; own.len()];
    let mut count = 0;
    for range in online.trim_end().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) else { return false };
        for processor in first..=last {
            let Some(byte) = listed.get_mut(processor / 8) else { return false };
            *byte |= 1 << (processor % 8);
            count += 1;
        }
    }
    count > 1 && listed == own
}

/// The calling thread stays on its processor, and so does what it starts, until this is dropped.
#[derive(Debug)]
pub struct Stay(());

impl Stay {
    /// Begins it; none where the kernel does not let it.
    pub fn begin() -> Option<Self> {
        sys::stay_on_this_processor().ok().map(|()| Self(()))
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Err(errno) = sys::use_all_processors() {
            log::warn!("processors: still on one: {}", errno.desc());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_all_of_them_if_it_is_what_the_kernel_lists() {
        for (own, online, expected) in [
            (&[0b11_u8, 0][..], "0-1\n", true),
            (&[0b1, 0], "0-1\n", false),
            (&[0b1011, 0b1], "0-1,3,8\n", true),
            (&[0b1111, 0b1], "0-1,3,8\n", false),
            (&[0b1], "0\n", false),
            (&[0xff], "0-8\n", false),
            (&[0b11], "", false),
            (&[0b11], "0-x", false),
        ] {
            assert_eq!(is_all_of(own, online), expected, "{own:?} {online}");
        }
    }
}
