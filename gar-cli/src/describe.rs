//! `gar describe`: one region, in detail.
use gar_core::prompt::DESCRIBE;

use crate::args::DescribeArgs;
use crate::error::{Error, Result};
use crate::output::Console;
use crate::session::Picture;

/// The slot that the released code gives a region that stands alone.
const SLOT: usize = 1;

pub(crate) fn run(args: &DescribeArgs, console: &Console) -> Result<()> {
    let picture = Picture::open(&args.image, &args.session, SLOT, console)?;
    let found = picture.regions.len();
    if found != 1 {
        let usage = format!("describe: expected one region, found {found}; `gar ask` takes any number");
        return Err(Error::Usage(usage));
    }
    let session = picture.encode(&args.session, Some(DESCRIBE), console)?;
    session.answer(true, |options, on_text| session.scene.ask_with(DESCRIBE, options, on_text))
}
