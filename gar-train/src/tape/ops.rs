//! Every operation of the table, noted. The arithmetic of the way back is in [`crate::backward`].
use std::fmt;

use gar_core::kernels::{
    DType, Device, Kernels, Result, Tensor,
    ops::{
        Activation, Attention, AttentionSpec, Epilogue, MatMul, MatMulDims, Norm, NormSpec, PatchEmbed, PatchSpec,
        Pointwise, Pool, PoolSpec, RoiAlign, RoiAlignSpec, RoiBox, Rotary, RotarySpec, Rows,
    },
};

use super::{Gradients, Tape, host, into_host};
use crate::backward::{attention, matmul, norm, patch_embed, pointwise, pool, roi_align};

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({} operations on {})", self.lock().nodes.len(), self.inner.device.name())
    }
}

impl Device for Tape {
    fn name(&self) -> &str {
        self.inner.device.name()
    }

    fn upload(&self, tensor: &Tensor) -> Result<Tensor> {
        let output = self.inner.device.upload(tensor)?;
        // On the CPU this is the tensor itself; elsewhere a copy, whose gradient is that of what was copied.
        if super::key(&output) != super::key(tensor) {
            let from = tensor.clone();
            let back = || {
                move |_: &Kernels, dy: Vec<f32>, g: &mut Gradients| {
                    g.give(&from, dy);
                    Ok(())
                }
            };
            self.note("upload", &[Some(tensor)], &output, back);
        }
        Ok(output)
    }

    fn download(&self, tensor: &Tensor) -> Result<Tensor> {
        self.inner.device.download(tensor)
    }

    fn zeros(&self, shape: &[usize], dtype: DType) -> Result<Tensor> {
        self.inner.device.zeros(shape, dtype)
    }

    fn synchronize(&self) -> Result<()> {
        self.inner.device.synchronize()
    }
}

// Weights are not prepared: gradients belong to storages, and a prepared weight has another one.
impl MatMul for Tape {
    fn matmul(&self, x: &Tensor, w: &Tensor, epilogue: Epilogue<'_>) -> Result<Tensor> {
        let (dims, _) = MatMulDims::check(x, w, &epilogue)?;
        // Gradients are of f32.
        let epilogue = Epilogue { to: None, ..epilogue };
        let Epilogue { bias, activation, scale, residual, .. } = epilogue;
        let inner = &self.inner;
        // The way back through GELU needs what went into it, so that is computed as a value of its own.
        let (before, output) = match activation {
            Activation::Identity => (None, inner.matmul.matmul(x, w, epilogue)?),
            Activation::Gelu => {
                let z = inner.matmul.matmul(x, w, Epilogue { bias, ..Epilogue::default() })?;
                let output = match (scale, residual) {
                    (None, None) => inner.pointwise.gelu(&z)?,
                    _ => inner.matmul.matmul(x, w, epilogue)?,
                };
                (Some(z), output)
            }
        };
        self.note("matmul", &[Some(x), Some(w), bias, scale, residual], &output, || {
            let node = matmul::Node {
                x: x.clone(),
                w: w.clone(),
                bias: bias.cloned(),
                scale: scale.cloned(),
                residual: residual.cloned(),
                before,
                dims,
            };
            move |k: &Kernels, dy: Vec<f32>, g: &mut Gradients| node.back(k, dy, g)
        });
        Ok(output)
    }
}

impl Norm for Tape {
    fn norm(&self, x: &Tensor, spec: &NormSpec<'_>) -> Result<Tensor> {
        let output = self.inner.norm.norm(x, spec)?;
        self.note("norm", &[Some(x), Some(spec.weight), spec.bias], &output, || {
            let (x, weight, bias) = (x.clone(), spec.weight.clone(), spec.bias.cloned());
            let (kind, eps) = (spec.kind, spec.eps);
            move |k: &Kernels, dy: Vec<f32>, g: &mut Gradients| {
                let slopes = norm::back(&host(k, &x)?, &host(k, &weight)?, kind, eps, &dy);
                g.give(&x, slopes.x);
                g.add(&weight, &slopes.weight);
                if let Some(bias) = &bias {
                    g.add(bias, &slopes.bias);
                }
                Ok(())
            }
        });
        Ok(output)
    }
}

impl Rotary for Tape {
    fn rotary(&self, x: &Tensor, spec: &RotarySpec<'_>) -> Result<Tensor> {
        let output = self.inner.rotary.rotary(x, spec)?;
        self.note("rotary", &[Some(x)], &output, || {
            let (x, cos, sin) = (x.clone(), spec.cos.clone(), spec.sin.clone());
            let (start, pairing) = (spec.start.to_vec(), spec.pairing);
            // A rotation's transpose is the rotation back.
            move |k: &Kernels, dy: Vec<f32>, g: &mut Gradients| {
                let back: Vec<f32> = host(k, &sin)?.iter().map(|s| -s).collect();
                let sin = k.device.upload(&Tensor::from_vec(back, sin.shape())?)?;
                let dy = k.device.upload(&Tensor::from_vec(dy, x.shape())?)?;
                let spec = RotarySpec { cos: &cos, sin: &sin, start: &start, pairing };
                g.give(&x, into_host(k, k.rotary.rotary(&dy, &spec)?)?);
                Ok(())
            }
        });
        Ok(output)
    }
}

impl Attention for Tape {
    fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, spec: &AttentionSpec) -> Result<Tensor> {
        let dims = spec.check(q, k, v)?;
        let output = self.inner.attention.attention(q, k, v, spec)?;
        self.note("attention", &[Some(q), Some(k), Some(v)], &output, || {
            let (q, keys, values, spec) = (q.clone(), k.clone(), v.clone(), *spec);
            move |k: &Kernels, dy: Vec<f32>, g: &mut Gradients| {
                let slopes = attention::back(&host(k, &q)?, &host(k, &keys)?, &host(k, &values)?, &dy, dims, spec);
                g.give(&q, slopes.q);
                g.give(&keys, slopes.k);
                g.give(&values, slopes.v);
                Ok(())
            }
        });
        Ok(output)
    }
}

impl RoiAlign for Tape {
    fn roi_align(&self, map: &Tensor, boxes: &[RoiBox], spec: &RoiAlignSpec) -> Result<Tensor> {
        let dims = spec.check(map, boxes)?;
        let output = self.inner.roi_align.roi_align(map, boxes, spec)?;
        self.note("roi_align", &[Some(map)], &output, || {
            let (map, boxes, spec) = (map.clone(), boxes.to_vec(), *spec);
            move |_: &Kernels, dy: Vec<f32>, g: &mut Gradients| {
                g.update(&map, |sum| roi_align::back(sum, dims, &boxes, &spec, &dy));
                Ok(())
            }
        });
        Ok(output)
    }
}

impl Pool for Tape {
    fn average_pool(&self, x: &Tensor, spec: &PoolSpec) -> Result<Tensor> {
        let dims = spec.check(x)?;
        let output = self.inner.pool.average_pool(x, spec)?;
        self.note("average_pool", &[Some(x)], &output, || {
            let (x, spec) = (x.clone(), *spec);
            move |_: &Kernels, dy: Vec<f32>, g: &mut Gradients| {
                g.give(&x, pool::back(dims, spec, &dy));
                Ok(())
            }
        });
        Ok(output)
    }
}

impl Pointwise for Tape {
    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let output = self.inner.pointwise.add(a, b)?;
        self.note("add", &[Some(a), Some(b)], &output, || {
            let (a, b) = (a.clone(), b.clone());
            move |_: &Kernels, dy: Vec<f32>, g: &mut Gradients| {
                g.add(&a, &dy);
                g.give(&b, dy);
                Ok(())
            }
        });
        Ok(output)
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        let output = self.inner.pointwise.swiglu(gate, up)?;
        self.note("swiglu", &[Some(gate), Some(up)], &output, || {
            let (gate, up) = (gate.clone(), up.clone());
            move |k: &Kernels, dy: Vec<f32>, g: &mut Gradients| {
                let (d_gate, d_up) = pointwise::swiglu(&host(k, &gate)?, &host(k, &up)?, dy);
                g.give(&gate, d_gate);
                g.give(&up, d_up);
                Ok(())
            }
        });
        Ok(output)
    }

    fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        let output = self.inner.pointwise.gelu(x)?;
        self.note("gelu", &[Some(x)], &output, || {
            let x = x.clone();
            move |k: &Kernels, mut dy: Vec<f32>, g: &mut Gradients| {
                pointwise::gelu(&host(k, &x)?, &mut dy);
                g.give(&x, dy);
                Ok(())
            }
        });
        Ok(output)
    }
}

impl Rows for Tape {
    fn gather(&self, table: &Tensor, index: &[u32]) -> Result<Tensor> {
        let output = self.inner.rows.gather(table, index)?;
        self.note("gather", &[Some(table)], &output, || {
            let (table, index) = (table.clone(), index.to_vec());
            move |_: &Kernels, dy: Vec<f32>, g: &mut Gradients| {
                let width = table.as_rows().1;
                g.update(&table, |sum| {
                    for (&i, dy) in index.iter().zip(dy.chunks_exact(width.max(1))) {
                        let row = &mut sum[i as usize * width..][..width];
                        row.iter_mut().zip(dy).for_each(|(s, d)| *s += d);
                    }
                });
                Ok(())
            }
        });
        Ok(output)
    }

    fn scatter(&self, base: &Tensor, index: &[u32], rows: &Tensor) -> Result<Tensor> {
        let output = self.inner.rows.scatter(base, index, rows)?;
        self.note("scatter", &[Some(base), Some(rows)], &output, || {
            let (base, rows, index) = (base.clone(), rows.clone(), index.to_vec());
            move |_: &Kernels, mut below: Vec<f32>, g: &mut Gradients| {
                let width = base.as_rows().1;
                let mut own = vec![0.0; index.len() * width];
                // From the last on: of equal indices the last one was written, the others have no say.
                for (n, &i) in index.iter().enumerate().rev() {
                    let row = &mut below[i as usize * width..][..width];
                    own[n * width..][..width].copy_from_slice(row);
                    row.fill(0.0);
                }
                g.give(&base, below);
                g.give(&rows, own);
                Ok(())
            }
        });
        Ok(output)
    }
}

impl PatchEmbed for Tape {
    fn patch_embed(&self, pixels: &Tensor, spec: &PatchSpec<'_>) -> Result<Tensor> {
        let dims = spec.check(pixels)?;
        let output = self.inner.patch_embed.patch_embed(pixels, spec)?;
        let inputs = [Some(pixels), Some(spec.weight), spec.prompt, spec.class_token, spec.positions];
        self.note("patch_embed", &inputs, &output, || {
            let node = patch_embed::Node {
                pixels: pixels.clone(),
                levels: spec.levels.cloned(),
                weight: spec.weight.clone(),
                prompt: spec.prompt.cloned(),
                class_token: spec.class_token.cloned(),
                positions: spec.positions.cloned(),
                dims,
            };
            move |k: &Kernels, dy: Vec<f32>, g: &mut Gradients| node.back(k, dy, g)
        });
        Ok(output)
    }
}
