//! Every convolution of the networks has a plan on an H100 and an H200, found without either.

use std::collections::HashSet;

use clsa_cuda::{ConvShape, Direction, Element, Planner, Product};

/// What cuDNN knows of an H100 and of an H200, as it says it there.
const DEVICES: [&str; 2] = [include_str!("devices/h100.json"), include_str!("devices/h200.json")];
const H100: &str = DEVICES[0];

/// Images of a step.
const BATCH: usize = 256;

/// The convolutions of a residual network, each shape once.
struct Network {
    shapes: Vec<ConvShape>,
    seen: HashSet<ConvShape>,
    side: usize,
    channels: usize,
}

impl Network {
    /// The image is padded with channels of zeros to 8.
    fn new(side: usize) -> Self {
        Self { shapes: Vec::new(), seen: HashSet::new(), side, channels: 8 }
    }

    /// A convolution of the pixels so far, without going on from its output.
    fn add(&mut self, side: usize, c_in: usize, c_out: usize, kernel: usize, stride: usize) -> usize {
        let padding = kernel / 2;
        let shape = ConvShape { batch: BATCH, height: side, width: side, c_in, c_out, kernel, stride, padding };
        if self.seen.insert(shape) {
            self.shapes.push(shape);
        }
        assert_eq!(shape.out_height(), (side - 1) / stride + 1);
        shape.out_height()
    }

    fn stem(&mut self, kernel: usize, stride: usize) {
        self.side = self.add(self.side, self.channels, 64, kernel, stride);
        self.channels = 64;
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

    fn stages(mut self, blocks: [usize; 4], expansion: usize) -> Vec<ConvShape> {
        for (stage, count) in blocks.into_iter().enumerate() {
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                self.block(64 << stage, expansion, stride);
            }
        }
        self.shapes
    }
}

fn resnet_50(side: usize) -> Vec<ConvShape> {
    let mut network = Network::new(side);
    network.stem(7, 2);
    network.max_pool();
    network.stages([3, 4, 6, 3], 4)
}

fn resnet_18_small(side: usize) -> Vec<ConvShape> {
    let mut network = Network::new(side);
    network.stem(3, 1);
    network.stages([2, 2, 2, 2], 1)
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

#[test]
fn resnet_50_at_224_in_bf16() {
    plan_all("ResNet-50 at 224 in bf16", &resnet_50(224), Element::Bf16);
}

#[test]
fn resnet_50_at_224_in_f32() {
    plan_all("ResNet-50 at 224 in f32", &resnet_50(224), Element::F32);
}

#[test]
fn resnet_50_at_96_in_bf16() {
    plan_all("ResNet-50 at 96 in bf16", &resnet_50(96), Element::Bf16);
}

#[test]
fn resnet_50_at_96_in_f32() {
    plan_all("ResNet-50 at 96 in f32", &resnet_50(96), Element::F32);
}

#[test]
fn resnet_18_at_32_in_bf16() {
    plan_all("ResNet-18 at 32 in bf16", &resnet_18_small(32), Element::Bf16);
}

#[test]
fn resnet_18_at_32_in_f32() {
    plan_all("ResNet-18 at 32 in f32", &resnet_18_small(32), Element::F32);
}

#[test]
fn the_same_plan_every_time() {
    let planner = Planner::described(H100).unwrap();
    for shape in resnet_18_small(32) {
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
