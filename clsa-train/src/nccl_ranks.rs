//! Ranks as processes with a GPU each, which exchange tensors by NCCL.

use crate::communicator::{Communicator, PendingMean};
use crate::rendezvous::{self, Group};
use crate::route::Route;
use candle_core::{Device, Error, Result, Tensor, bail};
use clsa_cuda::{NcclGroup, NcclId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// This process and its GPU among those of a group. Clones are of the same process.
///
/// All exchanges are done on a stream of the GPU that they have for themselves, so that the mean of gradients goes on beside the backward
/// pass; the host waits for none. Tensors of the CPU go by the GPU. A process that dies leaves the others waiting: whoever has started them is to end all.
#[derive(Clone)]
pub struct Nccl(Arc<Process>);

struct Process {
    group: NcclGroup,
    waited_ns: AtomicU64,
}

impl Nccl {
    /// Joins the others as number `rank` of `world_size`; waits until all have. `address`, `HOST:PORT`, is where the first of them
    /// can be asked for what makes the group one, which has to be within `patience`. `job`, by which other groups at the same address are
    /// told apart, is the same for all; it may be empty.
    ///
    /// # Errors
    /// The others do not come, another group is there, the address is in use, or NCCL fails.
    pub fn join(
        device: &Device,
        job: &str,
        rank: usize,
        world_size: usize,
        address: &str,
        patience: Duration,
    ) -> Result<Self> {
        let until = Instant::now() + patience;
        let met = |error: std::io::Error| Error::Msg(format!("MASTER_ADDR and MASTER_PORT ({address}): {error}"));
        let ranks = Group::new(world_size, job);
        let id = if rank == 0 {
            let id = NcclId::new().map_err(Error::wrap)?;
            if world_size > 1 {
                let listener = rendezvous::listen(address).map_err(met)?;
                rendezvous::hand_out(&listener, &ranks, id.bytes(), until).map_err(met)?;
            }
            id
        } else {
            let bytes = rendezvous::ask(address, rank, &ranks, NcclId::LEN, until).map_err(met)?;
            let Ok(bytes) = bytes.try_into() else { bail!("the first rank has handed out too few bytes") };
            NcclId::from_bytes(bytes)
        };
        let group = NcclGroup::join(device, id, rank, world_size).map_err(Error::wrap)?;
        Ok(Self(Arc::new(Process { group, waited_ns: AtomicU64::new(0) })))
    }

    /// On the GPU, from wherever it is.
    fn on_gpu(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.to_device(self.0.group.device())
    }

    /// Where the other tensor is, which is waited for if that is the CPU.
    fn back_to(&self, tensor: &Tensor, other: &Tensor) -> Result<Tensor> {
        let start = Instant::now();
        let tensor = tensor.to_device(other.device());
        if other.device().is_cpu() {
            self.0.waited_ns.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        tensor
    }
}

impl Communicator for Nccl {
    fn rank(&self) -> usize {
        self.0.group.rank()
    }

    fn world_size(&self) -> usize {
        self.0.group.world_size()
    }

    fn all_gather(&self, tensor: &Tensor) -> Result<Tensor> {
        let all = self.0.group.all_gather(&self.on_gpu(&tensor.detach())?).map_err(Error::wrap)?;
        self.back_to(&all, tensor)
    }

    fn permute(&self, rows: &Tensor, order: &[u32]) -> Result<Tensor> {
        let group = &self.0.group;
        let route = Route::new(group.rank(), group.world_size(), rows.dim(0)?, order);
        let places = |places: Vec<usize>| {
            let places: Vec<u32> = places.into_iter().map(|place| place as u32).collect();
            Tensor::from_slice(&places, places.len(), group.device())
        };
        let sent = self.on_gpu(&rows.detach())?.index_select(&places(route.sent)?, 0)?;
        let received = group.exchange(&sent, &route.to, &route.from).map_err(Error::wrap)?;
        self.back_to(&received.index_select(&places(route.places)?, 0)?, rows)
    }

    fn begin_mean(&self, values: Tensor) -> Result<PendingMean> {
        let mean = self.0.group.begin_mean(self.on_gpu(&values)?.contiguous()?).map_err(Error::wrap)?;
        let ranks = self.clone();
        Ok(PendingMean::new(move || ranks.back_to(&mean.wait().map_err(Error::wrap)?, &values)))
    }

    fn waited(&self) -> Duration {
        Duration::from_nanos(self.0.waited_ns.load(Ordering::Relaxed))
    }
}
