//! Ranks as processes of MPI, for CPUs. All calls of MPI are made by one thread, in the order in which they were asked for, so that
//! gradients travel while the backward pass goes on.

use crate::communicator::{Communicator, PendingMean};
use crate::route::{Route, starts};
use candle_core::{DType, Device, Error, Result, Tensor, WithDType, bail};
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::{Partition, PartitionMut};
use mpi::request::{Request, Scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives, Equivalence};
use std::ops::DivAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// This process among those that `mpirun` or another launcher of MPI has started. Clones are of the same process.
///
/// A rank that dies without [`Mpi::leave`], or asks for [`Mpi::abort`], is noticed by the launcher, which ends the others.
///
/// # Examples
/// ```no_run
/// use clsa_train::{Communicator, Mpi};
/// use clsa_train::candle_core::{Device, Tensor};
///
/// let ranks = Mpi::join()?;
/// let numbers = ranks.all_gather(&Tensor::new(&[ranks.rank() as u32], &Device::Cpu)?)?;
/// assert_eq!(numbers.dims(), [ranks.world_size()]);
/// ranks.leave();
/// # Ok::<(), clsa_train::candle_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Mpi(Arc<Process>);

struct Process {
    rank: usize,
    world_size: usize,
    calls: Sender<Call>,
    waited_ns: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the thread of MPI is asked for.
enum Call {
    Make(Box<dyn FnOnce(&SimpleCommunicator) + Send>),
    Leave,
}

impl Mpi {
    /// Joins the other ranks; waits until all have.
    ///
    /// # Errors
    /// This process has joined before, or the MPI library does not let a thread make its calls.
    pub fn join() -> Result<Self> {
        let (calls, incoming) = channel();
        let (joined, ready) = channel();
        let thread = std::thread::Builder::new().name("clsa-mpi".to_owned()).spawn(move || {
            // The thread that begins is the one that MPI takes for the main one.
            let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Funneled) else { return };
            let world = universe.world();
            if joined.send((world.rank(), world.size(), threading)).is_ok() {
                serve(&world, &incoming);
            }
        })?;
        let Ok((rank, size, threading)) = ready.recv() else { bail!("MPI is in use by this process already") };
        if threading < Threading::Funneled {
            bail!("this MPI library is built for processes of one thread; use another build of it");
        }
        let [rank, world_size] = [rank, size].map(|number| number.unsigned_abs() as usize);
        let (waited_ns, thread) = (AtomicU64::new(0), Mutex::new(Some(thread)));
        Ok(Self(Arc::new(Process { rank, world_size, calls, waited_ns, thread })))
    }

    /// Leaves the group; waits until all ranks do. The last call.
    pub fn leave(&self) {
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(thread), Ok(())) = (thread, self.0.calls.send(Call::Leave)) {
            // A panic was shown when it came up.
            let _ = thread.join();
        }
    }

    /// Ends the processes of all ranks with an exit code, whatever they do.
    pub fn abort(&self, code: u8) -> ! {
        let end = Call::Make(Box::new(move |world| world.abort(i32::from(code))));
        if self.0.calls.send(end).is_ok() {
            // The thread may be in a call that waits for a rank which is gone; then the launcher sees this process end.
            std::thread::sleep(Duration::from_secs(5));
        }
        std::process::exit(i32::from(code))
    }

    /// Has a call made, which gives its result later.
    fn begin<R: Send + 'static>(
        &self,
        call: impl FnOnce(&SimpleCommunicator) -> R + Send + 'static,
    ) -> Result<Receiver<R>> {
        let (reply, result) = channel();
        let call = Call::Make(Box::new(move |world| {
            // Where nobody waits any more, nobody is told.
            let _ = reply.send(call(world));
        }));
        self.0.calls.send(call).map_err(|_| gone())?;
        Ok(result)
    }

    fn wait<R>(&self, result: &Receiver<R>) -> Result<R> {
        let start = Instant::now();
        let result = result.recv().map_err(|_| gone());
        self.0.waited_ns.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }

    fn all_gather_of<T: Number>(&self, tensor: &Tensor) -> Result<Tensor> {
        let (own, world) = (values::<T>(tensor, self.0.world_size)?, self.0.world_size);
        let all = self.begin(move |ranks| {
            let mut all = vec![T::zero(); own.len() * world];
            mpi::request::scope(|scope| {
                until_done(ranks.immediate_all_gather_into(scope, &own[..], &mut all[..]));
            });
            all
        })?;
        let mut shape = tensor.dims().to_vec();
        shape[0] *= world;
        Tensor::from_vec(self.wait(&all)?, shape, &Device::Cpu)?.to_device(tensor.device())
    }

    fn permute_of<T: Number>(&self, rows: &Tensor, order: &[u32]) -> Result<Tensor> {
        let n = rows.dim(0)?;
        let values = values::<T>(rows, 1)?;
        let route = Route::new(self.0.rank, self.0.world_size, n, order);
        let width = values.len() / n;
        let sent: Vec<T> = route.sent.iter().flat_map(|&row| &values[row * width..][..width]).copied().collect();
        let (to, from) = (spans(&route.to, width)?, spans(&route.from, width)?);
        let received = self.begin(move |ranks| {
            let mut received = vec![T::zero(); n * width];
            let send = Partition::new(&sent[..], to.0, to.1);
            let mut receive = PartitionMut::new(&mut received[..], from.0, from.1);
            mpi::request::scope(|scope| {
                until_done(ranks.immediate_all_to_all_varcount_into(scope, &send, &mut receive));
            });
            received
        })?;
        let received = self.wait(&received)?;
        let mut placed = Vec::with_capacity(received.len());
        for place in route.places {
            placed.extend_from_slice(&received[place * width..][..width]);
        }
        Tensor::from_vec(placed, rows.dims(), &Device::Cpu)?.to_device(rows.device())
    }

    fn begin_mean_of<T: Number + DivAssign>(&self, tensor: &Tensor, count: T) -> Result<PendingMean> {
        let own = values::<T>(tensor, 1)?;
        let mean = self.begin(move |ranks| {
            let mut sum = vec![T::zero(); own.len()];
            mpi::request::scope(|scope| {
                until_done(ranks.immediate_all_reduce_into(scope, &own[..], &mut sum[..], SystemOperation::sum()));
            });
            sum.iter_mut().for_each(|value| *value /= count);
            sum
        })?;
        let (ranks, device) = (self.clone(), tensor.device().clone());
        Ok(PendingMean::new(move || {
            let mean = ranks.wait(&mean)?;
            let len = mean.len();
            Tensor::from_vec(mean, len, &Device::Cpu)?.to_device(&device)
        }))
    }
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.0.rank
    }

    fn world_size(&self) -> usize {
        self.0.world_size
    }

    fn all_gather(&self, tensor: &Tensor) -> Result<Tensor> {
        match tensor.dtype() {
            DType::U8 => self.all_gather_of::<u8>(tensor),
            DType::U32 => self.all_gather_of::<u32>(tensor),
            DType::F32 => self.all_gather_of::<f32>(tensor),
            DType::F64 => self.all_gather_of::<f64>(tensor),
            dtype => bail!("ranks do not exchange tensors of {dtype:?}"),
        }
    }

    fn permute(&self, rows: &Tensor, order: &[u32]) -> Result<Tensor> {
        match rows.dtype() {
            DType::U8 => self.permute_of::<u8>(rows, order),
            DType::F32 => self.permute_of::<f32>(rows, order),
            DType::F64 => self.permute_of::<f64>(rows, order),
            dtype => bail!("ranks do not exchange tensors of {dtype:?}"),
        }
    }

    fn begin_mean(&self, values: Tensor) -> Result<PendingMean> {
        match values.dtype() {
            DType::F32 => self.begin_mean_of::<f32>(&values, self.0.world_size as f32),
            DType::F64 => self.begin_mean_of::<f64>(&values, self.0.world_size as f64),
            dtype => bail!("ranks do not average tensors of {dtype:?}"),
        }
    }

    fn waited(&self) -> Duration {
        Duration::from_nanos(self.0.waited_ns.load(Ordering::Relaxed))
    }
}

/// Numbers that MPI and tensors both know.
trait Number: Equivalence + WithDType {}

impl<T: Equivalence + WithDType> Number for T {}

/// The numbers of a tensor, where `times` as many can be counted by MPI.
fn values<T: Number>(tensor: &Tensor, times: usize) -> Result<Vec<T>> {
    if tensor.elem_count().saturating_mul(times) > i32::MAX as usize {
        bail!(
            "MPI counts no further than {}, and {} x {times} numbers are more; use a smaller batch",
            i32::MAX,
            tensor.elem_count()
        );
    }
    tensor.flatten_all()?.to_vec1::<T>()
}

/// Rows of each rank as counts and beginnings of numbers, as MPI takes them.
fn spans(rows: &[usize], width: usize) -> Result<(Vec<i32>, Vec<i32>)> {
    let numbers = |rows: usize| i32::try_from(rows * width).map_err(Error::wrap);
    let counts = rows.iter().map(|&rows| numbers(rows)).collect::<Result<_>>()?;
    Ok((counts, starts(rows).map(numbers).collect::<Result<_>>()?))
}

/// Makes the calls until the rank leaves.
fn serve(world: &SimpleCommunicator, incoming: &Receiver<Call>) {
    while let Ok(Call::Make(call)) = incoming.recv() {
        call(world);
    }
}

/// Waits for a call without taking the processor from those who compute, as MPI's own waiting would.
fn until_done<'a, D: ?Sized, S: Scope<'a>>(mut request: Request<'a, D, S>) {
    let start = Instant::now();
    loop {
        match request.test() {
            Ok(_) => return,
            Err(unfinished) => request = unfinished,
        }
        if start.elapsed() < SPIN { std::thread::yield_now() } else { std::thread::sleep(PAUSE) }
    }
}

/// How long a call is looked at without a pause: most are done by then where all ranks are there.
const SPIN: Duration = Duration::from_micros(100);
/// Time between two looks at a call, in which also its messages go on.
const PAUSE: Duration = Duration::from_micros(50);

fn gone() -> Error {
    Error::Msg("the thread of MPI has ended".to_owned())
}
