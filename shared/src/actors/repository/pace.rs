//! How much the RepositoryActor does at a time, and how often it looks.

use std::time::Duration;

/// Rounds at a time. While one waits for the disk the next is already decided; more gain nothing.
pub const ROUNDS_IN_FLIGHT: usize = 2;
/// A second round is begun beside the first only for so many commands. Fewer wait for the round in
/// flight and share the next: what a round costs beside its commands is most of a small one, and on a
/// busy machine everything waits for that.
pub const SECOND_ROUND_FROM: usize = 64;
/// Commands in a round: past a few hundred the database does not get faster by larger ones.
pub const COMMANDS_IN_A_ROUND: usize = 256;
/// Bytes of the commands in a round, as they estimate it: parked records are of several megabytes, and
/// a command of MongoDB ends at 16 MB.
pub const BYTES_IN_A_ROUND: usize = 8 * 1024 * 1024;
/// For so long marks gather. They are in nobody's way; a document that is written anew meanwhile needs
/// none. A crash publishes again what was not marked, so not for long.
pub const MARK_AFTER: Duration = Duration::from_millis(200);
/// How often outboxes are looked for.
pub const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// So long after it has found old events of others the sweep looks again whether they are still there:
/// where instances take turns on a document, an event is old when its turn comes.
pub const SWEEP_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Younger events are left to the process that announced them, which is most likely publishing them.
pub const SWEEP_AGE: Duration = Duration::from_secs(5);
