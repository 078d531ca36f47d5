//! Average precision against scikit-learn (the fixture and the script that made it are in `fixtures`) and by hand.

use clsa_data::Presence::{Absent, Difficult, Present};
use clsa_eval::metrics::{AveragePrecision, average_precision};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    scores: Vec<f64>,
    positive: Vec<bool>,
    area: f64,
}

#[test]
fn the_area_equals_scikit_learns_average_precision_score() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/average_precision.json")).unwrap();
    for case in fixture.cases {
        let scored: Vec<_> = case.scores.into_iter().zip(case.positive).collect();
        let area = average_precision(&scored).unwrap().area;
        assert!((area - case.area).abs() < 1e-9, "{area} and {}", case.area);
    }
}

#[test]
fn eleven_points_take_the_highest_precision_at_each_recall_or_more() {
    // Precision 1 up to recall 1/2 (six points), then 2/3 at recall 1 (five points).
    let scored = [(0.9, true), (0.8, false), (0.7, true)];
    let precisions = average_precision(&scored).unwrap();
    assert!((precisions.eleven_point - (6.0 + 5.0 * 2.0 / 3.0) / 11.0).abs() < 1e-12, "{precisions:?}");
    assert!(average_precision(&[(0.5, false)]).is_none());
}

#[test]
fn difficult_objects_count_neither_way() {
    let scores = [0.9, 0.8, 0.7];
    let with = AveragePrecision::of(&scores, &[[Present], [Difficult], [Present]], 0);
    let absent = AveragePrecision::of(&scores, &[[Present], [Absent], [Present]], 0);
    assert_eq!((with.mean.value, with.per_class[0].positives), (100.0, 2));
    assert!(absent.mean.value < 100.0);
}
