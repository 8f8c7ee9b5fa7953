//! What is sent to a judge.
use serde_json::{Value, json};

use super::{Endpoint, PictureUrl};

/// One request for one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatRequest {
    /// The conversation; its last message is the question.
    pub messages: Vec<Message>,
    /// Most tokens of the answer.
    pub max_tokens: u32,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Text and pictures, in order.
    pub parts: Vec<Part>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The rules.
    System,
    /// The question.
    User,
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text.
    Text(String),
    /// A picture.
    Picture(PictureUrl),
}

impl Message {
    /// A message of text alone.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, parts: vec![Part::Text(text.into())] }
    }

    fn to_json(&self) -> Value {
        let content = match self.parts.as_slice() {
            // Servers without pictures know content as text only.
            [Part::Text(text)] => json!(text),
            parts => parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => json!({"type": "text", "text": text}),
                    Part::Picture(url) => json!({"type": "image_url", "image_url": {"url": url.as_str()}}),
                })
                .collect(),
        };
        let role = match self.role {
            Role::System => "system",
            Role::User => "user",
        };
        json!({"role": role, "content": content})
    }
}

impl ChatRequest {
    /// The body that is sent: the same text for the same request, so that its hash names it. The temperature is 0: a
    /// judge should say the same of the same.
    pub fn body(&self, endpoint: &Endpoint) -> String {
        self.to_json(endpoint).to_string()
    }

    /// The body for people: indented, the data of its pictures replaced by their size.
    pub fn shown(&self, endpoint: &Endpoint) -> String {
        let mut shown = self.clone();
        for part in shown.messages.iter_mut().flat_map(|message| &mut message.parts) {
            if let Part::Picture(url) = part {
                *url = url.shortened();
            }
        }
        format!("{:#}", shown.to_json(endpoint))
    }

    fn to_json(&self, endpoint: &Endpoint) -> Value {
        let messages: Vec<Value> = self.messages.iter().map(Message::to_json).collect();
        let body = json!({
            "model": endpoint.model(),
            "messages": messages,
            "temperature": 0.0,
            "max_tokens": self.max_tokens,
        });
        let Value::Object(mut body) = body else { return body };
        for (field, value) in endpoint.extra() {
            match value {
                Value::Null => drop(body.shift_remove(field)),
                value => drop(body.insert(field.clone(), value.clone())),
            }
        }
        Value::Object(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_those_of_the_chat_completions_form() {
        let extra = json!({"max_tokens": null, "max_completion_tokens": 7, "seed": 1});
        let request = ChatRequest {
            messages: vec![
                Message::text(Role::System, "Be brief."),
                Message {
                    role: Role::User,
                    parts: vec![Part::Text("What?".into()), Part::Picture(PictureUrl::png(&[1, 2, 3]))],
                },
            ],
            max_tokens: 5,
        };
        let endpoint = Endpoint::new("http://a", "m", None).unwrap().with_extra(extra.as_object().cloned().unwrap());
        let expected = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "What?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AQID"}},
                ]},
            ],
            "temperature": 0.0,
            "max_completion_tokens": 7,
            "seed": 1,
        });
        assert_eq!(serde_json::from_str::<Value>(&request.body(&endpoint)).unwrap(), expected);
        let shown = request.shown(&endpoint);
        assert!(shown.contains("data:image/png;base64,… (3 bytes)") && !shown.contains("AQID"), "{shown}");
    }
}
