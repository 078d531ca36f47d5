//! The options that protocols add to the command, from the settings in their table.

use crate::failure::{Failure, request};
use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches};
use clsa_eval::EvalError;
use clsa_eval::protocols::{PROTOCOLS, Protocol, Setting, SettingKind, SettingValue, Settings};

/// Settings that belong to no protocol: how test images are cut for features.
const TEST_IMAGES: [Setting; 2] = [
    Setting {
        name: "resize",
        kind: SettingKind::Count,
        placeholder: "PIXELS",
        about: "short side of test images after resizing (that of the run or the weights, else 256, or 32 for a CIFAR stem)",
    },
    Setting {
        name: "crop",
        kind: SettingKind::Count,
        placeholder: "PIXELS",
        about: "side of crops (that of the run or the weights, else 224, or 32 for a CIFAR stem)",
    },
];

/// The settings that were given.
#[derive(Debug, Default)]
pub struct SettingOptions(Vec<(&'static str, SettingValue)>);

impl SettingOptions {
    /// The settings as protocols read them.
    pub fn given(&self, seed: u64) -> Settings {
        self.0.iter().fold(Settings::new(seed), |settings, (name, value)| settings.with(name, value.clone()))
    }
}

/// A setting, with what it means to each protocol that reads it.
struct SettingOption {
    setting: Setting,
    /// Each meaning, with the protocols that give it this one, and none for features.
    meanings: Vec<(&'static str, Vec<&'static str>)>,
}

impl SettingOption {
    fn help(&self) -> String {
        let of = |(about, protocols): &(&str, Vec<&str>)| match protocols.join(", ") {
            names if names.is_empty() => (*about).to_owned(),
            names => format!("{names}: {about}"),
        };
        self.meanings.iter().map(of).collect::<Vec<_>>().join("; ")
    }
}

/// All settings, each once.
fn options() -> Vec<SettingOption> {
    let mut options: Vec<SettingOption> = Vec::new();
    let of_protocols = PROTOCOLS.into_iter().map(|protocol| (Some(protocol.name()), protocol.settings()));
    for (protocol, settings) in [(None, &TEST_IMAGES[..])].into_iter().chain(of_protocols) {
        for setting in settings {
            let protocol = Vec::from_iter(protocol);
            let Some(known) = options.iter_mut().find(|option| option.setting.name == setting.name) else {
                options.push(SettingOption { setting: *setting, meanings: vec![(setting.about, protocol)] });
                continue;
            };
            match known.meanings.iter_mut().find(|(about, _)| *about == setting.about) {
                Some((_, protocols)) => protocols.extend(protocol),
                None => known.meanings.push((setting.about, protocol)),
            }
        }
    }
    options
}

impl clap::Args for SettingOptions {
    fn augment_args(command: Command) -> Command {
        let args = options().into_iter().map(|option| {
            let Setting { name, kind, placeholder, .. } = option.setting;
            let arg = Arg::new(name).long(name).value_name(placeholder).help(option.help());
            // The name that this option had in the beginning.
            let arg = if name == "neighbors" { arg.alias("neighbours") } else { arg };
            let arg = arg.value_parser(move |text: &str| kind.parse(text));
            match kind {
                SettingKind::Positive => arg.allow_negative_numbers(true),
                SettingKind::Positives => arg.allow_negative_numbers(true).action(ArgAction::Append),
                SettingKind::Count | SettingKind::Text => arg,
            }
        });
        command.args(args.collect::<Vec<_>>())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut given = Self::default();
        given.update_from_arg_matches(matches)?;
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for SettingOption { setting: Setting { name, .. }, .. } in options() {
            for value in matches.get_many::<SettingValue>(name).into_iter().flatten() {
                match (self.0.iter_mut().find(|(known, _)| *known == name), value) {
                    (Some((_, SettingValue::Numbers(all))), SettingValue::Numbers(more)) => all.extend(more),
                    (Some((_, known)), value) => *known = value.clone(),
                    (None, value) => self.0.push((name, value.clone())),
                }
            }
        }
        Ok(())
    }
}

/// Refuses a setting that none of the protocols reads, and names those that do.
pub fn check_read(given: &Settings, protocols: &[&dyn Protocol]) -> Result<(), Failure> {
    let reads = |protocol: &dyn Protocol, name: &str| protocol.settings().iter().any(|setting| setting.name == name);
    let of_images = |name: &str| TEST_IMAGES.iter().any(|setting| setting.name == name);
    let unread = |name: &&str| !of_images(name) && !protocols.iter().any(|protocol| reads(*protocol, name));
    let Some(name) = given.given_names().find(unread) else { return Ok(()) };
    let readers: Vec<&str> =
        PROTOCOLS.into_iter().filter(|protocol| reads(*protocol, name)).map(|protocol| protocol.name()).collect();
    Err(request(match readers.as_slice() {
        [only] => format!("--{name}: only {only} reads it; add --protocol {only}"),
        several => format!("--{name}: only {} read it; add --protocol with one of them", several.join(", ")),
    }))
}

/// Names the option of this command where a setting is out of range.
pub fn named_as_options(error: EvalError) -> Failure {
    if let EvalError::Setting { key, value, expected } = &error {
        let option = key.replace('_', "-");
        if options().iter().any(|known| known.setting.name == option) {
            return request(format!("--{option} {value}: {expected}"));
        }
    }
    error.into()
}
