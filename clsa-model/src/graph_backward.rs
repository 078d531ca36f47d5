//! The backward pass of a graph of Candle's.

use crate::error::Result;
use crate::gradients::Gradients;
use crate::parameters::Parameter;
use crate::pass::Complete;
use candle_core::Tensor;
use candle_core::backprop::GradStore;

/// Takes the gradient of a graph's result back by Candle and adds the parameters' gradients, each of which is
/// then complete; those of other variables are left.
pub(crate) fn graph_backward(
    graph: Tensor,
    gradient: &Tensor,
    parameters: &[Parameter],
    gradients: &mut Gradients,
    complete: &mut Complete<'_>,
) -> Result<GradStore> {
    let mut store = (graph * gradient.detach())?.sum_all()?.backward()?;
    for parameter in parameters {
        if let Some(gradient) = store.remove(&parameter.var) {
            complete(parameter.index, gradients.add(parameter.index, &gradient)?);
        }
    }
    Ok(store)
}
