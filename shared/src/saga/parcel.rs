//! A saga for the tests of the kit: a parcel that is open until it is delivered.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{AnnouncedAgain, Saga};
use crate::{
    actors::repository::{CopiesOf, WorkspaceOf},
    document_store::{CollectionSettings, Document, Index},
    envelope::OutboxEvent,
    environment::Timestamp,
    events::About,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parcel {
    #[serde(rename = "_id")]
    pub id: Uuid,
    pub house_id: Uuid,
    pub state: i32,
    pub since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced_again: Option<AnnouncedAgain>,
}

impl Parcel {
    pub fn open(id: u128) -> Parcel {
        Parcel {
            id: Uuid::from_u128(id),
            house_id: Uuid::from_u128(1),
            state: 0,
            since: Timestamp(0),
            announced_again: None,
        }
    }

    pub fn delivered(id: u128) -> Parcel {
        Parcel {
            state: 1,
            ..Parcel::open(id)
        }
    }
}

impl Document for Parcel {
    const COLLECTION: CollectionSettings = CollectionSettings {
        name: "parcels",
        indexes: &[
            Index {
                fields: &["houseId", "state"],
            },
            Index { fields: &["state"] },
        ],
    };
    fn id(&self) -> Uuid {
        self.id
    }
}

pub type Parcels = WorkspaceOf<Parcel>;

impl Saga for Parcel {
    type Workspace = Parcels;
    const OPEN: (&'static str, i32) = ("state", 0);
    const KEY: &'static str = "houseId";
    fn copies(workspace: &mut Parcels) -> &mut CopiesOf<Parcel> {
        workspace.copies()
    }
    fn about(&self) -> About {
        About::default()
            .with("house_id", self.house_id)
            .with("parcel_id", self.id)
    }
    fn is_final(&self) -> bool {
        self.state != 0
    }
    fn since(&self) -> Timestamp {
        self.since
    }
    fn announced_again(&self) -> Option<AnnouncedAgain> {
        self.announced_again
    }
    fn with_announced_again(self, again: AnnouncedAgain) -> Parcel {
        Parcel {
            announced_again: Some(again),
            ..self
        }
    }
    fn announcement(&self) -> OutboxEvent {
        unreachable!("no repository decides here")
    }
}
