//! Subordinate ids, which a user may map besides its own: the texts of subuid(5) and subgid(5) → ranges → maps.
//!
//! Values only. Only the two files count here; what another source of nsswitch.conf(5) gives is unknown.

#![forbid(unsafe_code)]

use launch_init::parse::id;
use nix::errno::Errno;

use crate::error::Error;
use crate::plan::IdMap;

/// What the system says of the caller's ids; all of it is only read for those who map more than their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The caller's name in /etc/passwd.
    pub user_name: Option<String>,
    /// The text of /etc/subuid, empty where there is none, or why it cannot be read.
    pub users: Result<String, Errno>,
    /// The same of /etc/subgid.
    pub groups: Result<String, Errno>,
    /// Where nsswitch.conf(5) has the helpers look instead.
    pub elsewhere: Option<String>,
}

impl Default for Files {
    fn default() -> Self {
        Self { user_name: None, users: Ok(String::new()), groups: Ok(String::new()), elsewhere: None }
    }
}

/// The name that passwd(5) has for `uid`.
pub fn name_of(passwd: &str, uid: u32) -> Option<String> {
    let mut lines = passwd.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next().filter(|name| !name.is_empty())?;
        (id(fields.nth(1)?) == Ok(uid)).then(|| name.into())
    })
}

/// The source of subordinate ids in a text of nsswitch.conf(5), if it is not the files; the helpers use the first.
pub fn source(switch: &str) -> Option<String> {
    let sources = switch.lines().find_map(|line| line.trim_start().strip_prefix("subid:"))?;
    sources.split_whitespace().next().filter(|source| *source != "files").map(Into::into)
}

/// Which ids a map is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// User ids.
    Users,
    /// Group ids.
    Groups,
}

impl Kind {
    /// The option that gives such a map.
    pub fn option(self) -> &'static str {
        match self {
            Self::Users => "--map-users",
            Self::Groups => "--map-groups",
        }
    }

    /// The file that says which ids a user may map.
    pub fn file(self) -> &'static str {
        match self {
            Self::Users => "/etc/subuid",
            Self::Groups => "/etc/subgid",
        }
    }

    /// The program that writes such a map for an ordinary user.
    pub fn helper(self) -> &'static str {
        match self {
            Self::Users => "newuidmap",
            Self::Groups => "newgidmap",
        }
    }

    /// The map's file in /proc/PID.
    pub fn map_file(self) -> &'static str {
        match self {
            Self::Users => "uid_map",
            Self::Groups => "gid_map",
        }
    }

    fn adding_option(self) -> &'static str {
        match self {
            Self::Users => "--add-subuids",
            Self::Groups => "--add-subgids",
        }
    }

    fn text(self, files: &Files) -> Result<&str, Error> {
        let text = match self {
            Self::Users => &files.users,
            Self::Groups => &files.groups,
        };
        text.as_deref().map_err(|errno| Error::Ids(self.file().into(), errno.desc().into()))
    }
}

/// Ids in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    count: u64,
}

impl Range {
    fn end(self) -> u64 {
        self.first + self.count
    }

    fn overlaps(self, other: Self) -> bool {
        self.first < other.end() && other.first < self.end()
    }

    /// What is left of it without those of `other`.
    fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let (start, end) =
            (other.first.clamp(self.first, self.end()), other.end().clamp(self.first, self.end()));
        let (start, end) = if start < end { (start, end) } else { (self.end(), self.end()) };
        [(self.first, start), (end, self.end())]
            .into_iter()
            .filter(|(first, end)| first < end)
            .map(|(first, end)| Self { first, count: end - first })
    }
}

/// How many ids one user gets: Debian's and Fedora's SUB_UID_COUNT (login.defs(5)).
const USUAL_COUNT: u64 = 65536;
/// Where they start: SUB_UID_MIN.
const USUAL_FIRST: u64 = 100_000;
/// One more than the last id.
const END: u64 = u32::MAX as u64;

/// The caller as the files may name it.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The name.
    pub name: Option<&'a str>,
    /// The user id. In subgid(5) too the number is a user's.
    pub uid: u32,
}

impl Owner<'_> {
    fn is(self, field: &str) -> bool {
        Some(field) == self.name || id(field) == Ok(self.uid)
    }
}

impl std::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.uid),
        }
    }
}

/// The entries with their owners. What is no entry is passed over, as newuidmap does; so is a number that it would not
/// read as decimal.
fn entries(text: &str) -> impl Iterator<Item = (&str, Range)> {
    let number = |field: &str| match field.as_bytes() {
        [b'0', _, ..] => None,
        _ => id(field).ok().map(u64::from),
    };
    text.lines().filter_map(move |line| {
        let mut fields = line.split(':');
        let owner = fields.next().filter(|owner| !owner.is_empty())?;
        let (first, count) = (number(fields.next()?)?, number(fields.next()?)?);
        (count > 0).then_some((owner, Range { first, count }))
    })
}

fn of_owner(text: &str, owner: Owner<'_>) -> Vec<Range> {
    entries(text).filter(|(name, _)| owner.is(name)).map(|(_, range)| range).collect()
}

/// The line that gives `owner` ids that nobody has.
fn line_to_add(kind: Kind, text: &str, owner: Owner<'_>) -> String {
    let taken: Vec<_> = entries(text).map(|(_, range)| range).collect();
    let is_free = |first: &u64| {
        let wanted = Range { first: *first, count: USUAL_COUNT };
        *first >= USUAL_FIRST && wanted.end() <= END && !taken.iter().any(|range| range.overlaps(wanted))
    };
    let ends = taken.iter().map(|range| range.end());
    let Some(first) = std::iter::once(USUAL_FIRST).chain(ends).filter(is_free).min() else {
        return format!("add a line for {owner} with ids that nobody has");
    };
    let line = format!("add the line {owner}:{first}:{USUAL_COUNT}");
    match owner.name {
        Some(name) => {
            let last = first + USUAL_COUNT - 1;
            format!("{line}, or as root: usermod {} {first}-{last} {name}", kind.adding_option())
        }
        None => line,
    }
}

/// Root inside is `own`, the caller's id; from 1 on follow all that the file gives it, in its order.
///
/// # Errors
/// [`Error::Ids`]: the file cannot be read, gives none, or does not count.
pub fn map_all(kind: Kind, files: &Files, owner: Owner<'_>, own: u32) -> Result<Vec<IdMap>, Error> {
    if let Some(source) = &files.elsewhere {
        let reason = format!(
            "nsswitch.conf has subordinate ids looked up in {source}, which launch does not read; name those that \
             getsubids prints by --map-users and --map-groups"
        );
        return Err(Error::Ids("--map auto".into(), reason));
    }
    let text = kind.text(files)?;
    // The kernel refuses a map that has an id twice.
    let mut ranges = vec![Range { first: own.into(), count: 1 }];
    for range in of_owner(text, owner) {
        let mut left: Vec<_> = range.without(Range { first: END, count: END }).collect();
        for taken in &ranges {
            left = left.into_iter().flat_map(|range| range.without(*taken)).collect();
        }
        ranges.extend(left);
    }
    if ranges.len() == 1 {
        return Err(no_line(kind, text, owner));
    }
    let mut inside = 0;
    let mut maps = Vec::with_capacity(ranges.len());
    for Range { first, count } in ranges {
        maps.push(IdMap { inside, outside: first as u32, count: count as u32 });
        // All of them are different ids, so there are no more than there are ids.
        inside += count as u32;
    }
    Ok(maps)
}

fn no_line(kind: Kind, text: &str, owner: Owner<'_>) -> Error {
    let reason = format!("gives {owner} no ids; {}", line_to_add(kind, text, owner));
    Error::Ids(kind.file().into(), reason)
}

/// Whether the helper will write `maps` for a caller whose id is `own`; it looks at each line alone.
///
/// # Errors
/// [`Error::Ids`], with the first line that it would refuse.
pub fn check(kind: Kind, files: &Files, owner: Owner<'_>, own: u32, maps: &[IdMap]) -> Result<(), Error> {
    if files.elsewhere.is_some() {
        return Ok(());
    }
    let text = kind.text(files)?;
    let ranges = of_owner(text, owner);
    for map in maps {
        let mut missing = vec![Range { first: map.outside.into(), count: map.count.into() }];
        if map.count == 1 && map.outside == own {
            continue;
        }
        for range in &ranges {
            missing = missing.into_iter().flat_map(|part| part.without(*range)).collect();
        }
        let Some(first_missing) = missing.first() else { continue };
        if ranges.is_empty() {
            return Err(no_line(kind, text, owner));
        }
        let words = |range: &Range| format!("{} to {}", range.first, range.end() - 1);
        let reason = format!(
            "{} gives {owner} only {}, not {}; for more, {}",
            kind.file(),
            ranges.iter().map(words).collect::<Vec<_>>().join(", "),
            words(first_missing),
            line_to_add(kind, text, owner)
        );
        let option = format!("{} {}:{}:{}", kind.option(), map.inside, map.outside, map.count);
        return Err(Error::Ids(option.into(), reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Owner<'_> = Owner { name: Some("me"), uid: 1000 };

    fn files(users: &str) -> Files {
        Files { users: Ok(users.into()), ..Files::default() }
    }

    fn all(users: &str) -> Result<Vec<(u32, u32, u32)>, String> {
        let maps = map_all(Kind::Users, &files(users), ME, 1000).map_err(|error| error.to_string())?;
        Ok(maps.iter().map(|map| (map.inside, map.outside, map.count)).collect())
    }

    #[test]
    fn every_range_of_the_caller_by_name_or_number_follows_its_own_id() {
        let text = "other:300000:65536\nme:100000:65536\n1000:500000:10\nme:400000:1\n";
        let expected = vec![(0, 1000, 1), (1, 100000, 65536), (65537, 500000, 10), (65547, 400000, 1)];
        assert_eq!(all(text), Ok(expected));
    }

    #[test]
    fn the_caller_is_named_by_passwd_and_the_source_by_nsswitch() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:7:7::/:\nme:x:1000:100::/:\nalias:x:1000:1::/:\n";
        assert_eq!(name_of(passwd, 1000), Some("me".into()));
        assert_eq!(name_of(passwd, 7), None);
        assert_eq!(source("passwd: files sss\nsubid: sss\n"), Some("sss".into()));
        assert_eq!(source("passwd: files\n#subid: sss\n"), None);
        assert_eq!(source("subid:\tfiles\n"), None);
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        let broken = "me\nme:1\nme::5\n:1:2\n#me:7:7\nme:x:5\nme:-1:5\nme:0x10:5\nme:010:5\nme:10:0\nme:4294967295:1\n";
        assert_eq!(all(&format!("{broken}\nme:20:5")), Ok(vec![(0, 1000, 1), (1, 20, 5)]));
        assert!(all(broken).is_err());
    }

    #[test]
    fn no_id_is_mapped_twice_nor_beyond_the_last() {
        assert_eq!(
            all("me:990:20\nme:1005:10\nme:995:2"),
            Ok(vec![(0, 1000, 1), (1, 990, 10), (11, 1001, 9), (20, 1010, 5)])
        );
        assert_eq!(all("me:4294967290:100"), Ok(vec![(0, 1000, 1), (1, 4294967290, 5)]));
        assert_eq!(all("me:4294967294:4294967294"), Ok(vec![(0, 1000, 1), (1, 4294967294, 1)]));
    }

    #[test]
    fn the_line_to_add_takes_nobody_elses_ids() {
        assert_eq!(
            all("other:100000:65536\nlast:4294900000:60000\n").unwrap_err(),
            "id map: /etc/subuid: gives me no ids; add the line me:165536:65536, or as root: usermod --add-subuids \
             165536-231071 me"
        );
        assert!(all("a:0:4294967294").unwrap_err().ends_with("with ids that nobody has"));
        let nameless = Owner { name: None, uid: 7 };
        let error = map_all(Kind::Groups, &files(""), nameless, 7).unwrap_err().to_string();
        assert_eq!(error, "id map: /etc/subgid: gives 7 no ids; add the line 7:100000:65536");
    }

    #[test]
    fn a_file_that_cannot_be_read_or_does_not_count_is_named() {
        let unreadable = Files { users: Err(Errno::EACCES), ..Files::default() };
        let error = map_all(Kind::Users, &unreadable, ME, 1000).unwrap_err().to_string();
        assert_eq!(error, "id map: /etc/subuid: Permission denied");
        let elsewhere = Files { elsewhere: Some("sss".into()), ..files("me:1:1") };
        assert!(map_all(Kind::Users, &elsewhere, ME, 1000).unwrap_err().to_string().contains("getsubids"));
        let maps = [IdMap { inside: 0, outside: 5, count: 5 }];
        assert_eq!(check(Kind::Users, &elsewhere, ME, 1000, &maps), Ok(()));
    }

    #[test]
    fn only_the_callers_ids_can_be_mapped_and_its_own_only_alone() {
        let check = |maps: &[(u32, u32)]| {
            let maps: Vec<_> = maps
                .iter()
                .map(|(outside, count)| IdMap { inside: 0, outside: *outside, count: *count })
                .collect();
            check(Kind::Users, &files("me:2000:10\nme:2010:10\nme:3000:1"), ME, 1000, &maps)
                .map_err(|error| error.to_string())
        };
        assert_eq!(check(&[(1000, 1), (2000, 20), (3000, 1), (2005, 1)]), Ok(()));
        assert_eq!(
            check(&[(2005, 20)]).unwrap_err(),
            "id map: --map-users 0:2005:20: /etc/subuid gives me only 2000 to 2009, 2010 to 2019, 3000 to 3000, not \
             2020 to 2024; for more, add the line me:100000:65536, or as root: usermod --add-subuids 100000-165535 me"
        );
        assert!(check(&[(999, 2)]).is_err());
        assert!(check(&[(0, 1)]).is_err());
    }
}
