//! Every intermediate of one case as whole tensors: how a port or a kernel is debugged.
use std::{collections::BTreeMap, path::Path};

use gar_kernels::Tensor;
use gar_vision::Image;
use safetensors::{Dtype, tensor::TensorView};

pub use crate::case::Case;
use crate::{Error, GarModel, Result, eyes::Eyes};

/// Named tensors on the host. Those up to `features` are of the whole picture, be it shown to the decoder or not.
///
/// | name | shape and type | is |
/// |---|---|---|
/// | `input_ids` | `[L]` i32 | the whole prompt |
/// | `thumb_u8` | [3, S, S] u8 | the resized thumbnail before normalisation |
/// | `pixels` | [T, 3, S, S] f32 | the normalised tiles |
/// | `mask.tokens_on` | [T, S/p, S/p] u8 | set pixels of the mask in each patch, 255 at most |
/// | `vision` | [T, patches, C] f32 | the tower's output |
/// | `features` | [T, n, D] f32 | the projected features |
/// | `replay.{slot}` | [n, D] f32 | what stands for a region |
/// | `embeds` | [L, D] f32 | the decoder's input |
/// | `logits` | `[V]` f32 | after the last position of the prompt |
/// | `greedy` | [≤ N] i32 | the best token of each step, a stop token included |
/// | `step_logits` | [≤ N, V] f32 | those that chose each of `greedy` |
/// | `last_logits` | `[V]` f32 | after the last token; where that is a stop token, those that chose it |
#[derive(Clone, Debug, Default)]
pub struct Trace {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Trace {
    /// The floating-point tensor `name`.
    pub fn f32(&self, name: &str) -> Option<Vec<f32>> {
        let entry = self.entries.get(name).filter(|e| e.dtype == Dtype::F32)?;
        Some(entry.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// The integer tensor `name`.
    pub fn i32(&self, name: &str) -> Option<Vec<i32>> {
        let entry = self.entries.get(name).filter(|e| e.dtype == Dtype::I32)?;
        Some(entry.bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    /// The byte tensor `name`.
    pub fn u8(&self, name: &str) -> Option<&[u8]> {
        self.entries.get(name).filter(|e| e.dtype == Dtype::U8).map(|e| e.bytes.as_slice())
    }

    /// The extents of tensor `name`.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|e| e.shape.as_slice())
    }

    /// Writes all tensors as one safetensors file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        let io = |source| Error::Io { path: path.to_path_buf(), source };
        let mut views = Vec::with_capacity(self.entries.len());
        for (name, e) in &self.entries {
            let view = TensorView::new(e.dtype, e.shape.clone(), &e.bytes).map_err(|e| io(std::io::Error::other(e)))?;
            views.push((name.as_str(), view));
        }
        safetensors::serialize_to_file(views, None, path).map_err(|e| io(std::io::Error::other(e)))
    }

    fn put(&mut self, name: impl Into<String>, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) {
        self.entries.insert(name.into(), Entry { dtype, shape: shape.to_vec(), bytes });
    }

    fn put_floats(&mut self, name: impl Into<String>, model: &GarModel, tensor: &Tensor) -> Result<()> {
        self.put(name, Dtype::F32, tensor.shape(), floats(model, tensor)?);
        Ok(())
    }

    fn put_ids(&mut self, name: &str, ids: &[u32]) {
        let bytes = ids.iter().flat_map(|&id| (id as i32).to_le_bytes()).collect();
        self.put(name, Dtype::I32, &[ids.len()], bytes);
    }
}

/// A tensor's values on the host, in f32.
fn floats(model: &GarModel, tensor: &Tensor) -> Result<Vec<u8>> {
    let host = model.kernels().device.download(tensor)?;
    Ok(host.to_f32_vec()?.into_iter().flat_map(f32::to_le_bytes).collect())
}

/// Computes a case, with its picture below `images`, and up to `steps` greedy tokens.
///
/// # Errors
/// Whatever the case is refused for.
pub fn trace(model: &GarModel, case: &Case, images: &Path, steps: usize) -> Result<Trace> {
    traced(model, case, images, &Say::Greedy(steps))
}

/// As [`trace`], with an answer that is given: step `i` of `greedy` and `step_logits` follows the first `i` of `tokens`,
/// whatever the model itself would have said there. Two computations of a case are compared at every step by it, where
/// greedy answers go apart for good after one close choice.
///
/// # Errors
/// As [`trace`], and a token outside the vocabulary.
pub fn trace_along(model: &GarModel, case: &Case, images: &Path, tokens: &[u32]) -> Result<Trace> {
    traced(model, case, images, &Say::Given(tokens))
}

/// What the decoder is fed after the prompt.
enum Say<'a> {
    /// Its own choices, so many.
    Greedy(usize),
    Given(&'a [u32]),
}

fn traced(model: &GarModel, case: &Case, images: &Path, say: &Say<'_>) -> Result<Trace> {
    let parts = &model.parts;
    let k = &parts.kernels;
    let image = Image::open(images.join(&case.image))?;
    case.regions.check_image(image.width(), image.height())?;
    let mut trace = Trace::default();

    let (tiled, labels) = parts.tiles(&image, &case.regions, case.max_num_tiles)?;
    trace.put("thumb_u8", Dtype::U8, tiled.thumb().shape(), tiled.thumb().iter().copied().collect());
    let pixels = tiled.normalized().into_iter().flat_map(f32::to_le_bytes).collect();
    trace.put("pixels", Dtype::F32, tiled.pixels.shape(), pixels);
    let patch = parts.config.tower.spec.patch_size;
    let on = gar_prompt::tokens_on(labels.view(), parts.no_prompt(), patch)?;
    trace.put("mask.tokens_on", Dtype::U8, on.shape(), on.iter().copied().collect());

    let looked = parts.look("picture", tiled.pixels, labels)?;
    let features = parts.features(&looked, tiled.grid)?;
    trace.put_floats("vision", model, &looked.vision(k)?)?;
    trace.put_floats("features", model, &features.tokens)?;

    let eyes = Eyes::new(parts, &image, &case.regions, case.max_num_tiles).having_seen(features);
    let scene = model.scene_of(&eyes)?;
    let (ids, embeds) = scene.inside(&case.question)?;
    trace.put_ids("input_ids", &ids);
    for (slot, rows) in scene.crops() {
        trace.put_floats(format!("replay.{slot}"), model, rows)?;
    }
    trace.put_floats("embeds", model, &embeds)?;

    let decoder = &parts.decoder;
    let mut sequence = decoder.sequence(k, decoder.context())?;
    let mut logits = decoder.prefill(k, sequence.as_mut(), &embeds)?;
    let vocabulary = logits.reshape(&[logits.len()])?;
    trace.put_floats("logits", model, &vocabulary)?;
    let steps = match say {
        Say::Greedy(steps) => *steps,
        Say::Given(tokens) => tokens.len(),
    };
    let (mut greedy, mut step_logits) = (Vec::new(), Vec::new());
    while greedy.len() < steps && sequence.len() < sequence.capacity() {
        step_logits.extend(floats(model, &logits)?);
        let best = k.argmax.argmax(&logits)?;
        let said = match say {
            Say::Greedy(_) => best.clone(),
            Say::Given(tokens) => vec![tokens[greedy.len()]],
        };
        greedy.extend(best);
        if said.iter().any(|token| parts.stop_tokens.contains(token)) {
            break;
        }
        logits = decoder.step(k, &mut [sequence.as_mut()], &said)?;
    }
    trace.put_ids("greedy", &greedy);
    trace.put("step_logits", Dtype::F32, &[greedy.len(), logits.len()], step_logits);
    trace.put_floats("last_logits", model, &logits.reshape(&[logits.len()])?)?;
    Ok(trace)
}
