//! Plans as they are written in a configuration.

use clsa_augment::{AugmentError, ColorJitter, GaussianBlur, StrongOp, StrongPolicy, View, ViewPlan};

#[test]
fn a_configuration_names_only_what_differs() {
    let plan: ViewPlan = toml::from_str(
        "
        weak = [{}]
        strong = [{ size = 96, scale = [0.086, 0.429], strong = true }]
        ",
    )
    .unwrap();
    assert_eq!(plan, ViewPlan::single());
    let small: ViewPlan = toml::from_str(
        "
        key = { size = 32, blur = false }
        [[weak]]
        size = 32
        blur = false
        [[strong]]
        size = 32
        blur = false
        strong = true
        ",
    )
    .unwrap();
    assert_eq!(small, ViewPlan::small(32));
}

#[test]
fn parts_may_be_switched_off_on_or_described() {
    let view: View =
        toml::from_str("jitter = false\nblur = { probability = 1.0 }\nstrong = { pool = 'extended' }").unwrap();
    assert_eq!(view.jitter, None);
    assert_eq!(view.blur, Some(GaussianBlur { sigma: (0.1, 2.0), probability: 1.0 }));
    assert_eq!(view.strong, Some(StrongPolicy::extended()));
    let view: View = toml::from_str("strong = { draws = 2, pool = ['rotate', 'shear_x'] }").unwrap();
    assert_eq!(view.strong.unwrap().pool, [StrongOp::Rotate, StrongOp::ShearX]);
}

#[test]
fn levels_are_written_only_where_they_are_not_the_papers() {
    let text = toml::to_string(&StrongPolicy::default()).unwrap();
    assert!(!text.contains("levels"), "{text}");
    for levels in [(9, 9), (0, 10)] {
        let policy = StrongPolicy { levels, ..StrongPolicy::default() };
        let text = toml::to_string(&policy).unwrap();
        assert_eq!(toml::from_str::<StrongPolicy>(&text).unwrap(), policy, "{text}");
    }
}

#[test]
fn plans_survive_toml_and_json() {
    for plan in [ViewPlan::single(), ViewPlan::multi(), ViewPlan::moco_v2(), ViewPlan::small(32)] {
        let text = toml::to_string(&plan).unwrap();
        assert_eq!(toml::from_str::<ViewPlan>(&text).unwrap(), plan, "{text}");
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<ViewPlan>(&text).unwrap(), plan, "{text}");
    }
}

#[test]
fn unknown_keys_are_refused_by_name() {
    let error = toml::from_str::<ViewPlan>("weak = [{ sise = 96 }]").unwrap_err().to_string();
    assert!(error.contains("sise"), "{error}");
    for (text, words) in [
        ("strong = { drawz = 2 }", ["`drawz`", "`draws`"]),
        ("strong = { pool = ['rotat'] }", ["`rotat`", "`rotate`"]),
        ("strong = { pool = 'extendet' }", ["extendet", "extended"]),
        ("jitter = { hu = 0.1 }", ["`hu`", "`hue`"]),
        ("blur = { sigma = 1.0 }", ["1.0", "tuple"]),
        ("blur = 'yes'", ["yes", "true, false"]),
        ("strong = 3", ["3", "true, false"]),
    ] {
        let error = toml::from_str::<View>(text).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        let json = serde_json::to_string(&toml::from_str::<toml::Table>(text).unwrap()).unwrap();
        let error = serde_json::from_str::<View>(&json).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{json}: {error}");
    }
}

#[test]
fn values_out_of_range_are_refused_by_the_name_of_their_key() {
    for (text, key) in [
        ("weak = []", "weak"),
        ("weak = [{}]\nkey = { size = 0 }", "key.size"),
        ("weak = [{}, { scale = [0.5, 0.2] }]", "weak[1].scale"),
        ("weak = [{ scale = [0.0, 0.2] }]", "weak[0].scale"),
        ("weak = [{ ratio = [0.0, 1.0] }]", "weak[0].ratio"),
        ("weak = [{ flip = 1.5 }]", "weak[0].flip"),
        ("weak = [{ grayscale = nan }]", "weak[0].grayscale"),
        ("weak = [{ jitter = { hue = 0.6 } }]", "weak[0].jitter.hue"),
        ("weak = [{ jitter = { contrast = -1.0 } }]", "weak[0].jitter.contrast"),
        ("weak = [{ blur = { sigma = [2.0, 1.0] } }]", "weak[0].blur.sigma"),
        ("weak = [{}]\nstrong = [{ strong = { probability = -0.1 } }]", "strong[0].strong.probability"),
        ("weak = [{}]\nstrong = [{ strong = { pool = [] } }]", "strong[0].strong.pool"),
        ("weak = [{}]\nstrong = [{ strong = { levels = [6, 4] } }]", "strong[0].strong.levels"),
        ("weak = [{}]\nstrong = [{ strong = { levels = [9, 11] } }]", "strong[0].strong.levels"),
        ("weak = [{ normalize = { mean = [0.5, 0.5, 0.5], std = [1.0, 0.0, 1.0] } }]", "weak[0].normalize.std"),
    ] {
        let error = toml::from_str::<ViewPlan>(text).unwrap().validate().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{key} is ")), "{text}: {error}");
    }
}

#[test]
fn a_field_is_named_from_what_was_checked_on_and_its_parents_are_put_before_it() {
    let view = View { jitter: Some(ColorJitter { hue: 0.6, ..ColorJitter::default() }), ..View::default() };
    assert_eq!(view.validate().unwrap_err().to_string(), "jitter.hue is 0.6, but it must be from 0 to 0.5");
    let error = view.jitter.unwrap().validate().unwrap_err();
    assert_eq!(error.to_string(), "hue is 0.6, but it must be from 0 to 0.5");
    let error = error.within("jitter").within("weak[2]").within("views");
    assert!(error.to_string().starts_with("views.weak[2].jitter.hue is 0.6"), "{error}");
    let empty = AugmentError::EmptyImage { width: 0, height: 1 };
    assert_eq!(empty.clone().within("views"), empty);
}
