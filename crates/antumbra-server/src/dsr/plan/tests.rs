//! What is planned, and what makes it another plan.

use jiff::SignedDuration;

use super::*;
use crate::{
    dsr::{DelayRule, DsrSubject, IdentifierSource, Origin, Region, Rules, SiloChoice, Verifier},
    organization::{ActionId, ActionSettings, IdentifierKind},
};

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

fn id(number: u128) -> DataSiloId {
    DataSiloId(Uuid::from_u128(number))
}

fn identifier(number: u128, name: &str, is_verified: bool) -> DsrIdentifier {
    DsrIdentifier {
        id: Uuid::from_u128(number),
        name: name.to_owned(),
        kind: IdentifierKind::Custom,
        value: format!("{name} {number}"),
        source: IdentifierSource::Input,
        verified_at: is_verified.then_some(NOW),
        verified_by: Verifier::Submitter,
        preflight: None,
    }
}

/// An erasure with an address, a verified card number, and one that nobody has verified.
fn erasure() -> Dsr {
    let head = DsrHead {
        id: DsrId(Uuid::from_u128(7)),
        state: DsrState::Compiling,
        rules: Rules::under(&ActionSettings::initial(ActionId(Uuid::nil()), Action::Erasure)),
        subject_type: "customer".into(),
        origin: Origin::Api,
        is_silent: true,
        is_test: false,
        skips_receipt: false,
        receipt_template: None,
        locale: "en".into(),
        region: Region::default(),
        silos: SiloChoice::All,
        skipped_enrichers: vec![],
        created_at: NOW,
        due_at: NOW,
        deadline: None,
        updated_at: NOW,
        round: 0,
        moved_at: None,
        restarted: None,
        plan: PlanMarks::default(),
        core_index: [0; 16],
        equivalence: [0; 16],
        shredded_at: None,
    };
    let subject = DsrSubject {
        identifiers: vec![
            identifier(101, "email", true),
            identifier(102, "card", true),
            identifier(103, "phone", false),
        ],
        ..DsrSubject::default()
    };
    Dsr { head, subject }
}

/// A silo with an address that looks people up by their e-mail address.
fn silo(number: u128) -> DataSilo {
    let mut silo = DataSilo::new(id(number), "server".into(), format!("Silo {number}"), NOW);
    silo.url = Some("https://silo.example.test/".into());
    silo.identity_keys = vec!["email".into()];
    silo
}

fn point(number: u128, silo: u128, actions: &[Action]) -> DataPoint {
    let mut point = DataPoint::new(
        DataPointId(Uuid::from_u128(number)),
        id(silo),
        format!("point {number}"),
        NOW,
    );
    point.enabled_actions = actions.iter().copied().collect();
    point
}

fn draw(dsr: &Dsr, phase: Phase, silos: &[DataSilo], points: Vec<DataPoint>, is_held: bool) -> PhasePlan {
    let mut by_silo: HashMap<DataSiloId, Vec<DataPoint>> = HashMap::new();
    for point in points {
        by_silo.entry(point.silo).or_default().push(point);
    }
    let configured = Configured {
        organization: OrganizationId(Uuid::nil()),
        silos,
        points: by_silo,
        workflows: HashMap::new(),
    };
    PhasePlan::draw(dsr, phase, &configured, is_held)
}

#[test]
fn each_silo_is_asked_or_left_out_for_a_reason() {
    let mut dsr = erasure();
    dsr.head.silos = SiloChoice::Except(vec![Uuid::from_u128(3)]);
    let with = |number: u128, change: &dyn Fn(&mut DataSilo)| {
        let mut silo = silo(number);
        change(&mut silo);
        silo
    };
    let silos = [
        silo(1),
        with(2, &|silo| silo.is_live = false),
        silo(3),
        with(4, &|silo| silo.subject_blocklist = ["customer".to_owned()].into()),
        with(5, &|silo| silo.actions = Some([Action::Access].into())),
        with(6, &|silo| silo.identity_keys = vec!["phone".into()]),
        with(7, &|silo| {
            silo.identity_keys = vec!["card".into(), "email".into()];
            silo.depends_on = [id(1), id(2), id(6), id(7)].into();
        }),
        with(8, &|silo| silo.is_paused = true),
        with(9, &|silo| silo.url = None),
        with(10, &|silo| (silo.url, silo.kind) = (None, "cron".into())),
    ];
    let plan = draw(&dsr, Phase::Primary, &silos, vec![], false);
    let left_out: Vec<_> = plan
        .left_out
        .iter()
        .map(|out| (out.silo.0.as_u128(), out.reason))
        .collect();
    let reasons = [
        (2, Reason::NotLive),
        (3, Reason::NotChosen),
        (4, Reason::SubjectTypeBlocked),
        (5, Reason::ActionNotTaken),
    ];
    assert_eq!(left_out, reasons);
    let parts: Vec<_> = plan
        .parts
        .iter()
        .map(|part| {
            let asked: Vec<&str> = part.identifiers.iter().map(|asked| asked.name.as_str()).collect();
            (part.silo.0.as_u128(), asked, part.connection, part.is_paused)
        })
        .collect();
    let (noticed, work) = (Connection::Noticed, Connection::ComesForWork);
    assert_eq!(
        parts,
        [
            (1, vec!["email"], noticed, false),
            (6, vec![], noticed, false),
            (7, vec!["email", "card"], noticed, false),
            (8, vec!["email"], noticed, true),
            (9, vec!["email"], Connection::Disconnected, false),
            (10, vec!["email"], work, false),
        ]
    );
    // It waits for those only that are asked, and not for itself.
    assert_eq!(plan.parts[2].waits_for, [id(1)]);
    let unasked: Vec<_> = plan.unasked.iter().map(|out| (out.name.as_str(), out.reason)).collect();
    assert_eq!(unasked, [("phone", UnaskedReason::NotVerified)]);
    dsr.head.is_test = true;
    let tried_out = draw(&dsr, Phase::Primary, &silos, vec![], false);
    assert!(tried_out.parts.iter().any(|part| part.silo == id(2)));
}

#[test]
fn data_points_that_do_not_do_what_is_asked_are_left_out_where_any_does() {
    use Action::{Access, Erasure};
    let mut dsr = erasure();
    let points = |one: &[Action], other: &[Action]| vec![point(21, 1, one), point(22, 1, other)];
    let mut cases = Vec::new();
    for (action, points, takes_part, answered) in [
        (Erasure, points(&[Erasure], &[Access]), [true, false], 0),
        (Erasure, points(&[Access], &[Access]), [true, true], 0),
        (Access, points(&[Erasure], &[Access]), [false, true], 1),
        (Access, points(&[Access], &[Access]), [true, true], 2),
    ] {
        dsr.head.rules = Rules::under(&ActionSettings::initial(ActionId(Uuid::nil()), action));
        let plan = draw(&dsr, Phase::Primary, &[silo(1)], points, false);
        let part = &plan.parts[0];
        let found: Vec<bool> = part.data_points.iter().map(|point| point.takes_part).collect();
        cases.push((found == takes_part, part.answered(action).count() == answered));
    }
    assert_eq!(cases, [(true, true); 4]);
}

#[test]
fn a_plan_is_another_when_anything_in_it_is_and_the_same_when_nothing_is() {
    let silos = || vec![silo(1), silo(2)];
    let points = || vec![point(21, 1, &[Action::Erasure]), point(22, 1, &[Action::Access])];
    type Edit<'a> = &'a dyn Fn(&mut Dsr, &mut Vec<DataSilo>, &mut Vec<DataPoint>);
    let hash = |edit: Edit<'_>| {
        let (mut dsr, mut silos, mut points) = (erasure(), silos(), points());
        edit(&mut dsr, &mut silos, &mut points);
        draw(&dsr, Phase::Primary, &silos, points, false).hash()
    };
    let first = hash(&|_, _, _| {});
    type Change<'a> = (&'a str, Edit<'a>);
    let others: [Change<'_>; 14] = [
        ("a silo is new", &|_, silos, _| silos.push(silo(3))),
        ("a silo is gone", &|_, silos, _| drop(silos.pop())),
        ("a silo is paused", &|_, silos, _| silos[0].is_paused = true),
        ("a silo is no longer live", &|_, silos, _| silos[0].is_live = false),
        ("a silo has lost its url", &|_, silos, _| silos[0].url = None),
        ("a silo takes another identifier", &|_, silos, _| {
            silos[0].identity_keys.push("card".into())
        }),
        ("a silo waits for another", &|_, silos, _| {
            silos[0].depends_on = [id(2)].into()
        }),
        ("a data point is new", &|_, _, points| points.push(point(23, 2, &[]))),
        ("a data point does more", &|_, _, points| {
            points[1].enabled_actions = [Action::Access, Action::Erasure].into();
        }),
        ("an identifier is found", &|dsr, _, _| {
            dsr.subject.identifiers.push(identifier(104, "email", true))
        }),
        ("an identifier is verified", &|dsr, _, _| {
            dsr.subject.identifiers[2].verified_at = Some(NOW)
        }),
        ("it waits longer", &|dsr, _, _| {
            dsr.head.rules.waiting = SignedDuration::from_hours(24)
        }),
        ("nobody reviews it", &|dsr, _, _| dsr.head.rules.requires_review = false),
        ("it has begun again", &|dsr, _, _| dsr.head.round = 1),
    ];
    for (what, change) in others {
        assert_ne!(hash(change), first, "{what}");
    }
    let same: [Change<'_>; 6] = [
        ("a silo is called otherwise", &|_, silos, _| {
            silos[0].title = "Other".into()
        }),
        ("a silo has moved", &|_, silos, _| {
            silos[0].url = Some("https://moved.example.test/".into())
        }),
        ("silos come in another order", &|_, silos, _| silos.reverse()),
        ("data points come in another order", &|_, _, points| points.reverse()),
        ("it has waited", &|dsr, _, _| {
            dsr.head.state = DsrState::Waiting { until: NOW }
        }),
        ("it is late", &|dsr, _, _| dsr.head.due_at = Timestamp::UNIX_EPOCH),
    ];
    for (what, change) in same {
        assert_eq!(hash(change), first, "{what}");
    }
    let (dsr, silos) = (erasure(), silos());
    assert_ne!(draw(&dsr, Phase::Primary, &silos, points(), true).hash(), first);
    // The form of what is hashed: whoever changes it raises `VERSION`, since what was approved is compared with it.
    let empty = Plan { phases: vec![] };
    let golden = [
        "5d04b50b09f7dd27ab9edff2f1d8880a0a0a03d090d2b3f728e4fded1b3b73c1",
        "1741189c6e841a958d48ae35d958b0e14128d8d99b96eb9183fdcf8046978179",
    ];
    assert_eq!([empty.hash().to_string(), first.to_string()], golden);
}

#[test]
fn what_lies_ahead_are_the_phases_whose_silos_have_not_been_asked() {
    use Phase::{Primary, Secondary};
    let held = |state| DsrState::OnHold { held: Box::new(state) };
    let mut dsr = erasure();
    for (state, one_phase, two_phases) in [
        (DsrState::RequestMade, vec![Primary], vec![Primary, Secondary]),
        (DsrState::Enriching, vec![Primary], vec![Primary, Secondary]),
        (
            DsrState::Waiting { until: NOW },
            vec![Primary],
            vec![Primary, Secondary],
        ),
        (DsrState::Compiling, vec![Primary], vec![Primary, Secondary]),
        (held(DsrState::Compiling), vec![Primary], vec![Primary, Secondary]),
        (DsrState::Approving { any_data: true }, vec![], vec![Secondary]),
        (DsrState::Delayed { until: NOW }, vec![], vec![Secondary]),
        (held(DsrState::Secondary), vec![], vec![Secondary]),
        (DsrState::SecondaryApproving, vec![], vec![]),
        (DsrState::Canceled { canceled_at: NOW }, vec![], vec![]),
    ] {
        dsr.head.state = state.clone();
        dsr.head.rules.delay = None;
        assert_eq!(dsr.head.phases_ahead(), one_phase, "{state:?}");
        dsr.head.rules.delay = Some(DelayRule {
            preview: Action::Access,
            time: SignedDuration::from_hours(240),
        });
        assert_eq!(dsr.head.phases_ahead(), two_phases, "{state:?}");
    }
    dsr.head.state = DsrState::Compiling;
    dsr.head.plan.made.push(Made {
        phase: Primary,
        hash: Digest::of(b""),
        at: NOW,
        answered: None,
    });
    assert_eq!(dsr.head.phases_ahead(), [Secondary]);
}
