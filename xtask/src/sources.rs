//! Which optional sources of images a command needs.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// All optional sources; the feature `parquet` of clsa-train is that of clsa-eval too.
const ALL: &str = "clsa-train/fetch,clsa-train/parquet";

/// The features for these arguments. A build keeps what it compiled for either set of features, so that
/// going to and fro between them costs nothing; all of them together are one set, so that there are no more than two.
pub fn features(args: &[OsString]) -> Option<&'static str> {
    let texts: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let fetch = texts.starts_with(&["data", "fetch"]);
    (fetch || texts.iter().any(|text| names_parquet(text))).then_some(ALL)
}

/// Whether an argument is, or holds, a source `parquet:PATTERN`; or is a run, a checkpoint of one, or a configuration
/// file, whose source is one.
fn names_parquet(arg: &str) -> bool {
    if arg.contains("parquet:") {
        return true;
    }
    let path = Path::new(arg.split_once('=').map_or(arg, |(_, value)| value));
    let of_checkpoint = path.ancestors().nth(2).map(|run| run.join("config.toml"));
    let configs = [Some(path.to_path_buf()), Some(path.join("config.toml")), of_checkpoint];
    configs.into_iter().flatten().any(|config| {
        config.extension().is_some_and(|extension| extension == "toml")
            && fs::read_to_string(config).is_ok_and(|text| text.contains("parquet:"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features_of(command: &str) -> Option<&'static str> {
        features(&command.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_light_build_is_enough_unless_an_optional_source_is_named() {
        assert_eq!(features_of("pretrain"), None);
        assert_eq!(features_of("data info wds:/data/fetch"), None);
        assert_eq!(features_of("data fetch cifar10"), Some(ALL));
        assert_eq!(features_of("pretrain --data parquet:/data"), Some(ALL));
        assert_eq!(features_of("pretrain --set data.source=parquet:/data"), Some(ALL));
        assert_eq!(features_of("eval --data=parquet:/data"), Some(ALL));
    }

    #[test]
    fn a_run_and_its_checkpoints_say_what_they_were_trained_on() {
        let run = std::env::temp_dir().join(format!("clsa-xtask-sources-{}", std::process::id()));
        fs::create_dir_all(run.join("checkpoints")).unwrap();
        fs::write(run.join("config.toml"), "[data]\nsource = \"parquet:/data\"\n").unwrap();
        let run = run.display().to_string();
        let of_run = features_of(&format!("eval --run {run}"));
        let of_checkpoint = features_of(&format!("pretrain --resume {run}/checkpoints/step-00000001.safetensors"));
        let of_config = features_of(&format!("pretrain --preset={run}/config.toml"));
        fs::remove_dir_all(&run).unwrap();
        assert_eq!((of_run, of_checkpoint, of_config), (Some(ALL), Some(ALL), Some(ALL)));
    }
}
