//! `launch-init` under a container engine: what podman mounts for `--init`, the ENTRYPOINT of an image, in a pod, and
//! every recipe of docs/images.md.
//!
//! Nothing is fetched: the user land is busybox's, and what docs/images.md builds on are stand-ins of the same names.
//! Each engine has its own storage in a temporary folder, and no container, mount or process of it is left.

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use support::{DEADLINE, Ended, cannot_run, code, is_root, lines, next, program, public_folder, until};
use tempfile::TempDir;

#[test]
fn under_podmans_init_option_pid_1_is_launch_init_and_the_exit_code_is_the_workloads() {
    let Some(engine) = Engine::new() else { return };
    let script = "echo \"child of $PPID\"; tr '\\0' ' ' < /proc/1/cmdline; echo; read -r line; exit 7";
    let mut running = engine.start(&engine.init_option(&["--name=a", "--interactive"], script));
    assert_eq!(running.hear().as_deref(), Some("child of 1"));
    let command_line = running.hear().expect("a command line");
    assert!(command_line.starts_with("/run/podman-init -- sh -c "), "{command_line}");
    let pid_1 = engine.says(&["inspect", "--format={{.State.Pid}}", "a"]);
    let executable = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).expect("metadata");
    assert_eq!(executable(Path::new(&format!("/proc/{pid_1}/exe"))), executable(program()));
    drop(running.child.stdin.take());
    assert_eq!(running.end(), Ended::new(7, "", ""));
}

#[test]
fn podman_stop_reaches_the_workload_under_the_init_option() {
    let Some(engine) = Engine::new() else { return };
    let script = "trap 'echo TERM; exit 3' TERM; echo ready; sleep 1000 & wait";
    let running = engine.start(&engine.init_option(&["--name=a"], script));
    assert_eq!(running.hear().as_deref(), Some("ready"));
    let start = Instant::now();
    engine.says(&["stop", "--time=50", "a"]);
    assert!(start.elapsed().as_secs() < 40, "the workload had to be killed");
    assert_eq!(running.end(), Ended::new(3, "TERM\n", ""));
}

#[test]
fn an_orphan_is_reaped_under_the_init_option() {
    let Some(engine) = Engine::new() else { return };
    // A zombie would stay in /proc, and the loop would not end.
    let script = "orphan=$(sh -c 'sleep 1000 >/dev/null & echo $!')
        echo \"child of $(cut -d' ' -f4 /proc/$orphan/stat)\"
        kill -9 $orphan
        while [ -e /proc/$orphan ]; do usleep 1000; done
        echo reaped";
    let ended = engine.start(&engine.init_option(&[], script)).end();
    assert_eq!(ended, Ended::new(0, "child of 1\nreaped\n", ""));
}

#[test]
fn the_exit_codes_of_an_image_from_scratch_are_those_of_launch_init() {
    let Some(engine) = Engine::new() else { return };
    engine.build("app", &["--"]);
    let run = |command: &[&str]| engine.start(&[&["run", "--rm", NO_NETWORK, "app"], command].concat()).end();
    assert_eq!(
        run(&["/busybox", "sh", "-c", "echo child of $PPID; exit 5"]),
        Ended::new(5, "child of 1\n", "")
    );
    assert_eq!(run(&["/none"]), Ended::new(127, "", "launch-init: exec: /none: No such file or directory\n"));
    assert_eq!(run(&["/file"]), Ended::new(126, "", "launch-init: exec: /file: Permission denied\n"));
    let killed = "launch-init: /busybox: killed by SIGKILL\n";
    assert_eq!(run(&["/busybox", "sh", "-c", "kill -9 $$"]), Ended::new(137, "", killed));
}

#[test]
fn a_pod_of_play_kube_is_stopped_with_term_and_gives_the_exit_code() {
    let Some(engine) = Engine::new() else { return };
    engine.build("app", &["--"]);
    for (shared, pid_1) in [(false, "/launch-init -- /busybox"), (true, "/launch-init --pause")] {
        let script = "tr '\\\\0' ' ' < /proc/1/cmdline; echo; tr '\\\\0' ' ' < /proc/$PPID/cmdline; echo; \
                      trap 'echo TERM; exit 3' TERM; echo ready; sleep 1000 & wait";
        let pod = format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: pod}}
spec:
  shareProcessNamespace: {shared}
  restartPolicy: Never
  containers:
  - {{name: app, image: localhost/app, imagePullPolicy: Never, args: [/busybox, sh, -c, \"{script}\"]}}
"
        );
        let manifest = engine.path("pod.yaml");
        fs::write(&manifest, pod).expect("write");
        let manifest = manifest.to_str().expect("UTF-8");
        engine.says(&["play", "kube", NO_NETWORK, manifest]);
        let log = || engine.says(&["logs", "pod-app"]);
        until("the workload is ready", || log().ends_with("\nready").then_some(()));
        // Not the pod: podman 4.3 stops everybody at once then, and in a shared namespace the end of PID 1 kills.
        engine.says(&["stop", "--time=50", "pod-app"]);
        assert_eq!(engine.says(&["inspect", "--format={{.State.ExitCode}}", "pod-app"]), "3");
        // The pod ends with its last container, and that stops the pause program.
        let pause = engine.says(&["pod", "inspect", "--format={{.InfraContainerID}}", "pod"]);
        until("the pause program ends with 0", || {
            let state = engine.says(&["inspect", "--format={{.State.Status}} {{.State.ExitCode}}", &pause]);
            (state == "exited 0").then_some(())
        });
        let log = log();
        let log: Vec<_> = log.lines().collect();
        assert!(log[0].starts_with(pid_1), "{log:?}");
        assert!(log[1].starts_with("/launch-init -- /busybox"), "{log:?}");
        assert_eq!(log[2..], ["ready", "TERM"]);
        engine.says(&["play", "kube", "--down", manifest]);
    }
}

#[test]
fn the_commands_of_the_images_page_print_what_it_says() {
    let Some(engine) = Engine::new() else { return };
    let folder = engine.path("page");
    fs::create_dir(&folder).expect("folder");
    shell(&folder, "install -s -m 755 \"$1\" \"$2\" .", &[program(), &engine.busybox]);
    engine.import("docker.io/library/alpine:3", &engine.path("root"));
    let debian = engine.path("debian");
    fs::create_dir(&debian).expect("folder");
    shell(&debian, DEBIAN, &[]);
    engine.import("docker.io/library/debian:bookworm-slim", &debian);

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images.md");
    let page = fs::read_to_string(&page).expect("docs/images.md");
    let (mut count, mut wrong) = (0, String::new());
    for block in blocks(&page) {
        if let Some(file) = block.file {
            let file = folder.join(file);
            fs::create_dir_all(file.parent().expect("folder")).expect("folder");
            fs::write(file, block.text).expect("write");
        } else if block.kind == "console" {
            count += 1;
            let real = engine.transcript(&folder, &block.text);
            if normalised(&real) != normalised(&block.text) {
                wrong += &format!("--- line {} says ---\n{}--- real ---\n{real}\n", block.line, block.text);
            }
        }
    }
    assert!(wrong.is_empty(), "docs/images.md\n{wrong}");
    assert!(count > 5, "docs/images.md has only {count} blocks to be run");
}

/// Also lets the tests run where there is no network to be set up.
const NO_NETWORK: &str = "--network=none";

/// A root file system with the shell, core utilities and C library of this machine.
const DEBIAN: &str = "
    mkdir -p usr/bin usr/lib usr/lib64 usr/sbin tmp proc sys dev etc run
    ln -s usr/bin usr/lib usr/lib64 usr/sbin .
    for program in sh cat env id ls mkdir sleep touch tr setsid; do
        file=$(command -v $program) && cp -L \"$file\" usr/bin/$program
        ldd \"$file\" | grep -o '/[^ ]*' | while read -r library; do cp -L --parents \"$library\" .; done
    done";

/// Podman with a storage of its own.
struct Engine {
    folder: TempDir,
    busybox: PathBuf,
}

impl Engine {
    /// None, and a word on it, where there is none.
    fn new() -> Option<Self> {
        let missing = |why: &str| {
            cannot_run("launch-init under podman", why);
            None
        };
        if !is_root() {
            return missing("the tests were not started by root");
        }
        let (Some(_), Some(runc)) = (find("podman"), find("runc")) else {
            return missing("podman or runc is not installed");
        };
        let Some(busybox) = find("busybox") else { return missing("busybox is not installed") };
        let engine = Self { folder: public_folder(), busybox };
        let root = engine.path("root");
        fs::create_dir(&root).expect("folder");
        shell(
            &root,
            "mkdir bin tmp proc sys dev etc run
            install -m 755 \"$1\" bin/busybox
            for name in $(bin/busybox --list); do [ $name = busybox ] || ln -s busybox bin/$name; done",
            &[&engine.busybox],
        );
        let is_static = Command::new("chroot").arg(&root).args(["/bin/busybox", "true"]).output();
        if !is_static.expect("chroot").status.success() {
            return missing("busybox is not static (Debian: busybox-static)");
        }
        // Limits that podman would raise, and may not on every machine; locks that no other podman has; and what
        // play kube has no options for.
        let settings = format!(
            "[containers]
default_ulimits = [\"nofile=1000:1000\", \"nproc=1000:1000\"]
[engine]
lock_type = \"file\"
infra_image = \"localhost/pause\"
runtime = \"runc\"
[engine.runtimes]
runc = [{:?}]
",
            runc.display().to_string()
        );
        fs::write(engine.path("containers.conf"), settings).expect("write");
        engine.build("pause", &["--pause"]);
        Some(engine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// podman and the options that are always the same, as words.
    fn podman(&self) -> Vec<String> {
        let option = |name: &str, folder: &str| format!("--{name}={}", self.path(folder).display());
        vec![
            "podman".into(),
            option("root", "storage"),
            option("runroot", "run"),
            option("tmpdir", "tmp"),
            "--storage-driver=vfs".into(),
            "--cgroup-manager=cgroupfs".into(),
            "--events-backend=none".into(),
        ]
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let podman = self.podman();
        let mut command = Command::new(&podman[0]);
        command.args(&podman[1..]).args(arguments).current_dir("/");
        self.set_environment(&mut command);
        command
    }

    fn set_environment(&self, command: &mut Command) {
        // Each layer of an image costs time that nobody needs here.
        command.env("CONTAINERS_CONF", self.path("containers.conf")).env("BUILDAH_LAYERS", "false");
    }

    /// Starts `podman ARGUMENTS…`.
    #[track_caller]
    fn start(&self, arguments: &[impl AsRef<str>]) -> Running {
        let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
        Running::start(&mut self.command(&arguments))
    }

    /// What `podman ARGUMENTS…` says, without the last newline. It succeeds.
    #[track_caller]
    fn says(&self, arguments: &[&str]) -> String {
        let ended = self.start(arguments).end();
        assert_eq!(ended.code, 0, "podman {arguments:?}: {ended:?}");
        ended.stdout.trim_end().to_owned()
    }

    /// The arguments of `podman run --init` for `sh -c SCRIPT`.
    fn init_option(&self, options: &[&str], script: &str) -> Vec<String> {
        let init = format!("--init-path={}", program().display());
        let root = self.path("root").display().to_string();
        let first = ["run", "--rm", NO_NETWORK, "--init", &init];
        let last = ["--rootfs", &root, "sh", "-c", script];
        [&first, options, &last].concat().into_iter().map(str::to_owned).collect()
    }

    /// An image FROM scratch: launch-init as ENTRYPOINT with these options, busybox, and a file that is no program.
    #[track_caller]
    fn build(&self, name: &str, options: &[&str]) {
        let context = self.path(name);
        fs::create_dir(&context).expect("folder");
        shell(&context, "install -s -m 755 \"$1\" \"$2\" .; touch file", &[program(), &self.busybox]);
        let entrypoint = [&["/launch-init"], options].concat();
        fs::write(
            context.join("Containerfile"),
            format!("FROM scratch\nCOPY launch-init busybox file /\nENTRYPOINT {entrypoint:?}\n"),
        )
        .expect("write");
        self.says(&["build", "--quiet", NO_NETWORK, "--tag", name, context.to_str().expect("UTF-8")]);
    }

    /// An image of a folder.
    #[track_caller]
    fn import(&self, name: &str, root: &Path) {
        let archive = self.path("root.tar");
        shell(root, "tar --create --file \"$1\" .", &[&archive]);
        self.says(&["import", "--quiet", archive.to_str().expect("UTF-8"), name]);
    }

    /// Runs the commands of a block in one shell, and returns what its user would have seen.
    fn transcript(&self, folder: &Path, block: &str) -> String {
        let podman: Vec<_> = self.podman().iter().map(|word| format!("'{word}'")).collect();
        let mut script = format!("exec 2>&1\npodman() {{ command {} \"$@\"; }}\n", podman.join(" "));
        let commands: Vec<_> = block.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        for command in &commands {
            script.push_str(&format!("{command}\n_status=$?; echo; echo ---; (exit $_status)\n"));
        }
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).current_dir(folder).env("LC_ALL", "C");
        self.set_environment(&mut bash);
        let output = Running::start(&mut bash).end().stdout;
        let outputs = output.split("\n---\n").chain(std::iter::repeat("(the shell has ended)"));
        commands.iter().zip(outputs).map(|(command, output)| format!("$ {command}\n{output}")).collect()
    }

    /// The mount points and processes that are this engine's.
    fn left_over(&self) -> (Vec<String>, Vec<String>) {
        let folder = self.folder.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        let is_ours = |pid: &String| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&folder)
        };
        let pids = fs::read_dir("/proc")
            .expect("/proc")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let pids = pids.filter(|name| name.parse::<i32>().is_ok_and(|pid| pid != std::process::id() as i32));
        (
            points.filter(|point| point.starts_with(&folder)).map(str::to_owned).collect(),
            pids.filter(is_ours).collect(),
        )
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let mut clean = true;
        for all in
            [&["pod", "rm", "--all", "--force", "--time=0"][..], &["rm", "--all", "--force", "--time=0"]]
        {
            clean &=
                Running::start(&mut self.command(all)).end_before(DEADLINE).is_some_and(|end| end.code == 0);
        }
        // The last ones of podman's own may still be on their way out.
        let end = Instant::now() + DEADLINE;
        while self.left_over() != (vec![], vec![]) && Instant::now() < end {
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        let (mounts, pids) = self.left_over();
        clean &= mounts.is_empty() && pids.is_empty();
        for pid in pids {
            let _ = launch_init::sys::kill(pid.parse().expect("a pid"), libc::SIGKILL);
        }
        for mount in mounts.iter().rev() {
            let _ = Command::new("umount").args(["--lazy", mount]).status();
        }
        assert!(clean || std::thread::panicking(), "podman has left something");
    }
}

/// A program that runs, and is killed when the test ends before it.
struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    #[track_caller]
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("stdout"));
        let stderr: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("stderr"));
        Self { child, stdout: lines(stdout), stderr: lines(stderr) }
    }

    /// The next line of stdout, before the deadline; none at its end.
    #[track_caller]
    fn hear(&self) -> Option<String> {
        next(&self.stdout)
    }

    #[track_caller]
    fn end(self) -> Ended {
        self.end_before(DEADLINE).expect("not ended before the deadline")
    }

    fn end_before(mut self, time: std::time::Duration) -> Option<Ended> {
        let end = Instant::now() + time;
        let status = loop {
            match self.child.try_wait().expect("wait") {
                Some(status) => break status,
                None if Instant::now() > end => return None,
                None => std::thread::park_timeout(std::time::Duration::from_millis(1)),
            }
        };
        let rest = |lines: &Receiver<String>| -> String {
            std::iter::from_fn(|| next(lines)).map(|line| line + "\n").collect()
        };
        Some(Ended { code: code(status), stdout: rest(&self.stdout), stderr: rest(&self.stderr) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a program is, as root's PATH has it.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/local/sbin", "/usr/sbin", "/sbin"]);
    folders.map(|folder| Path::new(folder).join(name)).find(|file| file.is_file())
}

/// Runs a script in a folder; the arguments are `$1` and so on.
#[track_caller]
fn shell(folder: &Path, script: &str, arguments: &[&Path]) {
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).args(arguments).current_dir(folder);
    let output = command.output().expect("sh");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// One fenced block of a page.
struct Block {
    line: usize,
    kind: String,
    /// The name of the file that it is.
    file: Option<String>,
    text: String,
}

/// The blocks of a page. Behind the kind may stand the name of a file: such a block is the file.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (line, number) in page.lines().zip(1..) {
        match (is_open, line.strip_prefix("```")) {
            (true, Some(_)) => is_open = false,
            (true, None) => {
                let text = &mut blocks.last_mut().expect("an open block").text;
                text.push_str(line);
                text.push('\n');
            }
            (false, Some(head)) => {
                is_open = true;
                let mut words = head.split(' ').map(str::to_owned);
                let kind = words.next().unwrap_or_default();
                blocks.push(Block { line: number, kind, file: words.next(), text: String::new() });
            }
            (false, None) => {}
        }
    }
    blocks
}

/// Ids of containers and images, which differ from run to run, become `ID`; blank lines are left out.
fn normalised(text: &str) -> String {
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    lines.map(|line| line.split(' ').map(without_id).collect::<Vec<_>>().join(" ") + "\n").collect()
}

fn without_id(word: &str) -> &str {
    let is_id = word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { "ID" } else { word }
}
