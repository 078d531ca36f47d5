//! Random parts of a training set that have every class in proportion.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Draws, of each class with n rows, `count(n)` of them, at most n, by `seed`; gives the drawn rows and the others, both
/// ascending.
pub(crate) fn draw_by_class(labels: &[u32], seed: u64, count: impl Fn(usize) -> usize) -> (Vec<u32>, Vec<u32>) {
    let classes = labels.iter().max().map_or(0, |&class| class as usize + 1);
    let mut by_class = vec![Vec::new(); classes];
    for (row, &class) in labels.iter().enumerate() {
        by_class[class as usize].push(row as u32);
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let (mut drawn, mut others) = (Vec::new(), Vec::new());
    for mut rows in by_class {
        rows.shuffle(&mut rng);
        let count = count(rows.len());
        drawn.extend_from_slice(&rows[..count]);
        others.extend_from_slice(&rows[count..]);
    }
    drawn.sort_unstable();
    others.sort_unstable();
    (drawn, others)
}

/// Draws `part` of each class, to choose a setting by; of a class with two rows or more, drawn and others get at least
/// one. Gives the drawn rows and the others.
pub(crate) fn hold_out(labels: &[u32], part: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    draw_by_class(labels, seed, |rows| {
        let most = rows.saturating_sub(1);
        ((rows as f64 * part).round() as usize).clamp(most.min(1), most)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_out_is_a_part_of_each_class_and_none_of_the_others() {
        // Ten rows of class 0, five of class 1, one of class 2.
        let labels: Vec<u32> = (0..16).map(|row| u32::from(row >= 10) + u32::from(row == 15)).collect();
        let (held_out, others) = hold_out(&labels, 0.2, 7);
        let of_class =
            |rows: &[u32]| [0, 1, 2].map(|class| rows.iter().filter(|&&row| labels[row as usize] == class).count());
        assert_eq!((of_class(&held_out), of_class(&others)), ([2, 1, 0], [8, 4, 1]));
        let mut all = [held_out, others].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..16), "every row once");
    }
}
