//! Waiting for less than a millisecond, which is the grain of the runtime's own timers: an order that
//! is sent late counts as a slow one.

use std::time::Duration;

/// A wait ends early after so long, so that the waiting one can look around.
const LONGEST: Duration = Duration::from_millis(50);

#[cfg(target_os = "linux")]
pub use linux::Alarm;
#[cfg(not(target_os = "linux"))]
pub use other::Alarm;

#[cfg(target_os = "linux")]
mod linux {
    use std::{io, os::fd::OwnedFd};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::unix::AsyncFd;

    use super::{Duration, LONGEST};

    /// A timer of the kernel.
    pub struct Alarm(AsyncFd<OwnedFd>);

    impl Alarm {
        /// An alarm. Needs a runtime.
        pub fn new() -> io::Result<Alarm> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            #[expect(deprecated, reason = "sound for a descriptor that nobody else can close")]
            Ok(Alarm(AsyncFd::new(timer)?))
        }

        /// Waits so long, 50 ms at most; whether there is more to wait.
        pub async fn wait(&self, time: Duration) -> io::Result<bool> {
            if time.is_zero() {
                // Others have to be served as well.
                tokio::task::yield_now().await;
                return Ok(false);
            }
            let now = time.min(LONGEST);
            let zero = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let once = Itimerspec {
                it_interval: zero,
                it_value: Timespec {
                    tv_sec: 0,
                    tv_nsec: now.subsec_nanos().into(),
                },
            };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            loop {
                let mut ready = self.0.readable().await?;
                let mut rings = [0; 8];
                let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut rings)?));
                match read {
                    Ok(read) => {
                        read?;
                        return Ok(now < time);
                    }
                    // It was another's ring.
                    Err(_would_block) => {}
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::{Duration, LONGEST};

    /// The runtime's timer: late by up to a millisecond.
    pub struct Alarm;

    impl Alarm {
        /// An alarm.
        pub fn new() -> std::io::Result<Alarm> {
            Ok(Alarm)
        }

        /// Waits so long, 50 ms at most; whether there is more to wait.
        pub async fn wait(&self, time: Duration) -> std::io::Result<bool> {
            let now = time.min(LONGEST);
            tokio::time::sleep(now).await;
            Ok(now < time)
        }
    }
}
