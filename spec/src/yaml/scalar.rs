//! The type of a plain scalar, by the core schema of YAML 1.2.2 §10.3.2, with one difference: a decimal number with a leading
//! zero is a text, because many parsers read it as octal.

use super::Content;

/// The content of a plain scalar.
pub fn plain(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" => return Content::Bool(true),
        "false" | "False" | "FALSE" => return Content::Bool(false),
        _ => {}
    }
    integer(text).or_else(|| float(text)).unwrap_or_else(|| Content::Text(text.to_owned()))
}

fn integer(text: &str) -> Option<Content> {
    let radix = |digits: &str, radix: u32| {
        let plain = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        plain.then(|| i64::from_str_radix(digits, radix).ok()).flatten().map(Content::Integer)
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten().map(Content::Integer)
}

fn float(text: &str) -> Option<Content> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let shape = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b))
        && digits.contains(['.', 'e', 'E'])
        && digits.bytes().any(|b| b.is_ascii_digit());
    let value: f64 = shape.then(|| text.parse().ok()).flatten()?;
    value.is_finite().then(|| Content::Float(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_types_of_the_core_schema() {
        let text = |text: &str| Content::Text(text.into());
        for (written, content) in [
            ("", Content::Null),
            ("~", Content::Null),
            ("true", Content::Bool(true)),
            ("yes", text("yes")),
            ("0", Content::Integer(0)),
            ("-12", Content::Integer(-12)),
            ("0x1f", Content::Integer(31)),
            ("0o17", Content::Integer(15)),
            ("010", text("010")),
            ("0.1", Content::Float("0.1".into())),
            ("1e3", Content::Float("1e3".into())),
            ("0.1.0", text("0.1.0")),
            (".", text(".")),
            (".nan", text(".nan")),
            ("9223372036854775808", text("9223372036854775808")),
            ("1e999", text("1e999")),
            ("10.0.0.0/8", text("10.0.0.0/8")),
        ] {
            assert_eq!(plain(written), content, "{written}");
        }
    }
}
