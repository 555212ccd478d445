//! Finding the words for a letter and putting its values into them: pure.

use std::borrow::Cow;

use super::{
    letter::{Field, Letter},
    mail::Mail,
    words::{Language, chain, plain_day},
};
use crate::organization::{MessageKind, Piece, Settings, Template, pieces_of};

/// Characters of a subject line.
const SUBJECT_MAX: usize = 200;

/// The words of a message before its values stand in them.
struct Chosen<'a> {
    /// The language they are in.
    language: Cow<'a, str>,
    subject: &'a str,
    body: Body<'a>,
}

enum Body<'a> {
    /// Plain text, of which HTML is made.
    Plain(&'a str),
    /// HTML, and plain text where that is not made of it.
    Html { html: &'a str, text: Option<&'a str> },
}

/// The mail that a letter becomes, and the language it is in.
pub(super) fn mail(settings: &Settings, letter: &Letter) -> (String, Mail) {
    let chosen = choose(settings, letter);
    let values = Values {
        organization: &settings.organization.name,
        letter,
        language: Language::find(&chosen.language),
    };
    let kind = letter.kind;
    let subject = values.fill(chosen.subject, kind, Form::Line);
    let (text, html) = match chosen.body {
        Body::Plain(plain) => (
            values.fill(plain, kind, Form::Plain),
            values.fill(&paragraphs(plain), kind, Form::Html),
        ),
        Body::Html { html, text } => {
            let html = values.fill(html, kind, Form::Html);
            let text = text.map_or_else(|| plain_of(&html), |text| values.fill(text, kind, Form::Plain));
            (text, html)
        }
    };
    let html = page(&chosen.language, &subject, html);
    let copies = if kind.opens_something() {
        Vec::new()
    } else {
        letter.reply_to.clone()
    };
    let mail = Mail {
        to: letter.to.clone(),
        copies,
        reply_to: letter.reply_to.clone(),
        subject,
        text: text.trim().to_owned() + "\n",
        html,
    };
    (chosen.language.into_owned(), mail)
}

/// Words of the letter's own come first, then the template it names, then what the organization says in the language of the
/// data subject or to everybody, then what is built in for that language; English where there is none.
fn choose<'a>(settings: &'a Settings, letter: &'a Letter) -> Chosen<'a> {
    let (kind, own) = (letter.kind, &letter.words);
    let named = find_named(settings, letter).filter(|template| fits(template, kind));
    let template = named.or_else(|| find_configured(settings, letter));
    let language = template
        .and_then(|template| template.locale.as_deref())
        .or_else(|| Language::find(&letter.locale).map(|language| language.tag))
        .unwrap_or(match template {
            Some(_) => letter.locale.as_str(),
            None => Language::english().tag,
        });
    let built_in = Language::find(&letter.locale).unwrap_or(Language::english());
    let (subject, body) = built_in.text(kind);
    let said = |text: &'a str| Some(text).filter(|text| !text.trim().is_empty() && pieces_of(text, Some(kind)).is_ok());
    let subject = own
        .subject
        .as_deref()
        .and_then(said)
        .or_else(|| template.and_then(|template| said(&template.subject)))
        .unwrap_or(subject);
    let own_body = own.body.as_deref().and_then(said).map(|body| (body, None));
    let of_template = || {
        let template = template?;
        Some((said(&template.body)?, template.text.as_deref().and_then(said)))
    };
    match own_body.or_else(of_template) {
        Some((body, text)) if text.is_some() || has_tags(body) => Chosen {
            language: language.into(),
            subject,
            body: Body::Html { html: body, text },
        },
        Some((body, _)) => Chosen {
            language: language.into(),
            subject,
            body: Body::Plain(body),
        },
        None => Chosen {
            language: built_in.tag.into(),
            subject,
            body: Body::Plain(body),
        },
    }
}

fn find_named<'a>(settings: &'a Settings, letter: &Letter) -> Option<&'a Template> {
    let words = &letter.words;
    let by_id = |id| settings.templates.iter().find(|template| template.id == id);
    let by_title = |title: &str| settings.templates.iter().find(|template| template.title == title);
    words
        .template
        .and_then(by_id)
        .or_else(|| by_title(words.template_title.as_deref()?))
}

/// A template of another kind may name what this message does not have.
fn fits(template: &Template, kind: MessageKind) -> bool {
    let texts = [
        &template.subject,
        &template.body,
        template.text.as_ref().unwrap_or(&template.body),
    ];
    texts.into_iter().all(|text| pieces_of(text, Some(kind)).is_ok())
}

/// The organization's template for the kind: the nearest language counts more than the demand. One for everybody comes after
/// those of the data subject's language, and before what is built in.
fn find_configured<'a>(settings: &'a Settings, letter: &Letter) -> Option<&'a Template> {
    let languages: Vec<&str> = chain(&letter.locale).collect();
    let rank = |template: &Template| {
        if template.kind != Some(letter.kind) || template.action.is_some_and(|action| action != letter.action) {
            return None;
        }
        let language = match template.locale.as_deref() {
            Some(locale) => languages.iter().position(|tag| *tag == locale)?,
            None => languages.len(),
        };
        Some((language, template.action.is_none()))
    };
    let ranked = settings
        .templates
        .iter()
        .filter_map(|template| Some((rank(template)?, template)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, template)| template)
}

/// What a value is written into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A header: one line.
    Line,
    /// Plain text.
    Plain,
    /// HTML.
    Html,
}

struct Values<'a> {
    organization: &'a str,
    letter: &'a Letter,
    language: Option<&'static Language>,
}

impl Values<'_> {
    /// The text with its values. A line that names a value there is none of is left out.
    fn fill(&self, text: &str, kind: MessageKind, form: Form) -> String {
        let lines = text.lines().filter_map(|line| {
            let mut filled = String::with_capacity(line.len());
            for piece in pieces_of(line, Some(kind)).ok()? {
                match piece {
                    Piece::Text(text) => filled.push_str(text),
                    Piece::Value(name) => filled.push_str(&self.value(name, form)?),
                }
            }
            Some(filled)
        });
        let lines: Vec<String> = lines.collect();
        match form {
            Form::Line => shortened(&one_line(&lines.join(" "))),
            Form::Plain | Form::Html => lines.join("\n"),
        }
    }

    fn value(&self, name: &str, form: Form) -> Option<String> {
        let letter = self.letter;
        let day = |at| match self.language {
            Some(language) => language.day(at),
            None => plain_day(at),
        };
        let plain = match name {
            "organizationName" => self.organization.to_owned(),
            "requestId" => letter.request.to_string(),
            "requestType" => {
                let language = self.language.unwrap_or(Language::english());
                language.action(letter.action)?.to_owned()
            }
            "requestDate" => day(letter.requested_at),
            other => match letter.fields.get(other)? {
                Field::Text(text) | Field::Link(text) => text.clone(),
                Field::Day(at) => day(*at),
            },
        };
        let plain = one_line(&plain);
        Some(if form == Form::Html { escape(&plain) } else { plain })
    }
}

/// Without line breaks and control characters: nothing that ends a header.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

/// The text, or as much of it as a subject line may have, whatever its values are.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SUBJECT_MAX) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// Safe between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// HTML of a plain text: a paragraph for each of its own, and what stands for a link can be followed.
fn paragraphs(plain: &str) -> String {
    let mut html = String::with_capacity(plain.len() * 2);
    for paragraph in plain.split("\n\n").map(str::trim).filter(|text| !text.is_empty()) {
        html.push_str("<p>\n");
        for line in paragraph.lines() {
            let mut line = escape(line);
            for link in ["verificationLink", "reportLink"] {
                let name = format!("{{{{{link}}}}}");
                line = line.replace(&name, &format!("<a href=\"{name}\">{name}</a>"));
            }
            html.push_str(&line);
            html.push_str("<br>\n");
        }
        html.push_str("</p>\n");
    }
    html
}

/// A whole page, unless it is one already.
fn page(language: &str, subject: &str, body: String) -> String {
    let start = body.trim_start().get(..9).unwrap_or_default();
    if start.eq_ignore_ascii_case("<!doctype") || start.to_ascii_lowercase().starts_with("<html") {
        return body;
    }
    format!(
        "<!doctype html>\n<html lang=\"{}\" dir=\"auto\">\n<head>\n<meta charset=\"utf-8\">\n<title>{}</title>\n</head>\n\
         <body style=\"font-family:sans-serif;line-height:1.5;max-width:40em\">\n{body}</body>\n</html>\n",
        escape(language),
        escape(subject),
    )
}

/// Whether a text is HTML.
fn has_tags(text: &str) -> bool {
    text.match_indices('<').any(|(at, _)| {
        let next = text[at + 1..].chars().next();
        next.is_some_and(|next| next.is_ascii_alphabetic() || next == '/' || next == '!') && text[at..].contains('>')
    })
}

/// Elements that begin a line of their own.
const BLOCKS: [&str; 13] = [
    "br", "p", "/p", "div", "/div", "li", "tr", "/h1", "/h2", "/h3", "/ul", "/ol", "/table",
];

/// What somebody reads who is shown no HTML: the text without its tags, links written out behind their words.
fn plain_of(html: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(html.len()), html);
    let mut link = None;
    while let Some((text, tagged)) = rest.split_once('<') {
        push_words(&mut plain, text);
        let Some((tag, behind)) = tagged.split_once('>') else {
            rest = "";
            break;
        };
        rest = behind;
        let name: String = tag
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '/')
            .collect();
        match name.to_ascii_lowercase().trim_end_matches('/') {
            hidden @ ("style" | "script" | "head" | "title") => {
                let end = format!("</{hidden}");
                let lower = rest.to_ascii_lowercase();
                rest = lower.find(&end).map_or("", |at| &rest[at..]);
            }
            "a" => link = tag.split_once("href=\"").and_then(|(_, rest)| rest.split('"').next()),
            "/a" => {
                let address = link.take().filter(|address| !plain.ends_with(&unescape(address)));
                if let Some(address) = address {
                    plain.push_str(&format!(" ({})", unescape(address)));
                }
            }
            block if BLOCKS.contains(&block) => {
                let ended = plain.trim_end_matches(' ').len();
                plain.truncate(ended);
                if !plain.is_empty() && !plain.ends_with("\n\n") {
                    plain.push('\n');
                }
            }
            _ => {}
        }
    }
    push_words(&mut plain, rest);
    plain
}

/// Adds words, with each run of white space as one space.
fn push_words(plain: &mut String, text: &str) {
    let text = unescape(text);
    let begins = text.starts_with(char::is_whitespace);
    if begins && !plain.is_empty() && !plain.ends_with(char::is_whitespace) {
        plain.push(' ');
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    plain.push_str(&words.join(" "));
    if !words.is_empty() && text.ends_with(char::is_whitespace) {
        plain.push(' ');
    }
}

fn unescape(text: &str) -> String {
    let entities = [
        ("&nbsp;", "\u{a0}"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    let plain = entities.iter();
    plain.fold(text.to_owned(), |text, (entity, letter)| text.replace(entity, letter))
}

#[cfg(test)]
mod tests;
