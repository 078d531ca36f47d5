//! The loader of a run: it makes the views of the epoch that it is asked for.

use crate::error::Result;
use crate::make_views::MakeViews;
use candle_core::Device;
use clsa_augment::ViewPlan;
use clsa_data::{Dataset, Loader, LoaderConfig};
use std::sync::{Arc, mpsc};

/// A loader of views, and what another one is opened with when an epoch has views of another size.
pub(crate) struct ViewLoader {
    /// The loader of the epoch that was asked for last.
    pub loader: Loader<MakeViews>,
    /// What it turns samples into.
    pub views: Arc<MakeViews>,
    /// Sentences about images that were skipped.
    pub skipped: mpsc::Receiver<String>,
    sender: mpsc::Sender<String>,
    /// The views with their sizes of all epochs.
    plan: ViewPlan,
    config: LoaderConfig,
    device: Device,
}

impl ViewLoader {
    /// A loader that stands before the first epoch.
    pub fn open(dataset: Arc<dyn Dataset>, plan: &ViewPlan, config: LoaderConfig, device: &Device) -> Result<Self> {
        let (sender, skipped) = mpsc::channel();
        let views = Arc::new(MakeViews::for_device(plan.at_epoch(0), config.seed, device)?);
        let loader = loader(dataset, &views, config.clone(), sender.clone())?;
        Ok(Self { loader, views, skipped, sender, plan: plan.clone(), config, device: device.clone() })
    }

    /// Turns to an epoch: another loader takes this one's place where the views have another size.
    pub fn turn_to(&mut self, epoch: u64) -> Result<()> {
        let plan = self.plan.at_epoch(epoch);
        if plan != *self.views.plan() {
            self.views = Arc::new(MakeViews::for_device(plan, self.config.seed, &self.device)?);
            let dataset = Arc::clone(self.loader.dataset());
            self.loader = loader(dataset, &self.views, self.config.clone(), self.sender.clone())?;
        }
        Ok(())
    }
}

fn loader(
    dataset: Arc<dyn Dataset>,
    views: &Arc<MakeViews>,
    config: LoaderConfig,
    skipped: mpsc::Sender<String>,
) -> Result<Loader<MakeViews>> {
    Ok(Loader::new(dataset, Arc::clone(views), config)?.on_bad_sample(move |bad| {
        // Where nobody receives any more, there is nobody to warn.
        let _ = skipped.send(format!("sample skipped: {}", bad.reason));
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::Feed;
    use clsa_augment::{Augmenter, Layout, SampleId, View};
    use clsa_data::{Source, Split};

    #[test]
    fn encoders_are_given_the_views_of_the_plan_each_in_its_place() {
        let view = |size| View { size, ..View::default() };
        let plan = ViewPlan { key: view(8), weak: vec![view(9)], strong: vec![view(10)] };
        let source: Source = "procedural:classes=4,train=12,test=4,side=16".parse().unwrap();
        let data = source.open(Split::Train).unwrap();
        let config = LoaderConfig { batch_size: 4, seed: 3, threads: 1, ..LoaderConfig::default() };
        let mut all = ViewLoader::open(data.clone(), &plan, config, &Device::Cpu).unwrap();
        all.turn_to(1).unwrap();
        for batch in all.loader.epoch(1, 0) {
            let fed = Feed::Host.begin(&plan, batch.unwrap()).unwrap();
            let views = Feed::Host.views(&plan, &fed, &Device::Cpu).unwrap();
            for (row, &sample) in fed.batch.samples.iter().enumerate() {
                let image = data.image(sample).unwrap();
                let ids = SampleId { seed: 3, epoch: 1, sample: sample as u64 };
                let given = [&views.key, &views.weak[0], &views.strong[0]];
                for ((id, view), given) in ids.views(&plan).zip(given) {
                    let mut expected = vec![0f32; view.values()];
                    Augmenter::new().write(&image, view, id, Layout::ChannelsFirst, &mut expected).unwrap();
                    let given = given.get(row).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    assert_eq!(given, expected, "image {sample}, view of {}", view.size);
                }
            }
        }
    }
}
