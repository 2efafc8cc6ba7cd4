//! Checks that the kernel's command line is the one in the UKI, byte for byte. systemd-stub appends SMBIOS strings to
//! it even under Secure Boot, and an additional word could disable verification or start a shell as PID 1 (ADR 0002).

use std::io;

/// Why the command line is refused.
#[derive(Debug, thiserror::Error)]
pub enum CmdlineError {
    /// The file cannot be read.
    #[error("failed to read {0}")]
    Read(&'static str, #[source] io::Error),
    /// The command line differs.
    #[error("the kernel's command line differs from the one in the sealed image: {0}")]
    Differs(String),
}

/// Compares the kernel's command line with the one in the UKI, ignoring one trailing newline or NUL of each.
pub fn compare(given: &[u8], baked: &[u8]) -> Result<(), CmdlineError> {
    let (given, baked) = (trimmed(given), trimmed(baked));
    if given == baked {
        return Ok(());
    }
    let difference = match given.strip_prefix(baked) {
        Some(appended) => format!("appended: {:?}", String::from_utf8_lossy(appended)),
        None => format!("it is {:?}", String::from_utf8_lossy(given)),
    };
    Err(CmdlineError::Differs(difference))
}

fn trimmed(text: &[u8]) -> &[u8] {
    match text {
        [rest @ .., b'\n' | 0] => rest,
        whole => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A5: command lines with appended SMBIOS strings are refused.
    #[test]
    fn only_the_command_line_of_the_uki_is_accepted() {
        for given in ["console=ttyS0 quiet", "console=ttyS0 quiet\n", "console=ttyS0 quiet\0"] {
            assert!(compare(given.as_bytes(), b"console=ttyS0 quiet\n").is_ok(), "{given:?}");
        }
        for given in [
            "console=ttyS0 quiet systemd.debug_shell",
            "console=ttyS0 quiet ",
            "console=ttyS0 quiet\n\n",
            "console=ttyS0",
            "init=/bin/sh console=ttyS0 quiet",
            "",
        ] {
            assert!(compare(given.as_bytes(), b"console=ttyS0 quiet").is_err(), "{given:?}");
        }
    }

    #[test]
    fn the_error_contains_the_appended_text() {
        let error = compare(b"a b evil=1\n", b"a b").unwrap_err().to_string();
        assert!(error.ends_with(r#"appended: " evil=1""#), "{error}");
    }
}
