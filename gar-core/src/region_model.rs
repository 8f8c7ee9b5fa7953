//! The face for services.
use std::ops::ControlFlow;

use crate::{Answer, RegionRequest, Result};

/// Anything that answers questions about regions of an image: R = f(I, {Mᵢ}, T) (Grasp Any Region, Eq. 1).
///
/// Object safe, synchronous, `Send + Sync`; a server puts it behind a thread.
pub trait RegionModel: Send + Sync {
    /// Answers one request.
    ///
    /// # Errors
    /// Whatever the request is refused for.
    fn answer(&self, request: &RegionRequest) -> Result<Answer> {
        self.stream(request, &mut |_| ControlFlow::Continue(()))
    }

    /// Answers one request and passes the text on as it is made, in whole characters. `Break` ends the answer.
    ///
    /// # Errors
    /// Whatever the request is refused for.
    fn stream(&self, request: &RegionRequest, on: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<Answer>;

    /// Answers requests together; one that fails does not touch the others. Answers are those of [`answer`](Self::answer),
    /// token for token.
    fn answer_batch(&self, requests: &[RegionRequest]) -> Vec<Result<Answer>> {
        requests.iter().map(|request| self.answer(request)).collect()
    }
}
