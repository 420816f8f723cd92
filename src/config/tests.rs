//! What becomes of a command line with files, and which of them are refused.

#![forbid(unsafe_code)]

use clap::Arg;
use clap::ArgAction::{Append, Count, SetTrue};

use super::keys::{Layer, STEPS};
use super::*;

fn homes() -> Homes {
    Homes::from_variables(None, Some("/home/me".into()))
}

pub(super) fn source(name: &str, text: &str) -> Source {
    Source { name: name.into(), text: text.into(), is_built_in: false }
}

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

/// The command line that comes of this one, `box.toml` of this text, and profiles, by their names.
fn merged_by(
    definition: &clap::Command,
    line: &str,
    config: &str,
    profiles: &[(&str, &str)],
) -> Result<Arguments, Error> {
    let line = CommandLine::read(definition, words(line))?;
    let find = |name: &OsStr| match profiles.iter().find(|(known, _)| *known == name) {
        Some((name, text)) => Ok(source(&format!("{name}.toml"), text)),
        None => Err(Error::Config(name.into(), "unknown".into())),
    };
    let config = Some(config).filter(|text| !text.is_empty()).map(|text| source("box.toml", text));
    let layers = stack(definition, config, line.files.profile.clone(), find, &homes().home)?;
    Ok(merge(definition, line, layers))
}

fn merged(line: &str, config: &str, profiles: &[(&str, &str)]) -> Result<Arguments, Error> {
    merged_by(&built(cli::definition()), line, config, profiles)
}

#[track_caller]
fn tokens(line: &str, config: &str, profiles: &[(&str, &str)]) -> String {
    let arguments = merged(line, config, profiles).unwrap_or_else(|error| panic!("{config}: {error}"));
    arguments.tokens.join(OsStr::new(" ")).into_string().expect("UTF-8")
}

#[track_caller]
fn refused(config: &str) -> String {
    match merged("launch -- x", config, &[("base", ""), ("a", "profile = 'b'"), ("b", "profile = 'a'")]) {
        Err(error) => {
            assert_eq!(error.exit_code(), 125);
            error.to_string()
        }
        Ok(arguments) => panic!("{config}: {arguments:?}"),
    }
}

#[test]
fn a_key_becomes_an_option_in_front_of_the_command_lines() {
    for (config, expected) in [
        ("hostname = 'a b'", "--hostname=a b"),
        ("hostname = ''", "--hostname="),
        ("hostname = '--'", "--hostname=--"),
        ("uid = 1_000", "--uid=1000"),
        ("uid = +7", "--uid=7"),
        ("uid = '7'", "--uid=7"),
        ("keep-tmp = true", "--keep-tmp"),
        ("keep-tmp = false", ""),
        ("verbose = true", "--verbose"),
        ("verbose = 2", "--verbose --verbose"),
        ("verbose = 0", ""),
        ("env = 'A=1'", "--env=A=1"),
        ("env = ['B=2', 'A=1']", "--env=B=2 --env=A=1"),
        ("env = []", ""),
        ("keep-fd = [3, '4']", "--keep-fd=3 --keep-fd=4"),
        ("unset-env = 'B'\nenv = 'A=1'\ngid = 1", "--unset-env=B --env=A=1 --gid=1"),
        ("# nothing", ""),
    ] {
        let line = tokens("launch -- x", config, &[]);
        assert_eq!(line, format!("launch {expected} -- x").replace("  ", " "), "{config}");
    }
}

#[test]
fn steps_keep_options_of_different_kinds_in_their_order() {
    let tables = "uid = 1\n[[steps]]\nenv = 'A=1'\n[[steps]]\nunset-env = ['B', 'C']\n[[steps]]\nenv = 'D='";
    let expected = "launch --uid=1 --env=A=1 --unset-env=B --unset-env=C --env=D= -- x";
    assert_eq!(tokens("launch -- x", tables, &[]), expected);
    let in_place = "env = 'A=1'\nsteps = [{unset-env = 'B'}, {env = 'C='}]\nuid = 1";
    let expected = "launch --env=A=1 --unset-env=B --env=C= --uid=1 -- x";
    assert_eq!(tokens("launch -- x", in_place, &[]), expected);
}

#[test]
fn no_option_is_such_that_a_file_could_not_give_it_or_a_word_be_taken_for_another() {
    for argument in built(cli::definition()).get_arguments() {
        assert_ne!(argument.get_long(), Some(STEPS));
        assert!(!argument.is_allow_hyphen_values_set(), "{argument}: flags() looks at every word");
        let takes_more = argument.get_num_args().is_some_and(|count| count.max_values() > 1);
        assert!(argument.is_positional() || !takes_more, "{argument}: a token has one value");
    }
}

#[test]
fn the_command_line_wins_over_config_and_that_over_profiles() {
    let profiles = [
        ("low", "hostname = 'low'\ndomainname = 'low'\nuid = 1\nenv = 'P=low'\nkeep-tmp = true"),
        ("mid", "profile = 'low'\nhostname = 'mid'\nenv = 'P=mid'"),
    ];
    for (line, config, expected) in [
        (
            "--profile mid",
            "",
            "--domainname=low --uid=1 --env=P=low --keep-tmp --hostname=mid --env=P=mid --profile mid",
        ),
        (
            "--profile mid",
            "hostname = 'c'",
            "--domainname=low --uid=1 --env=P=low --keep-tmp --env=P=mid --hostname=c --profile mid",
        ),
        (
            "--profile low --hostname l --env A=1",
            "",
            "--domainname=low --uid=1 --env=P=low --keep-tmp --profile low --hostname l --env A=1",
        ),
        (
            "--uid=3 --domainname l",
            "profile = 'low'\nkeep-tmp = false",
            "--hostname=low --env=P=low --uid=3 --domainname l",
        ),
        // The command line's profile is in the place of the file's.
        (
            "--profile=low",
            "profile = 'mid'\nhostname = 'c'",
            "--domainname=low --uid=1 --env=P=low --keep-tmp --hostname=c --profile=low",
        ),
        // One that rules out the other.
        ("--keep-id", "uid = 1\ngid = 1\nhostname = 'c'", "--hostname=c --keep-id"),
        ("--gid 1", "keep-id = true", "--gid 1"),
        (
            "--profile low",
            "keep-id = true",
            "--hostname=low --domainname=low --env=P=low --keep-tmp --keep-id --profile low",
        ),
        (
            "--profile low",
            "keep-id = false",
            "--hostname=low --domainname=low --uid=1 --env=P=low --keep-tmp --profile low",
        ),
        // Flags, undone and repeated.
        ("--keep-tmp=false", "keep-tmp = true", ""),
        ("--keep-tmp=true", "", "--keep-tmp"),
        ("--keep-tmp", "keep-tmp = true", "--keep-tmp"),
        ("--keep-id=false", "uid = 1", "--uid=1"),
        ("-v", "verbose = 2", "-v"),
        ("--verbose=false", "verbose = 2", ""),
        ("-t", "tty = true", "-t"),
    ] {
        let expected = words(&format!("launch {expected} -- x --keep-tmp=false")).join(OsStr::new(" "));
        let real = tokens(&format!("launch {line} -- x --keep-tmp=false"), config, &profiles);
        assert_eq!(OsString::from(real), expected, "{line}, {config:?}");
    }
}

#[test]
fn what_a_key_needs_and_what_it_rules_out_may_stand_elsewhere() {
    let definition = built(
        clap::Command::new("launch")
            .arg(Arg::new("keep").long("keep").requires("volatile"))
            .arg(Arg::new("volatile").long("volatile").action(SetTrue))
            .arg(Arg::new("bind").long("bind").action(Append).conflicts_with("alone"))
            .arg(Arg::new("alone").long("alone").exclusive(true).action(Count))
            .arg(Arg::new("config").long("config"))
            .arg(Arg::new("profile").long("profile"))
            .arg(Arg::new("must").long("must").required(true)),
    );
    for (line, config, profile, expected) in [
        ("--keep d", "volatile = true", "", "--volatile --keep d"),
        ("", "keep = 'd'", "volatile = true", "--volatile --keep=d"),
        ("--alone", "bind = ['a', 'b']\nvolatile = true", "", "--volatile --alone"),
        ("--bind c", "alone = true", "", "--bind c"),
    ] {
        let line = format!("launch --profile p --must m {line}");
        let real = merged_by(&definition, &line, config, &[("p", profile)]).expect("merged").tokens;
        let real = real.join(OsStr::new(" ")).into_string().expect("UTF-8");
        let normal = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            real.replace(" --profile p --must m", ""),
            normal(&format!("launch {expected}")),
            "{config}"
        );
    }
}

#[test]
fn a_wrong_key_or_value_is_named_with_its_file() {
    for (config, expected) in [
        ("uid = 'x'", "uid: \"x\" is no id: they go from 0 to 4294967294"),
        ("uid = -1", "uid: \"-1\" is no id: they go from 0 to 4294967294"),
        ("uid = 0x10", "uid: 0x10 is not decimal; write it as a string"),
        ("uid = 1.5", "uid: expected a string or a whole number, not a number with a fraction"),
        ("uid = true", "uid: expected a string or a whole number, not true"),
        ("uid = [1]", "uid: can be given only once; expected a string or a whole number, not an array"),
        ("[uid]", "uid: expected a string or a whole number, not a table"),
        ("uid = 2000-01-01", "uid: expected a string or a whole number, not a date or time"),
        ("env = true", "env: expected a string, a whole number, or an array of these, not true"),
        (
            "env = ['A=', ['B=']]",
            "env: expected a string, a whole number, or an array of these, not an array",
        ),
        ("keep-tmp = 'true'", "keep-tmp: expected true or false, not a string"),
        ("keep-tmp = 1", "keep-tmp: expected true or false, not 1"),
        ("verbose = 256", "verbose: expected true, false, or how often, up to 255, not 256"),
        ("hostname = 'a'\n[[steps]]\nhostname = 'b'", "hostname: was given more than once"),
        ("hostname = \"a\\u0000\"", "hostname: has a NUL character, which no argument can have"),
        ("net = 'moon'", "net: \"moon\" is none of host, none"),
        ("chdir = ''", "chdir: needs a value"),
        ("uid = 1\nkeep-id = true", "uid: cannot be used together with keep-id"),
        ("hostnam = 'x'", "hostnam: no such key; did you mean \"hostname\"?"),
        ("keep_tmp = true", "keep_tmp: no such key; did you mean \"keep-tmp\"?"),
        ("profil = 'x'", "profil: no such key; did you mean \"profile\"?"),
        ("[[step]]", "step: no such key; did you mean \"steps\"?"),
        ("qqq = 1", "qqq: no such key; the keys are the options of launch --help"),
        ("--uid = 1", "--uid: no such key; did you mean \"uid\"?"),
        ("config = 'x'", "config: a file cannot name another file; name a profile, with profile = \"NAME\""),
        ("help = true", "help: is for the command line only"),
        ("version = true", "version: is for the command line only"),
        ("profile = 1", "profile: expected a string, not 1"),
        ("steps = 1", "steps: expected an array of tables with one key each, not 1"),
        ("steps = ['a']", "steps: expected an array of tables with one key each, not a string"),
        ("[steps]", "steps: expected an array of tables with one key each, not a table"),
        ("[[steps]]", "steps: a step has one key, and this one has none"),
        (
            "[[steps]]\nenv = 'A='\nuid = 1",
            "steps: a step has one key, and this one has env, uid; other keys stand above the first step",
        ),
        ("[[steps]]\nprofile = 'base'", "profile: cannot stand in steps"),
        ("steps = [{steps = []}]", "steps: cannot stand in steps"),
    ] {
        assert_eq!(refused(config), format!("config: box.toml: {expected}"), "{config}");
    }
}

#[test]
fn a_syntax_error_has_its_line_and_column() {
    for (config, place) in [
        ("uid = ", "line 1, column "),
        ("uid = 1\n\n  é = 2", "line 3, column 3: "),
        ("env = 'é' 'x'", "line 1, column 11: "),
        ("uid = 1\nuid = 2", "line 2, column 1: duplicate key"),
        ("hostname = 'a\nb'", "line 1, column "),
        ("[[steps]", "line 1, column "),
    ] {
        let error = refused(config);
        assert!(error.starts_with(&format!("config: box.toml: {place}")), "{config}: {error}");
        assert!(!error.contains('\n') && !error.ends_with(": "), "{error}");
    }
}

#[test]
fn a_hostile_file_is_an_error_and_no_crash() {
    for text in ["[", "a = [", "a = {a=", "a.", "\"", "a=1\n"] {
        let error = refused(&format!("a = {}", text.repeat(100_000)));
        assert!(error.len() < 200, "{error}");
    }
}

#[test]
fn a_profile_that_leads_back_to_itself_is_refused() {
    let own = merged("launch --profile a", "", &[("a", "profile = 'a'")]).expect_err("a cycle");
    assert_eq!(own.to_string(), "config: a.toml: profile: \"a\" leads back to itself");
    assert_eq!(refused("profile = 'a'"), "config: b.toml: profile: \"a\" leads back to itself");
}

#[test]
fn only_a_flag_can_be_undone_and_not_a_given_one() {
    let refused = |line: &str| merged(line, "", &[]).expect_err(line).to_string();
    assert_eq!(
        refused("launch --keep-tmp=no"),
        "command line: --keep-tmp: is a flag: say --keep-tmp, or --keep-tmp=false"
    );
    assert_eq!(
        refused("launch --keep-tmp --keep-tmp=false"),
        "command line: --keep-tmp: is both given and undone"
    );
    for kept in
        ["launch --hostname=false", "launch --help=false", "launch -- x --keep-tmp=no", "--tty=no", ""]
    {
        assert_eq!(tokens(kept, "", &[]), kept);
    }
}

#[test]
fn files_leave_a_wrong_command_line_and_help_to_the_parser() {
    for line in
        ["launch --foo", "launch --config", "launch --config a --config b", "launch --config a --help"]
    {
        assert_eq!(tokens(line, "", &[]), line);
        let read = Arguments::read(words(line), homes).expect(line);
        assert_eq!(read.tokens(), words(line));
    }
}

#[test]
fn what_can_say_no_more_is_taken_as_it_is() {
    for (line, expected) in [
        ("launch", false),
        ("--config", false),
        ("launch -- --config a --keep-tmp=false", false),
        ("launch --env A=B --profiles -vt --keep-tmp true config -- x", false),
        ("launch ps --json", false),
        ("launch --config a -- x", true),
        ("launch --uid 1 --profile", true),
        ("launch --config=a", true),
        ("launch --keep-tmp=false", true),
    ] {
        assert_eq!(may_say_more(&words(line)), expected, "{line}");
        if !expected {
            assert_eq!(tokens(line, "", &[]), line);
        }
    }
}

#[test]
fn an_error_in_an_option_is_that_of_the_file_that_alone_gave_it() {
    let arguments = merged("launch --uid 1 -- x", "hostname = ''\nuid = 2", &[]).expect("merged");
    let blame = |option: &str| arguments.blame(Error::Option(option.into(), "is empty".into())).to_string();
    assert_eq!(blame("--hostname"), "config: box.toml: hostname: is empty");
    assert_eq!(blame("--hostname x"), "config: box.toml: hostname x: is empty");
    assert_eq!(blame("--uid"), "command line: --uid: is empty");
    assert_eq!(blame("--gid"), "command line: --gid: is empty");
    assert_eq!(arguments.blame(Error::ForeignProc), Error::ForeignProc);
}

#[test]
fn a_leading_tilde_is_the_callers_home() {
    for (value, expected) in [
        ("~", "/home/me"),
        ("~/", "/home/me/"),
        ("~/a:~/b", "/home/me/a:~/b"),
        ("~:size=1M", "/home/me:size=1M"),
        ("~root", "~root"),
        ("./~", "./~"),
        ("a~/b", "a~/b"),
    ] {
        let config = format!("chdir = '{value}'");
        assert_eq!(tokens("launch", &config, &[]), format!("launch --chdir={expected}"));
    }
}

#[test]
fn a_home_whose_path_has_separators_is_spelled_with_escapes_where_a_value_has_parts() {
    let definition = built(cli::definition());
    let home = Homes::from_variables(None, Some("/a:b,c".into())).home;
    let file = source("box.toml", "tmpfs = ['~/x', '~:size=1M']\nchdir = '~'");
    let layer = Layer::parse(&file, &definition, &home).expect("a home");
    let tokens: Vec<_> = layer.entries.iter().flat_map(|entry| &entry.tokens).collect();
    assert_eq!(tokens, ["--tmpfs=/a\\:b\\,c/x", "--tmpfs=/a\\:b\\,c:size=1M", "--chdir=/a:b,c"]);
}

#[test]
fn without_a_usable_home_a_tilde_is_an_error_but_in_built_in_profiles() {
    let definition = built(cli::definition());
    for (home, reason) in [
        (None, "HOME is not set"),
        (Some(""), "HOME, \"\", is no absolute path of a directory below /"),
        (Some("home"), "HOME, \"home\", is no absolute path of a directory below /"),
        (Some("/"), "HOME, \"/\", is no absolute path of a directory below /"),
    ] {
        let home = Homes::from_variables(None, home.map(OsString::from)).home;
        let mut file = source("box.toml", "unset-env = ['A', '~/x', 'B']");
        let error = Layer::parse(&file, &definition, &home).expect_err("no home").to_string();
        assert_eq!(error, format!("config: box.toml: unset-env: \"~/x\" needs a home, but {reason}"));
        file.is_built_in = true;
        let layer = Layer::parse(&file, &definition, &home).expect("left out");
        assert_eq!(layer.entries[0].tokens, ["--unset-env=A", "--unset-env=B"]);
    }
}
