//! `gar ask`: a question about regions, or a conversation.
use std::io::{BufRead, IsTerminal};

use crate::args::AskArgs;
use crate::error::{Error, Result};
use crate::output::Console;
use crate::session::{Picture, Session};

pub(crate) fn run(args: &AskArgs, console: &Console) -> Result<()> {
    let picture = Picture::open(&args.image, &args.session, 0, console)?;
    let session = picture.encode(&args.session, args.question.as_deref(), console)?;
    match &args.question {
        Some(question) => session.answer(true, |options, on_text| session.scene.ask_with(question, options, on_text)),
        None => converse(&session, console),
    }
}

/// Answers line after line. A question that fails is reported and leaves the conversation as it was.
fn converse(session: &Session, console: &Console) -> Result<()> {
    let stdin = std::io::stdin();
    let terminal = stdin.is_terminal();
    if terminal {
        console.note("Ask about the picture; /reset begins anew, /quit ends.");
    }
    let mut chat = session.scene.chat();
    let (mut asked, mut failed) = (0, 0);
    let mut lines = stdin.lock().lines();
    loop {
        if terminal {
            console.prompt();
        }
        let Some(line) = lines.next() else { break };
        let line = line.map_err(|source| Error::Stream { stream: "input", source })?;
        match line.trim() {
            "" => {}
            "/quit" => break,
            "/reset" => chat = session.scene.chat(),
            question => {
                asked += 1;
                let answered = session.answer(false, |options, on_text| chat.ask_with(question, options, on_text));
                match answered {
                    Err(error @ Error::Core(_)) => {
                        failed += 1;
                        console.error(&error);
                    }
                    other => other?,
                }
            }
        }
    }
    // At a terminal the user has seen what failed and went on.
    if failed > 0 && !terminal { Err(Error::Questions { failed, asked }) } else { Ok(()) }
}
