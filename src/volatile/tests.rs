//! What becomes of trees: their layouts, the steps that make these, and what of them is kept.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use launch_init::handoff::{FileSystem, Overlay, Root, Step, Upper};

use super::layout::LARGEST_COPY;
use super::*;

const FRESH: Fresh = Fresh { tmp: true };

/// A tree of the base `/`: directories are listed by their entries, `d` for a directory, `l` a link, `f`, `F` and `s` a small file, a large one and a socket, `x`
/// what may not be looked at.
fn tree(mounts: &[(&str, &str)], listings: &[(&str, &str)]) -> Tree {
    let node = |kind: &str| match kind {
        "d" => Node::Directory(0o755),
        "l" => Node::Link("usr/bin".into()),
        "f" => Node::File(Some(10)),
        "F" => Node::File(Some(LARGEST_COPY + 1)),
        "s" => Node::File(None),
        _ => Node::Closed,
    };
    let listing = |text: &str| match text {
        "unreadable" => Listing::Unreadable,
        text => Listing::Entries(
            0o750,
            text.split(' ')
                .map(|entry| entry.split_once(':').expect("kind:name"))
                .map(|(kind, name)| (name.into(), node(kind)))
                .collect(),
        ),
    };
    Tree {
        base: "/".into(),
        mounts: Mounts {
            base: "ext4".into(),
            below: mounts.iter().map(|(path, kind)| (path.into(), (*kind).into())).collect(),
        },
        listings: listings.iter().map(|(path, text)| (path.into(), listing(text))).collect(),
        kept: None,
    }
}

fn parts(tree: &Tree) -> Vec<String> {
    let part = |part: &Part| {
        let path = part.path.display();
        match &part.what {
            What::Overlay => format!("overlay {path}"),
            What::Directory(mode) => format!("directory {mode:o} {path}"),
            What::Link(target) => format!("link {path} {}", target.display()),
            What::Bind { directory } => {
                format!("{} read-only {path}", if *directory { "tree" } else { "file" })
            }
            What::Copy => format!("copy {path}"),
            What::MountPoint(_) => format!("mount point {path}"),
        }
    };
    assemble(tree, FRESH).parts.iter().map(part).collect()
}

#[test]
fn without_mounts_below_one_layer_is_enough() {
    let tree = Tree { base: "/srv/root".into(), ..tree(&[], &[]) };
    let layout = assemble(&tree, FRESH);
    let overlay = Overlay { lower: vec!["/srv/root".into()], optional: false, upper: Upper::Discarded };
    assert_eq!(steps(&layout, None), [Step::Root(Root::Overlay(overlay))]);
}

#[test]
fn each_directory_without_a_mount_below_is_a_layer_and_the_others_are_made_anew() {
    let mounts = [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/sys/fs/bpf", "bpf"),
        ("/dev", "devtmpfs"),
        ("/home", "xfs"),
        ("/var/lib/x", "btrfs"),
    ];
    let tree = tree(
        &mounts,
        &[
            ("/", "l:bin d:dev d:etc F:swap s:socket f:.env d:home d:proc d:sys d:tmp d:var"),
            ("/var", "d:lib d:log"),
            ("/var/lib", "d:x d:y"),
        ],
    );
    assert_eq!(
        directories_to_list(&tree.mounts, &Wanted::default(), FRESH),
        ["/", "/var", "/var/lib"].map(PathBuf::from).into()
    );
    let expected = [
        "directory 750 /",
        "copy /.env",
        "link /bin usr/bin",
        "mount point /dev",
        "overlay /etc",
        "overlay /home",
        "mount point /proc",
        "file read-only /socket",
        "file read-only /swap",
        "tree read-only /sys",
        "mount point /tmp",
        "directory 750 /var",
        "directory 750 /var/lib",
        "overlay /var/lib/x",
        "overlay /var/lib/y",
        "overlay /var/log",
    ];
    assert_eq!(parts(&tree), expected);
}

#[test]
fn a_directory_can_be_made_a_layer_of_its_own_or_anew() {
    let wanted = Wanted { layers: vec!["/var/tmp".into(), "/proc/x".into()], anew: vec!["/mnt".into()] };
    let tree = tree(&[], &[("/", "d:usr d:var"), ("/var", "d:log d:tmp")]);
    let expected =
        ["directory 750 /", "overlay /usr", "directory 750 /var", "overlay /var/log", "overlay /var/tmp"];
    assert_eq!(parts(&tree), expected);
    assert_eq!(
        directories_to_list(&tree.mounts, &wanted, FRESH),
        ["/", "/mnt", "/var"].map(PathBuf::from).into()
    );
}

#[test]
fn what_can_be_no_layer_is_shown_read_only_and_said() {
    let tree = tree(
        &[("/boot", "vfat"), ("/root/x", "ext4"), ("/run/doc", "fuse"), ("/etc/hosts", "ext4")],
        &[
            ("/", "d:boot d:dev d:etc d:root d:run"),
            ("/root", "unreadable"),
            ("/run", "x:doc"),
            ("/etc", "f:hosts"),
        ],
    );
    let expected = [
        "directory 750 /",
        "tree read-only /boot",
        "mount point /dev",
        "directory 750 /etc",
        "copy /etc/hosts",
        "tree read-only /root",
        "directory 750 /run",
    ];
    assert_eq!(parts(&tree), expected);
    let warnings = assemble(&tree, FRESH).warnings;
    assert_eq!(warnings.len(), 3);
    for (warning, path) in warnings.iter().zip(["/boot: ", "/root: ", "/run/doc: "]) {
        assert!(warning.starts_with(path), "{warning}");
    }
}

fn kept(manifest: Option<Manifest>) -> Kept {
    Kept { directory: "/home/me/kept".into(), manifest, unchanged: BTreeSet::new() }
}

#[test]
fn what_is_kept_is_written_beside_the_tree_and_hidden_inside() {
    let tree = tree(&[("/home", "ext4")], &[("/", "l:bin d:etc d:home")]);
    let layout = assemble(&tree, FRESH);
    let manifest = Manifest::of(&layout, &kept(None)).unwrap();
    let overlay = |path: &str, number: u32| Step::Mount {
        what: FileSystem::Overlay(Overlay {
            lower: vec![path.into()],
            optional: true,
            upper: Upper::Kept {
                upper: format!("/home/me/kept/{number}/upper").into(),
                work: format!("/home/me/kept/{number}/work").into(),
            },
        }),
        at: path.into(),
    };
    let expected = [
        Step::Root(Root::Directory { path: "/home/me/kept/tree".into(), writable: true }),
        overlay("/etc", 1),
        overlay("/home", 2),
        Step::Mask("/home/me/kept".into()),
    ];
    assert_eq!(steps(&layout, Some((&kept(None), &manifest))), expected);
}

#[test]
fn the_kept_directory_itself_is_left_out_of_a_directory_made_anew() {
    let mut tree =
        tree(&[("/home/me/x", "ext4")], &[("/", "d:home"), ("/home", "d:me"), ("/home/me", "d:kept d:x")]);
    tree.kept = Some(kept(None));
    assert!(!parts(&tree).iter().any(|part| part.contains("kept")));
}

#[test]
fn a_manifest_grows_and_keeps_its_numbers_or_says_what_no_longer_fits() {
    let before = tree(&[("/home", "ext4")], &[("/", "d:etc d:home l:bin")]);
    let old = Manifest::of(&assemble(&before, FRESH), &kept(None)).unwrap();
    let of = |mounts: &[_], listings: &[_]| {
        Manifest::of(&assemble(&tree(mounts, listings), FRESH), &kept(Some(old.clone())))
    };
    assert_eq!(of(&[("/home", "ext4")], &[("/", "d:etc d:home l:bin")]), Ok(old.clone()));
    let grown = of(&[("/home", "ext4")], &[("/", "d:aaa d:etc d:home")]).unwrap();
    let numbers = ["/aaa", "/etc", "/home", "/bin"].map(|path| grown.number(Path::new(path)));
    assert_eq!(numbers, [Some(3), Some(1), Some(2), None]);
    assert!(grown.has(Path::new("/bin")), "what was made once is known for ever");
    let gone = of(&[("/home", "ext4")], &[("/", "d:home")]).unwrap_err();
    assert_eq!(gone, "has changes to /etc, which is gone or lies within another layer now");
    let unchanged = Kept { unchanged: ["/etc".into()].into(), ..kept(Some(old.clone())) };
    let without = assemble(&tree(&[("/home", "ext4")], &[("/", "d:home")]), FRESH);
    assert_eq!(Manifest::of(&without, &unchanged), Ok(old.clone()), "nothing is lost with it");
    let split = of(&[("/etc/x", "ext4")], &[("/", "d:etc d:home"), ("/etc", "d:x")]).unwrap_err();
    assert_eq!(split, "fits no longer: something was mounted or replaced at or below /etc since");
    let other = Manifest { base: "/srv".into(), ..old.clone() };
    assert_eq!(
        Manifest::of(&assemble(&before, FRESH), &kept(Some(other))).unwrap_err(),
        "was kept of another root, /srv"
    );
}
