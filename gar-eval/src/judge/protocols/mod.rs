//! What a judge is asked about each benchmark's captions, and what its answers become.
mod dlc;
mod gar_bench;
mod pairwise;
mod videorefer;

use std::path::Path;

use gar_core::vision::Image;

pub use dlc::Dlc;
pub use gar_bench::{Captions, GarBench};
pub use pairwise::{Ferret, Mdvp};
pub use videorefer::VideoReferD;

use super::{ChatRequest, Message, Part, Role};
use crate::files::write_whole;
use crate::{Error, Result};

/// Most tokens of a verdict that is a word or a choice.
const VERDICT_TOKENS: u32 = 64;

/// Most tokens of a review that explains itself, as the authors' scripts ask for.
const REVIEW_TOKENS: u32 = 1024;

/// The questions of a judged benchmark.
pub trait Protocol: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them, below [`len`](Self::len). It is made when it is needed: its pictures may take megabytes.
    ///
    /// # Errors
    /// A picture that is missing, or not of its mask's size.
    fn question(&self, at: usize) -> Result<Question>;

    /// The judged file, from one answer for each question in their order.
    ///
    /// # Errors
    /// What JSON cannot hold.
    fn assemble(&self, answers: &[String]) -> Result<Judged>;
}

/// One question to a judge.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What it is about, for messages; distinct within the protocol.
    pub name: String,
    /// The request.
    pub request: ChatRequest,
}

/// A judged file and what it lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The file, in the form that the authors publish.
    pub text: String,
    /// Questions whose answers cannot be read. They count neither as right nor as wrong.
    pub unparsed: Vec<Unparsed>,
}

impl Judged {
    /// Writes the file, as a whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        write_whole(path, self.text.as_bytes())
    }
}

/// An answer that is no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unparsed {
    /// The name of its question.
    pub question: String,
    /// What the judge said.
    pub answer: String,
}

/// A question of the user's turn alone.
fn question(name: impl Into<String>, parts: Vec<Part>, max_tokens: u32) -> Question {
    let messages = vec![Message { role: Role::User, parts }];
    Question { name: name.into(), request: ChatRequest { messages, max_tokens } }
}

/// A picture that the entry `item` names.
fn picture(item: &str, path: &Path) -> Result<Image> {
    if !path.is_file() {
        return Err(Error::MissingPicture { item: item.into(), path: path.into() });
    }
    Ok(Image::open(path).map_err(gar_core::Error::from)?)
}

/// Keeps the answers that no verdict was read from.
fn unparsed<'a>(answers: impl IntoIterator<Item = (String, &'a str, bool)>) -> Vec<Unparsed> {
    let unread = answers.into_iter().filter(|(_, _, read)| !read);
    unread.map(|(question, answer, _)| Unparsed { question, answer: answer.into() }).collect()
}
