//! The way back through each operation, in f32 on slices. Sums over rows are cut into blocks by shape alone and added in
//! order, so that results do not depend on the number of threads.
pub(crate) mod attention;
pub(crate) mod loss;
pub(crate) mod math;
pub(crate) mod matmul;
pub(crate) mod norm;
pub(crate) mod patch_embed;
pub(crate) mod pointwise;
pub(crate) mod pool;
pub(crate) mod roi_align;
