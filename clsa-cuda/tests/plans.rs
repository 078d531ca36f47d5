//! Every convolution of the presets has a plan on an H100 and an H200, found without either.

mod presets;

use std::collections::HashSet;

use clsa_cuda::{ConvShape, Direction, Element, Planner, Product};
use presets::{CIFAR10, PRESETS, Preset};

/// What cuDNN knows of an H100 and of an H200, as it says it there.
const DEVICES: [&str; 2] = [include_str!("devices/h100.json"), include_str!("devices/h200.json")];
const H100: &str = DEVICES[0];

impl Preset {
    /// The convolutions of views of this side, each shape once.
    fn shapes(&self, side: usize) -> Vec<ConvShape> {
        let mut network = Network::new(self.batch, side);
        if self.large_stem {
            network.stem(self.width, 7, 2);
            network.max_pool();
        } else {
            network.stem(self.width, 3, 1);
        }
        for (stage, count) in self.blocks.into_iter().enumerate() {
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                network.block(self.width << stage, self.expansion, stride);
            }
        }
        network.shapes
    }
}

/// The convolutions of a residual network, each shape once.
struct Network {
    shapes: Vec<ConvShape>,
    seen: HashSet<ConvShape>,
    batch: usize,
    side: usize,
    channels: usize,
}

impl Network {
    /// The image is padded with channels of zeros to 8.
    fn new(batch: usize, side: usize) -> Self {
        Self { shapes: Vec::new(), seen: HashSet::new(), batch, side, channels: 8 }
    }

    /// A convolution of the pixels so far, without going on from its output.
    fn add(&mut self, side: usize, c_in: usize, c_out: usize, kernel: usize, stride: usize) -> usize {
        let padding = kernel / 2;
        let shape = ConvShape { batch: self.batch, height: side, width: side, c_in, c_out, kernel, stride, padding };
        if self.seen.insert(shape) {
            self.shapes.push(shape);
        }
        assert_eq!(shape.out_height(), (side - 1) / stride + 1);
        shape.out_height()
    }

    fn stem(&mut self, width: usize, kernel: usize, stride: usize) {
        self.side = self.add(self.side, self.channels, width, kernel, stride);
        self.channels = width;
    }

    fn max_pool(&mut self) {
        self.side = self.side.div_ceil(2);
    }

    /// A block of one or two 3x3 convolutions, or of one between two 1x1.
    fn block(&mut self, width: usize, expansion: usize, stride: usize) {
        let (side, channels, out) = (self.side, self.channels, width * expansion);
        let end = if expansion == 1 {
            let middle = self.add(side, channels, width, 3, stride);
            self.add(middle, width, out, 3, 1)
        } else {
            let start = self.add(side, channels, width, 1, 1);
            let middle = self.add(start, width, width, 3, stride);
            self.add(middle, width, out, 1, 1)
        };
        if channels != out || stride != 1 {
            assert_eq!(self.add(side, channels, out, 1, stride), end);
        }
        (self.side, self.channels) = (end, out);
    }
}

/// Plans the three products of every shape, and the added data gradient, and prints the plans.
fn plan_all(name: &str, shapes: &[ConvShape], element: Element) {
    DEVICES.iter().for_each(|device| plan_all_on(device, name, shapes, element));
}

fn plan_all_on(device: &str, name: &str, shapes: &[ConvShape], element: Element) {
    let planner = Planner::described(device).unwrap();
    let directions =
        [(Direction::Forward, false), (Direction::Data, false), (Direction::Data, true), (Direction::Weight, false)];
    let (mut missing, mut largest) = (Vec::new(), 0);
    println!("{name}, {} shapes", shapes.len());
    for &shape in shapes {
        for (direction, add) in directions {
            let product = Product { direction, shape, element, add };
            match planner.plan(&product) {
                Ok(plan) => {
                    println!("{product}: {plan}");
                    assert_eq!(plan.on_tensor_cores(), element == Element::Bf16);
                    largest = largest.max(plan.workspace());
                }
                Err(error) => missing.push(error.to_string()),
            }
        }
    }
    println!("{name}: the largest workspace is {:.1} MiB", largest as f64 / 1_048_576.0);
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(largest <= 1 << 30);
}

fn plan_presets(element: Element) {
    for preset in PRESETS {
        for &side in preset.sides {
            let name = format!("{} at {side} in {}", preset.names.join(", "), element.name());
            plan_all(&name, &preset.shapes(side), element);
        }
    }
}

#[test]
fn every_convolution_of_every_preset_has_a_plan_in_bf16() {
    plan_presets(Element::Bf16);
}

#[test]
fn every_convolution_of_every_preset_has_a_plan_in_f32() {
    plan_presets(Element::F32);
}

#[test]
fn the_same_plan_every_time() {
    let planner = Planner::described(H100).unwrap();
    for shape in CIFAR10.shapes(32) {
        let product = Product { direction: Direction::Weight, shape, element: Element::Bf16, add: false };
        let lines = [(); 2].map(|()| planner.plan(&product).unwrap().to_string());
        assert_eq!(lines[0], lines[1]);
        assert!(planner.plans(&product, 8).unwrap().len() > 1);
    }
}

#[test]
fn what_is_no_convolution_is_refused() {
    let planner = Planner::described(H100).unwrap();
    let good = ConvShape { batch: 2, height: 8, width: 8, c_in: 8, c_out: 8, kernel: 3, stride: 1, padding: 1 };
    let product = |shape| Product { direction: Direction::Forward, shape, element: Element::Bf16, add: false };
    planner.plan(&product(good)).unwrap();
    for shape in [
        ConvShape { batch: 0, ..good },
        ConvShape { stride: 0, ..good },
        ConvShape { kernel: 11, ..good },
        ConvShape { batch: usize::MAX, ..good },
        ConvShape { batch: 1 << 30, height: 1 << 30, c_in: 1 << 30, ..good },
        ConvShape { padding: usize::MAX, ..good },
    ] {
        let error = planner.plan(&product(shape)).unwrap_err().to_string();
        assert!(error.contains("there is no forward"), "{error}");
    }
    let error = planner.plan(&Product { add: true, ..product(good) }).unwrap_err().to_string();
    assert!(error.contains("only a data gradient"), "{error}");
    assert!(Planner::described("{}").is_err());
}
