//! Plans as they are written in a preset's `[views]` table.

use clsa_augment::{GaussianBlur, StrongOp, StrongPolicy, View, ViewPlan};

#[test]
fn a_preset_names_only_what_differs() {
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
        ("weak = []", "views.weak"),
        ("weak = [{}]\nkey = { size = 0 }", "views.key.size"),
        ("weak = [{}, { scale = [0.5, 0.2] }]", "views.weak[1].scale"),
        ("weak = [{ scale = [0.0, 0.2] }]", "views.weak[0].scale"),
        ("weak = [{ ratio = [0.0, 1.0] }]", "views.weak[0].ratio"),
        ("weak = [{ flip = 1.5 }]", "views.weak[0].flip"),
        ("weak = [{ grayscale = nan }]", "views.weak[0].grayscale"),
        ("weak = [{ jitter = { hue = 0.6 } }]", "views.weak[0].jitter.hue"),
        ("weak = [{ jitter = { contrast = -1.0 } }]", "views.weak[0].jitter.contrast"),
        ("weak = [{ blur = { sigma = [2.0, 1.0] } }]", "views.weak[0].blur.sigma"),
        ("weak = [{}]\nstrong = [{ strong = { probability = -0.1 } }]", "views.strong[0].strong.probability"),
        ("weak = [{}]\nstrong = [{ strong = { pool = [] } }]", "views.strong[0].strong.pool"),
        ("weak = [{ normalize = { mean = [0.5, 0.5, 0.5], std = [1.0, 0.0, 1.0] } }]", "views.weak[0].normalize.std"),
    ] {
        let error = toml::from_str::<ViewPlan>(text).unwrap().validate().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{key} is ")), "{text}: {error}");
    }
}
