//! Errors planted in the operations that move, average and change single entries.
use super::*;

struct PoolTransposed;
impl Pool for PoolTransposed {
    fn average_pool(&self, x: &Tensor, spec: &PoolSpec) -> Result<Tensor> {
        spec.check(x)?;
        Cpu::default().average_pool(x, &PoolSpec { grid: [spec.grid[1], spec.grid[0]], ..*spec })
    }
}

struct LastOfEquals;
impl ArgMax for LastOfEquals {
    fn argmax(&self, x: &Tensor) -> Result<Vec<u32>> {
        Cpu::default().argmax(x)?;
        let last = |row: &[f32]| (0..row.len()).fold(0, |best, i| if row[i] >= row[best] { i } else { best }) as u32;
        Ok(x.host::<f32>()?.chunks(x.shape()[1]).map(last).collect())
    }
}

struct RowsOff;
impl Rows for RowsOff {
    fn gather(&self, table: &Tensor, index: &[u32]) -> Result<Tensor> {
        Cpu::default().gather(table, index)?;
        let next: Vec<u32> = index.iter().map(|&i| (i + 1) % table.shape()[0] as u32).collect();
        Cpu::default().gather(table, &next)
    }

    fn scatter(&self, base: &Tensor, index: &[u32], rows: &Tensor) -> Result<Tensor> {
        Cpu::default().scatter(base, index, rows)
    }
}

struct FirstWins;
impl Rows for FirstWins {
    fn gather(&self, table: &Tensor, index: &[u32]) -> Result<Tensor> {
        Cpu::default().gather(table, index)
    }

    fn scatter(&self, base: &Tensor, index: &[u32], rows: &Tensor) -> Result<Tensor> {
        Cpu::default().scatter(base, index, rows)?;
        let back: Vec<u32> = (0..index.len() as u32).rev().collect();
        let reversed: Vec<u32> = index.iter().rev().copied().collect();
        Cpu::default().scatter(base, &reversed, &Cpu::default().gather(rows, &back)?)
    }
}

struct PixelsTransposed;
impl PatchEmbed for PixelsTransposed {
    fn patch_embed(&self, pixels: &Tensor, spec: &PatchSpec<'_>) -> Result<Tensor> {
        spec.check(pixels)?;
        let [t, c, s, _] = pixels.dims("plant", "pixels")?;
        let mut out = Vec::new();
        for plane in 0..t * c {
            let plane = pixels.reshape(&[t * c, s, s])?.rows(plane..plane + 1)?.reshape(&[s, s])?;
            out.extend(swapped(&plane, [s, s, 1], &[s, s])?.to_f32_vec()?);
        }
        Cpu::default().patch_embed(&Tensor::from_vec(out, pixels.shape())?, spec)
    }
}

/// One channel is shown to the first channel of the weight alone.
struct OneForFirst;
impl PatchEmbed for OneForFirst {
    fn patch_embed(&self, pixels: &Tensor, spec: &PatchSpec<'_>) -> Result<Tensor> {
        let PatchDims { batch, channels, planes, side, .. } = spec.check(pixels)?;
        if planes == channels || pixels.dtype() == DType::U8 {
            return Cpu::default().patch_embed(pixels, spec);
        }
        let mut all = vec![0.0; batch * channels * side * side];
        let pictures = all.chunks_mut(channels * side * side).zip(pixels.host::<f32>()?.chunks(side * side));
        pictures.for_each(|(all, one)| all[..one.len()].copy_from_slice(one));
        Cpu::default().patch_embed(&Tensor::from_vec(all, &[batch, channels, side, side])?, spec)
    }
}

struct SignedBytes;
impl PatchEmbed for SignedBytes {
    fn patch_embed(&self, pixels: &Tensor, spec: &PatchSpec<'_>) -> Result<Tensor> {
        if pixels.dtype() != DType::U8 || spec.levels.is_some() {
            return Cpu::default().patch_embed(pixels, spec);
        }
        let values = pixels.host::<u8>()?.iter().map(|&byte| f32::from(byte as i8)).collect();
        Cpu::default().patch_embed(&Tensor::from_vec(values, pixels.shape())?, spec)
    }
}

/// Every channel has the first one's levels.
struct LevelsOfOne;
impl PatchEmbed for LevelsOfOne {
    fn patch_embed(&self, pixels: &Tensor, spec: &PatchSpec<'_>) -> Result<Tensor> {
        spec.check(pixels)?;
        let Some(levels) = spec.levels else { return Cpu::default().patch_embed(pixels, spec) };
        let all = Tensor::from_vec(levels.host::<f32>()?[..256].repeat(levels.shape()[0]), levels.shape())?;
        Cpu::default().patch_embed(pixels, &PatchSpec { levels: Some(&all), ..*spec })
    }
}

struct TanhGelu;
impl Pointwise for TanhGelu {
    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        Cpu::default().add(a, b)
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        Cpu::default().swiglu(gate, up)
    }

    fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        map(x, |_, x| 0.5 * x * (1.0 + (0.797_884_6 * (x + 0.044_715 * x * x * x)).tanh()))
    }
}

/// `silu(up) · gate`.
struct SwigluSwapped;
impl Pointwise for SwigluSwapped {
    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        Cpu::default().add(a, b)
    }

    fn swiglu(&self, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        Cpu::default().swiglu(up, gate)
    }

    fn gelu(&self, x: &Tensor) -> Result<Tensor> {
        Cpu::default().gelu(x)
    }
}

#[test]
fn are_caught() {
    caught!(pool, PoolTransposed);
    caught!(argmax, LastOfEquals);
    caught!(rows, RowsOff);
    caught!(rows, FirstWins);
    caught!(patch_embed, PixelsTransposed);
    caught!(patch_embed, OneForFirst);
    caught!(patch_embed, SignedBytes);
    caught!(patch_embed, LevelsOfOne);
    caught!(pointwise, TanhGelu);
    caught!(pointwise, SwigluSwapped);
}
