//! Which model answers where `--model` does not say.
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The model that comes with the program, below a checkout or a folder of programs.
const BUNDLED: &str = "models/gar-mini";
/// The same below the user's folder of data.
const INSTALLED: &str = "gar/gar-mini";

/// What the search depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `$GAR_MODEL`.
    variable: Option<PathBuf>,
    /// The working directory.
    working: Option<PathBuf>,
    /// The folder that the program lies in.
    program: Option<PathBuf>,
    /// The user's folder of data: `$XDG_DATA_HOME`, else `~/.local/share`.
    data: Option<PathBuf>,
}

/// A model, and who chose it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// `--model`.
    Flag(PathBuf),
    /// `$GAR_MODEL`.
    Variable(PathBuf),
    /// Nobody: it is the one that comes with the program.
    Bundled(PathBuf),
}

impl Environment {
    /// That of this process.
    pub(crate) fn of_process() -> Self {
        // A link to the program stands for the program: its checkout is where the model is.
        let program = std::env::current_exe().and_then(std::fs::canonicalize).ok();
        let home = std::env::home_dir();
        Self::new(|name| std::env::var_os(name), std::env::current_dir().ok(), program, home)
    }

    fn new(
        variable: impl Fn(&str) -> Option<OsString>,
        working: Option<PathBuf>,
        program: Option<PathBuf>,
        home: Option<PathBuf>,
    ) -> Self {
        let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            variable: path("GAR_MODEL"),
            working,
            program: program.and_then(|file| Some(file.parent()?.to_owned())),
            // The XDG base directory specification has relative paths ignored.
            data: path("XDG_DATA_HOME")
                .filter(|path| path.is_absolute())
                .or_else(|| Some(home.filter(|home| home.is_absolute())?.join(".local/share"))),
        }
    }
}

/// The model to use: `given` by the flag; else the one that `$GAR_MODEL` names; else `models/gar-mini` in the working
/// directory or a folder above it, or beside the program or in a folder above it; else `gar/gar-mini` among the user's data.
///
/// # Errors
/// [`Error::NoModel`], which says where it looked.
pub(crate) fn find(
    given: Option<&Path>,
    environment: &Environment,
    is_checkpoint: impl Fn(&Path) -> bool,
) -> Result<Found> {
    let Environment { variable, working, program, data } = environment;
    if let Some(directory) = given {
        return Ok(Found::Flag(directory.to_owned()));
    }
    if let Some(directory) = variable {
        return Ok(Found::Variable(directory.clone()));
    }
    let above = [working, program].into_iter().flatten().flat_map(|folder| folder.ancestors());
    let mut places = above.map(|folder| folder.join(BUNDLED)).chain(data.iter().map(|folder| folder.join(INSTALLED)));
    let found = places.find(|place| is_checkpoint(place)).map(Found::Bundled);
    found.ok_or_else(|| Error::NoModel { looked: environment.to_string() })
}

/// Where the bundled model is looked for.
impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { working, program, data, .. } = self;
        for folder in [working, program].into_iter().flatten() {
            writeln!(f, "  {BUNDLED} in {} and the folders above it", folder.display())?;
        }
        data.iter().try_for_each(|folder| writeln!(f, "  {}", folder.join(INSTALLED).display()))?;
        write!(f, "give --model DIR, or set GAR_MODEL, or copy {BUNDLED} of {} ", env!("CARGO_PKG_REPOSITORY"))?;
        match data {
            Some(folder) => write!(f, "to {}", folder.join(INSTALLED).display()),
            None => write!(f, "to the working directory's {BUNDLED}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Environment::new(
            variable,
            Some("/drawings/scenes".into()),
            Some("/src/gar/target/release/gar".into()),
            Some("/home/ada".into()),
        )
    }

    #[test]
    fn the_nearest_choice_wins() {
        // In ascending order of precedence: each is there beside all before it.
        let steps = [
            "/home/ada/.local/share/gar/gar-mini",
            "/src/gar/models/gar-mini",
            "/src/gar/target/release/models/gar-mini",
            "/models/gar-mini",
            "/drawings/models/gar-mini",
            "/drawings/scenes/models/gar-mini",
        ];
        let there = |count: usize| move |place: &Path| steps[..count].iter().any(|step| place == Path::new(step));
        for (at, step) in steps.iter().enumerate() {
            let found = find(None, &environment(&[]), there(at + 1)).unwrap();
            assert_eq!(found, Found::Bundled(step.into()));
        }
        let named = environment(&[("GAR_MODEL", "far/away")]);
        assert_eq!(find(None, &named, there(6)).unwrap(), Found::Variable("far/away".into()));
        assert_eq!(find(Some(Path::new("x")), &named, there(6)).unwrap(), Found::Flag("x".into()));
    }

    #[test]
    fn the_folder_of_data_follows_the_specification() {
        let folder = |variables: &[(&str, &str)]| {
            find(None, &environment(variables), |place| place.ends_with(INSTALLED)).unwrap()
        };
        assert_eq!(folder(&[("XDG_DATA_HOME", "/data")]), Found::Bundled("/data/gar/gar-mini".into()));
        for ignored in ["", "relative"] {
            let found = folder(&[("XDG_DATA_HOME", ignored), ("GAR_MODEL", "")]);
            assert_eq!(found, Found::Bundled("/home/ada/.local/share/gar/gar-mini".into()));
        }
    }

    #[test]
    fn the_error_says_where_it_looked_and_what_to_do() {
        let error = find(None, &environment(&[]), |_| false).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        for part in [
            "--model",
            "GAR_MODEL",
            "/drawings/scenes and",
            "/src/gar/target/release and",
            "/.local/share/gar/gar-mini",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(find(None, &Environment::default(), |_| true).is_err(), "nowhere to look");
    }
}
