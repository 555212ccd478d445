//! The notation in which the contract lists what clients select: `id ID!; title? ( defaultMessage String! ); nodes[] ( … )`.
//! One text gives the selection that is sent and the strictness with which the answer is decoded.

use serde_json::Value;

/// A list of fields, each with its type.
pub struct Shape(Vec<Field>);

struct Field {
    name: String,
    kind: Kind,
    list: bool,
    nullable: bool,
}

enum Kind {
    Leaf(String),
    Object(Shape),
}

impl Shape {
    /// Reads the notation.
    pub fn parse(text: &str) -> Shape {
        let (shape, rest) = Shape::take(text.trim());
        assert_eq!(rest, "", "left over");
        shape
    }

    fn take(mut text: &str) -> (Shape, &str) {
        let mut fields = Vec::new();
        loop {
            let end = text.find([' ', '[', '?', '(']).unwrap();
            let (name, mut rest) = text.split_at(end);
            let list = rest.starts_with("[]");
            rest = rest.strip_prefix("[]").unwrap_or(rest);
            let nullable = rest.starts_with('?');
            rest = rest.strip_prefix('?').unwrap_or(rest).trim_start();
            let field = |kind, nullable| Field {
                name: name.to_owned(),
                kind,
                list,
                nullable,
            };
            if let Some(inner) = rest.strip_prefix('(') {
                let (shape, after) = Shape::take(inner.trim_start());
                rest = after.trim_start().strip_prefix(')').unwrap().trim_start();
                fields.push(field(Kind::Object(shape), nullable));
            } else {
                let end = rest.find([';', ' ', ')']).unwrap_or(rest.len());
                let leaf = &rest[..end];
                rest = rest[end..].trim_start();
                fields.push(field(Kind::Leaf(leaf.to_owned()), !leaf.ends_with('!')));
            }
            match rest.strip_prefix(';') {
                Some(more) => text = more.trim_start(),
                None => return (Shape(fields), rest),
            }
        }
    }

    /// The selection, as it stands in a document.
    pub fn selection(&self) -> String {
        let each = self.0.iter().map(|field| match &field.kind {
            Kind::Leaf(_) => field.name.clone(),
            Kind::Object(shape) => format!("{} {{ {} }}", field.name, shape.selection()),
        });
        each.collect::<Vec<_>>().join(" ")
    }

    /// Fails unless `value` has exactly these fields, each of its type.
    pub fn check(&self, value: &Value, at: &str) {
        let object = value
            .as_object()
            .unwrap_or_else(|| panic!("{at}: {value} is no object"));
        assert_eq!(object.len(), self.0.len(), "{at}: {value}");
        for field in &self.0 {
            let at = format!("{at}.{}", field.name);
            let value = object.get(&field.name).unwrap_or_else(|| panic!("{at} is missing"));
            if value.is_null() {
                assert!(field.nullable, "{at} is null");
                continue;
            }
            let one = |value: &Value| match &field.kind {
                Kind::Leaf(leaf) => check_leaf(leaf, value, &at),
                Kind::Object(shape) => shape.check(value, &at),
            };
            if field.list {
                value
                    .as_array()
                    .unwrap_or_else(|| panic!("{at} is no list"))
                    .iter()
                    .for_each(one);
            } else {
                one(value);
            }
        }
    }
}

fn check_leaf(leaf: &str, value: &Value, at: &str) {
    let leaf = leaf.strip_suffix('!').unwrap_or(leaf);
    if let Some(of) = leaf.strip_prefix('[').and_then(|leaf| leaf.strip_suffix(']')) {
        return value
            .as_array()
            .unwrap_or_else(|| panic!("{at} is no list"))
            .iter()
            .for_each(|one| check_leaf(of, one, at));
    }
    let fits = match leaf {
        "Boolean" => value.is_boolean(),
        "Int" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        "ID" => value
            .as_str()
            .is_some_and(|text| text.len() == 36 && text.to_lowercase() == text),
        "Date" => value.as_str().is_some_and(|text| {
            text.len() == 24 && text.ends_with('Z') && &text[19..20] == "." && text.parse::<jiff::Timestamp>().is_ok()
        }),
        _ => value.is_string(),
    };
    assert!(fits, "{at}: {value} is no {leaf}");
}
