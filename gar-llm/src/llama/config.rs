//! The sizes and switches of a Llama, read from `config.json`.

use std::path::Path;

use serde_json::{Map, Value};

use crate::files::read_json;
use crate::{Error, Result};

/// Sizes and switches of a Llama.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LlamaConfig {
    /// V, tokens in the embedding table.
    pub vocab_size: usize,
    /// D, width of the residual stream.
    pub hidden_size: usize,
    /// Width inside an MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; a divisor of `heads` (grouped-query attention).
    pub kv_heads: usize,
    /// Entries of a head. Not necessarily `hidden_size / heads`.
    pub head_dim: usize,
    /// Longest sequence.
    pub max_positions: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched for a longer context.
    pub rope_scaling: RopeScaling,
    /// Added under the root of an RMS norm.
    pub rms_norm_eps: f32,
    /// Whether the attention projections have biases.
    pub attention_bias: bool,
    /// Whether the MLP projections have biases.
    pub mlp_bias: bool,
    /// Whether the output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
}

/// How rotary frequencies are stretched.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All frequencies divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Llama 3.1: long wavelengths divided by a factor, short ones kept, a linear blend between.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths above `original_max_positions / low_freq_factor` are stretched in full.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_positions / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length before stretching.
        original_max_positions: f64,
    },
}

impl LlamaConfig {
    /// Reads `config.json` of a plain Hugging Face directory; its `model_type` must be `llama`.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let path = dir.as_ref().join("config.json");
        Self::from_json(&read_json(&path)?, &path.display().to_string())
    }

    /// Reads a configuration object, such as the `text_config` of a multimodal model. `place` names it in errors.
    ///
    /// A field that is absent takes transformers' default, where there is one. A field whose value asks for something
    /// that is not computed here (another activation, another kind of rotary scaling, quantised weights) is refused.
    pub fn from_json(config: &Value, place: &str) -> Result<Self> {
        let Some(object) = config.as_object() else {
            return Err(Error::Config {
                place: place.into(),
                field: "(whole file)".into(),
                expected: "an object".into(),
                found: config.to_string(),
            });
        };
        let fields = Fields { object, place };
        fields.only("model_type", "llama")?;
        fields.only("hidden_act", "silu")?;
        fields.absent("quantization_config")?;
        fields.only_number("partial_rotary_factor", 1.0)?;

        let (hidden_size, heads) = (fields.size("hidden_size", None)?, fields.size("num_attention_heads", None)?);
        let kv_heads = fields.size("num_key_value_heads", Some(heads))?;
        if heads % kv_heads != 0 {
            return Err(fields.refuse("num_key_value_heads", &format!("a divisor of {heads}"), kv_heads));
        }
        let head_dim = match fields.get("head_dim") {
            None if hidden_size % heads != 0 => {
                return Err(fields.refuse("hidden_size", &format!("a multiple of {heads} heads"), hidden_size));
            }
            _ => fields.size("head_dim", Some(hidden_size / heads))?,
        };
        if head_dim % 2 != 0 {
            return Err(fields.refuse("head_dim", "an even number", head_dim));
        }
        // transformers 5 gathers everything about rotary positions in one object.
        let rope = fields.object("rope_scaling")?.or(fields.object("rope_parameters")?);
        let rope_theta = match rope.as_ref().filter(|rope| rope.get("rope_theta").is_some()) {
            Some(rope) => rope.positive("rope_theta", None)?,
            None => fields.positive("rope_theta", Some(10_000.0))?,
        };
        Ok(Self {
            vocab_size: fields.size("vocab_size", None)?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size", None)?,
            layers: fields.size("num_hidden_layers", None)?,
            heads,
            kv_heads,
            head_dim,
            max_positions: fields.size("max_position_embeddings", Some(2048))?,
            rope_theta,
            rope_scaling: rope.map_or(Ok(RopeScaling::None), |rope| rope.rope_scaling())?,
            rms_norm_eps: fields.positive("rms_norm_eps", Some(1e-6))? as f32,
            attention_bias: fields.switch("attention_bias")?,
            mlp_bias: fields.switch("mlp_bias")?,
            tie_word_embeddings: fields.switch("tie_word_embeddings")?,
            eos_token_ids: fields.token_ids("eos_token_id")?,
        })
    }
}

/// The fields of an object, read with errors that name them.
pub(crate) struct Fields<'a> {
    pub(crate) object: &'a Map<String, Value>,
    pub(crate) place: &'a str,
}

impl<'a> Fields<'a> {
    /// The value of a field that is there and not null.
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    fn refuse(&self, field: &str, expected: &str, found: impl ToString) -> Error {
        let (place, expected, found) = (self.place.into(), expected.into(), found.to_string());
        Error::Config { place, field: field.into(), expected, found }
    }

    fn only(&self, field: &str, expected: &str) -> Result<()> {
        match self.get(field) {
            Some(value) if value != expected => Err(self.refuse(field, &format!("{expected:?}"), value)),
            _ => Ok(()),
        }
    }

    fn only_number(&self, field: &str, expected: f64) -> Result<()> {
        match self.get(field) {
            Some(value) if value.as_f64() != Some(expected) => Err(self.refuse(field, &expected.to_string(), value)),
            _ => Ok(()),
        }
    }

    fn absent(&self, field: &str) -> Result<()> {
        self.get(field).map_or(Ok(()), |value| Err(self.refuse(field, "nothing (plain weights)", value)))
    }

    fn size(&self, field: &str, default: Option<usize>) -> Result<usize> {
        // The bound keeps products of sizes far from overflow.
        const MOST: u64 = 1 << 28;
        let expected = "a whole number from 1 to 2^28";
        match (self.get(field), default) {
            (Some(value), _) => match value.as_u64() {
                Some(size @ 1..=MOST) => Ok(size as usize),
                _ => Err(self.refuse(field, expected, value)),
            },
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.refuse(field, expected, "nothing")),
        }
    }

    fn positive(&self, field: &str, default: Option<f64>) -> Result<f64> {
        match (self.get(field), default) {
            (Some(value), _) => match value.as_f64() {
                Some(x) if x > 0.0 && x.is_finite() => Ok(x),
                _ => Err(self.refuse(field, "a positive number", value)),
            },
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.refuse(field, "a positive number", "nothing")),
        }
    }

    fn switch(&self, field: &str) -> Result<bool> {
        self.get(field)
            .map_or(Ok(false), |value| value.as_bool().ok_or_else(|| self.refuse(field, "true or false", value)))
    }

    fn object(&self, field: &str) -> Result<Option<Fields<'a>>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Fields { object, place: self.place })),
            Some(value) => Err(self.refuse(field, "an object", value)),
        }
    }

    /// A token id, a list of them, or nothing.
    pub(crate) fn token_ids(&self, field: &str) -> Result<Vec<u32>> {
        let id = |value: &Value| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| self.refuse(field, "a token id or a list of them", value))
        };
        match self.get(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(ids)) => ids.iter().map(id).collect(),
            Some(value) => Ok(vec![id(value)?]),
        }
    }

    fn rope_scaling(&self) -> Result<RopeScaling> {
        let kind = self.get("rope_type").or_else(|| self.get("type"));
        let factor = || self.positive("factor", None);
        match kind.map(|kind| kind.as_str().unwrap_or_default()) {
            None | Some("default") => Ok(RopeScaling::None),
            Some("linear") => Ok(RopeScaling::Linear { factor: factor()? }),
            Some("llama3") => {
                let low_freq_factor = self.positive("low_freq_factor", None)?;
                let high_freq_factor = self.positive("high_freq_factor", None)?;
                if high_freq_factor <= low_freq_factor {
                    let expected = format!("more than low_freq_factor {low_freq_factor}");
                    return Err(self.refuse("high_freq_factor", &expected, high_freq_factor));
                }
                let original_max_positions = self.positive("original_max_position_embeddings", None)?;
                Ok(RopeScaling::Llama3 { factor: factor()?, low_freq_factor, high_freq_factor, original_max_positions })
            }
            Some(_) => {
                let found = kind.map(Value::to_string).unwrap_or_default();
                Err(self.refuse("rope_type", "\"default\", \"linear\" or \"llama3\"", found))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn base() -> Value {
        json!({
            "model_type": "llama", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 2, "num_attention_heads": 4
        })
    }

    fn with(field: &str, value: Value) -> Result<LlamaConfig> {
        let mut config = base();
        config[field] = value;
        LlamaConfig::from_json(&config, "config.json")
    }

    #[test]
    fn defaults_are_those_of_transformers() {
        let config = LlamaConfig::from_json(&base(), "config.json").unwrap();
        assert_eq!((config.kv_heads, config.head_dim, config.max_positions), (4, 16, 2048));
        assert_eq!((config.rope_theta, config.rope_scaling, config.rms_norm_eps), (10_000.0, RopeScaling::None, 1e-6));
        assert!(!config.tie_word_embeddings && !config.attention_bias && !config.mlp_bias);
        assert_eq!(with("eos_token_id", json!(7)).unwrap().eos_token_ids, [7]);
        assert_eq!(with("eos_token_id", json!([7, 8])).unwrap().eos_token_ids, [7, 8]);
        assert_eq!(with("head_dim", json!(32)).unwrap().head_dim, 32);
        let rope = with("rope_parameters", json!({"rope_type": "default", "rope_theta": 5e5})).unwrap();
        assert_eq!((rope.rope_theta, rope.rope_scaling), (5e5, RopeScaling::None));
        let rope = with("rope_scaling", json!({"type": "linear", "factor": 2})).unwrap();
        assert_eq!(rope.rope_scaling, RopeScaling::Linear { factor: 2.0 });
    }

    #[test]
    fn refuses_what_it_does_not_compute() {
        for (field, value) in [
            ("model_type", json!("qwen2")),
            ("hidden_act", json!("gelu")),
            ("quantization_config", json!({"bits": 4})),
            ("partial_rotary_factor", json!(0.5)),
            ("num_key_value_heads", json!(3)),
            ("hidden_size", json!(66)),
            ("hidden_size", json!(0)),
            ("hidden_size", json!(-64)),
            ("vocab_size", json!("many")),
            ("num_hidden_layers", json!(null)),
            ("intermediate_size", json!(1e30)),
            ("head_dim", json!(15)),
            ("rope_theta", json!(0)),
            ("rms_norm_eps", json!(-1e-5)),
            ("attention_bias", json!("yes")),
            ("eos_token_id", json!(-1)),
            ("eos_token_id", json!([1, "two"])),
            ("rope_scaling", json!("yarn")),
        ] {
            let error = with(field, value.clone()).unwrap_err();
            assert!(matches!(&error, Error::Config { field: f, .. } if f == field), "{field} {value}: {error}");
        }
        let yarn = with("rope_scaling", json!({"rope_type": "yarn", "factor": 2})).unwrap_err();
        assert!(yarn.to_string().contains("yarn"), "{yarn}");
        let short = with("rope_scaling", json!({"rope_type": "llama3", "factor": 2})).unwrap_err();
        assert!(short.to_string().contains("low_freq_factor"), "{short}");
    }
}
