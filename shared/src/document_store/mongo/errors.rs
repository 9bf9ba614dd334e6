//! What an error of the driver means for the write that met it.
//!
//! The one place where errors are told apart. The promise: only an error that *proves* that nothing
//! left this process is called [`Fate::NotSent`]; whatever leaves room for doubt is
//! [`Fate::Unknown`], and the commit asks again. The hazard is the opposite mistake: a write that
//! was reported as failed and happened nevertheless.

use std::io;

use mongodb::error::{Error, ErrorKind, WriteFailure};

use super::super::StoreError;

/// What became of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing left this process.
    NotSent,
    /// It may have happened, may yet happen, or may not.
    Unknown,
    /// The server undid the transaction because another one was at the same documents.
    WriteConflict,
    /// The server refuses for a reason that no repetition heals.
    Unfit,
}

/// A failed call: its fate, and why in words fit for a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) fate: Fate,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn unknown(reason: impl Into<String>) -> Fault {
        Fault {
            fate: Fate::Unknown,
            reason: reason.into(),
        }
    }

    /// A read has no outcome that could be unknown: nothing was written.
    pub(super) fn of_read(self) -> StoreError {
        match self.fate {
            Fate::NotSent | Fate::Unknown | Fate::WriteConflict => StoreError::Unavailable(self.reason),
            Fate::Unfit => StoreError::Unfit(self.reason),
        }
    }

    /// A write that is not asked for again.
    pub(super) fn of_write(self) -> StoreError {
        match self.fate {
            Fate::NotSent => StoreError::Unavailable(self.reason),
            Fate::Unknown | Fate::WriteConflict => StoreError::OutcomeUnknown(self.reason),
            Fate::Unfit => StoreError::Unfit(self.reason),
        }
    }
}

/// Tells what `error` means. `whereabouts` is what is known about the servers, if they are away.
pub(super) fn classify(error: &Error, whereabouts: Option<String>) -> Fault {
    let (fate, reason) = match error.kind.as_ref() {
        ErrorKind::ServerSelection { .. } => (
            Fate::NotSent,
            whereabouts.unwrap_or_else(|| "no primary could be selected in time".into()),
        ),
        ErrorKind::DnsResolve { message, .. } => (Fate::NotSent, message.clone()),
        ErrorKind::Shutdown => (Fate::NotSent, "the client has been shut down".into()),
        // A refused connection has carried nothing; any other I/O error may have struck after the
        // request went out.
        ErrorKind::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => {
            (Fate::NotSent, whereabouts.unwrap_or_else(|| describe_io(io)))
        }
        ErrorKind::Io(io) => (Fate::Unknown, describe_io(io)),
        ErrorKind::ConnectionPoolCleared { .. } => (
            Fate::Unknown,
            whereabouts.unwrap_or_else(|| "the connection was closed".into()),
        ),
        ErrorKind::Command(command) => (fate_of_code(command.code), command.to_string()),
        ErrorKind::Write(WriteFailure::WriteError(write)) => (
            fate_of_code(write.code),
            format!("error code {}: {}", write.code, write.message),
        ),
        // Written on the primary, not known to be on the majority.
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => (
            Fate::Unknown,
            format!(
                "write concern not met, code {}: {}",
                concern.code, concern.message
            ),
        ),
        ErrorKind::Authentication { message, .. } => {
            (Fate::Unfit, format!("authentication failed: {message}"))
        }
        ErrorKind::InvalidArgument { message, .. }
        | ErrorKind::InvalidTlsConfig { message, .. }
        | ErrorKind::IncompatibleServer { message, .. } => (Fate::Unfit, message.clone()),
        ErrorKind::SessionsNotSupported => (Fate::Unfit, "the server supports no sessions".into()),
        ErrorKind::Transaction { message, .. } => (Fate::Unknown, message.clone()),
        ErrorKind::InvalidResponse { message, .. } | ErrorKind::Internal { message, .. } => {
            (Fate::Unknown, message.clone())
        }
        ErrorKind::Bson(bson) => (Fate::Unknown, format!("an answer could not be read: {bson}")),
        // The driver's enum is open. Doubt is the safe reading of what it may add.
        other => (Fate::Unknown, other.to_string()),
    };
    Fault {
        fate,
        reason: clean(&reason),
    }
}

/// What an error code of the server means, be it of a command or of one write in it.
pub(super) fn fate_of_code(code: i32) -> Fate {
    match code {
        112 => Fate::WriteConflict,
        // BadValue (a hint for an index that is missing among others), FailedToParse, Unauthorized,
        // TypeMismatch, AuthenticationFailed, IllegalOperation (transactions on a standalone
        // server), CommandNotFound, InvalidOptions, InvalidNamespace, UnknownReplWriteConcern,
        // UnsatisfiableWriteConcern, IndexOptionsConflict, IndexKeySpecsConflict,
        // DocumentValidationFailure, OperationNotSupportedInTransaction, AtlasError,
        // BSONObjectTooLarge (two codes).
        2 | 9 | 13 | 14 | 18 | 20 | 59 | 72 | 73 | 79 | 100 | 85 | 86 | 121 | 263 | 8000 | 10334 | 17280
        | 17419 => Fate::Unfit,
        _ => Fate::Unknown,
    }
}

/// An I/O error in few words.
pub(super) fn describe_io(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection was closed".into(),
        io::ErrorKind::TimedOut => "no answer in time".into(),
        // Names that cannot be looked up, for one, have no kind of their own.
        io::ErrorKind::Other => error.to_string(),
        kind if format!("{kind:?}") == "Uncategorized" => error.to_string(),
        kind => kind.to_string(),
    }
}

/// Longest reason kept; servers answer with whole commands at times.
const LONGEST_REASON: usize = 400;

/// Fit for one log line: no credentials of URIs, no control characters, not endless.
pub(super) fn clean(text: &str) -> String {
    let mut cleaned: String = redact(text)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_REASON)
        .collect();
    if cleaned.ends_with('.') {
        cleaned.pop();
    }
    cleaned
}

/// Replaces `user:password@` in whatever looks like a URI.
fn redact(text: &str) -> String {
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        redacted.push_str(before);
        // A password may hold an unescaped `/` or `?` in a URI that is wrong for just that reason:
        // everything up to the last `@` of the word goes.
        let word = after.find(char::is_whitespace).unwrap_or(after.len());
        rest = match after[..word].rfind('@') {
            Some(at) => {
                redacted.push_str("***");
                &after[at..]
            }
            None => after,
        };
    }
    redacted.push_str(rest);
    redacted
}

/// Takes the user name and password of `uri` out of a message about it.
pub(super) fn clean_of(text: &str, uri: &str) -> String {
    let userinfo = uri
        .split_once("://")
        .and_then(|(_, rest)| rest.rsplit_once('@'))
        .map_or("", |(userinfo, _)| userinfo);
    let mut text = text.replace(uri, "the URI");
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    for secret in [userinfo, password, user] {
        if !secret.is_empty() {
            text = text.replace(secret, "***");
        }
    }
    clean(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_carry_no_credentials_and_no_control_characters() {
        assert_eq!(
            clean("cannot reach mongodb://ann:s3cret@db:27017/x now\r\nreally."),
            "cannot reach mongodb://***@db:27017/x now  really"
        );
        assert_eq!(
            clean("mongodb://ann:s3/c@ret@db and mongodb://db/"),
            "mongodb://***@db and mongodb://db/"
        );
        assert_eq!(
            clean_of("bad password s3/cret in it", "mongodb://ann:s3/cret@db"),
            "bad password *** in it"
        );
        assert_eq!(clean("plain"), "plain");
        assert_eq!(clean(&"x".repeat(5000)).len(), LONGEST_REASON);
    }

    #[test]
    fn a_refused_connection_has_sent_nothing_and_a_broken_one_may_have() {
        let refused = Error::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(classify(&refused, None).fate, Fate::NotSent);
        let broken = Error::from(io::Error::from(io::ErrorKind::ConnectionReset));
        assert_eq!(classify(&broken, None), Fault::unknown("connection reset"));
    }

    #[test]
    fn reads_never_end_in_an_unknown_outcome() {
        let fault = Fault::unknown("no answer");
        assert_eq!(
            fault.clone().of_read(),
            StoreError::Unavailable("no answer".into())
        );
        assert_eq!(fault.of_write(), StoreError::OutcomeUnknown("no answer".into()));
    }
}
