//! What every service on the kit has to promise, seen from outside: HTTP in front, a log and a
//! database in memory behind. One function a promise.
//!
//! A service's black-box tests describe the service once and name the groups that fit it:
//!
//! ```text
//! struct Description;
//! impl ServiceDescription for Description { … }
//! testing::service_suite!(every_service: Description);
//!
//! impl WithPosts for Description { … }
//! testing::service_suite!(with_posts: Description);
//! ```
//!
//! Each group needs its trait, so a service without a route for `POST` leaves the trait and the group
//! out. What is particular to one service stays in its own tests.

use serde_json::Value;
use shared::{event_log::Record, service::Service};
use uuid::Uuid;

use super::service::{ServiceUnderTest, Setup, bson, event};

mod bodies;
mod events;
mod itself;
mod life;
mod lists;
mod parking;
mod posts;
mod stopping;
mod support;
mod wire;

pub use bodies::*;
pub use events::*;
pub use itself::*;
pub use life::*;
pub use lists::*;
pub use parking::*;
pub use posts::*;
pub use stopping::*;
pub use support::{JSON, is_problem, pages};
pub use wire::*;

/// The service that is described, under test.
pub type UnderTest<D> = ServiceUnderTest<<D as ServiceDescription>::Service>;

/// What the suite has to know of a service.
pub trait ServiceDescription: Sized + 'static {
    /// The service. The first of its collections is that of its resource.
    type Service: Service;

    /// Its routes with what `Allow` says there; an id in a path is `{id}`.
    const ROUTES: &'static [(&'static str, &'static str)];
    /// The path of its resource: one stands at `/{id}` below it. If `GET` is allowed on this path
    /// itself, it answers the list.
    const RESOURCE: &'static str;
    /// The event that it publishes when it has stored something new.
    const CREATED_EVENT: &'static str;
    /// The field of that event with the id of what is new.
    const ID_IN_EVENT: &'static str = "id";
    /// An event that it handles. Its ids are UUIDs: with `{"id": "?"}` it is malformed.
    const HANDLED_EVENT: &'static str;
    /// The event that it publishes when it has handled [`Self::HANDLED_EVENT`].
    const ANSWER_EVENT: &'static str;
    /// An event of the contracts that it does not handle.
    const IGNORED_EVENT: &'static str;
    /// What becomes of a [stray](Self::stray).
    const STRAY_ENDS_AS: StrayEnd;

    /// Makes the service store something new, by one command; its id. Comes back once it is stored,
    /// whether or not the log takes events.
    fn store(service: &UnderTest<Self>) -> Uuid;
    /// An event under this key that the service can handle; what it needs for that is stored first.
    fn exchange(service: &UnderTest<Self>, key: Uuid) -> Exchange;
    /// Whether these events, all of one key, were handled, each once, as far as HTTP shows.
    fn were_handled(service: &UnderTest<Self>, exchanges: &[Exchange]) -> bool;
    /// A well-formed [`Self::HANDLED_EVENT`] about something that the service has never heard of, and
    /// its key.
    fn stray() -> (Uuid, Value);
    /// Malformed data of [`Self::HANDLED_EVENT`], each with a part of the error.
    fn malformed() -> Vec<(Value, &'static str)>;
    /// Fields with which a stored resource cannot be read any more, in several ways.
    fn unreadable() -> Vec<bson::Document>;
}

/// What becomes of an event about something that the service has never heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrayEnd {
    /// It is tried for a while, and becomes a dead letter.
    DeadLetter,
    /// It is answered as every other.
    Answer,
}

/// An event that a service can handle, and what the service publishes then.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What the event says.
    pub data: Value,
    /// Its key.
    pub key: Uuid,
    /// The subject of the answer, as `ce_subject` tells it.
    pub subject: Uuid,
    /// All that the answer says.
    pub answer: Value,
}

impl Exchange {
    /// The record of the event.
    pub fn record<D: ServiceDescription>(&self) -> Record {
        event(D::HANDLED_EVENT, &self.data, Some(self.key))
    }
}

/// A service that creates its resource by `POST` on [`ServiceDescription::RESOURCE`].
pub trait WithPosts: ServiceDescription {
    /// The C# services' route for the same, where they have one.
    const CSHARP_ROUTE: Option<&'static str> = None;
    /// The fields of a good body with their values as JSON. That of `id` is `null`; all others are
    /// required.
    const FIELDS: &'static [(&'static str, &'static str)];
    /// For each required field, a value that makes another content of it.
    const OTHER_CONTENT: &'static [(&'static str, &'static str)];
    /// A field that is a JSON string.
    const TEXT_FIELD: &'static str;
    /// A field that is money.
    const MONEY_FIELD: &'static str;
    /// The fields that are UUIDs.
    const ID_FIELDS: &'static [&'static str];
    /// The field of the answer with the key of its events.
    const KEY_FIELD: &'static str;

    /// Wrong values of fields, as JSON, beside those that are wrong for every UUID and all money.
    fn wrong_values() -> Vec<(&'static str, String)>;
    /// Settings under which the service is full when it holds one resource that is not announced.
    fn ways_to_be_full() -> Vec<fn(&mut Setup<Self::Service>)> {
        vec![|setup| setup.settings.max_in_flight = 1]
    }
}

/// A service that lists its resource, newest first, by `GET` on [`ServiceDescription::RESOURCE`].
pub trait WithLists: ServiceDescription {
    /// Queries of that list that are wrong, each with the parameter that is named, beside those that
    /// are wrong for every list.
    const WRONG_FILTERS: &'static [(&'static str, &'static str)] = &[];

    /// The paths of all lists of the service, those below a resource of this id included.
    fn lists(id: Uuid) -> Vec<String> {
        let _ = id;
        vec![Self::RESOURCE.to_owned()]
    }
}

/// Makes one `#[test]` of each promise of a group.
#[macro_export]
macro_rules! service_suite {
    (every_service: $description:ty) => {
        $crate::service_suite! {
            @promises $description,
            what_is_not_there_is_404_and_what_is_not_for_it_405
            what_is_no_http_is_refused_and_harms_nobody
            what_is_no_http_is_refused_and_its_connection_closed
            a_request_without_a_usable_id_is_given_one
            a_parameter_that_is_not_known_is_400
            every_service_tells_about_itself
            head_is_answered_where_get_is_and_options_tells_what_is_allowed
            the_description_names_exactly_the_methods_that_are_there
            what_cannot_be_read_is_not_said_to_be_missing_and_others_are_found
            a_service_without_its_database_answers_and_is_ready_once_it_comes
            a_service_without_its_log_is_ready_once_it_comes
            while_the_database_is_away_nothing_is_lost
            while_the_log_is_away_what_is_stored_waits_and_is_announced_when_it_is_back
            a_dead_letter_that_the_log_does_not_take_holds_no_offset_back_and_follows
            stopping_finishes_what_is_under_way
            what_a_stop_could_not_finish_goes_on_at_the_next_start
            a_restart_begins_where_the_last_run_ended
            the_answer_to_an_event_has_its_key_and_tells_its_cause
            poison_goes_to_the_dead_letters_while_good_records_behind_it_are_handled
            an_event_of_an_unknown_name_is_skipped_and_counted
            a_backlog_of_many_keys_is_handled_whole
            a_record_without_a_value_is_counted_and_stops_nothing
            an_edited_event_is_handled_in_the_place_of_the_failed_one_and_both_are_kept
            a_replay_that_fails_again_is_counted_and_buried_again
            a_replay_of_all_that_failed_for_a_reason_is_a_job_that_tells_how_far_it_is
            a_job_goes_on_after_a_restart_where_it_was
            records_without_a_key_are_parked_alone
            what_operators_cannot_ask_for_is_refused_with_the_reason
        }
    };
    (with_posts: $description:ty) => {
        $crate::service_suite! {
            @promises $description,
            a_request_that_stalls_is_given_up_after_some_seconds
            a_body_that_cannot_be_read_is_400
            a_body_in_chunks_without_their_lengths_is_400
            a_field_that_is_wrong_is_400_and_named
            what_is_not_known_in_a_body_is_ignored_however_deep
            a_body_of_another_type_or_size_is_refused
            an_idempotency_key_that_is_wrong_is_400
            a_post_answers_201_and_is_found_at_its_location
            a_repeated_post_answers_as_the_first_and_is_announced_once
            the_same_id_with_another_content_is_409
            an_idempotency_key_stands_for_an_id
            a_request_is_followed_by_its_ids_into_its_events
            a_post_to_a_service_without_its_database_is_refused_until_it_comes
            a_service_without_its_log_takes_posts_and_announces_them_once_it_comes
            a_post_while_the_database_is_away_is_refused_with_the_id_to_repeat_it_with
            more_than_may_be_under_way_is_503_overloaded_until_the_log_confirms
            a_repeat_of_what_is_stored_is_answered_as_stored_however_full_the_service_is
            while_load_balancers_notice_a_service_that_stops_serves_on_and_is_not_ready
            what_arrives_while_a_request_is_finished_is_told_that_the_service_stops
        }
    };
    (with_csharp_route: $description:ty) => {
        $crate::service_suite! {
            @promises $description,
            the_csharp_route_answers_200_in_any_case
        }
    };
    (with_lists: $description:ty) => {
        $crate::service_suite! {
            @promises $description,
            pages_visit_each_once_newest_first
            parameters_of_a_list_that_are_wrong_are_400_and_named
        }
    };
    (@promises $description:ty, $($promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                $crate::service_suite::$promise::<$description>();
            }
        )*
    };
}
