//! Where files of options are: the caller's own profiles, the built-in ones, and the text of each.
//!
//! What a text says is keys.rs's to read.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::error::Error;
use crate::text_file::{self, NotRead};

/// The profiles that need no file.
const BUILT_IN: [(&str, &str); 3] = [
    ("build", include_str!("../profiles/build.toml")),
    ("service", include_str!("../profiles/service.toml")),
    ("strict", include_str!("../profiles/strict.toml")),
];

/// What of the caller's environment says where profiles are and what `~` is.
#[derive(Debug, Clone)]
pub struct Homes {
    /// `$XDG_CONFIG_HOME/launch` or `$HOME/.config/launch`.
    pub(super) profiles: Option<PathBuf>,
    /// HOME, or why it is nothing to put in a `~`'s place.
    pub(super) home: Result<OsString, String>,
}

impl Homes {
    /// Reads XDG_CONFIG_HOME and HOME, and looks whether there is such a home.
    pub fn of_caller() -> Self {
        let mut homes = Self::from_variables(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"));
        homes.home = homes.home.and_then(|home| {
            if Path::new(&home).is_dir() { Ok(home) } else { Err(format!("HOME, {home:?}, is no directory")) }
        });
        homes
    }

    /// From the values of XDG_CONFIG_HOME and HOME.
    pub(super) fn from_variables(config: Option<OsString>, home: Option<OsString>) -> Self {
        // "If an implementation encounters a relative path […] it should consider the path invalid and ignore it":
        // XDG Base Directory Specification 0.8, "Basics".
        let absolute = |path: &OsString| Path::new(path).is_absolute();
        let config = config.filter(absolute).map(PathBuf::from);
        let profiles = config
            .or_else(|| home.clone().filter(absolute).map(|home| Path::new(&home).join(".config")))
            .map(|folder| folder.join("launch"));
        // A `~` that is / would have the whole of the system hidden or bound, where one directory is meant.
        let is_below_root = |path: &Path| path.is_absolute() && path.parent().is_some();
        let home = match home {
            None => Err("HOME is not set".into()),
            Some(home) if !is_below_root(Path::new(&home)) => {
                Err(format!("HOME, {home:?}, is no absolute path of a directory below /"))
            }
            Some(home) => Ok(home),
        };
        Self { profiles, home }
    }
}

/// A file of options before it is parsed.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// As errors name it.
    pub(super) name: OsString,
    pub(super) text: String,
    pub(super) is_built_in: bool,
}

/// The contents of a file of options.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    text_file::read(path).map_err(|error| match error {
        NotRead::System(errno) => Error::ConfigFile(path.into(), errno),
        NotRead::Wrong(reason) => Error::Config(path.into(), reason),
    })
}

/// The profile of this name: the caller's own, or a built-in one.
pub(super) fn profile(name: &OsStr, folder: Option<&Path>) -> Result<Source, Error> {
    let object: OsString = [OsStr::new("profile "), name].into_iter().collect();
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.starts_with(b".") || bytes.contains(&b'/') {
        let reason = "a profile's name has no slash, and no dot in front; for a path there is --config";
        return Err(Error::Config(object, reason.into()));
    }
    if let Some(folder) = folder {
        let path = folder.join([name, OsStr::new(".toml")].into_iter().collect::<OsString>());
        match read(&path) {
            Ok(text) => return Ok(Source { name: path.into(), text, is_built_in: false }),
            Err(Error::ConfigFile(_, Errno::ENOENT | Errno::ENOTDIR)) => {}
            // HOME may still be that of who became this user, as with setpriv(1).
            Err(Error::ConfigFile(_, Errno::EACCES)) if access(folder, AccessFlags::X_OK).is_err() => {}
            Err(error) => return Err(error),
        }
    }
    match BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
        Some((_, text)) => Ok(Source { name: object, text: (*text).into(), is_built_in: true }),
        None => {
            let known = known_profiles(folder).join(", ");
            Err(Error::Config(object, format!("no such profile; known are {known}")))
        }
    }
}

/// The names of all profiles; of a folder that cannot be listed, none.
fn known_profiles(folder: Option<&Path>) -> Vec<String> {
    let entries = folder.and_then(|folder| folder.read_dir().ok()).into_iter().flatten().flatten();
    let own = entries.filter_map(|entry| {
        let name = entry.file_name();
        let name = name.as_bytes().strip_suffix(b".toml").filter(|name| !name.starts_with(b"."))?;
        Some(String::from_utf8_lossy(name).into_owned()).filter(|name| !name.is_empty())
    });
    let mut names: Vec<_> = BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).chain(own).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::super::command_line::built;
    use super::super::keys::{Layer, PROFILE};
    use super::*;
    use crate::cli;

    #[test]
    fn profiles_are_in_the_configuration_folder() {
        let folder = |config: Option<&str>, home: Option<&str>| {
            let homes = Homes::from_variables(config.map(OsString::from), home.map(OsString::from));
            homes.profiles.map(|folder| folder.display().to_string())
        };
        assert_eq!(folder(Some("/c"), Some("/h")).as_deref(), Some("/c/launch"));
        for unset in [None, Some(""), Some("relative")] {
            assert_eq!(folder(unset, Some("/h")).as_deref(), Some("/h/.config/launch"));
            assert_eq!(folder(unset, None), None);
        }
    }

    #[test]
    fn a_profiles_name_is_no_path_and_is_known() {
        for name in ["", ".", "..", ".x", "a/b", "/a"] {
            let error = profile(OsStr::new(name), None).expect_err(name).to_string();
            assert!(
                error.starts_with(&format!("config: profile {name}: a profile's name has no slash")),
                "{error}"
            );
        }
        let error = profile(OsStr::new("moon"), None).expect_err("unknown").to_string();
        assert_eq!(error, "config: profile moon: no such profile; known are build, service, strict");
        for (name, text) in BUILT_IN {
            let found = profile(OsStr::new(name), Some(Path::new("/nonexistent"))).expect(name);
            assert_eq!((found.text.as_str(), found.is_built_in), (text, true));
        }
    }

    #[test]
    fn the_help_names_the_built_in_profiles() {
        let definition = cli::definition();
        let option =
            definition.get_arguments().find(|it| it.get_long() == Some(PROFILE)).expect("the option");
        let help = option.get_help().expect("help").to_string();
        for (name, _) in BUILT_IN {
            assert!(help.contains(name), "{name}");
        }
    }

    #[test]
    fn the_built_in_profiles_are_sound() {
        let definition = built(cli::definition());
        for (name, _) in BUILT_IN {
            for home in [Ok("/home/me".into()), Err("none".into())] {
                let source = profile(OsStr::new(name), None).expect(name);
                let layer =
                    Layer::parse(&source, &definition, &home).unwrap_or_else(|error| panic!("{error}"));
                assert!(layer.entries.len() > 3, "{name}");
            }
        }
    }

    #[test]
    fn the_built_in_profiles_are_toml() {
        for (name, text) in BUILT_IN {
            let table = DeTable::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(table.get_ref().len() > 3, "{name}");
        }
    }
}
