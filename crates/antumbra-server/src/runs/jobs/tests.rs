//! What is made of a plan.

use std::collections::HashMap;

use jiff::SignedDuration;
use proptest::{prelude::*, sample::subsequence};
use uuid::Uuid;

use super::*;
use crate::{
    dsr::{
        DelayRule, Dsr, DsrIdentifier, DsrState, DsrSubject, IdentifierSource, Origin, PlanMarks, Region, Rules,
        SiloChoice, Verifier,
    },
    organization::{Action, ActionId, ActionSettings, IdentifierKind},
    silos::{DataPoint, DataPointId},
    world::Clock,
};

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);
const NAMES: [&str; 4] = ["email", "coreIdentifier", "phone", "card"];

fn id(number: usize) -> Uuid {
    Uuid::from_u128(number as u128)
}

/// A silo of any kind, numbered later.
fn silo() -> impl Strategy<Value = DataSilo> {
    let flags = prop::array::uniform5(any::<bool>());
    let actions = prop::option::of(subsequence(vec![Action::Access, Action::Erasure], 0..=2));
    let before = subsequence((0..8).collect::<Vec<usize>>(), 0..=3);
    (flags, subsequence(NAMES.to_vec(), 0..=4), actions, before).prop_map(|(flags, names, actions, before)| {
        let kind = if flags[0] { "server" } else { "promptAPerson" };
        let mut silo = DataSilo::new(DataSiloId(Uuid::nil()), kind.into(), "Silo".into(), NOW);
        silo.url = flags[1].then(|| "https://silo.example.test/".into());
        (silo.is_live, silo.is_paused) = (flags[2], flags[3]);
        if flags[4] {
            silo.subject_blocklist = ["customer".to_owned()].into();
        }
        silo.identity_keys = names.into_iter().map(str::to_owned).collect();
        silo.actions = actions.map(|actions| actions.into_iter().collect());
        silo.depends_on = before.into_iter().map(|number| DataSiloId(id(number))).collect();
        silo
    })
}

fn identifiers() -> impl Strategy<Value = Vec<DsrIdentifier>> {
    let one = (0..NAMES.len(), 0..2_u8, any::<bool>());
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let all = all.into_iter().enumerate();
        all.map(|(number, (name, value, is_verified))| DsrIdentifier {
            id: id(100 + number),
            name: NAMES[name].to_owned(),
            kind: IdentifierKind::Custom,
            value: format!("value {value}"),
            source: IdentifierSource::Input,
            verified_at: is_verified.then_some(NOW),
            verified_by: Verifier::Submitter,
            preflight: None,
        })
        .collect()
    })
}

fn dsr(identifiers: Vec<DsrIdentifier>, is_test: bool, left_out: Vec<usize>) -> Dsr {
    let mut rules = Rules::under(&ActionSettings::initial(ActionId(Uuid::nil()), Action::Erasure));
    rules.delay = Some(DelayRule {
        preview: Action::Access,
        time: SignedDuration::from_hours(24),
    });
    let head = DsrHead {
        id: DsrId(id(7)),
        state: DsrState::Compiling,
        rules,
        subject_type: "customer".into(),
        origin: Origin::Api,
        is_silent: true,
        is_test,
        skips_receipt: false,
        receipt_template: None,
        locale: "en".into(),
        region: Region::default(),
        silos: SiloChoice::Except(left_out.into_iter().map(id).collect()),
        skipped_enrichers: vec![],
        created_at: NOW,
        due_at: NOW,
        deadline: None,
        updated_at: NOW,
        round: 2,
        moved_at: None,
        restarted: None,
        plan: PlanMarks::default(),
        core_index: [0; 16],
        equivalence: [0; 16],
        shredded_at: None,
    };
    let subject = DsrSubject {
        identifiers,
        ..DsrSubject::default()
    };
    Dsr { head, subject }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is configured: what a silo is asked is what was planned, and nobody else is asked anything.
    #[test]
    fn what_is_planned_is_what_is_made(
        mut silos in prop::collection::vec(silo(), 0..8),
        points in prop::collection::vec((0..8_usize, subsequence(vec![Action::Access, Action::Erasure], 0..=2)), 0..12),
        identifiers in identifiers(),
        is_test: bool,
        left_out in subsequence((0..8).collect::<Vec<usize>>(), 0..=2),
        is_second: bool,
    ) {
        silos.iter_mut().enumerate().for_each(|(number, silo)| silo.id = DataSiloId(id(number)));
        let mut by_silo: HashMap<DataSiloId, Vec<DataPoint>> = HashMap::new();
        for (number, (silo, actions)) in points.into_iter().enumerate() {
            let silo = DataSiloId(id(silo));
            let mut point = DataPoint::new(DataPointId(id(200 + number)), silo, format!("point {number}"), NOW);
            point.enabled_actions = actions.into_iter().collect();
            by_silo.entry(silo).or_default().push(point);
        }
        let dsr = dsr(identifiers, is_test, left_out);
        let phase = if is_second { Phase::Secondary } else { Phase::Primary };
        let configured = Configured { organization: OrganizationId(Uuid::nil()), silos: &silos, points: by_silo, workflows: HashMap::new() };
        let plan = PhasePlan::draw(&dsr, phase, &configured, false);
        let runs = make_runs(&Ids::new(Clock::manual(NOW)), &dsr, &Digests::NONE, &plan, NOW);

        let planned: Vec<_> = plan.parts.iter().map(|part| {
            let asked: Vec<(Uuid, &str)> = part.identifiers.iter().map(|asked| (asked.id, asked.name.as_str())).collect();
            let points: Vec<_> = part.answered(plan.action).collect();
            (part.silo, asked, points, &part.waits_for, part.manual_days)
        }).collect();
        let made: Vec<_> = runs.iter().map(|run| {
            let asked: Vec<(Uuid, &str)> =
                run.profiles.iter().map(|profile| (profile.identifier, profile.name.as_str())).collect();
            let points: Vec<_> = run.profiles.first().map_or_else(
                || plan.parts.iter().find(|part| part.silo == run.silo).unwrap().answered(plan.action).collect(),
                |profile| profile.data_points.iter().map(|point| point.id).collect(),
            );
            (run.silo, asked, points, &run.waits_for, run.manual_days)
        }).collect();
        prop_assert_eq!(planned, made);
        for run in &runs {
            prop_assert_eq!((run.request, run.phase, run.round, run.action), (plan.request, phase, 2, plan.action));
            let of_first: Vec<_> = run.profiles.iter().map(|profile| &profile.data_points).collect();
            prop_assert!(of_first.windows(2).all(|pair| pair[0] == pair[1]));
            prop_assert_eq!(run.is_awaited, runs.iter().any(|other| other.waits_for.contains(&run.silo)));
        }
        // Every silo is asked, or left out for a reason; and every identifier likewise.
        let mut named: Vec<DataSiloId> = plan.parts.iter().map(|part| part.silo).collect();
        named.extend(plan.left_out.iter().map(|left_out| left_out.silo));
        named.sort_unstable();
        let all: Vec<DataSiloId> = silos.iter().map(|silo| silo.id).collect();
        prop_assert_eq!(named, all);
        let asked: BTreeSet<Uuid> = runs.iter().flat_map(|run| run.profiles.iter().map(|it| it.identifier)).collect();
        let unasked: BTreeSet<Uuid> = plan.unasked.iter().map(|unasked| unasked.id).collect();
        prop_assert!(asked.is_disjoint(&unasked));
        prop_assert_eq!(asked.len() + unasked.len(), dsr.subject.identifiers.len());
    }
}
