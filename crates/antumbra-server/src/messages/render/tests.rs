//! Words in tables: whose are used, in which language, and what becomes of their values.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::*;
use crate::{
    dsr::DsrId,
    messages::OwnWords,
    organization::{Action, Organization, OrganizationId, TemplateId},
};

fn settings(templates: Vec<Template>) -> Settings {
    let organization = Organization {
        id: OrganizationId(Uuid::nil()),
        name: "Fish & Chips <Ltd>".into(),
        uri: "fish".into(),
        consent_manager: Uuid::nil(),
        created_at: Timestamp::UNIX_EPOCH,
        iab_contradiction: None,
        restart_time_limit_days: None,
        retention: Default::default(),
        time_zone: None,
        holidays: vec![],
        rehearses: false,
    };
    Settings::new(organization, vec![], vec![], vec![], vec![], templates)
}

fn template(title: &str, locale: Option<&str>, subject: &str, body: &str) -> Template {
    let id = TemplateId(Uuid::from_u128(u128::from(title.len() as u64)));
    Template {
        kind: Some(MessageKind::Receipt),
        locale: locale.map(str::to_owned),
        subject: subject.into(),
        body: body.into(),
        ..Template::new(id, title.into(), Timestamp::UNIX_EPOCH)
    }
}

fn letter(kind: MessageKind, locale: &str) -> Letter {
    Letter {
        request: DsrId(Uuid::from_u128(7)),
        kind,
        action: Action::Access,
        requested_at: "2026-05-02T08:15:00Z".parse().unwrap(),
        to: "robin.hale@example.test".into(),
        locale: locale.into(),
        words: OwnWords::default(),
        fields: BTreeMap::new(),
        reply_to: vec!["desk@example.test".into()],
    }
}

#[test]
fn a_built_in_message_is_in_the_language_of_the_data_subject() {
    for (locale, language, subject) in [
        ("en", "en", "We have received your privacy request"),
        ("en-GB", "en", "We have received your privacy request"),
        ("de-AT", "de", "Wir haben Ihre Datenschutzanfrage erhalten"),
        ("pt-BR", "pt", "Recebemos o seu pedido de privacidade"),
        ("fil-PH", "en", "We have received your privacy request"),
    ] {
        let due = Field::Day("2026-06-01T00:00:00Z".parse().unwrap());
        let letter = letter(MessageKind::Receipt, locale).with("dueDate", due);
        let (said_in, mail) = mail(&settings(vec![]), &letter);
        assert_eq!(
            (said_in.as_str(), mail.subject.as_str()),
            (language, subject),
            "{locale}"
        );
        assert!(mail.html.contains(&format!("<html lang=\"{language}\"")));
        assert!(!mail.text.contains("{{") && !mail.html.contains("{{"), "{locale}");
    }
}

#[test]
fn a_line_whose_value_is_missing_is_left_out_and_the_others_stay() {
    let without = mail(&settings(vec![]), &letter(MessageKind::ReportReady, "en")).1;
    assert!(!without.text.contains("see it here") && !without.html.contains("see it here"));
    assert!(
        without
            .text
            .contains("What you asked for: a copy of your personal data\nReference: 00000000-")
    );
    let link = "https://privacy.example.test/r?a=1&b=\"2\"";
    let with = letter(MessageKind::ReportReady, "en").with("reportLink", Field::Link(link.into()));
    let with = mail(&settings(vec![]), &with).1;
    assert!(with.text.contains(&format!("You can see it here: {link}\n")));
    let escaped = "https://privacy.example.test/r?a=1&amp;b=&quot;2&quot;";
    assert!(
        with.html.contains(&format!("<a href=\"{escaped}\">{escaped}</a>")),
        "{}",
        with.html
    );
}

#[test]
fn values_cannot_leave_the_place_they_are_put_in() {
    let hostile = "<script>x</script>\r\nBcc: all@example.test\r\n\r\n'\"&";
    let body = "<p title='{{requestType}}'>{{dueDate}} of {{organizationName}}</p>";
    let templates = vec![template("t", None, "{{dueDate}} for you", body)];
    let letter = letter(MessageKind::Receipt, "en").with("dueDate", Field::Text(hostile.into()));
    let (_, mail) = mail(&settings(templates), &letter);
    assert!(
        !mail.subject.contains(['\r', '\n']) && mail.subject.ends_with("for you"),
        "{}",
        mail.subject
    );
    assert!(!mail.html.contains("<script>") && mail.html.contains("&lt;script&gt;x&lt;/script&gt;"));
    assert!(mail.html.contains("of Fish &amp; Chips &lt;Ltd&gt;</p>"));
    assert!(
        mail.text.starts_with("<script>x</script> Bcc: all@example.test"),
        "{}",
        mail.text
    );
}

#[test]
fn html_and_plain_text_say_the_same_and_lead_to_the_same_places() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for locale in ["en", "de", "fr", "es", "it", "nl", "pt"] {
        for kind in MessageKind::ALL {
            let text = |name: &str| Field::Text(format!("{name} <&> \"of\" 'it'"));
            let link = |path: &str| Field::Link(format!("https://privacy.example.test/{path}/a-b_c?d=1&e=2"));
            let letter = letter(kind, locale)
                .with("dueDate", Field::Day("2026-03-01T12:00:00Z".parse().unwrap()))
                .with("expiryDate", text("expiry"))
                .with("availableUntil", text("until"))
                .with("verificationCode", Field::Text("012345".into()))
                .with("verificationLink", link("verify"))
                .with("reportLink", link("report"));
            let (_, mail) = mail(&settings(vec![]), &letter);
            assert_eq!(words(&plain_of(&mail.html)), words(&mail.text), "{locale} {kind:?}");
            let links = |text: &str| text.matches("https://privacy.example.test/").count();
            assert_eq!(
                links(&mail.html),
                2 * links(&mail.text),
                "{locale} {kind:?}: as address and as text"
            );
            assert!(
                !mail.text.contains("{{") && !mail.html.contains("{{"),
                "{locale} {kind:?}"
            );
        }
    }
}

#[test]
fn a_subject_line_stays_short_whatever_is_put_into_it() {
    let name = "Ä".repeat(64);
    let mut settings = settings(vec![template("t", None, &"{{organizationName}}".repeat(12), "Hello.")]);
    settings.organization.name.clone_from(&name);
    let (_, mail) = mail(&settings, &letter(MessageKind::Receipt, "en"));
    assert_eq!(mail.subject.chars().count(), SUBJECT_MAX + 1);
    assert!(mail.subject.starts_with(&name) && mail.subject.ends_with('…'));
}

#[test]
fn the_nearest_language_counts_most_then_the_demand_then_what_is_for_everybody() {
    let of = |title: &str, locale: Option<&str>, action: Option<Action>| Template {
        action,
        ..template(title, locale, title, "Words of its own.")
    };
    let all = vec![
        of("everybody", None, None),
        of("everybody, access", None, Some(Action::Access)),
        of("everybody, erasure", None, Some(Action::Erasure)),
        of("de", Some("de"), None),
        of("de, access", Some("de"), Some(Action::Access)),
        of("de-AT", Some("de-AT"), None),
        Template {
            kind: Some(MessageKind::Canceled),
            ..of("fr, of another kind", Some("fr"), None)
        },
    ];
    for (locale, subject, language) in [
        ("de-AT", "de-AT", "de-AT"),
        ("de-CH", "de, access", "de"),
        ("de", "de, access", "de"),
        ("fr", "everybody, access", "fr"),
        ("fil", "everybody, access", "fil"),
    ] {
        let (said_in, mail) = mail(&settings(all.clone()), &letter(MessageKind::Receipt, locale));
        assert_eq!(
            (mail.subject.as_str(), said_in.as_str()),
            (subject, language),
            "{locale}"
        );
    }
    // What says nothing leaves the built-in words, each for itself.
    let subject_only = vec![template("t", None, "Yours, {{requestId}}", " ")];
    let (said_in, mail) = mail(&settings(subject_only), &letter(MessageKind::Receipt, "de"));
    assert_eq!(mail.subject, "Yours, 00000000-0000-0000-0000-000000000007");
    assert!(mail.text.starts_with("Guten Tag,") && said_in == "de");
}

#[test]
fn words_chosen_for_one_message_come_first_then_the_template_it_names() {
    let named = Template {
        kind: None,
        ..template("Not a resident", None, "Elsewhere", "You live elsewhere.")
    };
    let other_kind = Template {
        kind: Some(MessageKind::ReportReady),
        ..template("Report", None, "Report", "{{reportLink}}")
    };
    let settings = settings(vec![named.clone(), other_kind.clone()]);
    let said = |words: OwnWords| {
        let letter = Letter {
            words,
            ..letter(MessageKind::Canceled, "en")
        };
        let (_, mail) = mail(&settings, &letter);
        (mail.subject, mail.text.lines().next().unwrap_or_default().to_owned())
    };
    let of = |subject: &str, text: &str| (subject.to_owned(), text.to_owned());
    let built_in = of("Your privacy request was stopped", "Hello,");
    assert_eq!(said(OwnWords::default()), built_in);
    let by_id = OwnWords {
        template: Some(named.id),
        ..OwnWords::default()
    };
    assert_eq!(said(by_id.clone()), of("Elsewhere", "You live elsewhere."));
    let by_title = OwnWords {
        template_title: Some("Not a resident".into()),
        ..OwnWords::default()
    };
    assert_eq!(said(by_title), of("Elsewhere", "You live elsewhere."));
    // A template that names what this message does not have is none.
    let unfit = OwnWords {
        template: Some(other_kind.id),
        ..OwnWords::default()
    };
    assert_eq!(said(unfit), built_in);
    let own = OwnWords {
        subject: Some("Re: Request Canceled".into()),
        body: Some("<p>Dear you,</p><p>no.</p>".into()),
        ..by_id
    };
    assert_eq!(said(own), of("Re: Request Canceled", "Dear you,"));
}

#[test]
fn nobody_but_the_data_subject_gets_what_opens_something() {
    for kind in MessageKind::ALL {
        let (_, mail) = mail(&settings(vec![]), &letter(kind, "en"));
        assert_eq!(mail.copies.is_empty(), kind.opens_something(), "{kind:?}");
        assert_eq!(mail.reply_to, ["desk@example.test"]);
    }
}

#[test]
fn plain_text_is_made_of_html_where_none_is_given() {
    for (html, plain) in [
        ("<p>One</p><p>two &amp; three</p>", "One\n\ntwo & three\n"),
        ("a<br>b<br/>c", "a\nb\nc"),
        (
            "see <a href=\"https://example.test/?a&amp;b\">here</a>.",
            "see here (https://example.test/?a&b).",
        ),
        (
            "<a href=\"https://example.test\">https://example.test</a>",
            "https://example.test",
        ),
        (
            "<style>p{}</style><h1>T</h1>\n  <ul><li>x</li><li>y</li></ul>",
            "T\n\nx\ny\n",
        ),
        ("cut off <p", "cut off "),
    ] {
        assert_eq!(plain_of(html).replace("\n \n", "\n\n"), plain, "{html}");
    }
    assert!(has_tags("a <b>c</b>") && has_tags("<!-- -->"));
    assert!(!has_tags("1 < 2 and 3 > 2") && !has_tags("a <3 you"));
}
