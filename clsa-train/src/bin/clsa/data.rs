//! `clsa data`.

use crate::device;
use crate::failure::{Failure, request};
use crate::output;
use crate::progress::Progress;
use crate::streams::{put, say};
use clap::Subcommand;
use clsa_data::inspect::{SourceInfo, SplitInfo, inspect};
use clsa_data::pack::{PackOptions, pack};
use clsa_data::shard_index::write_indexes;
use clsa_data::verify::verify;
use clsa_data::{Limits, Source, SourceKind, Splits};
use std::path::{Path, PathBuf};

/// Describe, verify, pack, index or fetch a data set.
#[derive(clap::Args)]
#[command(long_about = format!("Describe, verify, pack, index or fetch a data set.\n\nA data set is named by one string:\n{}", kinds()))]
#[command(after_help = "Examples:
  clsa data info imagefolder:/data/imagenet
  clsa data verify 'wds:/data/imagenet/{split}-{000000..000511}.tar'
  clsa data pack imagefolder:/data/imagenet /data/imagenet-256 --short-side 256
  clsa data index wds:/data/shards
  clsa data fetch cifar10")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Show splits, counts per class and image sizes
    Info(Info),
    /// Decode every image and list the bad ones, each with the reason; exit code 1 if there are any
    Verify(Verify),
    /// Write WebDataset shards with an index, optionally of smaller images
    Pack(Pack),
    /// Write the index of WebDataset shards that other tools made, so that they open at once
    Index(Index),
    /// Download a data set from its official address and check it; goes on where an earlier attempt ended
    Fetch(Fetch),
}

#[derive(clap::Args)]
#[command(after_help = "Example:
  clsa data info cifar-bin:/data/cifar-10-binary.tar.gz")]
struct Info {
    /// The data set, as KIND:PATH
    source: String,
    /// Images of each split whose sizes are read, spread evenly over it
    #[arg(long, default_value_t = 1000)]
    headers: usize,
    /// Prints a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Example:
  clsa data verify imagefolder:/data/imagenet > bad.txt")]
struct Verify {
    /// The data set, as KIND:PATH
    source: String,
    /// Threads that decode [default: one for each core]
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = device::thread_count)]
    threads: usize,
    /// Prints a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(after_help = "Examples:
  clsa data pack imagefolder:/data/imagenet /data/imagenet-256 --short-side 256
  clsa pretrain --preset imagenet-single-200 --data wds:/data/imagenet-256")]
struct Pack {
    /// The data set, as KIND:PATH
    source: String,
    /// The folder of the shards, new or empty
    out: PathBuf,
    /// Resizes images whose short side is longer to this short side, pixels [default: all files as they are]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    short_side: Option<u32>,
    /// Quality of JPEG for resized images
    #[arg(long, default_value_t = 95, requires = "short_side", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    /// Size of a shard, MiB
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    shard_size: u64,
    /// Seed of the order in which images are written
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Keeps the order of the data set
    #[arg(long, conflicts_with = "seed")]
    in_order: bool,
    /// Threads that decode and encode [default: one for each core]
    #[arg(long, default_value_t = 0, hide_default_value = true, value_parser = device::thread_count)]
    threads: usize,
}

#[derive(clap::Args)]
#[command(after_help = "Example:
  clsa data index 'wds:/data/laion/{00000..00511}.tar'")]
struct Index {
    /// The shards, as wds:PATTERN
    source: String,
}

#[derive(clap::Args)]
#[command(after_help = "Example:
  clsa data fetch cifar10 --out data/cifar10
  clsa pretrain --preset cifar10 --data cifar-bin:data/cifar10/cifar-10-binary.tar.gz")]
struct Fetch {
    /// The data set: cifar10, cifar100 or fashion-mnist
    name: String,
    /// The folder of its files [default: data/NAME]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Address of a folder that has the same files, instead of the official one; they are checked all the same
    #[arg(long, value_name = "URL", value_parser = address)]
    mirror: Option<String>,
}

fn address(text: &str) -> Result<String, &'static str> {
    let web = text.starts_with("http://") || text.starts_with("https://");
    if web { Ok(text.into()) } else { Err("an address begins with http:// or https://") }
}

/// A line for each kind of data set.
fn kinds() -> String {
    SourceKind::ALL.iter().map(|kind| format!("  {:<20} {}\n", kind.form(), kind.summary())).collect()
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.what {
        What::Info(args) => info(args),
        What::Verify(args) => verify_all(args),
        What::Pack(args) => pack_shards(args),
        What::Index(args) => index_shards(args),
        What::Fetch(args) => fetch_files(args),
    }
}

/// A source that cannot be opened is a wrong request.
fn open(source: &str) -> Result<Splits, Failure> {
    let source: Source = source.parse()?;
    Ok(source.open_splits(Limits::default())?)
}

fn info(args: Info) -> Result<(), Failure> {
    let info = inspect(&open(&args.source)?, args.headers)?;
    if args.json {
        put!("{}", serde_json::to_string(&info)?)?;
    } else {
        put!("{}", describe(&args.source, &info).trim_end())?;
    }
    Ok(())
}

/// Width of the column of names at most, characters; longer names push what follows to the right.
const WIDEST_NAME: usize = 60;

/// The splits, then a table of the classes.
fn describe(source: &str, info: &SourceInfo) -> String {
    let mut text = format!("{source}\n");
    for split in &info.splits {
        text += &describe_split(split);
    }
    if let Some(reason) = &info.no_test {
        text += &format!("test    none: {reason}\n");
    }
    // Test images may have classes that no training image has.
    let mut names: Vec<&str> = Vec::new();
    for split in &info.splits {
        names.extend(split.classes.iter().skip(names.len()).map(|class| class.name.as_str()));
    }
    if names.is_empty() {
        return text;
    }
    let widths = names.iter().map(|name| name.chars().count());
    let width = widths.max().unwrap_or(0).clamp("class".len(), WIDEST_NAME);
    let difficult = info.splits.iter().flat_map(|split| &split.classes).any(|class| class.difficult > 0);
    text += &format!("\n{:width$}", "class");
    for split in &info.splits {
        text += &format!("{:>12}", split.split);
        if difficult {
            text += &format!("{:>12}", "difficult");
        }
    }
    let column = |count: Option<usize>| format!("{:>12}", count.map_or_else(String::new, |count| count.to_string()));
    for (at, name) in names.iter().enumerate() {
        let mut row = format!("{name:width$}");
        for class in info.splits.iter().map(|split| split.classes.get(at)) {
            row += &column(class.map(|class| class.samples));
            if difficult {
                row += &column(class.map(|class| class.difficult));
            }
        }
        text += &format!("\n{}", row.trim_end());
    }
    text + "\n"
}

fn describe_split(split: &SplitInfo) -> String {
    let classes = split.classes.len();
    let labels = match classes {
        0 => "no labels".to_owned(),
        1 => "1 class".to_owned(),
        _ => format!("{classes} classes"),
    };
    let mut text = format!("{:<8}{}, {labels}\n", split.split, counted(split.samples, "image"));
    if let Some(sizes) = &split.sizes {
        let side = |(width, height): (u32, u32)| format!("{width}x{height}");
        text += &format!(
            "        sizes {} to {}, median {}, least short side {} ({} looked at)\n",
            side(sizes.smallest),
            side(sizes.largest),
            side(sizes.median),
            sizes.least_short_side,
            split.headers_read,
        );
    }
    if split.headers_bad > 0 {
        text += &format!("        {} of {} cannot be read", split.headers_bad, counted(split.headers_read, "header"));
        text += &split.bad_example.as_ref().map_or("\n".into(), |reason| format!(", such as {reason}\n"));
    }
    for note in &split.notes {
        text += &format!("        note: {note}\n");
    }
    text
}

fn verify_all(args: Verify) -> Result<(), Failure> {
    let splits = open(&args.source)?;
    let progress = Progress::new("verified", "images");
    let report = verify(&splits, args.threads, &|done, of| progress.at(done, of))?;
    drop(progress);
    if args.json {
        put!("{}", serde_json::to_string(&report)?)?;
    } else {
        for bad in &report.bad {
            put!("{}: {}", bad.split, bad.reason)?;
        }
    }
    for (split, dataset) in splits.iter() {
        for note in dataset.notes() {
            say!("note: {split}: {note}");
        }
    }
    let (bad, samples) = (report.bad.len(), report.samples);
    if bad > 0 {
        let are = if bad == 1 { "is" } else { "are" };
        return Err(anyhow::anyhow!("{bad} of {} {are} bad", counted(samples, "image")).into());
    }
    match samples {
        1 => say!("the 1 image is good"),
        _ => say!("all {samples} images are good"),
    }
    Ok(())
}

/// Refuses shards among folders by class: theirs would be a class too, and one without images.
fn check_is_no_class(out: &Path, source: &Source) -> Result<(), Failure> {
    let has_classes = source.parts().iter().any(|part| part.kind == SourceKind::ImageFolder);
    match output::images_around(out, source).filter(|_| has_classes) {
        Some(images) => Err(request(format!(
            "{}: the shards would be among the images in {}; name a folder elsewhere",
            out.display(),
            images.display()
        ))),
        None => Ok(()),
    }
}

fn pack_shards(args: Pack) -> Result<(), Failure> {
    check_is_no_class(&args.out, &args.source.parse::<Source>()?)?;
    let splits = open(&args.source)?;
    let options = PackOptions {
        short_side: args.short_side,
        quality: args.quality,
        shard_bytes: args.shard_size << 20,
        shuffle_seed: (!args.in_order).then_some(args.seed),
        threads: args.threads,
    };
    let progress = Progress::new("packed", "images");
    let report = pack(&splits, &args.out, &options, &|done, of| progress.at(done, of))?;
    drop(progress);
    if let Some(part) = &report.took_over {
        say!("note: {}: what an earlier packing had left there was removed", part.display());
    }
    for reason in &report.bad {
        say!("warning: left out: {reason}");
    }
    let (images, shards) = (counted(report.samples, "image"), counted(report.shards.len(), "shard"));
    say!("{images} in {shards}, {:.1} MB; {} left out", report.bytes as f64 / 1e6, report.bad.len());
    put!("wds:{}", args.out.display())
}

fn index_shards(args: Index) -> Result<(), Failure> {
    let source: Source = args.source.parse()?;
    if source.parts().iter().any(|part| part.kind != SourceKind::Wds) {
        return Err(request(format!("source `{source}`: only shards have an index; name them as wds:PATTERN")));
    }
    for part in source.parts() {
        let progress = Progress::new("indexed", "shards");
        let report = write_indexes(&part.argument, &|done, of| progress.at(done, of))?;
        drop(progress);
        say!("{} in {}", counted(report.samples, "image"), counted(report.shards, "shard"));
    }
    Ok(())
}

/// A number of things: `1 image`, `2 images`.
fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(feature = "fetch")]
fn fetch_files(args: Fetch) -> Result<(), Failure> {
    let data: clsa_data::fetch::Fetchable = args.name.parse()?;
    let folder = args.out.unwrap_or_else(|| PathBuf::from("data").join(data.name()));
    output::check_folder("--out", &folder)?;
    let mut shown: Option<(String, Progress)> = None;
    let source = clsa_data::fetch::fetch(data, &folder, args.mirror.as_deref(), &mut |file, done, of| {
        let (_, progress) = match shown.take_if(|(name, _)| *name == file) {
            Some(same) => shown.insert(same),
            None => shown.insert((file.to_owned(), Progress::new(file, "kB"))),
        };
        progress.at(done / 1000, of / 1000);
    })?;
    drop(shown);
    put!("{source}")
}

#[cfg(not(feature = "fetch"))]
fn fetch_files(_: Fetch) -> Result<(), Failure> {
    Err(request(
        "data fetch: this program was built without the cargo feature `fetch`; `cargo xtask data fetch` builds it in, \
         and so does `cargo build --release -p clsa-train --features fetch`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clsa_data::image::RgbImage;
    use clsa_data::{Dataset, Label, SampleError};
    use std::sync::Arc;

    /// An image of each class.
    struct OneOfEach(Vec<String>);

    impl Dataset for OneOfEach {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn class_names(&self) -> &[String] {
            &self.0
        }

        fn label(&self, index: usize) -> Label {
            Label::Class(index as u32)
        }

        fn image(&self, _: usize) -> Result<RgbImage, SampleError> {
            Ok(RgbImage::new(1, 1))
        }

        fn dimensions(&self, _: usize) -> Result<(u32, u32), SampleError> {
            Ok((1, 1))
        }

        fn name(&self, index: usize) -> String {
            index.to_string()
        }
    }

    #[test]
    fn a_class_that_one_split_alone_has_is_in_the_table() {
        let table = |train: &[&str], test: &[&str]| {
            let images = |names: &[&str]| -> Arc<dyn Dataset> {
                Arc::new(OneOfEach(names.iter().map(|name| (*name).to_owned()).collect()))
            };
            let info = inspect(&Splits { train: images(train), test: Ok(images(test)) }, 0).unwrap();
            let text = describe("mine", &info);
            text.split_once("\n\n").map(|(_, table)| table.to_owned()).unwrap()
        };
        let row = |name: &str, train: &str, test: &str| format!("{name:5}{train:>12}{test:>12}").trim_end().to_owned();
        let rows = |rows: [String; 3]| rows.join("\n") + "\n";
        let head = || row("class", "train", "test");
        assert_eq!(table(&["cat"], &["0", "dog"]), rows([head(), row("cat", "1", "1"), row("dog", "", "1")]));
        assert_eq!(table(&["cat", "dog"], &["cat"]), rows([head(), row("cat", "1", "1"), row("dog", "1", "")]));
    }
}
