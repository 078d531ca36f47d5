//! Several ranks that share an epoch.

use clsa_data::LoaderConfig;

use crate::{Numbered, config, loader, samples};

const RANKS: usize = 3;

/// Settings of a rank with batches of 4.
fn of_rank(rank: usize, shuffle_buffer: Option<usize>) -> LoaderConfig {
    LoaderConfig { rank, world_size: RANKS, drop_last: false, shuffle_buffer, ..config(4, 1) }
}

#[test]
fn ranks_share_each_global_batch_in_contiguous_parts() {
    let whole = samples(&loader(Numbered::new(100, &[]), LoaderConfig { drop_last: false, ..config(12, 1) }), 4, 0);
    for rank in 0..RANKS {
        let part = samples(&loader(Numbered::new(100, &[]), of_rank(rank, None)), 4, 0);
        assert_eq!(part.len(), whole.len());
        for (part, whole) in part.iter().zip(&whole).take(8) {
            assert_eq!(part[..], whole[rank * 4..rank * 4 + 4]);
        }
        // The last global batch has 4 samples: two for the first rank, one for each of the others.
        let last = [0..2, 2..3, 3..4][rank].clone();
        assert_eq!(part[8][..], whole[8][last]);
    }
}

#[test]
fn ranks_read_disjoint_parts_of_shards_that_cover_the_epoch_whatever_the_shuffle_buffer() {
    let shards = Numbered::in_shards(&[9, 14, 7, 20]);
    for shuffle_buffer in [None, Some(1), Some(7), Some(1000)] {
        let mut firsts = Vec::new();
        for epoch in 0..2 {
            let alone = LoaderConfig { shuffle_buffer, drop_last: false, ..config(12, 1) };
            let whole = samples(&loader(shards.clone(), alone), epoch, 0);
            let parts: Vec<Vec<Vec<usize>>> = (0..RANKS)
                .map(|rank| samples(&loader(shards.clone(), of_rank(rank, shuffle_buffer)), epoch, 0))
                .collect();
            // Together the ranks have what one rank with batches as large as all of theirs has, batch by batch; through a buffer each
            // reads shards of its own.
            for (index, batch) in whole.iter().enumerate() {
                let together: Vec<usize> = parts.iter().flat_map(|part| part[index].clone()).collect();
                assert_eq!(together.len(), batch.len());
                if shuffle_buffer.is_none() {
                    assert_eq!(together, *batch, "epoch {epoch}, batch {index}");
                }
            }
            let mut all = parts.concat().concat();
            all.sort();
            assert_eq!(all, (0..50).collect::<Vec<_>>(), "buffer {shuffle_buffer:?}, epoch {epoch}");
            firsts.push(parts);
        }
        assert_ne!(firsts[0], firsts[1], "epochs with buffer {shuffle_buffer:?}");
    }
}

#[test]
fn a_rank_bears_bad_samples_until_it_has_itself_met_more_than_one_percent_of_all() {
    for rank in 0..RANKS {
        let settings = LoaderConfig { rank, world_size: RANKS, ..config(8, 1) };
        let loader = loader(Numbered::new(200, &[5, 6, 7]), settings);
        let is_borne = |epoch: &u64| {
            let is_borne = loader.epoch(*epoch, 0).all(|batch| batch.is_ok());
            assert_eq!(is_borne, loader.bad_samples().len() <= 2, "rank {rank}, epoch {epoch}");
            is_borne
        };
        // Alone, a rank meets all three in the first epoch.
        let borne = (0..100).take_while(is_borne).count();
        assert!((1..100).contains(&borne), "rank {rank} bore {borne} epochs");
    }
}

#[test]
fn a_rank_reads_the_images_of_no_other_rank() {
    for rank in 0..RANKS {
        let dataset = Numbered::in_shards(&[40, 30, 32]);
        let part = samples(&loader(dataset.clone(), of_rank(rank, Some(10))), 0, 0).concat();
        assert_eq!((part.len(), dataset.read.get()), (34, 34), "rank {rank}");
    }
}
