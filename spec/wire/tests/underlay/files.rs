//! A reader of the files, and networkd's rules for matching devices (systemd.network(5)).

/// A file, as sections, keys and values.
#[derive(Debug, Clone)]
pub struct File {
    pub name: String,
    pub settings: Vec<(String, String, String)>,
}

/// A device, as networkd sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub name: String,
    /// `ether`, or udev's DEVTYPE.
    pub kind_of_device: &'static str,
    /// The kind in rtnetlink; `None` for devices of the machine.
    pub kind: Option<&'static str>,
    pub mac: String,
    pub permanent_mac: Option<String>,
    pub path: Option<String>,
}

/// Reads a file; each line must be empty, a comment, a section or an assignment.
pub fn read(name: &str, text: &str) -> File {
    let (mut section, mut settings) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix('[') {
            section = title.strip_suffix(']').unwrap().to_owned();
        } else if !line.is_empty() && !line.starts_with('#') {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}: {line}"));
            assert!(!section.is_empty(), "{name}: {line}");
            settings.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    File { name: name.to_owned(), settings }
}

impl File {
    /// The values of a key.
    pub fn all<'f>(&'f self, section: &'f str, key: &'f str) -> impl Iterator<Item = &'f str> {
        let wanted = move |(s, k, _): &&(String, String, String)| s == section && k == key;
        self.settings.iter().filter(wanted).map(|(_, _, value)| value.as_str())
    }

    /// The value of a key that is set at most once.
    pub fn one(&self, section: &str, key: &str) -> Option<&str> {
        let wanted = |(s, k, _): &&(String, String, String)| s == section && k == key;
        let values: Vec<&str> =
            self.settings.iter().filter(wanted).map(|(_, _, value)| value.as_str()).collect();
        assert!(values.len() < 2, "{}: {key} {values:?}", self.name);
        values.first().copied()
    }

    pub fn matches(&self, device: &Seen) -> bool {
        let conditions: Vec<_> = self.settings.iter().filter(|(section, ..)| section == "Match").collect();
        assert!(!conditions.is_empty(), "{} matches everything", self.name);
        conditions.iter().all(|(_, key, value)| match key.as_str() {
            "Type" => value == device.kind_of_device,
            "Kind" if value == "!*" => device.kind.is_none(),
            "Kind" => device.kind == Some(value),
            "Name" => *value == device.name,
            "PermanentMACAddress" => device.permanent_mac.as_ref() == Some(value),
            "MACAddress" => *value == device.mac,
            "Path" => device.path.as_ref() == Some(value),
            _ => panic!("{}: unknown condition {key}", self.name),
        })
    }
}
