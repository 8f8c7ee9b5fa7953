//! Decoding tokens one at a time without splitting a character.

use crate::cleanup::CleanUpStream;
use crate::{Result, Tokenizer};

/// How many tokens the window may hold before its settled part is dropped.
const WINDOW: usize = 32;
/// How many tokens stay as left context: decoders treat the first token specially (a leading space is stripped).
const CONTEXT: usize = 4;

/// Turns tokens into text as they come.
///
/// The pieces joined, [`finish`](Self::finish) included, are exactly what [`Tokenizer::decode`] makes of all tokens at
/// once. A character whose bytes are spread over tokens comes whole, with the token that completes it; bytes that never
/// become a character come as U+FFFD as soon as that is certain.
///
/// The work for a token does not grow with the length of the text: only a window of the last tokens is decoded.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Left context, then tokens that are not settled yet.
    window: Vec<u32>,
    /// Bytes of the window's text that were given out.
    emitted: usize,
    in_raw_bytes: bool,
    clean_up: Option<CleanUpStream>,
}

impl<'a> TextStream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        let clean_up = tokenizer.cleans_up().then(CleanUpStream::default);
        Self { tokenizer, window: Vec::new(), emitted: 0, in_raw_bytes: false, clean_up }
    }

    /// Takes a token; gives the text that became certain with it, possibly empty.
    pub fn push(&mut self, token: u32) -> Result<String> {
        self.window.push(token);
        // A run of raw bytes is one character or several or none, which only its end decides. A special token inside the
        // run is left out and does not end it.
        if self.tokenizer.is_shown(token) {
            self.in_raw_bytes = self.tokenizer.is_raw_byte(token);
        }
        if self.in_raw_bytes {
            return Ok(String::new());
        }
        let text = self.tokenizer.decode_uncleaned(&self.window)?;
        // An unfinished character decodes to a trailing U+FFFD; everything before it is settled.
        let settled = text.strip_suffix('\u{FFFD}').unwrap_or(&text).len();
        let piece = self.emit(&text, settled);
        if settled == text.len() && self.window.len() >= WINDOW {
            self.compact()?;
        }
        Ok(piece)
    }

    /// Gives what was held back; the stream starts afresh.
    pub fn finish(&mut self) -> Result<String> {
        let text = self.tokenizer.decode_uncleaned(&self.window)?;
        let mut piece = self.emit(&text, text.len());
        if let Some(clean_up) = &mut self.clean_up {
            piece.push_str(&clean_up.finish());
        }
        self.window.clear();
        self.emitted = 0;
        self.in_raw_bytes = false;
        Ok(piece)
    }

    fn emit(&mut self, text: &str, end: usize) -> String {
        let piece = text.get(self.emitted..end).unwrap_or_default();
        self.emitted = self.emitted.max(end);
        match &mut self.clean_up {
            Some(clean_up) => clean_up.push(piece),
            None => piece.to_owned(),
        }
    }

    /// Drops all but the last tokens of a window whose text was given out in full.
    fn compact(&mut self) -> Result<()> {
        let context = &self.window[self.window.len() - CONTEXT..];
        let text = self.tokenizer.decode_uncleaned(context)?;
        if !text.is_empty() {
            self.emitted = text.len();
            self.window.drain(..self.window.len() - CONTEXT);
        }
        Ok(())
    }
}
