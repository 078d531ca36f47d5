//! Which views are made of each image: the paper's plans, as data.

use serde::{Deserialize, Serialize};

use crate::check::field;
use crate::{AugmentError, SampleId, StrongPolicy, View, ViewId};

/// The views that are made of each image: one key view, weak views and strong views (paper, section 3).
///
/// # Examples
/// In a configuration a view names only what differs from the paper's weak view of 224 pixels ([`View::default`]):
///
/// ```
/// use clsa_augment::{ColorJitter, StrongPolicy, View, ViewPlan};
///
/// let plan: ViewPlan = toml::from_str(
///     "
///     key = { size = 160 }
///     weak = [{ size = 160, scale = [0.2, 1.0] }, { size = 96, jitter = { hue = 0.2 } }]
///
///     [[strong]]
///     size = 96
///     scale = [0.086, 0.429]          # area of the crop, as a fraction of the image's
///     ratio = [0.75, 1.3333]          # its width over its height
///     grayscale = 0.1                 # probabilities
///     flip = 0.5
///     blur = false                    # jitter, blur and strong: false, true or a table
///     strong = { draws = 3, probability = 0.5, pool = 'extended' }
///     normalize = { mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25] }
///     ",
/// )?;
/// plan.validate()?;
/// assert_eq!(plan.len(), 4);
/// assert_eq!(plan.weak[0], View::weak(160, (0.2, 1.0)));
/// assert_eq!(plan.weak[1].jitter, Some(ColorJitter { hue: 0.2, ..ColorJitter::default() }));
/// assert_eq!(plan.strong[0].strong, Some(StrongPolicy { draws: 3, ..StrongPolicy::extended() }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewPlan {
    /// The view that the momentum encoder sees.
    #[serde(default)]
    pub key: View,
    /// The views that enter the contrastive loss. At least one.
    pub weak: Vec<View>,
    /// The views whose distribution is drawn towards that of the weak views. May be empty.
    #[serde(default)]
    pub strong: Vec<View>,
}

/// Sides and crop area ranges of the paper's five-crop plan.
const MULTI: [(u32, (f64, f64)); 5] =
    [(224, (0.2, 1.0)), (192, (0.172, 0.86)), (160, (0.143, 0.715)), (128, (0.114, 0.571)), (96, (0.086, 0.429))];

impl ViewPlan {
    /// CLSA-Single: one weak view of 224 pixels and one strong view of 96.
    pub fn single() -> Self {
        let (size, scale) = MULTI[4];
        Self { key: View::default(), weak: vec![View::default()], strong: vec![View::strong(size, scale)] }
    }

    /// CLSA-Multi: five weak and five strong views of 224, 192, 160, 128 and 96 pixels.
    pub fn multi() -> Self {
        Self {
            key: View::default(),
            weak: MULTI.map(|(size, scale)| View::weak(size, scale)).to_vec(),
            strong: MULTI.map(|(size, scale)| View::strong(size, scale)).to_vec(),
        }
    }

    /// MoCo v2: one weak view of 224 pixels, no strong view.
    pub fn moco_v2() -> Self {
        Self { key: View::default(), weak: vec![View::default()], strong: Vec::new() }
    }

    /// For small images such as CIFAR's: key, weak and strong view all of `side` pixels, cropped from 0.2 to 1 of the
    /// image, and without blur, as is usual for SimCLR and MoCo on CIFAR (a blur of σ = 2 leaves nothing of 32 pixels).
    pub fn small(side: u32) -> Self {
        let weak = View { blur: None, ..View::weak(side, (0.2, 1.0)) };
        let strong = View { strong: Some(StrongPolicy::default()), ..weak.clone() };
        Self { key: weak.clone(), weak: vec![weak], strong: vec![strong] }
    }

    /// All views in the order of [`ViewId::view`]: key, weak views, strong views.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        std::iter::once(&self.key).chain(&self.weak).chain(&self.strong)
    }

    /// The plan as it is in an epoch, counted from 0: see [`View::at_epoch`].
    pub fn at_epoch(&self, epoch: u64) -> Self {
        let of_epoch = |views: &[View]| views.iter().map(|view| view.at_epoch(epoch)).collect();
        Self { key: self.key.at_epoch(epoch), weak: of_epoch(&self.weak), strong: of_epoch(&self.strong) }
    }

    /// Number of views: 1 + weak + strong.
    #[allow(clippy::len_without_is_empty)] // there is always a key view
    pub fn len(&self) -> usize {
        1 + self.weak.len() + self.strong.len()
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`AugmentError::Setting`] with the first field that is out of range, such as `weak[1].scale`.
    pub fn validate(&self) -> Result<(), AugmentError> {
        field(!self.weak.is_empty(), "weak", &format_args!("empty"), "a list of at least one view")?;
        self.key.validate().map_err(|error| error.within("key"))?;
        for (kind, views) in [("weak", &self.weak), ("strong", &self.strong)] {
            for (index, view) in views.iter().enumerate() {
                view.validate().map_err(|error| error.within(format_args!("{kind}[{index}]")))?;
            }
        }
        Ok(())
    }
}

impl SampleId {
    /// The views of a plan, each with what says which one it is, and with its last size: for those of [`View::early_sizes`], give
    /// [`plan.at_epoch(self.epoch)`](ViewPlan::at_epoch).
    pub fn views(self, plan: &ViewPlan) -> impl Iterator<Item = (ViewId, &View)> {
        let Self { seed, epoch, sample } = self;
        (0..).map(move |view| ViewId { seed, epoch, sample, view }).zip(plan.views())
    }
}
