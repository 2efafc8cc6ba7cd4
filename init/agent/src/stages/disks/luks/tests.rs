//! Tests of the strict parser of LUKS2 headers.

use super::super::fake_disks::luks_area;
use super::*;

/// The JSON text that cryptsetup 2.7.5 wrote for the agent's own arguments.
const METADATA: &str = r#"{"keyslots":{"0":{"type":"luks2","key_size":64,"af":{"type":"luks1","stripes":4000,"hash":"sha256"},"area":{"type":"raw","offset":"32768","size":"258048","encryption":"aes-xts-plain64","key_size":64},"kdf":{"type":"pbkdf2","hash":"sha256","iterations":1000,"salt":"/gv/T0Ba1N0XWl7O7sVLd/JGF7e2SuCrcnIfbFSSb3I="}}},"tokens":{},"segments":{"0":{"type":"crypt","offset":"16777216","size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":4096}},"digests":{"0":{"type":"pbkdf2","keyslots":["0"],"segments":["0"],"hash":"sha256","iterations":1000,"salt":"j9TmskX5UgQBnIuGOXQ/X8zH6L4dPidjBugw0EZgeqo=","digest":"hHQuBNgvECmuypSzRmM2ga7/zR6fUeNWIsMHxUJid6k="}},"config":{"json_size":"12288","keyslots_size":"16744448"}}"#;

fn area(metadata: &str) -> Vec<u8> {
    luks_area("kubedos-state", FINISHED, 3, metadata)
}

#[test]
fn the_header_that_cryptsetup_writes_for_the_agent_is_accepted() {
    let area = area(METADATA);
    let checked = Checked::read(&area).unwrap();
    assert_eq!(checked.bytes().len(), AREA_BYTES);
    assert_eq!(checked.sequence(), 3);
    assert_eq!(Checked::read(checked.bytes()).unwrap(), checked, "the checked copy is accepted");
    assert_eq!(Checked::read(&area[..AREA_BYTES - 1]), Err(Unacceptable::NotWhole));
}

/// A5, attack: the disk contains a forged header, for example with a cipher that does not encrypt or a slot that any key
/// opens.
#[test]
fn a_header_with_any_forged_field_is_refused() {
    for (from, to, named) in [
        // A key slot or a segment without encryption: CVE-2025-59054.
        (
            r#""size":"258048","encryption":"aes-xts-plain64""#,
            r#""size":"258048","encryption":"cipher_null-ecb""#,
            "keyslots.0.area.encryption",
        ),
        (
            r#""iv_tweak":"0","encryption":"aes-xts-plain64""#,
            r#""iv_tweak":"0","encryption":"cipher_null-ecb""#,
            "segments.0.encryption",
        ),
        (
            r#""iv_tweak":"0","encryption":"aes-xts-plain64""#,
            r#""iv_tweak":"0","encryption":"capi:ecb(cipher_null)-plain64""#,
            "segments.0.encryption",
        ),
        (
            r#""encryption":"aes-xts-plain64","sector"#,
            r#""encryption":"aes-ecb","sector"#,
            "segments.0.encryption",
        ),
        // An unknown list, a slot with a different number, and other values of the slot's fields.
        (r#""tokens""#, r#""x":1,"tokens""#, "unknown field `x`"),
        (r#"{"keyslots":{"0""#, r#"{"keyslots":{"1""#, "keyslots"),
        (r#""type":"luks2""#, r#""type":"reencrypt""#, "keyslots.0.type"),
        (r#""stripes":4000"#, r#""stripes":1"#, "keyslots.0.af.stripes"),
        (r#""offset":"32768""#, r#""offset":"0""#, "keyslots.0.area.offset"),
        (
            r#""iterations":1000,"salt":"/gv"#,
            r#""iterations":4000000000,"salt":"/gv"#,
            "keyslots.0.kdf.iterations",
        ),
        (r#""kdf":{"type":"pbkdf2""#, r#""kdf":{"type":"argon2id""#, "keyslots.0.kdf.type"),
        // Tokens run plugins; requirements, flags and integrity change the mapping.
        (
            r#""tokens":{}"#,
            r#""tokens":{"0":{"type":"luks2-keyring","keyslots":[],"key_description":"x"}}"#,
            "tokens",
        ),
        (
            r#""sector_size":4096"#,
            r#""sector_size":4096,"integrity":{"type":"none","journal_encryption":"none","journal_integrity":"none"}"#,
            "unknown field `integrity`",
        ),
        (
            r#""sector_size":4096"#,
            r#""sector_size":4096,"flags":["in-reencryption"]"#,
            "unknown field `flags`",
        ),
        (r#""sector_size":4096"#, r#""sector_size":1024"#, "segments.0.sector_size"),
        (
            r#""json_size":"12288""#,
            r#""json_size":"12288","flags":["allow-discards"]"#,
            "unknown field `flags`",
        ),
        (
            r#""json_size":"12288""#,
            r#""json_size":"12288","requirements":{"mandatory":["online-reencrypt"]}"#,
            "unknown field `requirements`",
        ),
        (r#""offset":"16777216","size":"dynamic""#, r#""offset":"0","size":"dynamic""#, "segments.0.offset"),
        (r#""size":"dynamic""#, r#""size":"4096""#, "segments.0.size"),
        (r#""type":"crypt""#, r#""type":"linear""#, "segments.0.type"),
        (r#""iv_tweak":"0""#, r#""iv_tweak":"8""#, "segments.0.iv_tweak"),
        (r#""keyslots":["0"],"segments":["0"]"#, r#""keyslots":[],"segments":["0"]"#, "digests.0.keyslots"),
        (r#""keyslots":["0"],"segments":["0"]"#, r#""keyslots":["0"],"segments":[]"#, "digests.0.segments"),
        (r#""tokens":{}"#, r#""tokens":{},"tokens":{}"#, "duplicate field"),
        (
            r#""segments":{"0":{"#,
            r#""segments":{"1":{"type":"linear","offset":"0","size":"512"},"0":{"#,
            "missing field",
        ),
        (METADATA, "{}", "missing field"),
        (METADATA, "", "EOF"),
    ] {
        let forged = METADATA.replacen(from, to, 1);
        assert_ne!(forged, METADATA, "{from}");
        let error = Checked::read(&area(&forged)).expect_err(&forged).to_string();
        assert!(error.contains(named), "{error} does not name {named}");
    }
}

/// In the checked copy, a repeated name occurs once, with the value that was checked.
#[test]
fn the_checked_copy_contains_only_one_of_two_slots_with_the_same_name() {
    let evil = METADATA.replacen("aes-xts-plain64", "cipher_null-ecb", 1);
    let slot = &evil["{\"keyslots\":{".len()..evil.find(",\"tokens\"").unwrap() - 1];
    let forged = METADATA.replacen("{\"keyslots\":{", &format!("{{\"keyslots\":{{{slot},"), 1);
    assert!(forged.contains("cipher_null"));
    let checked = Checked::read(&area(&forged)).unwrap();
    assert!(!String::from_utf8_lossy(&checked.bytes()[..HEAD_BYTES]).contains("cipher_null"));
    assert_eq!(checked.bytes()[..HEAD_BYTES], Checked::read(&area(METADATA)).unwrap().bytes()[..HEAD_BYTES]);
}

/// A second, valid slot is refused.
#[test]
fn a_second_slot_segment_or_digest_is_refused() {
    let value: serde_json::Value = serde_json::from_str(METADATA).unwrap();
    for list in ["keyslots", "segments", "digests"] {
        let mut forged = value.clone();
        forged[list]["1"] = forged[list]["0"].clone();
        let error = Checked::read(&area(&forged.to_string())).unwrap_err().to_string();
        assert!(error.contains(&format!("{list} of its metadata is `0,1`")), "{error}");
    }
}

#[test]
fn a_binary_header_with_unexpected_values_is_refused() {
    let whole = area(METADATA);
    for (at, bytes, named) in [
        (HEADER_SIZE, 0x8000u64.to_be_bytes().as_slice(), "the size"),
        (PLACE, 512u64.to_be_bytes().as_slice(), "the place"),
        (CHECKSUM_KIND, b"sha512", "algorithm"),
    ] {
        let mut forged = whole.clone();
        for index in [0, 1] {
            let copy = &mut forged[index * COPY_BYTES..(index + 1) * COPY_BYTES];
            copy[at..at + bytes.len()].copy_from_slice(bytes);
            let sum = checksum(copy).unwrap();
            copy[CHECKSUM..CHECKSUM + 32].copy_from_slice(&sum);
        }
        let error = Checked::read(&forged).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

/// After the JSON text there must be only zeroes: a parser that stops at the first NUL would disagree with one that
/// does not.
#[test]
fn bytes_after_the_json_text_are_refused() {
    let mut forged = area(METADATA);
    for index in [0, 1] {
        let copy = &mut forged[index * COPY_BYTES..(index + 1) * COPY_BYTES];
        copy[COPY_BYTES - 2] = b'}';
        let sum = checksum(copy).unwrap();
        copy[CHECKSUM..CHECKSUM + 32].copy_from_slice(&sum);
    }
    assert!(matches!(Checked::read(&forged), Err(Unacceptable::Shape(_))));
}

/// The newest intact copy is checked and used; a torn or older copy is not.
#[test]
fn the_newest_intact_copy_is_used() {
    let (old, new) = (
        luks_area("kubedos-state", UNFINISHED, 4, METADATA),
        luks_area("kubedos-state", FINISHED, 5, METADATA),
    );
    let mut mixed = old;
    mixed[COPY_BYTES..HEAD_BYTES].copy_from_slice(&new[COPY_BYTES..HEAD_BYTES]);
    let checked = Checked::read(&mixed).unwrap();
    assert_eq!(checked.sequence(), 5);
    let headers = Headers::read(checked.bytes());
    assert_eq!(headers.copies.len(), 2);
    assert!(headers.copies.iter().all(|copy| copy.whole && copy.subsystem == FINISHED));
}
