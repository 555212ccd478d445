//! The pages that people see: one plain layout, for those who open a link of theirs.
//!
//! A page needs no script and asks nobody for anything: its one style stands in it and is named to the browser by its
//! digest, and everything else is forbidden. [`Html`] is made from text by escaping it, or from what stands in the source;
//! there is no way to put anything else into it. A page says in `lang` which language its text is in, follows the
//! reader's choice of light or dark, and fits a narrow screen.
//!
//! What the pages say belongs to the slices.

use std::{
    fmt::{self, Write},
    sync::LazyLock,
};

use antumbra_crypto::sha256;
use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;

use super::{Code, Problem, Query};

/// The colours of both themes, and little else.
const STYLE: &str = include_str!("pages.css");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = BASE64_STANDARD.encode(sha256(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("a policy is plain text")
});

/// Content of a page. Text gets into it escaped, and in no other way.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Html(String);

/// What a notice is about; said in words and by the shape of its mark, not by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It is done.
    Done,
    /// It cannot be taken back, or it is not what one would expect.
    Careful,
}

impl Html {
    /// Content so far, and then `text`.
    pub(crate) fn text(mut self, text: &str) -> Html {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // No browser reads a control character as text, and some read it as nothing.
                control if control.is_control() && !matches!(control, '\n' | '\t') => self.0.push('\u{FFFD}'),
                plain => self.0.push(plain),
            }
        }
        self
    }

    /// Content so far, and then other content.
    pub(crate) fn and(mut self, other: Html) -> Html {
        self.0.push_str(&other.0);
        self
    }

    /// A paragraph of text.
    pub(crate) fn paragraph(self, text: &str) -> Html {
        self.element("p", &[], Html::default().text(text))
    }

    /// A paragraph of quieter text.
    pub(crate) fn aside(self, text: &str) -> Html {
        self.element("p", &[("class", "quiet")], Html::default().text(text))
    }

    /// A few words that stay on one line.
    pub(crate) fn whole(self, text: &str) -> Html {
        self.element("span", &[("class", "whole")], Html::default().text(text))
    }

    /// A heading below the title of the page.
    pub(crate) fn heading(self, text: &str) -> Html {
        self.element("h2", &[], Html::default().text(text))
    }

    /// Something that must not be overlooked.
    pub(crate) fn notice(self, kind: Notice, text: &str) -> Html {
        let (class, mark) = match kind {
            Notice::Done => ("notice done", "✓ "),
            Notice::Careful => ("notice careful", "! "),
        };
        let mark = Html::default().element("span", &[("aria-hidden", "true")], Html::default().text(mark));
        self.element("p", &[("class", class), ("role", "status")], mark.text(text))
    }

    /// Names and what they stand for, one below the other.
    pub(crate) fn facts<'a>(self, facts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Html {
        let rows = facts.into_iter().fold(Html::default(), |rows, (name, value)| {
            rows.element("dt", &[], Html::default().text(name))
                .element("dd", &[], Html::default().text(value))
        });
        self.element("dl", &[], rows)
    }

    /// A list.
    pub(crate) fn list(self, entries: impl IntoIterator<Item = Html>) -> Html {
        let entries = entries
            .into_iter()
            .fold(Html::default(), |all, entry| all.element("li", &[], entry));
        self.element("ul", &[], entries)
    }

    /// A table with a caption, the names of its columns, and rows whose first cell names the row.
    pub(crate) fn table<const N: usize>(
        self,
        caption: &str,
        columns: [&str; N],
        rows: impl IntoIterator<Item = [Html; N]>,
    ) -> Html {
        let head = columns.into_iter().fold(Html::default(), |head, column| {
            head.element(
                "th",
                &[("role", "columnheader"), ("scope", "col")],
                Html::default().text(column),
            )
        });
        let row = |cells: [Html; N]| {
            cells.into_iter().enumerate().fold(Html::default(), |row, (at, cell)| {
                // A narrow screen shows each cell on a line of its own, with the name of its column before it. The roles keep
                // it a table for those who have it read out.
                match at {
                    0 => row.element("th", &[("role", "rowheader"), ("scope", "row")], cell),
                    _ => row.element("td", &[("role", "cell"), ("data-column", columns[at])], cell),
                }
            })
        };
        let body = rows.into_iter().fold(Html::default(), |body, cells| {
            body.element("tr", &[("role", "row")], row(cells))
        });
        let table = Html::default()
            .element("caption", &[], Html::default().text(caption))
            .element(
                "thead",
                &[("role", "rowgroup")],
                Html::default().element("tr", &[("role", "row")], head),
            )
            .element("tbody", &[("role", "rowgroup")], body);
        self.element("table", &[("role", "table")], table)
    }

    /// A link to a path of this server, or to a file beside the page.
    pub(crate) fn link(self, path: &str, text: &str) -> Html {
        self.element("a", &[("href", path)], Html::default().text(text))
    }

    /// A form that posts what is inside it to `path`.
    pub(crate) fn form(self, path: &str, inside: Html) -> Html {
        self.element("form", &[("method", "post"), ("action", path)], inside)
    }

    #[allow(dead_code, reason = "the page for verification codes comes with preflights")]
    /// A field of a form, for a line of text, with its label and a hint below that.
    pub(crate) fn field(self, name: &str, label: &str, hint: &str, extra: &[(&'static str, &str)]) -> Html {
        let hinted = format!("{name}-hint");
        let mut attributes = vec![("id", name), ("name", name), ("aria-describedby", &hinted)];
        attributes.extend_from_slice(extra);
        let mut field = self
            .element("label", &[("for", name)], Html::default().text(label))
            .element("p", &[("class", "quiet"), ("id", &hinted)], Html::default().text(hint));
        field.open("input", &attributes);
        field
    }

    /// A box to be ticked, with what ticking it says.
    pub(crate) fn tick(self, name: &str, label: &str) -> Html {
        let mut inside = Html::default();
        inside.open(
            "input",
            &[("type", "checkbox"), ("name", name), ("value", "yes"), ("required", "")],
        );
        self.element("label", &[("class", "tick")], inside.text(label))
    }

    /// A button that sends the form it stands in.
    pub(crate) fn button(self, text: &str) -> Html {
        self.element("button", &[("type", "submit")], Html::default().text(text))
    }

    fn element(mut self, tag: &'static str, attributes: &[(&'static str, &str)], inside: Html) -> Html {
        self.open(tag, attributes);
        self.0.push_str(&inside.0);
        write!(self.0, "</{tag}>").expect("writing to a string does not fail");
        self
    }

    fn open(&mut self, tag: &'static str, attributes: &[(&'static str, &str)]) {
        write!(self.0, "<{tag}").expect("writing to a string does not fail");
        for (name, value) in attributes {
            let value = Html::default().text(value);
            write!(self.0, " {name}=\"{}\"", value.0).expect("writing to a string does not fail");
        }
        self.0.push('>');
    }
}

impl fmt::Debug for Html {
    /// What a page says may be about a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Html({} bytes)", self.0.len())
    }
}

/// A page.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    /// The language that its text is in, as BCP 47 has it.
    pub(crate) language: &'a str,
    /// Who shows it: the name of the organization. Empty where that is not to be told.
    pub(crate) from: &'a str,
    /// Its title, which is its heading too.
    pub(crate) title: &'a str,
    /// What it says.
    pub(crate) body: Html,
}

impl Page<'_> {
    /// The page as a document that stands by itself.
    pub(crate) fn document(&self) -> String {
        let head = |text: &str| Html::default().text(text).0;
        let from = match self.from {
            "" => Html::default(),
            from => Html::default().element("header", &[], Html::default().paragraph(from)),
        };
        let title = match self.from {
            "" => self.title.to_owned(),
            from => format!("{} – {from}", self.title),
        };
        let heading = Html::default().element("h1", &[], Html::default().text(self.title));
        format!(
            "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\"><title>{}</title>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"robots\" content=\"noindex\"><style>{STYLE}</style></head>\n\
             <body>{}<main>{}{}</main></body></html>\n",
            head(self.language),
            head(&title),
            from.0,
            heading.0,
            self.body.0,
        )
    }
}

impl IntoResponse for Page<'_> {
    fn into_response(self) -> Response {
        (StatusCode::OK, headers(), self.document()).into_response()
    }
}

/// The languages that pages speak.
const LANGUAGES: [&str; 7] = ["en", "de", "fr", "es", "it", "nl", "pt"];

/// The first language of the reader's browser that pages speak: for pages about nobody, who would have a language of their own.
pub(crate) fn language_of_reader(headers: &HeaderMap) -> &'static str {
    let wanted = headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let bases = wanted.split([',', ';']).filter_map(|tag| tag.trim().split('-').next());
    let known = |base: &str| LANGUAGES.into_iter().find(|known| known.eq_ignore_ascii_case(base));
    bases.filter_map(known).next().unwrap_or(LANGUAGES[0])
}

/// The headers of every page: no script, no frame, no other origin, no copy, and no word to others of where it was.
fn headers() -> HeaderMap {
    let fixed = HeaderValue::from_static;
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, fixed("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.clone()),
        (header::CACHE_CONTROL, fixed("no-store")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::X_FRAME_OPTIONS, fixed("DENY")),
        (header::HeaderName::from_static("x-robots-tag"), fixed("noindex")),
    ])
}

/// The page that a person sees where the server refuses or fails.
pub(super) fn refusal(status: StatusCode, said: &str, request_id: &str) -> Response {
    let title = match status {
        StatusCode::TOO_MANY_REQUESTS => "Please try again in a moment",
        status if status.is_server_error() => "Something went wrong here",
        _ => "This did not work",
    };
    let page = Page {
        language: "en",
        from: "",
        title,
        body: Html::default()
            .paragraph(said)
            .aside(&format!("If you ask for help, give this number: {request_id}")),
    };
    (status, headers(), page.document()).into_response()
}

/// What a page's form sent. Anything that is not such a form is refused.
#[derive(Clone, Debug)]
pub(crate) struct Form(Query);

impl Form {
    /// A field as it was filled in.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.text(name)
    }

    /// Whether a box was ticked.
    pub(crate) fn is_ticked(&self, name: &str) -> bool {
        self.text(name) == Some("yes")
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Form, Problem> {
        if !super::shell::is_form(request.headers()) {
            return Err(
                Problem::new(Code::UnsupportedMediaType).saying("This address takes what its page's form sends")
            );
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|_| Problem::malformed("The form cannot be read"))?;
        let text = std::str::from_utf8(&body).map_err(|_| Problem::malformed("The form is not UTF-8"))?;
        Ok(Form(Query::parse(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_wherever_it_stands() {
        let bad = "<script>alert(\"1\" & '2')</script>\u{0}\u{1b}";
        let page = Page {
            language: bad,
            from: bad,
            title: bad,
            body: Html::default()
                .paragraph(bad)
                .heading(bad)
                .aside(bad)
                .notice(Notice::Careful, bad)
                .facts([(bad, bad)])
                .list([Html::default().text(bad)])
                .table(
                    bad,
                    [bad, bad],
                    [[Html::default().text(bad), Html::default().link(bad, bad)]],
                )
                .form(
                    bad,
                    Html::default()
                        .field(bad, bad, bad, &[("value", bad)])
                        .tick(bad, bad)
                        .button(bad),
                ),
        };
        let document = page.document();
        assert!(!document.contains("<script") && !document.contains('\u{0}') && !document.contains('\u{1b}'));
        let quotes = document.replace(STYLE, "").matches("&quot;").count();
        assert_eq!(
            quotes,
            document.matches("(&quot;1&quot;").count() * 2,
            "no quote is left as it was"
        );
    }

    #[test]
    fn a_page_about_nobody_speaks_the_language_of_its_reader() {
        for (wanted, language) in [
            ("de-AT,de;q=0.9,en;q=0.8", "de"),
            ("ja, FR-ca ;q=0.5, en", "fr"),
            ("en-GB", "en"),
            ("*", "en"),
            ("", "en"),
            (";;,q=,-", "en"),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::try_from(wanted).unwrap())]);
            assert_eq!(language_of_reader(&headers), language, "{wanted}");
        }
        assert_eq!(language_of_reader(&HeaderMap::new()), "en");
    }

    /// The browser is told the digest of the style; a page without that very style would be bare.
    #[test]
    fn the_policy_names_the_style_of_the_page_and_lets_nothing_else_in() {
        let policy = POLICY.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let page = Page {
            language: "en",
            from: "Shop",
            title: "Your data",
            body: Html::default(),
        };
        let document = page.document();
        let (_, style) = document.split_once("<style>").unwrap();
        let (style, _) = style.split_once("</style>").unwrap();
        assert!(policy.contains(&BASE64_STANDARD.encode(sha256(style.as_bytes()))));
        assert!(
            !document.contains("http") && !style.contains("url("),
            "nothing is fetched"
        );
        assert!(document.starts_with("<!doctype html>\n<html lang=\"en\">"));
    }

    /// Relative luminance and contrast as WCAG 2 defines them.
    #[test]
    fn text_is_readable_in_both_themes() {
        fn luminance(colour: &str) -> f64 {
            let channel = |at: usize| {
                let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
                if value <= 0.04045 {
                    value / 12.92
                } else {
                    ((value + 0.055) / 1.055).powf(2.4)
                }
            };
            0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
        }
        let contrast = |one: &str, other: &str| {
            let (one, other) = (luminance(one), luminance(other));
            (one.max(other) + 0.05) / (one.min(other) + 0.05)
        };
        let themes: Vec<&str> = STYLE.split(":root").skip(1).collect();
        assert_eq!(themes.len(), 2, "light and dark");
        for theme in themes {
            let colour = |name: &str| {
                let (_, rest) = theme.split_once(&format!("--{name}:")).unwrap();
                rest[..7].to_owned()
            };
            for (text, ground) in [
                ("ink", "paper"),
                ("ink", "card"),
                ("quiet", "paper"),
                ("quiet", "card"),
                ("ring", "paper"),
                ("ring", "card"),
                ("paper", "ring"),
                ("done", "card"),
                ("careful", "card"),
            ] {
                let found = contrast(&colour(text), &colour(ground));
                assert!(found >= 4.5, "{text} on {ground}: {found:.2}");
            }
        }
    }
}
