//! Whether protocols can be run on images, seen before any image is read.

use super::data::EvalData;
use super::protocol::{LabelKind, Needs, Protocol};
use super::settings::Settings;
use super::table::PROTOCOLS;
use crate::EvalError;
use crate::features::{check_labels, check_presences, presences};

/// Checks that images and settings suit all of `protocols`. No image is read.
///
/// # Errors
/// [`EvalError::UnfitData`] where images lack what a protocol needs, or the error of a protocol's own check.
pub fn check(protocols: &[&dyn Protocol], data: &EvalData, settings: &Settings) -> Result<(), EvalError> {
    for protocol in protocols {
        let needs = protocol.needs();
        if needs.test_images {
            data.test().map_err(unfit)?;
        }
        match needs.labels {
            LabelKind::Any => {}
            LabelKind::OneClass => {
                check_labels(data.train().as_ref(), data.test()?.as_ref()).map_err(unfit)?;
            }
            LabelKind::Presences => {
                let [train, test] = [presences(data.train().as_ref()), presences(data.test()?.as_ref())];
                check_presences(&train.map_err(unfit)?, &test.map_err(unfit)?, data.train().class_names())?;
            }
        }
        protocol.check_data(data, settings)?;
    }
    Ok(())
}

/// Adds to an error about labels or splits which protocols need what.
fn unfit(error: EvalError) -> EvalError {
    let labels_are_wrong = matches!(error, EvalError::NoClass { .. } | EvalError::NotMultiLabel { .. });
    if labels_are_wrong || matches!(error, EvalError::Empty("test")) {
        EvalError::UnfitData { source: Box::new(error), hint: needs_of_all() }
    } else {
        error
    }
}

/// What each protocol of the table needs, in one sentence.
fn needs_of_all() -> String {
    let names = |is_meant: &dyn Fn(Needs) -> bool| -> Vec<&str> {
        PROTOCOLS.into_iter().filter(|protocol| is_meant(protocol.needs())).map(|protocol| protocol.name()).collect()
    };
    let need = |names: &[&str]| if names.len() == 1 { "needs" } else { "need" };
    let classes = names(&|needs| needs.labels == LabelKind::OneClass);
    let presences = names(&|needs| needs.labels == LabelKind::Presences);
    let any = names(&|needs| needs.labels == LabelKind::Any);
    format!(
        "{} {} images with one class each in both splits, {} {} images labeled with the presence of every class, as \
         voc2007:PATH has; only {} {} no labels, and only {} no test images",
        listed(&classes),
        need(&classes),
        listed(&presences),
        need(&presences),
        listed(&any),
        need(&any),
        listed(&names(&|needs| !needs.test_images)),
    )
}

/// `one`, `one and two` or `one, two and three`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_every_protocol() {
        let hint = needs_of_all();
        for protocol in PROTOCOLS {
            assert!(hint.contains(protocol.name()), "{hint}");
        }
        assert!(hint.ends_with("only retrieval needs no labels, and only retrieval no test images"), "{hint}");
    }
}
