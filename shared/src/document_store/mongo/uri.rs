//! MongoDB URIs as other drivers, shells and cloud consoles hand them out.
//!
//! Options that say what this program decides by itself are left out: each of its operations names its
//! own read and write concern and goes to the primary, and has its own deadline. What cannot be done
//! here is refused by name, with what to do instead, before anything is connected.

use std::path::Path;

use mongodb::options::ConnectionString;

use super::errors;

/// Options that change nothing here.
const DECIDED_HERE: &[&str] = &[
    // Effects: majority and journal. Marks: journal. A weaker `w` would not be taken, a stronger one
    // does not exist.
    "w",
    "journal",
    "j",
    "wtimeoutms",
    "wtimeout",
    "fsync",
    "safe",
    // Decisions need what the primary has.
    "readconcernlevel",
    "readpreference",
    "readpreferencetags",
    "maxstalenessseconds",
    "localthresholdms",
    "slaveok",
    // Each call has a deadline of its own.
    "timeoutms",
    "sockettimeoutms",
    "waitqueuetimeoutms",
    "waitqueuemultiple",
    // Documents are small and the network is near.
    "compressors",
    "zlibcompressionlevel",
    // The TLS library neither asks OCSP responders nor reads revocation lists.
    "tlsdisableocspendpointcheck",
    "tlsdisablecertificaterevocationcheck",
];

/// Mechanisms that are compiled in.
const MECHANISMS: &[&str] = &["SCRAM-SHA-256", "SCRAM-SHA-1", "MONGODB-X509", "PLAIN"];

/// The URI as the driver takes it; else what is wrong with it and what to do. Never tells the user's
/// name or password.
pub fn fitting_uri(uri: &str) -> Result<String, String> {
    let uri = uri.trim();
    let Some((scheme, rest)) = uri.split_once("://") else {
        return Err("has to begin with mongodb://".into());
    };
    match scheme {
        "mongodb" => {}
        "mongodb+srv" => {
            return Err("begins with mongodb+srv://, which needs look-ups in DNS that are not built in: take the \
                        standard connection string, mongodb://host1,host2,host3/?replicaSet=…&tls=true&authSource=admin \
                        (MongoDB Atlas shows it for the oldest version of a driver)"
                .into());
        }
        _ => return Err("has to begin with mongodb://, without quotes".into()),
    }
    // A `?` may stand unescaped in a password, so it is looked for behind the last `@`.
    let hosts_at = rest.rfind('@').map_or(0, |at| at + 1);
    let (before, options) = match rest[hosts_at..].find('?') {
        Some(at) => (&rest[..hosts_at + at], &rest[hosts_at + at + 1..]),
        None => (rest, ""),
    };
    let mut kept = Vec::new();
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let Some((name, value)) = option.split_once('=') else {
            return Err(format!(
                "has the option {option:?} without a value: write {option}=…"
            ));
        };
        let key = name.to_ascii_lowercase();
        if DECIDED_HERE.contains(&key.as_str()) || is_standard_uuid(&key, value) {
            continue;
        }
        if let Some(problem) = refused(name, &key, value) {
            return Err(problem);
        }
        kept.push(option);
    }
    let mut fitting = format!("mongodb://{before}");
    if !before[hosts_at..].contains('/') {
        fitting.push('/');
    }
    if !kept.is_empty() {
        fitting.push('?');
        fitting.push_str(&kept.join("&"));
    }
    match ConnectionString::parse(&fitting) {
        Ok(_) => Ok(fitting),
        Err(error) => {
            let reason = errors::clean_of(&error.kind.to_string(), uri);
            let reason = errors::clean_of(&reason, &fitting);
            let help = if reason.contains("is an invalid option") {
                "; correct it or leave it out"
            } else {
                ""
            };
            Err(format!("cannot be used: {reason}{help}"))
        }
    }
}

fn is_standard_uuid(key: &str, value: &str) -> bool {
    key == "uuidrepresentation" && ["standard", "unspecified"].contains(&value.to_ascii_lowercase().as_str())
}

/// Why an option cannot be had here, and what to do.
fn refused(name: &str, key: &str, value: &str) -> Option<String> {
    let instead = match key {
        "authmechanism" if !MECHANISMS.contains(&value.to_ascii_uppercase().as_str()) => format!(
            "has {name}={value}, which is not built in: use one of {}, or leave it out",
            MECHANISMS.join(", ")
        ),
        "uuidrepresentation" => {
            format!("has {name}={value}: ids are stored as standard UUIDs, use standard or leave it out")
        }
        "tlsallowinvalidhostnames" | "sslinvalidhostnameallowed" => format!(
            "has {name}, which cannot be done here: use a certificate that names the host, or for a try \
             tlsAllowInvalidCertificates=true"
        ),
        "tlscertificatekeyfilepassword" => {
            format!(
                "has {name}, which cannot be done here: give tlsCertificateKeyFile a key without a password"
            )
        }
        "tlscafile" | "tlscertificatekeyfile" => {
            let path = percent_decoded(value);
            if Path::new(&path).is_file() {
                return None;
            }
            format!("has {name}={value}: there is no such file")
        }
        "proxyhost" | "proxyport" | "proxyusername" | "proxypassword" => {
            format!("has {name}: a SOCKS5 proxy is not built in, connect without it")
        }
        "loadbalanced" if value.eq_ignore_ascii_case("true") => format!(
            "has {name}=true: transactions and step-downs are watched at the members themselves, name the hosts of \
             the replica set"
        ),
        _ => return None,
    };
    Some(instead)
}

/// As in the options of a URI.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|code| u8::from_str_radix(str::from_utf8(code).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_as_drivers_and_consoles_hand_them_out_are_usable() {
        for (uri, expected) in [
            (
                "mongodb://127.0.0.1:27017/?replicaSet=rs0",
                "mongodb://127.0.0.1:27017/?replicaSet=rs0",
            ),
            // mongosh
            (
                "mongodb://127.0.0.1:27017/?directConnection=true&serverSelectionTimeoutMS=2000&appName=mongosh+2.5.0",
                "mongodb://127.0.0.1:27017/?directConnection=true&serverSelectionTimeoutMS=2000&appName=mongosh+2.5.0",
            ),
            // Atlas, the standard form
            (
                "mongodb://zoe:s3cret@a-00.x.mongodb.net:27017,a-01.x.mongodb.net:27017,a-02.x.mongodb.net:27017/\
                 ?ssl=true&replicaSet=atlas-1-shard-0&authSource=admin&retryWrites=true&w=majority&appName=Cluster0",
                "mongodb://zoe:s3cret@a-00.x.mongodb.net:27017,a-01.x.mongodb.net:27017,a-02.x.mongodb.net:27017/\
                 ?ssl=true&replicaSet=atlas-1-shard-0&authSource=admin&retryWrites=true&appName=Cluster0",
            ),
            // Cosmos DB
            (
                "mongodb://acc:a%2Bb%3D%3D@acc.mongo.cosmos.azure.com:10255/?ssl=true&replicaSet=globaldb\
                 &retrywrites=false&maxIdleTimeMS=120000&appName=@acc@",
                "",
            ),
            // Amazon DocumentDB, without its file
            (
                "mongodb://u:p@docdb.eu-central-1.docdb.amazonaws.com:27017/?tls=true&replicaSet=rs0\
                 &readPreference=secondaryPreferred&retryWrites=false",
                "mongodb://u:p@docdb.eu-central-1.docdb.amazonaws.com:27017/?tls=true&replicaSet=rs0&retryWrites=false",
            ),
            // Java, Python, Node, C#
            (
                "mongodb://h1,h2:27018/db?replicaSet=rs0&journal=true&w=1&wtimeoutMS=5000&readConcernLevel=majority\
                 &readPreference=nearest&readPreferenceTags=dc:ny,rack:1&readPreferenceTags=&maxStalenessSeconds=120\
                 &uuidRepresentation=standard&waitQueueMultiple=5&socketTimeoutMS=1000&compressors=zstd,snappy,zlib\
                 &zlibCompressionLevel=6&timeoutMS=900&minPoolSize=1&maxPoolSize=50",
                "mongodb://h1,h2:27018/db?replicaSet=rs0&minPoolSize=1&maxPoolSize=50",
            ),
            (
                "mongodb://h:27017?replicaSet=rs0",
                "mongodb://h:27017/?replicaSet=rs0",
            ),
            ("mongodb://h", "mongodb://h/"),
            (
                "mongodb://u:p@h/?authMechanism=SCRAM-SHA-256&authSource=admin",
                "mongodb://u:p@h/?authMechanism=SCRAM-SHA-256&authSource=admin",
            ),
            (
                "mongodb://CN=me@h/?authMechanism=MONGODB-X509&tls=true",
                "mongodb://CN=me@h/?authMechanism=MONGODB-X509&tls=true",
            ),
            ("mongodb://h/?w=0&journal=true", "mongodb://h/"),
            (
                "  mongodb://h/?tls=true&tlsInsecure=true\n",
                "mongodb://h/?tls=true&tlsInsecure=true",
            ),
            (
                "mongodb://[::1]:27017/?replicaSet=rs0",
                "mongodb://[::1]:27017/?replicaSet=rs0",
            ),
        ] {
            let fitting = fitting_uri(uri).unwrap_or_else(|problem| panic!("{uri}: {problem}"));
            if !expected.is_empty() {
                assert_eq!(fitting, expected);
            }
            assert_eq!(fitting_uri(&fitting).as_deref(), Ok(&*fitting), "once more");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name_with_what_to_do_and_without_secrets() {
        for (uri, words) in [
            ("postgres://u:s3cret@h/", &["mongodb://"][..]),
            ("'mongodb://u:s3cret@h/'", &["quotes"]),
            ("localhost:27017", &["mongodb://"]),
            (
                "mongodb+srv://zoe:s3cret@cluster0.x.mongodb.net/?retryWrites=true&w=majority&appName=Cluster0",
                &["mongodb+srv", "standard connection string"],
            ),
            (
                "mongodb://u:s3cret@h/?authMechanism=MONGODB-AWS",
                &["authMechanism=MONGODB-AWS", "SCRAM-SHA-256"],
            ),
            (
                "mongodb://u:s3cret@h/?authMechanism=GSSAPI",
                &["GSSAPI", "MONGODB-X509"],
            ),
            (
                "mongodb://h/?uuidRepresentation=javaLegacy",
                &["javaLegacy", "standard"],
            ),
            (
                "mongodb://h/?tls=true&tlsAllowInvalidHostnames=true",
                &["tlsAllowInvalidHostnames", "certificate"],
            ),
            (
                "mongodb://h/?tls=true&tlsCAFile=/no/such.pem",
                &["tlsCAFile=/no/such.pem", "no such file"],
            ),
            (
                "mongodb://h/?tlsCertificateKeyFilePassword=s3cret",
                &["tlsCertificateKeyFilePassword", "without a password"],
            ),
            (
                "mongodb://h/?proxyHost=p&proxyPassword=s3cret",
                &["proxyHost", "SOCKS5"],
            ),
            ("mongodb://h/?loadBalanced=true", &["loadBalanced", "replica set"]),
            ("mongodb://h/?replicaset", &["replicaset", "value"]),
            (
                "mongodb://h/?replicaSte=rs0",
                &["replicaste", "replicaset", "leave it out"],
            ),
            ("mongodb://h/?ssl_cert_reqs=CERT_NONE", &["ssl_cert_reqs"]),
            ("mongodb://h/?tls=perhaps", &["tls"]),
            ("mongodb://h/?maxPoolSize=many", &["maxpoolsize"]),
            ("mongodb://h/?tls=false&ssl=true", &["tls"]),
            ("mongodb://zoe:s3cret/x@h/", &["cannot be used"]),
            ("mongodb:///?replicaSet=rs0", &["cannot be used"]),
        ] {
            let problem = fitting_uri(uri).expect_err(uri);
            for word in words {
                assert!(problem.contains(word), "{uri}: {problem}");
            }
            assert!(
                !problem.contains("s3cret") && !problem.contains("zoe"),
                "{problem}"
            );
        }
    }

    #[test]
    fn a_file_that_is_there_is_taken() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let uri = format!("mongodb://h/?tls=true&tlsCAFile={}", file.replace('/', "%2F"));
        assert_eq!(fitting_uri(&uri), Ok(uri.clone()));
    }
}
