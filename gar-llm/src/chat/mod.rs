//! Conversations rendered to prompt text by the checkpoint's own chat template.
//!
//! The engine is set up as transformers sets up Jinja2 (`trim_blocks`, `lstrip_blocks`, loop controls, Python's string
//! methods, `tojson`, `raise_exception`, `strftime_now`), so that a template renders the same text.

mod jinja;

use std::path::Path;
use std::time::SystemTime;

use minijinja::{Environment, Value};

use crate::files::read_text_if_there;
use crate::{Error, Result, Tokenizer};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant`, or whatever else the template knows.
    pub role: String,
    /// What is said.
    pub content: Content,
}

/// The content of a [`Message`]. Templates of text-only models expect a text, templates of multimodal models parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A plain text.
    Text(String),
    /// Pictures and texts; the template decides on their order.
    Parts(Vec<Part>),
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A picture: the template writes its placeholder.
    Image,
    /// A video: the template writes its placeholder.
    Video,
    /// A text.
    Text(String),
}

impl Message {
    /// A message that is one plain text.
    pub fn text(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self { role: role.into(), content: Content::Text(text.into()) }
    }

    /// A message made of parts.
    pub fn parts(role: impl Into<String>, parts: impl Into<Vec<Part>>) -> Self {
        Self { role: role.into(), content: Content::Parts(parts.into()) }
    }

    fn to_value(&self) -> Value {
        let content = match &self.content {
            Content::Text(text) => Value::from(text.as_str()),
            Content::Parts(parts) => parts.iter().map(Part::to_value).collect(),
        };
        Value::from_pairs([("role", Value::from(self.role.as_str())), ("content", content)])
    }
}

impl Part {
    fn to_value(&self) -> Value {
        let kind = |kind: &str| ("type", Value::from(kind));
        match self {
            Self::Image => Value::from_pairs([kind("image")]),
            Self::Video => Value::from_pairs([kind("video")]),
            Self::Text(text) => Value::from_pairs([kind("text"), ("text", Value::from(text.as_str()))]),
        }
    }
}

/// A Jinja chat template with the special tokens it may name.
///
/// ```
/// use gar_llm::{ChatTemplate, Message};
/// let source = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}\n{% endfor %}";
/// let template = ChatTemplate::new(source, [("bos_token", "<s>")])?;
/// assert_eq!(template.render(&[Message::text("user", " Hello. ")], false)?, "<s><user>Hello.\n");
/// # Ok::<(), gar_llm::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    tokens: Vec<(String, String)>,
    place: String,
}

/// The name of the only template in the environment; errors name the file instead.
const NAME: &str = "chat_template";

impl ChatTemplate {
    /// Parses a template. `tokens` are the variables of special tokens, such as `("bos_token", "<|begin_of_text|>")`.
    pub fn new<K: Into<String>, V: Into<String>>(
        source: &str,
        tokens: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self> {
        let tokens = tokens.into_iter().map(|(name, text)| (name.into(), text.into())).collect();
        Self::parse(source, tokens, "(given as text)".into())
    }

    /// Finds the template of a checkpoint directory: `chat_template.jinja`, else `chat_template` in
    /// `tokenizer_config.json`, which is a text or a list of named texts (`default` is taken). `None` where there is
    /// neither.
    pub fn open(dir: impl AsRef<Path>, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let path = dir.as_ref().join("chat_template.jinja");
        let tokens: Vec<_> = tokenizer.named_tokens().map(|(name, text)| (name.into(), text.into())).collect();
        if let Some(source) = read_text_if_there(&path)? {
            return Self::parse(&source, tokens, path.display().to_string()).map(Some);
        }
        let place = dir.as_ref().join("tokenizer_config.json").display().to_string();
        match jinja::template_in(tokenizer.settings(), &place)? {
            Some(source) => Self::parse(source, tokens, place).map(Some),
            None => Ok(None),
        }
    }

    fn parse(source: &str, tokens: Vec<(String, String)>, place: String) -> Result<Self> {
        let mut environment = jinja::environment().map_err(|error| refusal(&place, &error))?;
        environment
            .add_template_owned(NAME, jinja::without_generation_tags(source))
            .map_err(|error| refusal(&place, &error))?;
        Ok(Self { environment, tokens, place })
    }

    /// The same template with `strftime_now` telling this time (in UTC) instead of the clock's.
    pub fn at(mut self, now: SystemTime) -> Self {
        jinja::set_now(&mut self.environment, move || now);
        self
    }

    /// The prompt text of a conversation. `add_generation_prompt` opens the assistant's turn.
    ///
    /// The text holds its special tokens, the one at the beginning included:
    /// [`encode`](Tokenizer::encode) it without adding any.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let messages: Value = messages.iter().map(Message::to_value).collect();
        let variables = [
            ("messages", messages),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ];
        let tokens = self.tokens.iter().map(|(name, text)| (name.as_str(), Value::from(text.as_str())));
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(Value::from_pairs(tokens.chain(variables))))
            .map_err(|error| refusal(&self.place, &error))
    }

    /// A user message in the form that this template shows: a plain text where it writes plain texts, else one text
    /// part. A template of a multimodal model may loop over parts and drop a plain text without a word.
    pub fn user(&self, text: &str) -> Message {
        const PROBE: &str = "probe-7f3a";
        let shown = self.render(&[Message::text("user", PROBE)], true).is_ok_and(|prompt| prompt.contains(PROBE));
        if shown { Message::text("user", text) } else { Message::parts("user", [Part::Text(text.into())]) }
    }
}

fn refusal(place: &str, error: &minijinja::Error) -> Error {
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    let what = error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    Error::Template { place: place.into(), reason: format!("{line}{what}") }
}
