//! `gar trace`: every intermediate of one case, as whole tensors.
use gar_core::trace::{Case, trace};

use crate::args::TraceArgs;
use crate::error::Result;
use crate::output::Console;
use crate::session::load;

pub(crate) fn run(args: &TraceArgs, console: &Console) -> Result<()> {
    let case = Case::read(&args.case)?;
    let model = load(&args.model, Some(&case.regions), console)?;
    trace(&model, &case, &args.images, args.steps)?.save(&args.out)?;
    console.note(&format!("trace: {}", args.out.display()));
    Ok(())
}
