//! Layers of `candle_nn` and `candle_transformers` in a backbone: a variable builder whose tensors are the encoder's
//! parameters.

use super::builder::Builder;
use candle_core::{DType, Device, Error, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use std::sync::{Mutex, PoisonError};

impl Builder {
    /// A builder of Candle's layers. Every tensor that they ask for becomes a parameter of the encoder, with the name that
    /// they give it and the initialization that they ask for, drawn from the encoder's seed.
    ///
    /// The layers see the parameters change as they are trained, because they share their memory; they record a graph in
    /// every pass. Three of Candle's do not fit. Batch norm copies its running statistics: use [`ConvBn`](super::ConvBn), whose
    /// results [`Ops::tensor`](super::Ops::tensor) gives to these layers, and [`Ops::image`](super::Ops::image) takes theirs. The
    /// fused `LayerNorm` and `softmax_last_dim` have no gradient: use `candle_nn::ops::layer_norm_slow` and
    /// `candle_nn::ops::softmax`.
    ///
    /// # Examples
    ///
    /// ```
    /// use clsa_model::backbone::Builder;
    /// use clsa_model::candle_core::Result;
    /// use clsa_model::candle_nn::{Conv2d, Conv2dConfig, Linear, conv2d, linear};
    ///
    /// fn layers(builder: &mut Builder) -> Result<(Conv2d, Linear)> {
    ///     let layers = builder.candle_layers();
    ///     let patches = Conv2dConfig { stride: 16, ..Conv2dConfig::default() };
    ///     Ok((conv2d(3, 64, 16, patches, layers.pp("patches"))?, linear(64, 64, layers.pp("blocks.0.mlp"))?))
    /// }
    /// ```
    pub fn candle_layers(&mut self) -> VarBuilder<'_> {
        let (dtype, device) = (self.dtype(), self.device().clone());
        VarBuilder::from_backend(Box::new(Parameters(Mutex::new(self))), dtype, device)
    }
}

/// Makes a parameter for each tensor that is asked for.
struct Parameters<'a>(Mutex<&'a mut Builder>);

impl SimpleBackend for Parameters<'_> {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut builder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if dtype != builder.dtype() || !device.same_device(builder.device()) {
            // A converted tensor would be a copy, which no training reaches.
            return Err(Error::Msg(format!("{name} is asked for in {dtype:?}: parameters are {:?}", builder.dtype())));
        }
        // Layers that ask for the same tensor share it.
        if let Some(made) = builder.parameters().iter().find(|p| p.name == name && p.var.shape() == &shape) {
            return Ok(made.var.as_tensor().clone());
        }
        match builder.parameter(name, shape.dims(), init) {
            Ok(parameter) => Ok(parameter.var.as_tensor().clone()),
            Err(error) => Err(Error::Msg(error.to_string())),
        }
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        Err(Error::Msg(format!("{name} is asked for without a shape, which no new parameter can have")))
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).has(name)
    }
}
