//! Characters that are invisible or look like others: their classes, their names, and where a spec may contain them.
//!
//! The set of hidden characters consists of Unicode's controls (Cc), spaces other than U+0020 (Zs), line and paragraph separators
//! (Zl, Zp) and `Default_Ignorable_Code_Point`, and of the characters that reorder text (UAX #9), the blank letters and the
//! noncharacters. Format characters with a visible shape (such as U+0600) are not in the set. Names are those of the Unicode
//! Character Database; control characters have no name there, so their aliases are used.

/// How a hidden character misleads. This determines its replacement, and whether a comment may contain it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Looks like a space, but YAML treats it as part of a word.
    Space,
    /// Ends a line for some programs and not for others.
    Break,
    /// Controls a terminal or reorders the visible text.
    Control,
    /// Has no width, or is blank.
    Invisible,
    /// Has no width, but ordinary text uses it: emoji, Arabic, Indic scripts, hyphenation.
    Joiner,
}

/// Whether a character is hidden and therefore not allowed in a spec. Line ends and tabs are allowed.
pub fn is_hidden(c: char) -> bool {
    !matches!(c, '\t' | '\n' | '\r') && kind(c).is_some()
}

/// Whether a comment may contain this hidden character, because it does not change the visible text there.
pub(super) fn may_be_in_a_comment(c: char) -> bool {
    matches!(kind(c), Some(Kind::Space | Kind::Joiner))
}

/// The class of a hidden character; `None` for any other character.
pub(super) fn kind(c: char) -> Option<Kind> {
    Some(match u32::from(c) {
        0x0a..=0x0d | 0x85 | 0x2028 | 0x2029 => Kind::Break,
        0x00..=0x1f | 0x7f..=0x9f => Kind::Control,
        0xa0 | 0x1680 | 0x2000..=0x200a | 0x202f | 0x205f | 0x3000 => Kind::Space,
        0x061c | 0x200e | 0x200f | 0x202a..=0x202e | 0x2066..=0x206f => Kind::Control,
        0xad | 0x200c | 0x200d | 0xfe00..=0xfe0f => Kind::Joiner,
        0x034f | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f | 0x200b | 0x2060..=0x2065 => {
            Kind::Invisible
        }
        0x2800 | 0x3164 | 0xfdd0..=0xfdef | 0xfeff | 0xffa0 | 0xfff0..=0xfffb => Kind::Invisible,
        0x1bca0..=0x1bca3 | 0x1d159 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff => Kind::Invisible,
        other if other & 0xfffe == 0xfffe => Kind::Invisible,
        _ => return None,
    })
}

/// The code point and the name of a character: `U+00A0 NO-BREAK SPACE`.
pub(crate) fn called(c: char) -> String {
    let code = u32::from(c);
    let name = match code {
        0x00..=0x1f => C0.get(code as usize).map(|name| (*name).to_owned()),
        0x80..=0x9f => C1.get(code as usize - 0x80).map(|name| (*name).to_owned()),
        0xfe00..=0xfe0f => Some(format!("VARIATION SELECTOR-{}", code - 0xfe00 + 1)),
        0xe0100..=0xe01ef => Some(format!("VARIATION SELECTOR-{}", code - 0xe0100 + 17)),
        0xe0020..=0xe007e => char::from_u32(code - 0xe0000).map(|of| format!("TAG CHARACTER of {of:?}")),
        0xfdd0..=0xfdef => Some("NONCHARACTER".to_owned()),
        _ if code & 0xfffe == 0xfffe => Some("NONCHARACTER".to_owned()),
        _ => NAMES.iter().find(|(named, _)| *named == c).map(|(_, name)| (*name).to_owned()),
    };
    match name {
        Some(name) => format!("U+{code:04X} {name}"),
        None => format!("U+{code:04X}"),
    }
}

/// The ASCII character that a typographic character or a letter of another script looks like, if the difference matters to
/// YAML or to a key.
pub(crate) fn looks_like(c: char) -> Option<char> {
    Some(match c {
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' | '﹣' | '－' | '•' => '-',
        '：' | '﹕' | '∶' | '꞉' | 'ː' => ':',
        '“' | '”' | '„' | '‟' | '«' | '»' | '＂' | '″' => '"',
        '‘' | '’' | '‚' | '‛' | '‹' | '›' | '＇' | '′' | '´' => '\'',
        '＃' | '﹟' => '#',
        '，' => ',',
        '［' => '[',
        '］' => ']',
        '｛' => '{',
        '｝' => '}',
        'а' | 'α' => 'a',
        'с' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'ҽ' => 'e',
        'һ' => 'h',
        'і' | 'ı' | 'ι' => 'i',
        'ј' => 'j',
        'ӏ' => 'l',
        'ո' => 'n',
        'о' | 'ο' | 'օ' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'ѕ' => 's',
        'ν' | 'ѵ' => 'v',
        'ѡ' | 'ԝ' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'γ' => 'y',
        'А' | 'Α' => 'A',
        'В' | 'Β' => 'B',
        'С' => 'C',
        'Е' | 'Ε' => 'E',
        'І' | 'Ι' => 'I',
        'К' | 'Κ' => 'K',
        'М' | 'Μ' => 'M',
        'О' | 'Ο' => 'O',
        'Р' | 'Ρ' => 'P',
        'Ѕ' => 'S',
        'Т' | 'Τ' => 'T',
        '\u{ff01}'..='\u{ff5e}' => return char::from_u32(u32::from(c) - 0xfee0),
        _ => return None,
    })
}

/// The aliases of U+0000 to U+001F.
const C0: [&str; 32] = [
    "NULL",
    "START OF HEADING",
    "START OF TEXT",
    "END OF TEXT",
    "END OF TRANSMISSION",
    "ENQUIRY",
    "ACKNOWLEDGE",
    "ALERT",
    "BACKSPACE",
    "CHARACTER TABULATION",
    "LINE FEED",
    "LINE TABULATION",
    "FORM FEED",
    "CARRIAGE RETURN",
    "SHIFT OUT",
    "SHIFT IN",
    "DATA LINK ESCAPE",
    "DEVICE CONTROL ONE",
    "DEVICE CONTROL TWO",
    "DEVICE CONTROL THREE",
    "DEVICE CONTROL FOUR",
    "NEGATIVE ACKNOWLEDGE",
    "SYNCHRONOUS IDLE",
    "END OF TRANSMISSION BLOCK",
    "CANCEL",
    "END OF MEDIUM",
    "SUBSTITUTE",
    "ESCAPE",
    "INFORMATION SEPARATOR FOUR",
    "INFORMATION SEPARATOR THREE",
    "INFORMATION SEPARATOR TWO",
    "INFORMATION SEPARATOR ONE",
];

/// The aliases of U+0080 to U+009F.
const C1: [&str; 32] = [
    "PADDING CHARACTER",
    "HIGH OCTET PRESET",
    "BREAK PERMITTED HERE",
    "NO BREAK HERE",
    "INDEX",
    "NEXT LINE",
    "START OF SELECTED AREA",
    "END OF SELECTED AREA",
    "CHARACTER TABULATION SET",
    "CHARACTER TABULATION WITH JUSTIFICATION",
    "LINE TABULATION SET",
    "PARTIAL LINE FORWARD",
    "PARTIAL LINE BACKWARD",
    "REVERSE LINE FEED",
    "SINGLE SHIFT TWO",
    "SINGLE SHIFT THREE",
    "DEVICE CONTROL STRING",
    "PRIVATE USE ONE",
    "PRIVATE USE TWO",
    "SET TRANSMIT STATE",
    "CANCEL CHARACTER",
    "MESSAGE WAITING",
    "START OF GUARDED AREA",
    "END OF GUARDED AREA",
    "START OF STRING",
    "SINGLE GRAPHIC CHARACTER INTRODUCER",
    "SINGLE CHARACTER INTRODUCER",
    "CONTROL SEQUENCE INTRODUCER",
    "STRING TERMINATOR",
    "OPERATING SYSTEM COMMAND",
    "PRIVACY MESSAGE",
    "APPLICATION PROGRAM COMMAND",
];

/// The names of the other characters of this module.
const NAMES: &[(char, &str)] = &[
    ('\u{60}', "GRAVE ACCENT"),
    ('\u{7f}', "DELETE"),
    ('\u{a0}', "NO-BREAK SPACE"),
    ('\u{ab}', "LEFT-POINTING DOUBLE ANGLE QUOTATION MARK"),
    ('\u{ad}', "SOFT HYPHEN"),
    ('\u{b4}', "ACUTE ACCENT"),
    ('\u{bb}', "RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK"),
    ('\u{131}', "LATIN SMALL LETTER DOTLESS I"),
    ('\u{2d0}', "MODIFIER LETTER TRIANGULAR COLON"),
    ('\u{34f}', "COMBINING GRAPHEME JOINER"),
    ('\u{391}', "GREEK CAPITAL LETTER ALPHA"),
    ('\u{392}', "GREEK CAPITAL LETTER BETA"),
    ('\u{395}', "GREEK CAPITAL LETTER EPSILON"),
    ('\u{399}', "GREEK CAPITAL LETTER IOTA"),
    ('\u{39a}', "GREEK CAPITAL LETTER KAPPA"),
    ('\u{39c}', "GREEK CAPITAL LETTER MU"),
    ('\u{39f}', "GREEK CAPITAL LETTER OMICRON"),
    ('\u{3a1}', "GREEK CAPITAL LETTER RHO"),
    ('\u{3a4}', "GREEK CAPITAL LETTER TAU"),
    ('\u{3b1}', "GREEK SMALL LETTER ALPHA"),
    ('\u{3b3}', "GREEK SMALL LETTER GAMMA"),
    ('\u{3b9}', "GREEK SMALL LETTER IOTA"),
    ('\u{3bd}', "GREEK SMALL LETTER NU"),
    ('\u{3bf}', "GREEK SMALL LETTER OMICRON"),
    ('\u{3c1}', "GREEK SMALL LETTER RHO"),
    ('\u{3c7}', "GREEK SMALL LETTER CHI"),
    ('\u{3f2}', "GREEK LUNATE SIGMA SYMBOL"),
    ('\u{405}', "CYRILLIC CAPITAL LETTER DZE"),
    ('\u{406}', "CYRILLIC CAPITAL LETTER BYELORUSSIAN-UKRAINIAN I"),
    ('\u{410}', "CYRILLIC CAPITAL LETTER A"),
    ('\u{412}', "CYRILLIC CAPITAL LETTER VE"),
    ('\u{415}', "CYRILLIC CAPITAL LETTER IE"),
    ('\u{41a}', "CYRILLIC CAPITAL LETTER KA"),
    ('\u{41c}', "CYRILLIC CAPITAL LETTER EM"),
    ('\u{41e}', "CYRILLIC CAPITAL LETTER O"),
    ('\u{420}', "CYRILLIC CAPITAL LETTER ER"),
    ('\u{421}', "CYRILLIC CAPITAL LETTER ES"),
    ('\u{422}', "CYRILLIC CAPITAL LETTER TE"),
    ('\u{430}', "CYRILLIC SMALL LETTER A"),
    ('\u{435}', "CYRILLIC SMALL LETTER IE"),
    ('\u{43e}', "CYRILLIC SMALL LETTER O"),
    ('\u{440}', "CYRILLIC SMALL LETTER ER"),
    ('\u{441}', "CYRILLIC SMALL LETTER ES"),
    ('\u{443}', "CYRILLIC SMALL LETTER U"),
    ('\u{445}', "CYRILLIC SMALL LETTER HA"),
    ('\u{455}', "CYRILLIC SMALL LETTER DZE"),
    ('\u{456}', "CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I"),
    ('\u{458}', "CYRILLIC SMALL LETTER JE"),
    ('\u{461}', "CYRILLIC SMALL LETTER OMEGA"),
    ('\u{475}', "CYRILLIC SMALL LETTER IZHITSA"),
    ('\u{4bb}', "CYRILLIC SMALL LETTER SHHA"),
    ('\u{4bd}', "CYRILLIC SMALL LETTER ABKHASIAN CHE"),
    ('\u{4cf}', "CYRILLIC SMALL LETTER PALOCHKA"),
    ('\u{501}', "CYRILLIC SMALL LETTER KOMI DE"),
    ('\u{51b}', "CYRILLIC SMALL LETTER QA"),
    ('\u{51d}', "CYRILLIC SMALL LETTER WE"),
    ('\u{578}', "ARMENIAN SMALL LETTER VO"),
    ('\u{585}', "ARMENIAN SMALL LETTER OH"),
    ('\u{61c}', "ARABIC LETTER MARK"),
    ('\u{115f}', "HANGUL CHOSEONG FILLER"),
    ('\u{1160}', "HANGUL JUNGSEONG FILLER"),
    ('\u{1680}', "OGHAM SPACE MARK"),
    ('\u{17b4}', "KHMER VOWEL INHERENT AQ"),
    ('\u{17b5}', "KHMER VOWEL INHERENT AA"),
    ('\u{180b}', "MONGOLIAN FREE VARIATION SELECTOR ONE"),
    ('\u{180c}', "MONGOLIAN FREE VARIATION SELECTOR TWO"),
    ('\u{180d}', "MONGOLIAN FREE VARIATION SELECTOR THREE"),
    ('\u{180e}', "MONGOLIAN VOWEL SEPARATOR"),
    ('\u{180f}', "MONGOLIAN FREE VARIATION SELECTOR FOUR"),
    ('\u{2000}', "EN QUAD"),
    ('\u{2001}', "EM QUAD"),
    ('\u{2002}', "EN SPACE"),
    ('\u{2003}', "EM SPACE"),
    ('\u{2004}', "THREE-PER-EM SPACE"),
    ('\u{2005}', "FOUR-PER-EM SPACE"),
    ('\u{2006}', "SIX-PER-EM SPACE"),
    ('\u{2007}', "FIGURE SPACE"),
    ('\u{2008}', "PUNCTUATION SPACE"),
    ('\u{2009}', "THIN SPACE"),
    ('\u{200a}', "HAIR SPACE"),
    ('\u{200b}', "ZERO WIDTH SPACE"),
    ('\u{200c}', "ZERO WIDTH NON-JOINER"),
    ('\u{200d}', "ZERO WIDTH JOINER"),
    ('\u{200e}', "LEFT-TO-RIGHT MARK"),
    ('\u{200f}', "RIGHT-TO-LEFT MARK"),
    ('\u{2010}', "HYPHEN"),
    ('\u{2011}', "NON-BREAKING HYPHEN"),
    ('\u{2012}', "FIGURE DASH"),
    ('\u{2013}', "EN DASH"),
    ('\u{2014}', "EM DASH"),
    ('\u{2015}', "HORIZONTAL BAR"),
    ('\u{2018}', "LEFT SINGLE QUOTATION MARK"),
    ('\u{2019}', "RIGHT SINGLE QUOTATION MARK"),
    ('\u{201a}', "SINGLE LOW-9 QUOTATION MARK"),
    ('\u{201b}', "SINGLE HIGH-REVERSED-9 QUOTATION MARK"),
    ('\u{201c}', "LEFT DOUBLE QUOTATION MARK"),
    ('\u{201d}', "RIGHT DOUBLE QUOTATION MARK"),
    ('\u{201e}', "DOUBLE LOW-9 QUOTATION MARK"),
    ('\u{201f}', "DOUBLE HIGH-REVERSED-9 QUOTATION MARK"),
    ('\u{2022}', "BULLET"),
    ('\u{2028}', "LINE SEPARATOR"),
    ('\u{2029}', "PARAGRAPH SEPARATOR"),
    ('\u{202a}', "LEFT-TO-RIGHT EMBEDDING"),
    ('\u{202b}', "RIGHT-TO-LEFT EMBEDDING"),
    ('\u{202c}', "POP DIRECTIONAL FORMATTING"),
    ('\u{202d}', "LEFT-TO-RIGHT OVERRIDE"),
    ('\u{202e}', "RIGHT-TO-LEFT OVERRIDE"),
    ('\u{202f}', "NARROW NO-BREAK SPACE"),
    ('\u{2032}', "PRIME"),
    ('\u{2033}', "DOUBLE PRIME"),
    ('\u{2039}', "SINGLE LEFT-POINTING ANGLE QUOTATION MARK"),
    ('\u{203a}', "SINGLE RIGHT-POINTING ANGLE QUOTATION MARK"),
    ('\u{205f}', "MEDIUM MATHEMATICAL SPACE"),
    ('\u{2060}', "WORD JOINER"),
    ('\u{2061}', "FUNCTION APPLICATION"),
    ('\u{2062}', "INVISIBLE TIMES"),
    ('\u{2063}', "INVISIBLE SEPARATOR"),
    ('\u{2064}', "INVISIBLE PLUS"),
    ('\u{2066}', "LEFT-TO-RIGHT ISOLATE"),
    ('\u{2067}', "RIGHT-TO-LEFT ISOLATE"),
    ('\u{2068}', "FIRST STRONG ISOLATE"),
    ('\u{2069}', "POP DIRECTIONAL ISOLATE"),
    ('\u{206a}', "INHIBIT SYMMETRIC SWAPPING"),
    ('\u{206b}', "ACTIVATE SYMMETRIC SWAPPING"),
    ('\u{206c}', "INHIBIT ARABIC FORM SHAPING"),
    ('\u{206d}', "ACTIVATE ARABIC FORM SHAPING"),
    ('\u{206e}', "NATIONAL DIGIT SHAPES"),
    ('\u{206f}', "NOMINAL DIGIT SHAPES"),
    ('\u{2212}', "MINUS SIGN"),
    ('\u{2236}', "RATIO"),
    ('\u{2800}', "BRAILLE PATTERN BLANK"),
    ('\u{3000}', "IDEOGRAPHIC SPACE"),
    ('\u{3164}', "HANGUL FILLER"),
    ('\u{a789}', "MODIFIER LETTER COLON"),
    ('\u{fe55}', "SMALL COLON"),
    ('\u{fe5f}', "SMALL NUMBER SIGN"),
    ('\u{fe63}', "SMALL HYPHEN-MINUS"),
    ('\u{feff}', "ZERO WIDTH NO-BREAK SPACE"),
    ('\u{ff02}', "FULLWIDTH QUOTATION MARK"),
    ('\u{ff03}', "FULLWIDTH NUMBER SIGN"),
    ('\u{ff07}', "FULLWIDTH APOSTROPHE"),
    ('\u{ff0c}', "FULLWIDTH COMMA"),
    ('\u{ff0d}', "FULLWIDTH HYPHEN-MINUS"),
    ('\u{ff1a}', "FULLWIDTH COLON"),
    ('\u{ff3b}', "FULLWIDTH LEFT SQUARE BRACKET"),
    ('\u{ff3d}', "FULLWIDTH RIGHT SQUARE BRACKET"),
    ('\u{ff5b}', "FULLWIDTH LEFT CURLY BRACKET"),
    ('\u{ff5d}', "FULLWIDTH RIGHT CURLY BRACKET"),
    ('\u{ffa0}', "HALFWIDTH HANGUL FILLER"),
    ('\u{fff9}', "INTERLINEAR ANNOTATION ANCHOR"),
    ('\u{fffa}', "INTERLINEAR ANNOTATION SEPARATOR"),
    ('\u{fffb}', "INTERLINEAR ANNOTATION TERMINATOR"),
    ('\u{1bca0}', "SHORTHAND FORMAT LETTER OVERLAP"),
    ('\u{1bca1}', "SHORTHAND FORMAT CONTINUING OVERLAP"),
    ('\u{1bca2}', "SHORTHAND FORMAT DOWN STEP"),
    ('\u{1bca3}', "SHORTHAND FORMAT UP STEP"),
    ('\u{1d159}', "MUSICAL SYMBOL NULL NOTEHEAD"),
    ('\u{1d173}', "MUSICAL SYMBOL BEGIN BEAM"),
    ('\u{1d174}', "MUSICAL SYMBOL END BEAM"),
    ('\u{1d175}', "MUSICAL SYMBOL BEGIN TIE"),
    ('\u{1d176}', "MUSICAL SYMBOL END TIE"),
    ('\u{1d177}', "MUSICAL SYMBOL BEGIN SLUR"),
    ('\u{1d178}', "MUSICAL SYMBOL END SLUR"),
    ('\u{1d179}', "MUSICAL SYMBOL BEGIN PHRASE"),
    ('\u{1d17a}', "MUSICAL SYMBOL END PHRASE"),
    ('\u{e0001}', "LANGUAGE TAG"),
    ('\u{e007f}', "CANCEL TAG"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hidden_character_of_a_common_block_has_a_name() {
        let hidden = |range: std::ops::RangeInclusive<u32>| {
            range.filter_map(char::from_u32).filter(|c| is_hidden(*c)).map(called).collect::<Vec<_>>()
        };
        for range in [0..=0x206f_u32, 0x3000..=0x31ff, 0xfe00..=0xffff] {
            for name in hidden(range).iter().filter(|name| !name.contains(' ')) {
                let unassigned = ["U+2065", "U+FFF0", "U+FFF1", "U+FFF2", "U+FFF3", "U+FFF4", "U+FFF5"];
                let more = ["U+FFF6", "U+FFF7", "U+FFF8"];
                assert!(unassigned.iter().chain(&more).any(|known| known == name), "{name}");
            }
        }
        for (c, name) in [
            ('\u{a0}', "U+00A0 NO-BREAK SPACE"),
            ('\u{200b}', "U+200B ZERO WIDTH SPACE"),
            ('\u{feff}', "U+FEFF ZERO WIDTH NO-BREAK SPACE"),
            ('\u{202e}', "U+202E RIGHT-TO-LEFT OVERRIDE"),
            ('\u{85}', "U+0085 NEXT LINE"),
            ('\u{1b}', "U+001B ESCAPE"),
            ('\u{fe0f}', "U+FE0F VARIATION SELECTOR-16"),
            ('\u{e0061}', "U+E0061 TAG CHARACTER of 'a'"),
            ('\u{10ffff}', "U+10FFFF NONCHARACTER"),
        ] {
            assert_eq!(called(c), name);
            assert!(is_hidden(c), "{name}");
        }
    }

    #[test]
    fn ordinary_text_is_not_hidden() {
        for c in "azAZ09 \t\r\n~äßéñ€中文日本語한국어עבריתالعربيةहिन्दीไทย🙂–—“”".chars()
        {
            assert!(!is_hidden(c), "{}", called(c));
        }
    }

    #[test]
    fn a_comment_may_not_contain_characters_that_reorder_text_or_end_a_line() {
        for c in [
            '\u{202e}', '\u{2066}', '\u{200f}', '\u{61c}', '\u{2028}', '\u{85}', '\u{1b}', '\u{9b}',
            '\u{feff}',
        ] {
            assert!(!may_be_in_a_comment(c), "{}", called(c));
        }
        for c in ['\u{a0}', '\u{200d}', '\u{fe0f}', '\u{3000}'] {
            assert!(may_be_in_a_comment(c), "{}", called(c));
        }
    }
}
