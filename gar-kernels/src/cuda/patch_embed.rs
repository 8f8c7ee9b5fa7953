//! Patch embedding on CUDA: patches cut into rows, one matrix product, tokens joined.
use super::{
    Argument, Cuda, Kernel, Source,
    launch::{Parameter, THREADS, int, typed, typed_all},
};
use crate::{
    DType, Result, Tensor,
    ops::{Epilogue, MatMul, PatchDims, PatchEmbed, PatchSpec},
};

const OP: &str = "patch_embed";
/// Most blocks that cut patches: some times what a card holds at once.
const MOST_BLOCKS: usize = 4096;
static SOURCE: Source = Source { name: OP, text: include_str!("patch_embed.cu") };

pub(super) fn kernels() -> Vec<Kernel> {
    typed_all(&SOURCE, &["cut_patches", "join_tokens"])
}

impl PatchEmbed for Cuda {
    fn patch_embed(&self, pixels: &Tensor, spec: &PatchSpec<'_>) -> Result<Tensor> {
        let dims = spec.check(pixels)?;
        let PatchDims { batch, channels, planes, side, patch, width, grid, tokens } = dims;
        let (patches, k, dtype) = (grid * grid, channels * patch * patch, self.activations);
        let [from, number] = Parameter::arguments(Some(self.pixels(OP, "pixels", pixels)?));
        let levels = self.optional(OP, "levels", spec.levels, DType::F32)?;
        let (rows, to) = self.device.empty(&[batch, patches, k], dtype)?;
        self.activation(OP, "activations", &rows)?;
        if !rows.is_empty() {
            // A block counts the pixels of a row of patches.
            int(OP, "pixels", patch * side)?;
            let mut arguments = vec![from, number, levels.into(), to.into()];
            for extent in [channels, planes, side, patch] {
                arguments.push(int(OP, "pixels", extent)?);
            }
            let bands = batch * grid * channels;
            arguments.push(Argument::U64(bands as u64));
            let kernel = typed(&SOURCE, "cut_patches", dtype);
            self.launch_blocks(&kernel, bands.min(MOST_BLOCKS), THREADS, &arguments)?;
        }
        let epilogue = Epilogue { residual: spec.prompt, ..Epilogue::default() };
        let embedded = self.matmul(&rows, &spec.weight.reshape(&[width, k])?, epilogue)?;
        if spec.class_token.is_none() && spec.positions.is_none() {
            return Ok(embedded);
        }
        let parameter = |what, tensor: Option<&Tensor>| tensor.map(|t| self.parameter(OP, what, t, dtype)).transpose();
        let class_token = parameter("class_token", spec.class_token)?;
        let positions = parameter("positions", spec.positions)?;
        let (y, to) = self.device.empty(&[batch, tokens, width], dtype)?;
        if y.is_empty() {
            return Ok(y);
        }
        let mut arguments = vec![self.activation(OP, "patches", &embedded)?.into()];
        arguments.extend([class_token, positions].into_iter().flat_map(Parameter::arguments));
        let front = Argument::I32(i32::from(spec.class_token.is_some()));
        arguments.extend([to.into(), front, int(OP, "pixels", patches)?, int(OP, "weight", width)?]);
        arguments.push(Argument::U64(y.len() as u64));
        self.launch_items(&typed(&SOURCE, "join_tokens", dtype), y.len(), &arguments)?;
        Ok(y)
    }
}
