//! Which mounts can be reached below a base: from the text of proc_pid_mountinfo(5).
//!
//! What becomes of them is layout.rs's to decide.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::inside;

/// The mounts that can be reached below a base.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    /// The type of the file system that the base is on.
    pub base: String,
    /// The type of each that is below it, by mount point.
    pub below: BTreeMap<PathBuf, String>,
}

/// The mounts below `base` by proc_pid_mountinfo(5): the uppermost of those on one mount point, and none that another
/// one hides.
pub fn mounts(mountinfo: &[u8], base: &Path) -> Mounts {
    let table: Vec<_> = mountinfo.split(|byte| *byte == b'\n').filter_map(mount).collect();
    let by_id: HashMap<_, _> = table.iter().enumerate().map(|(i, mount)| (mount.id, i)).collect();
    let places: HashSet<_> = table
        .iter()
        .filter(|mount| mount.parent != mount.id)
        .map(|mount| (mount.parent, mount.point.as_path()))
        .collect();
    // What a mount has at and below the place of another one on it is out of reach.
    let is_hidden =
        |mount: &Mount| mount.point.ancestors().skip(1).any(|above| places.contains(&(mount.parent, above)));
    let mut reachable: Vec<Option<bool>> = vec![None; table.len()];
    for mount in 0..table.len() {
        let mut way = vec![mount];
        let above = loop {
            let parent = by_id.get(&table[way[way.len() - 1]].parent);
            match parent.map(|parent| (*parent, reachable[*parent])) {
                Some((_, Some(known))) => break known,
                Some((parent, None)) if way.len() <= table.len() => way.push(parent),
                _ => break true,
            }
        };
        way.into_iter().rev().fold(above, |above, i| *reachable[i].insert(above && !is_hidden(&table[i])));
    }
    let mut found = Mounts::default();
    let mut closest: Option<&Path> = None;
    for (mount, reachable) in table.iter().zip(reachable) {
        let is_covered = places.contains(&(mount.id, mount.point.as_path()));
        if reachable != Some(true) || is_covered {
            continue;
        }
        if base.starts_with(&mount.point) {
            if closest.is_none_or(|closest| mount.point.starts_with(closest)) {
                closest = Some(&mount.point);
                found.base.clone_from(&mount.kind);
            }
        } else if let Some(path) = inside(base, &mount.point) {
            found.below.insert(path, mount.kind.clone());
        }
    }
    found
}

/// One line of mountinfo.
struct Mount {
    id: u64,
    parent: u64,
    point: PathBuf,
    kind: String,
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let point = unescaped(fields.nth(2)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    // The part behind the dot is the file system's own name for itself, as in fuse.sshfs.
    let kind = kind.split(|byte| *byte == b'.').next()?;
    Some(Mount { id, parent, point, kind: String::from_utf8_lossy(kind).into_owned() })
}

/// Blanks, tabs, newlines and backslashes are written in octal, as in `\040`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, behind @ ..] = rest {
        let digits =
            behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of mountinfo from (id, parent, mount point, type).
    fn table(mounts: &[(u32, u32, &str, &str)]) -> Vec<u8> {
        let line = |(id, parent, point, kind): &(u32, u32, &str, &str)| {
            format!("{id} {parent} 0:{id} / {point} rw,relatime shared:1 master:2 - {kind} source rw\n")
        };
        mounts.iter().map(line).collect::<String>().into_bytes()
    }

    fn below(mounts: &[(u32, u32, &str, &str)], base: &str) -> Vec<(String, String)> {
        let found = super::mounts(&table(mounts), Path::new(base));
        found.below.into_iter().map(|(path, kind)| (path.display().to_string(), kind)).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(path, kind)| ((*path).into(), (*kind).into())).collect()
    }

    #[test]
    fn only_the_uppermost_mount_on_a_mount_point_counts() {
        let mounts = [
            (1, 0, "/", "ext4"),
            (2, 1, "/dev", "devtmpfs"),
            (3, 2, "/dev/pts", "devpts"),
            (4, 3, "/dev/pts", "tmpfs"),
        ];
        assert_eq!(below(&mounts, "/"), pairs(&[("/dev", "devtmpfs"), ("/dev/pts", "tmpfs")]));
    }

    #[test]
    fn what_a_later_mount_hides_is_not_there() {
        let hidden_by_a_sibling =
            [(1, 0, "/", "ext4"), (2, 1, "/a/b", "xfs"), (3, 1, "/a", "tmpfs"), (4, 2, "/a/b/c", "nfs")];
        assert_eq!(below(&hidden_by_a_sibling, "/"), pairs(&[("/a", "tmpfs")]));
        let hidden_by_one_on_top =
            [(1, 0, "/", "ext4"), (2, 1, "/a", "xfs"), (3, 2, "/a/b", "nfs"), (4, 2, "/a", "tmpfs")];
        assert_eq!(below(&hidden_by_one_on_top, "/"), pairs(&[("/a", "tmpfs")]));
        let moved_in_later = [(4, 3, "/a/b", "nfs"), (3, 1, "/a", "tmpfs"), (1, 0, "/", "ext4")];
        assert_eq!(below(&moved_in_later, "/"), pairs(&[("/a", "tmpfs"), ("/a/b", "nfs")]));
    }

    #[test]
    fn a_table_of_cycles_and_rubbish_ends() {
        assert_eq!(
            below(&[(1, 1, "/", "rootfs"), (2, 3, "/a", "x"), (3, 2, "/b", "y")], "/"),
            pairs(&[("/a", "x"), ("/b", "y")])
        );
        assert_eq!(mounts(b"\n1\n1 2 3\n\xff \xff\n1 0 0:1 / /a rw\n", Path::new("/")), Mounts::default());
    }

    #[test]
    fn mount_points_are_bytes_and_fuse_has_one_type() {
        let found = mounts(b"2 1 0:2 / /a\\040b\\134\\011\xff rw - fuse.sshfs me@there rw\n", Path::new("/"));
        let point = PathBuf::from(OsString::from_vec(b"/a b\\\t\xff".to_vec()));
        assert_eq!(found.below, BTreeMap::from([(point, "fuse".into())]));
        assert_eq!(unescaped(b"\\04"), Path::new("\\04"));
    }

    #[test]
    fn a_base_has_the_mounts_below_it_and_the_type_of_the_one_above() {
        let mounts = [
            (1, 0, "/", "ext4"),
            (2, 1, "/srv", "xfs"),
            (3, 2, "/srv/root/data", "nfs"),
            (4, 1, "/srv2", "tmpfs"),
        ];
        assert_eq!(below(&mounts, "/srv/root"), pairs(&[("/data", "nfs")]));
        assert_eq!(super::mounts(&table(&mounts), Path::new("/srv/root")).base, "xfs");
    }
}
