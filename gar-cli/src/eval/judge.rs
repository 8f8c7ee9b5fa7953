//! `gar eval judge`.
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use gar_eval::judge::protocols::{Captions, Dlc, Ferret, GarBench, Mdvp, VideoReferD};
use gar_eval::judge::{
    ApiKey, Backoff, Cache, Client, DryRun, Endpoint, JudgeError, Protocol, Settings, ask_all, dry_run,
};
use gar_eval::score::OUTPUT_FILE;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::output::{self, Console};

#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// The benchmark
    #[arg(value_enum, value_name = "BENCHMARK")]
    benchmark: Judged,
    /// What a model said: an output in the published form, or a run's directory
    #[arg(value_name = "RUN_OR_FILE")]
    output: PathBuf,
    /// Folder with what the judge goes by: DLC-Bench's `qa.json` and `class_names.json`, Ferret-Bench's `rule.json` and
    /// `refer_desc`, MDVP-Bench's `rule.json` and `mdvp_caption_mask.json`
    #[arg(long, value_name = "DIR")]
    annotations: Option<PathBuf>,
    /// Folder that the pictures are relative to; for DLC-Bench, the judge sees them where this is given
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// File to write [default: beside the output, with `_eval` or `_review` in its name]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    endpoint: EndpointArgs,
    #[command(flatten)]
    asking: AskingArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Judge")]
struct EndpointArgs {
    /// Where an OpenAI-compatible endpoint's paths begin, such as `http://localhost:8000/v1`
    #[arg(long, value_name = "URL")]
    base_url: String,
    /// The judge, as the endpoint calls it
    #[arg(long, value_name = "NAME")]
    judge_model: String,
    /// Environment variable that holds the endpoint's key
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    key_env: String,
    /// Send no key
    #[arg(long, conflicts_with = "key_env")]
    no_key: bool,
    /// Fields to add to every request, as a JSON object; `null` leaves a field out
    #[arg(long, value_name = "JSON", value_parser = object)]
    extra: Option<Map<String, Value>>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Asking")]
struct AskingArgs {
    /// Send nothing; print one request, and the number and size of all
    #[arg(long)]
    dry_run: bool,
    /// Folder of answers, so that none is asked for twice [default: the file to write, with `.cache` after its name]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Most requests a minute
    #[arg(long, value_name = "N")]
    per_minute: Option<f64>,
    /// Most requests under way at one time
    #[arg(long, value_name = "N", default_value = "4")]
    at_once: NonZeroUsize,
    /// Longest time of a request, in seconds
    #[arg(long, value_name = "S", default_value = "120")]
    timeout: NonZeroUsize,
    /// Attempts for each request
    #[arg(long, value_name = "N", default_value_t = Backoff::default().attempts)]
    attempts: u32,
}

/// Benchmarks that need a judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Judged {
    /// Sentences about relations; the judge sees the regions
    GarBenchSimple,
    /// Descriptions with a relation; the judge sees the regions
    GarBenchDetailed,
    /// Descriptions, by questions; with `--images` the judge sees the region
    DlcBench,
    /// Descriptions beside reference answers; the judge reads what is known of the picture
    FerretBench,
    /// Descriptions beside reference answers; the judge sees the region framed
    MdvpBench,
    /// Descriptions of objects in videos, by four scores
    VideoreferBenchD,
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("expected a JSON object: {error}"))
}

pub(crate) fn run(args: &JudgeArgs, console: &Console) -> Result<()> {
    let answers = if args.output.is_dir() { args.output.join(OUTPUT_FILE) } else { args.output.clone() };
    let out = args.out.clone().unwrap_or_else(|| beside(&answers, args.benchmark));
    if out == answers {
        return Err(Error::Usage(format!("--out {}: expected another file than the output", out.display())));
    }
    let protocol = protocol(args, &answers)?;
    let client = client(args, &out)?;
    if args.asking.dry_run {
        return report(&dry_run(&*protocol, &client)?, &client);
    }
    let session = ask_all(&*protocol, &client, &*console.bars())?;
    let judged = protocol.assemble(&session.answers)?;
    judged.write(&out)?;
    for unread in &judged.unparsed {
        console.note(&format!("not readable: {}: {:?}", unread.question, unread.answer));
    }
    let (all, unread) = (session.answers.len(), judged.unparsed.len());
    console.note(&format!(
        "{all} judge questions, {} answered before, {unread} answers not readable: {}",
        session.cached,
        out.display()
    ));
    Ok(())
}

fn protocol(args: &JudgeArgs, answers: &Path) -> Result<Box<dyn Protocol>> {
    let given = |path: &Option<PathBuf>, flag: &str| {
        path.clone().ok_or_else(|| Error::Usage(format!("expected --{flag} DIR for this benchmark")))
    };
    let (annotations, images) = (|| given(&args.annotations, "annotations"), || given(&args.images, "images"));
    Ok(match args.benchmark {
        Judged::GarBenchSimple => Box::new(GarBench::read(answers, Captions::Simple, &images()?)?),
        Judged::GarBenchDetailed => Box::new(GarBench::read(answers, Captions::Detailed, &images()?)?),
        Judged::DlcBench => Box::new(Dlc::read(answers, &annotations()?, args.images.as_deref())?),
        Judged::FerretBench => Box::new(Ferret::read(answers, &annotations()?)?),
        Judged::MdvpBench => Box::new(Mdvp::read(answers, &annotations()?, &images()?)?),
        Judged::VideoreferBenchD => Box::new(VideoReferD::read(answers)?),
    })
}

fn client(args: &JudgeArgs, out: &Path) -> Result<Client> {
    let (judge, asking) = (&args.endpoint, &args.asking);
    let failed = |error: JudgeError| Error::Eval(error.into());
    // What is not sent needs no key.
    let key = match judge.no_key || asking.dry_run {
        true => None,
        false => Some(ApiKey::from_env(&judge.key_env).map_err(failed)?),
    };
    let endpoint = Endpoint::new(&judge.base_url, &judge.judge_model, key).map_err(failed)?;
    let endpoint = endpoint.with_extra(judge.extra.clone().unwrap_or_default());
    let settings = Settings {
        timeout: Duration::from_secs(asking.timeout.get() as u64),
        backoff: Backoff { attempts: asking.attempts, ..Backoff::default() },
        per_minute: asking.per_minute,
        at_once: asking.at_once.get(),
    };
    let cache = asking.cache.clone().unwrap_or_else(|| {
        let mut name = out.as_os_str().to_owned();
        name.push(".cache");
        name.into()
    });
    Client::new(endpoint, settings, Cache::new(cache)).map_err(failed)
}

/// `gar_1b.json` → `gar_1b_eval.json`, or `gar_1b_review.jsonl`.
fn beside(answers: &Path, benchmark: Judged) -> PathBuf {
    let stem = answers.file_stem().unwrap_or_default().to_string_lossy();
    let name = match benchmark {
        Judged::FerretBench | Judged::MdvpBench => format!("{stem}_review.jsonl"),
        _ => format!("{stem}_eval.json"),
    };
    answers.with_file_name(name)
}

fn report(run: &DryRun, client: &Client) -> Result<()> {
    let DryRun { first, requests, bytes, longest, cached } = run;
    output::text(&format!(
        "POST {}\n{first}\n\n{requests} requests, {bytes} bytes in all, at most {longest} in one; {cached} answered before\n",
        client.endpoint().url()
    ))
}
