//! Users and groups: the accounts that packages declare in sysusers.d(5), with the ids that `rootfs/ids.toml` pins.
//!
//! A declared account that is neither pinned nor listed as unused fails the build. Otherwise systemd would allocate an id that depends on
//! the other installed packages, and an upgrade could change the owner of files on a persistent disk. No account has a valid password or
//! an existing shell, and the files contain no dates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::data::Ids;
use super::tree::{Node, Tree, TreeError};

/// The errors of account creation.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AccountError {
    /// A line that is not valid in sysusers.d(5), or whose type is not supported here.
    #[error("{file}:{line}: unsupported declaration {text:?}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// Its text.
        text: String,
    },
    /// A sysusers.d file is a link or a directory.
    #[error("/{0} is not a regular file, so the accounts that it declares are unknown")]
    NoFile(String),
    /// A declared account without a pinned id.
    #[error("{file}:{line}: {kind} {name} has no id in rootfs/ids.toml")]
    Unpinned {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// `user` or `group`.
        kind: &'static str,
        /// The account's name.
        name: String,
    },
    /// The declared id differs from the pinned id.
    #[error("{file}:{line}: {name} declares id {wanted}, but rootfs/ids.toml pins {pinned}")]
    Differs {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The account's name.
        name: String,
        /// The declared id.
        wanted: u32,
        /// The pinned id.
        pinned: u32,
    },
    /// Two names have the same id.
    #[error("rootfs/ids.toml gives id {id} to both {first} and {second}")]
    Shared {
        /// The id.
        id: u32,
        /// The first name.
        first: String,
        /// The second name.
        second: String,
    },
    /// A user's group has no pinned id, or no package declares a pinned name.
    #[error("rootfs/ids.toml: {0}")]
    Pins(String),
    /// The file does not fit into the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// The accounts of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    users: BTreeMap<String, User>,
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    id: u32,
    group: u32,
    comment: String,
    home: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    id: u32,
    members: BTreeSet<String>,
}

/// This program does not exist in the image, so a login is not possible.
const SHELL: &str = "/usr/sbin/nologin";

impl Accounts {
    /// Reads `usr/lib/sysusers.d/*.conf` of the tree.
    pub fn of(tree: &Tree, ids: &Ids) -> Result<Self, AccountError> {
        unique(ids.user.iter().map(|(name, user)| (name.as_str(), user.id)))?;
        unique(ids.group.iter().map(|(name, id)| (name.as_str(), *id)))?;
        let mut accounts = Self::default();
        let files: Vec<&str> = tree
            .below("usr/lib/sysusers.d")
            .map(|(path, _)| path)
            .filter(|path| path.ends_with(".conf"))
            .collect();
        for file in files {
            let content = tree.content(file).ok_or_else(|| AccountError::NoFile(file.to_owned()))?;
            for (at, line) in String::from_utf8_lossy(content).lines().enumerate() {
                accounts.declare(ids, file, at + 1, line)?;
            }
        }
        if let Some(name) = ids.user.keys().find(|name| !accounts.users.contains_key(*name)) {
            return Err(AccountError::Pins(format!("user {name} is declared by no package")));
        }
        if let Some(name) = ids.group.keys().find(|name| !accounts.groups.contains_key(*name)) {
            return Err(AccountError::Pins(format!("group {name} is declared by no package")));
        }
        Ok(accounts)
    }

    fn declare(&mut self, ids: &Ids, file: &str, line: usize, text: &str) -> Result<(), AccountError> {
        let bad = || AccountError::Line { file: file.to_owned(), line, text: text.to_owned() };
        let fields = fields(text).ok_or_else(bad)?;
        let field =
            |at: usize| fields.get(at).map(String::as_str).filter(|field| *field != "-" && !field.is_empty());
        let Some(kind) = field(0) else { return Ok(()) };
        if kind == "r" {
            return Ok(()); // a range for dynamic ids; the image has no dynamic ids
        }
        let name = field(1).ok_or_else(bad)?;
        match kind {
            "u" | "u!" | "g" => {
                let group = kind == "g";
                let unused = if group { &ids.unused.groups } else { &ids.unused.users };
                if unused.iter().any(|unused| unused == name) {
                    // A user line also declares a group of the same name, and that group may be pinned.
                    if let (false, Some(id)) = (group, ids.group.get(name)) {
                        self.group(name, *id);
                    }
                    return Ok(());
                }
                let pinned =
                    if group { ids.group.get(name).copied() } else { ids.user.get(name).map(|user| user.id) };
                let pinned = pinned.ok_or_else(|| AccountError::Unpinned {
                    file: file.to_owned(),
                    line,
                    kind: if group { "group" } else { "user" },
                    name: name.to_owned(),
                })?;
                // `id`, `id:group`, or absent for a dynamic id.
                let wanted = field(2).map(|id| id.split(':').next().unwrap_or(id).parse::<u32>());
                if let Some(wanted) = wanted.transpose().map_err(|_| bad())?
                    && wanted != pinned
                {
                    return Err(AccountError::Differs {
                        file: file.to_owned(),
                        line,
                        name: name.to_owned(),
                        wanted,
                        pinned,
                    });
                }
                if group {
                    self.group(name, pinned);
                } else {
                    self.user(ids, name, field(3).unwrap_or(name))?;
                }
            }
            "m" => {
                let group = field(2).ok_or_else(bad)?;
                let group = self.groups.get_mut(group).ok_or_else(bad)?;
                group.members.insert(name.to_owned());
            }
            _ => return Err(bad()),
        }
        Ok(())
    }

    fn user(&mut self, ids: &Ids, name: &str, comment: &str) -> Result<(), AccountError> {
        let pinned =
            ids.user.get(name).ok_or_else(|| AccountError::Pins(format!("user {name} has no id")))?;
        let group = ids.group.get(&pinned.group).copied();
        let group =
            group.ok_or_else(|| AccountError::Pins(format!("group {} of {name} has no id", pinned.group)))?;
        self.group(&pinned.group, group);
        let home = if name == "root" { "/" } else { "/nonexistent" };
        let user = User { id: pinned.id, group, comment: comment.replace(':', " "), home: home.to_owned() };
        self.users.insert(name.to_owned(), user);
        Ok(())
    }

    fn group(&mut self, name: &str, id: u32) {
        self.groups.entry(name.to_owned()).or_insert_with(|| Group { id, members: BTreeSet::new() });
    }

    /// All user ids.
    pub fn user_ids(&self) -> BTreeSet<u32> {
        self.users.values().map(|user| user.id).collect()
    }

    /// All group ids.
    pub fn group_ids(&self) -> BTreeSet<u32> {
        self.groups.values().map(|group| group.id).collect()
    }

    /// Returns the passwd(5) file, sorted by id.
    pub fn passwd(&self) -> String {
        let line = |(name, user): (&String, &User)| {
            format!("{name}:x:{}:{}:{}:{}:{SHELL}\n", user.id, user.group, user.comment, user.home)
        };
        by_id(&self.users, |user| user.id).map(line).collect()
    }

    /// Returns the group(5) file, sorted by id.
    pub fn group_file(&self) -> String {
        let line = |(name, group): (&String, &Group)| {
            let members: Vec<&str> = group.members.iter().map(String::as_str).collect();
            format!("{name}:x:{}:{}\n", group.id, members.join(","))
        };
        by_id(&self.groups, |group| group.id).map(line).collect()
    }

    /// Returns the shadow(5) file: all accounts are locked, without a date of the last change.
    pub fn shadow(&self) -> String {
        by_id(&self.users, |user| user.id).map(|(name, _)| format!("{name}:!*:::::::\n")).collect()
    }

    /// Returns the gshadow(5) file: all groups are locked.
    pub fn gshadow(&self) -> String {
        by_id(&self.groups, |group| group.id).map(|(name, _)| format!("{name}:!*::\n")).collect()
    }

    /// Writes the four files and removes the sysusers.d declarations.
    pub fn write(&self, tree: &mut Tree, origin: &Arc<str>) -> Result<(), AccountError> {
        tree.remove("usr/lib/sysusers.d");
        for (path, text, mode) in [
            ("etc/passwd", self.passwd(), 0o644),
            ("etc/group", self.group_file(), 0o644),
            ("etc/shadow", self.shadow(), 0o400),
            ("etc/gshadow", self.gshadow(), 0o400),
        ] {
            tree.replace(path, Node::file(text.into_bytes(), origin).with_mode(mode))?;
        }
        Ok(())
    }
}

fn by_id<T>(map: &BTreeMap<String, T>, id: impl Fn(&T) -> u32) -> impl Iterator<Item = (&String, &T)> {
    let mut list: Vec<_> = map.iter().collect();
    list.sort_by_key(|(name, item)| (id(item), name.as_str().to_owned()));
    list.into_iter()
}

fn unique<'a>(pairs: impl Iterator<Item = (&'a str, u32)>) -> Result<(), AccountError> {
    let mut seen: BTreeMap<u32, &str> = BTreeMap::new();
    for (name, id) in pairs {
        if let Some(first) = seen.insert(id, name) {
            return Err(AccountError::Shared { id, first: first.to_owned(), second: name.to_owned() });
        }
    }
    Ok(())
}

/// Splits a line into fields; double quotes can contain blanks. Returns `None` for an unterminated quote.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line.trim();
    while !(rest.is_empty() || rest.starts_with('#') && fields.is_empty()) {
        let (field, tail) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        fields.push(field.to_owned());
        rest = tail.trim_start();
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Ids {
        toml::from_str(
            "version = 1\nuser.root = { id = 0, group = \"root\" }\nuser.bus = { id = 900, group = \"bus\" }\n\
             group = { root = 0, bus = 900, disk = 6 }\n[unused]\nusers = [\"games\"]\ngroups = [\"games\"]\nwhy = \"-\"",
        )
        .unwrap()
    }

    fn of(text: &str, ids: &Ids) -> Result<Accounts, AccountError> {
        let mut tree = Tree::new(0);
        tree.add("usr/lib/sysusers.d/a.conf", Node::file(text.as_bytes(), &Arc::from("p"))).unwrap();
        Accounts::of(&tree, ids)
    }

    const GOOD: &str = "# c\ng disk 6 -\nu root 0 - /root /bin/bash\n\nu! bus - \"The: Bus\" /nonexistent\nu games 5:60 - /x /y\ng games 60\nm bus disk\nr - 500-900\n";

    #[test]
    fn tables_are_locked_dateless_and_sorted_by_id() {
        let accounts = of(GOOD, &ids()).unwrap();
        assert_eq!(
            accounts.passwd(),
            "root:x:0:0:root:/:/usr/sbin/nologin\nbus:x:900:900:The  Bus:/nonexistent:/usr/sbin/nologin\n"
        );
        assert_eq!(accounts.group_file(), "root:x:0:\ndisk:x:6:bus\nbus:x:900:\n");
        assert_eq!(accounts.shadow(), "root:!*:::::::\nbus:!*:::::::\n");
        assert_eq!(accounts.gshadow(), "root:!*::\ndisk:!*::\nbus:!*::\n");
    }

    #[test]
    fn an_account_without_a_pinned_id_is_reported_with_its_line() {
        for (line, kind) in [("u new - \"x\"", "user new"), ("g new -", "group new")] {
            let text = of(&format!("{GOOD}{line}\n"), &ids()).unwrap_err().to_string();
            assert!(text.contains("a.conf:10") && text.contains(kind), "{text}");
        }
    }

    #[test]
    fn declarations_that_cannot_be_read_are_refused() {
        let mut tree = Tree::new(0);
        let link = Node::symlink("/dev/null", &Arc::from("p"));
        tree.add("usr/lib/sysusers.d/a.conf", link).unwrap();
        let error = Accounts::of(&tree, &ids()).unwrap_err();
        assert_eq!(error, AccountError::NoFile("usr/lib/sysusers.d/a.conf".into()));
    }

    #[test]
    fn contradictions_are_refused() {
        let differs = of(&GOOD.replace("disk 6", "disk 7"), &ids()).unwrap_err();
        assert!(matches!(differs, AccountError::Differs { wanted: 7, pinned: 6, .. }));
        assert!(matches!(of(&format!("{GOOD}x y\n"), &ids()), Err(AccountError::Line { line: 10, .. })));
        assert!(matches!(of("u a - \"open\n", &ids()), Err(AccountError::Line { .. })));
        assert!(matches!(of("g disk 6\n", &ids()), Err(AccountError::Pins(_))));
        let mut shared = ids();
        shared.group.insert("twin".into(), 6);
        assert!(matches!(of(GOOD, &shared), Err(AccountError::Shared { id: 6, .. })));
    }
}
