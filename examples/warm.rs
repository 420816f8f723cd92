//! Measures what it saves to have a sandbox made ahead: from spawn to the workload's exec and to its end, out of a pool and
//! without one, in turn, in one run; and what one that waits costs. The table of docs/performance.md.
//!
//! `cargo build --release --example warm && target/x86_64-unknown-linux-gnu/release/examples/warm [REPEATS] [INIT]`

#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use launch::{Child, Command, Network, Outcome, Pool};

type Change = fn(&mut Command);
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is started: x86_64 code that ends at once, without a C library, whose own start would be most of what is measured.
const NOTHING: [u8; 9] = [0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]; // mov eax, 60; xor edi, edi; syscall

/// How many wait where it is measured what one costs.
const WAITING: usize = 200;

fn main() -> Result<()> {
    launch::become_init_if_asked();
    let mut arguments = std::env::args_os().skip(1);
    let repeats = arguments.next().map_or(Ok(501), |number| number.to_string_lossy().parse())?;
    let init = arguments.next().map(PathBuf::from);
    let folder = Folder::new()?;
    let program = folder.program()?;
    let with = |change: Change, mut command: Command| {
        change(&mut command);
        if let Some(init) = &init {
            command.init_file(init);
        }
        command.current_dir("/");
        command
    };
    let cases: [(&str, Change); 3] = [
        ("network shared", |_| {}),
        ("network of its own", |command| {
            command.network(Network::None);
        }),
        ("read-only, no user namespaces, a small /dev", |command| {
            command.network(Network::None).read_only().no_user_namespaces();
        }),
    ];
    println!("| | from spawn to | cold | warm | warm / cold |");
    println!("|---|---|---|---|---|");
    for (name, change) in cases {
        let mut command = with(change, Command::new(&program));
        let pool = Pool::new(&with(change, Command::template()), 1)?;
        let (mut cold, mut warm) = (Times::default(), Times::default());
        for _ in 0..repeats {
            cold.add(|| command.spawn())?;
            // What is given out now has been made by then.
            pool.fill()?;
            warm.add(|| pool.spawn([&program]))?;
        }
        row(name, "exec", &mut cold.executed, &mut warm.executed);
        row("", "end", &mut cold.ended, &mut warm.ended);
    }
    let before = (kernel_memory()?, children()?);
    let pool = Pool::new(&with(|_| {}, Command::template()), WAITING)?;
    let kernel = kernel_memory()?.saturating_sub(before.0) / WAITING as u64;
    let pss =
        children()?.iter().filter(|pid| !before.1.contains(pid)).map(|pid| pss(pid)).collect::<Vec<_>>();
    println!();
    match pss.iter().copied().sum::<Option<u64>>() {
        Some(sum) => println!("one of {WAITING} that wait: {} KiB of PSS", sum / WAITING as u64),
        None => println!("one that waits shows its memory to nobody but root"),
    }
    println!("and of the kernel's (slabs, stacks, page tables, per CPU; roughly): {kernel} KiB");
    let start = Instant::now();
    drop(pool);
    println!("to end all {WAITING}: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

/// How long each took.
#[derive(Default)]
struct Times {
    executed: Vec<Duration>,
    ended: Vec<Duration>,
}

impl Times {
    fn add(&mut self, spawn: impl FnOnce() -> std::result::Result<Child, launch::Error>) -> Result<()> {
        let start = Instant::now();
        let mut child = spawn()?;
        self.executed.push(start.elapsed());
        let outcome = child.wait()?;
        self.ended.push(start.elapsed());
        if outcome == Outcome::Exited(0) { Ok(()) } else { Err(format!("it ended as {outcome:?}").into()) }
    }
}

/// Medians, with the tenth and the ninetieth of a hundred.
fn row(name: &str, to: &str, cold: &mut [Duration], warm: &mut [Duration]) {
    let [cold, warm] = [cold, warm].map(|times| {
        times.sort();
        [2, 5, 10, 18].map(|part| times[(times.len() - 1) * part / 20].as_secs_f64() * 1e6)
    });
    let text = |[_, _, median, _]: [f64; 4]| format!("{median:.0} µs");
    let spread = |[low, _, _, high]: [f64; 4]| format!("({low:.0} to {high:.0})");
    let ratio = warm[2] / cold[2];
    println!(
        "| {name} | {to} | {} {} | {} {} | {ratio:.2} |",
        text(cold),
        spread(cold),
        text(warm),
        spread(warm)
    );
}

fn children() -> Result<Vec<String>> {
    let all = fs::read_to_string("/proc/thread-self/children")?;
    Ok(all.split_whitespace().map(str::to_owned).collect())
}

/// In KiB; none where it may not be seen.
fn pss(pid: &str) -> Option<u64> {
    number_of(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:")
}

/// In KiB, of the whole machine.
fn kernel_memory() -> Result<u64> {
    let all = fs::read_to_string("/proc/meminfo")?;
    let parts = ["Slab:", "KernelStack:", "PageTables:", "Percpu:"];
    Ok(parts.iter().filter_map(|name| number_of(&all, name)).sum())
}

fn number_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().trim_end_matches(" kB").parse().ok())
}

/// A folder that every sandbox sees, gone when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        // Not in /tmp, which is a fresh one inside.
        let folder = Path::new("/var/tmp").join(format!("launch-warm-{}", std::process::id()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    /// The workload: [`NOTHING`] as an ELF file (elf(5)), or else `true`.
    fn program(&self) -> Result<PathBuf> {
        if !cfg!(target_arch = "x86_64") {
            return Ok("/bin/true".into());
        }
        const BASE: u64 = 0x40_0000;
        const HEADERS: u64 = 64 + 56;
        let size = HEADERS + NOTHING.len() as u64;
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        // ET_EXEC, EM_X86_64, EV_CURRENT
        file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
        // Entry; where the program and section headers are.
        [BASE + HEADERS, 64, 0].iter().for_each(|number| file.extend(number.to_le_bytes()));
        // Flags; the sizes of the headers and their numbers.
        file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
        // PT_LOAD, readable and executable; offset, address, physical address, both sizes, alignment.
        file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
        [0, BASE, BASE, size, size, 0x1000].iter().for_each(|number| file.extend(number.to_le_bytes()));
        file.extend(NOTHING);
        let path = self.0.join("nothing");
        fs::write(&path, file)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}
