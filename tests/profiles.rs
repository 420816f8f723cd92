//! The built-in profiles at work: what each is for, with real programs, and what `strict` promises.

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use std::io::{Read, Write};

use nix::sys::signal::Signal;
use support::session::Session;
use support::{
    Caller, Folder, Running, callers, cannot_run, code, marker, mounts_in, processes_with, program, run,
    stdout_of, text, until,
};

/// Whether all of these programs are installed; said loudly where not.
fn has(what: &str, programs: &[&str]) -> bool {
    let folders = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
    let is_missing = |name: &&&str| !folders.iter().any(|folder| Path::new(folder).join(name).exists());
    match programs.iter().find(is_missing) {
        Some(missing) => cannot_run(what, &format!("{missing} is not installed")),
        None => return true,
    }
    false
}

/// A caller with a home and a directory to work in.
struct Desk {
    caller: Caller,
    folder: Folder,
    home: String,
    project: String,
}

impl Desk {
    fn of(caller: Caller) -> Self {
        let folder = Folder::of(caller);
        let (home, project) = (folder.directory("home"), folder.directory("project"));
        folder.file("home/secret", "nobody else's\n");
        Self { caller, folder, home, project }
    }

    /// A file of the caller's in the project.
    fn file(&self, name: &str, content: &str) {
        self.folder.file(&format!("project/{name}"), content);
    }

    /// A command of the caller's own, in the project, with nothing of the tests' environment.
    fn at_work(&self, mut command: Command) -> Command {
        command.env_clear().env("HOME", &self.home).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LC_ALL", "C").env("TEST", self.marker()).current_dir(&self.project);
        command
    }

    /// `launch OPTIONS… -- COMMAND…`
    fn launch(&self, options: &[&str], command: &[&str]) -> Command {
        self.at_work(self.caller.launch([options, &["--"], command].concat()))
    }

    /// `launch OPTIONS… -- sh -c SCRIPT`
    fn shell(&self, options: &[&str], script: &str) -> Command {
        self.launch(options, &["sh", "-c", script])
    }

    /// `launch --profile strict -- sh -c SCRIPT` in the home, which is there whatever is private.
    fn strict(&self, script: &str) -> Command {
        let mut command = self.shell(STRICT, script);
        command.current_dir(&self.home);
        command
    }

    /// What this prints outside of every sandbox.
    #[track_caller]
    fn outside(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = self.caller.command(program);
        command.args(arguments).stdin(Stdio::null());
        stdout_of(&mut self.at_work(command))
    }

    fn marker(&self) -> String {
        marker(&self.home)
    }
}

/// The exit code, stdout and stderr.
#[track_caller]
fn result(command: &mut Command) -> (i32, String, String) {
    let output = run(command);
    (code(output.status), text(&output.stdout), text(&output.stderr))
}

const BUILD: &[&str] = &["--profile", "build"];
const STRICT: &[&str] = &["--profile", "strict"];

/// A program in C of two files and a header.
fn write_c_project(desk: &Desk) {
    desk.file("answer.h", "int answer(void);\n");
    desk.file("answer.c", "#include \"answer.h\"\nint answer(void) { return 42; }\n");
    let main = "#include <stdio.h>\n#include \"answer.h\"\nint main(void) { return printf(\"%d\\n\", answer()) != 3; }\n";
    desk.file("main.c", main);
    let makefile = "program: main.o answer.o\n\tcc -o $@ $^\n%.o: %.c answer.h\n\tcc -c -o $@ $<\n";
    desk.file("Makefile", makefile);
}

const MADE: &str = "cc -c -o main.o main.c\ncc -c -o answer.o answer.c\ncc -o program main.o answer.o\n";
const C_SOURCES: [&str; 4] = ["Makefile", "answer.c", "answer.h", "main.c"];

#[test]
fn under_build_make_compiles_a_c_project_into_the_working_directory() {
    if !has("a C project under build", &["make", "gcc", "cc"]) {
        return;
    }
    for desk in callers().into_iter().map(Desk::of) {
        write_c_project(&desk);
        assert_eq!(stdout_of(&mut desk.launch(BUILD, &["make"])), MADE);
        assert_eq!(
            desk.folder.list("project"),
            ["Makefile", "answer.c", "answer.h", "answer.o", "main.c", "main.o", "program"]
        );
        let program = fs::metadata(desk.folder.path("project/program")).expect("program");
        assert_eq!((program.uid(), program.gid()), (desk.caller.uid(), desk.caller.gid()));
        assert_eq!(desk.outside("./program", &[]), "42\n");
        assert_eq!(stdout_of(&mut desk.launch(BUILD, &["make"])), "make: 'program' is up to date.\n");
        assert_eq!(stdout_of(&mut desk.launch(BUILD, &["./program"])), "42\n");
    }
}

#[test]
fn under_strict_make_has_what_is_bound_to_it() {
    if !has("a C project under strict", &["make", "gcc", "cc"]) {
        return;
    }
    for desk in callers().into_iter().map(Desk::of) {
        write_c_project(&desk);
        // The working directory is a private place like all of /var/tmp, and not there.
        let (code, printed, said) = result(&mut desk.launch(STRICT, &["make"]));
        // Which of the two comes first is open.
        let mut lines: Vec<_> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!((code, printed.as_str(), lines.len()), (2, "", 2), "{said}");
        assert!(lines[0].starts_with("launch: warning: working directory: "), "{said}");
        assert_eq!(lines[1], "make: *** No targets specified and no makefile found.  Stop.");
        let with = |bind| [STRICT, &[bind, "."]].concat();
        let (code, printed, said) = result(&mut desk.launch(&with("--ro-bind"), &["make"]));
        assert_eq!((code, printed.as_str()), (2, "cc -c -o main.o main.c\n"), "{said}");
        assert!(said.contains("can't create main.o: Read-only file system"), "{said}");
        assert_eq!(desk.folder.list("project"), C_SOURCES);
        assert_eq!(stdout_of(&mut desk.launch(&with("--bind"), &["make"])), MADE);
        assert_eq!(desk.outside("./program", &[]), "42\n");
    }
}

#[test]
fn under_build_only_the_working_directory_can_be_written_to_and_there_is_no_network() {
    for desk in callers().into_iter().map(Desk::of) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let script = format!(
            "for f in / /usr /etc /var /var/lib /sys ~; do touch $f/by-launch; done 2>&1 | sed 's/.*: //' | sort | uniq -c
             cat ~/secret; ls -A /tmp /var/tmp/* /run 2>/dev/null
             tail -n +3 /proc/net/dev | cut -d: -f1
             bash -c 'echo > /dev/tcp/127.0.0.1/{port}' 2>&1 | head -n 1
             echo > made; id -u; id -g; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status"
        );
        // Both lie in a place that is private.
        let folder = desk.folder.path("");
        let expected = format!(
            "      7 Read-only file system\nnobody else's\n/run:\n\n/tmp:\n\n{folder}:\nhome\nproject\n    lo\nbash: connect: Connection refused\n{}\n{}\nNoNewPrivs:\t1\nSeccomp:\t2\n",
            desk.caller.uid(),
            desk.caller.gid()
        );
        assert_eq!(stdout_of(&mut desk.shell(BUILD, &script)), expected);
        assert_eq!(desk.folder.list("project"), ["made"]);
        // `--net host` brings it back.
        let options = [BUILD, &["--net", "host"]].concat();
        let connect = format!("echo > /dev/tcp/127.0.0.1/{port}");
        assert_eq!(stdout_of(&mut desk.launch(&options, &["bash", "-c", &connect])), "");
    }
}

/// A package that is its own build backend, so that nothing else is needed to make a wheel of it (PEP 517).
fn write_python_package(desk: &Desk) {
    desk.folder.directory("project/greeting");
    let project = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n\
                   [project]\nname = 'greeting'\nversion = '1.2'\n";
    desk.file("greeting/pyproject.toml", project);
    let backend = r#"
import os, zipfile

INFO = "greeting-1.2.dist-info/"
FILES = {
    "greeting.py": "def main():\n    print('hello from the venv')\n",
    INFO + "METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.2\n",
    INFO + "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    INFO + "entry_points.txt": "[console_scripts]\ngreet = greeting:main\n",
}

def build_wheel(directory, settings=None, metadata=None):
    name = "greeting-1.2-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        for path, content in FILES.items():
            wheel.writestr(path, content)
        wheel.writestr(INFO + "RECORD", "".join(path + ",,\n" for path in [*FILES, INFO + "RECORD"]))
    return name
"#;
    desk.file("greeting/backend.py", backend);
}

#[test]
fn under_build_pip_installs_a_local_package_into_a_venv() {
    if !has("pip under build", &["python3"]) {
        return;
    }
    if !Command::new("/usr/bin/python3").args(["-c", "import ensurepip"]).status().expect("python3").success()
    {
        return cannot_run("pip under build", "python3-venv is not installed");
    }
    for desk in callers().into_iter().map(Desk::of) {
        write_python_package(&desk);
        let script = "python3 -m venv env && env/bin/pip install --quiet --no-cache-dir --no-index ./greeting && env/bin/greet";
        let mut install = desk.shell(BUILD, script);
        // Whatever the machine's own settings say.
        install.env("PIP_CONFIG_FILE", "/dev/null");
        assert_eq!(stdout_of(&mut install), "hello from the venv\n");
        assert_eq!(desk.outside("env/bin/greet", &[]), "hello from the venv\n");
        let freeze = desk.outside("env/bin/pip", &["--isolated", "freeze", "--disable-pip-version-check"]);
        assert_eq!(freeze, format!("greeting @ file://{}/greeting\n", desk.project));
        assert_eq!(desk.folder.list("home"), ["secret"]);
    }
}

#[test]
fn under_build_git_commits() {
    if !has("git under build", &["git"]) {
        return;
    }
    for desk in callers().into_iter().map(Desk::of) {
        desk.folder.file("home/.gitconfig", "[user]\nname = A U Thor\nemail = author@example.org\n");
        desk.file("file", "content\n");
        let script = "git init -q -b main && git add file && git commit -q -m 'Add a file' && git status --short --branch";
        assert_eq!(stdout_of(&mut desk.shell(BUILD, script)), "## main\n");
        let log = ["log", "--format=%an <%ae> %s", "--name-status"];
        let logged = "A U Thor <author@example.org> Add a file\n\nA\tfile\n";
        assert_eq!(desk.outside("git", &log), logged);
        assert_eq!(stdout_of(&mut desk.launch(BUILD, &[&["git"], &log[..]].concat())), logged);
        assert_eq!(desk.outside("git", &["fsck", "--strict"]), "");
    }
}

/// Whether a process of this name sleeps in its terminal's foreground; proc_pid_stat(5).
fn is_in_front(name: &str, marker: &str) -> bool {
    processes_with(marker).into_iter().any(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Name, state, ppid, pgrp, session, terminal, pgrp of its foreground.
        let fields: Vec<_> = stat.split(' ').skip(1).collect();
        fields.len() > 6 && fields[..2] == [name, "S"] && fields[3] == fields[6]
    })
}

#[test]
fn an_interactive_shell_under_strict_has_job_control_and_an_empty_home_that_is_gone_afterwards() {
    for desk in callers().into_iter().map(Desk::of) {
        let home = format!("HOME={}", desk.home);
        let program = program().display().to_string();
        let words = [
            &["env", "-C", &desk.home, &home, "LC_ALL=C", &program, "--profile", "strict", "--tty", "--"][..],
            &["bash", "--norc", "--noprofile", "--noediting", "-i"],
        ];
        let mut session = Session::start(desk.caller, &words.concat());
        session.shows("inside> ");
        let mut prints = |command: &str, printed: &str| {
            session.types(&format!("{command}\n"));
            let shown = format!("{command}\n{printed}").replace('\n', "\r\n");
            assert_eq!(session.shows("inside> "), shown, "{command}");
        };
        prints("pwd; ls -A; tty; id -u", &format!("{}\n/dev/pts/0\n{}\n", desk.home, desk.caller.uid()));
        prints("echo typed > file; cat file", "typed\n");
        prints("cat ../home/secret", "cat: ../home/secret: No such file or directory\n");
        session.types("sleep 100\n");
        until("the job is in the foreground", || is_in_front("(sleep)", &session.marker).then_some(()));
        session.types("\x1a");
        session.shows("[1]+  Stopped                 sleep 100\r\n");
        session.shows("inside> ");
        session.types("fg\n");
        until("the job is in the foreground again", || is_in_front("(sleep)", &session.marker).then_some(()));
        session.types("\x03");
        session.shows("inside> ");
        session.types("echo it was $?; exit 7\n");
        session.shows("\nit was 130\r\n");
        let (_, status) = session.ends();
        assert_eq!(code(status), 7);
        assert_eq!(desk.folder.list("home"), ["secret"]);
    }
}

#[test]
fn under_strict_nothing_outside_can_be_written_to_and_what_is_private_can() {
    for desk in callers().into_iter().map(Desk::of) {
        let script = r#"
            for f in / /usr /etc /var /var/lib /opt /boot /sys /sys/fs/cgroup; do touch $f/by-launch; done 2>&1 |
                sed 's/.*: //' | sort | uniq -c
            for f in ~ /home /root /run /tmp; do
                echo "$(ls -A $f):$(stat -c %u:%g $f)"; echo mine > $f/file && cat $f/file
            done"#;
        let (code, printed, _) = result(&mut desk.strict(script));
        let owner = format!(":{}:{}\nmine\n", desk.caller.uid(), desk.caller.gid());
        assert_eq!((code, printed), (0, format!("      9 Read-only file system\n{}", owner.repeat(5))));
        assert_eq!(desk.folder.list("home"), ["secret"]);
        for path in ["/run/file", "/root/file", "/home/file"] {
            assert!(!Path::new(path).exists(), "{path}");
        }
    }
}

#[test]
fn under_strict_every_mount_is_read_only_but_the_private_ones() {
    for desk in callers().into_iter().map(Desk::of) {
        let table = stdout_of(&mut desk.strict("cat /proc/self/mountinfo"));
        let mounts = mounts_in(&table);
        // What is mounted at a path last covers all that was mounted there before.
        let seen = |at: &str| mounts.iter().rfind(|mount| mount.at == at);
        let is_writable = |at: &&str| seen(at).is_some_and(|mount| mount.options.starts_with("rw"));
        let mut writable: Vec<_> = mounts.iter().map(|mount| mount.at.as_str()).filter(is_writable).collect();
        writable.sort_unstable();
        writable.dedup();
        let devices = ["null", "zero", "full", "random", "urandom", "tty"].map(|name| format!("/dev/{name}"));
        let fixed = ["/dev", "/dev/pts", "/home", "/proc", "/root", "/run", "/tmp", "/var/tmp", &desk.home];
        let mut expected: Vec<_> = fixed.into_iter().chain(devices.iter().map(String::as_str)).collect();
        expected.sort_unstable();
        assert_eq!(writable, expected, "{table}");
    }
}

#[test]
fn under_strict_there_are_no_privileges_and_no_way_to_more() {
    for desk in callers().into_iter().map(Desk::of) {
        let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status
                      id -u; id -g; ulimit -Hc
                      unshare --user true
                      unshare --map-root-user true
                      ls -A /dev";
        let (code, printed, said) = result(&mut desk.strict(script));
        let none = "0000000000000000";
        let expected = format!(
            "CapInh:\t{none}\nCapPrm:\t{none}\nCapEff:\t{none}\nCapBnd:\t{none}\nCapAmb:\t{none}\nNoNewPrivs:\t1\nSeccomp:\t2\n\
             {}\n{}\n0\ncore\nfd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n",
            desk.caller.uid(),
            desk.caller.gid()
        );
        assert_eq!((code, printed), (0, expected), "{said}");
        assert_eq!(said, "unshare: unshare failed: No space left on device\n".repeat(2));
    }
}

#[test]
fn under_strict_there_is_no_network_and_no_socket_of_the_outside() {
    for desk in callers().into_iter().map(Desk::of) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("address").port();
        let sockets = desk.folder.path("socket");
        let _listener = UnixListener::bind(&sockets).expect("bind");
        let namespace = fs::read_link("/proc/self/ns/net").expect("namespace");
        let script = format!(
            "tail -n +3 /proc/net/dev | cut -d: -f1; tail -n +2 /proc/net/route; wc -l < /proc/net/unix
             bash -c 'echo > /dev/tcp/127.0.0.1/{port}' 2>&1 | head -n 1
             bash -c 'echo > /dev/tcp/192.0.2.1/80' 2>&1 | head -n 1
             [ $(readlink /proc/self/ns/net) != '{}' ] && echo another
             [ -e {sockets} ] || echo gone; find / -xdev -type s 2>/dev/null",
            namespace.display()
        );
        let expected = "    lo\n1\nbash: connect: Connection refused\nbash: connect: Network is unreachable\nanother\ngone\n";
        let (_, printed, said) = result(&mut desk.strict(&script));
        assert_eq!(printed, expected, "{said}");
    }
}

#[test]
fn under_strict_a_home_is_hidden_wherever_it_is() {
    for desk in callers().into_iter().map(Desk::of) {
        // A symbolic link, in a place that is private anyway and elsewhere, leads to it; or there is none.
        let link = desk.folder.link(&desk.home, "link");
        for (home, printed) in [(link.as_str(), "no\n0\nfile\n"), ("/", "no\n"), ("/nonexistent", "no\n")] {
            let look = format!("[ -e {}/secret ] && echo yes || echo no", desk.home);
            let script = match printed {
                "no\n" => look,
                _ => format!("{look}; ls -A ~ | wc -l; touch ~/file; ls -A ~"),
            };
            let (code, out, said) = result(desk.strict(&script).env("HOME", home));
            assert_eq!((code, out.as_str()), (0, printed), "{home}: {said}");
        }
        assert_eq!(desk.folder.list("home"), ["secret"]);
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port()
}

/// What a server answers to this, until it closes the connection or has said so many lines.
#[track_caller]
fn answer(server: &mut Running, port: u16, request: &str) -> String {
    let mut connection = until("the server listens", || {
        assert_eq!(server.child().try_wait().expect("wait"), None, "the server has ended");
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    connection.set_read_timeout(Some(support::DEADLINE)).expect("timeout");
    connection.write_all(request.as_bytes()).expect("write");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("read");
    answer
}

/// The parent of a process, while there is one; proc_pid_stat(5).
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[test]
fn under_service_nginx_answers_and_ends_by_sigterm() {
    if !has("nginx under service", &["nginx"]) {
        return;
    }
    for desk in callers().into_iter().map(Desk::of) {
        let (port, project) = (free_port(), &desk.project);
        desk.folder.directory("project/site");
        desk.file("site/index.html", "served from inside\n");
        // What of nginx is compiled in leads to directories of Debian's, which are read-only here.
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path /tmp/{kind};"))
            .concat();
        // As root it changes its user, as Debian's does.
        let user = if desk.caller == Caller::Root { "user www-data;" } else { "" };
        let configuration = format!(
            "{user} daemon off; pid /run/nginx.pid; error_log stderr warn; worker_processes 1; events {{}}\n\
             http {{ access_log {project}/access.log; {paths} server {{ listen 127.0.0.1:{port}; root {project}/site; }} }}\n"
        );
        desk.file("nginx.conf", &configuration);
        let mut options = vec!["--profile", "service", "--bind", "."];
        if desk.caller == Caller::Root {
            options.extend(["--share", "user"]);
        }
        let configuration_file = format!("{project}/nginx.conf");
        let command = ["nginx", "-e", "stderr", "-c", &configuration_file];
        let mut launch = desk.launch(&options, &command);
        let mut server = Running::start(launch.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let request = "GET / HTTP/1.0\r\n\r\n";
        let answer = answer(&mut server, port, request);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert_eq!((head.lines().next(), body), (Some("HTTP/1.1 200 OK"), "served from inside\n"));
        // What nginx calls itself stands where its environment was.
        let master = processes_with(&configuration_file);
        let workers: Vec<_> = processes_with("nginx: worker process")
            .into_iter()
            .filter(|worker| parent(*worker).is_some_and(|parent| master.contains(&parent)))
            .map(|pid| fs::metadata(format!("/proc/{pid}")).expect("a worker").uid())
            .collect();
        let www_data = 33;
        let user = if desk.caller == Caller::Root { www_data } else { desk.caller.uid() };
        assert_eq!(workers, [user]);
        server.signal(Signal::SIGTERM);
        let output = server.output();
        assert_eq!((code(output.status), text(&output.stderr)), (0, String::new()));
        assert_eq!(desk.folder.read("project/access.log").matches("\"GET / HTTP/1.0\" 200 19").count(), 1);
        assert_eq!(processes_with(&configuration_file), [0; 0]);
    }
}

#[test]
fn under_service_redis_answers_and_saves_its_data_at_sigterm() {
    if !has("redis under service", &["redis-server"]) {
        return;
    }
    for desk in callers().into_iter().map(Desk::of) {
        let port = free_port().to_string();
        let serve = |request: &str| {
            let options = ["--profile", "service", "--bind", "."];
            let command = ["redis-server", "--port", &port, "--bind", "127.0.0.1", "--dir", &desk.project];
            let mut launch = desk.launch(&options, &command);
            let mut server = Running::start(launch.stdout(Stdio::piped()).stderr(Stdio::piped()));
            let answer = answer(&mut server, port.parse().expect("port"), request);
            server.signal(Signal::SIGTERM);
            let output = server.output();
            let log = text(&output.stdout);
            assert_eq!((code(output.status), text(&output.stderr)), (0, String::new()), "{log}");
            assert!(log.contains("DB saved on disk"), "{log}");
            answer
        };
        assert_eq!(serve("PING\r\nSET key value\r\nQUIT\r\n"), "+PONG\r\n+OK\r\n+OK\r\n");
        assert_eq!(desk.folder.list("project"), ["dump.rdb"]);
        // The next one has it.
        assert_eq!(serve("GET key\r\nQUIT\r\n"), "$5\r\nvalue\r\n+OK\r\n");
        assert_eq!(processes_with(&desk.marker()), [0; 0]);
    }
}

#[test]
fn under_service_the_system_is_read_only_and_an_ordinary_user_has_no_capability() {
    for desk in callers().into_iter().map(Desk::of) {
        let script = "for f in / /usr /etc /var/lib /var/log /var/cache ~; do touch $f/by-launch; done 2>&1 |
                          sed 's/.*: //' | sort | uniq -c
                      for f in /run /tmp /var/tmp; do echo > $f/file && ls $f; done
                      grep -E '^(CapEff|CapAmb|NoNewPrivs|Seccomp:)' /proc/self/status; id -u; ulimit -Hc
                      readlink /proc/self/ns/net";
        // The home is below /var/tmp, which is another one here.
        let options = ["--profile", "service", "--ro-bind", &desk.home];
        let printed = stdout_of(&mut desk.shell(&[&options[..], &["--chdir", "/"]].concat(), script));
        let root = desk.caller == Caller::Root;
        let expected = format!(
            "      7 Read-only file system\nfile\nfile\n{}\nfile\nCapEff:\t{}\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n{}\n0\n{}\n",
            Path::new(&desk.folder.path("")).file_name().expect("name").display(),
            // NET_BIND_SERVICE, SETUID, SETGID, KILL, FOWNER, DAC_OVERRIDE, CHOWN
            if root { "00000000000004eb" } else { "0000000000000000" },
            desk.caller.uid(),
            fs::read_link("/proc/self/ns/net").expect("namespace").display()
        );
        assert_eq!(sorted(&printed), sorted(&expected));
    }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}
