//! Settings of librdkafka that an operator may add: how they are written, and which would break a
//! promise.

/// Reads `name=value` pairs separated by commas. Within double quotes a comma is a comma; a backslash
/// takes the character after it as it is. Never tells a value: it may be a password.
pub fn read(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut options = Vec::new();
    for option in split(text)? {
        let Some(at) = option.iter().position(|c| *c == Char::Plain('=')) else {
            if option
                .iter()
                .all(|c| matches!(c, Char::Plain(c) if c.is_whitespace()))
            {
                continue;
            }
            return Err("is not name=value, or several separated by commas".into());
        };
        let (name, value) = (text_of(&option[..at]), text_of(trim(&option[at + 1..])));
        options.push((name.trim().to_owned(), value));
    }
    Ok(options)
}

#[derive(Clone, Copy, PartialEq)]
enum Char {
    Plain(char),
    /// Quoted: never a separator, never trimmed.
    Quoted(char),
}

fn split(text: &str) -> Result<Vec<Vec<Char>>, String> {
    let (mut options, mut option, mut quoted) = (Vec::new(), Vec::new(), false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next) => option.push(Char::Quoted(next)),
                None => return Err("ends with a backslash: write \\\\ for one".into()),
            },
            '"' => quoted = !quoted,
            ',' if !quoted => options.push(std::mem::take(&mut option)),
            c if quoted => option.push(Char::Quoted(c)),
            c => option.push(Char::Plain(c)),
        }
    }
    if quoted {
        return Err("has a double quote without its second: write \\\" for one in a value".into());
    }
    options.push(option);
    Ok(options)
}

fn trim(mut value: &[Char]) -> &[Char] {
    let blank = |c: &Char| matches!(c, Char::Plain(c) if c.is_whitespace());
    while let [first, rest @ ..] = value
        && blank(first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && blank(last)
    {
        value = rest;
    }
    value
}

fn text_of(chars: &[Char]) -> String {
    let plain = chars.iter().map(|c| match c {
        Char::Plain(c) | Char::Quoted(c) => *c,
    });
    plain.collect()
}

/// Why an option may not be set so, where it would break a promise of this program.
pub fn refusal(name: &str, value: &str) -> Option<&'static str> {
    let value = value.to_ascii_lowercase();
    let yes = matches!(value.as_str(), "true" | "t" | "1");
    let number = value.parse::<i64>().ok();
    let (right, reason) = match name {
        "enable.idempotence" => (
            yes,
            "a retry could publish an event twice or out of order: leave it true",
        ),
        "acks" | "request.required.acks" => (
            matches!(value.as_str(), "all" | "-1"),
            "an event could be confirmed and be lost with one broker: leave it all",
        ),
        "message.timeout.ms" | "delivery.timeout.ms" => (
            number == Some(0),
            "an event that is given up by time leaves a gap in its order: leave it 0",
        ),
        "retries" | "message.send.max.retries" => (
            number == Some(i64::from(i32::MAX)),
            "an event that is given up after some tries leaves a gap in its order: leave it out",
        ),
        "partitioner" => (
            matches!(value.as_str(), "murmur2_random" | "murmur2"),
            "the events of a key would stand in another partition than those of all other writers, \
             and overtake each other: leave it murmur2_random",
        ),
        "transactional.id" => (false, "events are not published in transactions: leave it out"),
        "enable.auto.offset.store" => (
            !yes,
            "offsets would be stored before their events are handled, so a crash loses events: leave it false",
        ),
        "enable.auto.commit" => (
            yes,
            "what is done would never be committed, and all of it be read again: leave it true",
        ),
        "auto.commit.interval.ms" => (
            number.is_some_and(|time| (1..=5000).contains(&time)),
            "what is done has to be committed soon, or it is read again after a crash: use 1 to 5000",
        ),
        "auto.offset.reset" => (
            matches!(value.as_str(), "earliest" | "beginning" | "smallest"),
            "events from before the first start of a group would be skipped: leave it earliest",
        ),
        "isolation.level" => (
            value == "read_committed",
            "events of aborted transactions would take effect: leave it read_committed",
        ),
        "allow.auto.create.topics" => (
            !yes,
            "a wrong name would create a topic with other settings than ours: leave it false",
        ),
        "statistics.interval.ms" => (
            number.is_some_and(|time| (100..=1000).contains(&time)),
            "lag and readiness are told from them: use 100 to 1000",
        ),
        "bootstrap.servers" | "metadata.broker.list" => (false, "it is set by KAFKA_BROKERS"),
        "group.id" => (false, "it is set by KAFKA_GROUP"),
        "group.protocol" => (false, "it is set by KAFKA_GROUP_PROTOCOL"),
        _ if name.starts_with("test.mock.") => (false, "events would go to a broker that forgets them"),
        _ => return None,
    };
    (!right).then_some(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
        read(text)
    }

    #[test]
    fn values_may_hold_commas_quotes_and_blanks() {
        for (text, expected) in [
            ("", vec![]),
            (" , ", vec![]),
            ("a=1", vec![("a", "1")]),
            (" a = 1 , b=2,", vec![("a", "1"), ("b", "2")]),
            ("a=", vec![("a", "")]),
            ("a=b=c", vec![("a", "b=c")]),
            (r#"a="1,2",b=3"#, vec![("a", "1,2"), ("b", "3")]),
            (r"a=1\,2,b=3", vec![("a", "1,2"), ("b", "3")]),
            (r#"a=" x ",b="q\"q""#, vec![("a", " x "), ("b", "q\"q")]),
            (r"a=C:\\key", vec![("a", r"C:\key")]),
            (r#""a=1,b"=2"#, vec![("a=1,b", "2")]),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(pairs(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_without_its_values() {
        for text in ["secret", r#"sasl.password="secret"#, r"sasl.password=secret\"] {
            let problem = pairs(text).unwrap_err();
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn what_would_break_a_promise_is_refused_and_the_rest_is_not() {
        for (name, value) in [
            ("enable.idempotence", "false"),
            ("acks", "1"),
            ("request.required.acks", "0"),
            ("message.timeout.ms", "300000"),
            ("delivery.timeout.ms", "120000"),
            ("retries", "5"),
            ("partitioner", "consistent_random"),
            ("transactional.id", "x"),
            ("enable.auto.offset.store", "true"),
            ("enable.auto.commit", "false"),
            ("auto.commit.interval.ms", "0"),
            ("auto.offset.reset", "latest"),
            ("isolation.level", "read_uncommitted"),
            ("allow.auto.create.topics", "true"),
            ("statistics.interval.ms", "0"),
            ("bootstrap.servers", "h:1"),
            ("group.id", "x"),
            ("group.protocol", "consumer"),
            ("test.mock.num.brokers", "1"),
        ] {
            assert!(refusal(name, value).is_some(), "{name}={value}");
        }
        for (name, value) in [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("acks", "-1"),
            ("message.timeout.ms", "0"),
            ("partitioner", "murmur2_random"),
            ("auto.offset.reset", "earliest"),
            ("compression.codec", "lz4"),
            ("security.protocol", "SASL_SSL"),
            ("sasl.password", "false"),
            ("linger.ms", "5"),
            ("group.instance.id", "orders-0"),
            ("no.such.option", "1"),
        ] {
            assert_eq!(refusal(name, value), None, "{name}={value}");
        }
    }
}
