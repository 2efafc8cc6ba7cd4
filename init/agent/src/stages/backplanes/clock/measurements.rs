//! The log of chronyd's measurements: one line for each valid answer of a control plane.
//!
//! chronyd writes the file `measurements.log` (option `log measurements` of chrony.conf(5)) as an unprivileged user, and
//! only numbers in it come from the network. [`parse`] accepts exactly the columns that it needs, with integer arithmetic,
//! and ignores every other line. `LOG_FileWrite` in chrony's `ntp_core.c` defines the columns.
//!
//! Not here: the file. The caller opens it without following links, reads at most [`LARGEST_FILE`] bytes, and truncates it
//! when it is larger; chronyd opens it for appending.

use std::net::IpAddr;

use super::Millis;

/// The file in chronyd's runtime folder.
pub const FILE: &str = "/run/chrony/measurements.log";

/// The caller truncates the file above this size.
pub const LARGEST_FILE: u64 = 64 * 1024;

/// One line: how far the clock of `source` is ahead of this node's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The address of the control plane.
    pub source: IpAddr,
    /// Its clock minus this node's clock.
    pub offset: Millis,
    /// The largest possible error: half of both delays plus both dispersions, rounded up.
    pub bound: Millis,
}

/// Parses one line; `None` if it has another form, or if a test of the answer has failed.
pub fn parse(line: &str) -> Option<Line> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let [
        _,
        _,
        address,
        leap,
        _,
        tests,
        more_tests,
        last_tests,
        _,
        _,
        _,
        offset,
        delay,
        dispersion,
        root_delay,
        root_dispersion,
        _,
        _,
        _,
        _,
    ] = columns.as_slice()
    else {
        return None;
    };
    let is_good = ["N", "+", "-"].contains(leap)
        && *tests == "111"
        && *more_tests == "111"
        && last_tests.len() == 4
        && last_tests.starts_with('1');
    if !is_good {
        return None;
    }
    let half = |text: &str| Some(magnitude(text)?.div_ceil(2));
    let bound = half(delay)?
        .checked_add(magnitude(dispersion)?)?
        .checked_add(half(root_delay)?)?
        .checked_add(magnitude(root_dispersion)?)?;
    Some(Line {
        source: address.parse().ok()?, // not an address: a line of another source
        offset: seconds(offset)?,
        bound: i64::try_from(bound).ok()?, // too large: not usable
    })
}

/// An amount without sign, in milliseconds, rounded up.
fn magnitude(text: &str) -> Option<u64> {
    Some(seconds(text)?.unsigned_abs().saturating_add(1))
}

/// A number in the format `%.3e`, in seconds, as milliseconds without the fraction.
fn seconds(text: &str) -> Option<Millis> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once('e')?;
    let (whole, fraction) = mantissa.split_once('.')?;
    let digits =
        |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    let (sign, power) = exponent.split_at_checked(1)?;
    let sound = digits(whole, 1) && digits(fraction, 3) && digits(power, 2);
    if !sound {
        return None;
    }
    let thousandths: i64 = format!("{whole}{fraction}").parse().ok()?; // four digits
    let factor = 10i64.checked_pow(power.parse().ok()?); // two digits
    let amount = match sign {
        "+" => thousandths.checked_mul(factor?)?,
        "-" => factor.map_or(0, |factor| thousandths / factor),
        _ => return None,
    };
    Some(if negative { -amount } else { amount })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "2016-11-09 05:40:50 203.0.113.15    N  2 111 111 1111  10 10 1.0 -4.966e-03  2.296e-01  1.577e-05  1.615e-01  7.446e-03 CB00717B 4B D K";

    #[test]
    fn the_example_of_the_manual() {
        let line = parse(GOOD).unwrap();
        assert_eq!(line.source, "203.0.113.15".parse::<IpAddr>().unwrap());
        assert_eq!(line.offset, -4);
        let exact = 229.6 / 2.0 + 0.01577 + 161.5 / 2.0 + 7.446;
        let bound = f64::from(i32::try_from(line.bound).unwrap());
        assert!(bound >= exact && bound < exact + 5.0, "{bound} {exact}");
    }

    #[test]
    fn lines_that_say_nothing_about_a_good_clock_are_ignored() {
        for (from, to) in [
            ("    N ", "    ? "),
            (" 111 111 ", " 110 111 "),
            (" 111 111 ", " 111 011 "),
            (" 1111 ", " 0111 "),
            (" 1111 ", " 1 "),
            ("203.0.113.15", "47505300"),
            ("203.0.113.15", "cp-1"),
            ("-4.966e-03", "nan"),
            ("-4.966e-03", "inf"),
            ("-4.966e-03", "-4.966e+99"),
            ("-4.966e-03", "--4.966e-03"),
            ("-4.966e-03", "4966"),
            ("-4.966e-03", "4.966e"),
            ("-4.966e-03", "4.966eé3"),
            ("-4.966e-03", "٤.966e-03"),
            ("2.296e-01", "9.999e+18"),
            (" D K", " D"),
            (" D K", " D K K"),
        ] {
            let line = GOOD.replacen(from, to, 1);
            assert_ne!(line, GOOD);
            assert_eq!(parse(&line), None, "{line}");
        }
        assert_eq!(parse(&GOOD.replacen("-4.966e-03", "2.500e+08", 1)).unwrap().offset, 250_000_000_000);
        assert_eq!(
            parse(&GOOD.replacen("203.0.113.15", "fd00::1", 1)).unwrap().source.to_string(),
            "fd00::1"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(line in any::<String>()) {
            prop_assert_eq!(parse(&line), None);
        }

        #[test]
        fn a_changed_line_never_has_a_negative_bound(at in 0..GOOD.len(), with in any::<char>()) {
            let mut line = GOOD.to_owned();
            line.replace_range(at..=at, &with.to_string());
            prop_assert!(parse(&line).is_none_or(|line| line.bound >= 0));
        }

        #[test]
        fn numbers_are_read_as_c_prints_them(amount in -1e12f64..1e12) {
            let text = format!("{amount:.3e}");
            let (mantissa, exponent) = text.split_once('e').unwrap();
            let exponent: i32 = exponent.parse().unwrap();
            let sign = if exponent < 0 { '-' } else { '+' };
            let printed = format!("{mantissa}e{sign}{:02}", exponent.abs());
            let value: f64 = text.parse().unwrap();
            let read = seconds(&printed).unwrap();
            #[expect(clippy::cast_precision_loss, reason = "the test compares within a millisecond")]
            let read = read as f64;
            prop_assert!((read - value * 1000.0).abs() <= 1.0, "{printed} {read}");
        }
    }
}
