//! Which rows of a batch travel to which rank.

/// Which rows a rank sends to and receives from each of the others, so that its part of the batch is in another order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The own rows in the order in which they are sent, those for rank 0 first.
    pub sent: Vec<usize>,
    /// How many go to each rank.
    pub to: Vec<usize>,
    /// How many come from each rank.
    pub from: Vec<usize>,
    /// For each place of the result its row among the received, of which those of rank 0 are first.
    pub places: Vec<usize>,
}

impl Route {
    pub fn new(rank: usize, world: usize, n: usize, order: &[u32]) -> Self {
        let owner = |sample: u32| sample as usize / n;
        let own = |part: &[u32]| part.iter().filter(|&&sample| owner(sample) == rank).count();
        let mine = &order[rank * n..][..n];
        let from: Vec<usize> = (0..world).map(|other| mine.iter().filter(|&&s| owner(s) == other).count()).collect();
        let mut next: Vec<usize> = starts(&from).collect();
        let place = |&sample: &u32| {
            next[owner(sample)] += 1;
            next[owner(sample)] - 1
        };
        let places = mine.iter().map(place).collect();
        let sent = order.iter().filter(|&&sample| owner(sample) == rank).map(|&sample| sample as usize % n).collect();
        Self { sent, to: order.chunks_exact(n).map(own).collect(), from, places }
    }
}

/// Where each of the parts of these lengths begins.
pub(crate) fn starts(lengths: &[usize]) -> impl Iterator<Item = usize> {
    lengths.iter().scan(0, |next, length| {
        let start = *next;
        *next += length;
        Some(start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shuffle_bn::Shuffle;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_arrive_where_the_order_says(world in 1usize..6, n in 1usize..9, seed: u64) {
            let order = Shuffle::new(world * n, seed, 0).order;
            let routes: Vec<Route> = (0..world).map(|rank| Route::new(rank, world, n, &order)).collect();
            for (rank, route) in routes.iter().enumerate() {
                // What the others send to this rank, in the order of the ranks.
                let received: Vec<usize> = (0..world)
                    .flat_map(|other| {
                        let Route { sent, to, .. } = &routes[other];
                        let first: usize = to[..rank].iter().sum();
                        sent[first..first + to[rank]].iter().map(move |row| other * n + row)
                    })
                    .collect();
                let from: usize = route.from.iter().sum();
                prop_assert_eq!((from, received.len()), (n, n));
                let placed: Vec<u32> = route.places.iter().map(|&place| received[place] as u32).collect();
                prop_assert_eq!(&placed, &order[rank * n..][..n]);
            }
        }
    }
}
