//! mkosi itself: what the host must have, and the pinned package, unpacked and pointed at the host's mirrors.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use kubedos_debian::fetch::http::Client;
use kubedos_debian::fetch::{Retry, Silent};
use kubedos_debian::mirror::{Mirrors, Web};

use super::Why;
use super::package::{Package, make_whole, mirrors};

/// The release of trixie.
const MKOSI: Package = Package {
    name: "mkosi 25.3-7",
    path: "pool/main/m/mkosi/mkosi_25.3-7_all.deb",
    size: 309_040,
    sha256: "ef56c81324fd47d65490e944ec4697bb3f6fb21326d0d071bfc2fb5ba5383252",
};

/// Where the package has the program.
const MODULES: &str = "usr/lib/python3/dist-packages/";
/// What decides where it looks for packages.
const DEBIAN: &str = "mkosi/distributions/debian.py";
/// Where its mirrors stand there, up to the quotation mark.
const MIRROR: &str = "mirror = context.config.mirror or \"";
const SECURITY: &str = "# Security updates repos are never mirrored.\n            url=\"";
/// Where the suite of debug symbols begins, and what comes behind it.
const DEBUG: &str = "        # Debug repos are typically not mirrored.\n";
const BEHIND_DEBUG: &str = "        if context.config.release in (\"unstable\", \"sid\"):\n";

/// What mkosi cannot do without on a host; the rest comes with its tools tree.
pub fn check_host() -> Result<(), Why> {
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
        ("apt-get", &["--version"], "apt-get, to make its tools tree"),
        ("unshare", &["--mount", "true"], "root, to mount its trees"),
    ];
    match needs.into_iter().find(|(program, arguments, _)| !has(program, arguments)) {
        Some((_, _, what)) => Err(Why::new(format!("it needs {what}"))),
        None => Ok(()),
    }
}

/// Fetches the package, and unpacks the program below `folder`, unless it is there.
pub fn unpack_mkosi(folder: &Path) -> Result<(), Why> {
    make_whole(folder, |beside| {
        MKOSI.unpack(MODULES, beside)?;
        point_at(&mirrors(), &beside.join(DEBIAN))
    })
}

/// Makes mkosi use the host's mirrors for everything, its tools tree too, and not ask for debug symbols, which few mirrors have.
fn point_at(mirrors: &Mirrors, file: &Path) -> Result<(), Why> {
    let text = fs::read_to_string(file).map_err(Why::new)?;
    let (client, retry) = (Client::new(), Retry::default());
    let web = Web { client: &client, retry, progress: &Silent };
    let mirror = |suite| match mirrors.nth(suite, 0, &web) {
        Ok(Some(found)) => Ok(found.mirror.url("").trim_end_matches('/').to_owned()),
        Ok(None) => Err(Why::new(format!("there is no mirror of {suite}"))),
        Err(error) => Err(Why::new(error)),
    };
    let (debian, security) = (mirror("trixie")?, mirror("trixie-security")?);
    fs::write(file, pointed(&text, &debian, &security)?).map_err(Why::new)
}

fn pointed(text: &str, debian: &str, security: &str) -> Result<String, Why> {
    let unknown = || Why::new(format!("{} has another {DEBIAN} than is known here", MKOSI.name));
    let (before, rest) = text.split_once(DEBUG).ok_or_else(unknown)?;
    let (_, after) = rest.split_once(BEHIND_DEBUG).ok_or_else(unknown)?;
    let mut text = format!("{before}{BEHIND_DEBUG}{after}");
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
    fn the_debug_suite_goes_and_the_mirrors_are_the_hosts() {
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
