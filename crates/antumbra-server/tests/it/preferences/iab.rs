//! Consent strings: refused where they are malformed, kept as they came, and held against the purposes beside them.

use antumbra_server::{
    ServerConfig,
    config::{IabContradiction, PreferencesConfig},
};

use super::*;
use crate::support::manage::manage;

/// As their specifications print them: a TC string with two lists of vendors and a segment, and a GPP string about
/// California, where sale and sharing are refused and the browser sent the Global Privacy Control.
const TCF: &str = "COvFyGBOvFyGBAbAAAENAPCAAOAAAAAAAAAAAEEUACCKAAA.ZAAgH9794ulA";
const GPP: &str = "DBABBg~BVWSSSVY.YA";

pub(super) async fn with(iab_contradiction: IabContradiction) -> Preferences {
    let config = ServerConfig {
        preferences: PreferencesConfig {
            iab_contradiction,
            ..PreferencesConfig::default()
        },
        ..ServerConfig::default()
    };
    let server = TestServer::with(config).await;
    configure(&server, server.organization, &[SHOP]).await;
    let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
    Preferences { server, key }
}

fn ada(strings: Value, purposes: &[(&str, bool)]) -> Value {
    let purposes = purposes
        .iter()
        .map(|(purpose, enabled)| json!({"purpose": purpose, "enabled": enabled}));
    json!({
        "identifiers": [email_of("ada@example.test")],
        "consentManagement": strings,
        "purposes": purposes.collect::<Vec<_>>(),
    })
}

#[tokio::test]
async fn well_formed_strings_are_kept_letter_for_letter() {
    let store = Preferences::start().await;
    let strings = json!({"usp": "1yN-", "gpp": GPP, "tcf": TCF, "airgapVersion": "v10 ~ é"});
    let node = store.record(ada(strings.clone(), &[])).await;
    assert_eq!(node["consentManagement"], strings);
    assert_eq!(store.find_email("ada@example.test").await["consentManagement"], strings);
}

#[tokio::test]
async fn a_malformed_string_is_refused_with_its_place_and_without_a_letter_of_it() {
    let store = Preferences::start().await;
    let flip = |text: &str, place: usize, to: &str| format!("{}{to}{}", &text[..place], &text[place + 1..]);
    let long = format!("{TCF}{}", "A".repeat(8193 - TCF.len()));
    for (name, text, expected) in [
        (
            "tcf",
            TCF[..40].to_owned(),
            "ends before MaxVendorId does, at character 40, bit 240 of its segment",
        ),
        // One bit of `MaxVendorId`: the list is said to be longer than the text.
        (
            "tcf",
            flip(TCF, 36, "B"),
            "ends before BitField does, at character 47, bit 282 of its segment",
        ),
        (
            "tcf",
            TCF.replace('.', "B."),
            "goes on after its last field, at character 47, bit 287 of its segment",
        ),
        (
            "tcf",
            flip(TCF, 49, "="),
            "has a character that may not stand there, at character 49",
        ),
        (
            "tcf",
            flip(TCF, 0, "B"),
            "has a version that is not known, at character 0",
        ),
        ("tcf", long, "must be at most 8192 bytes long, at character 8192"),
        (
            "gpp",
            GPP[..8].to_owned(),
            "ends before a field of two bits does, at character 8",
        ),
        (
            "gpp",
            flip(GPP, 8, "X"),
            "has a value that is not defined in a field of two bits, at character 8",
        ),
        (
            "gpp",
            flip(GPP, 1, "C"),
            "has a version that is not known, at character 1",
        ),
        (
            "gpp",
            flip(GPP, 9, "/"),
            "has a character that may not stand there, at character 9",
        ),
        (
            "gpp",
            "~".repeat(8193),
            "must be at most 8192 bytes long, at character 8192",
        ),
        ("usp", "1YN".to_owned(), "must have four characters, at character 3"),
        (
            "usp",
            "1Y NN".to_owned(),
            "has a character that is not Y, N or -, at character 2",
        ),
        (
            "usp",
            String::new(),
            "has nothing where something must stand, at character 0",
        ),
        (
            "airgapVersion",
            "v".repeat(8193),
            "must be at most 8192 bytes long, at character 8192",
        ),
    ] {
        let nested = ada(json!({name: text}), &[]);
        let flat = json!({"identifiers": [email_of("ada@example.test")], name: text});
        for (record, place) in [(nested, format!("consentManagement.{name}")), (flat, name.to_owned())] {
            let (status, answer) = store.upsert(json!({"records": [in_shop(record)]})).await;
            assert_eq!(status, 400, "{answer}");
            let [(path, rule)] = &details(&answer)[..] else {
                panic!("one complaint: {answer}");
            };
            assert_eq!(*path, format!("records[0].{place}"));
            assert!(rule.starts_with(expected), "{rule}, and not: {expected}");
            assert!(text.len() < 4 || !answer.to_string().contains(&text), "{answer}");
        }
    }
    assert_eq!(store.find(json!({})).await, [] as [Value; 0], "nothing was written");
}

#[tokio::test]
async fn a_string_that_the_other_place_outweighs_is_not_looked_at_and_null_always_clears() {
    let store = Preferences::start().await;
    let mut record = ada(json!({"usp": "1YNN", "tcf": null}), &[]);
    record["usp"] = json!("nonsense");
    record["tcf"] = json!("nonsense");
    let strings = json!({"usp": "1YNN", "gpp": null, "tcf": null, "airgapVersion": null});
    assert_eq!(store.record(record).await["consentManagement"], strings);
}

#[tokio::test]
async fn a_contradiction_is_kept_and_shown_for_as_long_as_it_stands() {
    let store = Preferences::start().await;
    let strings = json!({"usp": "1YYN", "gpp": GPP, "tcf": TCF});
    let node = store
        .record(ada(strings, &[("SaleOfInfo", true), ("Advertising", false)]))
        .await;
    let shown = "SaleOfInfo:usp,SaleOfInfo:gpp.usca,Advertising:tcf";
    assert_eq!(node["system"]["iabContradictions"], shown);
    assert_eq!(node["system"]["userPrivacySignals"], "GPC");
    let found = store.find_email("ada@example.test").await;
    assert_eq!(found["system"], node["system"]);
    // A later word about the sale, and a later string.
    let mut later = ada(json!({"tcf": null}), &[("SaleOfInfo", false)]);
    later["timestamp"] = json!("2026-02-04T09:15:00.250Z");
    let node = store.record(later).await;
    assert_eq!(node["system"].get("iabContradictions"), None);
    assert_eq!(node["system"]["userPrivacySignals"], "GPC");
    let mut later = ada(json!({"gpp": null, "usp": "1YNN"}), &[]);
    later["timestamp"] = json!("2026-02-05T09:15:00.250Z");
    let node = store.record(later).await;
    assert_eq!(node["system"]["iabContradictions"], "SaleOfInfo:usp");
    assert_eq!(node["system"].get("userPrivacySignals"), None);
}

#[tokio::test]
async fn agreement_and_silence_are_no_contradictions() {
    let store = Preferences::start().await;
    for (strings, purposes) in [
        (
            json!({"usp": "1YYN", "gpp": GPP}),
            vec![("SaleOfInfo", false), ("Advertising", true)],
        ),
        (json!({"usp": "1---"}), vec![("SaleOfInfo", true)]),
        (json!({"usp": "1YYN", "tcf": TCF}), vec![("Analytics", true)]),
        (json!({"usp": null, "gpp": "DBAA"}), vec![("SaleOfInfo", true)]),
    ] {
        let mut record = ada(strings.clone(), &purposes);
        record["identifiers"] = json!([email_of(&format!("p{}@example.test", strings.to_string().len()))]);
        let node = store.record(record).await;
        assert_eq!(
            node["system"].as_object().unwrap().get("iabContradictions"),
            None,
            "{strings}"
        );
    }
}

#[tokio::test]
async fn a_contradiction_is_refused_where_the_operator_says_so() {
    let store = with(IabContradiction::Refuse).await;
    let strings = json!({"usp": "1YYN", "gpp": GPP});
    let broken = store.refusal(ada(strings.clone(), &[("SaleOfInfo", true)])).await;
    let rule = "contradicts what this record says of the purpose SaleOfInfo";
    assert_eq!(
        broken,
        [
            ("records[0].consentManagement.usp".to_owned(), rule.to_owned()),
            ("records[0].consentManagement.gpp".to_owned(), rule.to_owned()),
        ]
    );
    store.record(ada(strings, &[("SaleOfInfo", false)])).await;
    // A record that comes to contradict itself by two calls is shown: neither call did so by itself.
    let mut later = ada(json!({}), &[("SaleOfInfo", true)]);
    later["timestamp"] = json!("2026-02-04T09:15:00.250Z");
    let node = store.record(later).await;
    assert_eq!(
        node["system"]["iabContradictions"],
        "SaleOfInfo:usp,SaleOfInfo:gpp.usca"
    );
}

#[tokio::test]
async fn a_contradiction_is_passed_over_where_the_operator_says_so() {
    let store = with(IabContradiction::Ignore).await;
    let node = store
        .record(ada(json!({"usp": "1YYN", "gpp": GPP}), &[("SaleOfInfo", true)]))
        .await;
    assert_eq!(node["system"].get("iabContradictions"), None);
    assert_eq!(node["system"]["userPrivacySignals"], "GPC");
    let found = store.find_email("ada@example.test").await;
    assert_eq!(found["system"], node["system"]);
}

#[tokio::test]
async fn an_organization_may_decide_otherwise_for_itself() {
    let store = with(IabContradiction::Refuse).await;
    let admin = store.server.key(&[ScopeName::FullAdmin]).await;
    let decide = async |value: &str| {
        let update = format!("updateOrganization(input: {{{value}}}) {{ clientMutationId }}");
        manage(&store.server, &admin, &format!("mutation {{ {update} }}")).await;
        manage(&store.server, &admin, "{ organization { iabContradiction } }").await["iabContradiction"].clone()
    };
    let said = || json!({"records": [in_shop(ada(json!({"usp": "1YYN"}), &[("SaleOfInfo", true)]))]});
    assert_eq!(store.upsert(said()).await.0, 400);
    assert_eq!(decide("iabContradiction: RECORD").await, "RECORD");
    assert_eq!(decide("").await, "RECORD", "what is not given stays");
    let (status, answer) = store.upsert(said()).await;
    let shown = &answer["nodes"][0]["system"]["iabContradictions"];
    assert_eq!((status, shown), (200, &json!("SaleOfInfo:usp")));
    assert_eq!(decide("iabContradiction: IGNORE").await, "IGNORE");
    let found = store.find_email("ada@example.test").await;
    assert_eq!(found["system"].get("iabContradictions"), None);
    assert_eq!(decide("iabContradiction: null").await, json!(null));
    assert_eq!(store.upsert(said()).await.0, 400);

    let other = store.server.another_organization().await;
    configure(&store.server, other, &[SHOP]).await;
    let scopes = ScopeName::ManageStoredPreferences;
    let input = ApiKeyInput {
        scopes: [scopes].into(),
        ..key_input()
    };
    let (_, key) = store.server.make_key(other, input).await;
    assert_eq!(decide("iabContradiction: IGNORE").await, "IGNORE");
    let body = said().to_string();
    let theirs = call(&store.server, &key, reqwest::Method::PUT, "/v1/preferences", body).await;
    assert_eq!(theirs.0, 400, "it is that organization's alone");
}
