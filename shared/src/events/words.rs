//! Ids of their own types, and closed lists of words.

/// An id of its own type: text for people and services, a binary UUID in documents.
#[macro_export]
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub ::uuid::Uuid);

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<$name> for ::uuid::Uuid {
            fn from(id: $name) -> ::uuid::Uuid {
                id.0
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    $crate::document_store::BinaryUuid::from_bytes(self.0.into_bytes()).serialize(serializer)
                }
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            /// From a document only.
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let id = <$crate::document_store::BinaryUuid as ::serde::Deserialize>::deserialize(deserializer)?;
                Ok($name(::uuid::Uuid::from_bytes(id.bytes())))
            }
        }

        impl $crate::json::FieldType for $name {
            type Value = $name;
            const EXPECTED: &'static str = <::uuid::Uuid as $crate::json::FieldType>::EXPECTED;
            fn read(value: &::serde_json::value::RawValue) -> Result<$name, String> {
                <::uuid::Uuid as $crate::json::FieldType>::read(value).map($name)
            }
        }
    };
}

/// A closed list of words, read in any case and written as given.
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $expected:literal { $($(#[$word_doc:meta])* $word:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize)]
        pub enum $name { $($(#[$word_doc])* $word),+ }

        impl<'de> ::serde::Deserialize<'de> for $name {
            /// From a document, in any case: a person may have written it.
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = <String as ::serde::Deserialize>::deserialize(deserializer)?;
                $name::parse(&text).ok_or_else(|| {
                    ::serde::de::Error::custom(format!("{text:?} is not {}", $expected))
                })
            }
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$word),+];

            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$word => stringify!($word)),+ }
            }

            /// From how it is written, in any case.
            pub fn parse(text: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|word| word.as_str().eq_ignore_ascii_case(text))
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::json::FieldType for $name {
            type Value = $name;
            const EXPECTED: &'static str = $expected;
            fn read(value: &::serde_json::value::RawValue) -> Result<$name, String> {
                let text = $crate::json::string(value)?;
                $name::parse(&text).ok_or_else(|| "is not one of the known words".into())
            }
        }
    };
}
