//! Identifiers that come and go, and records that are deleted: on the same desk as writes, record by record.

use antumbra_store::Tx;

use super::{
    super::super::{
        amend::model::{Amend, Anchor, Refused},
        check::OnConflict,
        difference::PurposeChange,
        encoding,
        feed::What,
        model::{Identifier, Record, RecordId},
    },
    Blind, Desk, Fate, Held, Site,
};
use crate::{keyring::KeyringError, purposes::PartitionId};

/// Changes to identifiers of records in one partition.
pub(in crate::preferences) struct Amends {
    pub(in crate::preferences) partition: PartitionId,
    /// In the order of the call. What is refused already finds nothing and changes nothing.
    pub(in crate::preferences) records: Vec<Result<Amend, Refused>>,
}

/// Records of one partition that are to be deleted.
pub(in crate::preferences) struct Deletes {
    pub(in crate::preferences) partition: PartitionId,
    /// In the order of the call.
    pub(in crate::preferences) anchors: Vec<Anchor>,
}

/// A record that is no more.
pub(in crate::preferences) struct Deleted {
    pub(in crate::preferences) id: RecordId,
    /// How many keys went: its own, and that of each record that had become part of it.
    pub(in crate::preferences) keys: usize,
}

impl Amends {
    /// Whom the call is about.
    pub(in crate::preferences) fn people(&self, site: &Site<'_>) -> Vec<Blind> {
        let amends = self.records.iter().flatten();
        let blinds = amends.flat_map(|amend| {
            let came = amend.amendment.new.as_ref();
            let came = came.map(|identifier| site.blind(self.partition, &identifier.name, &identifier.value));
            amend.anchor.blind(site, self.partition).into_iter().chain(came)
        });
        blinds.collect()
    }
}

impl Deletes {
    /// Whom the call is about.
    pub(in crate::preferences) fn people(&self, site: &Site<'_>) -> Vec<Blind> {
        let blinds = self.anchors.iter().map(|anchor| anchor.blind(site, self.partition));
        blinds.flatten().collect()
    }
}

impl Anchor {
    fn blind(&self, site: &Site<'_>, partition: PartitionId) -> Option<Blind> {
        match self {
            Anchor::Unique(identifier) => Some(site.blind(partition, &identifier.name, &identifier.value)),
            Anchor::Named(id) => Some(site.alias(partition, *id)),
            Anchor::Shared | Anchor::Nothing => None,
        }
    }

    fn named(&self) -> Option<RecordId> {
        match self {
            Anchor::Named(id) => Some(*id),
            Anchor::Unique(_) | Anchor::Shared | Anchor::Nothing => None,
        }
    }
}

/// Changes identifiers. Gives for each record what is stored now, or why it stays as it was.
pub(in crate::preferences) async fn amend_all(
    tx: &mut Tx,
    site: &Site<'_>,
    amends: &Amends,
) -> Result<Vec<Result<Held, Refused>>, KeyringError> {
    let partition = amends.partition;
    let named = amends.records.iter().flatten().filter_map(|amend| amend.anchor.named());
    let blinds = amends.people(site).into_iter().map(|blind| (partition, blind));
    let named = named.map(|id| (partition, id)).collect();
    let mut desk = Desk::lay_out(tx, site, blinds.collect(), named).await?;
    let outcomes = amends.records.iter().map(|record| match record {
        Ok(amend) => desk.amend(partition, amend),
        Err(refused) => Err(refused.clone()),
    });
    let outcomes = outcomes.collect();
    desk.clear_away(tx).await?;
    Ok(outcomes)
}

/// Deletes records, with their keys and all that leads to them. Their history stays, and nobody can read it.
pub(in crate::preferences) async fn delete_all(
    tx: &mut Tx,
    site: &Site<'_>,
    deletes: &Deletes,
) -> Result<Vec<Result<Deleted, Refused>>, KeyringError> {
    let partition = deletes.partition;
    let named = deletes.anchors.iter().filter_map(Anchor::named);
    let blinds = deletes.people(site).into_iter().map(|blind| (partition, blind));
    let named = named.map(|id| (partition, id)).collect();
    let mut desk = Desk::lay_out(tx, site, blinds.collect(), named).await?;
    let anchors = deletes.anchors.iter();
    let outcomes = anchors.map(|anchor| desk.delete(partition, anchor)).collect();
    desk.clear_away(tx).await?;
    Ok(outcomes)
}

impl Desk<'_> {
    fn amend(&mut self, partition: PartitionId, amend: &Amend) -> Result<Held, Refused> {
        let id = self.anchored(partition, &amend.anchor)?;
        let amendment = &amend.amendment;
        let record = self.readable(partition, id)?;
        let holds = |identifier: &Option<Identifier>| {
            let found = identifier.as_ref().map(|known| record.identifiers.binary_search(known));
            found.is_some_and(|found| found.is_ok())
        };
        if amendment.gone.is_some() && !holds(&amendment.gone) {
            return Err(Refused::NotHeld);
        }
        if amendment.new.is_none() && self.is_last_unique(&record, amendment.gone.as_ref()) {
            return Err(Refused::LastUnique);
        }
        if holds(&amendment.new) && (amendment.gone.is_none() || amendment.gone == amendment.new) {
            return Ok(self.drawer(partition, id).held());
        }
        let came = amendment
            .new
            .as_ref()
            .filter(|identifier| self.site.is_unique(identifier));
        let came = came.map(|identifier| self.site.blind(partition, &identifier.name, &identifier.value));
        let other = came
            .and_then(|blind| self.owner(partition, &blind))
            .filter(|other| *other != id);
        if let Some(other) = other {
            if amend.on_conflict == OnConflict::Refuse {
                return Err(match amendment.gone {
                    None => Refused::AppendBelongsToAnother,
                    Some(_) => Refused::NewValueBelongsToAnother,
                });
            }
            self.readable(partition, other)?;
        }
        // The one that is named; else the oldest, which has the smallest id.
        let survivor = match amend.anchor {
            Anchor::Named(_) => id,
            _ => other.map_or(id, |other| other.min(id)),
        };
        let absorbed: Vec<RecordId> = other.into_iter().chain([id]).filter(|part| *part != survivor).collect();
        self.refuse_too_large(partition, survivor, &absorbed, amendment.new.iter(), [].iter())?;

        let before = self.readable(partition, survivor)?;

        if let Some(gone) = &amendment.gone {
            self.forget(partition, gone, id);
        }
        self.drawer_mut(partition, id).record_mut().amend(amendment);
        self.unite(partition, survivor, &absorbed);
        if let Some(blind) = came {
            self.owners.entry((partition, blind)).or_default().now = Some(survivor);
        }
        let event = |changes: &[PurposeChange]| encoding::encode_amendment(amendment, &absorbed, changes);
        Ok(self.enter(partition, survivor, &before, &absorbed, event))
    }

    fn delete(&mut self, partition: PartitionId, anchor: &Anchor) -> Result<Deleted, Refused> {
        let id = self.anchored(partition, anchor)?;
        let keys = match self.drawer(partition, id).record.clone() {
            Some(record) => {
                for identifier in &record.identifiers {
                    self.forget(partition, identifier, id);
                }
                for part in &record.absorbed {
                    let alias = self.site.alias(partition, *part);
                    self.forget_blind(partition, alias, id);
                }
                1 + record.absorbed.len()
            }
            None => {
                self.forget_all_known(partition, id);
                1
            }
        };
        self.drawer_mut(partition, id).fate = Fate::Deleted;
        self.news.tell(partition, id, What::Deleted);
        Ok(Deleted { id, keys })
    }

    /// Of a record that can't be read: whatever this call has found to lead to it leads nowhere. What else does can't be told;
    /// it leads to a record that is not there, which counts as nothing and is written over by whoever has it next.
    fn forget_all_known(&mut self, partition: PartitionId, id: RecordId) {
        let leads = |(place, owner): (&(PartitionId, Blind), &super::Owner)| {
            (place.0 == partition && owner.now == Some(id)).then_some(place.1)
        };
        let blinds: Vec<Blind> = self.owners.iter().filter_map(leads).collect();
        for blind in blinds {
            self.forget_blind(partition, blind, id);
        }
    }

    /// The living record that an anchor points at.
    fn anchored(&self, partition: PartitionId, anchor: &Anchor) -> Result<RecordId, Refused> {
        let found = match anchor {
            Anchor::Shared => return Err(Refused::SharedAnchor),
            Anchor::Nothing => None,
            Anchor::Named(id) => self.find_named(partition, *id, &self.site.alias(partition, *id)),
            Anchor::Unique(identifier) => {
                let blind = self.site.blind(partition, &identifier.name, &identifier.value);
                self.owner(partition, &blind)
            }
        };
        found.ok_or(Refused::NoRecord)
    }

    fn readable(&self, partition: PartitionId, id: RecordId) -> Result<std::sync::Arc<Record>, Refused> {
        let record = self.drawer(partition, id).record.clone();
        record.ok_or(Refused::Store(super::Refused::Unreadable))
    }

    /// Whether a record without this identifier could be found by its own id only.
    fn is_last_unique(&self, record: &Record, gone: Option<&Identifier>) -> bool {
        let stays = |held: &&Identifier| Some(*held) != gone && self.site.is_unique(held);
        gone.is_some_and(|gone| self.site.is_unique(gone)) && !record.identifiers.iter().any(|held| stays(&held))
    }

    /// An identifier leads to `id` no longer.
    fn forget(&mut self, partition: PartitionId, identifier: &Identifier, id: RecordId) {
        let blind = self.site.blind(partition, &identifier.name, &identifier.value);
        self.forget_blind(partition, blind, id);
    }

    fn forget_blind(&mut self, partition: PartitionId, blind: Blind, id: RecordId) {
        if let Some(owner) = self.owners.get_mut(&(partition, blind))
            && owner.now == Some(id)
        {
            owner.now = None;
        }
        self.doubtful.push((partition, blind, id));
    }
}
