//! Attacks by the tree: links, swapped names and baits in a root or a bound directory that somebody hostile prepared,
//! or changes meanwhile. docs/security.md names each test.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::hostile::{Hostile, SECRET, mount_points, outcome, perl};
use support::{Caller, callers, cannot_run, run, stdout_of, text};

/// Each caller with a hostile tree of its own.
fn each(mut test: impl FnMut(&Hostile)) {
    for caller in callers() {
        test(&Hostile::new(caller));
    }
}

#[test]
fn links_in_a_bound_directory_and_in_the_root_lead_to_nothing_of_the_outside() {
    each(|hostile| {
        let ways = hostile.ways_out("outside/secret");
        for (i, way) in ways.iter().enumerate() {
            hostile.link(way, &format!("work/{i}"));
            hostile.link(way, &format!("root/{i}"));
        }
        let work = hostile.name("work");
        // The links do lead there where nothing is in their way.
        let outside = hostile.caller.command("cat").arg(hostile.path("work/0")).output().expect("cat");
        assert_eq!(text(&outside.stdout), SECRET);
        let up = hostile.caller.command("cat").arg(hostile.path("work/1")).output().expect("cat");
        assert_eq!(text(&up.stdout), SECRET);
        for option in ["--bind", "--ro-bind", "--dev-bind"] {
            let bind = format!("{work}:/work");
            let script = "ls /work | wc -l; cat /work/* /[0-9]*";
            let (code, stdout, stderr) = outcome(&mut hostile.shell(&[option, &bind], script));
            assert_eq!((code, stdout), (1, format!("{}\n", ways.len())), "{option} {stderr}");
        }
    });
}

/// The options that take a destination, which is DEST here; and what there is at it then, as `test` says it.
const DESTINATIONS: [(&[&str], &str); 11] = [
    (&["--bind", "WORK:DEST"], "-d"),
    (&["--ro-bind", "WORK/file:DEST"], "-f"),
    (&["--tmpfs", "DEST"], "-d"),
    (&["--tmp-overlay", "DEST:lower=WORK"], "-d"),
    (&["--proc", "DEST"], "-e DEST/self/status -a -d"),
    (&["--dev", "DEST"], "-c DEST/null -a -d"),
    (&["--mqueue", "DEST"], "-d"),
    (&["--dir", "DEST"], "-d"),
    (&["--file", "0:DEST"], "-f"),
    (&["--symlink", "/usr:DEST"], "-L"),
    (&["--mask", "DEST"], "! -e"),
];

#[test]
fn a_destination_that_is_a_link_out_lands_inside() {
    each(|hostile| {
        hostile.file("work/file", "");
        let (work, before) = (hostile.name("work"), hostile.outside());
        let mut number = 0;
        // What is there outside and must not be covered, and what is not there and must not be made.
        for target in ["outside/new", "outside/directory/new", "outside/directory"] {
            for way in &hostile.ways_out(target)[..2] {
                for (options, _) in DESTINATIONS {
                    number += 1;
                    hostile.link(way, &format!("root/{number}"));
                    let destination = format!("/{number}/below-{number}");
                    let options: Vec<_> = options
                        .iter()
                        .map(|option| option.replace("WORK", &work).replace("DEST", &destination))
                        .collect();
                    let options: Vec<_> = options.iter().map(String::as_str).collect();
                    let (code, stdout, stderr) = outcome(&mut hostile.shell(&options, "echo inside"));
                    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "inside\n", ""), "{options:?}");
                    assert_eq!(hostile.outside(), before, "{options:?} {way}");
                }
            }
        }
        // By paths that exist in no sandbox: refused, or made inside.
        for way in &hostile.ways_out("outside/directory")[2..] {
            number += 1;
            hostile.link(way, &format!("root/{number}"));
            outcome(&mut hostile.shell(&["--tmpfs", &format!("/{number}/below")], "true"));
            outcome(&mut hostile.shell(&["--dir", &format!("/{number}/made")], "true"));
            assert_eq!(hostile.outside(), before, "{way}");
        }
    });
}

#[test]
fn what_lands_inside_is_at_the_place_that_the_link_names_there() {
    each(|hostile| {
        hostile.file("work/file", "");
        let work = hostile.name("work");
        for (number, (options, test)) in DESTINATIONS.into_iter().enumerate() {
            // Resolved in the root, `..` goes no higher than `/`.
            hostile.link(&format!("../../../../landed-{number}"), &format!("root/{number}"));
            let given: Vec<_> = options
                .iter()
                .map(|option| option.replace("WORK", &work).replace("DEST", &format!("/{number}/below")))
                .collect();
            let given: Vec<_> = given.iter().map(String::as_str).collect();
            let landed = format!("/landed-{number}/below");
            let script = format!("test {} {landed}", test.replace("DEST", &landed));
            assert_eq!(
                outcome(&mut hostile.shell(&given, &script)),
                (0, String::new(), String::new()),
                "{given:?}"
            );
        }
    });
}

#[test]
fn a_step_up_from_the_root_leads_to_the_root_and_nowhere_else() {
    each(|hostile| {
        for directory in ["root/run", "root/var", "root/var/lib"] {
            hostile.make_directory(directory);
        }
        hostile.link("../run", "root/var/run");
        hostile.file("root/run/secret", SECRET);
        let control = stdout_of(&mut hostile.launch(&[], &["cat", "/var/run/secret"]));
        assert_eq!(control, SECRET);
        for path in ["/var/run/secret", "/var/lib/../../run/secret", "/../../run/secret"] {
            assert_eq!(
                stdout_of(&mut hostile.launch(&["--mask", path], &["cat", "/run/secret"])),
                "",
                "{path}"
            );
        }
        let mounts =
            stdout_of(&mut hostile.launch(&["--tmpfs", "/var/run"], &["cat", "/proc/self/mountinfo"]));
        assert!(mount_points(&mounts).contains(&"/run"), "{mounts}");
        // Without a root of the sandbox's own, too.
        let up = "../".repeat(40);
        hostile.link(&format!("{up}{}", &hostile.name("outside")[1..]), "work/link");
        let (mask, secret) = (hostile.name("work/link/secret"), hostile.name("outside/secret"));
        let masks = ["--mask", "/etc/hostname", "--mask", &mask, "--", "cat", &secret];
        assert_eq!(stdout_of(&mut hostile.caller.launch(masks)), "");
    });
}

#[test]
fn a_link_in_a_bound_directory_leads_no_later_step_outside() {
    each(|hostile| {
        for (number, way) in hostile.ways_out("outside/directory").iter().enumerate() {
            hostile.link(way, &format!("work/{number}"));
        }
        let (bind, before) = (format!("{}:/work", hostile.name("work")), hostile.outside());
        for number in 0..hostile.ways_out("").len() {
            for option in ["--dir", "--tmpfs", "--mqueue", "--dev"] {
                let below = format!("/work/{number}/below");
                let (code, stdout, stderr) =
                    outcome(&mut hostile.shell(&["--bind", &bind, option, &below], "echo ran"));
                assert!(
                    (code, stdout.as_str()) == (0, "ran\n") || code == 125 && !stderr.is_empty(),
                    "{code} {stderr}"
                );
                assert_eq!(hostile.outside(), before, "{option} {below}");
            }
        }
    });
}

#[test]
fn the_roots_proc_dev_tmp_and_etc_may_be_links_that_lead_out() {
    for caller in callers() {
        for name in ["proc", "dev", "tmp", "etc"] {
            for way in 0..Hostile::new(caller).ways_out("").len() {
                let hostile = Hostile::new(caller);
                let target = &hostile.ways_out("outside/directory")[way];
                hostile.link(target, &format!("root/{name}"));
                let before = hostile.outside();
                let script = "test -e /proc/self/status && test -c /dev/null && test -d /dev/pts && > /tmp/x && echo all";
                let options = ["--tmpfs", "/etc", "--mqueue", "/dev/mqueue", "--mask", "/etc/secret"];
                let (code, stdout, stderr) = outcome(&mut hostile.shell(&options, script));
                // A link through /proc, where that is not there yet, leads nowhere: then nothing runs.
                let is_set_up = (code, stdout.as_str(), stderr.as_str()) == (0, "all\n", "");
                let is_refused = code == 125 && stderr.starts_with("launch: mount: /");
                assert!(is_set_up || way > 1 && is_refused, "{name} -> {target}: {code} {stdout} {stderr}");
                assert_eq!(hostile.outside(), before, "{name} -> {target}");
            }
        }
    }
}

#[test]
fn the_terminal_of_a_sandbox_is_made_in_its_own_dev_whatever_the_root_has_there() {
    each(|hostile| {
        hostile.make_directory("root/dev");
        for name in ["pts", "ptmx", "shm", "tty", "null", "console", "fd", "mqueue"] {
            hostile.link(&hostile.name("outside/directory"), &format!("root/dev/{name}"));
        }
        let before = hostile.outside();
        let script = "case $(tty) in /dev/pts/0) echo own;; esac; test -c /dev/null && test -c /dev/tty && echo devices";
        let mut command = hostile.shell(&["--tty"], script);
        assert_eq!(stdout_of(&mut command), "own\r\ndevices\r\n");
        assert_eq!(hostile.outside(), before);
    });
}

/// What is hidden or cannot be written of /proc, as the mounts on it say.
fn walls_of_proc(command: &mut Command) -> Vec<String> {
    let mounts = stdout_of(command);
    let mut walls: Vec<_> = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields[4].starts_with("/proc/"))
        .map(|fields| format!("{} {}", fields[4], fields[5].split(',').next().unwrap_or_default()))
        .collect();
    walls.sort();
    walls
}

#[test]
fn what_is_hidden_of_proc_stays_hidden_whatever_the_root_has_for_dev_null_and_dev_console() {
    for caller in callers() {
        let mountinfo = ["cat", "/proc/self/mountinfo"];
        let clean = walls_of_proc(&mut Hostile::new(caller).launch(&[], &mountinfo));
        assert!(clean.contains(&"/proc/kcore ro".into()) || !std::path::Path::new("/proc/kcore").exists());
        assert!(clean.contains(&"/proc/sys ro".into()), "{clean:?}");
        for bait in ["null", "console", "pts", "zero"] {
            for target in ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc", "OUTSIDE"] {
                let hostile = Hostile::new(caller);
                hostile.make_directory("root/dev");
                hostile.make_directory("root/proc");
                hostile.link(
                    &target.replace("OUTSIDE", &hostile.name("outside/secret")),
                    &format!("root/dev/{bait}"),
                );
                hostile.file("root/proc/kcore", "bait");
                let before = hostile.outside();
                assert_eq!(walls_of_proc(&mut hostile.launch(&[], &mountinfo)), clean, "{bait} -> {target}");
                assert_eq!(hostile.outside(), before);
            }
        }
        let hostile = Hostile::new(caller);
        let script = "cat /proc/keys /proc/timer_list /proc/kcore 2>/dev/null | wc -c; ls /proc/acpi /proc/scsi 2>/dev/null | grep -v : | wc -w; \
                      for f in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/default_smp_affinity; do \
                      true >> $f && echo $f can be written; done 2>/dev/null; true";
        assert_eq!(stdout_of(&mut hostile.shell(&[], script)), "0\n0\n", "{caller:?}");
    }
}

#[test]
fn proc_is_masked_while_names_in_the_root_are_swapped() {
    each(|hostile| {
        for directory in ["root/proc", "root/dev", "root/elsewhere"] {
            hostile.make_directory(directory);
        }
        hostile.link(&hostile.name("outside/directory"), "root/link");
        let before = hostile.outside();
        for swapped in ["root/proc", "root/dev"] {
            let mut ran = 0;
            let (launches, swaps) = hostile.race(swapped, "root/link", || {
                let (code, stdout, stderr) =
                    outcome(&mut hostile.launch(&[], &["cat", "/proc/self/mountinfo"]));
                // When `cat` runs, /proc may be the other one of the two names.
                if code == 0 {
                    ran += 1;
                    let mounts = mount_points(&stdout);
                    let proc = mounts.iter().filter(|at| at.ends_with("/sys")).collect::<Vec<_>>();
                    assert_eq!(proc.len(), 1, "{stdout}");
                } else {
                    assert!(code == 125 || code == 1, "{code} {stderr}");
                }
            });
            assert!(
                launches >= 10 && swaps >= 10 && ran > 0,
                "{launches} launches, {ran} to the end, {swaps} swaps"
            );
            assert_eq!(hostile.outside(), before, "{swapped}");
        }
    });
}

#[test]
fn a_source_that_is_swapped_during_the_setup_is_the_one_that_was_opened() {
    each(|hostile| {
        for (options, file) in [
            (&["--bind", "SOURCE:/seen"][..], "/seen/file"),
            (&["--ro-bind", "SOURCE:/seen"], "/seen/file"),
            (&["--try-bind", "SOURCE/file:/seen/file"], "/seen/file"),
            (&["--tmp-overlay", "/seen:lower=SOURCE"], "/seen/file"),
            (&["--overlay", "/seen:lower=SOURCE:lower=EMPTY"], "/seen/file"),
        ] {
            for directory in ["work/app", "work/app/data", "empty"] {
                hostile.make_directory(directory);
            }
            hostile.file("work/app/data/file", "allowed");
            hostile.make_directory("outside/data");
            hostile.file("outside/data/file", SECRET);
            hostile.link(&hostile.name("outside"), "work/link");
            let (source, empty) = (hostile.name("work/app/data"), hostile.name("empty"));
            let read = ["cat", file];
            let options = |before: &[&str]| -> Vec<String> {
                before
                    .iter()
                    .chain(options)
                    .map(|option| option.replace("SOURCE", &source).replace("EMPTY", &empty))
                    .collect()
            };
            let words = options(&["--file", "0:/hold"]);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let held =
                hostile.held(hostile.launch(&words, &read), || hostile.exchange("work/app", "work/link"));
            assert_eq!(held, (0, "allowed".into(), String::new()), "{words:?}");
            // Now that the swap has come first, it is the caller who names the other one.
            let words = options(&[]);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            assert_eq!(stdout_of(&mut hostile.launch(&words, &read)), SECRET);
            fs::remove_file(hostile.path("work/app")).expect("remove");
            fs::remove_dir_all(hostile.path("work/link")).expect("remove");
        }
    });
}

#[test]
fn a_root_that_is_swapped_during_the_setup_is_the_one_that_was_opened() {
    each(|hostile| {
        hostile.link(&hostile.name("outside"), "elsewhere");
        let before = hostile.outside();
        let command = hostile
            .shell(&["--file", "0:/hold", "--dir", "/made", "--tmpfs", "/new"], "test -d /made && ls /");
        let (code, stdout, stderr) = hostile.held(command, || hostile.exchange("root", "elsewhere"));
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert!(stdout.contains("made\n") && !stdout.contains("secret"), "{stdout}");
        assert_eq!(hostile.outside(), before);
    });
}

#[test]
fn a_target_that_is_swapped_between_two_steps_lands_inside() {
    for caller in callers() {
        for option in ["--tmpfs", "--dir", "--bind", "--ro-bind", "--symlink"] {
            let hostile = Hostile::new(caller);
            hostile.make_directory("root/a");
            hostile.link(&hostile.name("outside/directory"), "root/b");
            let (work, before) = (hostile.name("work"), hostile.outside());
            let value = match option {
                "--bind" | "--ro-bind" => format!("{work}:/a/new"),
                "--symlink" => "/usr:/a/new".into(),
                _ => "/a/new".into(),
            };
            let command = hostile.shell(
                &["--dir", "/a/x", "--file", "0:/hold", option, &value],
                "test -e /a/new && echo there",
            );
            let held = hostile.held(command, || hostile.exchange("root/a", "root/b"));
            assert_eq!(held, (0, "there\n".into(), String::new()), "{option}");
            assert_eq!(hostile.outside(), before, "{option}");
        }
    }
}

#[test]
fn a_target_that_is_swapped_all_the_time_never_lands_outside() {
    each(|hostile| {
        hostile.make_directory("root/a");
        hostile.file("root/a/secret", "");
        let ways = hostile.ways_out("outside");
        for (number, way) in [&ways[0], &ways[1], "/", "../../.."].into_iter().enumerate() {
            let link = format!("root/link-{number}");
            hostile.link(way, &link);
            let (before, work) = (hostile.outside(), format!("{}:/a/directory/b", hostile.name("work")));
            let options = [
                "--dir",
                "/a/directory/made",
                "--tmpfs",
                "/a/directory/t",
                "--bind",
                &work,
                "--mask",
                "/a/secret",
            ];
            let mut ran = 0;
            let (launches, swaps) = hostile.race("root/a", &link, || {
                let (code, stdout, stderr) =
                    outcome(&mut hostile.launch(&options, &["cat", "/proc/self/mountinfo"]));
                assert!(code == 0 || code == 125, "{code} {stderr}");
                ran += usize::from(code == 0);
                // Nothing hides what the sandbox stands on.
                for covered in ["/", "/usr", "/proc", "/dev"] {
                    assert!(
                        mount_points(&stdout).iter().filter(|at| **at == covered).count() <= 1,
                        "{stdout}"
                    );
                }
            });
            assert!(
                launches >= 10 && swaps >= 10 && ran > 0,
                "{launches} launches, {ran} to the end, {swaps} swaps"
            );
            assert_eq!(hostile.outside(), before, "{way}");
        }
    });
}

#[test]
fn what_is_mounted_outside_later_does_not_appear_inside() {
    if !nix::unistd::geteuid().is_root() {
        return cannot_run("mounts that propagate", "to mount takes root");
    }
    let hostile = Hostile::new(Caller::Root);
    hostile.make_directory("work/late");
    hostile.make_directory("root/late");
    let (folder, work) = (hostile.name(""), hostile.name("work"));
    // The way in which most machines have all their mounts: shared. What the sandbox sees is settled when it starts.
    let script = format!(
        "set -e; mount --bind {folder} {folder}; mount --make-shared {folder}; mkfifo {folder}/go {folder}/began; \
         {{ read -r _ < {folder}/began; mount -t tmpfs late {work}/late; mount -t tmpfs late {folder}/root/late; \
         mkdir {work}/late/inside; echo > {folder}/go; }} & set +e; \"$@\"; code=$?; wait; exit $code"
    );
    let fifos = format!("{folder}:/fifos");
    let inside = "echo > /fifos/began; read -r _ < /fifos/go; grep -c late /proc/self/mountinfo; \
                  ls /work/late /fifos/work/late; > /late/x && echo read-only root written; true";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(support::program());
    command.args([
        "--rootfs",
        &hostile.name("root"),
        "--ro-bind",
        "/usr",
        "--ro-bind",
        &format!("{work}:/work"),
    ]);
    command.args(["--bind", &fifos, "--", "sh", "-c", inside]);
    let output = run(&mut command);
    assert_eq!(text(&output.stdout), "0\n/fifos/work/late:\n\n/work/late:\n", "{}", text(&output.stderr));
}

#[test]
fn a_read_only_root_cannot_be_written_to_by_any_way() {
    each(|hostile| {
        hostile.make_directory("root/free");
        fs::set_permissions(hostile.path("root/free"), fs::Permissions::from_mode(0o777)).expect("chmod");
        let write = "> /free/x; > /x; ln -s a /l; mkdir /d; rm -rf /usr; mv /free /f; ls -A /free; ls /";
        let (_, stdout, _) = outcome(&mut hostile.shell(&[], write));
        assert!(!stdout.contains('x') && stdout.contains("free\n"), "{stdout}");
        assert_eq!(fs::read_dir(hostile.path("root/free")).expect("free").count(), 0);
        // It is the wall that refuses, and not the owner of the directory.
        assert_eq!(stdout_of(&mut hostile.launch_writable(&[], &["sh", "-c", "> /free/x; ls /free"])), "x\n");
    });
}

#[test]
fn a_working_directory_through_a_descriptor_never_leads_out() {
    each(|hostile| {
        hostile.make_directory("root/sub");
        hostile.file("root/sub/own", "");
        let before = hostile.outside();
        let directories = [hostile.name("outside/directory"), hostile.name("root/sub"), hostile.name("")];
        for number in 0..=40 {
            hostile.link(&format!("/proc/self/fd/{number}"), &format!("root/chdir-{number}"));
        }
        for (given, last) in directories.iter().zip([40, 4, 4]) {
            for (number, through) in
                (0..=last).flat_map(|number| [(number, "/proc/self/fd/"), (number, "/chdir-")])
            {
                let (root, chdir) = (hostile.name("root"), format!("{through}{number}"));
                let script = format!("exec \"$@\" 0< {given} 3< {given}");
                let inside = "> written; ls -d secret ../secret outside ../outside ../../outside; exit 3";
                let options = ["--rootfs", &root, "--ro-bind", "/usr", "--keep-fd", "3", "--chdir", &chdir];
                let command = ["--", "sh", "-c", inside];
                let output = run(&mut hostile.caller.launch_by(&script, options.iter().chain(&command)));
                let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
                assert_eq!(stdout, "", "{chdir} {given}");
                assert!(matches!(output.status.code(), Some(125 | 3)), "{chdir} {stderr}");
                for written in ["root", "root/sub", "", "outside/directory"] {
                    assert!(
                        !hostile.path(written).join("written").exists(),
                        "{chdir} {given}: in {written:?}"
                    );
                }
            }
        }
        assert_eq!(hostile.outside(), before);
    });
}

#[test]
fn a_working_directory_of_the_callers_that_became_a_link_never_leads_out() {
    each(|hostile| {
        let (work, outside) = (hostile.name("work"), hostile.name("outside"));
        // The caller's directory, read-only inside, where a link of the same name is in a layer above.
        hostile.make_directory("layer");
        hostile.link("/proc/self/fd/0", "layer/here");
        hostile.make_directory("work/here");
        let overlay = format!("{work}:lower={}:lower={work}", hostile.name("layer"));
        let script = format!("cd {work}/here && exec \"$@\" 0< {outside}");
        let inside = "> written; ls -d secret; readlink /proc/self/cwd";
        let arguments = ["--read-only", "--overlay", &overlay, "--", "sh", "-c", inside];
        let output = run(&mut hostile.caller.launch_by(&script, arguments));
        assert!(!text(&output.stdout).contains("secret"), "{}", text(&output.stdout));
        assert!(!hostile.path("outside/written").exists());
        let warned = text(&output.stderr);
        assert!(warned.contains("working directory"), "{warned}");
    });
}

#[test]
fn a_root_inside_cannot_leave_its_root() {
    each(|hostile| {
        hostile.file("root/marker", "");
        hostile.make_directory("root/jail");
        // The known ways: a directory held open above a second chroot, and many steps up from it.
        let escape = "opendir(my $d, '/'); my $up = '../' x 60; \
                      chroot('/jail') or chroot('/tmp'); chdir($d); chdir($up); chdir('..') for 1..60; chroot('.'); \
                      print -e '/marker' ? 'inside' : 'outside', \" \", -e $ARGV[0] ? 'secret' : 'nothing', \"\\n\"; \
                      chdir('/proc/1/root') and print 'root of 1'; chdir('/proc/1/cwd') and print 'cwd of 1';";
        let secret = hostile.name("outside/secret");
        let command = [&perl(escape)[..], &[&secret]].concat();
        assert_eq!(stdout_of(&mut hostile.launch(&[], &command)), "inside nothing\n");
    });
}

#[test]
fn device_files_of_the_root_and_of_a_bound_directory_do_not_open() {
    if !nix::unistd::geteuid().is_root() {
        return cannot_run("device files in a root", "to make them takes root");
    }
    each(|hostile| {
        for path in ["root/null", "work/null"] {
            let status = Command::new("mknod")
                .args(["-m", "666"])
                .arg(hostile.path(path))
                .args(["c", "1", "3"])
                .status();
            assert!(status.expect("mknod").success());
        }
        let read = "for file in /null /work/null; do cat $file && echo $file opened; done; true";
        let bind = |option: &'static str| [option.to_owned(), format!("{}:/work", hostile.name("work"))];
        for option in ["--bind", "--ro-bind"] {
            let [option, value] = bind(option);
            let (_, stdout, stderr) = outcome(&mut hostile.shell(&[&option, &value], read));
            assert_eq!((stdout.as_str(), stderr.matches("Permission denied").count()), ("", 2), "{stderr}");
        }
        let [option, value] = bind("--dev-bind");
        let (_, stdout, _) = outcome(&mut hostile.shell(&[&option, &value], read));
        assert_eq!(stdout, "/work/null opened\n");
        let make = "mknod /tmp/null c 1 3 || mknod /dev/sda b 8 0 || mknod /dev/shm/kmsg c 1 11";
        assert_eq!(outcome(&mut hostile.shell(&[], make)).0, 1);
    });
}

#[test]
fn nothing_in_a_root_of_its_own_gives_rights_by_a_setuid_bit() {
    each(|hostile| {
        let mounts = stdout_of(&mut hostile.launch(
            &["--bind", &format!("{}:/work", hostile.name("work"))],
            &["cat", "/proc/self/mountinfo"],
        ));
        for line in mounts.lines() {
            let fields: Vec<_> = line.split(' ').collect();
            assert!(fields[5].split(',').any(|flag| flag == "nosuid"), "{line}");
        }
    });
}

#[test]
fn settings_of_the_kernel_are_never_written_to_files_of_the_tree() {
    each(|hostile| {
        // What a /proc would have, of which somebody hopes that it is written to.
        let baits = [
            "self/oom_score_adj",
            "2/oom_score_adj",
            "sys/user/max_user_namespaces",
            "self/attr/exec",
            "1/setgroups",
        ];
        for (number, place) in
            ["root/proc", "root/bait/directory", "outside/directory"].into_iter().enumerate()
        {
            for bait in baits {
                let bait = format!("{place}/{bait}");
                hostile.make_directory(bait.rsplit_once('/').expect("a folder").0);
                hostile.file(&bait, &format!("bait {number}"));
            }
        }
        hostile.link("/bait/directory", "root/link-in");
        hostile.link(&hostile.name("outside/directory"), "root/link-out");
        let before = hostile.outside();
        let options = ["--oom-score-adj", "900", "--disable-userns"];
        let script = "cat /proc/self/oom_score_adj /proc/sys/user/max_user_namespaces";
        for swapped in ["root/link-in", "root/link-out"] {
            hostile.exchange("root/proc", swapped);
            assert_eq!(stdout_of(&mut hostile.shell(&options, script)), "900\n0\n", "{swapped}");
            hostile.exchange("root/proc", swapped);
            let (launches, swaps) = hostile.race("root/proc", swapped, || {
                let (code, _, stderr) = outcome(&mut hostile.shell(&options, "true"));
                assert!(code == 0 || code == 125, "{code} {stderr}");
            });
            assert!(launches >= 10 && swaps >= 10, "{launches} launches, {swaps} swaps");
        }
        assert_eq!(hostile.outside(), before);
        for place in ["root/proc", "root/bait/directory"] {
            for bait in baits {
                let content = fs::read_to_string(hostile.path(place).join(bait)).expect(bait);
                assert!(content.starts_with("bait "), "{place} {bait}: {content}");
            }
        }
    });
}

#[test]
fn what_a_tree_names_does_not_reach_the_terminal_as_it_is() {
    each(|hostile| {
        for name in ["proc", "dev", "tmp"] {
            hostile.make_directory(&format!("root/{name}"));
        }
        hostile.file("root/not-a-directory", "");
        hostile.link("/not-a-directory/\x1b]0;title\x07", "root/link");
        hostile.file("root/script", "#!/\x1b[2J\n");
        fs::set_permissions(hostile.path("root/script"), fs::Permissions::from_mode(0o755)).expect("chmod");
        let said = [
            outcome(&mut hostile.shell(&["--tmpfs", "/link/x"], "true")),
            outcome(&mut hostile.launch(&[], &["/script"])),
        ];
        for ((code, _, stderr), expected) in said.iter().zip([125, 127]) {
            assert_eq!(*code, expected, "{stderr}");
            assert!(!stderr.contains(['\x1b', '\x07']), "{stderr:?}");
        }
    });
}
