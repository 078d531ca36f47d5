//! Which engine computes a product, and how.

use std::fmt;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendDescriptorType_t as Kind, cudnnBackendHeurMode_t as Mode, cudnnBackendNumericalNote_t as Numerical,
};

use super::descriptor::{BehaviorNote, Descriptor, NumericalNote};
use super::graph::{Graph, Product};
use crate::error::{GpuError, Result};
use crate::gpu::Element;

/// Plans that want more memory than this are left out.
const MAX_WORKSPACE: usize = 1 << 30;

/// Where engines come from, in this order.
const MODES: [Mode; 3] = [Mode::CUDNN_HEUR_MODE_A, Mode::CUDNN_HEUR_MODE_B, Mode::CUDNN_HEUR_MODE_FALLBACK];

/// More notes than there are.
const MAX_NOTES: usize = 32;

/// What plans are made for.
enum Target {
    /// The GPU of a handle.
    Handle(sys::cudnnHandle_t),
    /// A GPU that need not be here, by its description.
    Description(Descriptor),
}

/// Makes plans for one GPU.
pub struct Planner(Target);

impl Planner {
    /// For a GPU that need not be here. The description is cuDNN's, see
    /// [`Cuda::device_description`](crate::Cuda::device_description). The plans cannot be run.
    ///
    /// # Errors
    /// cuDNN does not understand the description.
    pub fn described(json: &str) -> Result<Self> {
        let device = Descriptor::new(Kind::CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR)?
            .set(Name::CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, json.as_bytes())?
            .finish()?;
        Ok(Self(Target::Description(device)))
    }

    /// For the GPU of a handle, which has to live as long as the planner.
    pub(super) fn of_handle(handle: sys::cudnnHandle_t) -> Self {
        Self(Target::Handle(handle))
    }

    /// The plan that is run unless plans are timed: the first of [`Self::plans`].
    ///
    /// # Errors
    /// As for [`Self::plans`].
    pub fn plan(&self, product: &Product) -> Result<Plan> {
        self.plans(product, 1)?.pop().ok_or_else(|| no_engine(product, None))
    }

    /// Up to `most` plans in the order of cuDNN's expectations, but for bf16 those on tensor cores first. Each gives the same bits every time, computes f32 in f32, adds
    /// up in f32 and needs at most 1 GiB.
    ///
    /// # Errors
    /// There is none, or cuDNN fails.
    pub fn plans(&self, product: &Product, most: usize) -> Result<Vec<Plan>> {
        let handle = match self.0 {
            Target::Handle(handle) => Some(handle),
            Target::Description(_) => None,
        };
        let graph = Arc::new(Graph::new(product, handle)?);
        let (mut plans, mut second, mut refused) = (Vec::new(), Vec::new(), None);
        for mode in MODES {
            // Not every mode knows every operation; what one does not know, the next may.
            let configurations = self.configurations(&graph, mode).unwrap_or_else(|error| {
                refused = Some(error);
                Vec::new()
            });
            for config in configurations {
                let engine = Engine::of(&config)?;
                if !engine.serves(product.element) {
                    continue;
                }
                // Now and then the heuristics expect more of an engine that first turns bf16 images channels first.
                if product.element == Element::Bf16 && !engine.has(Numerical::CUDNN_NUMERICAL_NOTE_TENSOR_CORE) {
                    second.push((engine, config));
                    continue;
                }
                plans.extend(self.finished(&graph, engine, config, &mut refused));
                if plans.len() >= most {
                    return Ok(plans);
                }
            }
        }
        let finish = |(engine, config)| self.finished(&graph, engine, config, &mut refused);
        let missing = most - plans.len();
        plans.extend(second.into_iter().filter_map(finish).take(missing));
        if plans.is_empty() { Err(no_engine(product, refused)) } else { Ok(plans) }
    }

    /// What the heuristics name for a graph, best first.
    fn configurations(&self, graph: &Graph, mode: Mode) -> Result<Vec<Descriptor>> {
        let mut heuristics = Descriptor::new(Kind::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?
            .link(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.descriptor())?
            .set(Name::CUDNN_ATTR_ENGINEHEUR_MODE, &[mode])?;
        if let Target::Description(device) = &self.0 {
            heuristics = heuristics.link(Name::CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device)?;
        }
        let heuristics = heuristics.finish()?;
        let results = Name::CUDNN_ATTR_ENGINEHEUR_RESULTS;
        let count = heuristics.count(results, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR)?;
        heuristics.get_descriptors(results, Kind::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, count)
    }

    /// A plan of a configuration, unless it needs too much memory or the engine refuses after all, for example for lack of
    /// shared memory; `refused` is then why.
    fn finished(
        &self,
        graph: &Arc<Graph>,
        engine: Engine,
        config: Descriptor,
        refused: &mut Option<GpuError>,
    ) -> Option<Plan> {
        let compiled = self.compiled(&config).and_then(|plan| {
            let bytes: i64 = plan.get_one(Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)?;
            Ok((plan, bytes))
        });
        let (plan, bytes) = compiled.map_err(|error| *refused = Some(error)).ok()?;
        let workspace = usize::try_from(bytes).ok().filter(|&bytes| bytes <= MAX_WORKSPACE)?;
        Some(Plan { plan, engine, workspace, _config: config, _graph: Arc::clone(graph) })
    }

    fn compiled(&self, config: &Descriptor) -> Result<Descriptor> {
        let plan = Descriptor::new(Kind::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?;
        let plan = match &self.0 {
            Target::Handle(handle) => plan.set(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, &[*handle])?,
            Target::Description(device) => plan.link(Name::CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device)?,
        };
        plan.link(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config)?.finish()
    }
}

pub(super) fn no_engine(product: &Product, refused: Option<GpuError>) -> GpuError {
    GpuError::NoEngine { convolution: product.to_string(), reason: refused.map(|error| error.to_string()) }
}

/// One of cuDNN's ways to compute an operation.
struct Engine {
    index: i64,
    numerical: Vec<NumericalNote>,
    behavior: Vec<BehaviorNote>,
}

impl Engine {
    fn of(config: &Descriptor) -> Result<Self> {
        let engines =
            config.get_descriptors(Name::CUDNN_ATTR_ENGINECFG_ENGINE, Kind::CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1)?;
        let engine = engines.first().ok_or_else(|| GpuError::Call {
            call: "cudnnBackendGetAttribute",
            reason: "a configuration without an engine".to_owned(),
        })?;
        Ok(Self {
            index: engine.get_one(Name::CUDNN_ATTR_ENGINE_GLOBAL_INDEX)?,
            numerical: engine.get(Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, MAX_NOTES)?,
            behavior: engine.get(Name::CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, MAX_NOTES)?,
        })
    }

    fn has(&self, note: Numerical) -> bool {
        self.numerical.contains(&NumericalNote(note as i32))
    }

    /// Whether the engine gives the same bits every time, adds up in f32 and takes f32 as f32: tensor cores would take TF32.
    fn serves(&self, element: Element) -> bool {
        let exact = !self.has(Numerical::CUDNN_NUMERICAL_NOTE_TENSOR_CORE)
            && !self.has(Numerical::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS);
        !self.has(Numerical::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)
            && !self.has(Numerical::CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)
            && (exact || element != Element::F32)
    }
}

/// How a product is computed: an engine with its settings, compiled for one GPU.
pub struct Plan {
    plan: Descriptor,
    engine: Engine,
    workspace: usize,
    _config: Descriptor,
    _graph: Arc<Graph>,
}

impl Plan {
    /// Bytes of memory that a run needs beside the operands.
    pub fn workspace(&self) -> usize {
        self.workspace
    }

    /// Whether it computes on tensor cores.
    pub fn on_tensor_cores(&self) -> bool {
        self.engine.has(Numerical::CUDNN_NUMERICAL_NOTE_TENSOR_CORE)
    }

    /// The descriptor.
    pub(super) fn descriptor(&self) -> &Descriptor {
        &self.plan
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "engine {}, workspace {}, numerical", self.engine.index, self.workspace)?;
        self.engine.numerical.iter().try_for_each(|note| write!(f, " {}", note.0))?;
        write!(f, ", behavior")?;
        self.engine.behavior.iter().try_for_each(|note| write!(f, " {}", note.0))
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
