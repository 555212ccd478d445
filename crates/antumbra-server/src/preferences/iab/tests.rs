//! Strings that the IAB's specifications and reference libraries print, and what may be wrong with a string.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const STRINGS: [ConsentString; 3] = [ConsentString::Usp, ConsentString::Gpp, ConsentString::Tcf];

/// What a string says, as answers show it: `SaleOfInfo` for allowed, `!SaleOfInfo` for refused, and `GPC`.
fn said(string: ConsentString, text: &str) -> String {
    let reading = read(string, text).unwrap_or_else(|fault| panic!("{text} {fault}"));
    let statements = reading.statements.iter().map(|said| {
        let not = if said.allows { "" } else { "!" };
        format!("{not}{}:{}", said.purpose.slug(), said.source)
    });
    statements
        .chain(reading.gpc.then(|| "GPC".to_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}

fn fault(string: ConsentString, text: &str) -> String {
    read(string, text).expect_err(text).to_string()
}

/// A TC string without consents, as a version of its specification prints it.
const CORE: &str = "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA";
const CORE_WITH_RANGES: &str = "COvFyGBOvFyGBAbAAAENAPCAAOAAAAAAAAAAAEEUACCKAAA";
const DISCLOSED: &str = "IFoEUQQgAIQwgIwQABAEAAAAOIAACAIAAAAQAIAgEAACEAAAAAgAQBAAAAAAAGBAAgAAAAAAAFAAECAAAgAAQARAEQAAAAAJAAIAAgAAAYQEAAAQmAgBC3ZAYzUw";

#[test]
fn us_privacy_strings_are_read_in_all_their_forms() {
    for (text, expected) in [
        ("1YNN", "SaleOfInfo:usp"),
        ("1YYN", "!SaleOfInfo:usp"),
        ("1NYN", "!SaleOfInfo:usp"),
        ("1YNY", "SaleOfInfo:usp"),
        ("2NYY", "!SaleOfInfo:usp"),
        ("1---", ""),
        ("1yyn", "!SaleOfInfo:usp"),
        ("9--y", ""),
    ] {
        assert_eq!(said(ConsentString::Usp, text), expected, "{text}");
    }
}

#[test]
fn printed_tc_strings_are_read() {
    let refused = "!Advertising:tcf";
    for (text, expected) in [
        (CORE.to_owned(), refused),
        (CORE_WITH_RANGES.to_owned(), "Advertising:tcf"),
        (format!("{CORE_WITH_RANGES}.{DISCLOSED}"), "Advertising:tcf"),
        (format!("{CORE_WITH_RANGES}.ZAAgH9794ulA.{DISCLOSED}"), "Advertising:tcf"),
        (format!("{CORE_WITH_RANGES}.Q{}", &DISCLOSED[1..]), "Advertising:tcf"),
        ("CPSG_8APSG_8AAAAAAENAACAAAAAAAAAAAAAAAAAAAAA.QAAA.IAAA".to_owned(), refused),
        ("CPSG_8APSG_8AAAAAAENAACgAAAAAAAAAAAAAAAAAAAA.YAAAAAAAAAAA".to_owned(), refused),
        ("CAAAAAAAAAAAAAAAAAENAACAAAAAAAAAAAAAAAAAAAAA.QAAA.IAAA".to_owned(), refused),
        ("CPcqBNJPcqBNJNwAAAENAwCAAAAAAAAAAAAAAAAAAAAA.YAAAAAAAAAA.QGLtV_T9fb2vj-_Z99_tkeYwf95y3p-wzhheMs-8NyZeH_B4Wv2MyvBX4JiQKGRgksjLBAQdtHGlcTQgBwIlViTLMYk2MjzNKJrJEilsbO2dYGD9Pn8HT3ZCY70-vv__7v3ff_3g.IGLtV_T9fb2vj-_Z99_tkeYwf95y3p-wzhheMs-8NyZeH_B4Wv2MyvBX4JiQKGRgksjLBAQdtHGlcTQgBwIlViTLMYk2MjzNKJrJEilsbO2dYGD9Pn8HT3ZCY70-vv__7v3ff_3g".to_owned(), refused),
        ("CPi8wgAPi8wgAAOACBENCuCoAP_AAEfAACiQJHNd_H__bX9n-f7_6ft0eY1f9_r37uQzDhfNk-8F3L_W_LwX_2E7NF36tq4KmR4ku1LBIUNtHMnUDUmxaokVrzHsak2cpzNKJ_BkknsZe2dYGF9vm5tj-QKZ7_5_d3f52T_9_9v-39z33913v3d93-_13LjdV5_9H_v9fR_b8_Kf9_5-_4v8_____3_e______8AEEggCTDVuIAuxLHAm0DCKBECMKwkKoFABBQDC0QGADg4KdlYBPrCBAAgFAEYEQIcAUYEAgAAAgCQiACQIsEAAAIgEAAIAEQiEABAwCCgAsDAIAAQDQMUQoABAkIMiAiKUwICIEggJbKhBKC6Q0wgCrLACgkRsFAAiAAAUgACAsHAMESAlYsECTFG-QAjBCgFEqFaAGGgAwABBI4RABgACCRwqADAAEEjgA".to_owned(), "Advertising:tcf"),
        ("CPgA5EAPgA5EAAOACBENCuCoAP_AAEfAACiQI0Nd_H__bX9n-f7_6Pt0cY1f9_r3ruQzDhfFk-8F3L_W3LwX32E7NF36pq4KmR4ku1LBIQFtHMnUDUmxaokVrzHsak2cpyNKI7BkknsZe2dYGF9Pm5lD-QKZ7_5_d3f52T_9_9v-39z339V3v3d93-_12PjdV599H_v9fR_b8_Kf9_5-_4v8___4IQAAAAQQ_AJMNW4gC7EscCbQMIoAQIwrCQqAUAEFAMLRAYAODgpmVgEusIEACAUARgRAhxBRgQCAAACAJCIAJAiwQAIAiAQAAgARAIQAEDAIKACwMAgABANAxACgAECQgyICIpTAgIgSCAlsqEEoKpDTCAKssAKARGwUACIAABSAAICwcAwRICViwQJMUbwAw0AGAAIJHCIAMAAQSOFQAYAAgkcA".to_owned(), "Advertising:tcf"),
        ("COv_eg6Ov_eg6AOADBENAaCgAP_AAH_AACiQAVEUQQoAIQAqIoghAAQgAA.YAAAAAAAAAAAAAAAAAA".to_owned(), "Advertising:tcf"),
        // A legitimate interest in selecting advertising and no consent to it: neither one nor the other. It restricts a vendor.
        ("COoC-kUOoC-kUAHABAENAwCoAIAAAELAAAwIF5wAoAAgAGAvMACX_ABBAAQAFA".to_owned(), ""),
        ("COrEAV4OrXx94ACABBENAHCIAD-AAAAAAACAAxAAAAgAIAwgAgAAAAEAgQAAAAAEAYQAQAAAACAAAABAAA.IBAgAAAgAIAwgAgAAAAEAAAACA.QAagAQAgAIAwgA".to_owned(), "Advertising:tcf"),
        // A segment of a kind that does not exist yet.
        (format!("{CORE}.oAAA"), refused),
    ] {
        assert_eq!(said(ConsentString::Tcf, &text), expected, "{text}");
    }
}

#[test]
fn printed_gpp_strings_are_read() {
    let us = "!SaleOfInfo:gpp.NAME !Advertising:gpp.NAME";
    for (text, expected) in [
        ("DBAA", String::new()),
        (
            "DBABMA~CPSG_8APSG_8ANwAAAENAwCAAAAAAAAAAAAAAAAAAAAA.QAAA.IAAA",
            "!Advertising:gpp.tcfeuv2".to_owned(),
        ),
        (
            "DBABMA~CPSG_8APSG_8AAAAAAENAACAAAAAAAAAAAAAAOAAAABAAAAA.QAAA.IAAA",
            "!Advertising:gpp.tcfeuv2".to_owned(),
        ),
        (
            "DBABMA~CPSG_8APSG_8AAAAAAENAACAAAAAAAAAAAAAAOwAQAOgAAAA.QAAA.IAAA",
            "!Advertising:gpp.tcfeuv2".to_owned(),
        ),
        (
            "DBABMA~CPSG_8APSG_8AAAAAAENAACAAAAAAAAAAAAAFpQAwAAgCtAWkAAAAAAA.QAAA.IAAA",
            "!Advertising:gpp.tcfeuv2".to_owned(),
        ),
        (
            "DBABM~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA",
            "!Advertising:gpp.tcfeuv2".to_owned(),
        ),
        (
            "DBACNY~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN",
            "!Advertising:gpp.tcfeuv2 SaleOfInfo:gpp.uspv1".to_owned(),
        ),
        // The specification itself prints a string of another version in the Canadian section.
        (
            "DBABjw~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN",
            "SaleOfInfo:gpp.uspv1".to_owned(),
        ),
        (
            "DBACOeA~CPSG_8APSG_8ANwAAAENAwCAAAAAAAAAAAAAAAAAAAAA.QAAA.IAAA~BPSG_8APSG_8AAyACAENGdCgf_gfgAfgfgBgABABAAAABAB4AACACAAA.fHHHA4444ao~1YNN",
            "!Advertising:gpp.tcfeuv2 SaleOfInfo:gpp.uspv1".to_owned(),
        ),
        (
            "DBACOdM~CPSG_8APSG_8AAAAAAENAACAAAAAAAAAAAAAAAAAAAAA.QAAA.IAAA~BPSG_8APSG_8AAAAAAENAACAAAAAAAAAAAAAAAAAAA.YAAAAAAAAAA~1---~BAAAAAAAAABA.QA~BAAAAABA.QA~BAAAABA~BAAAAEA.QA~BAAAAAQA~BAAAAAEA.QA~BAAAAABA~BAAAAABA.QA~BAAAAAABAA.QA~BAAAAAQA.QA~BAAAAAABAA.QA~BAAAAAQA.QA~BAAAAAQA.QA~BAAAAABA.QA~BAAAAAAAQA.QA~BAAAAAQA.QA",
            "!Advertising:gpp.tcfeuv2".to_owned(),
        ),
        ("DBABTA~1YYN", "!SaleOfInfo:gpp.uspv1".to_owned()),
        (
            "DBABDA~BPXuQIAPXuQIAAfKABENB-CgAAAAAAAAAAAAAAAA.YAAAAAAAAAA",
            String::new(),
        ),
        ("DBABYA~BOEFEAyOEFEAyAHABDENAI4AAAB9vABAASA", String::new()),
        (
            "DBABLA~BVQqAAAAAgA.QA",
            "SaleOfInfo:gpp.usnat Advertising:gpp.usnat".to_owned(),
        ),
        ("DBABLA~BAAAAAAAAQA.QA", String::new()),
        ("DBABLA~BAAAAAABEQA.QA", String::new()),
        ("DBABLA~BAAAAAAAAQRA.QA", String::new()),
        ("DBABLA~BVVVkkkkkpFY.YA", format!("{} GPC", us.replace("NAME", "usnat"))),
        ("DBABLA~BVVVVVVVVWA.YA", format!("{} GPC", us.replace("NAME", "usnat"))),
        ("DBABLA~CAAAAAAAAAWA.Q", String::new()),
        ("DBABBg~BVWSSSVY.YA", "!SaleOfInfo:gpp.usca GPC".to_owned()),
        ("DBABBg~BVqqqqpY.YA", "SaleOfInfo:gpp.usca GPC".to_owned()),
        ("DBABRg~BVVVVWY", us.replace("NAME", "usva")),
        ("DBABJg~BVVVVVg.YA", format!("{} GPC", us.replace("NAME", "usco"))),
        ("DBABFg~BVVVVVmA", us.replace("NAME", "usut")),
        ("DBABVg~BVVVVVVg", us.replace("NAME", "usct")),
    ] {
        assert_eq!(said(ConsentString::Gpp, text), expected, "{text}");
    }
}

/// The header of a string with one section.
fn header(id: u32) -> String {
    let mut fibonacci = vec![1, 2];
    while fibonacci[fibonacci.len() - 1] <= id {
        fibonacci.push(fibonacci[fibonacci.len() - 1] + fibonacci[fibonacci.len() - 2]);
    }
    let (mut left, mut code) = (id, String::from("1"));
    for number in fibonacci.into_iter().rev().skip_while(|number| *number > id) {
        let taken = number <= left;
        left -= if taken { number } else { 0 };
        code.insert(0, if taken { '1' } else { '0' });
    }
    of_bits(&format!("000011 000001 000000000001 0 {code}"))
}

/// Base64url of ones and zeros, with zeros at the end as needed.
fn of_bits(bits: &str) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
    let sextets = bits.chunks(6).map(|chunk| {
        let value = (0..6).fold(0, |value, place| value << 1 | chunk.get(place).copied().unwrap_or(0));
        char::from(alphabet[usize::from(value)])
    });
    sextets.collect()
}

#[test]
fn headers_are_those_that_are_printed() {
    for (id, printed) in [(2, "DBABM"), (6, "DBABT"), (7, "DBABL"), (8, "DBABB"), (12, "DBABV")] {
        assert!(header(id).starts_with(printed), "{id}");
    }
}

/// Every state writes its opt-outs in places of its own. The values are those of the reference libraries' tests, or of the
/// section's specification where these have none: every notice given, sale refused, targeted advertising allowed.
#[test]
fn each_section_about_a_state_is_read_by_its_own_layout() {
    for (id, name, notices, rest, has_targeted_advertising) in [
        (7, "usnat", 6, 18, true),
        (8, "usca", 3, 15, false),
        (9, "usva", 3, 12, true),
        (10, "usco", 3, 11, true),
        (11, "usut", 4, 12, true),
        (12, "usct", 3, 14, true),
        (13, "usfl", 3, 15, true),
        (14, "usmt", 3, 15, true),
        (15, "usor", 3, 18, true),
        (16, "ustx", 3, 13, true),
        (17, "usde", 3, 18, true),
        (18, "usia", 4, 12, true),
        (19, "usne", 3, 13, true),
        (20, "usnh", 3, 15, true),
        (21, "usnj", 3, 19, true),
        (22, "ustn", 3, 13, true),
        (23, "usmn", 3, 13, true),
    ] {
        // The national section has the opt-out of sharing between the two.
        let between = if id == 7 { "01" } else { "" };
        let head = format!("000001 {} 01 {between} 10 ", "01".repeat(notices));
        let section = of_bits(&format!("{head}{}", "00".repeat(rest)));
        let text = format!("{}~{section}", header(id));
        let expected = if has_targeted_advertising {
            format!("!SaleOfInfo:gpp.{name} Advertising:gpp.{name}")
        } else {
            format!("!SaleOfInfo:gpp.{name}")
        };
        assert_eq!(said(ConsentString::Gpp, &text), expected, "{text}");
        let cut = format!("{}~{}", header(id), &section[..section.len() - 2]);
        assert!(fault(ConsentString::Gpp, &cut).starts_with("ends before a field of two bits does"));
        let flipped = section.replacen('V', "X", 1);
        let undefined = format!("{}~{flipped}", header(id));
        assert!(fault(ConsentString::Gpp, &undefined).starts_with("has a value that is not defined in "));
        let later = format!("{}~Z{}", header(id), &flipped[1..]);
        assert_eq!(
            said(ConsentString::Gpp, &later),
            "",
            "a version that is not known is let be"
        );
    }
}

#[test]
fn sections_that_are_not_known_are_let_be() {
    assert_eq!(said(ConsentString::Gpp, &format!("{}~BVVV.kkk", header(25))), "");
    assert_eq!(
        said(ConsentString::Gpp, &format!("{}~what-ever_it.is", header(987))),
        ""
    );
}

#[test]
fn each_fault_is_told_with_its_place() {
    use ConsentString::{Gpp, Tcf, Usp};
    let cut = &CORE_WITH_RANGES[..30];
    for (string, text, expected) in [
        (Usp, "", "has nothing where something must stand, at character 0"),
        (Usp, "1YN", "must have four characters, at character 3"),
        (Usp, "1YNNN", "must have four characters, at character 4"),
        (Usp, "YYNN", "must begin with a digit, at character 0"),
        (Usp, "1YXN", "has a character that is not Y, N or -, at character 2"),
        (Usp, "1YNé", "has a character that is not Y, N or -, at character 3"),
        (Tcf, "", "has nothing where something must stand, at character 0"),
        (
            Tcf,
            "CPXx RfA",
            "has a character that may not stand there, at character 4",
        ),
        (
            Tcf,
            "CPXx+fA=",
            "has a character that may not stand there, at character 4",
        ),
        (
            Tcf,
            cut,
            "ends before PurposesLITransparency does, at character 30, bit 180 of its segment",
        ),
        (
            Tcf,
            "BOEFEAyOEFEAyAHABDENAI4AAAB9vABAASA",
            "has a version that is not known, at character 0, bit 0 of its segment",
        ),
        (
            Tcf,
            "DBABMA~CPSG",
            "has a character that may not stand there, at character 6",
        ),
        (
            Tcf,
            &format!("{CORE}."),
            "has nothing where something must stand, at character 45",
        ),
        (
            Tcf,
            &format!("{CORE}.IAAA.IAAA"),
            "has the same kind of segment twice, at character 50, bit 0 of its segment",
        ),
        (
            Tcf,
            &format!("{CORE}.AAAA"),
            "has a value that is not defined in SegmentType, at character 45, bit 0 of its segment",
        ),
        (
            Tcf,
            &format!("{CORE}.IAA"),
            "ends before MaxVendorId does, at character 48, bit 18 of its segment",
        ),
        (
            Tcf,
            &format!("{CORE}.IAAE"),
            "goes on after its last field, at character 48, bit 21 of its segment",
        ),
        (
            Tcf,
            &format!("{CORE}AAAAAAAAB"),
            "goes on after its last field, at character 52, bit 317 of its segment",
        ),
        (
            Tcf,
            &format!(
                "{CORE}.{}",
                of_bits("001 0000000000001001 1 000000000001 1 0000000000001001 0000000000001000")
            ),
            "has a range of vendors that ends before it begins, at character 53, bit 49 of its segment",
        ),
        (Gpp, "", "has nothing where something must stand, at character 0"),
        (
            Gpp,
            "z",
            "does not begin with the header of a GPP string, at character 0, bit 0 of its segment",
        ),
        (
            Gpp,
            CORE,
            "does not begin with the header of a GPP string, at character 0, bit 0 of its segment",
        ),
        (
            Gpp,
            "DCABMA~CPSG",
            "has a version that is not known, at character 1, bit 6 of its segment",
        ),
        (
            Gpp,
            "DBAB",
            "ends before a section id does, at character 4, bit 24 of its segment",
        ),
        (
            Gpp,
            "DBABTA",
            "has fewer sections than its header names, at character 5, bit 30 of its segment",
        ),
        (
            Gpp,
            "DBABjw~1YNN",
            "has fewer sections than its header names, at character 5, bit 32 of its segment",
        ),
        (
            Gpp,
            "DBABTA~1YNN~1YNN",
            "has a section that its header does not name, at character 12",
        ),
        (Gpp, "DBABTA~", "has nothing where something must stand, at character 7"),
        (Gpp, "DBABTA~1YN", "must have four characters, at character 10"),
        (
            Gpp,
            "DBABTB~1YNN",
            "goes on after its last field, at character 5, bit 35 of its segment",
        ),
        (
            Gpp,
            "DBABMA~CPXx%fA",
            "has a character that may not stand there, at character 11",
        ),
        (
            Gpp,
            "DBABLA~BVVVVVVVV",
            "ends before a field of two bits does, at character 16, bit 54 of its segment",
        ),
        (
            Gpp,
            "DBABLA~BVVVVVVVVWA.AA",
            "has a value that is not defined in SubsectionType, at character 19, bit 0 of its segment",
        ),
        (
            Gpp,
            "DBABLA~BVVVVVVVVWA.YA.YA",
            "has the same kind of segment twice, at character 22, bit 0 of its segment",
        ),
        (
            Gpp,
            "DBABLA~BVVXVVVVVWA",
            "has a value that is not defined in TargetedAdvertisingOptOut, at character 10, bit 22 of its segment",
        ),
    ] {
        let told = read(string, text)
            .map(|_| String::new())
            .unwrap_or_else(|fault| fault.to_string());
        assert_eq!(told, format!("{expected} (counted from 0)"), "{text}");
    }
}

#[test]
fn eight_kilobytes_is_the_most_and_one_byte_more_is_not() {
    let padded = |bytes: usize| format!("{CORE}{}", "A".repeat(bytes - CORE.len()));
    assert_eq!(said(ConsentString::Tcf, &padded(8192)), "!Advertising:tcf");
    let expected = "must be at most 8192 bytes long, at character 8192 (counted from 0)";
    assert_eq!(fault(ConsentString::Tcf, &padded(8193)), expected);
    for string in [ConsentString::Usp, ConsentString::Gpp, ConsentString::AirgapVersion] {
        assert_eq!(fault(string, &"1".repeat(8193)), expected);
    }
    assert_eq!(said(ConsentString::AirgapVersion, &"é".repeat(4096)), "");
}

/// Ranges that stand for nearly a hundred million vendors.
#[test]
fn a_string_full_of_ranges_is_walked_through_and_not_laid_out() {
    let range = "1 0000000000000001 1111111111111111";
    let ranges = format!("001 1111111111111111 1 010110111111 {}", range.repeat(1471));
    let text = format!("{CORE}.{}", of_bits(&ranges));
    assert!(text.len() < BYTES_MAX && text.len() > BYTES_MAX - 200, "{}", text.len());
    let began = Instant::now();
    assert_eq!(said(ConsentString::Tcf, &text), "!Advertising:tcf");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[test]
fn only_answers_that_say_the_opposite_are_contradicted() {
    let statement = |purpose, allows| Statement {
        source: "usp",
        purpose,
        allows,
    };
    let answers = |purpose: Purpose| match purpose {
        Purpose::SaleOfInfo => Some(true),
        Purpose::Advertising => None,
    };
    for (said, contradicted) in [
        (statement(Purpose::SaleOfInfo, false), true),
        (statement(Purpose::SaleOfInfo, true), false),
        (statement(Purpose::Advertising, false), false),
    ] {
        assert_eq!(
            statements_against(&[said], answers).count() == 1,
            contradicted,
            "{said:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever stands in a string, it is read or its fault has a place in it; and the same in a section of a GPP string.
    #[test]
    fn any_text_is_read_or_refused_at_a_place_inside_it(text in any_string()) {
        for string in STRINGS {
            if let Err(fault) = read(string, &text) {
                prop_assert!(fault.character <= text.len());
            }
        }
        if !text.contains('~') && text.len() < 4000 {
            for (header, string) in [("DBABMA", ConsentString::Tcf), ("DBABTA", ConsentString::Usp)] {
                let inside = read(ConsentString::Gpp, &format!("{header}~{text}"));
                prop_assert_eq!(inside.is_ok(), read(string, &text).is_ok());
            }
        }
    }
}

fn any_string() -> impl Strategy<Value = String> {
    let printed = prop::sample::select(vec![
        "1YNN".to_owned(),
        format!("{CORE_WITH_RANGES}.{DISCLOSED}.ZAAgH9794ulA"),
        "DBACNY~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA~1YNN".to_owned(),
        "DBABLA~BVVVkkkkkpFY.YA".to_owned(),
    ]);
    let changed = (
        printed,
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    );
    let changed = changed.prop_map(|(printed, changes)| {
        let mut bytes = printed.into_bytes();
        for (place, byte) in changes {
            match byte {
                0..=0x1F => bytes.truncate(place.index(bytes.len() + 1)),
                0x20..=0x7E if !bytes.is_empty() => {
                    let place = place.index(bytes.len());
                    bytes[place] = byte;
                }
                0x7F..=0xBF if !bytes.is_empty() => {
                    let place = place.index(bytes.len());
                    bytes[place] ^= 1 << (byte % 7);
                }
                _ => bytes.insert(place.index(bytes.len() + 1), b"A~._-1"[usize::from(byte) % 6]),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    });
    prop_oneof![
        4 => changed,
        1 => prop::collection::vec(any::<u8>(), 0..16 * 1024).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        1 => "[CD][A-Za-z0-9_.~-]{0,16383}",
        1 => "[CDB][A-Za-z0-9_-]{0,120}",
    ]
}
