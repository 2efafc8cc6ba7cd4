//! Installs mkosi: checks what the host must have, unpacks the pinned package, and changes it to use the host's mirrors.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use kubedos_debian::fetch::http::Client;
use kubedos_debian::fetch::{Retry, Silent};
use kubedos_debian::mirror::{Mirrors, Web};

use super::Reason;
use super::package::{Package, make_whole, mirrors};

/// The package of trixie.
const MKOSI: Package = Package {
    name: "mkosi 25.3-7",
    path: "pool/main/m/mkosi/mkosi_25.3-7_all.deb",
    size: 309_040,
    sha256: "ef56c81324fd47d65490e944ec4697bb3f6fb21326d0d071bfc2fb5ba5383252",
};

/// The folder of the program in the package.
const MODULES: &str = "usr/lib/python3/dist-packages/";
/// The file with the addresses of the mirrors.
const DEBIAN: &str = "mkosi/distributions/debian.py";
/// The text of the file before the addresses of the mirrors.
const MIRROR: &str = "mirror = context.config.mirror or \"";
const SECURITY: &str = "# Security updates repos are never mirrored.\n            url=\"";
/// The first line of the block for the suite of debug symbols, and the first line after that block.
const DEBUG: &str = "        # Debug repos are typically not mirrored.\n";
const AFTER_DEBUG: &str = "        if context.config.release in (\"unstable\", \"sid\"):\n";

/// Checks that the host has what mkosi needs. The rest is in mkosi's tools tree.
pub fn check_host() -> Result<(), Reason> {
    let has = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let needs = [
        (
            "python3",
            ["-c", "import sys; sys.exit(sys.version_info < (3, 9))"].as_slice(),
            "python3, 3.9 or newer",
        ),
        ("apt-get", &["--version"], "apt-get, to build its tools tree"),
        ("unshare", &["--mount", "true"], "root, to mount its trees"),
    ];
    match needs.into_iter().find(|(program, arguments, _)| !has(program, arguments)) {
        Some((_, _, what)) => Err(Reason::new(format!("it needs {what}"))),
        None => Ok(()),
    }
}

/// Fetches the package and unpacks the program into `folder`, unless the folder exists.
pub fn unpack_mkosi(folder: &Path) -> Result<(), Reason> {
    make_whole(folder, |temporary| {
        MKOSI.unpack(MODULES, temporary)?;
        point_at(&mirrors(), &temporary.join(DEBIAN))
    })
}

/// Changes mkosi to use the host's mirrors for images and for its tools tree, and not to use the suite of debug symbols, which few mirrors
/// have.
fn point_at(mirrors: &Mirrors, file: &Path) -> Result<(), Reason> {
    let text = fs::read_to_string(file).map_err(Reason::new)?;
    let (client, retry) = (Client::new(), Retry::default());
    let web = Web { client: &client, retry, progress: &Silent };
    let mirror = |suite| match mirrors.nth(suite, 0, &web) {
        Ok(Some(found)) => Ok(found.mirror.url("").trim_end_matches('/').to_owned()),
        Ok(None) => Err(Reason::new(format!("no mirror has {suite}"))),
        Err(error) => Err(Reason::new(error)),
    };
    let (debian, security) = (mirror("trixie")?, mirror("trixie-security")?);
    fs::write(file, pointed(&text, &debian, &security)?).map_err(Reason::new)
}

fn pointed(text: &str, debian: &str, security: &str) -> Result<String, Reason> {
    let unknown = || Reason::new(format!("{DEBIAN} of {} has unexpected content", MKOSI.name));
    let (before, rest) = text.split_once(DEBUG).ok_or_else(unknown)?;
    let (_, after) = rest.split_once(AFTER_DEBUG).ok_or_else(unknown)?;
    let mut text = format!("{before}{AFTER_DEBUG}{after}");
    for (marker, url) in [(MIRROR, debian), (SECURITY, security)] {
        let (before, rest) = text.split_once(marker).ok_or_else(unknown)?;
        let (_, after) = rest.split_once('"').ok_or_else(unknown)?;
        text = format!("{before}{marker}{url}\"{after}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "        mirror = context.config.mirror or \"http://own.invalid/debian\"
        yield release
        # Debug repos are typically not mirrored.
        url = \"http://own.invalid/debian-debug\"
        yield debug
        if context.config.release in (\"unstable\", \"sid\"):
            return
            # Security updates repos are never mirrored.
            url=\"http://own.invalid/debian-security\",
";

    #[test]
    fn the_debug_suite_is_removed_and_the_mirrors_are_replaced() {
        let text = pointed(TEXT, "http://a.invalid/d", "http://a.invalid/s").unwrap();
        assert!(!text.contains("debug") && !text.contains("own.invalid"), "{text}");
        assert!(
            text.contains("or \"http://a.invalid/d\"\n        yield release\n        if context"),
            "{text}"
        );
        assert!(text.contains("url=\"http://a.invalid/s\",\n"), "{text}");
    }

    #[test]
    fn another_version_of_the_file_is_refused() {
        for from in ["# Debug repos", "\"sid\"", "context.config.mirror or", "# Security updates"] {
            pointed(&TEXT.replace(from, "x"), "http://a.invalid/d", "http://a.invalid/s").unwrap_err();
        }
    }
}
