//! Region flags: five ways to write a region down, mixed freely, in the order of the command line.
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use gar_core::prompt::{Mask, RegionSet, Rle};
use serde::{Deserialize, de::DeserializeOwned};

use crate::error::{Error, Result};

/// What a region flag says, before the picture's size is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RegionArg {
    /// The slot, where the value began with `SLOT=`.
    slot: Option<usize>,
    shape: Shape,
}

/// A region as written down.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Mask(PathBuf),
    Box([f64; 4]),
    Rle(PathBuf),
    Polygon(Vec<f64>),
    PolygonFile(PathBuf),
    Scribble { points: Vec<(f64, f64)>, pen: Option<f64> },
}

/// All region flags, in the order of the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegionArgs {
    regions: Vec<RegionArg>,
}

/// A flag's name, what its value is called, what it says in the help, and how its value is read.
type Flag = (&'static str, &'static str, &'static str, fn(&OsStr) -> Result<Shape, String>);

const FLAGS: [Flag; 5] = [
    (
        "mask",
        "FILE",
        "Region: a picture, set where it is opaque if it has transparency, else where it is not black",
        |v| Ok(Shape::Mask(v.into())),
    ),
    ("box", "x1,y1,x2,y2", "Region: a box in pixels, its right and lower edge outside", corners),
    ("rle", "FILE", "Regions: COCO run lengths in JSON, one object or a list", |v| Ok(Shape::Rle(v.into()))),
    ("polygon", "x1,y1,x2,y2,…", "Region: a polygon in pixels, or FILE.json with one or a list (their union)", polygon),
    (
        "scribble",
        "x1,y1,…[:WIDTH]",
        "Region: a line in pixels drawn with a round pen [default width: 1/50 of the shorter side, at least 4]",
        scribble,
    ),
];

impl Args for RegionArgs {
    fn augment_args(command: Command) -> Command {
        let heading = "Regions, in slots 0, 1, … in the order given (`describe`: slot 1); SLOT=… chooses another";
        FLAGS.into_iter().fold(command, |command, (name, value, help, read)| {
            let parser = OsStringValueParser::new().try_map(move |text: OsString| {
                let (slot, rest) = split_slot(&text)?;
                Ok::<_, String>(RegionArg { slot, shape: read(rest)? })
            });
            let arg = Arg::new(name).long(name).value_name(value).help(help).help_heading(heading);
            // Coordinates may be negative.
            command.arg(arg.action(ArgAction::Append).value_parser(parser).allow_hyphen_values(true))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RegionArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut found: Vec<(usize, RegionArg)> = Vec::new();
        for (name, ..) in FLAGS {
            let places = matches.indices_of(name).into_iter().flatten();
            let values = matches.get_many::<RegionArg>(name).into_iter().flatten();
            found.extend(places.zip(values.cloned()));
        }
        found.sort_by_key(|(place, _)| *place);
        Ok(Self { regions: found.into_iter().map(|(_, region)| region).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl RegionArgs {
    /// The masks over a picture of this size, each in its slot: the one that was chosen, else from `first` on the lowest
    /// one that is left.
    ///
    /// # Errors
    /// Files that cannot be read, shapes that give no mask, masks of another size, slots chosen twice.
    pub(crate) fn read(&self, width: usize, height: usize, first: usize) -> Result<RegionSet> {
        let chosen: Vec<usize> = self.regions.iter().filter_map(|region| region.slot).collect();
        let mut free = (first..).filter(|slot| !chosen.contains(slot));
        let mut set = RegionSet::new();
        for RegionArg { slot, shape } in &self.regions {
            let masks = shape.masks(width, height)?;
            if slot.is_some() && masks.len() != 1 {
                let (flag, found) = (shape.flag(), masks.len());
                return Err(Error::Usage(format!("--{flag}: expected one region after `SLOT=`, found {found}")));
            }
            for mask in masks {
                // `free` is endless.
                let slot = slot.or_else(|| free.next()).unwrap_or_default();
                set.push(slot, mask).map_err(|source| Error::Region { flag: shape.flag(), source })?;
            }
        }
        set.check_image(width, height)?;
        Ok(set)
    }
}

impl Shape {
    fn flag(&self) -> &'static str {
        match self {
            Self::Mask(_) => "mask",
            Self::Box(_) => "box",
            Self::Rle(_) => "rle",
            Self::Polygon(_) | Self::PolygonFile(_) => "polygon",
            Self::Scribble { .. } => "scribble",
        }
    }

    fn masks(&self, width: usize, height: usize) -> Result<Vec<Mask>> {
        let refused = |source| Error::Region { flag: self.flag(), source };
        let in_file = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::RegionFile { flag: self.flag(), path, source: Box::new(source) }
        };
        let mask = match self {
            Self::Mask(path) => Mask::open_picture(path).map_err(refused)?,
            Self::Box(corners) => Mask::from_box(width, height, *corners).map_err(refused)?,
            Self::Polygon(polygon) => Mask::from_polygons(width, height, &[polygon]).map_err(refused)?,
            Self::Scribble { points, pen } => {
                let pen = pen.unwrap_or_else(|| (width.min(height) as f64 / 50.0).max(4.0));
                Mask::from_scribble(width, height, points, pen).map_err(refused)?
            }
            Self::PolygonFile(path) => {
                let polygons: OneOrMany<Vec<f64>> = self.json(path, "a list of numbers or a list of such lists")?;
                Mask::from_polygons(width, height, &polygons.into_vec()).map_err(in_file(path))?
            }
            Self::Rle(path) => {
                let masks: OneOrMany<Rle> = self.json(path, "{\"size\": [h, w], \"counts\": …} or a list of these")?;
                let masks = masks.into_vec().iter().map(Rle::to_mask).collect::<Result<_, _>>();
                return masks.map_err(in_file(path));
            }
        };
        Ok(vec![mask])
    }

    fn json<T: DeserializeOwned>(&self, path: &Path, expected: &'static str) -> Result<T> {
        let text = std::fs::read(path).map_err(Error::io(path))?;
        let wrong = |source| Error::RegionJson { flag: self.flag(), path: path.to_owned(), expected, source };
        serde_json::from_slice(&text).map_err(wrong)
    }
}

/// One value, or a list.
#[derive(Deserialize)]
#[serde(untagged, expecting = "neither one nor a list of them")]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

/// `2=dog.png` → slot 2 and `dog.png`. A file whose name itself begins like that is written as `./2=dog.png`.
fn split_slot(value: &OsStr) -> Result<(Option<usize>, &OsStr), String> {
    let bytes = value.as_encoded_bytes();
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || bytes.get(digits) != Some(&b'=') {
        return Ok((None, value));
    }
    let slot = std::str::from_utf8(&bytes[..digits]).ok().and_then(|text| text.parse().ok());
    let slot = slot.ok_or("expected a slot number before `=` that fits a machine word")?;
    let rest = tail(value, digits + 1).ok_or("expected UTF-8 after `SLOT=`")?;
    Ok((Some(slot), rest))
}

/// `value` without its first `at` bytes, which are ASCII.
#[cfg(unix)]
fn tail(value: &OsStr, at: usize) -> Option<&OsStr> {
    use std::os::unix::ffi::OsStrExt;
    value.as_bytes().get(at..).map(OsStr::from_bytes)
}

/// `value` without its first `at` bytes, which are ASCII.
#[cfg(not(unix))]
fn tail(value: &OsStr, at: usize) -> Option<&OsStr> {
    value.to_str().and_then(|text| text.get(at..)).map(OsStr::new)
}

fn numbers(value: &OsStr) -> Result<Vec<f64>, String> {
    let text = value.to_str().ok_or("expected numbers, found bytes that are not UTF-8")?;
    let number = |part: &str| part.trim().parse().map_err(|_| format!("expected numbers, found {part:?}"));
    text.split(',').map(number).collect()
}

fn corners(value: &OsStr) -> Result<Shape, String> {
    let found = numbers(value)?;
    let corners = <[f64; 4]>::try_from(found).map_err(|f| format!("expected 4 numbers, found {}", f.len()))?;
    Ok(Shape::Box(corners))
}

fn polygon(value: &OsStr) -> Result<Shape, String> {
    if Path::new(value).extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
        return Ok(Shape::PolygonFile(value.into()));
    }
    let found = numbers(value)?;
    match found.len() {
        n if n >= 6 && n % 2 == 0 => Ok(Shape::Polygon(found)),
        n => Err(format!("expected an even number of at least 6 numbers, found {n}")),
    }
}

fn scribble(value: &OsStr) -> Result<Shape, String> {
    let text = value.to_str().ok_or("expected numbers, found bytes that are not UTF-8")?;
    let (line, pen) = match text.split_once(':') {
        None => (text, None),
        Some((line, pen)) => {
            let width = pen.trim().parse().map_err(|_| format!("expected a width after `:`, found {pen:?}"))?;
            (line, Some(width))
        }
    };
    let found = numbers(OsStr::new(line))?;
    match found.len() % 2 {
        0 => Ok(Shape::Scribble { points: found.chunks_exact(2).map(|p| (p[0], p[1])).collect(), pen }),
        _ => Err(format!("expected an even number of numbers, found {}", found.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<RegionArgs, clap::Error> {
        let command = RegionArgs::augment_args(Command::new("test").no_binary_name(true));
        RegionArgs::from_arg_matches(&command.try_get_matches_from(flags)?)
    }

    #[test]
    fn order_is_that_of_the_command_line() {
        let args = parse(&["--box", "0,0,1,1", "--mask", "a.png", "--box=-5,0,2,2", "--scribble", "1,1:3"]).unwrap();
        let shapes: Vec<Shape> = args.regions.into_iter().map(|r| r.shape).collect();
        let expected = [
            Shape::Box([0.0, 0.0, 1.0, 1.0]),
            Shape::Mask("a.png".into()),
            Shape::Box([-5.0, 0.0, 2.0, 2.0]),
            Shape::Scribble { points: vec![(1.0, 1.0)], pen: Some(3.0) },
        ];
        assert_eq!(shapes, expected);
    }

    #[test]
    fn slots_are_chosen_or_the_lowest_left() {
        let slots = |flags: &[&str], first| parse(flags).unwrap().read(9, 9, first).unwrap().slots();
        assert_eq!(slots(&["--box", "0,0,2,2", "--box", "1,1,2,2"], 0), [0, 1]);
        assert_eq!(slots(&["--box", "0,0,2,2"], 1), [1]);
        assert_eq!(slots(&["--box", "0,0,2,2", "--box", "0=1,1,2,2", "--polygon", "0,0,5,0,5,5"], 0), [1, 0, 2]);
        let twice = parse(&["--box", "3=0,0,2,2", "--box", "3=0,0,1,1"]).unwrap().read(9, 9, 0);
        assert!(twice.unwrap_err().to_string().starts_with("--box: "));
    }

    #[test]
    fn values_that_are_no_regions_are_usage_errors() {
        for (flag, value, says) in [
            ("--box", "1,2,3", "4 numbers"),
            ("--box", "1,2,3,x", "\"x\""),
            ("--box", "--json", "numbers"),
            ("--polygon", "1,2,3,4", "at least 6"),
            ("--polygon", "1,2,3,4,5,6,7", "found 7"),
            ("--scribble", "1", "even number"),
            ("--scribble", "1,2:wide", "width"),
            ("--mask", "99999999999999999999999=a.png", "slot number"),
        ] {
            let error = parse(&[flag, value]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(says), "{flag} {value}: {error}");
        }
    }

    #[test]
    fn an_empty_box_names_its_flag() {
        let error = parse(&["--box", "20,20,30,30"]).unwrap().read(9, 9, 0).unwrap_err();
        assert!(error.to_string().contains("--box: region 0: expected at least one set pixel"), "{error}");
    }
}
